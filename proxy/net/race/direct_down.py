"""Hosts whose direct route looks down, shared by all races: a negative cache with a short life.

A browser opens six connections at once to a site. When one race finds that direct looks down, the others would each
wait as long for the same result. So the first marks the host, and every race to it starts its next route at once. A
mark lasts as long as a direct attempt may go unjudged. It is no belief: it only shortens waiting.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.net.notify import Notify

MARKS_MAX = 4096


class DirectDownCache:
    """The hosts whose direct route looks down now. Belongs to one loop."""

    __slots__ = ("_clock", "_lasts_s", "down_until", "waiting")

    def __init__(self, clock: Callable[[], float], *, lasts_s: float = 7.0) -> None:
        """`clock` is the loop's; a mark lasts `lasts_s`."""
        self._clock = clock
        self._lasts_s = lasts_s
        self.down_until: dict[str, float] = {}
        """Until when each host is marked; most of the time there is none."""
        self.waiting: dict[Notify, str] = {}
        """The races under way, and the host of each: they are notified when it is marked."""

    def mark_down(self, host: str) -> None:
        """Direct looks down for `host`: notifies the races to it."""
        now = self._clock()
        if len(self.down_until) >= MARKS_MAX:
            self.down_until = {other: until for other, until in self.down_until.items() if until > now}
            if len(self.down_until) >= MARKS_MAX:
                self.down_until.clear()
        self.down_until[host] = now + self._lasts_s
        for notify, waits_for in self.waiting.items():  # marks are rare, and races are not: a race costs no call
            if waits_for == host:
                notify.set()

    def is_down(self, host: str) -> bool:
        """Whether `host` is marked and the mark has not expired."""
        return self.down_until.get(host, 0.0) > self._clock()

    def clear(self, host: str) -> None:
        """Direct has answered, so the mark is gone."""
        if self.down_until:
            self.down_until.pop(host, None)

    def clear_all(self) -> None:
        """The network changed, and every mark was about the old one; or the hosts are to be forgotten."""
        self.down_until.clear()
