from __future__ import annotations

import time

from proxy.config.schema import Log
from proxy.control.site_days import DayKind, SiteDay, Spell, day_starts, days_of, site_days, spells_of
from proxy.control.site_reader import SiteReader
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import Belief, State
from proxy.store.logged import StatusChange
from proxy.store.site_queries import DayVisits
from tests.support.control_world import World
from tests.support.outcomes import AWAY, HOME, TOR, delivered, failed, outcome, rescued, works
from tests.support.rows import each_row

DAY = 86_400.0
STARTS = (0.0, DAY, 2 * DAY)
HOST = "blog.example.org"


def visits(day: int = 0, **counts: int) -> DayVisits:
    every = dict.fromkeys(("direct", "otherwise", "by_rule", "failed", "direct_failed"), 0)
    return DayVisits(HOST, HOME, day, **{**every, **counts})


def change(at: float, before: State, after: State) -> StatusChange:
    return StatusChange(at, HOST, HOME, before, after, "sni_reset", "why")


BLOCKED_AT = change(DAY / 2, State.SUSPECT, State.BLOCKED)
FREED_AT = change(DAY * 1.5, State.BLOCKED, State.WORKS)


@each_row(
    ("seen", "kind"),
    [
        ((), DayKind.NONE),
        ((visits(direct=3),), DayKind.FREE),
        ((visits(direct=3, otherwise=1, direct_failed=1),), DayKind.BLOCKED),
        ((visits(by_rule=1, direct_failed=1),), DayKind.BLOCKED),
        ((visits(failed=1, direct_failed=1),), DayKind.FAILED),
        ((visits(failed=1, direct=9),), DayKind.FREE),
        ((visits(otherwise=1),), DayKind.OTHERWISE),
        ((visits(by_rule=1),), DayKind.OTHERWISE),
        ((visits(direct=1), visits(failed=1, otherwise=1, direct_failed=2)), DayKind.BLOCKED),
    ],
)
def test_a_day_is_what_its_visits_show(seen: tuple[DayVisits, ...], kind: DayKind) -> None:
    day, other = days_of(seen, [], [], STARTS)
    assert (day.kind, other.kind) == (kind, DayKind.NONE)


def test_a_day_without_a_record_is_never_free_nor_blocked_also_within_a_spell() -> None:
    starts = tuple(place * DAY for place in range(5))
    held = [Belief(HOST, HOME, State.BLOCKED, began=DAY / 2, since=DAY / 2)]
    days = days_of([visits(2, otherwise=2), visits(3, by_rule=1)], [BLOCKED_AT], held, starts)
    assert [day.kind for day in days] == [DayKind.NONE, DayKind.NONE, DayKind.BLOCKED, DayKind.OTHERWISE]


def test_the_day_on_which_a_block_began_is_blocked_without_a_visit_that_is_kept() -> None:
    found = change(DAY * 1.2, State.UNKNOWN, State.SUSPECT)
    assert [day.kind for day in days_of([], [found], [], STARTS)] == [DayKind.NONE, DayKind.BLOCKED]


def test_spells_end_with_a_change_or_with_the_belief() -> None:
    assert spells_of([BLOCKED_AT, FREED_AT], []) == [Spell(DAY / 2, DAY * 1.5)]
    assert spells_of([FREED_AT], []) == [Spell(0.0, DAY * 1.5)]
    assert spells_of([BLOCKED_AT], [Belief(HOST, HOME, State.BLOCKED, began=7.0)]) == [Spell(7.0, float("inf"))]
    assert spells_of([BLOCKED_AT], [Belief(HOST, HOME, State.WORKS, since=DAY)]) == [Spell(DAY / 2, DAY)]
    assert spells_of([BLOCKED_AT], []) == [Spell(DAY / 2, DAY / 2)]


def test_days_begin_at_local_midnight_also_where_the_clock_is_changed() -> None:
    starts = day_starts(1_774_800_000.0, 30)  # 29 March 2026
    assert len(starts) == 31
    assert all(time.localtime(start)[3:6] == (0, 0, 0) for start in starts)
    assert starts[-2] <= 1_774_800_000.0 < starts[-1]
    assert sorted(set(starts)) == [*starts]


async def test_the_days_and_seconds_of_the_sites_of_a_page() -> None:
    world, now = World(), time.time()
    today = day_starts(now, 1)[0]
    world.see(works(HOST, at=today - 5 * DAY))
    world.see(*(rescued(host=HOST, at=today + at) for at in (1, 2, 3)))
    world.see(outcome(failed(), delivered(TOR, elapsed=0.7), host="other.example", at=today + 1))
    world.see(rescued(host=HOST, at=today - DAY), network=AWAY)
    world.store.flush()
    known = await SiteReader(world.parts).known(now)
    assert HOST in {site.name for site in known}
    found = await site_days(world.parts, known, now)
    kinds = [day.kind for day in found[HOST].strip]
    assert kinds == [*[DayKind.NONE] * 8, DayKind.FREE, *[DayKind.NONE] * 4, DayKind.BLOCKED]
    assert found[HOST].strip[-1] == SiteDay(today, DayKind.BLOCKED, direct=0, otherwise=3, failed=0)
    assert found[HOST].typical_s == 0.1
    world.close()


async def test_a_domain_has_the_days_of_its_hosts() -> None:
    world, now = World(), time.time()
    scope = Belief("*.example.org", HOME, State.BLOCKED, "dns", score=4.0, since=now - 60, until=now + 9e5)
    world.beliefs = Beliefs(world.settings.detect, [scope])
    world.store.record(rescued(host=HOST, at=now), network=HOME)
    world.store.flush()
    known = await SiteReader(world.parts).known(now)
    found = await site_days(world.parts, known, now)
    assert [day.kind for day in found["*.example.org"].strip][-2:] == [DayKind.NONE, DayKind.BLOCKED]
    world.close()


async def test_by_default_a_day_on_which_a_site_simply_worked_has_no_record() -> None:
    world, now = World(), time.time()
    world.store.configure(Log())
    today = day_starts(now, 1)[0]
    world.see(works(HOST, at=today - DAY), rescued(host=HOST, at=today), rescued(host=HOST, at=today))
    world.store.flush()
    known = [SiteReader(world.parts).states(now).host(HOST)]
    strip = (await site_days(world.parts, known, now))[HOST].strip
    assert [day.kind for day in strip[-2:]] == [DayKind.NONE, DayKind.BLOCKED]
    world.close()
