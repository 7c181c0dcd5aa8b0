"""A control server over a Unix socket, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from proxy.control.server import ControlServer
from proxy.model.feature import Feature
from tests.support.control_world import World
from tests.support.documented import Documented, watch


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch) -> Iterator[Documented]:
    """Checks in every test with a `world` that the API gives only answers that docs/openapi.json describes."""
    documented = watch(monkeypatch)
    yield documented
    assert not documented.problems, f"{documented.problems}; next: python -m tests.whole.openapi"


@pytest.fixture
def world(documented: Documented, features: Sequence[Feature]) -> Iterator[World]:
    world = World(features=features)
    yield world
    world.close()


@pytest.fixture
async def server(world: World, tmp_path: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(lambda: world.parts, tmp_path / "c.sock", "unused", port=8119)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def api(server: ControlServer) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(path=str(server.address["socket"]))
    async with aiohttp.ClientSession("http://byway", connector=connector) as session:
        yield session
