"""`byway site`: list, show, set, forget."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from dataclasses import replace

import pytest

from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.features.sites.commands import _retest
from proxy.model import Action, Belief, Change, Override, Stage, State, Symptom
from proxy.store.file import open_store, transaction
from proxy.store.rows import Batch
from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import HOME, TOR, failed, outcome, rescued
from tests.support.seeded import BLOCKED, leave

BLOG = "blog.example.net"


def test_what_is_held_and_set_is_listed(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    assert byway("site", "set", BLOG, "relay:tor").code == 0
    assert byway("site", "set", "*.Example.ORG", "direct").code == 0
    rows = byway("site", "list").rows[1:]
    assert [(row[0], row[1], row[2], row[4], row[5]) for row in rows] == [
        (BLOG, "likely blocked", "sni_reset", "tor", "RELAY:tor"),
        ("example.org", "", "", "", "DIRECT"),
    ]
    assert len(byway("site", "list", "--json").json["sites"]) == 1


def test_an_empty_list_says_so(byway: Byway, running: Running) -> None:
    assert byway("site", "list").err == "No problem sites. Working sites are not listed.\n"


def test_a_site_is_shown_with_its_evidence_and_history(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    running.world.store.flush()
    byway("site", "set", "example.net", "prefer-relay")
    ran = byway("site", "show", BLOG)
    assert [row[1] for row in ran.rows] == ["status", "likely blocked", "likely blocked, now"]
    assert "tls_reset" in ran.rows[1][3]
    assert "direct is tested again in " in ran.rows[1][3]
    assert ran.err == "Override for example.net: PREFER-RELAY.\n"
    assert byway("site", "show", BLOG, "--json").json["belief"]["state"] == "suspect"


def test_the_story_of_a_block_that_ended(byway: Byway, running: Running) -> None:
    store, now = running.world.store, time.time()
    for at, before, after, why in (
        (now - 9000, State.UNKNOWN, State.SUSPECT, "a drop"),
        (now - 8000, State.SUSPECT, State.BLOCKED, "another drop"),
        (now - 100, State.BLOCKED, State.WORKS, "direct delivered in a re-test, 2 times in a row"),
    ):
        belief = Belief(BLOG, HOME, after, "sni_drop", until=now + 9000)
        store.believe([Change(at, BLOG, HOME, before, after, "sni_drop", why, belief)])
    store.flush()
    row = byway("site", "show", BLOG).rows[-1]
    assert row[1] == "blocked, ended"
    assert "sni_drop: another drop; blocked since " in row[3]
    assert row[3].endswith(": direct delivered in a re-test, 2 times in a row")
    (spell,) = byway("site", "show", BLOG, "--json").json["timeline"]
    assert spell["until"] == pytest.approx(now - 100)


def test_sites_of_all_networks(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    assert byway("site", "list", "--all").rows[0][-1] == "network"
    assert byway("site", "list", "--all").rows[1][-1] == HOME


@pytest.mark.usefixtures("person")
def test_a_person_sees_the_words_with_their_glyphs(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    byway("site", "set", "example.net", "relay:tor")
    assert "~ likely blocked" in byway("site", "list").out
    assert "this one" in byway("site", "list", "--all").out
    lines = byway("site", "show", BLOG).out.splitlines()
    assert lines[0] == f"~ likely blocked: {BLOG}"
    assert lines[1] == "cause           Name filter"
    assert lines[2] == "in detail       connection reset after the TLS ClientHello (SNI filtering)"
    assert "override        RELAY:tor (set for example.net)" in lines
    assert "History" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.usefixtures("person")
def test_a_site_that_failed_a_moment_ago_has_its_last_result_with_its_age(byway: Byway, running: Running) -> None:
    refused = replace(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), evidence={"relay": "refused"})
    running.see(outcome(failed(), refused, host=BLOG, at=time.time()))
    lines = byway("site", "show", BLOG).out.splitlines()
    assert lines[0] == f"! relays fail: {BLOG}"
    for name in ("since", "last confirmed"):
        (told,) = [line for line in lines if line.startswith(name)]
        assert re.fullmatch(rf"{name} +\d{{4}}-\d\d-\d\d \d\d:\d\d \((just now|\d+ s ago)\)", told)
    assert not any(line.startswith("stored status") for line in lines)
    assert "! relays fail" in byway("site", "list").out


@pytest.mark.usefixtures("person")
def test_the_stored_status_stands_beside_a_newer_last_result(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time() - 5))
    last = LastResult(SiteStatus.SITE_DOWN, time.time(), Source.MEASUREMENT, "down", "direct: timeout")
    running.world.beliefs.measured(BLOG, last, network=HOME)
    lines = byway("site", "show", BLOG).out.splitlines()
    assert lines[0] == f"↓ site down: {BLOG}"
    assert any(line.startswith("stored status") and line.endswith("likely blocked") for line in lines), lines


def test_a_retest_that_is_due_waits_for_a_visit() -> None:
    assert _retest({"retest_at": None}) == ""
    assert _retest({"retest_at": 1.0}) == "direct is tested again at the next visit"
    assert _retest({"retest_at": time.time() + 7300}) == "direct is tested again in 2 h"


@pytest.mark.uses("rules")
def test_set_covers_what_is_below_and_can_be_undone(byway: Byway, running: Running) -> None:
    ran = byway("site", "set", "https://Example.org/", "block")
    assert ran.out == "example.org and its subdomains: BLOCK\n"
    assert "byway site forget example.org" in ran.err
    assert running.world.overrides == {"example.org": Override(Action.BLOCK)}
    assert byway("rule", "test", "a.example.org").rows[2] == ["action", "BLOCK"]
    assert byway("site", "forget", "example.org").out == "Deleted: example.org\n"
    assert running.world.overrides == {}
    assert byway("site", "forget", "example.org").out == "No stored data for example.org.\n"
    assert byway("site", "set", "example.org", "auto", "--json").json["override"]["action"] == "AUTO"
    assert byway("site", "forget", "example.org", "--json").json["overrides"] == ["example.org"]


def test_an_address_has_no_subdomains(byway: Byway, running: Running) -> None:
    for address, shown in (("192.0.2.7", "192.0.2.7"), ("[2001:db8::1]:443", "2001:db8::1")):
        assert byway("site", "set", address, "direct").out == f"{shown}: DIRECT\n"


@pytest.mark.parametrize(("site", "action"), [("a..b", "direct"), ("example.org", "odd"), ("example.org", "relay:none"),
                                              ("example.org", "block:tor"), ("/../../status", "direct")])  # fmt: skip
def test_what_cannot_be_set_is_wrong_usage(byway: Byway, running: Running, site: str, action: str) -> None:
    ran = byway("site", "set", site, action)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert running.world.overrides == {}


@pytest.mark.uses("today")
def test_an_override_for_a_time_is_shown_with_its_end(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = byway("site", "set", "example.org", "relay:tor", "--for", "2h")
    assert ran.out == "example.org and its subdomains: RELAY:tor, ends in 2 h\n"
    until = running.world.overrides["example.org"].until
    assert abs(until - time.time() - 7200) < 60
    assert byway("site", "list", "--json").json["overrides"][0]["until"] == until
    assert byway("site", "list").rows[1][-1].startswith("RELAY:tor, ends 20")
    assert ["override", "example.org", "RELAY:tor"] in [row[:3] for row in byway("status").rows]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "RELAY:tor, ends in 2 h (set for example.org)" in byway("site", "show", "www.example.org").out
    for wrong in ("soon", "0s", "-1h", "2008-10-07"):
        ran = byway("site", "set", "example.org", "block", "--for", wrong)
        assert (ran.code, "is not a length of time" in ran.err) == (2, True)


def test_an_override_that_ended_while_no_byway_ran_is_not_shown(byway: Byway, home: Home) -> None:
    with contextlib.closing(open_store(home.state / "byway.sqlite").db) as db, transaction(db):
        ended = Override(Action.BLOCK, until=time.time() - 1)
        still_on = Override(Action.BLOCK, until=ended.until + 60)
        Batch(overrides={"ended.example": ended, "on.example": still_on}).write(db)
    assert [each["scope"] for each in byway("site", "list", "--json").json["overrides"]] == ["on.example"]


@pytest.mark.parametrize(("site", "told"), [("", "name a site"), ("192.0.2.0/24", "is a prefix of addresses")])
def test_what_is_no_site_is_refused_and_nothing_is_set(byway: Byway, running: Running, site: str, told: str) -> None:
    before = dict(running.world.overrides)
    ran = byway("site", "set", site, "direct")
    assert (ran.code, told in ran.err) == (2, True)
    assert running.world.overrides == before


def test_an_override_is_set_and_removed_while_no_byway_runs(byway: Byway, home: Home) -> None:
    home.config.write_text('config_version = 1\n[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n')
    ran = byway("site", "set", "*.Example.org", "relay:tor", "--for", "1h")
    assert (ran.code, ran.out) == (0, "example.org and its subdomains: RELAY:tor, ends in 60 min\n")
    assert ran.err.splitlines()[-1] == "No Byway is running. The next one uses it."
    assert byway("site", "set", "www.example.org", "block", "--json").json["override"]["action"] == "BLOCK"
    assert byway("site", "set", "other.example", "direct").code == 0
    scopes = [each["scope"] for each in byway("site", "list", "--json").json["overrides"]]
    assert scopes == ["example.org", "other.example", "www.example.org"]
    assert byway("site", "forget", "example.org").out == "Deleted: example.org, www.example.org\n"
    assert byway("site", "forget", "example.org").out == "No stored data for example.org.\n"
    assert [each["scope"] for each in byway("site", "list", "--json").json["overrides"]] == ["other.example"]


@pytest.mark.uses("traffic")
def test_what_is_stored_of_a_site_is_forgotten_while_no_byway_runs_and_its_log_is_kept(
    byway: Byway, home: Home
) -> None:
    leave(home.state / "byway.sqlite", HOME)
    assert byway("site", "show", BLOCKED, "--json").json["belief"]["state"] == "blocked"
    rows = len(byway("log").rows)
    assert byway("site", "forget", BLOCKED).out == f"Deleted: {BLOCKED}\n"
    assert byway("site", "show", BLOCKED, "--json").json["belief"]["state"] != "blocked"
    assert len(byway("log").rows) == rows


@pytest.mark.parametrize(
    "words", [("a..b", "direct"), ("one.test", "relay:nosuch"), ("one.test", "proxy"), (" ", "direct")]
)
def test_what_cannot_be_set_is_wrong_usage_while_no_byway_runs(
    byway: Byway, home: Home, words: tuple[str, str]
) -> None:
    ran = byway("site", "set", *words)
    assert (ran.code, ran.out, (home.state / "byway.sqlite").exists()) == (2, "", False)
