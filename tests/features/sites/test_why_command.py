"""`byway why` measures, and tells what came of it and what is known."""

from __future__ import annotations

import time
from typing import Any

import pytest

from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.sites.why_command import LINES_MAX, brief
from tests.support.command_line import Byway, Ran, Running
from tests.support.control_world import nowhere
from tests.support.outcomes import rescued
from tests.support.rows import each_row

BLOG = "blog.example.net"


def facts(ran: Ran) -> dict[str, str]:
    return {row[0]: row[1] for row in ran.rows}


def test_everything_known_is_told(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    ran = byway("why", f"https://{BLOG}/entry")
    known = facts(ran)
    assert known["url"] == f"https://{BLOG}/entry"
    assert known["stored status"] == "likely blocked"
    assert "reset" in known["stored evidence"]
    assert known["last working route"] == "tor"
    assert known["plan"].startswith("tor → ")
    assert known["plan reason"].startswith("AUTO: likely blocked")
    assert known["next re-test"].endswith((", in 2 min", ", in 3 min"))  # its moment has a jitter
    assert known["network"]
    assert [row[1].partition(" ")[2] for row in ran.rows if row[0] == "attempt"]


def test_each_route_is_measured(byway: Byway, running: Running) -> None:
    ran = byway("why", "never.example")
    routes = {row[1].split(":")[0]: row[1] for row in ran.rows if row[0] == "route"}
    assert routes["direct"] == "direct: failed at TCP connect: nobody answers"
    assert routes["tor"] == "tor: failed at relay handshake: relay tor will not"
    assert {"direct|doh", "direct|tlsrec", "vps"} <= set(routes)
    assert facts(ran)["verdict"] == "site down"
    assert facts(ran)["what to do"]
    assert ran.code == 0


def test_for_programs_there_is_one_document(byway: Byway, running: Running) -> None:
    answer = byway("why", "never.example", "--json").json
    assert answer["url"] == "https://never.example/"
    assert answer["verdict"]["words"] == "site down"
    assert {step["route"] for step in answer["steps"]} >= {"direct", "tor", "vps"}
    assert [row["result"] for row in answer["routes"] if row["route"] == "direct"] == ["failed"]


def test_what_was_just_measured_is_told_again_unless_it_shall_be_fresh(byway: Byway, running: Running) -> None:
    first = byway("why", "https://never.example", "--json").json
    again = byway("why", "https://never.example", "--json").json
    assert (first["measured_again"], again["measured_again"]) == (True, False)
    assert again["measured_at"] == first["measured_at"]
    assert running.world.resolved == ["never.example"]
    assert byway("why", "--fresh", "https://never.example", "--json").json["measured_again"]
    assert running.world.resolved == ["never.example"] * 2


@pytest.mark.usefixtures("person")
def test_a_person_gets_the_verdict_and_a_row_for_each_route(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    lines = byway("why", BLOG).out.splitlines()
    assert len(lines) <= LINES_MAX
    assert lines[0].endswith(f" likely blocked: https://{BLOG}/")
    parts = ("cause ", "evidence ", "route ", "since ", "do ")
    assert tuple(f"{line.split()[0]} " for line in lines if line.startswith(parts)) == parts
    assert any(line.startswith("tor ") and "✗ relay handshake: relay tor will not" in line for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.uses("traffic")
@pytest.mark.usefixtures("person")
def test_verbose_adds_the_steps_and_the_reasons(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    said = byway("why", BLOG, "-v").out
    steps, _, rest = said.partition(f"https://{BLOG}/\n")
    assert "✗ tor                relay handshake            failed: relay tor will not" in steps
    assert "· direct             DNS (system)               not tested: " in steps
    assert "stored status       likely blocked" in rest
    assert "last working route  tor" in rest
    everything = byway("why", BLOG, "-vv").out
    assert "direct: connection reset after the TLS ClientHello, after 100 ms" in " ".join(everything.split())
    assert max(len(line) for line in said.splitlines()) <= 80


def told(routes: int, words: int) -> dict[str, Any]:
    """An answer with so many routes, and sentences of so many words."""
    text = "word " * words
    rows = [
        {"route": f"direct|rung{place}", "result": "ok" if place % 2 else "failed", "stage": "hello", "text": text,
         "status": 200, "elapsed_s": 0.5}
        for place in range(routes)
    ]  # fmt: skip
    rows += [{**row, "route": f"relay{place}", "result": "not_tested"} for place, row in enumerate(rows)]
    return {
        "url": "https://blog.example.org/",
        "verdict": {"glyph": "✗", "words": "blocked", "cause": "sni_reset", "plain": text, "because": text,
                    "relay_faults": {}, "seen": text, "confidence": "high",
                    "reasons": [text, text], "do": text},
        "belief": {"since": 1e9, "state": "blocked", "words": "blocked"},
        "relay_obstacles": [{"relay": "vps", "words": "blocked by SNI here"}] if words == 12 else [],
        "routes": rows,
    }  # fmt: skip


@each_row("columns", [80, 120])
@each_row("routes", [0, 1, 3, 9, 40])
@each_row("words", [0, 1, 12, 400])
def test_it_is_never_more_than_14_lines(monkeypatch: pytest.MonkeyPatch, columns: int, routes: int, words: int) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = brief(told(routes, words), columns)
    assert len(lines) <= LINES_MAX == 14
    assert max(map(len, lines)) <= columns
    assert any("vps: blocked by SNI here" in line for line in lines) is (words == 12)
    if routes > 9:
        assert any("more route" in line for line in lines)
    if routes:
        assert any(line.startswith(f"{routes} route" if routes > 1 else "relay0") for line in lines) or routes > 4


@pytest.mark.parametrize("site", ["a..b", "http://", "\x1b[2J"])
def test_what_is_no_site_is_wrong_usage(byway: Byway, running: Running, site: str) -> None:
    ran = byway("why", site)
    assert ran.code == 2
    assert "\x1b" not in ran.err


def test_without_a_network_nothing_is_said_of_the_site(byway: Byway, running: Running) -> None:
    running.world.measured_with = nowhere(running.world)
    ran = byway("why", "never.example")
    assert ran.code == 6
    assert facts(ran)["verdict"] == "no network"


def test_evidence_wraps_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    answer = told(2, 1)
    facts = [f"fact number {number} of the evidence" for number in range(9)]
    answer["verdict"]["seen"] = "; ".join(facts)
    printed = " ".join(" ".join(brief(answer, 80)).split())
    assert all(fact in printed for fact in facts), printed
    assert "…" not in printed


def test_a_command_to_run_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program may have a long path."""
    monkeypatch.setenv("NO_COLOR", "1")
    answer = told(2, 1)
    program = "/home/somebody/a/folder/of/checkouts/byway/.venv/bin/byway"
    do = SiteStatus.NOT_REACHABLE.advice.replace("`byway", f"`{program}")
    answer["verdict"]["do"] = do
    assert do in " ".join(" ".join(brief(answer, 80)).split())


def test_a_row_of_a_route_wraps_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    answer = told(2, 1)
    reason = "the certificate is valid from 2024-01-01 to 2025-01-01, not today; issued by CN=A long name,O=Somebody"
    answer["routes"][0]["text"] = reason
    lines = brief(answer, 80)
    assert reason in " ".join(" ".join(lines).replace("500 ms", "").split())
    assert max(map(len, lines)) <= 80
    answer["routes"] = [{**answer["routes"][0], "route": f"relay{place}"} for place in range(8)]
    lines = brief(answer, 80)
    assert (len(lines) <= LINES_MAX, max(map(len, lines)) <= 80) == (True, True)
    assert sum(line.startswith("relay") for line in lines) == 8, "no route is left out for the words of another"


def test_a_word_that_is_too_long_for_its_row_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    answer = told(1, 1)
    answer["routes"][0]["text"] = "x" * 300
    assert max(map(len, brief(answer, 80))) <= 80
