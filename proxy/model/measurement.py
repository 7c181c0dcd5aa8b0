"""The steps of a measurement, as `byway why` and `byway test` print them."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from proxy.model.connection import Route, Symptom
from proxy.model.evidence import NO_EVIDENCE, Evidence
from proxy.model.frozen_dataclass import frozen_dataclass


class StepKind(StrEnum):
    """What one step of a measurement tests."""

    RESOLVE = "resolve"  # by the system's resolver
    SECURE = "secure"  # by DoH or DoT
    CONNECT = "connect"
    RELAY = "relay"  # a handshake with a relay
    NEUTRAL = "neutral"  # a ClientHello to the same address with the SNI of a control site
    HELLO = "hello"  # a ClientHello with the site's SNI
    CERTIFICATE = "certificate"
    ANSWER = "answer"  # to a request
    TRANSFER = "transfer"  # the page again and again on one connection, where transfers stall or are slow
    CONTROL = "control"  # another site, tested direct: does internet access work?


class StepResult(StrEnum):
    """How a step ended. A step that is not allowed, or makes no sense, is not tested, which is never a failure."""

    OK = "ok"
    FAILED = "failed"
    NOT_TESTED = "not_tested"


@frozen_dataclass
class MeasurementStep:
    """One step of a measurement: what was tried on one route, and how it ended."""

    kind: StepKind
    route: Route
    result: StepResult
    symptom: Symptom = Symptom.NONE
    text: str = ""  # half a sentence: what was observed, or why it was not tested
    address: str = ""  # the remote address, if one was contacted
    elapsed: float = 0.0  # seconds that the step took
    evidence: Evidence = field(default_factory=lambda: NO_EVIDENCE)

    @property
    def ok(self) -> bool:
        return self.result is StepResult.OK

    @property
    def failed(self) -> bool:
        return self.result is StepResult.FAILED
