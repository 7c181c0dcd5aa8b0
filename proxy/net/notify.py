"""Wakes one coroutine for many sources, without a task for each (tokio calls it Notify).

Streams, timers and dials call `set`; the coroutine that serves them all waits, and then checks each of them. A `set` is
neither counted nor says what happened, so that none is missed and many at once cost one check.

Most wake-ups come from a socket that is ready. The task then goes on at once, within `wake`: a future would have the
loop call it later, which took a tenth of the steps of a tunnel. So a Notify is itself what a task waits for, by the
protocol that asyncio has for futures of other makers (`asyncio.isfuture`).
"""

from __future__ import annotations

import asyncio
import math
from asyncio import current_task
from collections.abc import Callable, Generator
from contextvars import Context
from types import coroutine

from proxy.net.deadline import POLLS
from proxy.net.timers import Timer, call_at, cancel


class Notify:
    """Set by any source of events; one coroutine waits for it. Who waited until a time closes it in the end."""

    __slots__ = ("_asyncio_future_blocking", "_context", "_go_on", "_is_set", "_loop", "_timer", "_waits_until")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asyncio_future_blocking = False
        self._is_set = False
        self._go_on: Callable[[object], object] | None = None
        """Runs the task that waits up to its next wait; None: none waits."""
        self._waits_until = math.inf
        # One timer serves many waits: it is left as it is when a wait ends, and moved when it fires too early. Most
        # waits end long before their timeout.
        self._timer: Timer | None = None

    def set(self) -> None:
        """Whoever waits goes on in the next pass of the loop."""
        go_on = self._go_on
        if go_on is None:  # who waited has not run again since, or checks already
            self._is_set = True
        else:
            self._go_on = None
            self._loop.call_soon(go_on, self, context=self._context)

    def wake(self) -> None:
        """As `set`, to be called last by what the loop calls: whoever waits goes on before this returns."""
        go_on = self._go_on
        if go_on is None or current_task() is not None:  # tasks do not run within each other
            self.set()
        else:
            self._go_on = None
            self._context.run(go_on, self)

    @coroutine
    def wait(self, until: float = math.inf) -> Generator[Notify, None, None]:
        """Waits until set (also when that was before the call), or until `until`, by the clock of the loop. The loop
        polls its sockets once more before that, so that on a late loop the caller still decides by what came in
        time."""
        if self._is_set:
            self._is_set = False
            return
        self._waits_until = until
        timer = self._timer
        if (timer is None or until < timer[0]) and until < math.inf:
            self._timer = call_at(until, self._timer_fired, passes=POLLS, instead_of=timer)
        self._asyncio_future_blocking = True
        yield self

    def close(self) -> None:
        """Cancels the timer. The next wait may make another one."""
        if self._timer is not None:
            cancel(self._timer)
            self._timer = None

    def _timer_fired(self) -> None:
        self._timer = None
        if self._go_on is None or self._waits_until == math.inf:
            return
        if self._loop.time() >= self._waits_until:
            self.wake()
        else:  # it was for an earlier wait
            self._timer = call_at(self._waits_until, self._timer_fired, passes=POLLS)

    # -- what the task that waits calls, see the module's docstring ------------------------------------------------

    result = bool
    """Returns nothing of interest, in C."""

    def add_done_callback(self, go_on: Callable[[object], object], *, context: Context) -> None:
        self._go_on, self._context = go_on, context

    def cancel(self, msg: object = None) -> bool:
        """The task was cancelled. Returns whether it waits here."""
        go_on = self._go_on
        if go_on is None:
            return False
        self._go_on = None
        cancelled = self._loop.create_future()
        cancelled.cancel(msg)
        self._loop.call_soon(go_on, cancelled, context=self._context)
        return True
