"""Each test here runs on both event loops."""

from __future__ import annotations

from tests.support.loops import Factories, both_loops


def pytest_asyncio_loop_factories() -> Factories:
    return both_loops()
