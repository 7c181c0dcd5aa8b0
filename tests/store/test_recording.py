"""What was written down comes back as it was, as far as it was written down."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.model import DIRECT, Action, HttpRequest, Inbound, Outcome, Plan, Request, Route, SignalId, Symptom
from proxy.store.file import open_store
from proxy.store.recording import RecordedConnection, _attempts, read_recording
from proxy.store.rows import Batch
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome, rescued, works

AT = 1_700_000_000.0

GIVEN = Plan(Action.AUTO, (DIRECT, TOR, Route(("vps",), ("tlsrec",))), "AUTO: nothing is known")
CHANGED = replace(GIVEN.via("tor"), why="addon pin: via tor", before=GIVEN)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    opened = open_store(None).db
    yield opened
    opened.close()


def keep(db: sqlite3.Connection, *seen: Outcome, by_name: bool = True) -> None:
    (last,) = db.execute("SELECT max(id) FROM outcome").fetchone()
    batch = Batch()
    for number, one in enumerate(seen, start=(last or 0) + 1):
        if by_name:
            batch.add_outcome(number, one, HOME)
        batch.count(one, HOME)
    batch.write(db)


def as_kept(seen: Outcome, row_id: int) -> RecordedConnection:
    """Without what the log leaves out."""
    asked = seen.request
    return RecordedConnection(replace(seen, request=Request(row_id, asked.destination, asked.inbound, client="")), HOME)


def test_outcomes_come_back_the_oldest_first(db: sqlite3.Connection) -> None:
    later = rescued(host="b.example", at=AT + 1)
    attempt = replace(
        failed(Symptom.RESET, error="reset by peer"), evidence={"retransmits": 2, "dns": SignalId.DNS_BOGON}
    )
    first = replace(
        outcome(attempt, delivered(TOR), host="a.example", at=AT), bytes_up=9, duration=1.5, plan=CHANGED, error="x"
    )
    refused = replace(outcome(host="c.example", at=AT + 2), plan=replace(GIVEN.block("no"), before=GIVEN))
    keep(db, later, first, refused)

    assert read_recording(db, since=0).connections == (as_kept(first, 2), as_kept(later, 1), as_kept(refused, 3))
    assert read_recording(db, since=AT + 1).connections == (as_kept(later, 1), as_kept(refused, 3))


def test_what_a_plain_request_asked_for_is_not_kept(db: sqlite3.Connection) -> None:
    seen = outcome(delivered(TOR), inbound=Inbound.HTTP)
    asked = replace(seen.request, http=HttpRequest("POST", "/secret"))
    keep(db, replace(seen, request=asked))

    (found,) = read_recording(db, since=0).connections

    assert found.outcome.request.http == HttpRequest("GET", "/")


def test_what_an_older_byway_wrote_is_counted() -> None:
    older = sqlite3.connect(":memory:")
    older.executescript((Path(__file__).with_name("layout_2.sql")).read_text(encoding="utf-8"))
    older.execute("ALTER TABLE outcome ADD COLUMN plan TEXT")
    found = read_recording(older, since=0)
    older.close()

    assert (found.connections, found.older, found.senseless) == ((), 1, 0)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE outcome SET plan = '[]'",
        "UPDATE outcome SET plan = '{'",
        "UPDATE outcome SET plan = '{}'",
        """UPDATE outcome SET plan = '{"routes": 5, "intercept": false}'""",
        """UPDATE outcome SET plan = '{"routes": [], "intercept": false, "before": 5}'""",
        "UPDATE outcome SET action = 'MAYBE'",
        "UPDATE outcome SET at = 'once'",
        "UPDATE attempt SET stage = 'gone'",
        "UPDATE attempt SET elapsed_s = 'long'",
    ],
)
def test_H4_a_row_that_makes_no_sense_is_left_out(db: sqlite3.Connection, change: str) -> None:
    keep(db, rescued(at=AT))
    db.execute(change)

    found = read_recording(db, since=0)

    assert (found.connections, found.senseless) == ((), 1)


def test_what_was_not_kept_by_name_is_counted(db: sqlite3.Connection) -> None:
    keep(db, *[works(at=AT)] * 5, by_name=False)
    keep(db, works(host="a.example", at=AT), rescued(at=AT))

    assert read_recording(db, since=AT).unnamed == 5
    assert read_recording(db, since=AT + 7200).unnamed == 0


def test_only_the_newest_are_read_when_there_are_too_many(db: sqlite3.Connection) -> None:
    keep(db, *(outcome(delivered(VPS), host=f"h{n}.example", at=AT + n) for n in range(5)))

    found = read_recording(db, since=0, rows_max=2)

    assert found.cut
    assert len(_attempts(db, 0, rows_max=2)) == 2, "nor is more of them held in memory"
    assert [one.outcome.host for one in found.connections] == ["h3.example", "h4.example"]
    assert not read_recording(db, since=0, rows_max=5).cut
