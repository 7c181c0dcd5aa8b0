"""Queries of the visits to given hosts, for the days on which they opened, and the seconds that they take.

Each takes a read-only connection, and reads the index of hosts and times. Only visits that are logged by name count.
Times are seconds since the epoch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import pairwise

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.logged import StatusChange, columns
from proxy.store.queries import GAVE_UP_S
from proxy.store.rows import NOT_COUNTED, Read, from_text, read_count, read_rows, read_span, to_text

HOSTS_MAX, DAYS_MAX = 500, 60
"""The most hosts and days of one query."""

_RECENT_VISITS = 30
"""The newest delivered visits of which the typical seconds are the median."""


@frozen_dataclass
class DayVisits:
    """The visits to a host on one day, on one network. `day` is the place of the day among those asked for. `direct`
    counts visits that plain direct delivered, `otherwise` those that another route delivered under AUTO, `by_rule`
    those that another route delivered because a rule or an override said so, and `failed` those that no route
    delivered. In `direct_failed` of the visits, a direct attempt failed."""

    host: str
    network: str
    day: int
    direct: int
    otherwise: int
    by_rule: int
    failed: int
    direct_failed: int


_COUNTS = ("direct", "otherwise", "by_rule", "failed", "direct_failed")


def day_visits(
    db: sqlite3.Connection, hosts: Sequence[str], starts: Sequence[float], network: str | None = None
) -> list[DayVisits]:
    """Returns the visits to each of at most HOSTS_MAX hosts on each day that has any, on one network or (None) on each
    of them. `starts` are the beginnings of at most DAYS_MAX days, and the end of the last one. Visits that a rule
    refused, or that the client left before GAVE_UP_S, do not count."""
    days = [*enumerate(pairwise(starts))][:DAYS_MAX]
    hosts = [*dict.fromkeys(hosts)][:HOSTS_MAX]
    if not days or not hosts:
        return []
    symptoms = sorted(NOT_COUNTED)
    rows = db.execute(
        f"WITH site(name) AS (VALUES {_places('(?)', len(hosts))}),"  # noqa: S608 - our own words
        f" day(place, start, stop) AS (VALUES {_places('(?, ?, ?)', len(days))})"
        " SELECT site.name, network, place,"
        " sum(winner = 'direct'), sum(winner <> 'direct' AND action = 'AUTO'),"
        " sum(winner <> 'direct' AND action <> 'AUTO'), sum(winner IS NULL),"
        " sum(winner IS NOT 'direct' AND EXISTS (SELECT 1 FROM attempt WHERE outcome_id = outcome.id"
        f" AND route = 'direct' AND stage <> 'done' AND symptom NOT IN ({_places('?', len(symptoms))})))"
        " FROM site CROSS JOIN day CROSS JOIN outcome ON host = site.name AND at >= start AND at < stop"
        " WHERE (winner IS NOT NULL OR (action <> 'BLOCK' AND (closed_by NOT IN ('client', 'user')"
        f" OR duration_s >= ?))) {'' if network is None else 'AND network = ?'} GROUP BY site.name, network, place",
        (
            *map(to_text, hosts),
            *(value for place, (start, stop) in days for value in (place, start, stop)),
            *symptoms,
            GAVE_UP_S,
            *(() if network is None else (to_text(network),)),
        ),
    )
    read: Mapping[str, Read] = {"host": from_text, "network": from_text, "day": read_count}
    return [DayVisits(**row) for row in read_rows(rows, {**read, **dict.fromkeys(_COUNTS, _read_sum)})]


def changes_of(db: sqlite3.Connection, scopes: Sequence[str], since: float = 0.0) -> list[StatusChange]:
    """Returns the changes of status of these scopes since then, the oldest first."""
    of_change = columns(StatusChange)
    found: list[StatusChange] = []
    for first in range(0, len(scopes), HOSTS_MAX):
        some = scopes[first : first + HOSTS_MAX]
        rows = db.execute(
            f"SELECT {', '.join(of_change)} FROM change"  # noqa: S608 - our own words
            f" WHERE scope IN ({_places('?', len(some))}) AND at >= ?",
            (*map(to_text, some), since),
        )
        found += [StatusChange(**row) for row in read_rows(rows, of_change)]
    return sorted(found, key=lambda change: change.at)


def typical_seconds(db: sqlite3.Connection, routes: Mapping[str, str], since: float, network: str) -> dict[str, float]:
    """Returns for each host the seconds until its first answer: the median of its newest delivered visits since then.
    `routes` has the hosts, each with the route whose visits count; empty: those of any route. A host without a
    delivered visit is missing."""
    typical: dict[str, float] = {}
    for host, route in [*routes.items()][:HOSTS_MAX]:
        rows = db.execute(
            "SELECT started_s + elapsed_s FROM outcome JOIN attempt"
            " ON outcome_id = outcome.id AND route = winner AND stage = 'done'"
            " WHERE host = ? AND at >= ? AND network = ? AND winner IS NOT NULL AND ? IN ('', winner)"
            " ORDER BY at DESC LIMIT ?",
            (to_text(host), since, to_text(network), route, _RECENT_VISITS),
        )
        seconds = sorted(row["seconds"] for row in read_rows(rows, {"seconds": read_span}))
        if seconds:
            typical[host] = seconds[len(seconds) // 2]
    return typical


@frozen_dataclass
class RouteTime:
    """One attempt of a route: whether it delivered, and the seconds until it did, or failed."""

    route: str
    delivered: bool
    seconds: float


def route_times(db: sqlite3.Connection, hosts: Sequence[str], since: float, network: str) -> list[RouteTime]:
    """Returns the attempts in the newest visits to hosts since then, the newest first. Attempts that are evidence
    neither for nor against a route do not count."""
    hosts, symptoms = [*dict.fromkeys(hosts)][:HOSTS_MAX], sorted(NOT_COUNTED)
    rows = db.execute(
        "SELECT route, stage = 'done', elapsed_s FROM outcome JOIN attempt ON outcome_id = outcome.id"  # noqa: S608
        f" WHERE host IN ({_places('?', len(hosts))}) AND at >= ? AND network = ?"
        f" AND (stage = 'done' OR symptom NOT IN ({_places('?', len(symptoms))}))"
        " ORDER BY at DESC, place LIMIT ?",
        (*map(to_text, hosts), since, to_text(network), *symptoms, _ATTEMPTS_MAX),
    )
    read: Mapping[str, Read] = {"route": from_text, "delivered": bool, "seconds": read_span}
    return [RouteTime(**row) for row in read_rows(rows, read)]


_ATTEMPTS_MAX = 1_000


def hosts_below(db: sqlite3.Connection, domains: Sequence[str], since: float) -> dict[str, list[str]]:
    """Returns the hosts visited since then that are one of these domains or below it, by domain."""
    below: dict[str, list[str]] = {domain: [] for domain in domains}
    endings = tuple(f".{domain}" for domain in below)
    rows = db.execute("SELECT DISTINCT host FROM outcome WHERE at >= ?", (since,)) if below else ()
    for host in (from_text(value) for (value,) in rows):
        if host in below:
            below[host].append(host)
        if host.endswith(endings):  # of a few in many thousands
            for domain in below:
                if host.endswith(f".{domain}"):
                    below[domain].append(host)
    return below


def _places(place: str, count: int) -> str:
    """Returns the places for values in a statement."""
    return ", ".join([place] * count)


def _read_sum(value: object) -> int:
    """Reads a sum of conditions, which is NULL where none was comparable. Raises ValueError."""
    return 0 if value is None else read_count(value)
