"""`byway list`: shown from a running Byway and from the files, and fetched by either."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from proxy.config.schema import ListConfig
from proxy.model import Belief, State
from proxy.model.feature import Feature
from proxy.routing.lists.formats import parse_list
from proxy.store.list_copies import CopyInfo, ListCopies
from proxy.terminal.exit_codes import Exit
from tests.routing.lists.patching import patched
from tests.support.command_line import Byway, Home, Running
from tests.support.control_world import World
from tests.support.fetched import Servers, servers
from tests.support.list_source import page
from tests.support.outcomes import HOME, works

__all__ = ["servers"]

pytestmark = pytest.mark.usefixtures("lists_tried_once")

URL = "https://lists.test/gfw.txt"
OWN, GFW = ListConfig(name="own", source="own.txt"), ListConfig(name="gfw", source=URL, refresh="1d")
TEXT = "a.test\nb.test\n192.0.2.0/24\n?? ?\n"
GOOD = b"".join(b"site%d.test\n" % number for number in range(10))


@pytest.fixture
def make_world(home: Home, features: Sequence[Feature]) -> Callable[[], World]:
    def make() -> World:
        world = World(path=home.config, features=features)
        world.settings = replace(world.settings, list=(OWN, GFW))
        world.lists = {"own": parse_list(iter([TEXT]), size=len(TEXT), source="own.txt")}
        world.overrides_changed()
        return world

    return make


@pytest.mark.usefixtures("running")
def test_all_lists_in_a_table(byway: Byway) -> None:
    ran = byway("list", "show")
    assert ran.code == Exit.DONE
    assert ran.rows == [
        ["list", "state", "entries", "skipped", "fetched", "source"],
        ["own", "in use", "3", "1", "", "own.txt"],
        ["gfw", "not fetched yet", "0", "0", "", URL],
    ]


@pytest.mark.usefixtures("running")
def test_one_list_in_full(byway: Byway) -> None:
    rows = byway("list", "show", "own").rows
    assert ["own", "entries", "3 (2 domains, 1 prefix)"] in rows
    assert ["own", "skipped", "1 line: unreadable"] in rows
    assert ["own", "", 'own.txt:4: "?? ?" is neither a domain nor an address'] in rows
    assert [it["name"] for it in byway("list", "show", "own", "--json").json["lists"]] == ["own"]


@pytest.mark.usefixtures("running", "person")
def test_for_a_person(byway: Byway) -> None:
    ran = byway("list", "show", "gfw")
    assert "not fetched yet" in ran.out
    assert "never" in ran.out
    assert "relays only" in ran.out


@pytest.mark.usefixtures("running")
def test_an_unknown_list_is_a_misuse(byway: Byway) -> None:
    for words in (("list", "show", "gwf"), ("list", "refresh", "gwf")):
        ran = byway(*words)
        assert ran.code in (Exit.USAGE, Exit.FAILED)
        assert 'unknown list "gwf"; did you mean gfw?' in ran.err


def test_a_running_byway_fetches(byway: Byway, running: Running) -> None:
    ran = byway("list", "refresh", "gfw")
    assert ran.code == Exit.BAD
    (row,) = ran.rows
    assert row[:3] == ["gfw", "failed", "0"]
    assert row[3].startswith("through tor: ")
    as_json = byway("list", "refresh", "gfw", "--json").json
    assert [it["result"] for it in as_json["results"]] == ["failed"]
    assert as_json["problem"] == ""
    shown = byway("list", "show", "gfw")
    assert shown.code == Exit.BAD
    assert any(row[1] == "last error" for row in shown.rows)


@pytest.mark.usefixtures("person")
def test_why_a_list_was_not_fetched_is_a_sentence(byway: Byway, running: Running) -> None:
    running.do(lambda: running.world.copies.replace(CopyInfo(URL, fetched_at=1.0, entries=2), b"a.test\nb.test\n"))
    ran = byway("list", "refresh")
    assert ran.out.startswith("gfw: not fetched: through tor: ")
    assert "The last good copy stays in use: 2 entries." in ran.out


def test_the_edited_configuration_that_is_not_in_use_is_told(byway: Byway, running: Running) -> None:
    running.do(lambda: running.world.counters.update(config_problem="config.toml:3: wrong"))
    assert "The edited configuration is not in use: config.toml:3: wrong" in byway("list", "refresh", "gfw").err


# -- without a running Byway -------------------------------------------------------------------------------------------


def configure(home: Home, servers: Servers, *, via: str = "relay", rules: str = "LIST,gfw,RELAY\n") -> None:
    servers.source.answers["/list.txt"] = page(GOOD)
    home.config.write_text(
        f'config_version = 1\n[[relay]]\nname = "tor"\nurl = "{servers.relay_url}"\n'
        f'[[list]]\nname = "gfw"\nsource = "{servers.url("/list.txt")}"\nvia = "{via}"\n'
    )
    home.config.with_name("rules.txt").write_text(rules)


def test_a_list_that_a_rule_needs_is_fetched_before_the_first_start(byway: Byway, home: Home, servers: Servers) -> None:
    configure(home, servers)
    before = byway("rule", "check")
    assert before.code == Exit.CONFIG
    assert "list gfw: not fetched yet; run `byway list refresh gfw`" in before.err
    ran = byway("list", "refresh", "gfw")
    assert (ran.code, ran.rows) == (Exit.DONE, [["gfw", "replaced", "10", ""]])
    assert servers.relay.asked == [f"lists.test:{servers.source.port}"]
    checked = byway("rule", "check")
    assert checked.code == Exit.DONE
    assert checked.out.startswith("list gfw: lines read: 10, skipped: 0\n")
    assert byway("list", "show").rows[1][:3] == ["gfw", "in use", "10"]
    assert byway("list", "refresh", "--json").json["results"] == [
        {"list": "gfw", "result": "unchanged", "entries": 10, "why": "", "remedy": ""}
    ]


def test_what_cannot_be_fetched_keeps_the_copy(byway: Byway, home: Home, servers: Servers) -> None:
    configure(home, servers)
    byway("list", "refresh")
    servers.source.answers["/list.txt"] = page(b"<html></html>")
    ran = byway("list", "refresh")
    assert (ran.code, ran.rows) == (Exit.BAD, [["gfw", "failed", "10", "a web page came in place of the list"]])
    servers.source.answers["/list.txt"] = page(b"a.test\n")
    assert byway("list", "refresh").rows == [["gfw", "failed", "10", "it has shrunk from 10 entries to 1"]]
    assert byway("list", "refresh", "--accept-smaller").rows == [["gfw", "replaced", "1", ""]]


def test_a_rule_forbids_direct_without_a_running_byway_too(byway: Byway, home: Home, servers: Servers) -> None:
    configure(home, servers, via="direct", rules="DOMAIN-SUFFIX,lists.test,RELAY\nLIST,gfw,RELAY\n")
    ran = byway("list", "refresh")
    assert ran.rows == [["gfw", "failed", "0", "is at a host for which a rule or an addon forbids direct"]]
    assert servers.source.connections == 0


def test_a_rule_keeps_relays_from_a_source_without_a_running_byway_too(
    byway: Byway, home: Home, servers: Servers
) -> None:
    configure(home, servers, rules="DOMAIN-SUFFIX,lists.test,BLOCK\nLIST,gfw,RELAY\n")
    assert byway("list", "refresh").rows == [
        ["gfw", "failed", "0", "a rule blocks its host, or leaves no relay for it"]
    ]
    other = '[[relay]]\nname = "other"\nurl = "socks5h://127.0.0.1:9"\n'
    configure(home, servers, rules="DOMAIN-SUFFIX,lists.test,RELAY:other\nLIST,gfw,RELAY\n")
    home.config.write_text(home.config.read_text() + other)
    (row,) = byway("list", "refresh").rows
    assert row[3].startswith("through other: ")
    assert (servers.relay.connections, servers.source.connections) == (0, 0)


def test_an_override_forbids_direct_too(byway: Byway, home: Home, servers: Servers) -> None:
    from proxy.model import Action, Override
    from proxy.store.store import Store

    store = Store(home.state / "byway.sqlite")
    store.start()
    store.set_override("lists.test", Override(Action.RELAY))
    store.close()
    configure(home, servers, via="direct")
    assert byway("list", "refresh").rows[0][3] == "is at a host for which a rule or an addon forbids direct"
    assert servers.source.connections == 0


def test_a_damaged_configuration_is_said(byway: Byway, home: Home) -> None:
    home.config.write_text("config_version = 1\n[[list]]\nname = 'x'\nsource = 'http://lists.test/'\n")
    ran = byway("list", "refresh")
    assert ran.code == Exit.CONFIG
    assert "config.toml:4: the source of a list cannot be http://" in ran.err


def test_nothing_to_fetch_is_said(byway: Byway, home: Home) -> None:
    home.config.write_text("config_version = 1\n[[list]]\nname = 'x'\nsource = 'x.txt'\n")
    home.config.with_name("x.txt").write_text("a.test\n")
    assert "nothing to fetch" in byway("list", "refresh").err
    assert "list x is a file" in byway("list", "refresh", "x").err
    assert byway("list", "show").rows[1][:3] == ["x", "in use", "1"]


def test_no_list_at_all_is_said(byway: Byway) -> None:
    ran = byway("list", "show")
    assert ran.code == Exit.DONE
    assert "There is no list." in ran.err


def test_a_copy_that_others_could_change_is_not_used(byway: Byway, home: Home, servers: Servers) -> None:
    configure(home, servers, rules="LIST,gfw,PREFER-RELAY\n")
    byway("list", "refresh")
    url = f"https://lists.test:{servers.source.port}/list.txt"
    ListCopies(home.state / "lists").file(url).write_bytes(b"\xff\xfe")
    shown = byway("list", "show", "gfw")
    assert shown.code == Exit.BAD
    assert any("its copy cannot be used" in row[2] for row in shown.rows)


# -- beside visits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_diff_keeps_the_ends_of_the_lines(byway: Byway, running: Running, end: str) -> None:
    text = f"a.test{end}b.test{end}"
    running.see(works("www.a.test", at=time.time()))
    running.do(lambda: running.world.list_texts.update(own=text))
    diff = byway("list", "report", "own", "--diff").out
    assert f"-a.test{end}" in diff
    assert patched(text, diff) == f"b.test{end}"


@pytest.mark.uses("sites")
def test_a_report_names_free_and_blocked_sites(byway: Byway, running: Running) -> None:
    running.see(works("www.a.test", at=time.time()), works("other.test", at=time.time()))
    blocked = Belief("blocked.test", HOME, State.BLOCKED, "sni_reset", since=time.time(), until=time.time() + 1e6)
    running.do(lambda: running.world.beliefs._state.stored.put((HOME, "blocked.test"), blocked))
    running.do(lambda: running.world.list_texts.update(own=TEXT))
    rows = byway("list", "report", "own").rows
    assert rows[0] == ["here", "site", "why", "when"]
    assert [row[:3] for row in rows[1:]] == [
        ["free", "www.a.test", "listed as a.test"],
        ["blocked", "blocked.test", "blocked: Name filter"],
    ]
    diff = byway("list", "report", "own", "--diff").out
    assert patched(TEXT, diff) == "b.test\n192.0.2.0/24\n?? ?\nblocked.test\n"
    assert byway("list", "report", "own", "--diff", "--json").json["diff"]["text"] == diff


@pytest.mark.usefixtures("running")
def test_a_report_without_visits_says_so(byway: Byway) -> None:
    ran = byway("list", "report", "own")
    assert (ran.code, len(ran.rows)) == (Exit.DONE, 1)
    assert "Your visits on this network say nothing about list own." in ran.err
    assert "Nothing to change." in byway("list", "report", "own", "--diff").err
    assert 'unknown list "ow"; did you mean own?' in byway("list", "report", "ow").err


def test_a_report_needs_a_running_byway(byway: Byway) -> None:
    assert byway("list", "report", "own").code == Exit.NOT_RUNNING


def test_a_list_whose_sites_are_relayed_is_told(byway: Byway, running: Running) -> None:
    running.world.rules = "LIST,own,RELAY\n"
    running.do(running.world.overrides_changed)
    assert "A RELAY rule uses the list, so its sites are not tried direct." in byway("list", "report", "own").err


@pytest.mark.usefixtures("person")
def test_a_line_of_a_list_cannot_act_on_the_terminal(byway: Byway, running: Running) -> None:
    text = "a.test # \x1b[2J\nb.test\n"
    running.do(lambda: running.world.lists.update(own=parse_list(iter([text]), size=len(text), source="own.txt")))
    running.do(running.world.overrides_changed)
    running.do(lambda: running.world.list_texts.update(own=text))
    running.see(works("www.a.test", at=time.time()))
    out = byway("list", "report", "own", "--diff").out
    assert "-a.test" in out
    assert "\x1b" not in out


def test_a_list_that_is_a_file_has_a_size_and_an_age(byway: Byway, home: Home) -> None:
    file = home.config.with_name("mine.txt")
    file.write_text("a.test\n" * 1000)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    home.config.write_text('config_version = 1\n[[list]]\nname = "mine"\nsource = "mine.txt"\n')
    facts = dict(row[1:] for row in byway("list", "show", "mine").rows[1:])
    assert facts["size"] == "7.0 kB"
    assert facts["changed"].startswith("2023-11-14T22:13:20+00:00 (")
    (told,) = byway("list", "show", "--json").json["lists"]
    assert (told["bytes"], told["written_at"]) == (7000, 1_700_000_000)
