"""Time that tests move by hand.

`Clock` is for code that is handed a clock. `run` is for code that waits on an asyncio loop: its loop's time jumps to
the next timer whenever nothing else is left to do, so a minute of back-off takes no time and happens in the same order
every run. Only for fakes: bytes on a real socket do not wait for a clock that jumps.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    """Seconds that pass only when told; call it to read it."""

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
    """Never waits for a timer: moves the clock to it instead."""

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
    """Runs `main` to its end in virtual time. Raises RuntimeError when everything waits for ever."""
    time = clock or Clock(0.0)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(time)) as runner:
        return runner.run(main)
