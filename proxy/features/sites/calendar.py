"""The last 30 days of a site on each network where it was visited. Pure but for `read_calendar`, a query."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from proxy.control.site_days import DayKind, SiteDay, day_starts, days_of
from proxy.detect.scopes import scopes_of
from proxy.model import Belief
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store import site_queries
from proxy.store.logged import StatusChange
from proxy.store.site_queries import DayVisits

DAYS = 30

NETWORKS_MAX = 6
"""The most networks of a calendar, the present one first."""


@frozen_dataclass
class NetworkDays:
    """The days of a site on one network, the oldest first. `name` is empty for one without a name."""

    network: str
    name: str
    is_here: bool
    strip: Sequence[SiteDay]


@frozen_dataclass
class Recorded:
    """What the log has of a site since the first of these days."""

    starts: Sequence[float]
    visits: Sequence[DayVisits]
    changes: Sequence[StatusChange]


def read_calendar(db: sqlite3.Connection, hosts: Sequence[str], now: float) -> Recorded:
    """Reads what the log has of a site, whose visits are those to `hosts`."""
    starts = day_starts(now, DAYS)
    scopes = [scope for host in hosts for scope in scopes_of(host)]
    visits = site_queries.day_visits(db, hosts, starts)
    return Recorded(starts, visits, site_queries.changes_of(db, [*dict.fromkeys(scopes)]))


def calendar_of(
    recorded: Recorded, held: Iterable[Belief], here: str, names: Mapping[str, str]
) -> Sequence[NetworkDays]:
    """Returns a row for each network with a record in these days, and for the present one (`here`) always. `held` are
    the present beliefs about the site, and `names` those of networks by id."""
    beliefs = [*held]
    known = [here, *(each.network for each in recorded.visits), *(each.network for each in recorded.changes)]
    rows = []
    for network in [*dict.fromkeys(known)]:
        strip = days_of(
            [each for each in recorded.visits if each.network == network],
            [each for each in recorded.changes if each.network == network],
            [each for each in beliefs if each.network == network],
            recorded.starts,
        )
        if network == here or any(day.kind is not DayKind.NONE for day in strip):
            rows.append(NetworkDays(network, names.get(network, ""), network == here, strip))
    return rows[:NETWORKS_MAX]
