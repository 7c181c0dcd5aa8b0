"""What the steps of a measurement show, route by route, and what each oddity of the direct one weighs.

The signals are those of docs/detection.md, "Signals", read from steps in the place of an outcome: a measurement knows
more than a visit does, such as whether a harmless name is answered at the same address.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from proxy.config.schema import Detect
from proxy.detect import signals
from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.detect.signals import Failure, signal_of
from proxy.model import (
    DIRECT,
    Cause,
    Evidence,
    MeasurementStep,
    Protocol,
    Route,
    SignalId,
    Stage,
    StepKind,
    StepResult,
    Symptom,
)

_CONFIRMING = frozenset({SignalId.DNS_TWO_ANSWERS, SignalId.HTTP_BLOCK_PAGE, SignalId.KNOWN_ROOT})


@dataclass(frozen=True, slots=True)
class WeightedSignal:
    """One signal: what it points at, what it weighs, and the step's own words."""

    id: SignalId
    weight: float
    cause: Cause
    text: str

    @property
    def confirms(self) -> bool:
        return self.id in _CONFIRMING


@dataclass(frozen=True, slots=True)
class MeasuredRoutes:
    """The steps of one measurement, by route."""

    steps: tuple[MeasurementStep, ...]

    @classmethod
    def of(cls, steps: Sequence[MeasurementStep]) -> MeasuredRoutes:
        return cls(tuple(steps))

    def on(self, route: Route) -> tuple[MeasurementStep, ...]:
        return tuple(step for step in self.steps if step.route == route and step.part is not StepKind.CONTROL)

    @property
    def all(self) -> tuple[Route, ...]:
        """In the order they were first told of."""
        return tuple(dict.fromkeys(step.route for step in self.steps if step.part not in _OF_NO_ROUTE))

    def found(self, route: Route) -> StepResult:
        """Delivered, failed, or not tested: no step that failed and none that delivered."""
        mine = self.on(route)
        if any(step.part is StepKind.ANSWER and step.ok for step in mine):
            return StepResult.OK
        return StepResult.FAILED if any(step.failed for step in mine) else StepResult.NOT_TESTED

    @property
    def delivered(self) -> tuple[Route, ...]:
        return tuple(route for route in self.all if self.found(route) is StepResult.OK)

    @property
    def tested(self) -> tuple[Route, ...]:
        return tuple(route for route in self.all if self.found(route) is not StepResult.NOT_TESTED)

    def trouble(self, route: Route) -> MeasurementStep | None:
        """The last step of the route that failed: how far it came."""
        return next((step for step in reversed(self.on(route)) if step.failed), None)

    def first_trouble(self) -> MeasurementStep | None:
        return next((step for step in self.steps if step.failed and step.part is not StepKind.CONTROL), None)

    def last(self, route: Route) -> MeasurementStep | None:
        """The step that tells best how the route ended."""
        mine = self.on(route)
        done = next((step for step in mine if step.part is StepKind.ANSWER and step.ok), None)
        return done or self.trouble(route) or (mine[-1] if mine else None)

    def why_not_tested(self, route: Route) -> str:
        untested = (
            step for step in self.on(route) if step.found is StepResult.NOT_TESTED and step.part not in _LOOKUPS
        )
        step = next(untested, None) or next((step for step in self.on(route)), None)
        return step.text if step is not None else "not selected"

    def is_relays_fault(self, route: Route, working: Collection[str] = ()) -> bool:
        """Whether the relay itself failed, which says nothing of the site. One that took the request and opened
        nothing waits for the site, if it is one of the `working`: else it may be dead."""
        name = ">".join(route.relays)
        return name in self.relay_faults or any(
            step.symptom is Symptom.TIMEOUT and name not in working
            for step in self.on(route)
            if step.part is StepKind.RELAY and step.failed
        )

    @property
    def relay_faults(self) -> Mapping[str, RelayFault]:
        """The relays that failed themselves, by name."""
        found = {
            ">".join(step.route.relays): relay_fault(step)
            for step in self.steps
            if step.part is StepKind.RELAY and step.failed
        }
        return {name: fault for name, fault in found.items() if fault is not None}

    def is_refused_by_relay(self, route: Route) -> bool:
        """Whether a relay says that it cannot reach the site."""
        return any(step.part is StepKind.RELAY and step.symptom is Symptom.RELAY_REFUSED for step in self.on(route))

    # -- names -----------------------------------------------------------------------------------------------------

    def is_denied(self, part: StepKind) -> bool:
        """Whether the system's resolver, or an encrypted one, says that the name does not exist."""
        return any(step.part is part and step.failed and step.symptom is Symptom.NO_NAME for step in self.steps)

    def was_asked(self, part: StepKind) -> bool:
        return any(step.part is part and step.found is not StepResult.NOT_TESTED for step in self.steps)

    # -- certificates ----------------------------------------------------------------------------------------------

    def certificate_fault(self, route: Route) -> Cause:
        """Why the certificate that came over `route` is not good, as a cause; empty when none came, or a good one."""
        shown = [step for step in self.on(route) if step.part is StepKind.CERTIFICATE]
        if not shown or any(step.ok for step in shown):
            return Cause.NONE
        return certificate_fault(shown[-1].evidence)

    @property
    def shows_bad_certificate(self) -> tuple[Route, ...]:
        """The relays to which the site shows a certificate that is not good."""
        return tuple(route for route in self.tested if route.relays and self.certificate_fault(route))

    def is_of_another_day(self, route: Route) -> bool:
        """Whether the certificate that came is not valid today, by this computer's clock."""
        return self.certificate_fault(route) in (Cause.EXPIRED, Cause.NOT_YET_VALID)

    @property
    def is_control_of_another_day(self) -> bool:
        step = self._control_step
        return step is not None and bool(step.evidence.get("clock"))

    def has_answered(self, route: Route) -> bool:
        """Whether the site answered a request over `route`, well or not."""
        return any(step.part is StepKind.ANSWER and step.found is not StepResult.NOT_TESTED for step in self.on(route))

    @property
    def answered_by_relay(self) -> bool:
        """Some relay could be reached: this machine is not offline."""
        return any(step.part is StepKind.RELAY and (step.ok or step.symptom is Symptom.RELAY_REFUSED)
                   for step in self.steps)  # fmt: skip

    def has_connected(self, route: Route) -> bool:
        """An address of those that the route leads to let us in."""
        return any(step.part is StepKind.CONNECT and step.ok for step in self.on(route))

    def is_punished(self, route: Route) -> bool:
        """A harmless name was not answered where a connection opened: some who filter close the address for a while."""
        return any(step.part is StepKind.NEUTRAL and step.failed for step in self.on(route))

    def status(self, route: Route) -> int | None:
        answers = (step.evidence.get("status") for step in self.on(route) if step.part is StepKind.ANSWER and step.ok)
        status = next(answers, None)
        return status if isinstance(status, int) else None

    def speed(self, route: Route) -> float | None:
        """Bytes a second, where enough came to tell."""
        rates = (step.evidence.get("bytes_per_s") for step in self.on(route) if step.part is StepKind.ANSWER)
        return next((float(rate) for rate in rates if isinstance(rate, int | float)), None)

    def is_secure(self, route: Route) -> bool:
        return any(step.part is StepKind.CERTIFICATE and step.ok for step in self.on(route))

    @property
    def leads_away(self) -> str:
        """Where direct is sent, when another route brought something else; empty when it is not, or all are."""
        places = {route: self.elsewhere(route) for route in self.delivered}
        place = places.get(DIRECT, "")
        others = [other for route, other in places.items() if route.relays]
        return place if others and place not in others else ""

    def elsewhere(self, route: Route) -> str:
        """Where the route's answer leads, when that is another domain."""
        answers = (step.evidence.get("elsewhere", "") for step in self.on(route) if step.part is StepKind.ANSWER)
        return str(next(answers, ""))

    @property
    def control(self) -> StepResult:
        """The control gate: another site, or this one at another address or by a local means, was reached without a
        relay."""
        step = self._control_step
        if any(not route.relays and route != DIRECT for route in self.delivered):
            return StepResult.OK
        return step.found if step is not None else StepResult.NOT_TESTED

    @property
    def has_secure_answer(self) -> bool:
        """A secure resolver knows the name."""
        return any(step.part is StepKind.SECURE and step.ok for step in self.steps)

    @property
    def is_offline(self) -> bool:
        """Nothing leads out of this machine."""
        return any(step.symptom is Symptom.OFFLINE for step in self.on(DIRECT))

    @property
    def is_resolver_down(self) -> bool:
        """The system's resolver has no answer for another site either."""
        step = self._control_step
        return step is not None and step.failed and step.symptom in _UNRESOLVED

    @property
    def _control_step(self) -> MeasurementStep | None:
        """One that answered tells more than one before it that did not: that one may be blocked itself."""
        asked = [step for step in self.steps if step.part is StepKind.CONTROL]
        return next((step for step in asked if step.ok), asked[0] if asked else None)

    @property
    def control_symptom(self) -> Symptom:
        step = self._control_step
        return step.symptom if step is not None else Symptom.NONE

    @property
    def control_text(self) -> str:
        local = [route for route in self.delivered if not route.relays and route != DIRECT]
        step = self._control_step
        if local and (step is None or not step.ok):
            return f"{local[0]} delivered the page"
        return step.text if step is not None else ""


def certificate_fault(evidence: Evidence) -> Cause:
    """Why a certificate is not good, as a cause in `words`. OpenSSL's code is the first thing that it met; that the
    certificate is for another name is found in the certificate itself."""
    code = evidence.get("verify_code")
    if evidence.get("certificate") == "wrong_name" or code in _OTHER_NAME:
        return Cause.WRONG_NAME
    return _VERIFY_CODES.get(int(code), Cause.UNTRUSTED_ISSUER) if isinstance(code, int) else Cause.UNTRUSTED_ISSUER


_VERIFY_CODES: Mapping[int, Cause] = MappingProxyType(
    {9: Cause.NOT_YET_VALID, 10: Cause.EXPIRED, 18: Cause.SELF_SIGNED}
)
"""X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _DEPTH_ZERO_SELF_SIGNED_CERT."""

_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH

_UNRESOLVED = frozenset({Symptom.RESOLVE_FAILED, Symptom.NO_NAME})

DOH = Route(wrap=("doh",))

_LOOKUPS = (StepKind.RESOLVE, StepKind.SECURE)
_OF_NO_ROUTE = (StepKind.CONTROL, *_LOOKUPS)


def weigh(routes: MeasuredRoutes, detect: Detect) -> tuple[WeightedSignal, ...]:
    """The signals of the direct route, in the order of its steps, each id once."""
    found: dict[SignalId, WeightedSignal] = {}
    for step in routes.on(DIRECT):
        for kind, cause in _signals(step, routes):
            found.setdefault(kind, WeightedSignal(kind, _weight(kind, detect), cause, step.text))
    for more in (_throttled(routes, detect), _different(routes, detect)):
        if more is not None:
            found[more.id] = more
    return tuple(found.values())


_MEASURED_ONLY: Mapping[SignalId, float] = MappingProxyType(
    {SignalId.KNOWN_ROOT: 6.0, SignalId.SNI_SWAP: 4.0, SignalId.HTTP_DIFFERS: 1.5}
)
"""Weights of the signals that only a measurement shows; all others are in `[detect.weights]`."""


def _weight(signal: SignalId, detect: Detect) -> float:
    return _MEASURED_ONLY[signal] if signal in _MEASURED_ONLY else float(getattr(detect.weights, signal, 1.0))


_STAGES: Mapping[StepKind, tuple[Stage, Protocol]] = MappingProxyType(
    {
        StepKind.RESOLVE: (Stage.RESOLVE, Protocol.NONE),
        StepKind.CONNECT: (Stage.CONNECT, Protocol.NONE),
        StepKind.HELLO: (Stage.FIRST_BYTE, Protocol.TLS),
        StepKind.ANSWER: (Stage.FIRST_BYTE, Protocol.HTTP),
    }
)
"""How far a connection has come, and in which protocol, when such a step fails."""


def _failure(step: MeasurementStep, *, in_tls: bool = False) -> Failure:
    """A failed step as the failure of a connection would be. `in_tls`: a good certificate came before it, so only
    lengths and times are seen by others, and a reset comes after a delivered handshake."""
    stage, protocol = (Stage.DONE, Protocol.TLS) if in_tls else _STAGES[step.part]
    return Failure(stage, step.symptom, protocol, step.evidence)


def _signals(step: MeasurementStep, routes: MeasuredRoutes) -> list[tuple[SignalId, Cause]]:
    """(id, cause) of what a step of the direct route shows; several where a second one explains the first."""
    if step.part is StepKind.ANSWER and step.ok and routes.leads_away:
        return [(SignalId.HTTP_REDIRECT, Cause.BLOCK_PAGE)]
    if not step.failed:
        return []
    if step.part is StepKind.RESOLVE:
        return _of_names(step, routes)
    if step.part is StepKind.CONNECT:
        if routes.has_connected(DIRECT):
            return []  # one address that leads nowhere, as all of IPv6 on many a network: the other one is what counts
        blocked = signal_of(_failure(step))
        return [(blocked, signals.cause(blocked))] if blocked else []
    if step.part is StepKind.HELLO:
        kind = signal_of(_failure(step))
        if kind is None:
            return []
        cause = signals.cause(kind)
        swap = kind is not SignalId.FROZEN and _answers_a_harmless_name(step, routes)
        return [(kind, cause), (SignalId.SNI_SWAP, cause)] if swap else [(kind, cause)]
    if step.part is StepKind.CERTIFICATE:
        return _of_certificates(step, routes)
    if step.part is StepKind.ANSWER:
        return _of_answers(step, routes)
    return []


def _of_names(step: MeasurementStep, routes: MeasuredRoutes) -> list[tuple[SignalId, Cause]]:
    told = step.evidence.get("dns")
    if told == SignalId.DNS_MISMATCH and not _is_at_the_wrong_address(routes):
        return []  # a content network names what is near to who asks
    if told:
        return [(told, Cause.DNS)]
    failure = _failure(step)
    if signal_of(failure) is not SignalId.DNS_FAILED and step.symptom is not Symptom.FORGED:
        return []
    known = routes.has_secure_answer
    if known and failure.is_resolver_silence:
        return [(SignalId.DNS_SILENT, Cause.DNS)]
    return [(SignalId.DNS_DENIED if known else SignalId.DNS_FAILED, Cause.DNS)]


def _is_at_the_wrong_address(routes: MeasuredRoutes) -> bool:
    """Whether the host at the system's address has no certificate for the site, or direct works at the address from
    encrypted DNS."""
    shown = any(step.part is StepKind.CERTIFICATE and step.failed for step in routes.on(DIRECT))
    return shown or (routes.found(DOH) is StepResult.OK and routes.found(DIRECT) is not StepResult.OK)


def _of_certificates(step: MeasurementStep, routes: MeasuredRoutes) -> list[tuple[SignalId, Cause]]:
    if step.evidence.get("known_root"):
        return [(SignalId.KNOWN_ROOT, Cause.INTERCEPTION)]
    shown = any(other.part is StepKind.CERTIFICATE and other.ok and other.route != DIRECT for other in routes.steps)
    alike = any(other.part is StepKind.CERTIFICATE and other.failed and other.route.relays for other in routes.steps)
    return [(SignalId.TLS_BAD_CERT, Cause.INTERCEPTION)] if shown and not alike else []


def _of_answers(step: MeasurementStep, routes: MeasuredRoutes) -> list[tuple[SignalId, Cause]]:
    in_tls = routes.is_secure(DIRECT)
    kind = signal_of(_failure(step, in_tls=in_tls))
    if kind is None:
        return []
    return [(kind, Cause.FROZEN if in_tls else signals.cause(kind))]


def _answers_a_harmless_name(failed: MeasurementStep, routes: MeasuredRoutes) -> bool:
    """Whether another SNI at the same address was answered, and not in the way that this one failed: a server that
    sends an alert to every client says nothing about filtering."""
    return any(
        step.part is StepKind.NEUTRAL
        and step.ok
        and step.address == failed.address
        and step.symptom is not failed.symptom
        for step in routes.on(DIRECT)
    )


def _throttled(routes: MeasuredRoutes, detect: Detect) -> WeightedSignal | None:
    """Slow direct, and much faster another way at the same time."""
    direct = routes.speed(DIRECT)
    if direct is None or direct >= detect.measure_slow_bytes:
        return None
    others = [(speed, route) for route in routes.all if route != DIRECT and (speed := routes.speed(route)) is not None]
    fastest, route = max(others, key=lambda other: other[0], default=(0.0, DIRECT))
    if fastest < direct * detect.measure_slow_ratio:
        return None
    text = f"{direct / 1000:.1f} kB/s direct and {fastest / 1000:.0f} kB/s through {route}"
    return WeightedSignal(SignalId.THROTTLED, _weight(SignalId.THROTTLED, detect), Cause.THROTTLED, text)


LENGTH_RATIO = 0.7
"""Of two pages, the shorter to the longer: at most so much, and they may not be the same (OONI's web_connectivity)."""

TITLE_WORD = 5
"""Letters of the shortest word of a title that tells pages apart (the same)."""


def _different(routes: MeasuredRoutes, detect: Detect) -> WeightedSignal | None:
    """A page over plain HTTP that is unlike the one that a relay brings, in length and in title: perhaps a block page
    of which there is no fingerprint."""
    ours = _page(routes, DIRECT)
    if ours is None or routes.is_secure(DIRECT):
        return None
    for route in routes.delivered:
        theirs = _page(routes, route) if route.relays else None
        if theirs is None:
            continue
        shorter, longer = sorted((ours[0], theirs[0]))
        if longer and shorter / longer <= LENGTH_RATIO and not ours[1] & theirs[1]:
            weight = _weight(SignalId.HTTP_DIFFERS, detect)
            text = f"{ours[0]} bytes direct, {theirs[0]} through {route}, and the titles have no word in common"
            return WeightedSignal(SignalId.HTTP_DIFFERS, weight, Cause.BLOCK_PAGE, text)
        return None
    return None


def _page(routes: MeasuredRoutes, route: Route) -> tuple[int, frozenset[str]] | None:
    """Length and words of the title of a page that came whole or in a good part; None when there is none."""
    for step in routes.on(route):
        length, title = step.evidence.get("bytes"), step.evidence.get("title")
        if step.part is StepKind.ANSWER and step.ok and routes.status(route) == _FINE and isinstance(length, int):
            words = frozenset(word for word in str(title or "").lower().split() if len(word) >= TITLE_WORD)
            return length, words
    return None


_FINE = 200
