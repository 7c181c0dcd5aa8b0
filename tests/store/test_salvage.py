"""What `byway site set` said is read past whatever is wrong with the log, and nothing is written for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.model import Action, Override
from proxy.store.file import open_store, transaction
from proxy.store.rows import Batch
from proxy.store.salvage import read_overrides

SAID = {"secret.example": Override(Action.RELAY, "tor")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "byway.sqlite"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    """Of a Byway that runs: what it wrote last stands in the write-ahead log alone."""
    with closing(open_store(path).db) as db:
        with transaction(db):
            Batch(overrides=dict(SAID)).write(db)
        yield db


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_where_there_is_no_log_nothing_was_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_overrides(path) == {}
    assert caplog.messages == []
    assert files(path) == {}


def test_it_is_read_from_a_log_in_use(path: Path, db: sqlite3.Connection) -> None:
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    assert read_overrides(path) == SAID
    db.execute("BEGIN EXCLUSIVE")
    assert read_overrides(path) == SAID
    db.execute("ROLLBACK")


def test_it_is_read_from_a_log_at_rest_and_nothing_is_written(path: Path, db: sqlite3.Connection) -> None:
    db.close()
    before = files(path)
    assert list(before) == [path.name]
    assert read_overrides(path) == SAID
    assert files(path) == before


def test_what_makes_no_sense_costs_no_other(
    path: Path, db: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction(db):
        db.execute("UPDATE override SET action = 'MAYBE'")
        Batch(overrides={"other.example": Override(Action.BLOCK)}).write(db)
    assert read_overrides(path) == {"other.example": Override(Action.BLOCK)}
    assert "1 unreadable overrides in" in caplog.text


def test_where_it_cannot_be_read_that_is_said_with_what_follows(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"no log at all" * 1000)
    assert read_overrides(path) == {}
    assert "hosts set to RELAY or BLOCK now follow the rules" in caplog.text


def test_it_is_read_from_the_layout_of_an_older_byway(path: Path) -> None:
    with closing(sqlite3.connect(path)) as older:
        older.executescript(Path(__file__).with_name("layout_3.sql").read_text(encoding="utf-8"))
    assert read_overrides(path) == {"bank.example": Override(Action.RELAY, "tor")}
