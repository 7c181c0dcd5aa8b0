"""The dashboard of a made-up Byway, and a tab, for tests that do not bring their own. The tests of a file share a
Chromium, and each has its own tab there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from proxy.model.feature import Feature
from tests.support.chromium import Chromium, Tab
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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with contextlib.closing(Chromium(tmp_path_factory.mktemp("browser"))) as browser:
        yield browser


@pytest.fixture
async def page(chromium: Chromium) -> AsyncIterator[Tab]:
    async with chromium.tab() as page:
        yield page
