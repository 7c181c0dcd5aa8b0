"""What a visit that no route delivered comes to, beside the table of `test_results.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.detect.verdict.failed_visit import cause_of_failure, cause_of_step, result_of
from proxy.model import (
    DIRECT,
    Attempt,
    Cause,
    ClosedBy,
    MeasurementStep,
    Protocol,
    Stage,
    StepKind,
    StepResult,
    Symptom,
)
from tests.support.outcomes import TOR, VPS, failed, outcome, pending
from tests.support.rows import each_row

NOW = 1_000_000.0
RESET = failed()
WAITS = failed(Symptom.TIMEOUT, Stage.RELAY, TOR)
REFUSES = replace(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), evidence={"relay": "refused"})


@pytest.mark.parametrize("closed_by", [ClosedBy.CLIENT, ClosedBy.USER])
def test_what_nobody_waited_for_is_not_known(closed_by: ClosedBy) -> None:
    left = replace(outcome(RESET, replace(REFUSES, started=2.7, elapsed=0.2)), closed_by=closed_by)
    assert result_of(left, NOW, gave_up_s=3.0) is None


LEFT = failed(Symptom.ABANDONED, elapsed=40.0)
LEFT_RELAY = replace(failed(Symptom.ABANDONED, Stage.RELAY, TOR), started=5.0, elapsed=0.5)


@each_row(
    ("attempts", "status", "cause"),
    [
        ((LEFT,), "does not open", "hello_silence"),
        ((pending(elapsed=40.0),), "does not open", "hello_silence"),
        ((failed(Symptom.ABANDONED, Stage.CONNECT, elapsed=40.0),), "does not open", "unreached"),
        ((RESET, LEFT_RELAY), "does not open", "hello_reset"),
        ((RESET, REFUSES, REFUSES, LEFT_RELAY), "relays fail", "relays"),
        ((RESET, replace(LEFT_RELAY, elapsed=9.0)), "site down", "down"),
        ((LEFT_RELAY,), None, None),
    ],
)
def test_who_waited_and_left_has_seen_that_nothing_came(
    attempts: tuple[Attempt, ...], status: str | None, cause: str | None
) -> None:
    left = replace(outcome(*attempts), closed_by=ClosedBy.CLIENT)  # its duration is not known yet
    result = result_of(left, NOW, gave_up_s=3.0)
    assert (result.status, result.cause) == (status, cause) if result is not None else status is None


def test_relays_that_did_not_answer_are_named() -> None:
    result = result_of(outcome(RESET, WAITS, failed(Symptom.TIMEOUT, Stage.RELAY, VPS)), NOW, gave_up_s=3.0)
    assert result is not None
    assert result.relays == ("tor", "vps")


@each_row(
    ("symptom", "stage", "protocol", "cause"),
    [
        (Symptom.RESET, Stage.FIRST_BYTE, Protocol.TLS, Cause.HELLO_RESET),
        (Symptom.EOF, Stage.FIRST_BYTE, Protocol.TLS, Cause.HELLO_CLOSED),
        (Symptom.DROPPED, Stage.FIRST_BYTE, Protocol.TLS, Cause.HELLO_SILENCE),
        (Symptom.SILENT, Stage.FIRST_BYTE, Protocol.TLS, Cause.HELLO_SILENCE),
        (Symptom.RESET, Stage.FIRST_BYTE, Protocol.HTTP, Cause.UNANSWERED),
        (Symptom.TIMEOUT, Stage.CONNECT, Protocol.NONE, Cause.UNREACHED),
        (Symptom.UNREACHABLE, Stage.CONNECT, Protocol.NONE, Cause.UNREACHED),
        (Symptom.REFUSED, Stage.CONNECT, Protocol.NONE, Cause.DOWN),
        (Symptom.RESOLVE_FAILED, Stage.RESOLVE, Protocol.NONE, Cause.NO_ADDRESS),
        (Symptom.FORGED, Stage.RESOLVE, Protocol.NONE, Cause.DOWN),
        (Symptom.ALERT, Stage.FIRST_BYTE, Protocol.TLS, Cause.DOWN),
    ],
)
def test_the_cause_of_a_failure(symptom: Symptom, stage: Stage, protocol: Protocol, cause: Cause) -> None:
    assert cause_of_failure(symptom, stage, protocol) is cause


@each_row(
    ("kind", "symptom", "cause"),
    [
        (StepKind.HELLO, Symptom.RESET, Cause.HELLO_RESET),
        (StepKind.HELLO, Symptom.SILENT, Cause.HELLO_SILENCE),
        (StepKind.ANSWER, Symptom.RESET, Cause.UNANSWERED),
        (StepKind.CONNECT, Symptom.TIMEOUT, Cause.UNREACHED),
        (StepKind.CONNECT, Symptom.REFUSED, Cause.DOWN),
        (StepKind.RESOLVE, Symptom.RESOLVE_FAILED, Cause.NO_ADDRESS),
    ],
)
def test_a_measurement_has_the_same_causes(kind: StepKind, symptom: Symptom, cause: Cause) -> None:
    assert cause_of_step(MeasurementStep(kind, DIRECT, StepResult.FAILED, symptom)) is cause
