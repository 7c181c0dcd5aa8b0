"""What races to one host find out for each other, within seconds: no belief, it only spares what would find the same.

A browser opens six connections at once to a site. When one race finds that direct looks down, the others would each
wait as long for the same result: so it marks the host, and every race to it starts its next route at once. And each
would then try the same local strategies, so that a network which counts ClientHellos sees six times as many. So one
race tries a strategy, and the others wait until it has passed, failed or looks dropped: they take the one that passed,
and pass over the one that failed. When the race that tries it ends, another one goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy.model import Destination, Route, Stage, Symptom
from proxy.net.notify import Notify
from proxy.net.race.hello_ledger import HelloLedger

MARKS_MAX = 4096


class FailedTry(NamedTuple):
    """How a strategy failed in the race that tried it, and when."""

    at: float
    stage: Stage
    symptom: Symptom


_Try = tuple[Destination, Route]


class SharedFindings:
    """What was found out of each host. Belongs to one loop."""

    __slots__ = ("_clock", "_failed", "_lasts_s", "_passed", "_trying", "down_until", "hellos", "waiting")

    def __init__(self, clock: Callable[[], float], *, lasts_s: float = 7.0) -> None:
        """`clock` is the loop's; a finding lasts `lasts_s`: as long as a direct attempt may go unjudged."""
        self._clock = clock
        self._lasts_s = lasts_s
        self.down_until: dict[str, float] = {}
        """Until when each host's direct route is marked as down; most of the time there is none."""
        self._trying: dict[_Try, Notify] = {}  # the race that tries a strategy
        self._passed: dict[_Try, float] = {}  # when a strategy last delivered
        self._failed: dict[_Try, FailedTry] = {}
        self.waiting: dict[Notify, str] = {}
        """The races under way, and the host of each: they are notified of what is found out of it."""
        self.hellos = HelloLedger()

    # -- direct ----------------------------------------------------------------------------------------------------

    def mark_down(self, host: str) -> None:
        """Direct looks down for `host`: notifies the races to it."""
        now = self._clock()
        if len(self.down_until) >= MARKS_MAX:
            self.down_until = {other: until for other, until in self.down_until.items() if until > now}
            if len(self.down_until) >= MARKS_MAX:
                self.down_until.clear()
        self.down_until[host] = now + self._lasts_s
        self._notify(host)

    def is_down(self, host: str) -> bool:
        """Whether `host` is marked and the mark has not expired."""
        return self.down_until.get(host, 0.0) > self._clock()

    def clear(self, host: str) -> None:
        """Direct has answered, so the mark is gone."""
        if self.down_until:
            self.down_until.pop(host, None)

    # -- local strategies ------------------------------------------------------------------------------------------

    def may_try(self, to: Destination, route: Route, race: Notify) -> bool:
        """Whether this race may try a strategy now: it has just passed, or no other race tries it. Then this one does,
        and has to call `passed`, `failed` or `left`. Otherwise `race` is notified of what comes of it."""
        key = to, route
        if self._clock() < self._passed.get(key, -self._lasts_s) + self._lasts_s:
            return True
        return self._trying.setdefault(key, race) is race

    def tries(self, to: Destination, route: Route, race: Notify) -> bool:
        """Whether it is this race that tries the strategy."""
        return self._trying.get((to, route)) is race

    def passed(self, to: Destination, route: Route) -> None:
        """A strategy delivered: the attempts that wait may use it."""
        self._trim(self._passed)
        self._passed[to, route] = self._clock()
        self._failed.pop((to, route), None)
        self._end(to, route)

    def failed(self, to: Destination, route: Route, race: Notify, stage: Stage, symptom: Symptom) -> None:
        """The strategy that this race tried failed, or looks dropped: the attempts that wait skip it."""
        if self.tries(to, route, race):
            self._trim(self._failed)
            self._failed[to, route] = FailedTry(self._clock(), stage, symptom)
            self._end(to, route)

    def left(self, race: Notify) -> None:
        """The race has ended: another one tries what it tried."""
        for key in [key for key, trying in self._trying.items() if trying is race]:
            self._end(*key)

    def failed_since(self, to: Destination, route: Route, began_at: float) -> FailedTry | None:
        """How a strategy failed in another race since this one began. A later race tries for itself."""
        found = self._failed.get((to, route))
        return found if found is not None and found.at >= began_at else None

    def _end(self, to: Destination, route: Route) -> None:
        if self._trying.pop((to, route), None) is not None:
            self._notify(to.host)

    def _notify(self, host: str) -> None:
        for notify, waits_for in self.waiting.items():  # findings are rare, and races are not: a race costs no call
            if waits_for == host:
                notify.set()

    def _trim(self, findings: dict[_Try, float] | dict[_Try, FailedTry]) -> None:
        if len(findings) >= MARKS_MAX:
            findings.clear()

    def clear_all(self) -> None:
        """The network changed, and every finding was about the old one; or the hosts are to be forgotten. What races
        try now goes on."""
        self.down_until.clear()
        self._passed.clear()
        self._failed.clear()
        self.hellos.clear()
