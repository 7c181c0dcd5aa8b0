"""Limits how long an addon's code may block Byway: after LIMIT_S it is interrupted.

All of Byway runs in one thread, so a hook that loops or sleeps would stop every tunnel. A system timer raises BrokenOff
in such a hook (Unix, main thread), unless other processes have had the CPU meanwhile. Code that catches every
exception, and C code that does not return, cannot be interrupted: a watchdog thread then logs the addon and its hook.
`os._exit` in a hook ends Byway.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

if sys.platform == "linux":  # only Linux counts by thread
    from resource import RUSAGE_THREAD, getrusage

T = TypeVar("T")

log = logging.getLogger(__name__)

BUDGET_S = 0.05
"""Seconds a hook may compute while a connection waits for its answer. More is reported, and counts as a fault."""

LIMIT_S = 1.0
"""Seconds after which a hook that blocks all of Byway is stopped (Unix)."""

PATIENCE_S = 10.0
"""Seconds an `async` hook may wait. A `dial` has a relay handshake's time instead, which is a setting."""

FAULTS_MAX = 3
"""With this many faults an addon is disabled until its file is edited."""

_AGAIN = 0.25
"""The part of the limit after which a hook that catches BrokenOff gets it again."""


class BrokenOff(BaseException):
    """Raised in a hook that takes too long. Not an Exception: the hook's `except Exception` must not catch it."""


def cpu_and_waits() -> tuple[float, int]:
    """Returns this thread's CPU time in seconds, and its voluntary context switches, which count sleeps and waits for
    I/O."""
    if sys.platform != "linux":
        return time.perf_counter(), 0  # not measured per thread here: all elapsed time counts
    return time.thread_time(), getrusage(RUSAGE_THREAD).ru_nvcsw


def had_no_cpu(began: tuple[float, int]) -> bool:
    """Whether this thread has neither computed for BUDGET_S nor waited since `began`: other processes had the CPU."""
    cpu_s, waited = (now - then for now, then in zip(cpu_and_waits(), began, strict=True))
    return cpu_s < BUDGET_S and not waited


class TimeLimit:
    """Runs calls under the timer, one at a time. Call all methods in the same thread."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self._inside = False
        self._current: tuple[str, float] | None = None  # the name of the call, and its start (monotonic)
        self._began = (0.0, 0)  # see `cpu_and_waits`
        self._before: Any = None
        self._has_timer = False
        self._ended = threading.Event()
        self._watchdog: threading.Thread | None = None

    def start(self) -> None:
        """Starts the timer and the watchdog. Does nothing the second time."""
        if self._watchdog is not None:
            return
        if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
            # SIGALRM is handled in the main thread only. In another thread there is only the watchdog.
            self._before = signal.signal(signal.SIGALRM, self._on_alarm)
            self._has_timer = True
        self._ended.clear()
        self._watchdog = threading.Thread(target=self._watch, name="addon watchdog", daemon=True)
        self._watchdog.start()

    def close(self) -> None:
        """Ends the watchdog and restores the previous handler of SIGALRM."""
        if self._watchdog is None:
            return
        self._ended.set()
        self._watchdog.join()
        self._watchdog = None
        if self._has_timer:
            self._has_timer = False
            signal.signal(signal.SIGALRM, self._before)

    def run(self, call: Callable[[], T], what: str, began: tuple[float, int] | None = None) -> T:
        """Runs `call`, and returns its result; `what` names it in the log. `began`: `cpu_and_waits()` of just now, if
        the caller has it. Raises as `call` does, and BrokenOff."""
        if self._inside:  # a hook that calls another one: the outer limit holds for both
            return call()
        self._current, self._began = (what, time.monotonic()), began or cpu_and_waits()
        try:
            if not self._has_timer:
                return call()
            return self._timed(call)
        finally:
            self._current = None

    def _timed(self, call: Callable[[], T]) -> T:
        try:
            try:
                self._inside = True
                signal.setitimer(signal.ITIMER_REAL, self.limit_s, self.limit_s * _AGAIN)
                return call()
            finally:
                self._inside = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except BrokenOff:  # the alarm may also fire between the end of the call and the stop of the timer
            self._inside = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise

    def _on_alarm(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._inside or self._current is None:
            return
        if not had_no_cpu(self._began):
            raise BrokenOff
        self._current = self._current[0], time.monotonic()  # the watchdog waits as well

    def _watch(self) -> None:
        """Logs a call that runs long after it should have been interrupted, once per call, at the second look: before
        that, other processes may have had the CPU."""
        seen: tuple[str, float] | None = None
        logged: tuple[str, float] | None = None
        while not self._ended.wait(self.limit_s):
            current = self._current
            if current is None or current is logged or time.monotonic() - current[1] <= 2 * self.limit_s:
                continue
            if current is seen:
                logged = current
                log.error("%s blocks all of Byway and cannot be interrupted", current[0])
            seen = current
