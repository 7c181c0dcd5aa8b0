"""Keeps ClientHellos to one relay apart, once the network has punished a burst of them.

Some networks freeze all traffic between a client and an address after more than three ClientHellos of one name, each
less than 0.4 s after the one before it. A page of twelve hosts makes as many connections to an https relay. They are
made at once until such a punishment shows: handshakes of a burst get no answer, one after the other, although the relay
accepts connections. From then on hellos are kept apart, so that the relay works when the punishment is over. They are
kept apart from the first one on where visits have shown that the network counts hellos. Times are arguments, of one
clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

APART_S = 0.45
"""Seconds between hellos. Those networks count hellos that are less than 0.4 s apart."""

BURST = 4
"""The number of hellos, each less than APART_S after the one before it, that may be punished."""

SILENT_IN_A_ROW = 3
"""The number of unanswered handshakes of bursts, without an answered one between them, that are a punishment."""

LASTS_S = 600.0
"""Seconds for which hellos are kept apart after the last unanswered one: five times the punishment."""

_REMEMBERED = 64


class HelloSpacing:
    """The hellos to one relay."""

    __slots__ = ("_are_counted", "_begun", "_next_at", "_silent", "_until")

    def __init__(self, are_counted: Callable[[], bool] = lambda: False) -> None:
        """`are_counted`: see `Knowledge.hellos_are_counted`."""
        self._are_counted = are_counted
        self._begun: deque[float] = deque(maxlen=_REMEMBERED)  # the times of the last hellos
        self._silent = 0  # unanswered hellos of bursts in a row
        self._until = 0.0  # the time until which hellos are kept apart, since a burst of them was punished
        self._next_at = 0.0

    def is_active(self, now: float) -> bool:
        """Whether hellos are kept apart."""
        return now < self._until or self._are_counted()

    def was_punished(self, now: float) -> bool:
        """Whether a burst of hellos to this relay was punished lately."""
        return now < self._until

    def next_at(self, now: float) -> float:
        """The time at which a hello may leave: `now`, or later."""
        return max(now, self._next_at) if self.is_active(now) else now

    def take(self, now: float) -> float:
        """Returns `next_at`, and notes a hello at that time."""
        at = self.next_at(now)
        self._next_at = at + APART_S
        self._begun.append(at)
        return at

    def answered(self) -> None:
        self._silent = 0

    def unanswered(self, begun_at: float, now: float) -> None:
        """The hello that left at `begun_at` got no answer, although the relay had accepted the connection."""
        if self.was_punished(now):
            self._until = now + LASTS_S
        elif self._is_of_burst(begun_at):
            self._silent += 1
            if self._silent >= SILENT_IN_A_ROW:
                self._silent, self._until, self._next_at = 0, now + LASTS_S, now + APART_S

    def _is_of_burst(self, begun_at: float) -> bool:
        """Whether the hello was one of BURST hellos, each close to the one before it."""
        length, last, holds = 0, -APART_S, False
        for at in self._begun:
            if at - last >= APART_S:
                length, holds = 0, False
            length, last, holds = length + 1, at, holds or at == begun_at
            if holds and length >= BURST:
                return True
        return False
