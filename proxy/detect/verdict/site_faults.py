"""Verdicts on faults of the site itself, which no other route gets around: it refuses visitors, its name does not
exist, its certificate is bad, or it is down.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.detect.beliefs.site_refusals import REFUSALS
from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison, route_names
from proxy.detect.verdict.site_status import SiteStatus
from proxy.detect.verdict.verdict import Confidence, Verdict
from proxy.model import DIRECT, Cause, State, StepKind, StepResult


def refuses_route(comparison: Comparison) -> Verdict:
    """Direct got a status of refusal: the site refuses everybody, or visitors from here."""
    routes, delivered = comparison.routes, comparison.delivered
    status = routes.status(DIRECT)
    admitted = next((route for route in delivered if (routes.status(route) or 0) not in REFUSALS), None)
    has_relay = any(route.relays for route in delivered)
    if admitted is not None:
        summary = f"direct gets HTTP {status}, {admitted} does not"
        alternative = "a block page without a known fingerprint looks the same; the site's own geo-fence is more likely"
        advice = f"Nothing. {admitted} is used first for now."
    else:
        summary = f"{'every route' if has_relay else 'direct'} gets HTTP {status}"
        alternative = "a block page would not come through a relay too" if has_relay else "no other route was tested"
        advice = "The site refuses. Try a relay in another country."
    return Verdict(
        SiteStatus.REFUSES_THIS_ROUTE,
        State.REFUSED,
        Cause.REFUSED,
        summary,
        Confidence.MEDIUM if has_relay else Confidence.LOW,
        (f"the answer came from the site over {'TLS' if routes.is_verified(DIRECT) else 'plain HTTP'}",),
        alternative,
        advice,
        anomaly=admitted is not None,
        control=StepResult.OK,
        delivered_by=routes.delivered,
    )


def no_such_name(comparison: Comparison) -> Verdict | None:
    """The name does not exist: two of the system's resolver, an encrypted one and a relay agree, or only one of them
    may be asked. None when they do not."""
    routes = comparison.routes
    by_system, by_secure = routes.is_name_denied(StepKind.RESOLVE), routes.is_name_denied(StepKind.SECURE)
    if routes.has_secure_answer or not (by_system or by_secure):
        return None
    agreeing = [name for name, denies in (("the system's DNS", by_system), ("encrypted DNS", by_secure)) if denies]
    agreeing += [f"relay {route}" for route in comparison.compared if routes.is_refused_by_relay(route)]
    is_single = len(agreeing) < 2
    has_others_to_ask = routes.was_asked(StepKind.SECURE) or comparison.compared or comparison.failing
    if is_single and has_others_to_ask:
        return None
    return Verdict(
        SiteStatus.NO_SUCH_NAME,
        State.DOWN,
        Cause.NO_SUCH_NAME,
        f"{_listed(agreeing)} {'says' if is_single else 'say'} that the name does not exist",
        Confidence.LOW if is_single else Confidence.HIGH,
        (f"{_listed(agreeing)} {'answers' if is_single else 'agree'}",),
        "it may also be DNS tampering: no encrypted DNS and no relay was asked" if is_single else "",
        "Check the spelling.",
        signals=() if is_single else comparison.signals,
        control=comparison.control,
    )


def bad_certificate(comparison: Comparison, fault: Cause) -> Verdict:
    """Direct got a certificate with this fault, and no other route got a valid one."""
    meaning, step = labels.cause_in_words(fault), comparison.routes.failed_step(DIRECT)
    detail = f"{meaning}: {step.text}" if step is not None and step.text else meaning
    is_online = comparison.control is StepResult.OK
    relays = comparison.routes.relays_with_bad_certificate
    if relays:
        may_be_clock = not is_online and fault in (Cause.EXPIRED, Cause.NOT_YET_VALID)
        return Verdict(
            SiteStatus.BAD_CERTIFICATE,
            State.DOWN,
            fault,
            detail,
            Confidence.HIGH if is_online else Confidence.MEDIUM,
            (f"{route_names(relays)} gets the same certificate: the site's fault",),
            "this computer's clock may be wrong" if may_be_clock else "",
            "Only the site can correct it. Do not enter passwords there.",
            control=comparison.control,
        )
    failing = comparison.failing
    return Verdict(
        SiteStatus.BAD_CERTIFICATE,
        State.DOWN,
        fault,
        f"untrusted certificate, by the site or by this network: {detail}",
        Confidence.LOW,
        (f"relay {route_names(failing)} failed itself" if failing else "no relay to compare with",),
        "TLS interception looks the same; a working relay is needed to tell",
        f"Do not enter passwords there. {labels.TEST_RELAYS if comparison.relays else labels.ADD_A_RELAY}",
        control=comparison.control,
    )


def site_down(comparison: Comparison, summary: str, reason: str, confidence: Confidence) -> Verdict:
    """No route delivered, and these routes work for other sites. `reason` says what direct was compared with."""
    reasons = [reason]
    if comparison.control is StepResult.OK:
        reasons.append(f"Internet access works ({comparison.routes.control_text})")
    if comparison.failing:
        reasons.append(comparison.failures(comparison.failing))
    return Verdict(
        SiteStatus.SITE_DOWN,
        State.DOWN,
        Cause.DOWN,
        summary,
        confidence,
        tuple(reasons),
        "It may also be a block that your relays cannot bypass" if comparison.compared else labels.NEEDS_A_RELAY,
        "Try again later. To check your relays: `byway relay test`" if comparison.relays else labels.ADD_A_RELAY,
        signals=comparison.signals,
        control=comparison.control,
    )


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
