"""`byway why` measures, and tells what came of it and what is known."""

from __future__ import annotations

import sys
import time

import pytest

from tests.cli.conftest import Byway, Ran, Running
from tests.control.world import nowhere
from tests.support.outcomes import rescued

BLOG = "blog.example.net"


def facts(ran: Ran) -> dict[str, str]:
    return {row[0]: row[1] for row in ran.rows}


def test_everything_known_is_told(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    ran = byway("why", f"https://{BLOG}/entry")
    told = facts(ran)
    assert told["held to be"] == "likely blocked"
    assert "reset" in told["evidence"]
    assert told["went through"] == "tor"
    assert told["plan"].startswith("tor → ")
    assert told["by"].startswith("AUTO: likely blocked")
    assert told["next re-test"].endswith((", in 2 min", ", in 3 min"))  # its moment has a jitter
    assert told["network"]
    assert [row[1].partition(" ")[2] for row in ran.rows if row[0] == "attempt"]


def test_each_route_is_measured(byway: Byway, running: Running) -> None:
    ran = byway("why", "never.example")
    routes = {row[1].split(":")[0]: row[1] for row in ran.rows if row[0] == "route"}
    assert "failed at the connect, nobody answers" in routes["direct"]
    assert "failed at the relay, relay tor will not" in routes["tor"]
    assert {"direct|doh", "direct|tlsrec", "vps"} <= set(routes)
    assert facts(ran)["state"] == "site down"
    assert facts(ran)["what to do"]
    assert ran.code == 0


def test_for_programs_there_is_one_document(byway: Byway, running: Running) -> None:
    told = byway("why", "never.example", "--json").json
    assert told["version"] == 1
    assert told["verdict"]["words"] == "site down"
    assert {step["route"] for step in told["steps"]} >= {"direct", "tor", "vps"}
    assert [row["result"] for row in told["routes"] if row["route"] == "direct"] == ["failed"]


def test_what_was_just_measured_is_told_again_unless_it_shall_be_fresh(byway: Byway, running: Running) -> None:
    first = byway("why", "never.example", "--json").json
    again = byway("why", "never.example", "--json").json
    assert (first["measured_again"], again["measured_again"]) == (True, False)
    assert again["measured_at"] == first["measured_at"]
    assert running.world.resolved == ["never.example"]
    assert byway("why", "--fresh", "never.example", "--json").json["measured_again"]
    assert running.world.resolved == ["never.example"] * 2


def test_a_person_sees_the_steps_and_the_story(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    said = byway("why", BLOG).out
    steps, _, story = said.partition("\n\n")
    assert "· direct         name, by the system   not tested: a name once suspect" in steps
    assert "✗ tor            relay                 failed: relay tor will not" in steps
    assert BLOG in story.splitlines()[0]
    assert "direct: reset while waiting for the first byte, after 100 ms" in story
    assert "what to do" in story
    blocked = byway("why", "x.ads.example").out
    assert "(no route: it is refused)" in blocked
    assert "? x.ads.example — not tested" in blocked


@pytest.mark.parametrize("site", ["a..b", "http://", "\x1b[2J"])
def test_what_is_no_site_is_wrong_usage(byway: Byway, running: Running, site: str) -> None:
    ran = byway("why", site)
    assert ran.code == 2
    assert "\x1b" not in ran.err


def test_without_a_network_nothing_is_said_of_the_site(byway: Byway, running: Running) -> None:
    running.world.measured_with = nowhere(running.world)
    ran = byway("why", "never.example")
    assert ran.code == 6
    assert facts(ran)["state"] == "no network"
