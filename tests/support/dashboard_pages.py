"""The pages of a small Byway, and a browser that is signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.control_world import World
from tests.support.dashboard import Browser, Pages, dashboard


@pytest.fixture
async def pages(world: World, tmp_path: Path) -> AsyncIterator[Pages]:
    async with dashboard(world, tmp_path) as pages:
        yield pages


@pytest.fixture
async def browser(pages: Pages) -> AsyncIterator[Browser]:
    async with pages.signed_in() as browser:
        yield browser
