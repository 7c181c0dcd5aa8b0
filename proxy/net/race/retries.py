"""When a relay that failed on its way is tried again, while a client waits for nothing else.

Relays restart, hiccup and lose their own network for seconds. A race tries such a relay again after waits that grow, a
few times a visit. All races share one schedule for each relay: together they try it once a second at most, with jitter,
and as soon as one of them gets through, the others follow at once. Pure timing: nothing is started here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from proxy.config.schema import Detect
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate, Phase

Relays = tuple[str, ...]
"""The relays of a route; a chain stands for itself."""


@dataclass(slots=True)
class _Outage:
    """Tries of one relay that failed, with none between that got through."""

    since: float
    latest: float  # when the last of them failed
    next_at: float  # no race tries it again before


class RetrySchedule:
    """For all races over the same relays. Times are the loop's, in seconds."""

    __slots__ = ("_detect", "_outages", "_rng", "_waiting")

    def __init__(self, detect: Detect, *, rng: random.Random | None = None) -> None:
        self._detect = detect
        self._rng = rng if rng is not None else random.SystemRandom()
        self._outages: dict[Relays, _Outage] = {}
        self._waiting: set[Notify] = set()

    def failed(self, relays: Relays, now: float) -> None:
        """A try has failed before the relay opened a path."""
        outage = self._outages.get(relays)
        if outage is None or now - outage.latest > self._detect.relay_backoff_max_s:
            outage = self._outages[relays] = _Outage(now, now, 0.0)
        outage.latest = now
        outage.next_at = max(outage.next_at, now + self.jittered(self._detect.relay_retry_s[0]))

    def retried(self, relays: Relays, now: float) -> None:
        """Some race tries the relay again: for a while no other does."""
        if (outage := self._outages.get(relays)) is not None:
            outage.next_at = now + self.jittered(self._detect.relay_retry_s[0])

    def opened(self, relays: Relays) -> None:
        """The relay has opened a path: all who wait for it may try it at once."""
        if self._outages and self._outages.pop(relays, None) is not None:
            for notify in self._waiting:
                notify.set()

    def due_at(self, relays: Relays) -> float:
        """When any race may try the relay again; 0: at once, since it has got through meanwhile."""
        outage = self._outages.get(relays)
        return 0.0 if outage is None else outage.next_at

    def is_recent(self, relays: Relays, now: float) -> bool:
        """Whether the outage is so young that a client is kept waiting for its end. For a relay that has been down for
        longer nobody waits who has nothing else to wait for."""
        outage = self._outages.get(relays)
        return outage is None or now - outage.since < self._detect.give_up_s

    def jittered(self, seconds: float) -> float:
        return seconds * (1 + self._detect.relay_backoff_jitter * self._rng.random())

    def subscribe(self, notify: Notify) -> None:
        """Rings `notify` whenever a relay is back, until `unsubscribe`."""
        self._waiting.add(notify)

    def unsubscribe(self, notify: Notify) -> None:
        self._waiting.discard(notify)


class Retries:
    """Of one race: how many further tries of its relays are left, and when the next one is due."""

    __slots__ = ("_detect", "_failed_at", "_next_at", "_notify", "_schedule", "_started")

    def __init__(self, schedule: RetrySchedule, detect: Detect, notify: Notify) -> None:
        self._schedule = schedule
        self._detect = detect
        self._notify = notify
        self._started = 0
        self._failed_at = 0.0
        self._next_at = 0.0  # no try of this race before, unless another one gets through

    def due_at(self, candidate: Candidate) -> float | None:
        """When the relay of `candidate`, its latest try, may be tried again; None: not at all.

        One that failed on its way; and one that is silent for long, beside the silent try: a relay that accepts
        connections and does not answer may be back for those that are made anew."""
        if self._started >= len(self._detect.relay_retry_s):
            return None
        due_at = self._schedule.due_at(candidate.route.relays)
        if candidate.failed_on_its_way:
            if not due_at:  # it works for others; a relay may also fail for one destination alone
                return self._failed_at + self._detect.relay_retry_s[0]
            return max(due_at, self._next_at)
        if candidate.phase is Phase.DIALING:
            return max(due_at, candidate.started_at + self._detect.relay_silent_s)
        return None

    def is_worth_the_wait(self, candidate: Candidate, now: float) -> bool:
        """Whether a client that could be told now waits for the next try of this relay, which is due some time."""
        return self._schedule.is_recent(candidate.route.relays, now)

    def started(self, relays: Relays, now: float) -> None:
        """A relay is tried again."""
        self._started += 1
        self._schedule.retried(relays, now)

    def failed(self, relays: Relays, now: float) -> None:
        """A try of a relay failed on its way, the first one or a later one."""
        self._schedule.failed(relays, now)
        self._schedule.subscribe(self._notify)
        steps = self._detect.relay_retry_s
        self._failed_at = now
        self._next_at = now + self._schedule.jittered(steps[min(self._started, len(steps) - 1)])

    def opened(self, relays: Relays) -> None:
        """The relay has opened a path."""
        self._schedule.opened(relays)

    def close(self) -> None:
        """The race is over."""
        self._schedule.unsubscribe(self._notify)
