"""How one coroutine hears of many things without a task for each.

Streams, timers and dials ring; the one that watches them all waits, and then looks at everything. A ring is not
counted and says nothing of what happened, so that none can be missed and many at once cost one look.
"""

from __future__ import annotations

import asyncio


class Bell:
    """Rung by whatever may have changed something; one coroutine waits for it."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout_s: float | None) -> None:
        """Returns when rung (also when it was since the last wait), or after `timeout_s`."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            alarm = None if timeout_s is None else loop.call_later(max(0.0, timeout_s), self.ring)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if alarm is not None:
                    alarm.cancel()
        self._rung = False
