"""From the steps of a measurement to a verdict that can be explained: pure, and the same for why, test and report.

The word is one of `site_status`; beside it stand the cause, the signals with their weights, how sure that is and why,
the other explanation and why it is less likely, and what to do. "Not tested" is an answer of its own. What cannot be
told apart (the network, or the site's own geo-fence) is said to be so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from proxy.config.schema import Detect
from proxy.detect.beliefs.site_refusals import REFUSALS
from proxy.detect.relay_faults import RelayFault
from proxy.detect.verdict import labels as words
from proxy.detect.verdict.measurement_signals import DOH, MeasuredRoutes, WeightedSignal, weigh
from proxy.detect.verdict.site_status import SiteStatus, status_of
from proxy.model import (
    DIRECT,
    Belief,
    Cause,
    MeasurementStep,
    NetworkState,
    Route,
    SignalId,
    State,
    StepKind,
    StepResult,
    Symptom,
)


class Confidence(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NONE = "none"  # nothing was concluded


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a measurement comes to."""

    status: SiteStatus
    state: State
    cause: Cause | str = Cause.NONE
    seen: str = ""
    """One sentence: what was seen."""
    confidence: Confidence = Confidence.NONE
    reasons: tuple[str, ...] = ()
    """Why so sure, and why not surer."""
    instead: str = ""
    """The other explanation, and why it is less likely."""
    do: str = ""
    anomaly: bool = False
    """Direct shows what another route does not (OONI's word)."""
    confirmed: bool = False
    """A fingerprint, a known root, or two answers to one query: nothing else is proof."""
    signals: tuple[WeightedSignal, ...] = ()
    control: StepResult = StepResult.NOT_TESTED
    """The control gate: another site was reached direct."""
    through: tuple[Route, ...] = ()
    """The comparison gate: the routes that delivered."""
    relay_faults: Mapping[str, RelayFault] = field(default_factory=dict)
    """The relays that failed themselves, by name."""


def decide(
    steps: Sequence[MeasurementStep],
    belief: Belief,
    *,
    detect: Detect,
    relays: Sequence[str] = (),
    network_state: NetworkState = NetworkState.OK,
    working_relays: Collection[str] = (),
) -> Verdict:
    """The verdict over one measurement. `relays` are those that are configured, `working_relays` those that delivered
    other sites of late."""
    routes = MeasuredRoutes.of(steps)
    verdict = _Decision(routes, belief, detect, tuple(relays), network_state, working_relays).verdict()
    return replace(verdict, relay_faults=routes.relay_faults)


class _Decision:
    """One measurement of one site, and the verdict on it."""

    def __init__(
        self,
        routes: MeasuredRoutes,
        belief: Belief,
        detect: Detect,
        relays: tuple[str, ...],
        network_state: NetworkState,
        working_relays: Collection[str],
    ) -> None:
        self._routes = routes
        self._belief = belief
        self._detect = detect
        self._relays = relays
        self._network_state = network_state
        self._signals = weigh(routes, detect)
        self._control = routes.control
        self._others = tuple(route for route in routes.delivered if route != DIRECT)
        relayed = [route for route in routes.tested if route.relays]
        self._failing = [route for route in relayed if routes.is_relays_fault(route, working_relays)]
        self._compared = [route for route in relayed if route not in self._failing]

    def verdict(self) -> Verdict:
        direct = self._routes.found(DIRECT)
        if self._network_state in _OF_THE_NETWORK and direct is not StepResult.OK:
            return self._of_the_network(self._network_state)
        if direct is StepResult.OK:
            return self._delivered()
        if not self._others and (missing := self._no_such_name()) is not None:
            return missing
        if direct is StepResult.NOT_TESTED:
            offline = self._routes.is_offline and not self._others
            return self._of_the_network(NetworkState.OFFLINE) if offline else self._direct_not_tested()
        if self._others:
            down = self._routes.is_resolver_down and self._cause() == Cause.DNS and not self._confirmed
            return self._resolver_is_down() if down else self._blocked()
        return self._nothing_delivered()

    # -- what it comes to ------------------------------------------------------------------------------------------

    def _delivered(self) -> Verdict:
        if not self._routes.is_secure(DIRECT) and self._routes.control_symptom in _IN_ITS_PLACE:
            return self._of_the_network(NetworkState.PORTAL)  # anybody may answer a plain request
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        if any(signal.id in _DELIVERED_WRONG for signal in self._signals):
            return self._blocked()
        if self._is_around_the_resolver():
            return self._opens_by_encrypted_dns()
        reasons = ["direct delivered the page"]
        if self._network_state is NetworkState.INSPECTED:
            reasons.append("TLS is intercepted on this network by a CA that this computer trusts")
        if (place := self._routes.elsewhere(DIRECT)) and not any(route.relays for route in self._others):
            reasons.append(
                f"it redirects to {place}: the site moved, or a block page; no relay has delivered another page"
            )
        if trouble := self._routes.trouble(DIRECT):
            reasons.append(f"one step failed: {trouble.text}")
        if self._belief.state in (State.SUSPECT, State.BLOCKED):
            stored = status_of(self._belief.state, self._belief.cause)
            reasons.append(f'the stored status is "{stored}"; it changes once re-tests agree')
        return Verdict(
            SiteStatus.WORKS,
            State.WORKS,
            seen="it opens direct",
            confidence=Confidence.HIGH,
            reasons=tuple(reasons),
            do=_NOTHING,
            control=StepResult.OK,
            through=self._routes.delivered,
        )

    def _is_around_the_resolver(self) -> bool:
        """Whether direct was tried at addresses from encrypted DNS alone, since the system's resolver lied before."""
        dns = self._belief.cause == Cause.DNS and self._belief.state in (State.SUSPECT, State.BLOCKED)
        return dns and not self._routes.was_asked(StepKind.RESOLVE)

    def _opens_by_encrypted_dns(self) -> Verdict:
        held = self._belief
        return Verdict(
            status_of(held.state, held.cause),
            held.state,
            held.cause,
            f"{words.cause_in_words(held.cause)}: it opens at the address from encrypted DNS; {held.why}",
            Confidence.MEDIUM,
            ("direct delivered the page at the address from encrypted DNS", "the system's DNS is not asked again"),
            "a CDN may use other addresses here",
            f"Nothing. {DOH} opens it without a relay.",
            anomaly=True,
            control=StepResult.OK,
            through=(DOH, *self._others),
        )

    def _refusal(self) -> Verdict | None:
        """The site itself sends visitors away: all of them, or those that come this way."""
        status = self._routes.status(DIRECT)
        if status not in REFUSALS:
            return None
        let_in = [route for route in self._others if (self._routes.status(route) or 0) not in REFUSALS]
        asked = [route for route in self._others if route.relays]
        if let_in:
            seen = f"direct gets HTTP {status}, {let_in[0]} does not"
            instead = "a block page without a known fingerprint looks the same; the site's own geo-fence is more likely"
            do = f"Nothing. {let_in[0]} is used first for now."
        else:
            seen = f"{'every route' if asked else 'direct'} gets HTTP {status}"
            instead = "a block page would not come through a relay too" if asked else "no other route was tested"
            do = "The site refuses. Try a relay in another country."
        return Verdict(
            SiteStatus.REFUSES_THIS_ROUTE,
            State.REFUSED,
            Cause.REFUSED,
            seen,
            Confidence.MEDIUM if asked else Confidence.LOW,
            (f"the answer came from the site over {'TLS' if self._routes.is_secure(DIRECT) else 'plain HTTP'}",),
            instead,
            do,
            anomaly=bool(let_in),
            control=StepResult.OK,
            through=self._routes.delivered,
        )

    def _direct_not_tested(self) -> Verdict:
        reason = self._routes.why_not_tested(DIRECT)
        held = self._belief
        if held.state in (State.SUSPECT, State.BLOCKED):
            opens = f"{self._named(self._others)} delivered; " if self._others else ""
            return Verdict(
                status_of(held.state, held.cause),
                held.state,
                held.cause,
                f"{opens}direct was not tested: {reason}",
                reasons=(held.why,) if held.why else (),
                do=_NOTHING if self._others else _TEST_RELAYS if self._relays else _ADD_A_RELAY,
                through=self._routes.delivered,
            )
        if self._others:
            seen = f"it opens through {self._named(self._others)}; direct was not tested: {reason}"
            return Verdict(
                SiteStatus.WORKS,
                State.WORKS,
                seen=seen,
                confidence=Confidence.HIGH,
                do=_NOTHING,
                through=self._routes.delivered,
            )
        untested = f"direct was not tested: {reason}"
        if self._compared:
            seen = f"{self._troubles(self._compared)}; {untested}"
            return self._down(seen, [f"{self._named(self._compared)} did not reach it"], Confidence.LOW)
        if self._failing:
            return self._relays_fail(untested)
        return Verdict(
            SiteStatus.NOT_TESTED,
            State.UNKNOWN,
            seen=f"not tested: {reason}",
            do="To test it, change the rule or setting that forbids it.",
        )

    def _blocked(self) -> Verdict:
        """Direct does not do what another route does (comparison gate)."""
        cause = self._cause()
        total = sum(signal.weight for signal in self._signals)
        points, reasons = self._points(total)
        confidence = Confidence.HIGH if points >= 3 else Confidence.MEDIUM if points == 2 else Confidence.LOW
        enough = bool(self._others) and total >= self._detect.blocked_score
        sure = (
            not self._network_state.is_restricted
            and self._control is not StepResult.FAILED
            and (enough or self._belief.state is State.BLOCKED)
        )
        state = State.BLOCKED if sure or self._confirmed else State.SUSPECT
        return Verdict(
            status_of(state, cause),
            state,
            cause,
            self._story(cause),
            confidence,
            reasons,
            self._instead(cause),
            self._what_to_do(cause),
            anomaly=True,
            confirmed=self._confirmed,
            signals=self._signals,
            control=self._control,
            through=self._routes.delivered,
        )

    def _resolver_is_down(self) -> Verdict:
        """The resolver answers for no site, which is no block of this one."""
        return Verdict(
            SiteStatus.WORKS,
            State.WORKS,
            seen=f"{self._others[0]} delivered; the system's DNS resolver fails for other sites as well",
            confidence=Confidence.MEDIUM,
            reasons=(f"DNS fails for another site as well: {self._routes.control_text}",),
            instead="the provider may refuse all names: encrypted DNS works",
            do="Nothing. The network's DNS resolver is down; you can set another one in the system.",
            control=self._control,
            through=self._routes.delivered,
        )

    def _nothing_delivered(self) -> Verdict:
        if self._confirmed or any(signal.cause == Cause.INTERCEPTION for signal in self._signals):
            return self._blocked()
        if self._control is StepResult.FAILED and not self._routes.answered_by_relay:
            if self._routes.is_control_of_another_day and self._routes.is_of_another_day(DIRECT):
                return self._clock_is_wrong()
            strange = self._routes.control_symptom in _IN_ITS_PLACE
            return self._of_the_network(NetworkState.PORTAL if strange else NetworkState.OFFLINE)
        if (reason := self._routes.certificate_fault(DIRECT)) and not self._routes.has_answered(DIRECT):
            return self._bad_certificate(reason)
        telling = any(self._is_telling(signal) for signal in self._signals)
        if telling and not self._compared and not self._failing and self._control is not StepResult.FAILED:
            return self._blocked()
        trouble = self._routes.trouble(DIRECT)
        seen = f"direct: {trouble.text if trouble is not None else 'nothing was delivered'}"
        if self._compared:
            sure = Confidence.MEDIUM if self._control is StepResult.OK else Confidence.LOW
            return self._down(seen, [f"{self._named(self._compared)} did not reach it either"], sure)
        if self._failing:
            return self._relays_fail(seen)
        reasons = ["no relay to compare with"]
        if self._control is StepResult.OK:
            return self._down(seen, reasons, Confidence.LOW)
        return Verdict(
            SiteStatus.NOT_TESTED,
            State.UNKNOWN,
            seen=seen,
            reasons=tuple(reasons),
            instead=_NEEDS_A_RELAY,
            do=_ADD_A_RELAY,
            signals=self._signals,
            control=self._control,
        )

    def _no_such_name(self) -> Verdict | None:
        """The name does not exist: two of the system's resolver, an encrypted one and a relay say so; or the only one
        that may be asked."""
        routes = self._routes
        by_system, by_secure = routes.is_denied(StepKind.RESOLVE), routes.is_denied(StepKind.SECURE)
        by_relay = [route for route in self._compared if routes.is_refused_by_relay(route)]
        may_ask = routes.was_asked(StepKind.SECURE) or self._compared or self._failing
        if routes.has_secure_answer or not (by_system or by_secure):
            return None
        if by_system + by_secure + bool(by_relay) < 2 and may_ask:
            return None
        agree = [name for name, says in (("the system's DNS", by_system), ("encrypted DNS", by_secure)) if says]
        agree += [f"relay {route}" for route in by_relay]
        alone = len(agree) < 2
        return Verdict(
            SiteStatus.NO_SUCH_NAME,
            State.DOWN,
            Cause.NO_SUCH_NAME,
            f"{_listed(agree)} {'says' if alone else 'say'} that the name does not exist",
            Confidence.LOW if alone else Confidence.HIGH,
            (f"{_listed(agree)} {'answers' if alone else 'agree'}",),
            "it may also be DNS tampering: no encrypted DNS and no relay was asked" if alone else "",
            "Check the spelling.",
            signals=self._signals if not alone else (),
            control=self._control,
        )

    def _bad_certificate(self, reason: Cause) -> Verdict:
        """Direct shows a certificate that is not good, and no other route shows a good one."""
        alike = self._routes.shows_bad_certificate
        seen = words.cause_in_words(reason)
        trouble = self._routes.trouble(DIRECT)
        detail = f"{seen}: {trouble.text}" if trouble is not None and trouble.text else seen
        if alike:
            return Verdict(
                SiteStatus.BAD_CERTIFICATE,
                State.DOWN,
                reason,
                detail,
                Confidence.HIGH if self._control is StepResult.OK else Confidence.MEDIUM,
                (f"{self._named(alike)} gets the same certificate: the site's fault",),
                ""
                if self._control is StepResult.OK
                else "this computer's clock may be wrong"
                if reason in _DATES
                else "",
                "Only the site can correct it. Do not enter passwords there.",
                control=self._control,
            )
        return Verdict(
            SiteStatus.BAD_CERTIFICATE,
            State.DOWN,
            reason,
            f"untrusted certificate, by the site or by this network: {detail}",
            Confidence.LOW,
            (f"relay {self._named(self._failing)} failed itself" if self._failing else "no relay to compare with",),
            "TLS interception looks the same; a working relay is needed to tell",
            f"Do not enter passwords there. {_TEST_RELAYS if self._relays else _ADD_A_RELAY}",
            control=self._control,
        )

    def _clock_is_wrong(self) -> Verdict:
        trouble = self._routes.trouble(DIRECT)
        detail = trouble.text if trouble is not None else "certificates are not valid today"
        return Verdict(
            SiteStatus.NOT_TESTED,
            State.UNKNOWN,
            Cause.CLOCK,
            f"this computer's clock is wrong: {detail}",
            reasons=(self._routes.control_text, "this says nothing about the site"),
            do="Set the clock, then try again.",
            control=self._control,
        )

    def _down(self, seen: str, reasons: list[str], confidence: Confidence) -> Verdict:
        if self._control is StepResult.OK:
            reasons.append(f"Internet access works ({self._routes.control_text})")
        if self._failing:
            reasons.append(self._troubles(self._failing))
        return Verdict(
            SiteStatus.SITE_DOWN,
            State.DOWN,
            Cause.DOWN,
            seen,
            confidence,
            tuple(reasons),
            "It may also be a block that your relays cannot bypass" if self._compared else _NEEDS_A_RELAY,
            "Try again later. To check your relays: `byway relay test`" if self._relays else _ADD_A_RELAY,
            signals=self._signals,
            control=self._control,
        )

    def _relays_fail(self, seen: str) -> Verdict:
        """Direct fails, and the relays that were tried fail themselves: nothing can be said of the site."""
        reasons = [self._troubles(self._failing)]
        if self._control is StepResult.OK:
            reasons.append(f"Internet access works ({self._routes.control_text})")
        if self._belief.state in (State.SUSPECT, State.BLOCKED):
            reasons.append(f'the stored status is "{status_of(self._belief.state, self._belief.cause)}"')
        faults = self._routes.relay_faults
        fix = next((fault.fix(relay) for relay, fault in faults.items()), "byway relay test")
        return Verdict(
            SiteStatus.RELAYS_FAIL,
            State.UNKNOWN,
            Cause.RELAYS_FAIL,
            f"{seen}; {self._troubles(self._failing)}",
            Confidence.NONE,
            tuple(reasons),
            _NEEDS_A_RELAY,
            f"To correct it: {fix}",
            signals=self._signals,
            control=self._control,
        )

    def _is_telling(self, signal: WeightedSignal) -> bool:
        """It says something even when no other route delivered, though it is no proof. An address that no public name
        has may be an ad-blocking resolver's word for a name that is nowhere: only another resolver's answer tells."""
        return signal.id == SignalId.SNI_SWAP or (signal.id == SignalId.DNS_BOGON and self._routes.has_secure_answer)

    def _of_the_network(self, state: NetworkState) -> Verdict:
        portal = state is NetworkState.PORTAL
        detail = self._routes.control_text  # no part of `seen`, which goes into reports: the controls are private
        return Verdict(
            SiteStatus.PORTAL if portal else SiteStatus.NO_NETWORK,
            State.UNKNOWN,
            Cause(state),
            "the network shows its login page in place of every site" if portal else self._no_network(),
            Confidence.MEDIUM,
            (*((detail,) if detail else ()), "this says nothing about the site"),
            "",
            "Open any page in a browser and log in to the network." if portal else "Check your network connection.",
            control=self._control,
        )

    def _no_network(self) -> str:
        if self._routes.is_offline:
            return f"this computer has no network: {self._routes.why_not_tested(DIRECT)}"
        return "no other site is reached direct either"

    # -- in words --------------------------------------------------------------------------------------------------

    def _named(self, routes: Sequence[Route]) -> str:
        return ", ".join(map(str, routes))

    def _troubles(self, routes: Sequence[Route]) -> str:
        """How these routes failed, each with its reason."""
        return "; ".join(f"relay {route}: {self._why(route)}" for route in routes)

    def _why(self, route: Route) -> str:
        fault = self._routes.relay_faults.get(">".join(route.relays))
        if fault is not None:
            return fault.text
        trouble = self._routes.trouble(route)
        return trouble.text if trouble is not None else "failed"

    # -- how sure --------------------------------------------------------------------------------------------------

    @property
    def _confirmed(self) -> bool:
        return any(signal.confirms for signal in self._signals)

    def _points(self, total: float) -> tuple[int, tuple[str, ...]]:
        """How many independent things speak for it, and all of them in words."""
        points, reasons = 0, []
        if self._others:
            points += 1
            reasons.append(f"{self._named(self._others)} delivered the page")
        else:
            reasons.append("no other route delivered it, so it may also be down")
        if self._control is StepResult.OK:
            points += 1
            reasons.append(f"Internet access works ({self._routes.control_text})")
        elif self._control is StepResult.FAILED:
            reasons.append(f"another site is not reached direct either: {self._routes.control_text}")
        if self._confirmed:
            points += 2
            reasons.append("proof: a known block page, a known interception root, or two answers to one DNS query")
        elif total >= self._detect.blocked_score:
            points += 1
            reasons.append(f"signals weigh {total:g} of the {self._detect.blocked_score:g} needed")
        else:
            reasons.append(f"signals weigh only {total:g} of the {self._detect.blocked_score:g} needed")
        if self._belief.state is State.BLOCKED:
            points += 1
            reasons.append(f"seen before, in {self._belief.episodes} episodes")
        return points, tuple(reasons)

    # -- why -------------------------------------------------------------------------------------------------------

    def _cause(self) -> Cause:
        """The first in the order of how much else it explains: at a forged address all the rest may be strange."""
        if self._network_state.is_restricted:
            return Cause.RESTRICTED
        found = {signal.cause for signal in self._signals}
        return next((cause for cause in _ORDER if cause in found), next(iter(sorted(found)), Cause.NONE))

    def _story(self, cause: Cause) -> str:
        heaviest = max(self._signals, key=lambda signal: signal.weight, default=None)
        meaning = words.cause_in_words(cause)
        sentences = [meaning] if meaning else []
        first = next((signal for signal in self._signals if signal.cause == cause), heaviest)
        if first is not None:
            sentences.append(first.text)
        return ": ".join(sentences)

    def _instead(self, cause: Cause) -> str:
        ids = {signal.id for signal in self._signals}
        if cause == Cause.IP or (ids & {SignalId.TLS_EOF, SignalId.TLS_ALERT} and SignalId.SNI_SWAP not in ids):
            return "by the network or by the site's own geo-fence; not separable here"
        if cause in (Cause.SNI_RESET, Cause.SNI_DROP, Cause.ECH):
            if SignalId.SNI_SWAP in ids:
                return "the site may be down: unlikely, its address answered another SNI"
            if self._routes.is_punished(DIRECT):
                return (
                    "the IP address itself may be blocked (another SNI was not answered there either), or this is "
                    "residual blocking after the last visit"
                )
            if self._others:
                return f"the site may be down: no, {self._others[0]} reached it"
        if cause == Cause.DNS:
            if self._routes.found(DOH) is StepResult.OK:
                return "a CDN may use other addresses here: unlikely, direct works at the address from encrypted DNS"
            broken = "the system's DNS resolver may be broken"
            return f"{broken}: unlikely, other names resolve" if self._control is StepResult.OK else broken
        if cause == Cause.INTERCEPTION:
            return "the site's own certificate may be bad: no, a relay got a valid one" if self._others else (
                "the site's own certificate may be bad, or an antivirus intercepts TLS"
            )  # fmt: skip
        if {SignalId.HTTP_DIFFERS} == ids:
            return "the site may show another page to visitors from elsewhere: no known block page matches"
        if cause in (Cause.FROZEN, Cause.THROTTLED):
            return "the connection may be bad: unlikely, another route was fast at the same time"
        return _COMPETING.get(cause, "")

    def _what_to_do(self, cause: Cause) -> str:
        if cause == Cause.INTERCEPTION:
            return f"Do not enter passwords on the direct route. {_USES_RELAYS if self._relays else _ADD_A_RELAY}"
        local = [route for route in self._others if not route.relays]
        if local:
            return f"Nothing. {local[0]} opens it without a relay."
        if self._others:
            return f"Nothing. {self._others[0]} opens it."
        cut = [route for route in self._routes.tested if route.wrap and route != DOH and not route.relays]
        if cut and cause in (Cause.SNI_RESET, Cause.SNI_DROP):
            return f"Fragmenting the ClientHello does not help; the filter reassembles it. {_ADD_A_RELAY}"
        return "Try another relay." if self._relays else _ADD_A_RELAY


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


_NOTHING = "Nothing: it opens."
_ADD_A_RELAY = "Add a relay with `byway relay add URL`."
_TEST_RELAYS = "Test your relays with `byway relay test`."
_USES_RELAYS = "It is opened through relays only."
_NEEDS_A_RELAY = "It may also be blocked; a working relay is needed to tell"

_DATES = (Cause.EXPIRED, Cause.NOT_YET_VALID)

_OF_THE_NETWORK = (NetworkState.OFFLINE, NetworkState.PORTAL)

_DELIVERED_WRONG = frozenset({SignalId.THROTTLED, SignalId.HTTP_REDIRECT, SignalId.HTTP_DIFFERS})
"""Direct brought something, but not what another route brings, or far slower."""

_IN_ITS_PLACE = frozenset({Symptom.CERTIFICATE, Symptom.REDIRECTED, Symptom.BLOCK_PAGE})
"""A control that ends so was answered by somebody else: a network's login page, most likely."""

_ORDER = (
    Cause.DNS, Cause.INTERCEPTION, Cause.BLOCK_PAGE, Cause.IP, Cause.ECH, Cause.SNI_RESET, Cause.SNI_DROP,
    Cause.HTTP_HOST, Cause.FROZEN, Cause.THROTTLED,
)  # fmt: skip

_COMPETING: Mapping[Cause, str] = MappingProxyType(
    {
        Cause.BLOCK_PAGE: "the site may have moved: no, this page is known to replace blocked ones",
        Cause.HTTP_HOST: "the site may be down: no, another route reached it",
    }
)
