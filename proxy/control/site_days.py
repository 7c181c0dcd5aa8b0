"""The days on which sites opened, were blocked or failed, and the seconds that they typically take.

`site_days` answers for the rows of one page (Today, Sites): `strip` and `typical_s` of each site. A day is known by the
visits that are logged by name and by the changes of stored status; a day without either is `DayKind.NONE`: the site was
not visited, or it was not recorded. With `[log] hosts = "decisions"` a day on which a site simply worked is not
recorded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from proxy.detect.scopes import scopes_of
from proxy.model import TROUBLED, Belief
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store import site_queries

if TYPE_CHECKING:
    import sqlite3

    from proxy.control.site_reader import ReadableParts
    from proxy.control.site_states import KnownSite
    from proxy.store.logged import StatusChange
    from proxy.store.site_queries import DayVisits

DAYS = 14
"""The days of a strip, today the last."""


class DayKind(StrEnum):
    """What is known of one day of a site. When several are true, the first of them is the day's."""

    BLOCKED = "blocked"  # direct failed and another route delivered, or the site was blocked when another delivered
    FAILED = "failed"  # no route delivered
    OTHERWISE = "otherwise"  # another route delivered, and direct was not seen to fail
    FREE = "free"  # direct delivered
    NONE = "none"  # not visited, or not recorded


@frozen_dataclass
class SiteDay:
    """One day of a site, from `start` to the next midnight, in seconds since the epoch. The counts are visits."""

    start: float
    kind: DayKind = DayKind.NONE
    direct: int = 0
    otherwise: int = 0
    failed: int = 0


@frozen_dataclass
class SiteDays:
    """The days of a site, the oldest first, and the seconds until its first answer, as the median of its newest visits
    by the route that opens it now; None: there is no such visit in these days."""

    strip: tuple[SiteDay, ...]
    typical_s: float | None


class Spell(NamedTuple):
    """A time for which a site was blocked or likely blocked; `until` is infinite while it is."""

    since: float
    until: float


def day_starts(now: float, count: int = DAYS) -> tuple[float, ...]:
    """Returns the beginnings of the last `count` days of local time, and the end of today."""
    year, month, day, *_ = time.localtime(now)
    return tuple(time.mktime((year, month, day + offset, 0, 0, 0, 0, 0, -1)) for offset in range(1 - count, 2))


def spells_of(changes: Iterable[StatusChange], held: Iterable[Belief]) -> list[Spell]:
    """Returns the times for which a site was blocked or likely blocked on one network. `changes` are those of all its
    scopes there, the oldest first, and `held` the present beliefs about them."""
    open_at: dict[str, float] = {}
    spells: list[Spell] = []
    for change in changes:
        if change.after in TROUBLED:
            open_at.setdefault(change.scope, change.at)
        elif (since := open_at.pop(change.scope, None)) is not None:
            spells.append(Spell(since, change.at))
        elif change.before in TROUBLED:  # it began before the changes that are kept
            spells.append(Spell(0.0, change.at))
    for belief in held:
        since = open_at.pop(belief.scope, float("inf"))
        if belief.state in TROUBLED:
            spells.append(Spell(min(since, belief.began or belief.since), float("inf")))
        elif since < belief.since:  # a suspicion ends without a change when it is not confirmed
            spells.append(Spell(since, belief.since))
    # Without a belief, it is only known that the spell began.
    return [*spells, *(Spell(since, since) for since in open_at.values())]


def days_of(
    visits: Iterable[DayVisits], changes: Sequence[StatusChange], held: Iterable[Belief], starts: Sequence[float]
) -> tuple[SiteDay, ...]:
    """Returns the days of one site on one network. `visits` are those to all its hosts, `changes` as in `spells_of`,
    and `starts` are the beginnings of the days and the end of the last one."""
    spells = spells_of(changes, held)
    began = [change.at for change in changes if change.after in TROUBLED and change.before not in TROUBLED]
    by_day: dict[int, list[DayVisits]] = {}
    for each in visits:
        by_day.setdefault(each.day, []).append(each)
    return tuple(
        _day(by_day.get(place, ()), start, stop, spells, is_found=any(start <= at < stop for at in began))
        for place, (start, stop) in enumerate(pairwise(starts))
    )


def _day(visits: Iterable[DayVisits], start: float, stop: float, spells: Iterable[Spell], *, is_found: bool) -> SiteDay:
    direct = otherwise = by_rule = failed = direct_failed = 0
    for each in visits:
        direct, otherwise, by_rule = direct + each.direct, otherwise + each.otherwise, by_rule + each.by_rule
        failed, direct_failed = failed + each.failed, direct_failed + each.direct_failed
    delivered = direct + otherwise + by_rule
    was_blocked = any(spell.since < stop and spell.until >= start for spell in spells)
    if is_found or (otherwise + by_rule and direct_failed) or (otherwise and was_blocked):
        kind = DayKind.BLOCKED
    elif failed and not delivered:
        kind = DayKind.FAILED
    elif otherwise + by_rule:
        kind = DayKind.OTHERWISE
    else:
        kind = DayKind.FREE if direct else DayKind.NONE
    return SiteDay(start, kind, direct, otherwise + by_rule, failed)


async def site_days(
    parts: ReadableParts, sites: Sequence[KnownSite], now: float, count: int = DAYS
) -> Mapping[str, SiteDays]:
    """Returns the last `count` days of sites on this network, by `KnownSite.name`, with three queries of the log. Meant
    for the rows of one page: see `site_queries.HOSTS_MAX`."""
    starts, network = day_starts(now, count), parts.network()
    names = [*dict.fromkeys(site.name for site in sites)]
    scopes = {name: scopes_of(name) for name in names}

    def read(
        db: sqlite3.Connection,
    ) -> tuple[dict[str, list[str]], list[DayVisits], list[StatusChange], dict[str, float]]:
        domains = [name[2:] for name in names if name.startswith("*.")]
        below = site_queries.hosts_below(db, domains, starts[0])
        hosts = {name: below[name[2:]] if name.startswith("*.") else [name] for name in names}
        routes = {host: site.state.works_by for site in sites for host in hosts[site.name]}
        every = [scope for name in names for scope in scopes[name]]
        return (
            hosts,
            site_queries.day_visits(db, [*routes], starts, network),
            site_queries.changes_of(db, [*dict.fromkeys(every)]),
            site_queries.typical_seconds(db, routes, starts[0], network),
        )

    hosts, visits, changes, typical = await parts.read(read)
    by_host: dict[str, list[DayVisits]] = {}
    for each in visits:
        by_host.setdefault(each.host, []).append(each)
    by_scope: dict[str, list[StatusChange]] = {}
    for change in changes:
        if change.network == network:
            by_scope.setdefault(change.scope, []).append(change)
    every = frozenset(scope for name in names for scope in scopes[name])
    beliefs = {it.scope: it for it in parts.beliefs.held(every, now=time.time()) if it.network == network}
    found: dict[str, SiteDays] = {}
    for name in names:
        held = [beliefs[scope] for scope in scopes[name] if scope in beliefs]
        of_site = sorted((it for scope in scopes[name] for it in by_scope.get(scope, ())), key=lambda it: it.at)
        seen = [each for host in hosts[name] for each in by_host.get(host, ())]
        seconds = sorted(typical[host] for host in hosts[name] if host in typical)
        found[name] = SiteDays(days_of(seen, of_site, held, starts), seconds[len(seconds) // 2] if seconds else None)
    return found
