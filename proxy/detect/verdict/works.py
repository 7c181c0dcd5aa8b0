"""Verdicts on a site that opens, with doubts if there are any."""

from __future__ import annotations

from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison, route_names
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.measurement_signals import page_difference
from proxy.detect.verdict.other_program import refusal_of_program
from proxy.detect.verdict.site_status import SiteStatus, status_of, without_resolver
from proxy.detect.verdict.verdict import Verdict
from proxy.model import DIRECT, DOH, NetworkState, State, StepResult
from proxy.model.phrase import _, ngettext

SAME_PAGE_SITES = 2
"""Number of other unrelated sites with the same page over plain HTTP from which it may be a block page: three sites in
all, as for redirects and addresses."""


def works_direct(comparison: Comparison) -> Verdict:
    """Direct delivered the page. Over plain HTTP it may be an unknown block page."""
    routes, belief = comparison.routes, comparison.belief
    doubts = _doubts(comparison)
    reasons: list[str] = [*doubts, _("direct delivered the page")]
    if refusal := refusal_of_program(routes):
        reasons.insert(0, refusal)
    if comparison.network_state is NetworkState.INSPECTED:
        reasons.append(_("TLS is intercepted on this network by a CA that this computer trusts"))
    domain = routes.redirect_domain(DIRECT)
    if domain and not any(route.relays for route in comparison.delivered):
        reasons.append(
            _(
                "it redirects to {domain}: the site moved, or a block page; no relay has delivered another page",
                domain=domain,
            )
        )
    if (step := routes.failed_step(DIRECT)) is not None:
        reasons.append(_("one step failed: {reason}", reason=step.text))
    stored = status_of(belief.state, belief.cause).in_words
    if belief.state is State.BLOCKED or (doubts and belief.state is State.SUSPECT):
        reasons.append(_('the stored status is "{status}"; it changes once re-tests agree', status=stored))
    elif belief.state is State.SUSPECT:
        reasons.append(_('before this, the stored status was "{status}"', status=stored))
    return Verdict(
        SiteStatus.WORKS,
        State.WORKS,
        summary=_("it opens direct, but {doubt}", doubt=doubts[0]) if doubts else _("it opens direct"),
        confidence=Confidence.LOW if doubts else Confidence.HIGH,
        reasons=tuple(reasons),
        alternative=_("a block page without a known fingerprint looks the same") if doubts else "",
        advice=_("If this page is not the site's own: byway site set HOST relay") if doubts else labels.NOTHING_TO_DO,
        control=StepResult.OK,
        delivered_by=routes.delivered,
    )


def _doubts(comparison: Comparison) -> list[str]:
    """Returns the reasons why a page that direct delivered may not be the site's own."""
    doubts: list[str] = []
    if difference := page_difference(comparison.routes):
        doubts.append(_("direct and relay show different pages: {difference}", difference=difference))
    if comparison.sites_with_same_page >= SAME_PAGE_SITES:
        doubts.append(
            ngettext(
                "{count} unrelated site shows the same page",
                "{count} unrelated sites show the same page",
                comparison.sites_with_same_page,
            )
        )
    return doubts


def works_at_secure_address(comparison: Comparison) -> Verdict:
    """Direct delivered at the address from encrypted DNS. The system's resolver, whose answers were wrong before, was
    not asked, so the verdict is the stored status."""
    belief = comparison.belief
    return Verdict(
        status_of(belief.state, belief.cause),
        belief.state,
        belief.cause,
        _(
            "{cause}: it opens at the address from encrypted DNS; {evidence}",
            cause=labels.cause_in_words(belief.cause),
            evidence=belief.why,
        ),
        Confidence.MEDIUM,
        (_("direct delivered the page at the address from encrypted DNS"), _("the system's DNS is not asked again")),
        _("a CDN may use other addresses here"),
        labels.opens_without_relay(DOH),
        anomaly=True,
        control=StepResult.OK,
        delivered_by=(DOH, *comparison.delivered),
    )


def works_by_relay(comparison: Comparison, untested: str) -> Verdict:
    """Another route delivered. `untested` is why direct was not tested."""
    return Verdict(
        SiteStatus.WORKS,
        State.WORKS,
        summary=_("it opens through {routes}; {reason}", routes=route_names(comparison.delivered), reason=untested),
        confidence=Confidence.HIGH,
        advice=labels.NOTHING_TO_DO,
        delivered_by=comparison.routes.delivered,
    )


def resolver_is_down(comparison: Comparison) -> Verdict:
    """Another route delivered, and the system's resolver fails for other sites too, so this is no block of the site."""
    return Verdict(
        SiteStatus.WORKS,
        State.WORKS,
        summary=without_resolver(str((*comparison.delivered, DOH)[0])),
        confidence=Confidence.MEDIUM,
        reasons=(_("DNS fails for another site as well: {reason}", reason=comparison.routes.control_text),),
        alternative=_("the provider may refuse all names: encrypted DNS works"),
        advice=_("Nothing. The network's DNS resolver is down; you can set another one in the system."),
        control=comparison.control,
        delivered_by=comparison.routes.delivered,
    )
