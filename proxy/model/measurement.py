"""The steps of a measurement, as `byway why` and `byway test` print them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from proxy.model.connection import Route, Symptom
from proxy.model.evidence import NO_EVIDENCE, Evidence


class StepKind(StrEnum):
    """What one step of a measurement looks at."""

    RESOLVE = "resolve"  # the system's resolver
    SECURE = "secure"  # DoH or DoT
    CONNECT = "connect"
    RELAY = "relay"  # a handshake with a relay
    NEUTRAL = "neutral"  # a TLS hello at the same address that names somebody harmless
    HELLO = "hello"  # a TLS hello that names the site
    CERTIFICATE = "certificate"
    ANSWER = "answer"  # to a request
    CONTROL = "control"  # another site, asked direct: is the uplink well?


class StepResult(StrEnum):
    """How a step ended. What may not be asked, or makes no sense to ask, is not tested; that is never a no."""

    OK = "ok"
    FAILED = "failed"
    NOT_TESTED = "not_tested"


@dataclass(frozen=True, slots=True)
class MeasurementStep:
    """One step of a measurement: what was tried on one route, and what was seen."""

    part: StepKind
    route: Route
    found: StepResult
    symptom: Symptom = Symptom.NONE
    text: str = ""  # one half-sentence: what was seen, or why it was not tested
    address: str = ""  # the remote address, where one was spoken to
    elapsed: float = 0.0  # seconds this step took
    evidence: Evidence = field(default_factory=lambda: NO_EVIDENCE)

    @property
    def ok(self) -> bool:
        return self.found is StepResult.OK

    @property
    def failed(self) -> bool:
        return self.found is StepResult.FAILED
