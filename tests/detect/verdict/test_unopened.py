"""What direct alone shows of a site that it does not open, in connections and in measurements."""

from __future__ import annotations

import pytest

from proxy.detect.verdict.unopened import cause_of_failure, cause_of_step
from proxy.model import DIRECT, Cause, MeasurementStep, Protocol, Stage, StepKind, StepResult, Symptom


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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
