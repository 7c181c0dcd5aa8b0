"""`byway status` for programs and for people."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from proxy.model import Stage, Symptom
from tests.support.command_line import Byway, Running
from tests.support.outcomes import HOME, TOR, failed, outcome, rescued


def test_programs_get_one_table_with_what_is_wrong_first(byway: Byway, running: Running) -> None:
    running.see(rescued(host="blog.example.net", at=time.time()))
    running.world.counters["config_problem"] = "rules.txt:1: unknown action"
    running.world.store.flush()
    ran = byway("status")
    assert ran.code == 0
    assert ran.rows[0] == ["kind", "name", "state", "detail"]
    kinds = [row[0] for row in ran.rows[1:]]
    assert kinds == ["problem", "byway", "route", "route", "relay", "relay", "site", "notice"]
    assert ran.rows[-2][1:3] == ["blog.example.net", "likely blocked"]


def test_json_is_the_answer_as_it_is(byway: Byway, running: Running) -> None:
    told = byway("status", "--json").json
    assert told["version"] == 2
    assert told["listen"] == "127.0.0.1:8119"


@pytest.mark.usefixtures("person")
def test_people_get_what_is_wrong_first_with_what_to_do(byway: Byway, running: Running) -> None:
    running.world.counters["dropped_rows"] = 7
    ran = byway("status")
    assert ran.out.splitlines()[:3] == ["! 7 log entries were lost.", "  → nothing: new ones are written again", ""]
    assert "No problem sites on this network." in ran.out
    assert ran.err == "a notice\n"
    assert byway("status", "-q").err == ""


@pytest.mark.uses("relays")
@pytest.mark.usefixtures("person")
def test_a_relay_that_fails_is_shown_with_its_fault(byway: Byway, running: Running) -> None:
    refused = failed(Symptom.RELAY_AUTH, Stage.RELAY, TOR, error="the relay refused the password")
    running.see(outcome(refused, host="x.example", at=time.time()))
    lines = byway("status").out.splitlines()
    assert lines[0] == "! Relay tor fails: user or password refused."
    assert any(line.startswith("tor ") and "fails: user or password refused" in line for line in lines)
    running.world.counters["started_at"] = time.time() - 7300
    assert "started 2 h ago" in byway("status").out
    assert ["relay", "tor", "fails: user or password refused"] in [row[:3] for row in byway("status", "--plain").rows]


def test_a_network_with_a_name_is_shown_by_it(byway: Byway, running: Running) -> None:
    world = running.world
    assert byway("status").rows[1][3].endswith(f", network {HOME}")
    world.settings = replace(world.settings, networks={"office": HOME})
    running.do(world.overrides_changed)
    assert byway("status").rows[1][3].endswith(f", network office ({HOME})")


@pytest.mark.usefixtures("person")
def test_people_read_no_id_of_a_network_unless_they_ask(byway: Byway, running: Running) -> None:
    world = running.world
    assert "network" not in _headline(byway)
    assert _headline(byway, "-v").endswith(f"; network {HOME}.")
    world.settings = replace(world.settings, networks={"office": HOME})
    running.do(world.overrides_changed)
    assert _headline(byway).endswith("; network office.")
    assert _headline(byway, "-v").endswith(f"; network office ({HOME}).")


def _headline(byway: Byway, *words: str) -> str:
    """The sentence about the instance, in one line."""
    told = byway("status", *words).out
    return " ".join(told[told.index("Byway ") :].partition("\n\n")[0].split())
