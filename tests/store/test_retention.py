"""What is too old goes, and by which clock; how the writer goes about it is in test_writer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.model import StoredResult
from proxy.store import retention as retiring
from proxy.store.file import open_store, transaction
from proxy.store.queries import results
from proxy.store.retention import SteadyClock, is_old, keep_newest, remove_old
from proxy.store.rows import Batch
from tests.support.outcomes import HOME, rescued

NOW = 1_700_000_000.0
DAY = 86_400.0


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(open_store(None).db) as db:
        yield db


def fill(db: sqlite3.Connection, *ages_d: float) -> None:
    batch = Batch()
    for number, age_d in enumerate(ages_d, 1):
        batch.add_outcome(number, rescued(at=NOW - age_d * DAY), HOME)
    with transaction(db):
        batch.write(db)


def left(db: sqlite3.Connection) -> tuple[list[int], int]:
    """The rows, and how many attempts they have together."""
    rows = [number for (number,) in db.execute("SELECT id FROM outcome ORDER BY id")]
    (attempts,) = db.execute("SELECT count(*) FROM attempt").fetchone()
    return rows, attempts


def test_rows_go_with_their_attempts_a_few_at_a_time(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retiring, "ROWS_AT_ONCE", 2)
    fill(db, 15, 15, 15, 13)
    assert remove_old(db, keep_s=14 * DAY, now=NOW), "there is more"
    assert not remove_old(db, keep_s=14 * DAY, now=NOW)
    assert left(db) == ([4], 2)


@pytest.mark.parametrize(("age_d", "keep_d", "is_left"), [(1.9, 14, True), (2.1, 14, False), (1.1, 1, False)])
def test_results_go_once_they_count_for_nothing(
    db: sqlite3.Connection, age_d: float, keep_d: float, is_left: bool
) -> None:
    result = StoredResult(HOME, "down.example", 443, "site down", NOW - age_d * DAY, "connection")
    Batch(results={result.key: result}).write(db)
    remove_old(db, keep_s=keep_d * DAY, now=NOW)
    assert bool(results(db)[0]) is is_left
    assert is_old(result, NOW, keep_s=keep_d * DAY) is not is_left


def test_the_newest_are_kept_by_their_number(db: sqlite3.Connection) -> None:
    fill(db, 0, 0, 0)
    keep_newest(db, 3)
    assert left(db) == ([3], 2)


def test_F87_the_clock_goes_on_when_the_wall_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    clock = SteadyClock()
    monkeypatch.setattr(time, "time", lambda: before + 10 * 365 * DAY)
    assert before <= clock.now() < before + DAY
