"""Connections of the log: the host of the flight, and nothing secret; a row is what its outcome was."""

from __future__ import annotations

import json
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.schema import Log
from proxy.model.document import from_json, to_json
from proxy.store.logged import LoggedAttempt, LoggedConnection, StatusChange, columns
from proxy.store.store import Store
from tests.support.outcomes import HOME, TOR, delivered, failed, outcome, rescued

SECRET = "correct-horse"
LEAK = f"relay socks5h://u:{SECRET}@h:1 refused"


def test_an_outcome_is_kept_under_the_name_of_its_flight() -> None:
    told = LoggedConnection.of(outcome(delivered(TOR), host="example.org"), HOME)
    assert (told.host, told.winner, told.network) == ("example.org", "tor", HOME)


def test_I16_errors_hold_no_secret() -> None:
    told = LoggedConnection.of(outcome(failed(error=LEAK), error=LEAK), HOME)
    assert SECRET not in repr(told)
    assert told.error == told.attempts[0].error == "relay socks5h://u:***@h:1 refused"


def test_a_row_is_what_its_outcome_was(tmp_path: Path) -> None:
    seen = rescued(host="a.example", at=time.time())
    store = Store(tmp_path / "byway.sqlite", Log(hosts="all"))
    store.start()
    try:
        store.record(seen, network=HOME)
        assert store.flush()
        (row,) = store.log()
    finally:
        store.close()
    assert len(row.attempts) == 2
    assert replace(row, id=0) == replace(LoggedConnection.of(seen, HOME), id=0)


def test_a_document_is_read_back() -> None:
    seen = LoggedConnection.of(rescued(host="a.example", at=1.0), HOME)
    assert from_json(LoggedConnection, json.loads(json.dumps(to_json(seen)))) == seen


def test_a_field_of_a_later_version_is_left_out() -> None:
    seen = LoggedConnection.of(rescued(host="a.example", at=1.0), HOME)
    later = to_json(seen)
    assert from_json(LoggedConnection, {**later, "version": 2, "more": 1}) == seen


@pytest.mark.parametrize("kind", [LoggedConnection, LoggedAttempt, StatusChange])
def test_every_field_but_the_attempts_is_a_column(kind: Any) -> None:
    assert [*columns(kind)] == [each.name for each in fields(kind) if each.name != "attempts"]
