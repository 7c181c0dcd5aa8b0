"""Wakes one coroutine for many sources, without a task for each (tokio calls it Notify).

Streams, timers and dials call `set`; the coroutine that serves them all waits, and then checks each of them. A `set`
carries no count and no cause, so none is missed, and many at once cost one check.
"""

from __future__ import annotations

import asyncio
import math

from proxy.net.deadline import POLLS
from proxy.net.loop.timers import Timer, call_at, cancel


class Notify:
    """Set by any source of events; one coroutine waits for it. After a `wait` with a time limit, the owner calls
    `close` in the end."""

    __slots__ = ("_is_set", "_timer", "_waiter", "_waits_until")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None
        self._waits_until = math.inf
        # One timer serves many waits, because most end long before their timeout. It keeps running when a wait ends,
        # and is set again when it fires too early.
        self._timer: Timer | None = None

    def set(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # the waiting coroutine is about to run, or is checking now
            self._is_set = True
        else:
            waiter.set_result(None)

    def wait(self, until: float = math.inf) -> asyncio.Future[None]:
        """Returns a future that is done after a `set`, also one before the call, and at `until`, by the loop's clock.
        The loop polls its sockets once more before `until` counts, so a late loop does not lose news that came in time.
        Await the future at once. A coroutine would be one more step of each wake-up."""
        waiter: asyncio.Future[None] = asyncio.Future()  # as create_future(), in C
        self._waiter = waiter
        if self._is_set:
            self._is_set = False
            waiter.set_result(None)
            return waiter
        self._waits_until = until
        timer = self._timer
        if (timer is None or until < timer[0]) and until < math.inf:
            self._timer = call_at(until, self._timer_fired, passes=POLLS, instead_of=timer)
        return waiter

    def close(self) -> None:
        """Cancels the timer. The next wait may set another one."""
        if self._timer is not None:
            cancel(self._timer)
            self._timer = None

    def _timer_fired(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done() or self._waits_until == math.inf:
            return
        if asyncio.get_running_loop().time() >= self._waits_until:
            self.set()
        else:  # it was for an earlier wait
            self._timer = call_at(self._waits_until, self._timer_fired, passes=POLLS)
