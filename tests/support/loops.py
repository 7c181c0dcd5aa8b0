"""The event loops of Byway. Tests of sockets run on both.

The `conftest.py` of a folder passes `both_loops` to pytest-asyncio, which then runs each test twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache

from proxy.net.loop.choice import new_loop
from proxy.net.loop.polling_loop import PollingLoop

OWN, ASYNCIO = "own loop", "asyncio's loop"

Factories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

ONLY_ASYNCIO: Factories = {ASYNCIO: asyncio.new_event_loop}


def both_loops() -> Factories:
    """Returns the factories of the loops by their names in test ids. Byway's own loop exists on Linux only."""
    return {OWN: new_loop, ASYNCIO: asyncio.new_event_loop} if runs_own() else ONLY_ASYNCIO


@cache
def runs_own() -> bool:
    """Whether Byway's own loop exists here."""
    loop = new_loop()
    loop.close()
    return isinstance(loop, PollingLoop)
