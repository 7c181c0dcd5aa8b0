"""Verdicts without a statement about the site: the network, the relays or this computer's clock is at fault, there is
nothing to compare with, or the destination belongs to the home network, which only direct reaches.
"""

from __future__ import annotations

from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.site_status import SiteStatus, status_of
from proxy.detect.verdict.verdict import Verdict
from proxy.detect.verdict.works import works_direct
from proxy.model import DIRECT, Cause, NetworkState, State, StepResult
from proxy.model.phrase import _, semicolons, sentences


def network_fault(comparison: Comparison, state: NetworkState) -> Verdict:
    """The network is offline, or a captive portal answers in place of every site."""
    routes = comparison.routes
    if state is NetworkState.PORTAL:
        status, summary = SiteStatus.PORTAL, _("the network shows its login page in place of every site")
        advice = labels.open_the_login_page(routes.portal_page or comparison.portal_page)
    else:
        status, summary = SiteStatus.NO_NETWORK, _("no other site is reached direct either")
        if routes.is_offline:
            summary = _("this computer has no network: {reason}", reason=routes.why_not_tested(DIRECT))
        advice = SiteStatus.NO_NETWORK.advice
    # The text with the control site is a reason, not a part of the summary, which goes into reports: nearby control
    # sites would reveal where a user is.
    reasons = (routes.control_text, _NOT_THE_SITE) if routes.control_text else (_NOT_THE_SITE,)
    return Verdict(
        status,
        State.UNKNOWN,
        Cause(state),
        summary,
        Confidence.MEDIUM,
        reasons,
        advice=advice,
        control=comparison.control,
    )


def wrong_clock(comparison: Comparison) -> Verdict:
    """The certificates of the site and of the control site are not valid today."""
    routes = comparison.routes
    step = routes.failed_step(DIRECT)
    detail = step.text if step is not None else _("certificates are not valid today")
    return Verdict(
        SiteStatus.NOT_TESTED,
        State.UNKNOWN,
        Cause.CLOCK,
        sentences([labels.wrong_clock(routes.clock_ahead), detail]),
        reasons=(comparison.routes.control_text, _NOT_THE_SITE),
        advice=_("Set the clock, then try again."),
        control=comparison.control,
    )


def relays_fail(comparison: Comparison, summary: str) -> Verdict:
    """Direct fails, and all tested relays fail themselves. `summary` is how direct failed."""
    failures = comparison.failures(comparison.failing)
    reasons = [failures]
    if comparison.control is StepResult.OK:
        reasons.append(labels.internet_works(comparison.routes.control_text))
    if comparison.is_stored_as_blocked:
        stored = status_of(comparison.belief.state, comparison.belief.cause).in_words
        reasons.append(_('the stored status is "{status}"', status=stored))
    faults = comparison.routes.relay_faults
    fix = next((fault.fix(relay) for relay, fault in faults.items()), "byway relay test")
    advice = _("To correct it: {fix}", fix=fix)
    if comparison.network_state.is_restricted and all(fault.is_like_a_filter for fault in faults.values()):
        reasons.append(_("this network allows few sites, and it may block the relays as well"))
        advice = _("Try another network, or another relay: `byway relay add URL`.")
    return Verdict(
        SiteStatus.RELAYS_FAIL,
        State.UNKNOWN,
        Cause.RELAYS_FAIL,
        semicolons([summary, failures]),
        Confidence.NONE,
        tuple(reasons),
        labels.NEEDS_A_RELAY,
        advice,
        signals=comparison.signals,
        control=comparison.control,
    )


def uncompared(comparison: Comparison, summary: str) -> Verdict:
    """Direct fails, and there is neither a relay nor a control site to compare with. `summary` is how it failed."""
    return Verdict(
        SiteStatus.NOT_TESTED,
        State.UNKNOWN,
        summary=summary,
        reasons=(labels.NO_RELAY,),
        alternative=labels.NEEDS_A_RELAY,
        advice=labels.ADD_A_RELAY,
        signals=comparison.signals,
        control=comparison.control,
    )


def not_tested(reason: str) -> Verdict:
    """No route was tested, for `reason`."""
    return Verdict(
        SiteStatus.NOT_TESTED,
        State.UNKNOWN,
        summary=_("not tested: {reason}", reason=reason),
        advice=_("To test it, change the rule or setting that forbids it."),
    )


def at_home(comparison: Comparison) -> Verdict:
    """Returns the verdict on a destination of the home network. Only direct was tested."""
    routes = comparison.routes
    if routes.result(DIRECT) is StepResult.OK:
        return works_direct(comparison)
    if (fault := routes.certificate_fault(DIRECT)) and not routes.has_answered(DIRECT):
        return Verdict(
            SiteStatus.BAD_CERTIFICATE,
            State.DOWN,
            fault,
            _("{cause}: usual for a device of the local network", cause=labels.cause_in_words(fault)),
            Confidence.MEDIUM,
            (_ONLY_DIRECT,),
            _("another device on this network may answer in its place"),
            _("Trust it only if you know its certificate."),
        )
    step = routes.failed_step(DIRECT)
    if step is None and not routes.is_offline:  # the address guard refuses it
        return not_tested(routes.why_not_tested(DIRECT))
    reason = step.text if step is not None else routes.why_not_tested(DIRECT)
    return Verdict(
        SiteStatus.NOT_REACHABLE,
        State.UNKNOWN,
        summary=_("direct: {reason}", reason=reason),
        confidence=Confidence.HIGH,
        reasons=(_ONLY_DIRECT,),
        advice=SiteStatus.NOT_REACHABLE.advice,
    )


_NOT_THE_SITE = _("this says nothing about the site")

_ONLY_DIRECT = _("it is on the local network, so no relay and no other site was asked")
