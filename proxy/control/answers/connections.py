"""Plans, attempts, and rows of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from proxy.model import Action, Attempt, NetworkId, Outcome, Plan
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact


@frozen_dataclass
class PlanJson:
    """The routes that a request may take, in order. `why` names the rule, the override or the status that decides."""

    action: Action
    routes: tuple[str, ...]
    why: str

    @classmethod
    def of(cls, value: Plan) -> PlanJson:
        return cls(value.action, tuple(map(str, value.routes)), value.why)


@frozen_dataclass
class AttemptJson:
    """One attempt of one route. `stage` is how far it came, `symptom` what stopped it (empty: nothing). `started_s`
    counts from the first attempt of the connection. `evidence` is what was measured beside it."""

    route: str
    stage: str
    symptom: str
    error: str
    started_s: float
    elapsed_s: float
    address: str
    evidence: Mapping[str, Any]

    @classmethod
    def of(cls, value: Attempt) -> AttemptJson:
        return cls(
            route=str(value.route),
            stage=str(value.stage),
            symptom=str(value.symptom),
            error=redact(value.error),
            started_s=round(value.started, 4),
            elapsed_s=round(value.elapsed, 4),
            address=value.address,
            evidence=value.evidence,
        )


@frozen_dataclass
class ConnectionJson:
    """A connection that has ended: a row of the log. `winner` is the route that delivered, null when none did; then
    `error` is the sentence for the client. Words may be those of the Byway that wrote the row."""

    id: int
    at: float
    host: str
    port: int
    inbound: str
    action: str
    why: str
    winner: str | None
    error: str
    protocol: str
    bytes_up: int
    bytes_down: int
    duration_s: float
    closed_by: str
    network: str
    attempts: tuple[AttemptJson, ...]

    @classmethod
    def of(cls, value: Outcome, network: NetworkId) -> Self:
        destination = value.request.destination
        return cls(
            id=value.request.id,
            at=value.at,
            host=value.host or destination.host,
            port=destination.port,
            inbound=str(value.request.inbound),
            action=str(value.plan.action),
            why=value.plan.why,
            winner=None if value.winner is None else str(value.winner),
            error=redact(value.error),
            protocol=str(value.protocol),
            bytes_up=value.bytes_up,
            bytes_down=value.bytes_down,
            duration_s=round(value.duration, 4),
            closed_by=str(value.closed_by),
            network=network,
            attempts=tuple(map(AttemptJson.of, value.attempts)),
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> ConnectionJson:
        """Takes a row as `store.queries.log` returns it."""
        return cls(**{**row, "attempts": tuple(AttemptJson(**attempt) for attempt in row["attempts"])})
