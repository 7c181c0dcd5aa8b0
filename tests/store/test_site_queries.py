from __future__ import annotations

import sqlite3
from dataclasses import replace

from proxy.model import DIRECT, Action, ClosedBy, Route, Symptom
from proxy.store import site_queries
from proxy.store.rows import Batch
from proxy.store.site_queries import DayVisits
from tests.store.written import keep
from tests.support.outcomes import AWAY, HOME, TOR, VPS, delivered, failed, outcome, pending, rescued, works

AT = 1_700_000_000.0
DAY = 86_400.0
STARTS = (AT, AT + DAY, AT + 2 * DAY, AT + 3 * DAY)


def test_the_visits_of_each_day_by_what_delivered_them(db: sqlite3.Connection) -> None:
    keep(
        db,
        works("free.example", at=AT),
        rescued(host="blocked.example", at=AT + 1),
        outcome(delivered(VPS), host="blocked.example", at=AT + DAY),
        outcome(delivered(Route((), ("split",))), host="blocked.example", at=AT + DAY + 1),
        outcome(delivered(VPS), host="blocked.example", at=AT + DAY + 2, action=Action.RELAY),
        outcome(failed(), host="blocked.example", at=AT + 2 * DAY),
        works("other.example", at=AT),
        works("free.example", at=AT - 1),
        works("free.example", at=AT + 3 * DAY),
    )
    found = site_queries.day_visits(db, ["free.example", "blocked.example", "new.example"], STARTS, HOME)
    assert sorted(found, key=lambda each: (each.host, each.day)) == [
        DayVisits("blocked.example", HOME, 0, direct=0, otherwise=1, by_rule=0, failed=0, direct_failed=1),
        DayVisits("blocked.example", HOME, 1, direct=0, otherwise=2, by_rule=1, failed=0, direct_failed=0),
        DayVisits("blocked.example", HOME, 2, direct=0, otherwise=0, by_rule=0, failed=1, direct_failed=1),
        DayVisits("free.example", HOME, 0, direct=1, otherwise=0, by_rule=0, failed=0, direct_failed=0),
    ]


def test_a_direct_attempt_that_was_left_has_not_failed(db: sqlite3.Connection) -> None:
    left = replace(failed(Symptom.ABANDONED), elapsed=0.9)
    keep(db, outcome(pending(), delivered(TOR), at=AT), outcome(left, delivered(TOR), at=AT))
    (day,) = site_queries.day_visits(db, ["blog.example.org"], STARTS, HOME)
    assert (day.otherwise, day.direct_failed) == (2, 0)


def test_visits_that_came_to_nothing_are_told_from_failures(db: sqlite3.Connection) -> None:
    left = replace(outcome(failed(), at=AT), closed_by=ClosedBy.CLIENT, duration=0.2)
    keep(
        db,
        left,
        replace(left, duration=5.0),
        replace(outcome(at=AT, action=Action.BLOCK), closed_by=ClosedBy.BYWAY),
    )
    (day,) = site_queries.day_visits(db, ["blog.example.org"], STARTS, HOME)
    assert (day.failed, day.direct) == (1, 0)


def test_networks_are_told_apart(db: sqlite3.Connection) -> None:
    batch = Batch()
    batch.add_outcome(1, works(at=AT), HOME)
    batch.add_outcome(2, rescued(at=AT), AWAY)
    batch.write(db)
    here = site_queries.day_visits(db, ["blog.example.org"], STARTS, HOME)
    assert [(each.network, each.direct) for each in here] == [(HOME, 1)]
    every = site_queries.day_visits(db, ["blog.example.org"], STARTS)
    assert {(each.network, each.direct, each.otherwise) for each in every} == {(HOME, 1, 0), (AWAY, 0, 1)}


def test_days_are_found_by_the_index(db: sqlite3.Connection) -> None:
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    site_queries.day_visits(db, ["a.example", "b.example"], STARTS, HOME)
    db.set_trace_callback(None)
    (statement,) = asked
    plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}"))
    assert "SEARCH outcome USING INDEX outcome_host (host=? AND at>? AND at<?)" in plan
    assert "SCAN outcome" not in plan


def test_nothing_is_asked_for_nothing(db: sqlite3.Connection) -> None:
    assert site_queries.day_visits(db, [], STARTS, HOME) == []
    assert site_queries.day_visits(db, ["a.example"], [], HOME) == []
    assert site_queries.hosts_below(db, [], AT) == {}
    assert site_queries.changes_of(db, []) == []


def test_the_typical_seconds_are_the_median_until_the_first_answer(db: sqlite3.Connection) -> None:
    keep(
        db,
        *(outcome(failed(elapsed=0.3), delivered(TOR, started=0.3, elapsed=took), at=AT) for took in (0.1, 0.2, 5.0)),
        outcome(delivered(DIRECT, elapsed=9.0), at=AT + 1),
        works("free.example", at=AT),
        outcome(failed(), host="down.example", at=AT),
    )
    hosts = {"blog.example.org": "tor", "free.example": "", "down.example": "", "new.example": ""}
    assert site_queries.typical_seconds(db, hosts, AT, HOME) == {"blog.example.org": 0.5, "free.example": 0.1}
    assert site_queries.typical_seconds(db, {"blog.example.org": ""}, AT, HOME) == {"blog.example.org": 5.3}
    assert site_queries.typical_seconds(db, hosts, AT, AWAY) == {}


def test_the_hosts_below_a_domain(db: sqlite3.Connection) -> None:
    keep(db, *(works(host, at=AT) for host in ("site.example", "a.site.example", "asite.example", "b.a.site.example")))
    keep(db, works("old.site.example", at=AT - 1))
    below = site_queries.hosts_below(db, ["site.example", "a.site.example", "no.example"], AT)
    assert {domain: sorted(hosts) for domain, hosts in below.items()} == {
        "site.example": ["a.site.example", "b.a.site.example", "site.example"],
        "a.site.example": ["a.site.example", "b.a.site.example"],
        "no.example": [],
    }
