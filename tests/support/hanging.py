"""Fails a test that hangs, with the place where it hangs, so that the tests after it run.

pytest's own `faulthandler_timeout` ends the whole process, and pytest-xdist then loses the other tests of that worker.
So a signal comes first, whose handler raises in the main thread, which may be waiting for a lock, a process or a loop.
faulthandler remains for code that catches even that or holds the interpreter's lock, and `--max-worker-restart 0` then
ends the run.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import pytest

LONGEST_S = 240.0
"""Seconds of the longest test: four times what a test takes on a quiet machine, and less than faulthandler's 300 s."""
AGAIN_S = 25.0
"""Seconds until the exception is raised again, if it was caught or the teardown hangs too: twice before faulthandler
acts."""

_SIGNAL = signal.SIGUSR2  # SIGALRM is Byway's own, for hooks of addons


class Hanging:
    """Watches one test at a time. It is made and used in the main thread."""

    def __init__(self, *, longest_s: float = LONGEST_S, again_s: float = AGAIN_S) -> None:
        self._longest_s = longest_s
        self._again_s = again_s
        self._changed = threading.Condition()
        self._raise_at: float | None = None
        self._may_raise = False
        self._main = threading.main_thread().ident
        self._thread = threading.Thread(target=self._watch, name="tests that hang", daemon=True)

    def start(self) -> None:
        signal.signal(_SIGNAL, self._raise)
        self._thread.start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watches one test with its setup and teardown."""
        self._set(time.monotonic() + self._longest_s)
        try:
            yield
        finally:
            self._set(None)

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Raises in the block if its time is over: exceptions there are reported as the test's."""
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    def _set(self, raise_at: float | None) -> None:
        with self._changed:
            self._raise_at = raise_at
            self._changed.notify()

    def _watch(self) -> None:
        assert self._main is not None
        with self._changed:
            while True:
                wait_s = None if self._raise_at is None else self._raise_at - time.monotonic()
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                else:
                    signal.pthread_kill(self._main, _SIGNAL)
                    self._raise_at = time.monotonic() + self._again_s

    def _raise(self, number: int, frame: object) -> None:
        if self._may_raise:
            pytest.fail(f"it has run for {self._longest_s:g} s and hangs: this is where")
