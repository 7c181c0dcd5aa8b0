"""Verdicts on a site for which the ClientHello of the last visit and Byway's own end differently.

The network drops the ClientHello of one program, or the server rejects it. Nothing is learned about the site: other
programs open it.
"""

from __future__ import annotations

from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.site_status import status_of
from proxy.detect.verdict.verdict import Verdict
from proxy.model import DIRECT, Cause, State, StepKind, StepResult, Symptom
from proxy.model.phrase import _, sentences


def depends_on_hello(comparison: Comparison) -> Verdict | None:
    """Returns the verdict that the network drops the ClientHello of one of two programs; None: it does not, or that is
    not the only fault."""
    routes = comparison.routes
    step = routes.other_hello(by_relay=False)
    if step is None:
        return None
    if routes.result(DIRECT) is StepResult.OK:
        if _is_accepted(routes, by_relay=False) or refusal_of_program(routes):
            return None
        summary = _(
            "{cause}: Byway's own is answered, that of the last visit is not ({reason})",
            cause=labels.cause_in_words(Cause.CLIENT_HELLO),
            reason=step.text,
        )
    else:
        failed = (own for own in routes.on(DIRECT) if own.kind is StepKind.HELLO and own.failed)
        own = next((own for own in failed if own.address == step.address), None)
        if own is None or not step.ok or comparison.cause not in (Cause.SNI_RESET, Cause.SNI_DROP):
            return None
        summary = _(
            "{cause}: that of the last visit is answered, Byway's own is not ({reason})",
            cause=labels.cause_in_words(Cause.CLIENT_HELLO),
            reason=own.text,
        )
    reasons: list[str] = []
    if comparison.control is StepResult.OK:
        reasons.append(labels.internet_works(routes.control_text))
    is_compared = _is_accepted(routes, by_relay=True)
    if is_compared:
        reasons.append(_("through a relay, the same ClientHello is answered"))
    is_own = step.ok
    return Verdict(
        status_of(State.SUSPECT, Cause.CLIENT_HELLO),
        State.SUSPECT,
        Cause.CLIENT_HELLO,
        summary,
        Confidence.MEDIUM if is_compared or is_own else Confidence.LOW,
        tuple(reasons),
        "" if is_compared or is_own else _("the server itself may reject it: a relay would tell"),
        _advice(comparison, is_own=is_own),
        anomaly=True,
        signals=comparison.signals,
        control=comparison.control,
        delivered_by=routes.delivered,
    )


def refusal_of_program(routes: MeasuredRoutes) -> str:
    """Returns how the server rejects the ClientHello of the last visit, as half a sentence; empty: it does not. An
    alert comes from the server, unless a relay gets another answer; a silence only if a relay gets none either."""
    step, relayed = routes.other_hello(by_relay=False), routes.other_hello(by_relay=True)
    if step is None or _is_accepted(routes, by_relay=False) or _is_accepted(routes, by_relay=True):
        return ""
    if relayed is None and step.symptom is not Symptom.ALERT:
        return ""
    return _(
        "the server rejects the ClientHello of the last visit ({reason}): the TLS of that program may be too old",
        reason=step.text,
    )


def _is_accepted(routes: MeasuredRoutes, *, by_relay: bool) -> bool:
    """Whether a ServerHello answered the ClientHello of the visit."""
    step = routes.other_hello(by_relay=by_relay)
    return step is not None and step.ok and step.symptom is Symptom.NONE


def _advice(comparison: Comparison, *, is_own: bool) -> str:
    relay = next((route for route in comparison.delivered if route.relays), None)
    if relay is not None:
        return _("Nothing. {route} opens it.", route=str(relay))
    if is_own:
        return _("Open it in the program again: its ClientHello is answered now.")
    return sentences([_("Try another browser or program."), labels.ADD_A_RELAY])
