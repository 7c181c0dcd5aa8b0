"""The health of relays, from the user's own traffic and measurements. No relay is probed on a timer.

A fault of the relay itself (`relay_faults`) opens the circuit breaker at once. Silence counts only if another route
works, since otherwise the network may be at fault; the breaker opens after `relay_failures` in a row. A relay with an
open breaker is ordered last, but never removed, until the end of a back-off that doubles with each further failure. A
success or a change of network closes the breaker. A relay that is far slower than the fastest is ordered after the fast
ones. Otherwise the user's order stands.
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
"""A relay is slow if its mean time is above SLOW_S and above SLOW_TIMES the time of the fastest relay."""

WORKED_S = 3600.0
"""Seconds after a delivery during which a relay counts as working."""

STALLED_S = 60.0
"""Seconds after a stalled transfer for which a relay is ordered last, as its way is among its ways. The client tries
again at once, and a relay that has vanished would cost it 3 s."""

SMOOTHING = 0.3
"""Share of the newest time in the running mean."""

TIMES_KEPT = 15
"""Times of the latest visits that are kept. Groups use their median, which one slow site does not move."""

MEASURED_S = 3_600.0
"""Seconds for which these times count if no visit uses the relay."""

REST_S = 120.0
REST_MAX_S = 960.0
STEADY_S = 600.0
"""Seconds for which a group orders a relay that failed after the others. They double each time it fails again soon
after that, up to REST_MAX_S. After STEADY_S without a failure they begin with REST_S again. The back-off of the breaker
begins with 5 s, which is too short here: a relay that fails every other visit would come and go."""

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
    fault: NotedFault | None = None  # the present fault
    last_fault: NotedFault | None = None  # the latest fault, also if it is over
    rests_until: float = 0.0  # groups order it after the others until then
    rest_s: float = 0.0  # seconds of the last rest
    times_s: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))  # until the first byte
    timed_at: float = -math.inf  # when the newest of `times_s` was measured


@frozen_dataclass
class KnownHealth:
    """The health of one relay, or of one chain, that is kept across restarts."""

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
"""Seconds after which the health of a relay that still works is saved again."""


@frozen_dataclass
class Conditions:
    """The conditions under which relays were tried."""

    may_blame: bool = True  # False: offline, behind a portal, or just after resume
    clock_is_right: bool = False  # a certificate was valid lately
    is_near: bool = False  # the host is on the local network, so its delivery is not a control
    direct_worked_at: float = -math.inf  # when direct last delivered a site, seconds since the epoch

    def may_count(self, fault: RelayFault) -> bool:
        """Whether a fault may be the relay's. A certificate that is not valid today counts only if the clock is
        right."""
        return self.may_blame and (fault is not RelayFault.CERTIFICATE_DATE or self.clock_is_right)


FAIR = Conditions()
NEAR = Conditions(is_near=True)


class Health:
    """The health of all relays. Belongs to one thread.

    `version` grows whenever an event may change the result of `order`; `order_until` has the time until which it stays
    the same without an event."""

    def __init__(self, settings: DetectTuning, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._backoff_longest_s = settings.relay_backoff_max_s * (1 + settings.relay_backoff_jitter)
        self._rng = rng if rng is not None else random.SystemRandom()
        self.version = 0
        self.revision = 0
        """Grows whenever the result of `remembered` should be saved again."""
        self.unconfirmed: dict[str, NotedFault] = {}
        """Faults that count once another route works, by relay."""
        self._relays: dict[str, RelayHealth] = {}
        self._delivered: dict[tuple[str, ...], float] = {}  # by route.relays: when it last delivered

    def order(self, names: Sequence[str], now: float) -> list[str]:
        """Returns the names in order: fast relays in the user's order, then slow ones, then those with an open breaker,
        by the end of their back-off."""
        for relay in self._relays.values():
            if relay.open_until or relay.usual_s > SLOW_S:
                break
        else:
            return list(names)  # the usual case
        used = [self._relays.get(name) for name in names]
        quickest = min((relay.usual_s for relay in used if relay is not None and relay.usual_s), default=0.0)

        def rank(name: str) -> tuple[int, float]:
            relay = self._relays.get(name)
            if relay is None:
                return 0, 0.0
            if self._is_open(relay, now):
                return 2, relay.open_until
            return int(_is_slow(relay.usual_s, quickest)), 0.0

        return sorted(names, key=rank)

    def order_until(self, now: float) -> float:
        """Returns until when `order` returns the same as at `now`, for any names, if `version` stays the same. `now`
        itself: it may change at any time."""
        until = math.inf
        for relay in self._relays.values():
            if now < relay.open_until:
                until = min(until, relay.open_until if self._is_open(relay, now) else now)
        return until

    def learn(self, outcome: Outcome, now: float, conditions: Conditions = FAIR) -> bool:
        """Learns from one connection about the relays that it tried. Returns whether a relay showed a fault, which may
        also be the network's."""
        failed = False
        for name, attempt in _last_of_each(outcome.attempts).items():
            if attempt.delivered:
                self.worked(name, now, elapsed_s=attempt.elapsed)
                continue
            compared = outcome.winner is not None and outcome.winner.relays != attempt.route.relays
            fault, may_be_slow = relay_fault(attempt), False
            if fault is None and compared and _delivers_nothing(attempt):
                fault = RelayFault.DELIVERS_NOTHING
            elif fault is None and compared and self._was_overtaken(attempt, outcome):
                may_be_slow = not attempt.evidence.get("greeting")
                fault = RelayFault.SILENT if may_be_slow else RelayFault.SOCKS_UNANSWERED
            if fault is not None and conditions.may_count(fault):
                failed = True
                noted = NotedFault(fault, outcome.at + attempt.started, now, attempt.error)
                compared = (compared and not conditions.is_near) or conditions.direct_worked_at >= noted.since
                self._note(name, noted, compared=compared, may_be_slow=may_be_slow)
        if outcome.winner is not None and not conditions.is_near:
            self._route_worked(outcome.winner, now)
        return failed

    def _was_overtaken(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Whether a relay was silent for so long that another one was tried, which delivered. The attempt on the first
        one was then abandoned. If it did not count as silence, each visit would wait for this relay again."""
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

    def _note(self, name: str, noted: NotedFault, *, compared: bool, may_be_slow: bool = False) -> None:
        """Counts the fault of an attempt that began at `noted.since`, or keeps it until the comparison that it
        needs."""
        if not noted.fault.needs_comparison or compared or self._has_worked_beside(name, noted.since):
            self.failed(name, noted.seen_at, error=noted.error, fault=noted.fault, may_be_slow=may_be_slow)
        else:
            self.unconfirmed[name] = noted

    def _route_worked(self, route: Route, now: float) -> None:
        """Counts the unconfirmed faults of all other relays, since a route delivered."""
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
        """Whether another route than relay `name` has delivered since `since`."""
        return any(at >= since for relays, at in self._delivered.items() if ">".join(relays) != name)

    def failed(
        self, name: str, now: float, *, error: str = "", fault: RelayFault | None = None, may_be_slow: bool = False
    ) -> None:
        """Counts a failure of the relay: a fault of its own, or a failure while another route worked. If the relay may
        only be slow, or the site may not answer it, the fault is told after `relay_failures` in a row."""
        relay = self._relays.setdefault(name, RelayHealth())
        relay.failures += 1
        self.revision += 1
        relay.failed_at = now
        relay.last_error = error
        self.unconfirmed.pop(name, None)
        is_doubtful = may_be_slow or fault is RelayFault.DELIVERS_NOTHING
        if fault is not None and (not is_doubtful or relay.failures >= self._settings.relay_failures):
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
        """Counts a transfer through the relay that stopped for good while the network was up. Visits try other relays
        first for STALLED_S, or until this one works."""
        self.failed(name, now, error=error, fault=RelayFault.STALLED)
        relay = self._relays[name]
        relay.open_until = max(relay.open_until, now + min(STALLED_S, self._settings.relay_backoff_max_s))

    def worked(self, name: str, now: float, *, elapsed_s: float | None = None) -> None:
        """Counts a success of the relay. `elapsed_s` is the seconds until the first byte of a visit; None: a test or a
        measurement showed the success, which also ends the relay's rest, so a user who tests it after a repair need not
        wait."""
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
                # Few relays are that slow at all.
                may_be_slow = other.usual_s > SLOW_S or before > SLOW_S or after > SLOW_S
                if may_be_slow and other is not relay and _differs(other.usual_s, before, after):
                    self.version += 1
                    break

    def of(self, name: str) -> RelayHealth:
        """Returns the health of one relay; all zero if it was never used."""
        return self._relays.get(name) or RelayHealth()

    def working(self, names: Iterable[str], now: float) -> Mapping[str, float]:
        """Returns the relays among `names` that delivered in the last WORKED_S and have not failed since, with the
        times of their last deliveries."""
        return {name: at for name, at in self.delivering(names).items() if 0 <= now - at <= WORKED_S}

    def has_delivered(self, names: Iterable[str], now: float) -> bool:
        """Whether a relay among `names` delivered in the last WORKED_S, also if it has failed since."""
        return any(now - WORKED_S <= self.of(name).worked_at <= now for name in names)

    def delivering(self, names: Iterable[str]) -> Mapping[str, float]:
        """As `working`, however long ago they delivered: the status of a site must not change while nothing happens."""
        healths = {name: self.of(name) for name in names}
        return {name: relay.worked_at for name, relay in healths.items() if relay.worked_at and not relay.failures}

    def is_open(self, name: str, now: float) -> bool:
        return self._is_open(self.of(name), now)

    def standing(self, name: str, now: float) -> int:
        """Returns 0 for a relay that may go first, 1 for one that rests after a failure, 2 for an open breaker."""
        relay = self._relays.get(name)
        if relay is None or not relay.rests_until:
            return 0
        if self._is_open(relay, now):
            return 2
        return int(now < relay.rests_until <= now + REST_MAX_S)

    def standing_until(self, name: str, now: float) -> float:
        """Returns until when `standing` stays the same, if `version` does."""
        relay = self._relays.get(name)
        until = math.inf
        if relay is not None:
            for end, longest_s in ((relay.open_until, self._backoff_longest_s), (relay.rests_until, REST_MAX_S)):
                if now < end:
                    until = min(until, end if end <= now + longest_s else end - longest_s)
        return until

    def median_s(self, name: str) -> float:
        """Returns the median seconds until the first byte in the latest visits through a relay; 0: not measured."""
        relay = self._relays.get(name)
        return sorted(relay.times_s)[len(relay.times_s) // 2] if relay is not None and relay.times_s else 0.0

    def faults(self) -> Mapping[str, NotedFault]:
        """Returns the present faults, by relay."""
        return {name: relay.fault for name, relay in self._relays.items() if relay.fault is not None}

    def remembered(self) -> list[KnownHealth]:
        """Returns the health of all relays, to be kept across a restart. Those that worked last come first: where there
        are too many, the last ones are not kept."""
        known = sorted(self._relays.items(), key=lambda item: item[1].worked_at, reverse=True)
        return [KnownHealth(name, **{kept: getattr(relay, kept) for kept in _KEPT}) for name, relay in known]

    def restore(self, remembered: Iterable[KnownHealth]) -> None:
        """Restores the health of relays that have not been used since the start."""
        for health in remembered:
            if health.relay not in self._relays:
                self._relays[health.relay] = RelayHealth(**{kept: getattr(health, kept) for kept in _KEPT})
                self.version += 1

    def forget(self, names: Collection[str]) -> None:
        """Forgets the health of relays whose configuration has changed, and of chains with them."""
        gone = set(names)
        self.keep([name for relay in self._relays for name in relay.split(">") if name not in gone])

    def clear_faults(self) -> None:
        """Clears all faults: on another network, or offline, they mean nothing."""
        self.unconfirmed.clear()
        self.revision += 1
        for relay in self._relays.values():
            self.version += bool(relay.open_until or relay.rests_until)
            relay.fault = None
            relay.failures, relay.open_until, relay.last_error = 0, 0.0, ""
            relay.rests_until = relay.rest_s = 0.0
        self._delivered.clear()

    def keep(self, names: Sequence[str]) -> None:
        """Forgets every relay that is not in `names`, after a reload."""
        kept = set(names)
        self._relays = {name: relay for name, relay in self._relays.items() if kept.issuperset(name.split(">"))}
        self.unconfirmed = {name: noted for name, noted in self.unconfirmed.items() if kept.issuperset(name.split(">"))}
        self._delivered = {relays: at for relays, at in self._delivered.items() if kept.issuperset(relays)}
        self.version += 1
        self.revision += 1

    def _is_open(self, relay: RelayHealth, now: float) -> bool:
        # A back-off that ends later than the longest possible one dates from before the clock was set back.
        return now < relay.open_until <= now + self._backoff_longest_s


def _is_slow(usual_s: float, quickest_s: float) -> bool:
    """Whether a relay is slow compared with the fastest one. 0: not measured."""
    return quickest_s > 0 and usual_s > max(SLOW_S, SLOW_TIMES * quickest_s)


def _differs(other_s: float, before_s: float, after_s: float) -> bool:
    """Whether a change of one relay's mean changes which of the two is slow compared with the other."""
    return _is_slow(other_s, before_s) != _is_slow(other_s, after_s) or (
        _is_slow(before_s, other_s) != _is_slow(after_s, other_s)
    )


def relay_name(route: Route) -> str:
    """Returns the name of a route's relays. A chain has its own health, since it is not known which relay failed."""
    return ">".join(route.relays)


def _last_of_each(attempts: Iterable[Attempt]) -> Mapping[str, Attempt]:
    """Returns the deciding attempt of each relay: one that delivered, else the last one. So a connection counts at most
    one failure of a relay."""
    last: dict[str, Attempt] = {}
    for attempt in attempts:
        name = relay_name(attempt.route)
        if name and (name not in last or not last[name].delivered):
            last[name] = attempt
    return last


def _delivers_nothing(attempt: Attempt) -> bool:
    """Whether the relay accepted the request and delivered nothing. A refusal does not count."""
    return attempt.stage in (Stage.RELAY, Stage.FIRST_BYTE) and attempt.symptom in _AT_THE_ORIGIN
