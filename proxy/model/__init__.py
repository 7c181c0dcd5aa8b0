"""The nouns of Byway, as frozen values.

A connection is a value that gains facts as it moves forward: Request → Plan → Attempt… → Outcome. Nothing here does
I/O, reads a clock or changes once made. Times are seconds: `at`, `since` and `until` since the epoch, `elapsed` and
`duration` as lengths.
"""

from __future__ import annotations

from proxy.model.belief import (
    NAME_CAUSES,
    Belief,
    Cause,
    Change,
    ConnectivityResult,
    DnsFinding,
    NetworkState,
    Signal,
    State,
)
from proxy.model.connection import (
    DIRECT,
    DOH,
    PAUSE_MAX_S,
    UNKNOWN_NETWORK,
    Action,
    Attempt,
    AutoMode,
    ClosedBy,
    Destination,
    HttpRequest,
    Inbound,
    IPAddress,
    NetworkId,
    Outcome,
    Override,
    Plan,
    Protocol,
    Request,
    Route,
    Stage,
    Symptom,
    bracketed,
    host_and_port,
    literal,
)
from proxy.model.evidence import NO_EVIDENCE, REUSED, Evidence, SignalId, as_evidence, frozen_evidence
from proxy.model.measurement import MeasurementStep, ResultKey, StepKind, StepResult, StoredResult
from proxy.model.relay_group import GroupPolicy, RelayGroup

__all__ = [
    "DIRECT",
    "DOH",
    "NAME_CAUSES",
    "NO_EVIDENCE",
    "PAUSE_MAX_S",
    "REUSED",
    "UNKNOWN_NETWORK",
    "Action",
    "Attempt",
    "AutoMode",
    "Belief",
    "Cause",
    "Change",
    "ClosedBy",
    "ConnectivityResult",
    "Destination",
    "DnsFinding",
    "Evidence",
    "GroupPolicy",
    "HttpRequest",
    "IPAddress",
    "Inbound",
    "MeasurementStep",
    "NetworkId",
    "NetworkState",
    "Outcome",
    "Override",
    "Plan",
    "Protocol",
    "RelayGroup",
    "Request",
    "ResultKey",
    "Route",
    "Signal",
    "SignalId",
    "Stage",
    "State",
    "StepKind",
    "StepResult",
    "StoredResult",
    "Symptom",
    "as_evidence",
    "bracketed",
    "frozen_evidence",
    "host_and_port",
    "literal",
]
