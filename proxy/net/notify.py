"""Wakes one coroutine for many sources, without a task for each (tokio calls it Notify).

Streams, timers and dials call `set`; the coroutine that serves them all waits, and then checks each of them. A `set` is
neither counted nor says what happened, so that none is missed and many at once cost one check.
"""

from __future__ import annotations

import asyncio

from proxy.net.deadline import POLLS


class Notify:
    """Set by any source of events; one coroutine waits for it."""

    __slots__ = ("_is_set", "_timer", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.Handle | None = None

    def set(self) -> None:
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout_s: float | None) -> None:
        """Returns when set (also when that was before the call), or after `timeout_s`. The loop polls its sockets once
        more before a timeout, so that on a late loop the caller still decides by what came in time."""
        if not self._is_set:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            if timeout_s is not None:
                self._timer = loop.call_later(max(0.0, timeout_s), self._time_is_over, POLLS)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
        self._is_set = False

    def _time_is_over(self, passes: int) -> None:
        if passes:
            self._timer = asyncio.get_running_loop().call_soon(self._time_is_over, passes - 1)
        else:
            self.set()
