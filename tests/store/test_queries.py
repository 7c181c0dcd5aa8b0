from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from proxy.model import (
    Action,
    Belief,
    Change,
    NetworkId,
    Protocol,
    Stage,
    State,
    Symptom,
)
from proxy.store import queries
from proxy.store.logged import LoggedAttempt, LoggedConnection, StatusChange
from proxy.store.rows import Batch
from tests.store.written import keep
from tests.support.outcomes import HOME, TOR, VPS, delivered, down, failed, outcome, rescued, works
from tests.support.rows import each_row

AT = 1_700_000_000.0


def hosts(rows: list[LoggedConnection]) -> list[str]:
    return [row.host for row in rows]


def test_a_row_says_the_whole_story(db: sqlite3.Connection) -> None:
    attempt = replace(
        failed(Symptom.DROPPED, error="never acknowledged"), started=0.0, elapsed=0.8, evidence={"retransmits": 2}
    )
    seen = replace(
        outcome(attempt, replace(delivered(TOR), started=0.8, elapsed=0.3), host="a.example", at=AT),
        bytes_up=517,
        bytes_down=4096,
        duration=12.5,
    )
    keep(db, seen)

    (row,) = queries.log(db)

    assert row == LoggedConnection(
        id=1,
        at=AT,
        host="a.example",
        port=443,
        inbound="connect",
        action="AUTO",
        why="AUTO: nothing is known",
        winner="tor",
        error="",
        protocol="tls",
        bytes_up=517,
        bytes_down=4096,
        duration_s=12.5,
        closed_by="byway",
        network=HOME,
        attempts=(
            LoggedAttempt(
                route="direct",
                stage="first_byte",
                symptom="dropped",
                error="never acknowledged",
                started_s=0.0,
                elapsed_s=0.8,
                address="",
                evidence={"retransmits": 2},
            ),
            LoggedAttempt(
                route="tor",
                stage="done",
                symptom="",
                error="",
                started_s=0.8,
                elapsed_s=0.3,
                address="192.0.2.1:443",
                evidence={},
            ),
        ),
    )


@pytest.fixture
def varied(db: sqlite3.Connection) -> sqlite3.Connection:
    keep(
        db,
        works("direct.example", at=AT),
        rescued(host="blog.example.org", by=TOR, at=AT + 1),
        outcome(delivered(VPS), host="example.org", at=AT + 2, action=Action.RELAY),
        down(host="down.example"),
        outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), delivered(VPS), host="notexample.org", at=AT + 3),
        outcome(host="refused.example", at=AT + 4, action=Action.BLOCK, error="refused", protocol=Protocol.NONE),
    )
    return db


def test_the_newest_come_first(varied: sqlite3.Connection) -> None:
    assert hosts(queries.log(varied, limit=3)) == ["refused.example", "notexample.org", "example.org"]


@each_row(
    ("asked", "found"),
    [
        ({"since": AT + 2}, ["refused.example", "notexample.org", "example.org"]),
        ({"site": "example.org"}, ["example.org", "blog.example.org"]),
        ({"site": "nobody.example"}, []),
        ({"route": "vps"}, ["notexample.org", "example.org"]),
        ({"route": "tor"}, ["notexample.org", "blog.example.org", "down.example"]),
        ({"outcome": "direct"}, ["direct.example"]),
        ({"outcome": "relay"}, ["notexample.org", "example.org", "blog.example.org"]),
        ({"outcome": "rescued"}, ["blog.example.org"]),
        ({"outcome": "failed"}, ["refused.example", "down.example"]),
        ({"outcome": "relay", "route": "tor", "site": "example.org"}, ["blog.example.org"]),
        ({"id": 1}, ["direct.example"]),
        ({"id": 99}, []),
        ({"limit": 0}, []),
        ({"limit": -5}, []),
    ],
)
def test_filters(varied: sqlite3.Connection, asked: dict[str, object], found: list[str]) -> None:
    assert hosts(queries.log(varied, **asked)) == found  # type: ignore[arg-type]  # one table for all of them


def test_another_outcome_is_refused_by_name(db: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match="direct, relay, rescued, failed"):
        queries.log(db, outcome="1=1")


STRANGE = [
    "a'b.example",
    'a"b.example',
    "nul\0host.example",
    "lone\ud800surrogate.example",
    "'; DROP TABLE outcome; --",
    "100%.example",
    "under_score.example",
    "back\\slash.example",
    "бүк.example",
    "\x1b[31mred",
    "",
]


@pytest.mark.parametrize("host", STRANGE)
def test_H8_strange_hosts_come_back_as_they_were(db: sqlite3.Connection, host: str) -> None:
    seen = replace(rescued(host="x.example", at=AT), host=host or "x.example", error=host)
    keep(db, seen, works("other.example"))
    name = host or "x.example"

    (row,) = queries.log(db, site=name)
    assert (row.host, row.error) == (name, host)
    batch = Batch()
    change = Change(AT, host, HOME, State.UNKNOWN, State.SUSPECT, "ip", host, Belief(host, HOME))
    batch.add_change(change, in_ledger=True, stored=True)
    batch.write(db)
    assert [(found.scope, found.why) for found in queries.changes(db, host)] == [(host, host)]
    assert queries.beliefs(db)[0] == [Belief(host, HOME)]


@pytest.mark.parametrize(("asked", "found"), [("under_score.example", 1), ("100%.example", 1), ("%", 0), ("_", 0)])
def test_wildcards_in_a_name_mean_themselves(db: sqlite3.Connection, asked: str, found: int) -> None:
    keep(db, works("a.under_score.example"), works("a.underXscore.example"), works("a.100%.example"))

    assert len(queries.log(db, site=asked)) == found


def test_the_ledger(db: sqlite3.Connection) -> None:
    batch = Batch()
    for number, (scope, after) in enumerate([("a.example", State.SUSPECT), ("b.example", State.SUSPECT)] * 2):
        change = Change(AT + number, scope, HOME, State.UNKNOWN, after, "ip", f"line {number}", None)
        batch.add_change(change, in_ledger=True, stored=False)
    batch.write(db)

    assert [row.why for row in queries.changes(db, "a.example")] == ["line 2", "line 0"]
    assert queries.changes(db, limit=1) == [
        StatusChange(AT + 3, "b.example", HOME, before="unknown", after="suspect", cause="ip", why="line 3")
    ]


def test_many_rows_bring_all_their_attempts(db: sqlite3.Connection) -> None:
    keep(db, *(rescued(host=f"h{number}.example", at=AT + number) for number in range(1200)))

    rows = queries.log(db, limit=1200)

    assert [len(row.attempts) for row in rows] == [2] * 1200


def test_H4_evidence_that_is_no_json_is_left_out(varied: sqlite3.Connection) -> None:
    varied.execute("UPDATE attempt SET evidence = '{' WHERE route = 'tor'")
    varied.execute("UPDATE attempt SET evidence = '[1]' WHERE route = 'direct'")

    assert all(attempt.evidence == {} for row in queries.log(varied) for attempt in row.attempts)


def test_places_lead_to_older_and_newer_connections(db: sqlite3.Connection) -> None:
    """Also where several began at one moment, and when new ones come in between."""
    keep(db, *(works(f"h{number}", at=AT + number // 3) for number in range(10)))
    newest = queries.log(db, limit=4)
    assert hosts(newest) == ["h9", "h8", "h7", "h6"]
    keep(db, works("later", at=AT + 100))
    older = queries.log(db, older=queries.Place.of(newest[-1]), limit=4)
    assert hosts(older) == ["h5", "h4", "h3", "h2"]
    assert hosts(queries.log(db, newer=queries.Place.of(older[0]), limit=4)) == hosts(newest)
    assert hosts(queries.log(db, newer=queries.Place.of(newest[0]))) == ["later"]
    db.execute("DELETE FROM outcome WHERE host = 'h6'")
    assert hosts(queries.log(db, older=queries.Place.of(newest[-1]), limit=1)) == ["h5"], "its own row is gone"


def test_connections_of_one_network(db: sqlite3.Connection) -> None:
    keep(db, works("home.example", at=AT))
    batch = Batch()
    batch.add_outcome(7, works("cafe.example", at=AT), NetworkId("cafe"))
    batch.write(db)
    assert hosts(queries.log(db, network="cafe")) == ["cafe.example"]
    assert hosts(queries.log(db, network=HOME)) == ["home.example"]


@pytest.mark.parametrize(
    "selected",
    [
        *({"site": "example.org"}, {"route": "tor"}, {"network": "n"}, {"since": 1.0, "until": AT}),
        *({"outcome": name} for name in queries.OUTCOMES),
        {"site": "example.org", "route": "tor", "outcome": "rescued", "network": "n", "older": queries.Place(AT, 1)},
        {"newer": queries.Place(AT, 1), "site": "example.org"},
    ],
)
def test_a_filter_reads_an_index_alone(db: sqlite3.Connection, selected: queries.LogFilter) -> None:
    """So 100,000 connections that do not match cost some milliseconds: only rows of the answer are read."""
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    queries.log(db, **selected)
    db.set_trace_callback(None)
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert any("USING COVERING INDEX outcome_listed" in step for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan
