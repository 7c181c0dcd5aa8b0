"""Rows of the log, and connections that are open now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from proxy.model import Action, Attempt, Inbound, NetworkId, Outcome
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.session.open_connections import ConnectionState, OpenConnection
from proxy.store.rows import Document
from proxy.wire.relay_url import redact


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


@frozen_dataclass
class ConnectionLine(ConnectionJson):
    """A connection that has just ended."""


@frozen_dataclass
class OpenConnectionJson:
    """A connection that is open now. `client` is the address it comes from, `program` the file name of the program
    there: empty when that is not on this computer, null when it is not known, or not yet, in its first second. `route`
    is the one that carries it or is tried now, null when none is."""

    id: int
    opened_at: float
    host: str
    port: int
    client: str
    program: str | None
    inbound: Inbound
    action: Action
    why: str
    route: str | None
    state: ConnectionState
    protocol: str
    bytes_up: int
    bytes_down: int
    network: str

    @classmethod
    def of(cls, value: OpenConnection, program: str | None) -> OpenConnectionJson:
        return cls(
            id=value.request.id,
            opened_at=value.opened_at,
            host=value.host,
            port=value.request.destination.port,
            client=value.request.client,
            program=program,
            inbound=value.request.inbound,
            action=value.action,
            why=value.why,
            route=None if value.route is None else str(value.route),
            state=value.state,
            protocol=str(value.protocol),
            bytes_up=value.bytes_up,
            bytes_down=value.bytes_down,
            network=value.network,
        )


@frozen_dataclass
class OpenConnectionsAnswer:
    """The open connections that are asked for, the newest first. `matching` counts them, also those beyond the limit;
    `open` counts all that are open."""

    connections: tuple[OpenConnectionJson, ...]
    matching: int
    open: int


@frozen_dataclass
class ClosedConnectionAnswer:
    """The connection that was closed, as it was before."""

    closed: OpenConnectionJson


@frozen_dataclass
class LogAnswer:
    """Rows of the log, the newest first. `hosts` is the setting `[log] hosts`: which connections are logged by name."""

    rows: tuple[ConnectionJson, ...]
    hosts: str


async def said(rows: Sequence[Document]) -> tuple[ConnectionJson, ...]:
    """Returns what is said of rows of the log, as `store.queries.log` returns them."""
    return tuple(map(ConnectionJson.of_row, rows))
