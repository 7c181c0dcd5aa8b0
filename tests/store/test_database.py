"""The database while Byway runs: what it does with a file that was replaced, is damaged or cannot be opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.model import Action, Override
from proxy.store import queries
from proxy.store.database import LogDatabase
from proxy.store.state_copy import StateCopy

OVERRIDES = {"example.org": Override(Action.BLOCK)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "byway.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[LogDatabase]:
    state = StateCopy()
    database = LogDatabase(path, state)
    database.start()
    assert database.run(lambda _: state.set_override("example.org", OVERRIDES["example.org"]))
    database.verify()
    yield database
    database.close()


def test_what_the_file_lacks_is_written_again(path: Path, database: LogDatabase) -> None:
    assert database.query(queries.overrides) == (OVERRIDES, 0)

    assert database.run(lambda db: db.execute("DELETE FROM override"))
    database.verify()

    assert database.query(queries.overrides) == (OVERRIDES, 0)
    assert (database.notices, database.trouble) == ((), "")


def test_a_deleted_file_is_begun_anew_from_the_copy(path: Path, database: LogDatabase) -> None:
    for file in path.parent.glob("byway.sqlite*"):
        file.unlink()

    assert database.run(lambda _: None)

    assert database.query(queries.overrides) == (OVERRIDES, 0)
    assert database.notices == ("The log byway.sqlite was moved or deleted. A new log was started.",)


def test_a_damaged_file_is_set_aside_and_begun_anew(path: Path, database: LogDatabase) -> None:
    database.close()
    path.write_bytes(b"no database")

    assert database.run(lambda _: None)

    assert database.query(queries.overrides) == (OVERRIDES, 0)
    assert len(database.notices) == 1
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


def test_a_file_of_an_early_layout_is_begun_anew_and_its_overrides_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "byway.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(Path(__file__).with_name("layout_3.sql").read_text("utf-8"))
    database = LogDatabase(path, StateCopy())
    database.start()

    assert database.query(queries.overrides) == ({"bank.example": Override(Action.RELAY, "tor")}, 0)
    assert database.query(queries.beliefs) == ([], 0)
    (aside,) = tmp_path.glob("byway.sqlite.layout-3-*")
    assert [aside.name in notice for notice in database.notices] == [True]
    database.close()


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    database = LogDatabase(folder / "byway.sqlite", StateCopy())
    database.start()

    assert not database.run(lambda _: None)
    assert database.trouble == "No such file or directory"
    assert database.query(queries.overrides) == ({}, 0)

    folder.mkdir()
    assert database.run(lambda _: None)
    assert database.trouble == ""
    database.close()


def test_an_error_of_a_value_is_the_callers(database: LogDatabase) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise ValueError("not for the file's sake")

    with pytest.raises(ValueError, match="sake"):
        database.run(fail)
    assert database.run(lambda _: None), "the lock was released"
