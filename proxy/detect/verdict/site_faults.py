"""Verdicts on faults of the site itself: it refuses visitors, its name does not exist or does not resolve, its
certificate is bad, it does not open, or it is down.
"""

from __future__ import annotations

from proxy.detect.signals import REFUSALS
from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison, route_names
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.missing_name import Lookup, NameAnswers
from proxy.detect.verdict.site_status import SiteStatus
from proxy.detect.verdict.verdict import Verdict
from proxy.model import DIRECT, Cause, State, StepKind, StepResult
from proxy.model.phrase import _, all_of, ngettext, sentences


def refuses_route(comparison: Comparison) -> Verdict:
    """Direct got a status of refusal: the site refuses all visitors, or those from here."""
    routes, delivered = comparison.routes, comparison.delivered
    status = routes.status(DIRECT)
    admitted = next((route for route in delivered if (routes.status(route) or 0) not in REFUSALS), None)
    has_relay = any(route.relays for route in delivered)
    if admitted is not None:
        summary = _("direct gets HTTP {status}, {route} does not", status=str(status), route=str(admitted))
        alternative = _(
            "a block page without a known fingerprint looks the same; the site's own geo-fence is more likely"
        )
        advice = _("Nothing. {route} is used first for now.", route=str(admitted))
    else:
        everywhere = _("every route gets HTTP {status}") if has_relay else _("direct gets HTTP {status}")
        summary = everywhere.given(status=str(status))
        alternative = (
            _("a block page would not come through a relay too") if has_relay else _("no other route was tested")
        )
        advice = _("The site refuses. Try a relay in another country.")
    return Verdict(
        SiteStatus.REFUSES_THIS_ROUTE,
        State.REFUSED,
        Cause.REFUSED,
        summary,
        Confidence.MEDIUM if has_relay else Confidence.LOW,
        (
            _("the answer came from the site over TLS")
            if routes.is_verified(DIRECT)
            else _("the answer came from the site over plain HTTP"),
        ),
        alternative,
        advice,
        anomaly=admitted is not None,
        control=StepResult.OK,
        delivered_by=tuple(route for route in routes.delivered if (routes.status(route) or 0) not in REFUSALS),
    )


def name_answers(comparison: Comparison) -> NameAnswers:
    routes = comparison.routes
    return NameAnswers(
        routes.lookup(StepKind.RESOLVE),
        routes.lookup(StepKind.SECURE),
        by_relays=sum(map(routes.is_refused_by_relay, comparison.compared)),
        has_relays=bool(comparison.compared or comparison.failing),
    )


def no_such_name(comparison: Comparison, answers: NameAnswers) -> Verdict:
    """The name does not exist: two of the system's resolver, an encrypted resolver and relays agree, or only one of
    them may be asked."""
    routes = comparison.routes
    resolvers = ((_("the system's DNS"), answers.system), (_("encrypted DNS"), answers.secure))
    agreeing = [name for name, result in resolvers if result is Lookup.DENIED]
    agreeing += [
        _("relay {route}", route=str(route)) for route in comparison.compared if routes.is_refused_by_relay(route)
    ]
    is_single = len(agreeing) < 2
    is_asked_alone = is_single and answers.secure is Lookup.NOT_ASKED
    return Verdict(
        SiteStatus.NO_SUCH_NAME,
        State.DOWN,
        Cause.NO_SUCH_NAME,
        ngettext(
            "{who} says that the name does not exist",
            "{who} say that the name does not exist",
            len(agreeing),
            who=all_of(agreeing),
        ),
        Confidence.LOW if is_single else Confidence.HIGH,
        (ngettext("{who} answers", "{who} agree", len(agreeing), who=all_of(agreeing)),),
        _("it may also be DNS tampering: no encrypted DNS and no relay was asked") if is_asked_alone else "",
        SiteStatus.NO_SUCH_NAME.advice,
        signals=() if is_single else comparison.signals,
        control=comparison.control,
    )


def does_not_resolve(comparison: Comparison) -> Verdict:
    """The system's resolver has no address for the name, encrypted DNS does not answer, and there is no relay: the name
    is misspelled, or a censor forged the denial."""
    lookups = (step for step in comparison.routes.steps if step.kind is StepKind.RESOLVE)
    step = next((step for step in lookups if step.failed), None)
    reasons = [step.text] if step is not None and step.text else []
    if comparison.control is StepResult.OK:
        reasons.append(labels.internet_works(comparison.routes.control_text))
    elif comparison.routes.is_resolver_down:
        text = comparison.routes.control_text
        reasons.append(_("DNS fails for another site as well: {reason}", reason=text))
    return Verdict(
        SiteStatus.DOES_NOT_RESOLVE,
        State.DOWN,
        Cause.UNRESOLVED,
        labels.DOES_NOT_RESOLVE,
        Confidence.LOW,
        tuple(reasons),
        _("it may also be a typo: a relay, or encrypted DNS that answers, would tell"),
        SiteStatus.DOES_NOT_RESOLVE.advice,
        signals=comparison.signals,
        control=comparison.control,
    )


def bad_certificate(comparison: Comparison, fault: Cause) -> Verdict:
    """Direct got a certificate with this fault, and no other route got a valid one."""
    meaning, step = labels.cause_in_words(fault), comparison.routes.failed_step(DIRECT)
    detail = meaning
    if step is not None and step.text:
        detail = _("{cause}: {evidence}", cause=meaning, evidence=step.text)
    is_online = comparison.control is StepResult.OK
    routes = comparison.routes
    relays = [route for route in routes.tested if route.relays and routes.certificate_fault(route)]
    if relays:
        may_be_clock = not is_online and fault in (Cause.EXPIRED, Cause.NOT_YET_VALID)
        return Verdict(
            SiteStatus.BAD_CERTIFICATE,
            State.DOWN,
            fault,
            detail,
            Confidence.HIGH if is_online else Confidence.MEDIUM,
            (_("{routes} gets the same certificate: the site's fault", routes=route_names(relays)),),
            _("this computer's clock may be wrong") if may_be_clock else "",
            _("Only the site can correct it. Do not enter passwords there."),
            control=comparison.control,
        )
    failing = comparison.failing
    return Verdict(
        SiteStatus.BAD_CERTIFICATE,
        State.DOWN,
        fault,
        _("untrusted certificate, by the site or by this network: {detail}", detail=detail),
        Confidence.LOW,
        (_("relay {routes} failed itself", routes=route_names(failing)) if failing else labels.NO_RELAY,),
        _("TLS interception looks the same; a working relay is needed to tell"),
        sentences(
            [_("Do not enter passwords there."), labels.TEST_RELAYS if comparison.relays else labels.ADD_A_RELAY]
        ),
        control=comparison.control,
    )


def does_not_open(comparison: Comparison, summary: str, cause: Cause) -> Verdict:
    """Direct fails with `cause` while it reaches another site, and there is no relay to compare with."""
    return Verdict(
        SiteStatus.DOES_NOT_OPEN,
        State.UNKNOWN,
        cause,
        summary,
        Confidence.LOW,
        (labels.NO_RELAY, labels.internet_works(comparison.routes.control_text)),
        _("it may be blocked, or down: a relay would tell"),
        labels.ADD_A_RELAY,
        signals=comparison.signals,
        control=comparison.control,
    )


def site_down(comparison: Comparison, summary: str, reason: str, confidence: Confidence) -> Verdict:
    """No route delivered, and these routes work for other sites. `reason` is the result of the comparison."""
    reasons = [reason]
    if comparison.control is StepResult.OK:
        reasons.append(labels.internet_works(comparison.routes.control_text))
    if comparison.failing:
        reasons.append(comparison.failures(comparison.failing))
    return Verdict(
        SiteStatus.SITE_DOWN,
        State.DOWN,
        Cause.DOWN,
        summary,
        confidence,
        tuple(reasons),
        _("It may also be a block that your relays cannot bypass") if comparison.compared else labels.NEEDS_A_RELAY,
        _("Try again later. To check your relays: `byway relay test`") if comparison.relays else labels.ADD_A_RELAY,
        signals=comparison.signals,
        control=comparison.control,
    )
