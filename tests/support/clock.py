"""Virtual time for tests.

`Clock` is for code that takes a clock as an argument. `run` is for code that waits on an asyncio loop: the time of its
loop jumps to the next timer whenever nothing else is left to do, so a minute of back-off takes no time and each run has
the same order. Use it for fakes only: bytes on a real socket do not wait for a virtual clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    """A clock that the test moves. A call returns its time in seconds."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        if seconds < 0:
            raise ValueError("this clock does not go back; set `now` for a clock that jumped")
        self.now += seconds
        return self.now


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves the clock to the next timer in place of waiting."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer at all: only another thread could go on, and there is none here
            raise RuntimeError("everything waits and nothing can wake it")
        ready = super().select(0)
        if not ready and timeout > 0:
            self._clock.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a Clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        super().__init__(_JumpingSelector(clock))

    def time(self) -> float:
        return self.clock.now


def run(main: Coroutine[Any, Any, T], clock: Clock | None = None) -> T:
    """Runs `main` in virtual time, and returns its result. Raises RuntimeError if all tasks wait for ever."""
    time = clock or Clock(0.0)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(time)) as runner:
        return runner.run(main)
