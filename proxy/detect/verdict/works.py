"""Verdicts on a site that opens, with what limits them."""

from __future__ import annotations

from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison, route_names
from proxy.detect.verdict.site_status import SiteStatus, status_of
from proxy.detect.verdict.verdict import Confidence, Verdict
from proxy.model import DIRECT, DOH, NetworkState, State, StepResult


def works_direct(comparison: Comparison) -> Verdict:
    """Direct delivered the page."""
    routes, belief = comparison.routes, comparison.belief
    reasons = ["direct delivered the page"]
    if comparison.network_state is NetworkState.INSPECTED:
        reasons.append("TLS is intercepted on this network by a CA that this computer trusts")
    domain = routes.redirect_domain(DIRECT)
    if domain and not any(route.relays for route in comparison.delivered):
        reasons.append(
            f"it redirects to {domain}: the site moved, or a block page; no relay has delivered another page"
        )
    if (step := routes.failed_step(DIRECT)) is not None:
        reasons.append(f"one step failed: {step.text}")
    if comparison.is_stored_as_blocked:
        stored = status_of(belief.state, belief.cause)
        reasons.append(f'the stored status is "{stored}"; it changes once re-tests agree')
    return Verdict(
        SiteStatus.WORKS,
        State.WORKS,
        summary="it opens direct",
        confidence=Confidence.HIGH,
        reasons=tuple(reasons),
        advice=labels.NOTHING_TO_DO,
        control=StepResult.OK,
        delivered_by=routes.delivered,
    )


def works_at_secure_address(comparison: Comparison) -> Verdict:
    """Direct delivered at the address from encrypted DNS. The system's resolver, whose answers were wrong before, was
    not asked, so the stored status stands."""
    belief = comparison.belief
    return Verdict(
        status_of(belief.state, belief.cause),
        belief.state,
        belief.cause,
        f"{labels.cause_in_words(belief.cause)}: it opens at the address from encrypted DNS; {belief.why}",
        Confidence.MEDIUM,
        ("direct delivered the page at the address from encrypted DNS", "the system's DNS is not asked again"),
        "a CDN may use other addresses here",
        f"Nothing. {DOH} opens it without a relay.",
        anomaly=True,
        control=StepResult.OK,
        delivered_by=(DOH, *comparison.delivered),
    )


def works_by_relay(comparison: Comparison, untested: str) -> Verdict:
    """Another route delivered; `untested` says why direct was not tested."""
    return Verdict(
        SiteStatus.WORKS,
        State.WORKS,
        summary=f"it opens through {route_names(comparison.delivered)}; {untested}",
        confidence=Confidence.HIGH,
        advice=labels.NOTHING_TO_DO,
        delivered_by=comparison.routes.delivered,
    )


def resolver_is_down(comparison: Comparison) -> Verdict:
    """Another route delivered, and the system's resolver fails for other sites too: no block of this one."""
    return Verdict(
        SiteStatus.WORKS,
        State.WORKS,
        summary=f"{comparison.delivered[0]} delivered; the system's DNS resolver fails for other sites as well",
        confidence=Confidence.MEDIUM,
        reasons=(f"DNS fails for another site as well: {comparison.routes.control_text}",),
        alternative="the provider may refuse all names: encrypted DNS works",
        advice="Nothing. The network's DNS resolver is down; you can set another one in the system.",
        control=comparison.control,
        delivered_by=comparison.routes.delivered,
    )
