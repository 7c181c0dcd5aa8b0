"""The dashboard of a made-up Byway, and a tab, for tests that do not bring their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from proxy.model.feature import Feature
from tests.support.chromium import Tab, tab
from tests.support.control_world import World
from tests.support.dashboard import Pages, dashboard
from tests.support.seeded import SeededWorld


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    yield world
    world.close()


@pytest.fixture
async def pages(world: World, tmp_path: Path) -> AsyncIterator[Pages]:
    async with dashboard(world, tmp_path) as pages:
        yield pages


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Tab]:
    async with tab(tmp_path / "browser") as page:
        yield page
