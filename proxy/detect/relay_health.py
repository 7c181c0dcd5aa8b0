"""The health of relays, from the user's own traffic and measurements: no relay is ever probed on a timer.

A fault of the relay itself (`relay_faults`) counts at once, without a comparison. Silence counts only when another
route works, since otherwise the network may be at fault; after `relay_failures` in a row the circuit breaker opens. A
relay whose breaker is open is ordered last, never removed, until a back-off is over that doubles with each further
failure. A success or a change of network closes the breaker. A relay that is far slower than the quickest is ordered
behind the quick ones; apart from that the user's order stands.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_faults import NotedFault, RelayFault, relay_fault
from proxy.model import Attempt, MeasurementStep, Outcome, Route, Stage, StepKind, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass

SLOW_S = 2.0
SLOW_TIMES = 4.0
"""A relay is slow when its mean time is above both: SLOW_S, and SLOW_TIMES that of the quickest relay."""

WORKED_S = 3600.0
"""Seconds after a delivery during which a relay counts as working."""

STALLED_S = 60.0
"""Seconds after a stalled transfer for which a relay goes last, as its way goes last among its ways. The client asks
again at once, and a relay that has vanished would cost it 3 s."""

SMOOTHING = 0.3
"""Share of the newest time in the running mean."""

TIMES_KEPT = 15
"""Times of the latest visits whose median is a relay's usual time in a group: one slow site does not move it."""

MEASURED_S = 3_600.0
"""How long these times count when no visit takes the relay."""

REST_S = 120.0
REST_MAX_S = 960.0
STEADY_S = 600.0
"""How long a group puts a relay that failed behind the others, which doubles each time it fails soon after that, up to
REST_MAX_S. A relay that worked for STEADY_S begins anew. The back-off of the breaker begins with 5 s: a relay that
fails every other visit would come and go with it."""

_AT_THE_ORIGIN = frozenset({Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.SILENT, Symptom.TIMEOUT})


@dataclass(slots=True)
class RelayHealth:
    """The health of one relay, or of one chain."""

    failures: int = 0  # in a row
    failed_at: float = 0.0
    worked_at: float = 0.0
    usual_s: float = 0.0  # running mean until the first byte; 0: not measured
    open_until: float = 0.0  # the breaker is open until then
    last_error: str = ""
    fault: NotedFault | None = None  # its fault now
    last_fault: NotedFault | None = None  # the latest one, also when it is over
    rests_until: float = 0.0  # groups put it behind the others until then
    rest_s: float = 0.0  # how long it rested the last time
    times_s: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))  # until the first byte, lately
    timed_at: float = -math.inf  # when the newest of them was measured


@frozen_dataclass
class KnownHealth:
    """The health of one relay, or of one chain, as it is kept over a restart."""

    relay: str
    failures: int = 0
    failed_at: float = 0.0
    worked_at: float = 0.0
    usual_s: float = 0.0
    open_until: float = 0.0
    rests_until: float = 0.0
    rest_s: float = 0.0
    last_error: str = ""
    fault: NotedFault | None = None
    last_fault: NotedFault | None = None


_KEPT = tuple(kept.name for kept in fields(KnownHealth) if kept.name != "relay")

RENEWED_S = 60.0
"""A relay that goes on working is worth saving again after this time."""


@frozen_dataclass
class Conditions:
    """The conditions under which relays were tried."""

    may_blame: bool = True  # False: offline, behind a portal, just after resume
    clock_is_right: bool = False  # a certificate was valid lately
    is_near: bool = False  # the host is on the local network, so its delivery is no control
    direct_worked_at: float = -math.inf  # when a site last delivered direct, seconds since the epoch

    def may_count(self, fault: RelayFault) -> bool:
        """Whether a fault may be the relay's. For a certificate that is not valid today the clock must be right."""
        return self.may_blame and (fault is not RelayFault.CERTIFICATE_DATE or self.clock_is_right)


FAIR = Conditions()
NEAR = Conditions(is_near=True)


class Health:
    """The health of all relays. Belongs to one thread.

    `version` grows whenever `order` may return something else, but for the passing of time, of which `order_until`
    tells."""

    def __init__(self, settings: DetectTuning, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._backoff_longest_s = settings.relay_backoff_max_s * (1 + settings.relay_backoff_jitter)
        self._rng = rng if rng is not None else random.SystemRandom()
        self.version = 0
        self.revision = 0
        """Grows whenever what `remembered` returns is worth saving again."""
        self.unconfirmed: dict[str, NotedFault] = {}
        """By relay, the faults that count once another route works."""
        self._relays: dict[str, RelayHealth] = {}
        self._delivered: dict[tuple[str, ...], float] = {}  # by route.relays: when it last delivered

    def order(self, names: Sequence[str], now: float) -> list[str]:
        """Returns the names ordered: quick relays in the user's order, then slow ones, then those with an open breaker
        by the end of their back-off."""
        for relay in self._relays.values():
            if relay.open_until or relay.usual_s > SLOW_S:
                break
        else:
            return list(names)  # the usual case
        known = [self._relays.get(name) for name in names]
        quickest = min((relay.usual_s for relay in known if relay is not None and relay.usual_s), default=0.0)

        def rank(name: str) -> tuple[int, float]:
            relay = self._relays.get(name)
            if relay is None:
                return 0, 0.0
            if self._is_open(relay, now):
                return 2, relay.open_until
            return int(_is_slow(relay.usual_s, quickest)), 0.0

        return sorted(names, key=rank)

    def order_until(self, now: float) -> float:
        """Until when `order` returns for any names at each later time what it returns at `now`, as long as `version`
        stays the same. `now` itself: it may change at any time."""
        until = math.inf
        for relay in self._relays.values():
            if now < relay.open_until:
                until = min(until, relay.open_until if self._is_open(relay, now) else now)
        return until

    def learn(self, outcome: Outcome, now: float, conditions: Conditions = FAIR) -> bool:
        """Learns from one connection about the relays that it tried. Returns whether a relay failed itself, or the
        network did."""
        failed = False
        for name, attempt in _last_of_each(outcome.attempts).items():
            if attempt.delivered:
                self.worked(name, now, elapsed_s=attempt.elapsed)
                continue
            compared = outcome.winner is not None and outcome.winner.relays != attempt.route.relays
            fault = relay_fault(attempt)
            if fault is None and compared and (_delivers_nothing(attempt) or self._was_overtaken(attempt, outcome)):
                fault = RelayFault.DELIVERS_NOTHING
            if fault is not None and conditions.may_count(fault):
                failed = True
                noted = NotedFault(fault, outcome.at + attempt.started, now, attempt.error)
                compared &= not conditions.is_near
                self._note(name, noted, compared=compared or conditions.direct_worked_at >= noted.since)
        if outcome.winner is not None and not conditions.is_near:
            self._route_worked(outcome.winner, now)
        return failed

    def _was_overtaken(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Whether a relay was silent for so long that the next one was tried, and that one delivered. Nothing waits
        for the end of the first one then, so it would never count as silent, and each visit would wait for it."""
        by_another = outcome.winner is not None and bool(outcome.winner.relays)
        is_silent = attempt.symptom is Symptom.ABANDONED and attempt.stage in (Stage.CONNECT, Stage.RELAY)
        return by_another and is_silent and attempt.elapsed >= self._settings.hedge_relay_s

    def learn_steps(
        self, steps: Sequence[MeasurementStep], began_at: float, now: float, conditions: Conditions = FAIR
    ) -> None:
        """Learns from a measurement that began at `began_at` about the relays that it tried."""
        for step in steps:
            fault = relay_fault(step) if step.failed and step.kind is StepKind.RELAY else None
            if fault is not None and conditions.may_count(fault):
                compared = conditions.direct_worked_at >= began_at
                self._note(relay_name(step.route), NotedFault(fault, began_at, now, step.text), compared=compared)
        for step in steps:
            if step.ok and step.kind in (StepKind.ANSWER, StepKind.CONTROL):
                if step.route.relays:
                    self.worked(relay_name(step.route), now)
                if not conditions.is_near:
                    self._route_worked(step.route, now)

    def _note(self, name: str, noted: NotedFault, *, compared: bool) -> None:
        """Notes a fault of an attempt that began at `noted.since`. One that needs a comparison waits for it."""
        if not noted.fault.needs_comparison or compared or self._has_worked_beside(name, noted.since):
            self.failed(name, noted.seen_at, error=noted.error, fault=noted.fault)
        else:
            self.unconfirmed[name] = noted

    def _route_worked(self, route: Route, now: float) -> None:
        """A route delivered, so the waiting faults of all other relays are their own."""
        self._delivered[route.relays] = now
        if not self.unconfirmed:
            return
        for name, waiting in list(self.unconfirmed.items()):
            if tuple(name.split(">")) == route.relays:
                continue
            del self.unconfirmed[name]
            if 0 <= now - waiting.seen_at <= self._settings.rescue_window_s:
                self.failed(name, now, error=waiting.error, fault=waiting.fault)

    def _has_worked_beside(self, name: str, since: float) -> bool:
        """Whether another route than relay `name` has delivered since then."""
        return any(at >= since for relays, at in self._delivered.items() if ">".join(relays) != name)

    def failed(self, name: str, now: float, *, error: str = "", fault: RelayFault | None = None) -> None:
        """Counts a failure of the relay: its own fault, or one where another route worked."""
        relay = self._relays.setdefault(name, RelayHealth())
        relay.failures += 1
        self.revision += 1
        relay.failed_at = now
        relay.last_error = error
        self.unconfirmed.pop(name, None)
        if fault is not None and (
            fault is not RelayFault.DELIVERS_NOTHING or relay.failures >= self._settings.relay_failures
        ):
            since = relay.fault.since if relay.fault is not None else now
            relay.fault = relay.last_fault = NotedFault(fault, since, now, error)
        at_once = fault is not None and not fault.needs_comparison
        beyond = relay.failures - (1 if at_once else self._settings.relay_failures)
        if beyond >= 0:
            wait_s = min(self._settings.relay_backoff_max_s, self._settings.relay_backoff_s * 2.0 ** min(beyond, 30))
            relay.open_until = now + wait_s * (1 + self._settings.relay_backoff_jitter * self._rng.random())
            if not now < relay.rests_until <= now + REST_MAX_S:
                again = 0 <= now - relay.rests_until < STEADY_S
                relay.rest_s = min(2 * relay.rest_s, REST_MAX_S) if again else REST_S
                relay.rests_until = now + relay.rest_s
            self.version += 1

    def stalled(self, name: str, now: float, *, error: str) -> None:
        """A transfer through the relay stopped for good, while the network was there: visits take another relay first
        for STALLED_S, or until this one works."""
        self.failed(name, now, error=error, fault=RelayFault.STALLED)
        relay = self._relays[name]
        relay.open_until = max(relay.open_until, now + min(STALLED_S, self._settings.relay_backoff_max_s))

    def worked(self, name: str, now: float, *, elapsed_s: float | None = None) -> None:
        """Counts a success of the relay. `elapsed_s`: seconds until the first byte, of a visit. Without it, a test or a
        measurement showed it: a user who asked for one after a repair need not wait until the relay has rested."""
        relay = self._relays.get(name)
        if relay is None:
            relay = self._relays[name] = RelayHealth()
        if relay.failures or not relay.worked_at <= now < relay.worked_at + RENEWED_S:
            self.revision += 1
        if elapsed_s is None and relay.rests_until:
            relay.rests_until = relay.rest_s = 0.0
            self.version += 1
        elif relay.open_until:
            self.version += 1
        relay.failures, relay.open_until, relay.last_error, relay.fault = 0, 0.0, "", None
        self.unconfirmed.pop(name, None)
        relay.worked_at = now
        if elapsed_s is not None:
            if not relay.timed_at <= now < relay.timed_at + MEASURED_S:
                relay.times_s.clear()
            relay.times_s.append(elapsed_s)
            relay.timed_at = now
            before = relay.usual_s
            relay.usual_s = after = before + (elapsed_s - before) * (SMOOTHING if before else 1.0)
            for other in self._relays.values():
                # Seldom is any that slow at all.
                may_be_slow = other.usual_s > SLOW_S or before > SLOW_S or after > SLOW_S
                if may_be_slow and other is not relay and _differs(other.usual_s, before, after):
                    self.version += 1
                    break

    def of(self, name: str) -> RelayHealth:
        """The health of one relay; all zero when it was never used."""
        return self._relays.get(name) or RelayHealth()

    def working(self, names: Iterable[str], now: float) -> Mapping[str, float]:
        """The relays among `names` that delivered in the last WORKED_S and have not failed since, and when each last
        did."""
        return {name: at for name, at in self.delivering(names).items() if 0 <= now - at <= WORKED_S}

    def delivering(self, names: Iterable[str]) -> Mapping[str, float]:
        """The relays among `names` that have delivered and not failed since, and when each last did, however long ago:
        what is said of a site does not change while nothing happens."""
        known = {name: self.of(name) for name in names}
        return {name: relay.worked_at for name, relay in known.items() if relay.worked_at and not relay.failures}

    def is_open(self, name: str, now: float) -> bool:
        """Whether its breaker is open."""
        return self._is_open(self.of(name), now)

    def standing(self, name: str, now: float) -> int:
        """0 for a relay that may go first, 1 for one that rests after a failure, 2 for one whose breaker is open."""
        relay = self._relays.get(name)
        if relay is None or not relay.rests_until:
            return 0
        if self._is_open(relay, now):
            return 2
        return int(now < relay.rests_until <= now + REST_MAX_S)

    def standing_until(self, name: str, now: float) -> float:
        """Until when `standing` stays the same, as long as `version` does."""
        relay = self._relays.get(name)
        until = math.inf
        if relay is not None:
            for end, longest_s in ((relay.open_until, self._backoff_longest_s), (relay.rests_until, REST_MAX_S)):
                if now < end:
                    until = min(until, end if end <= now + longest_s else end - longest_s)
        return until

    def median_s(self, name: str) -> float:
        """The median time until the first byte of the latest visits through it; 0: not measured."""
        relay = self._relays.get(name)
        return sorted(relay.times_s)[len(relay.times_s) // 2] if relay is not None and relay.times_s else 0.0

    def faults(self) -> Mapping[str, NotedFault]:
        """The faults of now, by relay."""
        return {name: relay.fault for name, relay in self._relays.items() if relay.fault is not None}

    def remembered(self) -> list[KnownHealth]:
        """Returns what is worth keeping over a restart."""
        return [
            KnownHealth(name, **{kept: getattr(relay, kept) for kept in _KEPT}) for name, relay in self._relays.items()
        ]

    def restore(self, known: Iterable[KnownHealth]) -> None:
        """Takes what was kept, of relays of which nothing has been learned since."""
        for health in known:
            if health.relay not in self._relays:
                self._relays[health.relay] = RelayHealth(**{kept: getattr(health, kept) for kept in _KEPT})
                self.version += 1

    def forget(self, names: Collection[str]) -> None:
        """Forgets what was learned of relays whose configuration is another now, and of chains with them."""
        gone = set(names)
        self.keep([name for relay in self._relays for name in relay.split(">") if name not in gone])

    def clear_faults(self) -> None:
        """Clears all faults: on another network, or offline, they say nothing."""
        self.unconfirmed.clear()
        self.revision += 1
        for relay in self._relays.values():
            self.version += bool(relay.open_until or relay.rests_until)
            relay.fault = None
            relay.failures, relay.open_until, relay.last_error = 0, 0.0, ""
            relay.rests_until = relay.rest_s = 0.0
        self._delivered.clear()

    def keep(self, names: Sequence[str]) -> None:
        """Forgets every relay that is not among `names`: after a reload."""
        kept = set(names)
        self._relays = {name: relay for name, relay in self._relays.items() if kept.issuperset(name.split(">"))}
        self.unconfirmed = {name: noted for name, noted in self.unconfirmed.items() if kept.issuperset(name.split(">"))}
        self._delivered = {relays: at for relays, at in self._delivered.items() if kept.issuperset(relays)}
        self.version += 1
        self.revision += 1

    def _is_open(self, relay: RelayHealth, now: float) -> bool:
        # A back-off that ends later than the longest one is from before the clock was set back.
        return now < relay.open_until <= now + self._backoff_longest_s


def _is_slow(usual_s: float, quickest_s: float) -> bool:
    """Whether a relay is slow beside the quickest one. 0: not measured."""
    return quickest_s > 0 and usual_s > max(SLOW_S, SLOW_TIMES * quickest_s)


def _differs(other_s: float, before_s: float, after_s: float) -> bool:
    """Whether one relay has become slow beside the other, or quick, since the mean of one has changed."""
    return _is_slow(other_s, before_s) != _is_slow(other_s, after_s) or (
        _is_slow(before_s, other_s) != _is_slow(after_s, other_s)
    )


def relay_name(route: Route) -> str:
    """The name of a route's relays. A chain has its own, since it is not known which of its relays failed."""
    return ">".join(route.relays)


def _last_of_each(attempts: Iterable[Attempt]) -> Mapping[str, Attempt]:
    """The deciding attempt of each relay: one that delivered, else the last. So a connection counts one failure,
    however often it tried the relay."""
    last: dict[str, Attempt] = {}
    for attempt in attempts:
        name = relay_name(attempt.route)
        if name and (name not in last or not last[name].delivered):
            last[name] = attempt
    return last


def _delivers_nothing(attempt: Attempt) -> bool:
    """Whether the relay accepted the request and delivered nothing. A refusal is the relay's right."""
    return attempt.stage in (Stage.RELAY, Stage.FIRST_BYTE) and attempt.symptom in _AT_THE_ORIGIN
