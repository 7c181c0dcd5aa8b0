"""Queries of the log: connections with their attempts, changes of status, and the stored beliefs, results and
overrides.

Each takes a read-only connection. Queries of routes and relays are in `route_queries`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict, Unpack

from proxy.model import Belief, Override, StoredResult
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.logged import LoggedAttempt, LoggedConnection, StatusChange, columns
from proxy.store.rows import (
    BELIEF_COLUMNS,
    MOMENT_MAX,
    RESULT_COLUMNS,
    Read,
    from_text,
    read_beliefs,
    read_moment,
    read_overrides,
    read_results,
    read_rows,
    to_text,
    tried_text,
)

LIMIT_MAX = 10_000

_ATTEMPTS_AT_ONCE = 500  # parameters in one statement, well below SQLite's bound

OUTCOMES = {
    "direct": "winner = 'direct'",
    "relay": "winner <> 'direct' AND winner NOT LIKE 'direct|%'",
    "rescued": "winner <> 'direct' AND instr(tried, char(10) || '-direct' || char(10))",
    "failed": "winner IS NULL",
}
"""The SQL condition of each value of the filter `outcome`: direct delivered, a relay delivered, another route delivered
after direct had failed, no route delivered."""


class LogFilter(TypedDict, total=False):
    """Selects connections of the log. A connection must match every key that is present and not None."""

    since: float  # seconds since the epoch; default 0
    until: float | None  # seconds since the epoch, itself excluded
    site: str | None  # this host and its subdomains
    route: str | None  # one of its attempts used this route
    outcome: str | None  # a key of OUTCOMES
    network: str | None  # the id of a network
    id: int | None
    before: int | None  # connections older than that of this row id; none if it is gone
    older: Place | None  # connections behind this place
    newer: Place | None  # connections before this place, those next to it
    limit: int  # at most this many rows, the newest; default 200, never more than LIMIT_MAX


class Place(NamedTuple):
    """The place of a connection in the log, which stays when connections come or go."""

    at: float
    id: int

    @classmethod
    def of(cls, row: LoggedConnection) -> Place:
        return cls(row.at, row.id)


def log(db: sqlite3.Connection, **selected: Unpack[LogFilter]) -> list[LoggedConnection]:
    """Returns the connections that match, the newest first, each with its attempts. The index `outcome_listed` has all
    that a filter asks for, so that only rows of the answer are read. Raises ValueError for an `outcome` that OUTCOMES
    does not have."""
    # An SQLite column holds values of any type, and texts compare greater than numbers: the upper limit excludes bad
    # values of a damaged file.
    where = ["at >= ? AND at <= ?"]
    values: list[Any] = [selected.get("since", 0.0), MOMENT_MAX]
    if (row_id := selected.get("id")) is not None:
        where.append("id = ?")
        values.append(row_id)
    if (until := selected.get("until")) is not None:
        where.append("at < ?")
        values.append(until)
    if (before := selected.get("before")) is not None:
        where.append("(at, id) < (SELECT at, id FROM outcome WHERE id = ?)")
        values.append(before)
    if (older := selected.get("older")) is not None:
        where.append("(at, id) < (?, ?)")
        values += older
    if (newer := selected.get("newer")) is not None:
        where.append("(at, id) > (?, ?)")
        values += newer
    if (network := selected.get("network")) is not None:
        where.append("network = ?")
        values.append(to_text(network))
    if (site := selected.get("site")) is not None:
        where.append("(host = ? OR host LIKE ? ESCAPE '\\')")
        wildcards = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})  # of LIKE: a host may have an underscore
        values += (to_text(site), f"%.{site.translate(wildcards).encode('utf-8', 'replace').decode()}")
    if (route := selected.get("route")) is not None:
        where.append("(instr(tried, ?) OR instr(tried, ?))")
        values += (to_text(tried_text(route, delivered=delivered)) for delivered in (True, False))
    if (outcome := selected.get("outcome")) is not None:
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome is one of {', '.join(OUTCOMES)}, not {outcome!r}")
        where.append(OUTCOMES[outcome])
    of_outcome = columns(LoggedConnection)
    of_attempt: Mapping[str, Read] = {"outcome_id": int, **columns(LoggedAttempt)}
    order = "DESC" if newer is None else "ASC"
    rows = db.execute(
        f"SELECT {', '.join(of_outcome)} FROM outcome WHERE id IN (SELECT id FROM outcome"  # noqa: S608 - our own words
        f" WHERE {' AND '.join(where)} ORDER BY at {order}, id {order} LIMIT ?) ORDER BY at DESC, id DESC",
        (*values, max(0, min(selected.get("limit", 200), LIMIT_MAX))),
    ).fetchall()
    outcomes = read_rows(rows, of_outcome)
    attempts: dict[int, list[LoggedAttempt]] = {outcome["id"]: [] for outcome in outcomes}
    ids = list(attempts)
    for start in range(0, len(ids), _ATTEMPTS_AT_ONCE):
        some = ids[start : start + _ATTEMPTS_AT_ONCE]
        rows = db.execute(
            f"SELECT {', '.join(of_attempt)} FROM attempt"  # noqa: S608 - our own words
            f" WHERE outcome_id IN ({', '.join('?' * len(some))}) ORDER BY outcome_id, place",
            some,
        ).fetchall()
        for attempt in read_rows(rows, of_attempt):
            if (tried := attempts.get(attempt.pop("outcome_id"))) is not None:  # None: the index is damaged
                tried.append(LoggedAttempt(**attempt))
    return [LoggedConnection(**outcome, attempts=tuple(attempts[outcome["id"]])) for outcome in outcomes]


def changes(db: sqlite3.Connection, scope: str | None = None, *, limit: int = 200) -> list[StatusChange]:
    """Returns the changes of status of one scope, or of all scopes, the newest first."""
    where, values = ("", ()) if scope is None else ("AND scope = ?", (to_text(scope),))
    of_change = columns(StatusChange)
    rows = db.execute(
        f"SELECT {', '.join(of_change)} FROM change WHERE at <= ? {where}"  # noqa: S608 - our own words
        " ORDER BY at DESC, id DESC LIMIT ?",
        (MOMENT_MAX, *values, max(0, min(limit, LIMIT_MAX))),
    )
    return [StatusChange(**row) for row in read_rows(rows, of_change)]


@frozen_dataclass
class FailedVisit:
    """A visit that no route delivered."""

    at: float
    host: str


def failed_visits(db: sqlite3.Connection, since: float, network: str) -> list[FailedVisit]:
    """Returns the newest visits since then that no route delivered. Visits that a rule refused, or that the client left
    before GAVE_UP_S, do not count."""
    rows = db.execute(
        "SELECT at, host FROM outcome WHERE at BETWEEN ? AND ? AND network = ? AND winner IS NULL AND action <> 'BLOCK'"
        " AND (closed_by NOT IN ('client', 'user') OR duration_s >= ?) ORDER BY at DESC LIMIT ?",
        (since, MOMENT_MAX, to_text(network), GAVE_UP_S, FAILED_VISITS_MAX),
    )
    return [FailedVisit(**row) for row in read_rows(rows, {"at": read_moment, "host": from_text})]


def delivered_at(db: sqlite3.Connection, network: str) -> float:
    """Returns when the last delivered visit that is logged by name began; 0: there is none."""
    row = db.execute(
        "SELECT max(at) FROM outcome WHERE at BETWEEN 0 AND ? AND network = ? AND winner IS NOT NULL",
        (MOMENT_MAX, to_text(network)),
    ).fetchone()
    return float(row[0] or 0.0)


GAVE_UP_S = 3.0
"""Seconds after which a client that leaves has seen that no answer comes."""

FAILED_VISITS_MAX = 1_000


def oldest(db: sqlite3.Connection) -> float | None:
    """Returns when the oldest logged connection began; None: there is none."""
    row = db.execute("SELECT min(at) FROM outcome WHERE at BETWEEN 0 AND ?", (MOMENT_MAX,)).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def beliefs(db: sqlite3.Connection) -> tuple[list[Belief], int]:
    """Returns the stored beliefs, and the number of unreadable rows. A file that cannot be written may have the layout
    of an older Byway, with fewer columns."""
    present = {name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", ("belief",))}
    columns = [name if name in present else _ADDED.get(name, name) for name in BELIEF_COLUMNS]
    return read_beliefs(db.execute(f"SELECT {', '.join(columns)} FROM belief"))  # noqa: S608 - our own words


_ADDED: Mapping[str, str] = {
    "began": "CASE WHEN state IN ('suspect', 'blocked') THEN since ELSE 0 END",
}
"""The SQL in place of a column of beliefs that an older layout does not have."""


def results(db: sqlite3.Connection) -> tuple[list[StoredResult], int]:
    """Returns the stored results, and the number of unreadable rows. A file that cannot be written may have the layout
    of an older Byway, which has none."""
    if not any(db.execute("SELECT 1 FROM pragma_table_info(?)", ("result",))):
        return [], 0
    return read_results(db.execute(f"SELECT {', '.join(RESULT_COLUMNS)} FROM result"))  # noqa: S608 - our own words


def overrides(db: sqlite3.Connection) -> tuple[dict[str, Override], int]:
    """Returns the overrides of `byway site set`, and the number of unreadable rows. A file that cannot be written may
    have the layout of an older Byway, in which no override ends."""
    try:
        return read_overrides(db.execute("SELECT host, action, relay, until FROM override"))
    except sqlite3.OperationalError:
        return read_overrides(db.execute("SELECT host, action, relay, 0 FROM override"))
