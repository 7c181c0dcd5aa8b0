"""Which relays work, from the user's own traffic and measurements: no relay is ever probed on a timer.

What a relay says of itself is a fact (`relay_faults`): it is noted at once, orders the relay last with back-off, and
needs no other route to compare with. A relay's silence counts only when another route works, since otherwise it may as
well be our own network; after three such failures in a row its breaker opens. A relay is ordered last and never
removed, until a wait that doubles with each further failure is over, and is then tried again like any other. A success
clears it, and so does a change of network. A relay that takes far longer than the quickest is ordered behind the quick
ones; apart from that the user's order stands.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.config.schema import Detect
from proxy.detect.relay_faults import NotedFault, RelayFault, relay_fault
from proxy.model import Attempt, MeasurementStep, Outcome, Route, Stage, StepKind, Symptom

SLOW_S = 2.0
SLOW_TIMES = 4.0
"""A relay is slow when it usually takes longer than both: this, and so many times the quickest relay."""

SMOOTHING = 0.3
"""Share of the newest time in the running mean."""

_AT_THE_ORIGIN = frozenset({Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.SILENT, Symptom.TIMEOUT})


@dataclass(slots=True)
class RelayHealth:
    """What is known of one relay, or of one chain."""

    failures: int = 0  # in a row
    failed_at: float = 0.0
    worked_at: float = 0.0
    usual_s: float = 0.0  # running mean until the first byte; 0: not measured
    open_until: float = 0.0  # ordered last until then
    last_error: str = ""
    fault: NotedFault | None = None  # what is wrong with it now
    unconfirmed: NotedFault | None = None  # what counts once another route has worked


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which conditions relays were tried."""

    may_blame: bool = True  # False: offline, behind a portal, just after waking
    clock_is_right: bool = False  # a certificate was found valid of late
    is_near: bool = False  # the host is on our own network: that it delivers says nothing of the way to a relay
    direct_worked_at: float = -math.inf  # when a site last delivered direct, seconds since the epoch

    def may_count(self, fault: RelayFault) -> bool:
        """Whether a fault that was seen may be the relay's. A certificate that is not of today may as well be a wrong
        clock's doing."""
        return self.may_blame and (fault is not RelayFault.CERTIFICATE_DATE or self.clock_is_right)


FAIR = Conditions()


class Health:
    """The health of all relays. Belongs to one thread."""

    def __init__(self, settings: Detect, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._rng = rng if rng is not None else random.SystemRandom()
        self._relays: dict[str, RelayHealth] = {}
        self._delivered: dict[tuple[str, ...], float] = {}  # by route.relays: when it last delivered

    def order(self, names: Sequence[str], now: float) -> list[str]:
        """The same names: those that are well in the user's order, then the slow ones, then those with an open breaker,
        the one whose wait ends first before the others."""
        if not self._relays:
            return list(names)
        known = [self._relays.get(name) for name in names]
        quickest = min((relay.usual_s for relay in known if relay is not None and relay.usual_s), default=0.0)

        def rank(name: str) -> tuple[int, float]:
            relay = self._relays.get(name)
            if relay is None:
                return 0, 0.0
            if self._is_open(relay, now):
                return 2, relay.open_until
            return int(relay.usual_s > max(SLOW_S, SLOW_TIMES * quickest)), 0.0

        return sorted(names, key=rank)

    def learn(self, outcome: Outcome, now: float, conditions: Conditions = FAIR) -> bool:
        """Takes what one connection showed of the relays it tried, whether or not a route delivered. True: a relay
        failed of itself, if it is not the network."""
        failed = False
        for name, attempt in _last_of_each(outcome.attempts).items():
            if attempt.delivered:
                self.worked(name, now, elapsed_s=attempt.elapsed)
                continue
            compared = outcome.winner is not None and outcome.winner.relays != attempt.route.relays
            fault = relay_fault(attempt)
            if fault is None and compared and _delivers_nothing(attempt):
                fault = RelayFault.DELIVERS_NOTHING
            if fault is not None and conditions.may_count(fault):
                failed = True
                noted = NotedFault(fault, outcome.at + attempt.started, now, attempt.error)
                compared &= not conditions.is_near
                self._note(name, noted, compared=compared or conditions.direct_worked_at >= noted.since)
        if outcome.winner is not None and not conditions.is_near:
            self._route_worked(outcome.winner, now)
        return failed

    def learn_steps(
        self, steps: Sequence[MeasurementStep], began_at: float, now: float, conditions: Conditions = FAIR
    ) -> None:
        """Takes what a measurement that began at `began_at` showed of the relays it tried."""
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
        """A fault was seen, in an attempt that began at `noted.since`. One that needs a comparison waits for it."""
        if not noted.fault.needs_comparison or compared or self._has_worked_beside(name, noted.since):
            self.failed(name, noted.seen_at, error=noted.error, fault=noted.fault)
        else:
            self._relays.setdefault(name, RelayHealth()).unconfirmed = noted

    def _route_worked(self, route: Route, now: float) -> None:
        """A route delivered: the silence of every other relay meanwhile was its own."""
        self._delivered[route.relays] = now
        for name, relay in self._relays.items():
            waiting = relay.unconfirmed
            if waiting is None or tuple(name.split(">")) == route.relays:
                continue
            relay.unconfirmed = None
            if 0 <= now - waiting.seen_at <= self._settings.rescue_window_s:
                self.failed(name, now, error=waiting.error, fault=waiting.fault)

    def _has_worked_beside(self, name: str, since: float) -> bool:
        """Whether another route than relay `name` has delivered since then."""
        return any(at >= since for relays, at in self._delivered.items() if ">".join(relays) != name)

    def failed(self, name: str, now: float, *, error: str = "", fault: RelayFault | None = None) -> None:
        """The relay failed: of itself, or where another route worked."""
        relay = self._relays.setdefault(name, RelayHealth())
        relay.failures += 1
        relay.failed_at = now
        relay.last_error = error
        relay.unconfirmed = None
        if fault is not None and (
            fault is not RelayFault.DELIVERS_NOTHING or relay.failures >= self._settings.relay_failures
        ):
            since = relay.fault.since if relay.fault is not None else now
            relay.fault = NotedFault(fault, since, now, error)
        at_once = fault is not None and not fault.needs_comparison
        beyond = relay.failures - (1 if at_once else self._settings.relay_failures)
        if beyond >= 0:
            wait_s = min(self._settings.relay_backoff_max_s, self._settings.relay_backoff_s * 2.0 ** min(beyond, 30))
            relay.open_until = now + wait_s * (1 + self._settings.relay_backoff_jitter * self._rng.random())

    def worked(self, name: str, now: float, *, elapsed_s: float | None = None) -> None:
        """The relay delivered. `elapsed_s`: how long its first byte took."""
        relay = self._relays.setdefault(name, RelayHealth())
        relay.failures = 0
        relay.open_until = 0.0
        relay.last_error = ""
        relay.fault = relay.unconfirmed = None
        relay.worked_at = now
        if elapsed_s is not None:
            relay.usual_s += (elapsed_s - relay.usual_s) * (SMOOTHING if relay.usual_s else 1.0)

    def of(self, name: str) -> RelayHealth:
        """What is known of one relay; all zero when it was never used."""
        return self._relays.get(name) or RelayHealth()

    def is_open(self, name: str, now: float) -> bool:
        """Whether its breaker is open."""
        return self._is_open(self.of(name), now)

    @property
    def is_waiting(self) -> bool:
        """Whether a relay was silent, and another route that works would tell that it is the relay's fault."""
        return any(relay.unconfirmed is not None for relay in self._relays.values())

    def faults(self) -> Mapping[str, NotedFault]:
        """What is wrong with which relay now, by its name."""
        return {name: relay.fault for name, relay in self._relays.items() if relay.fault is not None}

    def clear_faults(self) -> None:
        """Another network, or one on which nothing can be said of relays: what was noted says nothing any more."""
        for relay in self._relays.values():
            relay.fault = relay.unconfirmed = None
            relay.failures, relay.open_until, relay.last_error = 0, 0.0, ""
        self._delivered.clear()

    def keep(self, names: Sequence[str]) -> None:
        """Forgets every relay that is not among `names`: after a reload."""
        kept = set(names)
        self._relays = {name: relay for name, relay in self._relays.items() if kept.issuperset(name.split(">"))}
        self._delivered = {relays: at for relays, at in self._delivered.items() if kept.issuperset(relays)}

    def _is_open(self, relay: RelayHealth, now: float) -> bool:
        # a wait that ends later than it can is from a clock that was set back
        longest_s = self._settings.relay_backoff_max_s * (1 + self._settings.relay_backoff_jitter)
        return now < relay.open_until <= now + longest_s


def relay_name(route: Route) -> str:
    """Under what a route's relays are remembered: a chain stands for itself, since it is not said which link broke."""
    return ">".join(route.relays)


def _last_of_each(attempts: Iterable[Attempt]) -> Mapping[str, Attempt]:
    """The attempt that says most of each relay: one that delivered, else the last. One failure a connection counts,
    however often the relay was tried for it."""
    last: dict[str, Attempt] = {}
    for attempt in _relayed(attempts):
        name = relay_name(attempt.route)
        if name not in last or not last[name].delivered:
            last[name] = attempt
    return last


def _relayed(attempts: Iterable[Attempt]) -> Iterator[Attempt]:
    return (attempt for attempt in attempts if attempt.route.relays)


def _delivers_nothing(attempt: Attempt) -> bool:
    """Whether the relay says "connected" and passes nothing on. A refusal is the relay's right."""
    return attempt.stage in (Stage.RELAY, Stage.FIRST_BYTE) and attempt.symptom in _AT_THE_ORIGIN
