"""Sessions use the sockets of `net`, and so do their tests. Those of the server run on both event loops."""

from __future__ import annotations

import pytest

from tests.net.conftest import best_poller, home, pair, poller, public, to_relays
from tests.support.loops import ONLY_ASYNCIO, Factories, both_loops

__all__ = ["best_poller", "home", "pair", "poller", "public", "to_relays"]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Factories:
    return both_loops() if item.path.name == "test_server.py" else ONLY_ASYNCIO
