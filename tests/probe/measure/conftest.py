"""A scene for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.probe.measure.scene import Scene, made


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with made() as scene:
        yield scene
