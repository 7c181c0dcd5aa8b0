"""Decides the verdict from the steps of a measurement, for `byway why`, `byway test` and reports. Pure.

This module chooses the kind of verdict. The modules of the kinds make it with its explanation: `works`, `blocked`,
`site_faults` (the site's own) and `inconclusive` (nothing can be said about the site).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.signals import REFUSALS
from proxy.detect.verdict import labels
from proxy.detect.verdict.blocked import blocked, still_blocked, still_slow
from proxy.detect.verdict.comparison import Comparison, route_names
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.failed_visit import cause_of_step
from proxy.detect.verdict.inconclusive import at_home, network_fault, not_tested, relays_fail, uncompared, wrong_clock
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.measurement_signals import weighted_signals
from proxy.detect.verdict.other_program import depends_on_hello
from proxy.detect.verdict.site_faults import (
    bad_certificate,
    does_not_open,
    does_not_resolve,
    name_answers,
    no_such_name,
    refuses_route,
    site_down,
)
from proxy.detect.verdict.site_status import SiteStatus
from proxy.detect.verdict.verdict import Verdict
from proxy.detect.verdict.works import resolver_is_down, works_at_secure_address, works_by_relay, works_direct
from proxy.model import DIRECT, Belief, Cause, MeasurementStep, NetworkState, SignalId, State, StepKind, StepResult
from proxy.model.phrase import _, semicolons

_SEGMENTS_LOST = _("segments of its direct answer are lost, as where packets of full size do not pass (MTU)")


def decide(
    steps: Sequence[MeasurementStep],
    belief: Belief,
    *,
    detect: DetectTuning,
    relays: Sequence[str] = (),
    network_state: NetworkState = NetworkState.OK,
    working_relays: Collection[str] = (),
    sites_with_same_page: int = 0,
    portal_page: str = "",
    is_home: bool = False,
) -> Verdict:
    """Returns the verdict on one measurement. `relays` are the configured ones, `working_relays` those that delivered
    other sites lately. `sites_with_same_page` is the number of unrelated sites for which direct got the same page,
    `portal_page` the login page of a known captive portal. `is_home`: the site is on the home network, and only direct
    was tested."""
    routes = MeasuredRoutes(tuple(steps))
    relayed = [route for route in routes.tested if route.relays]
    failing = tuple(route for route in relayed if routes.is_relays_fault(route, working_relays))
    comparison = Comparison(
        routes,
        belief,
        detect,
        network_state,
        relays=tuple(relays),
        signals=weighted_signals(routes, detect),
        delivered=tuple(route for route in routes.delivered if route != DIRECT),
        compared=tuple(route for route in relayed if route not in failing),
        failing=failing,
        sites_with_same_page=sites_with_same_page,
        portal_page=portal_page,
    )
    verdict = at_home(comparison) if is_home else _verdict(comparison)
    untested = routes.why_no_other_hello
    reasons = (*verdict.reasons, untested) if untested else verdict.reasons
    return replace(verdict, reasons=reasons, relay_faults=routes.relay_faults)


def _verdict(comparison: Comparison) -> Verdict:
    routes, network_state = comparison.routes, comparison.network_state
    direct = routes.result(DIRECT)
    if direct is StepResult.OK:
        return _direct_delivered(comparison)
    if network_state in (NetworkState.OFFLINE, NetworkState.PORTAL):
        return network_fault(comparison, network_state)
    if (of_program := depends_on_hello(comparison)) is not None:
        return of_program
    if not comparison.delivered and (missing := _missing_name(comparison)) is not None:
        return missing
    if direct is StepResult.NOT_TESTED:
        return _direct_not_tested(comparison)
    if comparison.delivered:
        if routes.loses_segments:
            return works_by_relay(comparison, _SEGMENTS_LOST)
        is_dns_alone = comparison.cause == Cause.DNS and not comparison.is_confirmed
        return resolver_is_down(comparison) if is_dns_alone and routes.is_resolver_down else blocked(comparison)
    return _nothing_delivered(comparison)


def _missing_name(comparison: Comparison) -> Verdict | None:
    """Returns the verdict on a name for which no resolver has an address; None: something else decides."""
    routes, answers = comparison.routes, name_answers(comparison)
    if answers.status is SiteStatus.NO_SUCH_NAME:
        return no_such_name(comparison, answers)
    # If no other site is reached either, the network is at fault, unless its resolver denies all names.
    is_network = comparison.control is StepResult.FAILED and not routes.is_resolver_down
    if answers.status is SiteStatus.DOES_NOT_RESOLVE and not is_network:
        return does_not_resolve(comparison)
    return None


def _direct_delivered(comparison: Comparison) -> Verdict:
    routes = comparison.routes
    # A plain request can be answered on the path, so a portal that replaced the control page replaced this page too.
    if not routes.is_verified(DIRECT) and routes.is_control_replaced:
        return network_fault(comparison, NetworkState.PORTAL)
    if routes.status(DIRECT) in REFUSALS:
        return refuses_route(comparison)
    if any(signal.id in _DELIVERED_OTHERWISE for signal in comparison.signals):
        return blocked(comparison)
    if comparison.is_too_small:
        return still_slow(comparison)
    is_dns_blocked = comparison.is_stored_as_blocked and comparison.belief.cause == Cause.DNS
    if is_dns_blocked and not routes.was_asked(StepKind.RESOLVE):
        if routes.is_resolver_down and comparison.belief.state is State.SUSPECT:
            return resolver_is_down(comparison)
        return works_at_secure_address(comparison)
    return depends_on_hello(comparison) or works_direct(comparison)


def _direct_not_tested(comparison: Comparison) -> Verdict:
    routes = comparison.routes
    if routes.is_offline and not comparison.delivered:
        return network_fault(comparison, NetworkState.OFFLINE)
    is_replaced = comparison.control is StepResult.FAILED and routes.is_control_replaced
    if is_replaced and not comparison.delivered and not routes.is_a_relay_reached:
        return network_fault(comparison, NetworkState.PORTAL)
    untested = _("direct was not tested: {reason}", reason=routes.why_not_tested(DIRECT))
    if comparison.is_stored_as_blocked:
        return still_blocked(comparison, untested)
    if comparison.delivered:
        return works_by_relay(comparison, untested)
    if comparison.compared:
        summary = semicolons([comparison.failures(comparison.compared), untested])
        reason = _("{routes} did not reach it", routes=route_names(comparison.compared))
        return site_down(comparison, summary, reason, Confidence.LOW)
    if comparison.failing:
        return relays_fail(comparison, untested)
    return not_tested(routes.why_not_tested(DIRECT))


def _nothing_delivered(comparison: Comparison) -> Verdict:
    """Direct failed, and so did every other route that was tested."""
    routes, control = comparison.routes, comparison.control
    # Proof comes first: it needs neither gate.
    if comparison.is_confirmed or any(signal.cause == Cause.INTERCEPTION for signal in comparison.signals):
        return blocked(comparison)
    if routes.is_clock_wrong:  # the relays' certificates for the site are not valid today either
        return wrong_clock(comparison)
    if control is StepResult.FAILED and not routes.is_a_relay_reached and not comparison.network_state.is_restricted:
        is_replaced = routes.is_control_replaced
        return network_fault(comparison, NetworkState.PORTAL if is_replaced else NetworkState.OFFLINE)
    if (fault := routes.certificate_fault(DIRECT)) and not routes.has_answered(DIRECT):
        return bad_certificate(comparison, fault)
    has_relays = comparison.compared or comparison.failing
    if not has_relays and control is not StepResult.FAILED and _counts_without_comparison(comparison):
        return blocked(comparison)
    step = routes.failed_step(DIRECT)
    summary = _("direct: {reason}", reason=step.text if step is not None else _("nothing was delivered"))
    if comparison.compared:
        confidence = Confidence.MEDIUM if control is StepResult.OK else Confidence.LOW
        reason = _("{routes} did not reach it either", routes=route_names(comparison.compared))
        return site_down(comparison, summary, reason, confidence)
    if comparison.failing:
        return relays_fail(comparison, summary)
    if control is StepResult.OK:
        cause = Cause.DOWN if step is None else cause_of_step(step)
        if cause is Cause.DOWN:
            return site_down(comparison, summary, labels.NO_RELAY, Confidence.LOW)
        return does_not_open(comparison, summary, cause)
    return uncompared(comparison, summary)


def _counts_without_comparison(comparison: Comparison) -> bool:
    """Whether a signal counts although no other route delivered and it is no proof."""
    ids = {signal.id for signal in comparison.signals}
    if comparison.is_stored_as_blocked and comparison.cause == comparison.belief.cause:
        return True  # an earlier comparison found a block, and direct fails in the same way
    # A bogon may be an ad-blocking resolver's answer for a name that does not exist: another resolver must have it.
    return SignalId.SNI_SWAP in ids or (SignalId.DNS_BOGON in ids and comparison.routes.has_secure_answer)


_DELIVERED_OTHERWISE = frozenset({SignalId.THROTTLED, SignalId.HTTP_REDIRECT, SignalId.HTTP_DIFFERS})
"""Signals of direct when it delivered another page than another route, or was far slower."""
