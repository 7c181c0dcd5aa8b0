"""The result of a visit that no route delivered: the site is down or does not open, its name does not exist, or the
relays fail.

Without another route, a block and a fault of the site look the same, so the cause is the symptom of direct. Most visits
are delivered, so a start need not import this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from proxy.detect.relay_faults import relay_fault
from proxy.detect.signals import NOT_JUDGED
from proxy.detect.verdict.labels import DOES_NOT_RESOLVE, symptom_in_words
from proxy.detect.verdict.missing_name import Lookup, answers_of
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import DIRECT, Attempt, Cause, ClosedBy, MeasurementStep, Outcome, Protocol, Stage, StepKind, Symptom
from proxy.model.phrase import _, semicolons

_NOT_JUDGED_AT_HOME = NOT_JUDGED - {Symptom.OFFLINE}
"""On the home network, OFFLINE means that this address is not reachable."""


def result_of(outcome: Outcome, now: float, *, gave_up_s: float) -> LastResult | None:
    """Returns the result of a connection that no route delivered; None: it is not known, since the client left before
    every route was decided, or nothing was tried. A client that leaves after `gave_up_s` got no answer."""
    not_judged = _NOT_JUDGED_AT_HOME if outcome.plan.is_home else NOT_JUDGED
    attempts = [attempt for attempt in outcome.attempts if attempt.symptom not in not_judged]
    has_left = outcome.closed_by in (ClosedBy.CLIENT, ClosedBy.USER)
    # `duration` is not known yet at this point, so the attempts show how long the client waited.
    if has_left and max((tried.started + tried.elapsed for tried in attempts), default=0.0) < gave_up_s:
        return None
    patience_s = gave_up_s if has_left else math.inf
    tried = [judged for attempt in attempts if (judged := _judged(attempt, patience_s)) is not None]
    is_undecided = {attempt.route for attempt in attempts} != {attempt.route for attempt in tried}
    if not tried or (is_undecided and not has_left):
        return None
    relayed = [attempt for attempt in tried if attempt.route.relays]
    failing = [attempt for attempt in relayed if relay_fault(attempt) is not None]
    unanswered = [attempt for attempt in relayed if _is_unanswered(attempt)]
    compared = [attempt for attempt in relayed if attempt not in failing and attempt not in unanswered]
    text = semicolons(
        [_sentence(attempt, outcome.protocol) for attempt in {attempt.route: attempt for attempt in tried}.values()]
    )
    port = outcome.request.destination.port
    result = LastResult(SiteStatus.SITE_DOWN, now, Source.CONNECTION, Cause.DOWN, text, port=port)
    if outcome.plan.is_home:
        return replace(result, status=SiteStatus.NOT_REACHABLE, cause=Cause.NONE)
    answers = answers_of(outcome.attempts, compared, has_relays=bool(relayed))
    if answers.status is SiteStatus.NO_SUCH_NAME:
        return replace(result, status=SiteStatus.NO_SUCH_NAME, cause=Cause.NO_SUCH_NAME)
    if answers.status is SiteStatus.DOES_NOT_RESOLVE:
        # If nothing works and no resolver answers, the network may be at fault.
        otherwise = SiteStatus.NOT_TESTED if answers.system is Lookup.FAILED else answers.status
        return replace(
            result, status=answers.status, cause=Cause.UNRESOLVED, text=DOES_NOT_RESOLVE, otherwise=otherwise
        )
    if compared:
        return replace(result, otherwise=result.status)  # a relay that answers is a route that works
    if unanswered:
        return replace(result, relays=_names(unanswered), otherwise=SiteStatus.RELAYS_FAIL)
    if failing:
        return replace(result, status=SiteStatus.RELAYS_FAIL, cause=Cause.RELAYS_FAIL)
    direct = min(tried, key=lambda attempt: attempt.route != DIRECT)  # without it, a local strategy
    cause = cause_of_failure(direct.symptom, direct.stage, outcome.protocol)
    return result if cause is Cause.DOWN else replace(result, status=SiteStatus.DOES_NOT_OPEN, cause=cause)


def _judged(attempt: Attempt, patience_s: float) -> Attempt | None:
    """Returns the attempt if it was decided, or was silent for `patience_s`; else None."""
    if not attempt.pending and attempt.symptom is not Symptom.ABANDONED:
        return attempt
    if attempt.elapsed < patience_s:
        return None
    return replace(attempt, symptom=Symptom.SILENT if attempt.stage is Stage.FIRST_BYTE else Symptom.TIMEOUT)


def _names(relayed: Sequence[Attempt]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(">".join(attempt.route.relays) for attempt in relayed))


def _is_unanswered(attempt: Attempt) -> bool:
    """Whether a relay accepted the request and did not answer: it waits for the site, or is dead itself."""
    return attempt.stage is Stage.RELAY and attempt.symptom is Symptom.TIMEOUT


def _sentence(attempt: Attempt, protocol: Protocol) -> str:
    fault = relay_fault(attempt)
    reason = fault.text if fault is not None else symptom_in_words(attempt.symptom, attempt.stage, protocol)
    return _("{route}: {reason}", route=str(attempt.route), reason=reason)


# -- without another route, a block and a fault of the site look the same ----------------------------------------------

_AFTER_FLIGHT: Mapping[Symptom, Cause] = {
    Symptom.RESET: Cause.HELLO_RESET,
    Symptom.EOF: Cause.HELLO_CLOSED,
    Symptom.DROPPED: Cause.HELLO_SILENCE,
    Symptom.SILENT: Cause.HELLO_SILENCE,
    Symptom.TIMEOUT: Cause.HELLO_SILENCE,
}


def cause_of_failure(symptom: Symptom, stage: Stage, protocol: Protocol) -> Cause:
    """Returns the cause for a failure of direct without a comparison. It is `Cause.DOWN` if the failure shows the
    site's server: it refused the connection, or sent an answer of another kind."""
    if stage is Stage.RESOLVE:
        return Cause.NO_ADDRESS if symptom is Symptom.RESOLVE_FAILED else Cause.DOWN
    if stage is Stage.CONNECT:
        return Cause.UNREACHED if symptom in (Symptom.TIMEOUT, Symptom.UNREACHABLE) else Cause.DOWN
    cause = _AFTER_FLIGHT.get(symptom)
    if cause is None:
        return Cause.DOWN
    return cause if protocol is Protocol.TLS else Cause.UNANSWERED


def cause_of_step(step: MeasurementStep) -> Cause:
    """As `cause_of_failure`, for the step of a measurement at which direct failed."""
    protocol = Protocol.TLS if step.kind is StepKind.HELLO else Protocol.HTTP
    return cause_of_failure(step.symptom, _STAGES.get(step.kind, Stage.FIRST_BYTE), protocol)


_STAGES: Mapping[StepKind, Stage] = {
    StepKind.RESOLVE: Stage.RESOLVE,
    StepKind.SECURE: Stage.RESOLVE,
    StepKind.CONNECT: Stage.CONNECT,
}
