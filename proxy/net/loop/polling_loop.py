"""The event loop of a running Byway: asyncio's own, waiting in the epoll set of the poller.

A loop that watches the epoll set like any other descriptor takes two system calls and two passes for each event. This
loop waits in the set itself, in which asyncio's descriptors are one entry, and calls the owners of sockets at once.
A task that they wake runs in the same pass. Pass and callback are written out, since every event needs both: a pass
takes two calls of Python functions where asyncio takes four, a callback one instead of five. The page of this package
lists the parts of asyncio that this uses, and `choice` tries them before a loop is used.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Protocol, TypeVarTuple, Unpack

_Ts = TypeVarTuple("_Ts")

_WAIT_MAX_S = 24 * 3600.0
"""The longest wait that epoll accepts; asyncio has the same limit."""

_CANCELLED_MAX = 100
"""Cancelled timers that are kept until their time."""


class EdgeSet(Protocol):
    """An epoll set. Its `wait` calls the owners of sockets that have events."""

    has_pass_end_work: bool
    """Whether `end_pass` has something to do. Otherwise it is not called, which saves a call in most passes."""

    def watch_selector(self, fd: int) -> None:
        """Adds the descriptor of the loop's own selector."""

    def end_pass(self) -> None:
        """Does the work that waits for the end of the pass. Called last in a pass, before the wait."""

    def wait(self, timeout_s: float) -> bool:
        """Waits for at most `timeout_s`, for ever when it is negative, and calls owners. Returns whether the loop's own
        selector has something ready."""


class _Callback(asyncio.Handle):
    """The handle that `call_soon` returns: asyncio's own. These attributes have always been in it."""

    __slots__ = ()

    _callback: Callable[..., object]
    _context: Context
    _loop: asyncio.AbstractEventLoop
    _repr = _source_traceback = None  # only in debug mode there is another one


class _Timer(asyncio.TimerHandle):
    """The handle that asyncio's `call_at` returns."""

    __slots__ = ()

    _callback: Callable[..., object]
    _context: Context
    _scheduled: bool
    _when: float


class PollingLoop(asyncio.SelectorEventLoop):
    """See the module's docstring. Only where there is epoll. In debug mode it does not report slow callbacks."""

    # Attributes of asyncio's base classes.
    _closed: bool
    _debug: bool
    _process_events: Callable[[list[tuple[selectors.SelectorKey, int]]], None]
    _ready: deque[_Callback | _Timer]
    _scheduled: list[_Timer]
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self) -> None:
        self._descriptors = selectors.EpollSelector()  # asyncio's selector, for descriptors without an owner
        super().__init__(self._descriptors)
        self._clock_step_s = time.get_clock_info("monotonic").resolution
        self._edges: EdgeSet | None = None
        # asyncio calls both dozens of times for each connection. These C functions do the same.
        self.time = time.monotonic  # type: ignore[method-assign]
        self.get_debug = partial(bool, self.get_debug())  # type: ignore[method-assign]

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio's `call_soon`."""
        if self._closed or self._debug:
            return super().call_soon(callback, *args, context=context)
        handle = _Callback.__new__(_Callback)  # the attributes that its __init__ would set follow
        handle._context = copy_context() if context is None else context
        handle._loop = self
        handle._callback = callback
        handle._args = args
        handle._cancelled = False
        self._ready.append(handle)
        return handle

    def wait_in(self, edges: EdgeSet) -> bool:
        """Makes the loop wait in this set until `leave`. Returns False, and does nothing, while it waits in another
        set."""
        if self._edges is not None:
            return False
        self._edges = edges
        edges.watch_selector(self._descriptors.fileno())
        return True

    def leave(self, edges: EdgeSet) -> None:
        """Stops waiting in this set. Its owner may then close it."""
        if self._edges is edges:
            self._edges = None

    def _run_once(self) -> None:
        """Runs passes of the loop, each like one of asyncio's: waits, reports events, and makes the calls that are due.
        A callback that is added meanwhile runs in the next pass. asyncio calls this once for each pass; here one call
        runs all passes until the loop stops."""
        timers, ready, clock = self._scheduled, self._ready, self.time
        timer: _Timer | None
        handle: _Callback | _Timer | None
        while True:
            if self._edges is not None and self._edges.has_pass_end_work:
                self._edges.end_pass()  # before the wait is computed, because this may add a callback
            if self._timer_cancelled_count > _CANCELLED_MAX and 2 * self._timer_cancelled_count > len(timers):
                timers[:] = [timer for timer in timers if not timer._cancelled]
                heapq.heapify(timers)
                self._timer_cancelled_count = 0
            while timers and timers[0]._cancelled:
                heapq.heappop(timers)
                self._timer_cancelled_count -= 1

            timeout_s = -1.0
            if ready or self._stopping:
                timeout_s = 0.0
            elif timers:
                timeout_s = timers[0]._when - clock()
                if not 0.0 <= timeout_s <= _WAIT_MAX_S:
                    timeout_s = 0.0 if timeout_s < 0.0 else _WAIT_MAX_S
            if self._edges is None:
                self._process_events(self._descriptors.select(None if timeout_s < 0 else timeout_s))
            elif self._edges.wait(timeout_s):
                self._process_events(self._descriptors.select(0))

            if timers:
                now = clock() + self._clock_step_s
                while timers and timers[0]._when < now:
                    timer = heapq.heappop(timers)
                    timer._scheduled = False
                    ready.append(timer)
            for _ in range(len(ready)) if ready else ():
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self.call_exception_handler(
                        {"message": f"fault in {handle!r}", "exception": error, "handle": handle}
                    )
                timer = handle = None  # so that their objects do not live until the next event
            if self._stopping:
                return
