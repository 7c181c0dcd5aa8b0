"""The steps of one measurement by route: which routes delivered, and what stopped the others.

The methods read only the steps. `measurement_signals` and `decision` decide what they say about blocking.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.detect.verdict.missing_name import Lookup, lookup_result
from proxy.model import DIRECT, DOH, Cause, Evidence, MeasurementStep, Route, StepKind, StepResult, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _


@frozen_dataclass
class MeasuredRoutes:
    """The steps of one measurement, by route."""

    steps: tuple[MeasurementStep, ...]

    # -- routes ----------------------------------------------------------------------------------------------------

    @property
    def all(self) -> tuple[Route, ...]:
        """The routes that have steps, in the order of their first steps."""
        return tuple(dict.fromkeys(step.route for step in self.steps if step.kind not in _OF_NO_ROUTE))

    @property
    def delivered(self) -> tuple[Route, ...]:
        return tuple(route for route in self.all if self.result(route) is StepResult.OK)

    @property
    def tested(self) -> tuple[Route, ...]:
        return tuple(route for route in self.all if self.result(route) is not StepResult.NOT_TESTED)

    def on(self, route: Route) -> tuple[MeasurementStep, ...]:
        """Returns the steps of one route, without those of control sites and of other programs' ClientHellos."""
        return tuple(step for step in self.steps if step.route == route and step.kind not in _OF_OTHERS)

    def result(self, route: Route) -> StepResult:
        """Returns OK if the route delivered, FAILED if it did not and a step failed, else NOT_TESTED."""
        steps = self.on(route)
        stalls = any(step.kind is StepKind.TRANSFER and step.failed for step in steps)
        stalls |= route == DIRECT and self.cut_later is not None
        if any(step.kind is StepKind.ANSWER and step.ok for step in steps) and not stalls:
            return StepResult.OK
        return StepResult.FAILED if any(step.failed for step in steps) else StepResult.NOT_TESTED

    def failed_step(self, route: Route) -> MeasurementStep | None:
        """Returns the last step of the route that failed: it shows how far the route came. None: no step failed."""
        return next((step for step in reversed(self.on(route)) if step.failed), None)

    def deciding_step(self, route: Route) -> MeasurementStep | None:
        """Returns the step that decided about the route: its answer, else the step that failed, else the last one."""
        steps = self.on(route)
        answer = next((step for step in steps if step.kind is StepKind.ANSWER and step.ok), None)
        if self.result(route) is not StepResult.OK:
            answer = None
        return answer or self.failed_step(route) or (steps[-1] if steps else None)

    def why_not_tested(self, route: Route) -> str:
        steps = self.on(route)
        untested = (step for step in steps if step.result is StepResult.NOT_TESTED and step.kind not in _LOOKUPS)
        step = next(untested, None) or next(iter(steps), None)
        return step.text if step is not None else _("not selected")

    @property
    def loses_segments(self) -> bool:
        """Whether direct failed since segments of the server's answer were lost on their way here, before others, and
        no answer to another SNI came whole."""
        step = self.failed_step(DIRECT)
        is_cut = step is not None and step.kind is StepKind.HELLO and bool(step.evidence.get("out_of_order"))
        return is_cut and not any(
            other.kind is StepKind.NEUTRAL and other.ok and other.symptom is Symptom.NONE for other in self.on(DIRECT)
        )

    @property
    def is_offline(self) -> bool:
        """Whether this computer has no route to anywhere."""
        return any(step.symptom is Symptom.OFFLINE for step in self.on(DIRECT))

    # -- relays ----------------------------------------------------------------------------------------------------

    @property
    def relay_faults(self) -> Mapping[str, RelayFault]:
        """The relays that failed themselves, by name."""
        faults = {
            ">".join(step.route.relays): relay_fault(step)
            for step in self.steps
            if step.kind is StepKind.RELAY and step.failed
        }
        return {name: fault for name, fault in faults.items() if fault is not None}

    def is_relays_fault(self, route: Route, working: Collection[str] = ()) -> bool:
        """Whether the relay itself failed, which is no evidence about the site. A relay that accepted the request and
        opened no connection waits for the site if it is in `working`; otherwise it may be dead."""
        name = ">".join(route.relays)
        return name in self.relay_faults or any(
            step.symptom is Symptom.TIMEOUT and name not in working
            for step in self.on(route)
            if step.kind is StepKind.RELAY and step.failed
        )

    def is_refused_by_relay(self, route: Route) -> bool:
        """Whether the relay answered that it cannot reach the site."""
        return any(step.kind is StepKind.RELAY and step.symptom is Symptom.RELAY_REFUSED for step in self.on(route))

    @property
    def is_a_relay_reached(self) -> bool:
        """Whether any relay answered, which shows that this computer is not offline."""
        return any(
            step.kind is StepKind.RELAY and (step.ok or step.symptom is Symptom.RELAY_REFUSED) for step in self.steps
        )

    # -- names -----------------------------------------------------------------------------------------------------

    def lookup(self, kind: StepKind) -> Lookup:
        """Returns the answer of a resolver. `kind` is RESOLVE (the system's) or SECURE."""
        lookups = [step for step in self.steps if step.kind is kind]
        if any(step.ok for step in lookups):
            return Lookup.FOUND
        results = {lookup_result(step.symptom, step.evidence) for step in lookups}
        return next((result for result in _WORST_FIRST if result in results), Lookup.NOT_ASKED)

    def is_resolved_by_secure_dns(self, route: Route) -> bool:
        """Whether only encrypted DNS gave the addresses of a route without a relay: the system's resolver was not
        asked, or had none."""
        if route.relays or self.lookup(StepKind.SECURE) is not Lookup.FOUND:
            return False
        return route == DOH or self.lookup(StepKind.RESOLVE) is not Lookup.FOUND

    def was_asked(self, kind: StepKind) -> bool:
        return any(step.kind is kind and step.result is not StepResult.NOT_TESTED for step in self.steps)

    @property
    def has_secure_answer(self) -> bool:
        """Whether an encrypted resolver has an address for the name."""
        return any(step.kind is StepKind.SECURE and step.ok for step in self.steps)

    # -- addresses and certificates --------------------------------------------------------------------------------

    def has_connected(self, route: Route) -> bool:
        """Whether a TCP connection to one of the site's addresses was opened."""
        return any(step.kind is StepKind.CONNECT and step.ok for step in self.on(route))

    def is_neutral_name_unanswered(self, route: Route) -> bool:
        """Whether another SNI was not answered either, on a connection that opened: after they have blocked a name,
        some censors close its address for minutes (residual blocking)."""
        return any(step.kind is StepKind.NEUTRAL and step.failed for step in self.on(route))

    def is_verified(self, route: Route) -> bool:
        """Whether the route got a certificate that is valid for the site."""
        return any(step.kind is StepKind.CERTIFICATE and step.ok for step in self.on(route))

    def certificate_fault(self, route: Route) -> Cause:
        """Returns the fault of the certificate that came over `route`; `Cause.NONE`: a valid one came, or none."""
        steps = [step for step in self.on(route) if step.kind is StepKind.CERTIFICATE]
        if not steps or any(step.ok for step in steps):
            return Cause.NONE
        return certificate_fault(steps[-1].evidence)

    # -- the ClientHello of a visit ------------------------------------------------------------------------------------

    def other_hello(self, *, by_relay: bool) -> MeasurementStep | None:
        """Returns the best result of the ClientHello of a visit: a ServerHello before an alert, which is an answer too.
        None: it was not sent."""
        results = [
            step
            for step in self.steps
            if step.kind is StepKind.SHAPE
            and step.result is not StepResult.NOT_TESTED
            and bool(step.route.relays) is by_relay
        ]
        return min(results, key=lambda step: (not step.ok, step.symptom is Symptom.ALERT), default=None)

    @property
    def why_no_other_hello(self) -> str:
        """The reason why no ClientHello of a visit was sent; empty: one was sent, or it would have told nothing."""
        untested = (step for step in self.steps if step.kind is StepKind.SHAPE)
        return next((step.text for step in untested if step.result is StepResult.NOT_TESTED), "")

    # -- answers ---------------------------------------------------------------------------------------------------

    def has_answered(self, route: Route) -> bool:
        """Whether a request was sent over `route`, with or without an answer."""
        return any(step.kind is StepKind.ANSWER and step.result is not StepResult.NOT_TESTED for step in self.on(route))

    def status(self, route: Route) -> int | None:
        """Returns the HTTP status of the answer; None: none came."""
        answers = (step.evidence.get("status") for step in self.on(route) if step.kind is StepKind.ANSWER and step.ok)
        status = next(answers, None)
        return status if isinstance(status, int) else None

    @property
    def replaced_body(self) -> str:
        """The digest of the body that direct got over plain HTTP; empty if it got none, or a relay got the same."""
        bodies = {
            route: str(step.evidence.get("body", ""))
            for route in self.delivered
            for step in self.on(route)
            if step.kind is StepKind.ANSWER and step.ok
        }
        direct = bodies.pop(DIRECT, "")
        return "" if direct in [body for route, body in bodies.items() if route.relays] else direct

    @property
    def cut_later(self) -> MeasurementStep | None:
        """The step in which direct was cut some time after the handshake, while a connection through a relay lasted;
        None: there is none. A server may end connections too, for every route."""
        steps = [step for step in self.steps if step.kind is StepKind.PAUSE]
        if not any(step.ok and step.route.relays for step in steps):
            return None
        return next((step for step in steps if step.failed and step.route == DIRECT), None)

    def carried(self, route: Route) -> int:
        """Returns the most bytes that came on one connection."""
        counts = [step.evidence.get("bytes", 0) for step in self.on(route) if step.kind in _CARRYING and step.ok]
        return max(counts, default=0)

    def speed(self, route: Route) -> float | None:
        """Returns the bytes a second; None: too few bytes came to tell."""
        rates = (step.evidence.get("bytes_per_s") for step in self.on(route) if step.kind in _CARRYING)
        return next((float(rate) for rate in rates if isinstance(rate, int | float)), None)

    def redirect_domain(self, route: Route) -> str:
        """Returns the other domain to which the route's answer redirects; empty: to none."""
        answers = (step.evidence.get("elsewhere", "") for step in self.on(route) if step.kind is StepKind.ANSWER)
        return str(next(answers, ""))

    @property
    def is_redirected_only_direct(self) -> bool:
        """Whether direct is redirected to another domain, and a relay that delivered is not redirected there."""
        domains = {route: self.redirect_domain(route) for route in self.delivered}
        relayed = [domain for route, domain in domains.items() if route.relays]
        direct = domains.get(DIRECT, "")
        return bool(direct and relayed) and direct not in relayed

    # -- the control site ------------------------------------------------------------------------------------------

    @property
    def control(self) -> StepResult:
        """The control gate: OK if another site was reached direct, or this site by a local strategy or at another
        address."""
        if self._local_delivery is not None:
            return StepResult.OK
        step = self._control_step
        return step.result if step is not None else StepResult.NOT_TESTED

    @property
    def is_control_replaced(self) -> bool:
        """Whether another server answered in place of a control site, most likely a captive portal, and no control site
        answered itself. A certificate that is not valid today shows a wrong clock here, and no portal."""
        if self._control_step is None or self._control_step.ok:
            return False
        failed = [step for step in self._controls if step.failed and not step.evidence.get("clock")]
        return any(step.symptom in _REPLACED or step.evidence.get("portal") for step in failed)

    @property
    def portal_page(self) -> str:
        """The URL of the login page that came in place of a control site; empty: not known."""
        return next((page for step in self._controls if (page := step.evidence.get("portal"))), "")

    @property
    def clock_ahead(self) -> float:
        """Seconds by which this computer's clock is ahead of a control site's; infinite: not known."""
        differences = (step.evidence["clock_s"] for step in self._controls if "clock_s" in step.evidence)
        return next(map(float, differences), math.inf)

    @property
    def control_text(self) -> str:
        """The evidence for `control`, as half a sentence."""
        step = self._control_step
        if self._local_delivery is not None and (step is None or not step.ok):
            return _("{routes} delivered the page", routes=str(self._local_delivery))
        return step.text if step is not None else ""

    @property
    def is_resolver_down(self) -> bool:
        """Whether the system's resolver fails for the control site too."""
        step = self._control_step
        return step is not None and step.failed and step.symptom in (Symptom.RESOLVE_FAILED, Symptom.NO_NAME)

    @property
    def control_host(self) -> str:
        """The name of the control site; empty: none was asked."""
        step = self._control_step
        return str(step.evidence.get("host", "")) if step is not None else ""

    @property
    def is_resolver_up(self) -> bool:
        """Whether the control site opened, so that the system's resolver resolved its name."""
        return self._control_step is not None and self._control_step.ok

    @property
    def is_clock_wrong(self) -> bool:
        """Whether the certificates of both the site and the control site are not valid today. Then this computer's
        clock is likely wrong, unless the time of a control site agrees with it."""
        if abs(self.clock_ahead) < _CLOCK_S:
            return False
        control_date_is_wrong = any(step.evidence.get("clock") for step in self._controls)
        return control_date_is_wrong and self.certificate_fault(DIRECT) in (Cause.EXPIRED, Cause.NOT_YET_VALID)

    @property
    def _local_delivery(self) -> Route | None:
        """The first local strategy that delivered; None: none did."""
        return next((route for route in self.delivered if not route.relays and route != DIRECT), None)

    @property
    def _control_step(self) -> MeasurementStep | None:
        # One that answered wins over an earlier one that did not, which may itself be blocked.
        controls = self._controls
        return next((step for step in controls if step.ok), controls[0] if controls else None)

    @property
    def _controls(self) -> list[MeasurementStep]:
        return [step for step in self.steps if step.kind is StepKind.CONTROL]


def certificate_fault(evidence: Evidence) -> Cause:
    """Returns the fault of a certificate that was refused."""
    code = evidence.get("verify_code")
    # OpenSSL reports the first fault that it finds, so another code may hide a wrong name; `certificate` has the kind
    # by the certificate itself.
    if evidence.get("certificate") == "wrong_name" or code in _OTHER_NAME:
        return Cause.WRONG_NAME
    return _VERIFY_CODES.get(int(code), Cause.UNTRUSTED_ISSUER) if isinstance(code, int) else Cause.UNTRUSTED_ISSUER


_VERIFY_CODES: Mapping[int, Cause] = {9: Cause.NOT_YET_VALID, 10: Cause.EXPIRED, 18: Cause.SELF_SIGNED}
"""X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _DEPTH_ZERO_SELF_SIGNED_CERT."""

_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH

_CLOCK_S = 43_200.0
"""Seconds by which a clock may be wrong without invalid certificates, which are valid for days."""

_REPLACED = frozenset({Symptom.CERTIFICATE, Symptom.REDIRECTED, Symptom.BLOCK_PAGE})
"""Symptoms of a control page that another server answered, most likely a captive portal."""

_CARRYING = (StepKind.ANSWER, StepKind.TRANSFER)
_WORST_FIRST = (Lookup.DENIED, Lookup.FORGED, Lookup.FAILED)
_LOOKUPS = (StepKind.RESOLVE, StepKind.SECURE)
_OF_OTHERS = (StepKind.CONTROL, StepKind.SHAPE)
_OF_NO_ROUTE = (*_OF_OTHERS, *_LOOKUPS)
