"""The verdict that a site is blocked, with its confidence, the other explanation, and advice.

Direct fails, or delivers something else than another route. With too little evidence for a block, the state is suspect
and the status "likely blocked".
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.detect.verdict import labels
from proxy.detect.verdict.comparison import Comparison, route_names
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.site_status import status_of
from proxy.detect.verdict.verdict import Verdict
from proxy.model import DIRECT, DOH, Cause, SignalId, State, StepResult
from proxy.model.phrase import Phrase, _, ngettext, sentences


def blocked(comparison: Comparison) -> Verdict:
    """Returns blocked if the control gate is open, another route delivered and the signals of direct weigh enough, or
    if there is proof; else suspect."""
    cause = comparison.cause
    points, reasons = _support(comparison)
    confidence = Confidence.HIGH if points >= 3 else Confidence.MEDIUM if points == 2 else Confidence.LOW
    is_enough = bool(comparison.delivered) and comparison.weight >= comparison.detect.blocked_score
    is_sure = (
        not comparison.network_state.is_restricted
        and comparison.control is not StepResult.FAILED
        and (is_enough or comparison.belief.state is State.BLOCKED)
    )
    state = State.BLOCKED if is_sure or comparison.is_confirmed else State.SUSPECT
    return Verdict(
        status_of(state, cause),
        state,
        cause,
        _summary(comparison, cause),
        confidence,
        reasons,
        _alternative(comparison, cause),
        _advice(comparison, cause),
        anomaly=True,
        confirmed=comparison.is_confirmed,
        signals=comparison.signals,
        control=comparison.control,
        delivered_by=comparison.routes.delivered,
    )


def still_blocked(comparison: Comparison, untested: str) -> Verdict:
    """Returns the stored status of a suspect or blocked site. `untested` is why direct was not tested."""
    belief, delivered = comparison.belief, comparison.delivered
    relay_advice = labels.TEST_RELAYS if comparison.relays else labels.ADD_A_RELAY
    return Verdict(
        status_of(belief.state, belief.cause),
        belief.state,
        belief.cause,
        _("{routes} delivered; {reason}", routes=route_names(delivered), reason=untested) if delivered else untested,
        reasons=(belief.why,) if belief.why else (),
        advice=labels.NOTHING_TO_DO if delivered else relay_advice,
        delivered_by=comparison.routes.delivered,
    )


def still_slow(comparison: Comparison) -> Verdict:
    """Returns the stored status of a site whose larger transfers stall or are slow, since direct delivered only a small
    page."""
    belief = comparison.belief
    count = comparison.routes.carried(DIRECT)
    relay = next((route for route in comparison.delivered if route.relays), None)
    if relay is not None:
        advice = _("Nothing. {route} opens it.", route=str(relay))
    else:
        advice = labels.TEST_RELAYS if comparison.relays else labels.ADD_A_RELAY
    return Verdict(
        status_of(belief.state, belief.cause),
        belief.state,
        belief.cause,
        _(
            "{cause}: direct delivered {count} bytes, too few to show that it is over",
            cause=labels.cause_in_words(belief.cause),
            count=count,
        ),
        Confidence.LOW,
        (belief.why,) if belief.why else (),
        _("it may be over: open a larger page of the site to see"),
        advice,
        control=StepResult.OK,
        delivered_by=comparison.delivered,
    )


def _support(comparison: Comparison) -> tuple[int, tuple[str, ...]]:
    """Returns the number of independent facts for the block, where proof counts twice, and all facts, for and against,
    in words."""
    points = 0
    reasons: list[str] = []
    if comparison.delivered:
        points += 1
        reasons.append(_("{routes} delivered the page", routes=route_names(comparison.delivered)))
    else:
        reasons.append(_("no other route delivered it, so it may also be down"))
    if comparison.control is StepResult.OK:
        points += 1
        reasons.append(labels.internet_works(comparison.routes.control_text))
    elif comparison.control is StepResult.FAILED:
        reasons.append(_("another site is not reached direct either: {reason}", reason=comparison.routes.control_text))
    weight, needed = comparison.weight, comparison.detect.blocked_score
    if comparison.is_confirmed:
        points += 2
        reasons.append(_("proof: a known block page, a known interception root, or two answers to one DNS query"))
    elif weight >= needed:
        points += 1
        reasons.append(_("signals weigh {weight:g} of the {needed:g} needed", weight=weight, needed=needed))
    else:
        reasons.append(_("signals weigh only {weight:g} of the {needed:g} needed", weight=weight, needed=needed))
    if comparison.belief.state is State.BLOCKED:
        points += 1
        reasons.append(
            ngettext("seen before, in {count} episode", "seen before, in {count} episodes", comparison.belief.episodes)
        )
    return points, tuple(reasons)


def _summary(comparison: Comparison, cause: Cause) -> str:
    """Returns the cause and its first signal; for a cause without a signal (a restricted network), the heaviest one."""
    heaviest = max(comparison.signals, key=lambda signal: signal.weight, default=None)
    signal = next((signal for signal in comparison.signals if signal.cause == cause), heaviest)
    meaning = labels.cause_in_words(cause)
    if signal is None:
        return meaning
    return _("{cause}: {evidence}", cause=meaning, evidence=signal.text) if meaning else signal.text


def _alternative(comparison: Comparison, cause: Cause) -> str:
    """Returns the other explanation, and why it is less likely."""
    ids = {signal.id for signal in comparison.signals}
    delivered = comparison.delivered
    # The network and the site's own geo-fence end connections in the same ways, unless another SNI was answered.
    if cause == Cause.IP or (ids & {SignalId.TLS_EOF, SignalId.TLS_ALERT} and SignalId.SNI_SWAP not in ids):
        return _("by the network or by the site's own geo-fence; not separable here")
    if cause in (Cause.SNI_RESET, Cause.SNI_DROP, Cause.ECH):
        if SignalId.SNI_SWAP in ids:
            return _("the site may be down: unlikely, its address answered another SNI")
        if comparison.routes.is_neutral_name_unanswered(DIRECT):
            return _(
                "the IP address itself may be blocked (another SNI was not answered there either), or this is "
                "residual blocking after the last visit"
            )
        if delivered:
            return _("the site may be down: no, {route} reached it", route=str(delivered[0]))
    if cause == Cause.DNS:
        if comparison.routes.result(DOH) is StepResult.OK:
            return _("a CDN may use other addresses here: unlikely, direct works at the address from encrypted DNS")
        if comparison.control is StepResult.OK:
            return _("the system's DNS resolver may be broken: unlikely, other names resolve")
        return _("the system's DNS resolver may be broken")
    if cause == Cause.INTERCEPTION:
        if delivered:
            return _("the site's own certificate may be bad: no, a relay got a valid one")
        return _("the site's own certificate may be bad, or an antivirus intercepts TLS")
    if ids == {SignalId.HTTP_DIFFERS}:
        return _("the site may show another page to visitors from elsewhere: no known block page matches")
    if cause in (Cause.FROZEN, Cause.THROTTLED):
        return _("the connection may be bad: unlikely, another route was fast at the same time")
    return _ALTERNATIVES.get(cause, "")


_ALTERNATIVES: Mapping[Cause, Phrase] = {
    Cause.BLOCK_PAGE: _("the site may have moved: no, this page is known to replace blocked ones"),
    Cause.HTTP_HOST: _("the site may be down: no, another route reached it"),
}


def _advice(comparison: Comparison, cause: Cause) -> str:
    add_a_relay = labels.ADD_A_RELAY
    if cause == Cause.INTERCEPTION:
        relays = _("It is opened through relays only.") if comparison.relays else add_a_relay
        return sentences([_("Do not enter passwords on the direct route."), relays])
    local = [route for route in comparison.delivered if not route.relays]
    if local:
        return labels.opens_without_relay(local[0])
    if comparison.delivered:
        return _("Nothing. {route} opens it.", route=str(comparison.delivered[0]))
    fragmented = [route for route in comparison.routes.tested if route.wrap and route != DOH and not route.relays]
    if fragmented and cause in (Cause.SNI_RESET, Cause.SNI_DROP):
        return sentences([_("Fragmenting the ClientHello does not help; the filter reassembles it."), add_a_relay])
    return _("Try another relay.") if comparison.relays else add_a_relay
