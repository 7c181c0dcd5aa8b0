"""Queries of the log. Each takes a read-only connection and returns plain dictionaries for JSON and tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypedDict, TypeVar, Unpack

from proxy.model import Belief, Override
from proxy.store.rows import (
    BELIEF_COLUMNS,
    HOUR_S,
    MOMENT_MAX,
    Row,
    from_text,
    read_beliefs,
    read_count,
    read_evidence,
    read_moment,
    read_overrides,
    read_span,
    to_text,
)

T = TypeVar("T")

Document = dict[str, Any]

LIMIT_MAX = 10_000
_ATTEMPTS_AT_ONCE = 500  # parameters in one statement, well below SQLite's bound

OUTCOMES = {
    "direct": "winner = 'direct'",
    "relay": "winner <> 'direct' AND winner NOT LIKE 'direct|%'",
    "rescued": "winner <> 'direct' AND EXISTS"
    " (SELECT 1 FROM attempt WHERE outcome_id = outcome.id AND route = 'direct' AND stage <> 'done')",
    "failed": "winner IS NULL",
}
"""SQL condition of each value of the filter `outcome`: delivered direct, delivered by a relay, delivered by another
route after direct had failed, delivered by none."""

_OUTCOME_COLUMNS = (
    "id", "at", "host", "port", "inbound", "action", "why", "winner", "error", "protocol", "bytes_up", "bytes_down",
    "duration_s", "closed_by", "network",
)  # fmt: skip
_OUTCOME_TEXTS = ("host", "inbound", "action", "why", "error", "protocol", "closed_by", "network")
_CHANGE_TEXTS = ("scope", "network", "before", "after", "cause", "why")
_PORT_MAX = 65_535
_ATTEMPT_COLUMNS = ("route", "stage", "symptom", "error", "started_s", "elapsed_s", "address", "evidence")


class LogFilter(TypedDict, total=False):
    """Selects connections of the log; a connection must match every key that is given and is not None."""

    since: float  # seconds since the epoch; default 0
    site: str | None  # this host and its subdomains
    route: str | None  # one of its attempts used this route
    outcome: str | None  # a key of OUTCOMES
    row_id: int | None
    limit: int  # at most this many rows, the newest; default 200, never more than LIMIT_MAX


def log(db: sqlite3.Connection, **selected: Unpack[LogFilter]) -> list[Document]:
    """Returns the connections that match, the newest first, each with its attempts. Raises ValueError for an `outcome`
    that OUTCOMES does not have."""
    where = ["at >= ? AND at <= ?"]  # the upper limit excludes texts, which SQLite sorts after all numbers
    values: list[Any] = [selected.get("since", 0.0), MOMENT_MAX]
    if (row_id := selected.get("row_id")) is not None:
        where.append("id = ?")
        values.append(row_id)
    if (site := selected.get("site")) is not None:
        where.append("(host = ? OR host LIKE ? ESCAPE '\\')")
        values += (to_text(site), f"%.{_escaped_for_like(site)}")
    if (route := selected.get("route")) is not None:
        where.append("EXISTS (SELECT 1 FROM attempt WHERE outcome_id = outcome.id AND route = ?)")
        values.append(to_text(route))
    if (outcome := selected.get("outcome")) is not None:
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome is one of {', '.join(OUTCOMES)}, not {outcome!r}")
        where.append(OUTCOMES[outcome])
    rows = db.execute(
        f"SELECT {', '.join(_OUTCOME_COLUMNS)} FROM outcome WHERE {' AND '.join(where)}"  # noqa: S608 - our own words
        " ORDER BY at DESC, id DESC LIMIT ?",
        (*values, max(0, min(selected.get("limit", 200), LIMIT_MAX))),
    ).fetchall()
    found = list(_readable(_outcome, rows))
    _add_attempts(db, found)
    return found


def changes(db: sqlite3.Connection, scope: str | None = None, *, limit: int = 200) -> list[Document]:
    """The ledger, newest first: of one scope, or all of it."""
    where, values = ("", ()) if scope is None else ("AND scope = ?", (to_text(scope),))
    rows = db.execute(
        f"SELECT at, {', '.join(_CHANGE_TEXTS)} FROM change WHERE at <= ? {where}"  # noqa: S608 - our own words
        " ORDER BY at DESC, id DESC LIMIT ?",
        (MOMENT_MAX, *values, max(0, min(limit, LIMIT_MAX))),
    )
    return list(_readable(_change, rows))


def route_success(db: sqlite3.Connection, since: float) -> list[Document]:
    """How each route did since the hour of `since`, the busiest first. `share` is delivered of attempts."""
    rows = db.execute(
        "SELECT route, delivered, failed, bytes_up, bytes_down FROM route_hour WHERE hour >= ?",
        (int(since) // HOUR_S * HOUR_S,),
    )
    sums: dict[str, list[int]] = {}
    for route, counts in _readable(lambda row: (from_text(row[0]), list(map(read_count, row[1:]))), rows):
        sums[route] = [one + more for one, more in zip(sums.get(route, (0,) * 4), counts, strict=True)]
    return [
        {
            "route": route,
            "attempts": delivered + failed,
            "delivered": delivered,
            "failed": failed,
            "share": round(delivered / (delivered + failed), 4) if delivered + failed else 0.0,
            "bytes_up": bytes_up,
            "bytes_down": bytes_down,
        }
        for route, (delivered, failed, bytes_up, bytes_down) in sorted(
            sums.items(), key=lambda summed: (-summed[1][0] - summed[1][1], summed[0])
        )
    ]


def relay_success(db: sqlite3.Connection, since: float) -> list[Document]:
    """How each relay did since the hour of `since`; `failed` counts what may be its own fault."""
    rows = db.execute(
        "SELECT relay, delivered, failed, elapsed_s FROM relay_hour WHERE hour >= ?",
        (int(since) // HOUR_S * HOUR_S,),
    )
    sums: dict[str, tuple[int, int, float]] = {}
    for relay, delivered, failed, elapsed_s in _readable(
        lambda row: (from_text(row[0]), read_count(row[1]), read_count(row[2]), read_span(row[3])), rows
    ):
        before = sums.get(relay, (0, 0, 0.0))
        sums[relay] = (before[0] + delivered, before[1] + failed, before[2] + elapsed_s)
    return [
        {
            "relay": relay,
            "delivered": delivered,
            "failed": failed,
            "usual_s": round(elapsed_s / delivered, 4) if delivered else None,
        }
        for relay, (delivered, failed, elapsed_s) in sorted(sums.items())
    ]


def relays_used(db: sqlite3.Connection) -> list[Document]:
    """When each route through relays last delivered, and last failed at a relay, from the connections that are logged
    by name: {"route", "delivered", "at", "error"}."""
    rows = db.execute(
        "SELECT route, stage = 'done', max(at), attempt.error FROM attempt JOIN outcome ON outcome.id = outcome_id"
        " WHERE route NOT LIKE 'direct%' AND (stage = 'done' OR symptom LIKE 'relay_%')"
        " GROUP BY route, stage = 'done' ORDER BY max(at)"  # SQLite takes the error from the row with the maximum
    )
    return list(_readable(_relay_use, rows))


def beliefs(db: sqlite3.Connection) -> tuple[list[Belief], int]:
    """Returns the stored beliefs, and the number of unreadable rows."""
    return read_beliefs(db.execute(f"SELECT {', '.join(BELIEF_COLUMNS)} FROM belief"))  # noqa: S608 - our own fields


def overrides(db: sqlite3.Connection) -> tuple[dict[str, Override], int]:
    """Returns the overrides of `byway site set`, and the number of unreadable rows."""
    return read_overrides(db.execute("SELECT host, action, relay FROM override"))


def _readable(read: Callable[[Row], T], rows: Iterable[Row]) -> Iterator[T]:
    """Yields `read(row)` of each row, without those for which it raises ValueError: a damaged file, or another program,
    may leave values of another type."""
    for row in rows:
        try:
            made = read(row)
        except ValueError:
            continue
        yield made


def _outcome(row: Row) -> Document:
    """Raises ValueError."""
    found = dict(zip(_OUTCOME_COLUMNS, row, strict=True))
    found |= {name: from_text(found[name]) for name in _OUTCOME_TEXTS}
    found |= {name: read_count(found[name]) for name in ("port", "bytes_up", "bytes_down")}
    if found["port"] > _PORT_MAX:
        raise ValueError("no port")
    found["at"], found["duration_s"] = read_moment(found["at"]), read_span(found["duration_s"])
    found["winner"] = None if found["winner"] is None else from_text(found["winner"])
    found["attempts"] = []
    return found


def _relay_use(row: Row) -> Document:
    """Raises ValueError."""
    route, delivered, at, error = row
    return {
        "route": from_text(route),
        "delivered": bool(delivered),
        "at": read_moment(at),
        "error": from_text(error),
    }


def _change(row: Row) -> Document:
    """Raises ValueError."""
    at, *texts = row
    return {"at": read_moment(at), **dict(zip(_CHANGE_TEXTS, map(from_text, texts), strict=True))}


def _attempt(row: Row) -> tuple[int, Document]:
    """The connection's number and one attempt. Raises ValueError."""
    outcome_id, *values = row
    attempt = dict(zip(_ATTEMPT_COLUMNS, values, strict=True))
    attempt |= {name: from_text(attempt[name]) for name in ("route", "stage", "symptom", "error", "address")}
    attempt |= {name: read_span(attempt[name]) for name in ("started_s", "elapsed_s")}
    attempt["evidence"] = read_evidence(attempt["evidence"])
    return outcome_id, attempt


def _add_attempts(db: sqlite3.Connection, outcomes: list[Document]) -> None:
    by_id = {found["id"]: found["attempts"] for found in outcomes}
    ids = list(by_id)
    for start in range(0, len(ids), _ATTEMPTS_AT_ONCE):
        some = ids[start : start + _ATTEMPTS_AT_ONCE]
        rows = db.execute(
            f"SELECT outcome_id, {', '.join(_ATTEMPT_COLUMNS)} FROM attempt"  # noqa: S608 - our own words
            f" WHERE outcome_id IN ({', '.join('?' * len(some))}) ORDER BY outcome_id, place",
            some,
        )
        for outcome_id, attempt in _readable(_attempt, rows):
            by_id[outcome_id].append(attempt)


def _escaped_for_like(text: str) -> str:
    """Escapes the wildcards of LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").encode("utf-8", "replace").decode()
