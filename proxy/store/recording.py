"""Reads logged connections as outcomes, for `byway addons replay`.

The log does not have the client's address, nor the method and path of a plain HTTP request, which `GET /` replaces.
Rows of an older Byway have no plan. They are only counted, like connections that are not logged by name.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.model import (
    Attempt,
    ClosedBy,
    Destination,
    HttpRequest,
    Inbound,
    NetworkId,
    Outcome,
    Protocol,
    Request,
    Route,
    Stage,
    Symptom,
    as_evidence,
)
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.rows import HOUR_S, from_text, read_count, read_evidence, read_moment, read_plan, read_span

ROWS_MAX = 200_000
"""Connections that are read at most, the newest. They take about half a gigabyte of memory."""

_COLUMNS = (
    "id, at, host, port, inbound, action, why, winner, error, protocol, bytes_up, bytes_down, duration_s, closed_by,"
    " network, plan"
)

_UNKNOWN = HttpRequest("GET", "/")
"""Replaces a plain HTTP request, whose method and path are not logged."""


@frozen_dataclass
class RecordedConnection:
    """One connection of the log."""

    outcome: Outcome
    network: NetworkId


@frozen_dataclass
class Recording:
    """The connections logged since a moment, the oldest first, and the numbers of those that cannot be replayed."""

    connections: tuple[RecordedConnection, ...]
    older: int = 0  # rows of an older Byway, without a plan
    senseless: int = 0  # rows of a damaged file
    unnamed: int = 0  # about: connections that went direct and were only counted, by `[log] hosts`
    cut: bool = False  # there are more than ROWS_MAX


def read_recording(db: sqlite3.Connection, *, since: float, rows_max: int = ROWS_MAX) -> Recording:
    """Reads the newest connections logged since `since`, seconds since the epoch. Raises sqlite3.Error."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM outcome WHERE at >= ? ORDER BY at DESC, id DESC LIMIT ?",  # noqa: S608 - our own words
        (since, rows_max + 1),
    ).fetchall()
    cut = len(rows) > rows_max
    attempts = _attempts(db, since, rows_max)
    connections, older, senseless = [], 0, 0
    for row in reversed(rows[:rows_max]):
        try:
            connection = _recorded(row, attempts.get(row[0], ()))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            senseless += 1
            continue
        if connection is None:
            older += 1
        else:
            connections.append(connection)
    return Recording(tuple(connections), older, senseless, _unnamed(db, since), cut)


def _attempts(db: sqlite3.Connection, since: float, rows_max: int) -> Mapping[int, Sequence[tuple[Any, ...]]]:
    """Returns the rows of attempts of the newest `rows_max` connections, by the id of the connection."""
    attempts: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for outcome_id, *values in db.execute(
        "SELECT outcome_id, route, stage, symptom, error, started_s, elapsed_s, address, evidence FROM attempt"
        " WHERE outcome_id IN (SELECT id FROM outcome WHERE at >= ? ORDER BY at DESC, id DESC LIMIT ?)"
        " ORDER BY outcome_id, place",
        (since, rows_max),
    ):
        attempts[outcome_id].append(tuple(values))
    return attempts


def _recorded(row: Sequence[Any], attempts: Sequence[tuple[Any, ...]]) -> RecordedConnection | None:
    """Returns the connection of a row; None: a row of an older Byway, without a plan. Raises ValueError, TypeError,
    KeyError or OverflowError for invalid values."""
    (
        row_id, at, host, port, inbound, action, why, winner, error, protocol, bytes_up, bytes_down, duration_s,
        closed_by, network, stored_plan,
    ) = row  # fmt: skip
    plan = read_plan(action, why, stored_plan)
    if plan is None:
        return None
    name, kind = from_text(host), Inbound(from_text(inbound))
    http = _UNKNOWN if kind is Inbound.HTTP else None
    outcome = Outcome(
        request=Request(row_id, Destination(name, int(port)), kind, client="", http=http),
        plan=plan,
        attempts=tuple(map(_attempt, attempts)),
        winner=None if winner is None else Route.parse(from_text(winner)),
        protocol=Protocol(from_text(protocol)),
        host=name,
        at=read_moment(at),
        bytes_up=read_count(bytes_up),
        bytes_down=read_count(bytes_down),
        duration=read_span(duration_s),
        closed_by=ClosedBy(from_text(closed_by)),
        error=from_text(error),
    )
    return RecordedConnection(outcome, NetworkId(from_text(network)))


def _attempt(row: Sequence[Any]) -> Attempt:
    route, stage, symptom, error, started_s, elapsed_s, address, evidence = row
    return Attempt(
        route=Route.parse(from_text(route)),
        stage=Stage(from_text(stage)),
        symptom=Symptom(from_text(symptom)),
        error=from_text(error),
        started=read_span(started_s),
        elapsed=read_span(elapsed_s),
        address=from_text(address),
        evidence=as_evidence(read_evidence(evidence)),
    )


def _unnamed(db: sqlite3.Connection, since: float) -> int:
    """Returns the number of connections that direct delivered, by the hourly counts, without those logged by name."""
    hour = int(since) // HOUR_S * HOUR_S
    counted = 0
    for (delivered,) in db.execute("SELECT delivered FROM route_hour WHERE route = 'direct' AND hour >= ?", (hour,)):
        with contextlib.suppress(ValueError):  # a row of a damaged file
            counted += read_count(delivered)
    (named,) = db.execute(
        "SELECT count(*) FROM attempt JOIN outcome ON outcome.id = outcome_id"
        " WHERE at >= ? AND route = 'direct' AND stage = 'done'",
        (hour,),
    ).fetchone()
    return max(0, counted - int(named))
