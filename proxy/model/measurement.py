"""The steps of a measurement, as `byway why` prints them, and what a measurement came to, as the store keeps it."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from proxy.model.connection import NetworkId, Route, Symptom
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


ResultKey = tuple[NetworkId, str, int]
"""A network, a host on it, and a port of that."""


@frozen_dataclass
class StoredResult:
    """What the last visit to one port of a host, or its last measurement, came to. Words and causes are plain text: the
    file may be of another version."""

    network: NetworkId
    host: str
    port: int
    status: str  # a word for a site, as `detect.verdict.site_status` has them
    at: float  # seconds since the epoch
    source: str  # a measurement, or a connection
    cause: str = ""
    text: str = ""  # one sentence
    relays: tuple[str, ...] = ()  # of which one must work for other sites, else the status is `otherwise`
    otherwise: str = ""
    since: float = 0.0  # when the first of the results that say the same came; 0: this is the first
    works_by: str = ""  # str(Route) that delivered it; empty: none did

    @property
    def key(self) -> ResultKey:
        """Of each there is one."""
        return self.network, self.host, self.port
