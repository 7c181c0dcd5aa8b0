"""Each test here runs on both event loops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.tunnel.watching import close_sockets
from tests.support.loops import OWN, Factories, both_loops


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    """Closes those of the tunnels that were watched."""
    yield
    close_sockets()


def pytest_asyncio_loop_factories() -> Factories:
    return both_loops()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what no system has: without epoll there is a LoopPoller, and no loop of our own."""
    items[:] = [item for item in items if not ("loop_poller" in item.name and OWN in item.name and _is_here(item))]


def _is_here(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents
