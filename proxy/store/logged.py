"""What the log has, as values: a connection with its attempts, and a change of a stored status.

The API answers with them, and pages and commands show them. Each field but `attempts` is a column of the log, with the
function that reads it (`columns`). Words are text: they may be those of another version, which wrote the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Self, get_type_hints

from proxy.model import Attempt, NetworkId, Outcome
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.rows import Read, from_text, read_count, read_evidence, read_moment, read_port, read_span
from proxy.wire.relay_url import redact

Text = Annotated[str, from_text]
Moment = Annotated[float, read_moment]
Span = Annotated[float, read_span]
Count = Annotated[int, read_count]


def _read_winner(value: object) -> str | None:
    return None if value is None else from_text(value)


@frozen_dataclass
class LoggedAttempt:
    """One attempt of one route. `stage` is the last stage that it reached, `symptom` is that of its failure (empty: it
    did not fail). `started_s` counts from the first attempt of the connection. `evidence` are other observations."""

    route: Text
    stage: Text
    symptom: Text
    error: Text
    started_s: Span
    elapsed_s: Span
    address: Text
    evidence: Annotated[Mapping[str, Any], read_evidence]

    @classmethod
    def of(cls, value: Attempt) -> LoggedAttempt:
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
class LoggedConnection:
    """An ended connection: a row of the log. `winner` is the route that delivered, null when none did; then `error` is
    the sentence for the client. Words may be those of the Byway that wrote the row."""

    id: Count
    at: Moment
    host: Text
    port: Annotated[int, read_port]
    inbound: Text
    action: Text
    why: Text
    winner: Annotated[str | None, _read_winner]
    error: Text
    protocol: Text
    bytes_up: Count
    bytes_down: Count
    duration_s: Span
    closed_by: Text
    network: Text
    attempts: tuple[LoggedAttempt, ...]

    @classmethod
    def of(cls, value: Outcome, network: NetworkId) -> Self:
        """Returns a connection that has just ended, as its row will be, but for the number of the row."""
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
            attempts=tuple(map(LoggedAttempt.of, value.attempts)),
        )


@frozen_dataclass
class StatusChange:
    """A change of the stored status of a scope. States and causes may be those of the Byway that wrote the row."""

    at: Moment
    scope: Text
    network: Text
    before: Text
    after: Text
    cause: Text
    why: Text


@lru_cache
def columns(kind: type) -> Mapping[str, Read]:
    """Returns the columns of a value's row, each with the function that reads it."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}
