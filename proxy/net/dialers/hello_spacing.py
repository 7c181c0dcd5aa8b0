"""Keeps ClientHellos to one relay apart, once the network has punished several at once.

There are networks that freeze a client and an address once the client has sent there more than three ClientHellos of
one name, each less than 0.4 s after the one before it. A page of twelve hosts makes as many connections to an https
relay. Elsewhere they may be made at once, so they are until such a punishment shows: handshakes that were begun in a
burst, one after the other, get no answer though the relay accepts connections. From then on hellos are apart, so that
the relay is there when the punishment has passed. Pure: times are arguments, of one clock.
"""

from __future__ import annotations

from collections import deque

APART_S = 0.45
"""Less than 0.4 s apart is what those networks count."""

BURST = 4
"""So many, each less than APART_S after the one before it, may be punished."""

SILENT_IN_A_ROW = 3
"""So many handshakes of bursts that got no answer, and none that did between them, are a punishment."""

LASTS_S = 600.0
"""How long hellos are kept apart after the last one that got no answer: five times as long as the punishment."""

_REMEMBERED = 64


class HelloSpacing:
    """Of one relay."""

    __slots__ = ("_begun", "_next_at", "_silent", "_until")

    def __init__(self) -> None:
        self._begun: deque[float] = deque(maxlen=_REMEMBERED)  # when the last hellos left
        self._silent = 0  # in a row
        self._until = 0.0  # how long they are kept apart
        self._next_at = 0.0

    def is_active(self, now: float) -> bool:
        """Whether hellos are kept apart."""
        return now < self._until

    def next_at(self, now: float) -> float:
        """When a hello may leave: `now`, or later."""
        return max(now, self._next_at) if self.is_active(now) else now

    def take(self, now: float) -> float:
        """As `next_at`, for one that then leaves: the next one comes after it."""
        at = self.next_at(now)
        self._next_at = at + APART_S
        self._begun.append(at)
        return at

    def answered(self) -> None:
        """A hello was answered."""
        self._silent = 0

    def unanswered(self, begun_at: float, now: float) -> None:
        """The hello that left at `begun_at` got no answer, though the relay had accepted the connection."""
        if self.is_active(now):
            self._until = now + LASTS_S
        elif self._is_of_burst(begun_at):
            self._silent += 1
            if self._silent >= SILENT_IN_A_ROW:
                self._silent, self._until, self._next_at = 0, now + LASTS_S, now + APART_S

    def _is_of_burst(self, begun_at: float) -> bool:
        """Whether it was one of BURST hellos, each close to the one before it."""
        length, last, holds = 0, -APART_S, False
        for at in self._begun:
            if at - last >= APART_S:
                length, holds = 0, False
            length, last, holds = length + 1, at, holds or at == begun_at
            if holds and length >= BURST:
                return True
        return False
