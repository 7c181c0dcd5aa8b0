"""Queries of the success of routes and relays, from the sums of each hour and half-hour, and from the newest
connections logged by name.

Each takes a read-only connection. Times are seconds since the epoch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.rows import (
    HALF_S,
    HOUR_S,
    MOMENT_MAX,
    NO_ROUTE,
    Document,
    Read,
    Row,
    from_text,
    read_count,
    read_evidence,
    read_moment,
    read_rows,
    to_text,
)

RECENT_ROWS = 10_000
"""Connections, the newest, that are searched for handshakes and faults of relays; `byway status` shows them."""

_COUNTS: Mapping[str, Read] = {"delivered": read_count, "failed": read_count}
_HANDSHAKES_MAX = 2_000
_OPENED_BY_RELAYS = "network = ? AND state = 'blocked' AND last_good <> '' AND last_good NOT LIKE 'direct%'"
_RECENT = "outcome_id > (SELECT coalesce(max(id), 0) FROM outcome) - ?"


@frozen_dataclass
class RouteHour:
    """The success of a route in the hour that began at `at`."""

    at: int
    route: str
    delivered: int
    failed: int


@frozen_dataclass
class RelayHalf:
    """The success of a relay in the half-hour that began at `at`. `failed` counts failures that may be its own fault.
    The counts of an early Byway are of the hour."""

    at: int
    relay: str
    delivered: int
    failed: int


@frozen_dataclass
class RouteSuccess:
    """The success of a route. `share` is delivered of attempts, from 0 to 1."""

    route: str
    attempts: int
    delivered: int
    failed: int
    share: float
    bytes_up: int
    bytes_down: int


@frozen_dataclass
class RelaySuccess:
    """The success of a relay. `failed` counts failures that may be its own fault."""

    relay: str
    delivered: int
    failed: int


@frozen_dataclass
class RelaySite:
    """A site that a relay opened last, at `opened_at`, and that direct does not open."""

    scope: str
    opened_at: float


@frozen_dataclass
class RelayUse:
    """The last times when a relay delivered, and when it failed itself, with the error; 0: never."""

    relay: str
    delivered_at: float = 0.0
    failed_at: float = 0.0
    error: str = ""


@frozen_dataclass
class SiteRoute:
    """The success of a route for a host."""

    host: str
    route: str
    delivered: int
    failed: int


def route_success(db: sqlite3.Connection, since: float) -> list[RouteSuccess]:
    """Returns the success of each route since the hour of `since`, the most used first."""
    rows = db.execute(
        "SELECT route, delivered, failed, bytes_up, bytes_down FROM route_hour WHERE hour >= ? AND route <> ?",
        (int(since) // HOUR_S * HOUR_S, NO_ROUTE),
    )
    columns = {"route": from_text, **_COUNTS, "bytes_up": read_count, "bytes_down": read_count}
    sums: dict[str, list[int]] = {}
    for row in read_rows(rows, columns):
        route, *counts = row.values()
        sums[route] = [one + more for one, more in zip(sums.get(route, (0,) * 4), counts, strict=True)]
    return [
        RouteSuccess(
            route=route,
            attempts=delivered + failed,
            delivered=delivered,
            failed=failed,
            share=round(delivered / (delivered + failed), 4) if delivered + failed else 0.0,
            bytes_up=bytes_up,
            bytes_down=bytes_down,
        )
        for route, (delivered, failed, bytes_up, bytes_down) in sorted(
            sums.items(), key=lambda summed: (-summed[1][0] - summed[1][1], summed[0])
        )
    ]


def route_hours(db: sqlite3.Connection, since: float) -> list[RouteHour]:
    """Returns the success of each route in each hour since the hour of `since`; of NO_ROUTE, the connections that no
    route delivered."""
    rows = db.execute(
        "SELECT hour, route, delivered, failed FROM route_hour WHERE hour >= ? ORDER BY hour, route",
        (int(since) // HOUR_S * HOUR_S,),
    )
    return [RouteHour(**row) for row in read_rows(rows, {"at": _read_hour, "route": from_text, **_COUNTS})]


@frozen_dataclass
class Visits:
    """The visits in one of several periods that a route delivered, or (NO_ROUTE) that none did. `place` is that of the
    period."""

    place: int
    route: str
    count: int


PERIODS_MAX = 100


def visits(db: sqlite3.Connection, edges: Sequence[int]) -> list[Visits]:
    """Returns the visits in the hours that begin between each two of at most PERIODS_MAX + 1 moments, from the hourly
    sums."""
    periods = [*enumerate(pairwise(edges))][:PERIODS_MAX]
    if not periods:
        return []
    rows = db.execute(
        f"WITH period(place, start, stop) AS (VALUES {', '.join(['(?, ?, ?)'] * len(periods))})"  # noqa: S608 - our own words
        " SELECT place, route, sum(CASE route WHEN ? THEN failed ELSE delivered END)"
        " FROM period CROSS JOIN route_hour ON hour >= start AND hour < stop GROUP BY place, route",
        (*(value for place, (start, stop) in periods for value in (place, start, stop)), NO_ROUTE),
    )
    return [Visits(**row) for row in read_rows(rows, {"place": read_count, "route": from_text, "count": read_count})]


def first_hour(db: sqlite3.Connection) -> float | None:
    """Returns the beginning of the first hour that has sums; None: there is none."""
    row = db.execute("SELECT min(hour) FROM route_hour WHERE hour BETWEEN 0 AND ?", (MOMENT_MAX,)).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def site_routes(db: sqlite3.Connection, since: float, network: str, hosts: Sequence[str]) -> list[SiteRoute]:
    """Returns the success of each route for each of a few hundred hosts on a network, in the connections since then.
    Only hosts for which a route failed are returned."""
    rows = db.execute(
        "SELECT host, route, sum(stage = 'done'), sum(stage <> 'done')"  # noqa: S608 - our own words
        " FROM outcome JOIN attempt ON outcome.id = outcome_id"
        f" WHERE host IN ({', '.join('?' * len(hosts))}) AND at BETWEEN ? AND ? AND network = ? GROUP BY host, route",
        (*map(to_text, hosts), since, MOMENT_MAX, to_text(network)),
    )
    routes = [SiteRoute(**row) for row in read_rows(rows, {"host": from_text, "route": from_text, **_COUNTS})]
    failing = {each.host for each in routes if each.failed}
    return [each for each in routes if each.host in failing]


def relay_success(db: sqlite3.Connection, since: float) -> list[RelaySuccess]:
    """Returns the success of each relay since the half-hour of `since`."""
    rows = db.execute(
        "SELECT relay, delivered, failed FROM relay_hour WHERE hour >= ?", (int(since) // HALF_S * HALF_S,)
    )
    sums: dict[str, tuple[int, int]] = {}
    for row in read_rows(rows, {"relay": from_text, **_COUNTS}):
        relay, delivered, failed = row.values()
        before = sums.get(relay, (0, 0))
        sums[relay] = (before[0] + delivered, before[1] + failed)
    return [RelaySuccess(relay, *counts) for relay, counts in sorted(sums.items())]


def relay_handshakes(db: sqlite3.Connection, since: float) -> dict[str, list[float]]:
    """Returns the seconds that each route through relays took to open its paths, in the newest delivered connections
    since then that are logged by name."""
    rows = db.execute(
        "SELECT route, evidence FROM attempt JOIN outcome ON outcome.id = outcome_id"  # noqa: S608 - our own words
        f" WHERE {_RECENT} AND at BETWEEN ? AND ? AND stage = 'done' AND route NOT LIKE 'direct%'"
        " ORDER BY outcome_id DESC LIMIT ?",
        (RECENT_ROWS, since, MOMENT_MAX, _HANDSHAKES_MAX),
    )
    return _opened_s(rows)


def relay_halves(db: sqlite3.Connection, since: float) -> list[RelayHalf]:
    """Returns the success of each relay in each half-hour since that of `since`, the oldest first."""
    rows = db.execute(
        "SELECT hour, relay, delivered, failed FROM relay_hour WHERE hour >= ? ORDER BY hour, relay",
        (int(since) // HALF_S * HALF_S,),
    )
    sums: dict[tuple[int, str], tuple[int, int]] = {}
    for row in read_rows(rows, {"at": _read_hour, "relay": from_text, **_COUNTS}):
        at, relay, delivered, failed = row.values()
        before = sums.get((at, relay), (0, 0))
        sums[at, relay] = (before[0] + delivered, before[1] + failed)
    return [RelayHalf(at, relay, *counts) for (at, relay), counts in sums.items()]


def relay_sites(db: sqlite3.Connection, network: str) -> dict[str, int]:
    """Returns the number of sites on a network that direct does not open, by the relays that opened them last."""
    rows = db.execute(
        f"SELECT last_good, count(*) FROM belief WHERE {_OPENED_BY_RELAYS} GROUP BY last_good",  # noqa: S608 - our own words
        (to_text(network),),
    )
    counts: dict[str, int] = {}
    for row in read_rows(rows, {"relay": _relays_of, "count": read_count}):
        counts[row["relay"]] = counts.get(row["relay"], 0) + row["count"]
    return counts


def sites_by_relay(db: sqlite3.Connection, network: str, relay: str, *, first: int, count: int) -> list[RelaySite]:
    """Returns sites on a network that direct does not open and that a relay opened last, in the order of their names:
    `count` at most, without the `first` ones."""
    rows = db.execute(
        f"SELECT scope, last_good_at FROM belief WHERE {_OPENED_BY_RELAYS}"  # noqa: S608 - our own words
        " AND (last_good = ? OR substr(last_good, 1, ?) = ?) ORDER BY scope LIMIT ? OFFSET ?",
        (to_text(network), to_text(relay), len(relay) + 1, f"{relay}|", count, first),
    )
    return [RelaySite(**row) for row in read_rows(rows, {"scope": from_text, "opened_at": read_moment})]


def relay_failures(db: sqlite3.Connection) -> list[Document]:
    """Returns the last failure of each route at a relay, in the newest connections that are logged by name: {"relay",
    "at", "symptom", "error", "evidence"}."""
    rows = db.execute(
        "SELECT route, max(at), symptom, attempt.error, evidence"  # noqa: S608 - our own words
        " FROM attempt JOIN outcome ON outcome.id = outcome_id"
        f" WHERE {_RECENT} AND at <= ? AND route NOT LIKE 'direct%'"
        " AND symptom IN ('relay_down', 'relay_auth', 'relay_garbage', 'relay_loop') GROUP BY route ORDER BY max(at)",
        (RECENT_ROWS, MOMENT_MAX),
    )
    return read_rows(rows, {
        "relay": _relays_of, "at": read_moment, "symptom": from_text, "error": from_text, "evidence": read_evidence,
    })  # fmt: skip


def relay_uses(db: sqlite3.Connection, network: str) -> list[RelayUse]:
    """Returns the last uses of each relay on a network, in the connections that are logged by name."""
    rows = db.execute(
        "SELECT route, stage = 'done', max(at), attempt.error FROM attempt JOIN outcome ON outcome.id = outcome_id"
        " WHERE at <= ? AND network = ? AND route NOT LIKE 'direct%' AND (stage = 'done' OR symptom LIKE 'relay_%')"
        # With one max() SQLite takes the bare columns from the row that has the maximum (lang_select.html, 2.5).
        " GROUP BY route, stage = 'done' ORDER BY max(at)",
        (MOMENT_MAX, to_text(network)),
    )
    uses: dict[str, RelayUse] = {}
    for row in read_rows(rows, {"relay": _relays_of, "delivered": bool, "at": read_moment, "error": from_text}):
        use = uses.get(row["relay"], RelayUse(row["relay"]))
        if row["delivered"]:
            uses[use.relay] = replace(use, delivered_at=row["at"])
        else:
            uses[use.relay] = replace(use, failed_at=row["at"], error=row["error"])
    return list(uses.values())


def _opened_s(rows: Iterable[Row]) -> dict[str, list[float]]:
    """Returns the seconds that each route through relays took to open its paths, from rows of (route, evidence)."""
    times: dict[str, list[float]] = {}
    for attempt in read_rows(rows, {"route": _relays_of, "evidence": read_evidence}):
        opened_s = attempt["evidence"].get("opened_s")
        if isinstance(opened_s, int | float) and opened_s >= 0:
            times.setdefault(attempt["route"], []).append(float(opened_s))
    return times


def _relays_of(route: object) -> str:
    """Returns a stored route without its local strategies."""
    return from_text(route).partition("|")[0]


def _read_hour(value: object) -> int:
    """Reads the beginning of an hour. Raises ValueError."""
    return int(read_moment(value))
