"""Sessions use the sockets of `net`, and so do their tests."""

from __future__ import annotations

from tests.net.conftest import best_poller, home, pair, poller, public, to_relays

__all__ = ["best_poller", "home", "pair", "poller", "public", "to_relays"]
