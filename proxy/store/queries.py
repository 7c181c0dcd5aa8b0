"""Queries of the log. Each takes a read-only connection and returns plain dictionaries for JSON and tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
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
RECENT_ROWS = 10_000
"""The newest connections in which the handshakes and faults of relays are looked for: `byway status` asks for them."""

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
_HANDSHAKES_MAX = 2_000
_OPENINGS_AN_HOUR = 1_000
_RECENT = "outcome_id > (SELECT coalesce(max(id), 0) FROM outcome) - ?"
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
    # A column of SQLite holds values of any type, and texts compare greater than all numbers: the upper limit excludes
    # what a damaged file may hold.
    where = ["at >= ? AND at <= ?"]
    values: list[Any] = [selected.get("since", 0.0), MOMENT_MAX]
    if (row_id := selected.get("row_id")) is not None:
        where.append("id = ?")
        values.append(row_id)
    if (site := selected.get("site")) is not None:
        where.append("(host = ? OR host LIKE ? ESCAPE '\\')")
        wildcards = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})  # of LIKE: a host may have an underscore
        values += (to_text(site), f"%.{site.translate(wildcards).encode('utf-8', 'replace').decode()}")
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
    outcomes = list(_readable(_outcome, rows))
    _add_attempts(db, outcomes)
    return outcomes


def changes(db: sqlite3.Connection, scope: str | None = None, *, limit: int = 200) -> list[Document]:
    """Returns the changes of status, the newest first: of one scope, or all of them."""
    where, values = ("", ()) if scope is None else ("AND scope = ?", (to_text(scope),))
    rows = db.execute(
        f"SELECT at, {', '.join(_CHANGE_TEXTS)} FROM change WHERE at <= ? {where}"  # noqa: S608 - our own words
        " ORDER BY at DESC, id DESC LIMIT ?",
        (MOMENT_MAX, *values, max(0, min(limit, LIMIT_MAX))),
    )
    return list(_readable(_change, rows))


def route_success(db: sqlite3.Connection, since: float) -> list[Document]:
    """Returns the success of each route since the hour of `since`, the most used first. `share` is delivered of
    attempts, 0 to 1."""
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


def oldest(db: sqlite3.Connection) -> float | None:
    """Returns when the oldest stored connection began; None: there is none."""
    row = db.execute("SELECT min(at) FROM outcome WHERE at BETWEEN 0 AND ?", (MOMENT_MAX,)).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def route_hours(db: sqlite3.Connection, since: float) -> list[Document]:
    """Returns what each route did in each hour since the hour of `since`: {"at", "route", "delivered", "failed"}, where
    `at` is when the hour began."""
    rows = db.execute(
        "SELECT hour, route, delivered, failed FROM route_hour WHERE hour >= ? ORDER BY hour, route",
        (int(since) // HOUR_S * HOUR_S,),
    )
    return list(_readable(_route_hour, rows))


def site_routes(db: sqlite3.Connection, since: float, network: str) -> list[Document]:
    """Returns what each route did for each host on a network, of the newest connections since then that are logged by
    name: {"host", "route", "delivered", "failed"}. Only hosts for which a route failed."""
    rows = db.execute(
        "SELECT host, route, sum(stage = 'done'), sum(stage <> 'done')"  # noqa: S608 - our own words
        " FROM attempt JOIN outcome ON outcome.id = outcome_id"
        f" WHERE {_RECENT} AND at BETWEEN ? AND ? AND network = ? GROUP BY host, route",
        (RECENT_ROWS, since, MOMENT_MAX, to_text(network)),
    )
    found = list(_readable(_site_route, rows))
    failing = {each["host"] for each in found if each["failed"]}
    return [each for each in found if each["host"] in failing]


def relay_success(db: sqlite3.Connection, since: float) -> list[Document]:
    """Returns the success of each relay since the hour of `since`; `failed` counts what may be its own fault, `usual_s`
    is the mean time until it delivered."""
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


def relay_handshakes(db: sqlite3.Connection, since: float) -> dict[str, list[float]]:
    """Returns the seconds in which each route through relays opened its paths, of the newest connections since then
    that are logged by name and were delivered."""
    rows = db.execute(
        "SELECT route, evidence FROM attempt JOIN outcome ON outcome.id = outcome_id"  # noqa: S608 - our own words
        f" WHERE {_RECENT} AND at BETWEEN ? AND ? AND stage = 'done' AND route NOT LIKE 'direct%'"
        " ORDER BY outcome_id DESC LIMIT ?",
        (RECENT_ROWS, since, MOMENT_MAX, _HANDSHAKES_MAX),
    )
    times: dict[str, list[float]] = {}
    for route, opened_s in _readable(lambda row: (_relays_of(row[0]), read_evidence(row[1]).get("opened_s")), rows):
        if isinstance(opened_s, int | float) and opened_s >= 0:
            times.setdefault(route, []).append(float(opened_s))
    return times


def relay_hours(db: sqlite3.Connection, since: float) -> list[Document]:
    """Returns what each relay did in each hour since the hour of `since`: {"at", "relay", "delivered", "failed"}, where
    `at` is when the hour began, and `failed` counts what may be the relay's own fault."""
    rows = db.execute(
        "SELECT hour, relay, delivered, failed FROM relay_hour WHERE hour >= ? ORDER BY hour, relay",
        (int(since) // HOUR_S * HOUR_S,),
    )
    return [{"relay": row.pop("route"), **row} for row in _readable(_route_hour, rows)]


def relay_openings(db: sqlite3.Connection, hours: Sequence[int]) -> dict[tuple[str, int], list[float]]:
    """Returns the seconds in which each route through relays opened its paths, by route and hour, of the newest
    connections of each of the `hours` (when each began) that are logged by name and were delivered."""
    times: dict[tuple[str, int], list[float]] = {}
    for hour in hours:
        rows = db.execute(
            "SELECT route, evidence FROM attempt WHERE stage = 'done' AND route NOT LIKE 'direct%' AND outcome_id IN"
            " (SELECT id FROM outcome WHERE at >= ? AND at < ? ORDER BY at DESC LIMIT ?)",
            (hour, hour + HOUR_S, _OPENINGS_AN_HOUR),
        )
        for route, opened_s in _readable(lambda row: (_relays_of(row[0]), read_evidence(row[1]).get("opened_s")), rows):
            if isinstance(opened_s, int | float) and opened_s >= 0:
                times.setdefault((route, hour), []).append(float(opened_s))
    return times


def relay_failures(db: sqlite3.Connection) -> list[Document]:
    """Returns the last failure of each route at its relays, of the newest connections that are logged by name:
    {"relay", "at", "symptom", "error", "evidence"}."""
    rows = db.execute(
        "SELECT route, max(at), symptom, attempt.error, evidence"  # noqa: S608 - our own words
        " FROM attempt JOIN outcome ON outcome.id = outcome_id"
        f" WHERE {_RECENT} AND at <= ? AND route NOT LIKE 'direct%'"
        " AND symptom IN ('relay_down', 'relay_auth', 'relay_garbage') GROUP BY route ORDER BY max(at)",
        (RECENT_ROWS, MOMENT_MAX),
    )
    return list(_readable(_relay_failure, rows))


def relays_used(db: sqlite3.Connection) -> list[Document]:
    """Returns when each route through relays last delivered, and last failed at a relay, from the connections that are
    logged by name: {"route", "delivered", "at", "error"}."""
    rows = db.execute(
        "SELECT route, stage = 'done', max(at), attempt.error FROM attempt JOIN outcome ON outcome.id = outcome_id"
        " WHERE route NOT LIKE 'direct%' AND (stage = 'done' OR symptom LIKE 'relay_%')"
        # With one max() SQLite takes the bare columns from the row that has the maximum (lang_select.html, 2.5).
        " GROUP BY route, stage = 'done' ORDER BY max(at)"
    )
    return list(_readable(_relay_use, rows))


def beliefs(db: sqlite3.Connection) -> tuple[list[Belief], int]:
    """Returns the stored beliefs, and the number of unreadable rows."""
    return read_beliefs(db.execute(f"SELECT {', '.join(BELIEF_COLUMNS)} FROM belief"))  # noqa: S608 - our own fields


def overrides(db: sqlite3.Connection) -> tuple[dict[str, Override], int]:
    """Returns the overrides of `byway site set`, and the number of unreadable rows. A file that cannot be written may
    have the layout of an older Byway, in which no override ends."""
    try:
        return read_overrides(db.execute("SELECT host, action, relay, until FROM override"))
    except sqlite3.OperationalError:
        return read_overrides(db.execute("SELECT host, action, relay, 0 FROM override"))


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
    outcome = dict(zip(_OUTCOME_COLUMNS, row, strict=True))
    outcome |= {name: from_text(outcome[name]) for name in _OUTCOME_TEXTS}
    outcome |= {name: read_count(outcome[name]) for name in ("port", "bytes_up", "bytes_down")}
    if outcome["port"] > _PORT_MAX:
        raise ValueError("no port")
    outcome["at"], outcome["duration_s"] = read_moment(outcome["at"]), read_span(outcome["duration_s"])
    outcome["winner"] = None if outcome["winner"] is None else from_text(outcome["winner"])
    outcome["attempts"] = []
    return outcome


def _relay_use(row: Row) -> Document:
    """Raises ValueError."""
    route, delivered, at, error = row
    return {
        "route": from_text(route),
        "delivered": bool(delivered),
        "at": read_moment(at),
        "error": from_text(error),
    }


def _relay_failure(row: Row) -> Document:
    """Raises ValueError."""
    route, at, symptom, error, evidence = row
    return {
        "relay": _relays_of(route),
        "at": read_moment(at),
        "symptom": from_text(symptom),
        "error": from_text(error),
        "evidence": read_evidence(evidence),
    }


def _relays_of(route: object) -> str:
    """The relays of a stored route, without its local strategies."""
    return from_text(route).partition("|")[0]


def _route_hour(row: Row) -> Document:
    """Raises ValueError."""
    hour, route, delivered, failed = row
    return {
        "at": int(read_moment(hour)),
        "route": from_text(route),
        "delivered": read_count(delivered),
        "failed": read_count(failed),
    }


def _site_route(row: Row) -> Document:
    """Raises ValueError."""
    host, route, delivered, failed = row
    return {
        "host": from_text(host),
        "route": from_text(route),
        "delivered": read_count(delivered),
        "failed": read_count(failed),
    }


def _change(row: Row) -> Document:
    """Raises ValueError."""
    at, *texts = row
    return {"at": read_moment(at), **dict(zip(_CHANGE_TEXTS, map(from_text, texts), strict=True))}


def _attempt(row: Row) -> tuple[int, Document]:
    """Returns the connection's number and one attempt. Raises ValueError."""
    outcome_id, *values = row
    attempt = dict(zip(_ATTEMPT_COLUMNS, values, strict=True))
    attempt |= {name: from_text(attempt[name]) for name in ("route", "stage", "symptom", "error", "address")}
    attempt |= {name: read_span(attempt[name]) for name in ("started_s", "elapsed_s")}
    attempt["evidence"] = read_evidence(attempt["evidence"])
    return outcome_id, attempt


def _add_attempts(db: sqlite3.Connection, outcomes: list[Document]) -> None:
    by_id = {outcome["id"]: outcome["attempts"] for outcome in outcomes}
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
