"""`byway status` for programs and for people."""

from __future__ import annotations

import sys
import time

import pytest

from tests.cli.conftest import Byway, Running
from tests.support.outcomes import rescued


def test_programs_get_one_table_with_what_is_wrong_first(byway: Byway, running: Running) -> None:
    running.see(rescued(host="blog.example.net", at=time.time()))
    running.world.counters["config_problem"] = "rules.txt:1: unknown action"
    running.world.store.flush()
    ran = byway("status")
    assert ran.code == 0
    assert ran.rows[0] == ["kind", "name", "state", "detail"]
    assert [row[0] for row in ran.rows[1:]] == ["problem", "byway", "route", "route", "relay", "relay", "site"]
    assert ran.rows[-1][1:3] == ["blog.example.net", "likely blocked"]


def test_json_is_the_answer_as_it_is(byway: Byway, running: Running) -> None:
    told = byway("status", "--json").json
    assert told["version"] == 2
    assert told["listen"] == "127.0.0.1:8119"


def test_people_get_sentences(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.world.counters["dropped_rows"] = 7
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ran = byway("status")
    assert ran.out.startswith("! 7 log entries were lost.")
    assert "No site is in trouble on this network." in ran.out
    assert ran.err == "a notice\n"
    assert byway("status", "-q").err == ""
