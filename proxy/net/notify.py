"""How one coroutine hears of many things without a task for each.

Streams, timers and dials ring; the one that watches them all waits, and then looks at everything. A ring is not
counted and says nothing of what happened, so that none can be missed and many at once cost one look.
"""

from __future__ import annotations

import asyncio

from proxy.net.deadline import POLLS


class Notify:
    """Rung by whatever may have changed something; one coroutine waits for it."""

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
        """Returns when rung (also when it was since the last wait), or after `timeout_s`, when the loop has polled once
        more: whoever waits then decides by what came in time, also on a loop that is late."""
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
