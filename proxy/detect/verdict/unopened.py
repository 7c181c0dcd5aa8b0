"""What direct alone shows of a site that it does not open: the same for connections and for measurements.

Without another route that delivers the site, or fails for it as well, a block and a fault of the site look the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.model import Cause, MeasurementStep, Protocol, Stage, StepKind, Symptom

_AFTER_FLIGHT: Mapping[Symptom, Cause] = MappingProxyType(
    {
        Symptom.RESET: Cause.HELLO_RESET,
        Symptom.EOF: Cause.HELLO_CLOSED,
        Symptom.DROPPED: Cause.HELLO_SILENCE,
        Symptom.SILENT: Cause.HELLO_SILENCE,
        Symptom.TIMEOUT: Cause.HELLO_SILENCE,
    }
)


def cause_of_failure(symptom: Symptom, stage: Stage, protocol: Protocol) -> Cause:
    """What a failure of direct may come from while nothing else was compared; `Cause.DOWN` for one that shows the
    site's own machine: it refused the connection, or answered something else than the site."""
    if stage is Stage.RESOLVE:
        return Cause.NO_ADDRESS if symptom is Symptom.RESOLVE_FAILED else Cause.DOWN
    if stage is Stage.CONNECT:
        return Cause.UNREACHED if symptom in (Symptom.TIMEOUT, Symptom.UNREACHABLE) else Cause.DOWN
    cause = _AFTER_FLIGHT.get(symptom)
    if cause is None:
        return Cause.DOWN
    return cause if protocol is Protocol.TLS else Cause.UNANSWERED


def cause_of_step(step: MeasurementStep) -> Cause:
    """The same for the step of a measurement at which direct failed."""
    protocol = Protocol.TLS if step.kind is StepKind.HELLO else Protocol.HTTP
    return cause_of_failure(step.symptom, _STAGES.get(step.kind, Stage.FIRST_BYTE), protocol)


_STAGES: Mapping[StepKind, Stage] = MappingProxyType(
    {StepKind.RESOLVE: Stage.RESOLVE, StepKind.SECURE: Stage.RESOLVE, StepKind.CONNECT: Stage.CONNECT}
)
