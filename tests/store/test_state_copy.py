"""The copy in memory from which a lost file is begun anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.model import Action, Belief, Override, State, StoredResult
from proxy.store.file import open_store
from proxy.store.retention import LAPSED_BELIEF_S
from proxy.store.state_copy import StateCopy
from tests.support.outcomes import HOME, HOST

BLOCKED = Belief(HOST, HOME, State.BLOCKED, until=2000.0)
FAILED = StoredResult(HOME, HOST, 443, "site down", 2000.0, "connection", "down")
LIKELY = Belief(HOST, HOME, State.SUSPECT, until=1000.0)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(open_store(None).db) as db:
        yield db


def copy_of(*beliefs: Belief, **overrides: Action) -> StateCopy:
    copy = StateCopy()
    for belief in beliefs:
        copy.set_belief(belief.scope, belief.network, belief)
    for host, action in overrides.items():
        copy.set_override(host, Override(action))
    return copy


def test_a_new_file_gets_what_the_copy_has(db: sqlite3.Connection) -> None:
    copy_of(LIKELY, old=Action.BLOCK).write_to(db)
    copy = copy_of(BLOCKED, example=Action.DIRECT)
    copy.set_result(FAILED.key, FAILED)
    assert not copy.equals(db)

    copy.write_to(db)

    assert copy.equals(db)
    read = StateCopy()
    assert (read.load(db), read.is_complete) == (0, True)
    assert (read.beliefs, read.results, read.overrides) == (copy.beliefs, copy.results, copy.overrides)
    copy.set_result(FAILED.key, None)
    assert not copy.equals(db)


def test_what_was_recorded_since_the_start_is_newer_than_the_file(db: sqlite3.Connection) -> None:
    copy_of(LIKELY, example=Action.BLOCK, other=Action.BLOCK).write_to(db)
    copy = copy_of(BLOCKED, example=Action.DIRECT)

    copy.load(db)

    assert list(copy.beliefs.values()) == [BLOCKED]
    assert copy.overrides == {"example": Override(Action.DIRECT), "other": Override(Action.BLOCK)}


def test_what_is_removed_is_not_in_it() -> None:
    copy = copy_of(BLOCKED, example=Action.BLOCK)
    copy.set_result(FAILED.key, FAILED)
    copy.remove_lapsed(FAILED.at + 3600, keep_s=3600)
    assert list(copy.results.values()) == [FAILED]
    copy.remove_lapsed(BLOCKED.until + LAPSED_BELIEF_S, keep_s=1e9)
    assert copy.results == {}
    assert list(copy.beliefs.values()) == [BLOCKED]

    copy.remove_lapsed(BLOCKED.until + LAPSED_BELIEF_S + 1, keep_s=1e9)
    copy.set_override("example", None)
    copy.set_belief(HOST, HOME, None)

    assert (copy.beliefs, copy.overrides) == ({}, {})
