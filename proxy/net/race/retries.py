"""Decides when a relay that failed before it opened a path is retried, while a client waits.

Relays restart and lose their own network for seconds. A race retries such a relay a few times, after waits that grow.
All races share one schedule for each relay: together they retry it once a second at most, with jitter, and as soon as
one of them gets through, the others follow at once. Where there are more relays than a race opens at once, it begins
with those that no race has tried yet, so that a visit goes on where the last one ended. This module only computes times
and orders, and starts nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Route
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate, Phase

Relays = tuple[str, ...]
"""The relays of a route; a chain counts as one relay."""


@dataclass(slots=True)
class _Outage:
    """Failed tries of one relay, with no success between."""

    since: float
    latest: float  # the time of the last failure
    next_at: float  # no race retries the relay before this time


class RetrySchedule:
    """Shared by all races over the same relays. Times are the loop's, in seconds."""

    __slots__ = ("_delivered", "_detect", "_in_vain", "_outages", "_rng", "_slow", "server_of", "waiting")

    def __init__(
        self,
        detect: DetectTuning,
        *,
        rng: random.Random | None = None,
        server_of: Callable[[Relays], Hashable] = lambda relays: relays,
    ) -> None:
        """`server_of` returns the same for relays that are reached at one server."""
        self._detect = detect
        self.server_of = server_of
        self._rng = rng if rng is not None else random.SystemRandom()
        self._outages: dict[Relays, _Outage] = {}
        self._delivered: dict[Relays, None] = {}  # the few that delivered last, the latest at the end
        self._in_vain: dict[Relays, float] = {}  # others that were tried, and have not delivered since: when
        self._slow: set[Relays] = set()  # those whose last path took longer than `hedge_relay_s` to open
        self.waiting: set[Notify] = set()
        """Races in which a relay failed: they are notified when one works again."""

    def tried(self, relays: Relays, now: float) -> None:
        """A race begins to open a path through the relay."""
        if relays not in self._delivered:
            self._in_vain[relays] = now

    def delivered(self, relays: Relays) -> None:
        """The relay delivered. One that only opened a path may be a key that has expired."""
        self._in_vain.pop(relays, None)
        self._delivered.pop(relays, None)
        self._delivered[relays] = None
        if len(self._delivered) > self._detect.relay_openings_max:
            del self._delivered[next(iter(self._delivered))]

    def arranged(self, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        """Returns the routes of a race with more relays than it opens at once in the order in which it tries them. Only
        relays change places. Those that were tried in vain come last, the latest at the end. Once one has
        delivered, the first relay stays first, and those that delivered last follow it."""
        relayed = [route for route in routes if route.relays]
        kept = int(any(route.relays in self._delivered for route in relayed))
        relayed[kept:] = sorted(
            relayed[kept:],
            key=lambda route: (route.relays not in self._delivered, self._in_vain.get(route.relays, -math.inf)),
        )
        arranged = iter(relayed)
        return tuple([next(arranged) if route.relays else route for route in routes])

    def failed(self, relays: Relays, now: float) -> None:
        """A try failed before the relay opened a path."""
        outage = self._outages.get(relays)
        if outage is None or now - outage.latest > self._detect.relay_backoff_max_s:
            outage = self._outages[relays] = _Outage(now, now, 0.0)
        outage.latest = now
        outage.next_at = max(outage.next_at, now + self.jittered(self._detect.relay_retry_s[0]))

    def retried(self, relays: Relays, now: float) -> None:
        """A race retries the relay now: the others wait for the result."""
        if (outage := self._outages.get(relays)) is not None:
            outage.next_at = now + self.jittered(self._detect.relay_retry_s[0])

    def opened(self, relays: Relays, took_s: float) -> None:
        """The relay opened a path, after `took_s`: every race that waits for it may retry at once."""
        if took_s > self._detect.hedge_relay_s:
            self._slow.add(relays)
        elif self._slow:
            self._slow.discard(relays)
        if self._outages and self._outages.pop(relays, None) is not None:
            for notify in self.waiting:
                notify.set()

    def due_at(self, relays: Relays) -> float:
        """The time from which any race may retry the relay; 0: at once, since it works for another race."""
        outage = self._outages.get(relays)
        return 0.0 if outage is None else outage.next_at

    def is_recent(self, relays: Relays, now: float) -> bool:
        """Whether the outage is younger than `give_up_s`, so that a client may wait for its end while nothing else is
        under way."""
        outage = self._outages.get(relays)
        return outage is None or now - outage.since < self._detect.give_up_s

    def is_slow(self, relays: Relays) -> bool:
        """Whether its last path took so long to open that a usual relay would have been overtaken."""
        return relays in self._slow

    def jittered(self, seconds: float) -> float:
        return seconds * (1 + self._detect.relay_backoff_jitter * self._rng.random())


class Retries:
    __slots__ = ("_detect", "_failed_at", "_next_at", "_notify", "_schedule", "_started")

    def __init__(self, schedule: RetrySchedule, detect: DetectTuning, notify: Notify) -> None:
        self._schedule = schedule
        self._detect = detect
        self._notify = notify
        self._started = 0
        self._failed_at = 0.0
        self._next_at = 0.0  # this race retries no relay before, unless the relay works for another race

    def due_at(self, candidate: Candidate) -> float | None:
        """The time from which the relay of `candidate`, its latest try, may be retried; None: not at all.

        A relay is retried when it failed before it opened a path, and once when its path broke off before an answer.
        It is also retried beside a try that was silent for `relay_silent_s`: a relay that restarted may answer new
        connections only."""
        if self._started >= len(self._detect.relay_retry_s):
            return None
        due_at = self._schedule.due_at(candidate.route.relays)
        if candidate.failed_on_its_way:
            if not due_at:  # it works for other races; it may still fail for this destination alone
                return self._failed_at + self._detect.relay_retry_s[0]
            return max(due_at, self._next_at)
        if candidate.broke_off:
            return max(due_at, candidate.ended_at + self._detect.relay_retry_s[0])
        if candidate.phase is Phase.DIALING:
            return max(due_at, candidate.started_at + self._detect.relay_silent_s)
        return None

    def started(self, relays: Relays, now: float) -> None:
        self._started += 1
        self._schedule.retried(relays, now)

    def failed(self, relays: Relays, now: float) -> None:
        """A try of a relay, the first one or a retry, failed before it opened a path."""
        self._schedule.failed(relays, now)
        self._schedule.waiting.add(self._notify)
        steps = self._detect.relay_retry_s
        self._failed_at = now
        self._next_at = now + self._schedule.jittered(steps[min(self._started, len(steps) - 1)])
