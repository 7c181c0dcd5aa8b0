"""The event loops that Byway runs on: tests of sockets are run on both.

A folder's `conftest.py` hands `both_loops` to pytest-asyncio, which then runs each test twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from proxy.net.loop.choice import new_loop
from proxy.net.loop.polling_loop import PollingLoop

OWN, ASYNCIO = "own loop", "asyncio's loop"

Factories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

ONLY_ASYNCIO: Factories = {ASYNCIO: asyncio.new_event_loop}


def both_loops() -> Factories:
    """What makes each loop, by its name in the ids of tests. Byway's own is there on Linux alone."""
    return {OWN: new_loop, ASYNCIO: asyncio.new_event_loop} if runs_own() else ONLY_ASYNCIO


def runs_own() -> bool:
    """Whether Byway has a loop of its own here."""
    loop = new_loop()
    loop.close()
    return isinstance(loop, PollingLoop)
