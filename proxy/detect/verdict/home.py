"""Verdicts on destinations of the home network, which only direct reaches, and which are never blocked."""

from __future__ import annotations

from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.inconclusive import not_tested
from proxy.detect.verdict.site_status import SiteStatus
from proxy.detect.verdict.verdict import Verdict
from proxy.detect.verdict.works import works_direct
from proxy.model import DIRECT, State, StepResult
from proxy.model.phrase import _


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
            (_NO_RELAY,),
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
        reasons=(_NO_RELAY,),
        advice=SiteStatus.NOT_REACHABLE.advice,
    )


_NO_RELAY = _("it is on the local network, so no relay and no other site was asked")
