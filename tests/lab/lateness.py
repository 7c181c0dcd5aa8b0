"""Measures how late the lab's own loop runs: how long a due callback had to wait for its turn.

The router, all servers and the visitors of a country share one loop, and on a busy machine it stands still for a while
now and then. Nothing in the country answers then, which is nobody's fault: a failure reports how late the loop was, so
that a reader can distinguish a machine that was too slow from a Byway that was wrong. Countries that share a loop share
the looks, each of which wakes it.
"""

from __future__ import annotations

import asyncio
from collections import deque

_STEP_S = 0.02
"""The time between two looks: a delay shorter than the link's round trip stays unseen, and changes nothing."""
_NOTABLE_S = 0.1
"""The least delay that counts: considerably more than a turn of the loop takes with everything in it."""


class _Looks:
    """Looks at the clock of one loop again and again, as long as somebody measures it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._told: list[Lateness] = []

    def tell(self, one: Lateness) -> None:
        self._told.append(one)
        if self._timer is None:
            self._look_again()

    def tell_no_more(self, one: Lateness) -> None:
        self._told.remove(one)
        if self._timer is not None and not self._told:
            self._timer.cancel()
            del _looks[self._loop]

    def _look_again(self) -> None:
        self._due = self._loop.time() + _STEP_S
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        for one in self._told:
            one.note(now - self._due, now)
        self._look_again()


_looks: dict[asyncio.AbstractEventLoop, _Looks] = {}  # of the loops that are measured


class Lateness:
    """Measured on one loop from `start` to `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = loop.time()
        self._worst: tuple[float, float] = (0.0, self._began)  # how late, and when
        self._notable: deque[tuple[float, float]] = deque(maxlen=10_000)

    def start(self) -> None:
        self._began = self._loop.time()
        _looks.setdefault(self._loop, _Looks(self._loop)).tell(self)

    def stop(self) -> None:
        _looks[self._loop].tell_no_more(self)

    def note(self, late: float, now: float) -> None:
        """Takes how late a look was, and when it was made, in seconds of the clock of the loop."""
        self._worst = max(self._worst, (late, now))
        if late > _NOTABLE_S:
            self._notable.append((late, now))

    def worst_since_s(self, at: float) -> float:
        """Returns the longest notable delay since that time of the loop's clock."""
        return max((late for late, looked_at in self._notable if looked_at >= at), default=0.0)

    def total_since_s(self, at: float) -> float:
        """Returns the sum of the notable delays since that time of the loop's clock."""
        return sum(late for late, looked_at in self._notable if looked_at >= at)

    def late_s(self, at: float) -> float:
        """Returns how long a packet may have waited that was noted at that time of the loop's clock."""
        return max((late for late, looked_at in self._notable if abs(looked_at - at) < _NOTABLE_S), default=_NOTABLE_S)

    def report(self) -> str:
        """Returns one sentence, for a failure."""
        now, (worst, at) = self._loop.time(), self._worst
        waited = sum(late for late, _ in self._notable)
        return (
            f"the lab's own loop was at most {worst:.2f} s late, {now - at:.1f} s before its end; more than "
            f"{_NOTABLE_S:g} s late {len(self._notable)} times, {waited:.1f} s of {now - self._began:.1f} s in all"
        )
