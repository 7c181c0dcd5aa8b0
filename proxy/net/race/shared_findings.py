"""Shares the findings of a race with the other races to its host, for some seconds.

A browser opens six connections at once to a site. When direct looks down in one race, it marks the host, and every
other race to it starts its next route at once, without the same wait. Local strategies are tried by one race only,
because a network that counts ClientHellos would see six times as many. The others wait until the strategy passed,
failed or looks dropped: they use one that passed, and skip one that failed. When the race that tries it ends, another
race goes on. Findings are no beliefs.

An address that has answered the ClientHello of one name is expected to answer that of another one soon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from proxy.model import Destination, Route, Stage, Symptom
from proxy.net.notify import Notify
from proxy.net.race.hello_ledger import HelloLedger

MARKS_MAX = 4096

ASK_COUNTED_S = 1.0
"""Seconds between two questions whether this network counts ClientHellos. Every race would ask otherwise."""


class FailedTry(NamedTuple):
    """The failure of a strategy in the race that tried it, and its time."""

    at: float
    stage: Stage
    symptom: Symptom


Answered = tuple[str, float, float]
"""The answers of an address to ClientHellos on direct routes: the host that the last one was for, its time, and the
time of the last one for any other host. A plain tuple, as SentHello is."""

_NO_ANSWER: Answered = ("", -math.inf, -math.inf)

_Try = tuple[Destination, Route]


class SharedFindings:
    """The findings about all hosts. Belongs to one loop."""

    __slots__ = (
        "_clock", "_failed", "_lasts_s", "_passed", "_trying", "answered", "are_counted", "ask_counted_at",
        "down_until", "failed_bursts", "hellos", "may_be_counted", "waiting",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float], *, lasts_s: float = 7.0) -> None:
        """`clock` is the loop's. A finding lasts `lasts_s`: the longest time until a direct attempt is judged."""
        self._clock = clock
        self._lasts_s = lasts_s
        self.down_until: dict[str, float] = {}
        """Host → the time until which its direct route is marked as down. Usually empty."""
        self._trying: dict[_Try, Notify] = {}  # the race that tries a strategy
        self._passed: dict[_Try, float] = {}  # the time at which a strategy last delivered
        self._failed: dict[_Try, FailedTry] = {}
        self.waiting: dict[Notify, str] = {}
        """The races under way, and the host of each: findings about it notify them."""
        self.hellos = HelloLedger()
        self.may_be_counted = False
        """Whether this network may count ClientHellos, since a burst of them went unanswered."""
        self.are_counted, self.ask_counted_at = False, 0.0
        """Whether it does, as beliefs said last, and when a race asks them again."""
        self.failed_bursts: set[str] = set()
        """The hosts of such bursts."""
        self.answered: dict[str, Answered] = {}
        """The answers of each address (with the port), MARKS_MAX at most. Races write it themselves, which costs no
        call."""

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
        """Removes the mark, since direct has answered."""
        if self.down_until:
            self.down_until.pop(host, None)

    def burst_failed(self, host: str) -> None:
        """A burst of ClientHellos for `host` went unanswered."""
        if len(self.failed_bursts) >= MARKS_MAX:
            self.failed_bursts.clear()
        self.failed_bursts.add(host)
        self.may_be_counted = True

    # -- addresses -------------------------------------------------------------------------------------------------

    def answered_another(self, address: str, host: str, since: float) -> bool:
        """Whether an address has answered for another host than `host` after `since`."""
        last_host, at, others_at = self.answered.get(address, _NO_ANSWER)
        return (others_at if last_host == host else at) > since

    # -- local strategies ------------------------------------------------------------------------------------------

    def may_try(self, to: Destination, route: Route, race: Notify) -> bool:
        """Whether this race may use a strategy now: the strategy has just passed, or no other race tries it. In the
        second case this race tries it from now on, and has to call `passed`, `failed` or `left`. With False, `race` is
        notified of the result."""
        key = to, route
        if self._clock() < self._passed.get(key, -self._lasts_s) + self._lasts_s:
            return True
        return self._trying.setdefault(key, race) is race

    def tries(self, to: Destination, route: Route, race: Notify) -> bool:
        return self._trying.get((to, route)) is race

    def passed(self, to: Destination, route: Route) -> None:
        """A strategy delivered: the races that wait may use it."""
        self._trim(self._passed)
        self._passed[to, route] = self._clock()
        self._failed.pop((to, route), None)
        self._end(to, route)

    def failed(self, to: Destination, route: Route, race: Notify, stage: Stage, symptom: Symptom) -> None:
        """The strategy that this race tried failed, or looks dropped: the races that wait skip it."""
        if self.tries(to, route, race):
            self._trim(self._failed)
            self._failed[to, route] = FailedTry(self._clock(), stage, symptom)
            self._end(to, route)

    def left(self, race: Notify) -> None:
        """The race has ended: another race may try its strategies."""
        for key in [key for key, trying in self._trying.items() if trying is race]:
            self._end(*key)

    def failed_since(self, to: Destination, route: Route, began_at: float) -> FailedTry | None:
        """Returns the failure of a strategy in another race since this one began; None when there is none. A race that
        began later tries the strategy itself."""
        failure = self._failed.get((to, route))
        return failure if failure is not None and failure.at >= began_at else None

    def _end(self, to: Destination, route: Route) -> None:
        if self._trying.pop((to, route), None) is not None:
            self._notify(to.host)

    def _notify(self, host: str) -> None:
        for notify, waits_for in self.waiting.items():  # a search, because findings are rare and races are frequent
            if waits_for == host:
                notify.set()

    def _trim(self, findings: dict[_Try, float] | dict[_Try, FailedTry]) -> None:
        if len(findings) >= MARKS_MAX:
            findings.clear()

    def clear_all(self) -> None:
        """Forgets all findings: the network changed, or the user has hosts forgotten. Tries under way go on. The caller
        says anew whether the network is known to count ClientHellos."""
        self.down_until.clear()
        self._passed.clear()
        self._failed.clear()
        self.hellos.clear()
        self.failed_bursts.clear()
        self.may_be_counted = self.are_counted = False
        self.ask_counted_at = 0.0
        self.answered.clear()
