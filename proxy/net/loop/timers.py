"""Timers for code that sets one for each connection and nearly always cancels it.

All timers wait in a heap of lists, which is ordered without a Python call; the loop has one timer, for the earliest. A
timer of asyncio takes about ten Python calls. A cancelled timer stays in the heap until an earlier one is due, or until
the heap has doubled. A timer that is due lets the loop make a few passes before its callback runs: see `deadline`.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Any

Timer = list[Any]
"""[when, number, callback, passes], made by `call_at` for `cancel`. Numbers grow, so timers of the same time run in the
order in which they were made. `callback` is None after a cancellation or the call; `passes` is the number of passes
left."""

_REBUILT_MIN = 64
"""A heap with fewer timers is left as it is."""


class _Timers:
    __slots__ = ("_handle", "armed_for", "heap", "loop", "number", "rebuilt_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.heap: list[Timer] = []
        self.number = count()
        self.rebuilt_at = _REBUILT_MIN  # the size of the heap at which cancelled timers are removed
        self.armed_for = math.inf  # the time of the loop's timer
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self.armed_for = when
        self._handle = self.loop.call_at(when, self._run_due)

    def _run_due(self) -> None:
        self._handle, self.armed_for = None, math.inf
        now = self.loop.time()
        # Most timers are cancelled by now. Cancelled ones of later times go too: the loop's timer is not set for them.
        while self.heap and (self.heap[0][0] <= now or self.heap[0][2] is None):
            timer = heapq.heappop(self.heap)
            if timer[2] is not None:
                self.loop.call_soon(self._pass, timer)
        if self.heap:
            self.arm(self.heap[0][0])

    def _pass(self, timer: Timer) -> None:
        """Runs the callback of a timer that is due, when no pass is left."""
        _, _, callback, passes = timer
        if callback is None:
            return
        if passes:
            timer[3] -= 1
            self.loop.call_soon(self._pass, timer)
        else:
            timer[2] = None
            callback()


_latest: _Timers | None = None
"""The timers of the loop that used `call_at` last. A process has one loop; tests have more."""


def call_at(when: float, callback: Callable[[], object], *, passes: int = 0, instead_of: Timer | None = None) -> Timer:
    """Calls `callback` at `when`, by the clock of the running loop, after that many passes of the loop. An exception
    goes to the loop's exception handler. Cancels the timer `instead_of`."""
    global _latest
    if instead_of is not None:
        instead_of[2] = None
    timers, loop = _latest, asyncio.get_running_loop()
    if timers is None or timers.loop is not loop:
        timers = _latest = _Timers(loop)
    timer = [when, next(timers.number), callback, passes]
    heapq.heappush(timers.heap, timer)
    if when < timers.armed_for:
        timers.arm(when)
    if len(timers.heap) >= timers.rebuilt_at:
        timers.heap = [each for each in timers.heap if each[2] is not None]
        heapq.heapify(timers.heap)
        timers.rebuilt_at = max(_REBUILT_MIN, 2 * len(timers.heap))
    return timer


def cancel(timer: Timer) -> None:
    """Cancels a timer. Harmless when repeated, and after the call."""
    timer[2] = None
