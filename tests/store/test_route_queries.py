from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from proxy.model import (
    DIRECT,
    Attempt,
    Belief,
    Change,
    NetworkId,
    Route,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from proxy.store import route_queries
from proxy.store.route_queries import RelayHalf, RelaySite, RelaySuccess, RelayUse, RouteHour, RouteSuccess, SiteRoute
from proxy.store.rows import NO_ROUTE, Batch
from tests.store.written import keep
from tests.support.outcomes import AWAY, HOME, TOR, VPS, delivered, failed, outcome, rescued, works

AT = 1_700_000_000.0


def test_how_routes_did(db: sqlite3.Connection) -> None:
    keep(db, works(at=AT), works(at=AT), rescued(by=TOR, at=AT), works(at=AT - 7200))
    keep(db, rescued(by=TOR, at=AT))  # adds to what is there

    assert route_queries.route_success(db, AT) == [
        RouteSuccess("direct", attempts=4, delivered=2, failed=2, share=0.5, bytes_up=0, bytes_down=0),
        RouteSuccess("tor", attempts=2, delivered=2, failed=0, share=1.0, bytes_up=0, bytes_down=0),
    ]
    assert route_queries.route_success(db, 0.0)[0].delivered == 3
    hours = route_queries.route_hours(db, AT)
    assert [hour for hour in hours if hour.route == "tor"] == [RouteHour(int(AT) // 3600 * 3600, "tor", 2, 0)]
    assert sum(hour.delivered for hour in route_queries.route_hours(db, 0.0) if hour.route == "direct") == 3
    assert route_queries.relay_success(db, AT) == [RelaySuccess("tor", delivered=2, failed=0)]


def test_how_fast_and_why_not_relays_opened_paths(db: sqlite3.Connection) -> None:
    def opened(route: Route, seconds: object) -> Attempt:
        return replace(delivered(route), evidence=as_evidence({"opened_s": seconds}))

    refused = failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR, error="tor refused")
    keep(
        db,
        outcome(opened(TOR, 0.5), at=AT),
        outcome(opened(Route(("tor",), ("tlsrec",)), 0.25), at=AT + 1),
        outcome(opened(VPS, "damaged"), delivered(VPS), delivered(DIRECT), at=AT),
        outcome(opened(TOR, 9.0), at=AT - 7200),
        outcome(refused, delivered(VPS), at=AT - 50),
        outcome(replace(refused, evidence={"relay": "refused"}), delivered(VPS), at=AT - 40),
        outcome(failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR), delivered(VPS), at=AT),
    )
    handshakes = route_queries.relay_handshakes(db, AT - 60)
    assert {relay: sorted(times) for relay, times in handshakes.items()} == {"tor": [0.25, 0.5]}
    assert route_queries.relay_failures(db) == [
        {
            "relay": "tor",
            "at": AT - 40,
            "symptom": "relay_down",
            "error": "tor refused",
            "evidence": {"relay": "refused"},
        }
    ]


def test_relays_by_half_hours(db: sqlite3.Connection) -> None:
    down, half = failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), int(AT) // 1800 * 1800
    keep(
        db,
        outcome(delivered(TOR), at=half - 1),
        outcome(delivered(TOR), at=half),
        outcome(down, delivered(TOR), at=half + 1799),
    )
    keep(db, outcome(delivered(TOR), at=half + 60), network=AWAY)  # the sums of all networks
    keep(db, outcome(delivered(TOR), at=half + 1800))
    assert route_queries.relay_halves(db, AT) == [
        RelayHalf(half, "tor", 3, 0),
        RelayHalf(half, "vps", 0, 1),
        RelayHalf(half + 1800, "tor", 1, 0),
    ]
    plan, *_ = db.execute(
        "EXPLAIN QUERY PLAN SELECT relay FROM relay_hour WHERE hour >= ? ORDER BY hour, relay", (half,)
    )
    assert "USING PRIMARY KEY (hour>?)" in plan[3], "no row of before is read"


def test_sites_that_a_relay_opens_and_direct_does_not(db: sqlite3.Connection) -> None:
    def believe(scope: str, state: State, last_good: str, network: NetworkId = HOME) -> None:
        held = Belief(scope, network, state, "sni_reset", score=4.0, since=AT, last_good=last_good, last_good_at=AT)
        batch = Batch()
        batch.add_change(Change(AT, scope, network, State.UNKNOWN, state, "", "", held), in_ledger=False, stored=True)
        batch.write(db)

    believe("a.example", State.BLOCKED, "tor")
    believe("b.example", State.BLOCKED, "tor|tlsrec")
    believe("c.example", State.BLOCKED, "tor>vps")
    believe("d.example", State.BLOCKED, "direct|tlsrec")
    believe("e.example", State.BLOCKED, "")
    believe("f.example", State.WORKS, "tor")
    believe("g.example", State.BLOCKED, "tor", AWAY)
    assert route_queries.relay_sites(db, HOME) == {"tor": 2, "tor>vps": 1}
    found = route_queries.sites_by_relay(db, HOME, "tor", first=0, count=50)
    assert found == [RelaySite("a.example", AT), RelaySite("b.example", AT)]
    assert route_queries.sites_by_relay(db, HOME, "tor", first=1, count=1) == found[1:]
    assert route_queries.sites_by_relay(db, HOME, "to", first=0, count=50) == []


def test_only_the_newest_connections_are_looked_through_for_handshakes_and_faults(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = replace(delivered(TOR), evidence=as_evidence({"opened_s": 0.5}))
    keep(db, outcome(opened, at=AT), outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), delivered(TOR), at=AT))
    keep(db, works(at=AT), works(at=AT))
    assert (list(route_queries.relay_handshakes(db, 0.0)), len(route_queries.relay_failures(db))) == (["tor"], 1)
    monkeypatch.setattr(route_queries, "RECENT_ROWS", 2)
    assert (route_queries.relay_handshakes(db, 0.0), route_queries.relay_failures(db)) == ({}, [])


def test_what_each_route_did_for_each_host_that_failed(db: sqlite3.Connection) -> None:
    keep(db, works("fine.example", at=AT), *(rescued(by=TOR, host="blog.example", at=AT + n) for n in range(3)))
    keep(db, works("blog.example", at=AT + 9), rescued(by=VPS, host="old.example", at=AT - 1))
    hosts = ["fine.example", "blog.example", "old.example"]
    found = route_queries.site_routes(db, AT, HOME, hosts)
    assert sorted(found, key=lambda each: each.route) == [
        SiteRoute("blog.example", "direct", 1, 3),
        SiteRoute("blog.example", "tor", 3, 0),
    ]
    assert route_queries.site_routes(db, AT, "another network", hosts) == []
    assert route_queries.site_routes(db, AT, HOME, ["fine.example"]) == []
    assert route_queries.site_routes(db, AT, HOME, []) == []


def test_a_relay_that_is_retried_counts_once_for_a_visit(db: sqlite3.Connection) -> None:
    down = failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR)
    abandoned = failed(Symptom.ABANDONED, Stage.RELAY, VPS)
    keep(
        db,
        outcome(down, down, down, at=AT),
        outcome(down, down, delivered(TOR), at=AT),
        outcome(abandoned, failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), delivered(TOR), at=AT),
    )
    told = [(it.relay, it.delivered, it.failed) for it in route_queries.relay_success(db, AT)]
    assert told == [("tor", 2, 1), ("vps", 0, 1)]
    shown = [(it.route, it.delivered, it.failed) for it in route_queries.route_success(db, AT)]
    assert shown == [("tor", 2, 1), ("vps", 0, 1)]


def test_what_sites_did_is_no_failure_of_a_relay(db: sqlite3.Connection) -> None:
    """A typo, a closed port and a dead site: the relay did its work."""
    refused, silent = failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR), failed(Symptom.SILENT, route=TOR)
    keep(
        db,
        outcome(failed(Symptom.NO_NAME, Stage.RESOLVE), refused, at=AT),
        outcome(failed(Symptom.REFUSED, Stage.CONNECT), refused, at=AT),
        outcome(failed(Symptom.SILENT), silent, at=AT),
        outcome(refused, delivered(VPS), at=AT),  # its right
        *(rescued(by=TOR, at=AT) for _ in range(3)),
        outcome(failed(), failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), at=AT),
        outcome(failed(), silent, delivered(VPS), at=AT),  # another relay brought it
    )
    told = {it.route: (it.delivered, it.failed) for it in route_queries.route_success(db, AT)}
    assert told["tor"] == (3, 2)
    of_relays = {it.relay: (it.delivered, it.failed) for it in route_queries.relay_success(db, AT)}
    assert of_relays["tor"] == (3, 2)


def test_when_each_relay_was_last_used(db: sqlite3.Connection) -> None:
    refused = failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR, error="tor refused")
    keep(
        db,
        rescued(by=Route(("tor",), ("tlsrec",)), at=AT - 9),
        rescued(by=TOR, at=AT),
        outcome(refused, at=AT + 1),
        outcome(failed(Symptom.RESET, route=VPS), at=AT + 2),
    )
    assert route_queries.relay_uses(db, HOME) == [RelayUse("tor", AT, AT + 1, "tor refused")]
    assert route_queries.relay_uses(db, AWAY) == []


def test_visits_between_moments_by_what_opened_them(db: sqlite3.Connection) -> None:
    start = int(AT) // 3600 * 3600
    keep(
        db,
        *(works("a.example", at=start + hour * 3600 + 5) for hour in (0, 0, 1, 2)),
        rescued(host="b.example", at=start + 3600),
        outcome(failed(), host="c.example", at=start + 2 * 3600, error="no route"),
        works("before.example", at=start - 1),
        works("after.example", at=start + 3 * 3600),
    )
    places = [start, start + 3600, start + 3 * 3600]
    found = {(each.place, each.route): each.count for each in route_queries.visits(db, places) if each.count}
    assert found == {(0, "direct"): 2, (1, "direct"): 2, (1, "tor"): 1, (1, NO_ROUTE): 1}
    assert route_queries.visits(db, places[:1]) == []
    assert route_queries.first_hour(db) == start - 3600
    plan: list[str] = []
    db.set_trace_callback(plan.append)
    route_queries.visits(db, places)
    db.set_trace_callback(None)
    steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {plan[0]}")]
    assert any(step.startswith("SEARCH route_hour USING PRIMARY KEY") for step in steps), steps


def test_a_log_without_visits_has_no_first_hour(db: sqlite3.Connection) -> None:
    assert route_queries.first_hour(db) is None
