"""`byway rule export`: what is exported, and what is told beside it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import open_uplink, rescued

pytestmark = pytest.mark.usefixtures("lists_tried_once")

RULES = """\
DOMAIN-SUFFIX,a.example,RELAY
DOMAIN,www.b.example,RELAY:tor
IP-CIDR,192.0.2.0/24,RELAY
DOMAIN,203.0.113.7,RELAY
LIST,gfw,RELAY
DST-PORT,22,RELAY
DOMAIN-KEYWORD,ads,BLOCK
DOMAIN-SUFFIX,d.example,DIRECT
"""
CONFIG = """\
config_version = 1
[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9050"
[[list]]
name = "gfw"
source = "gfw.txt"
"""


@pytest.fixture
def files(home: Home) -> Path:
    home.config.write_text(CONFIG)
    home.config.with_name("gfw.txt").write_text("listed.example\n198.51.100.0/24\n")
    rules = home.config.with_name("rules.txt")
    rules.write_text(RULES)
    return rules


def test_rules_with_an_action_are_exported(byway: Byway, files: Path) -> None:
    ran = byway("rule", "export", "--format", "plain")
    assert ran.out == "a.example\nwww.b.example\n192.0.2.0/24\n203.0.113.7\nlisted.example\n198.51.100.0/24\n"
    assert ran.err.splitlines() == [
        "6 entries in format plain.",
        "1 written with their subdomains, since the format has no single hosts.",
        "Not exported, since the format cannot say it: DST-PORT rule: 1.",
    ]
    assert byway("rule", "export", "--format", "plain", "--action", "relay:tor", "-q").out == "www.b.example\n"
    assert byway("rule", "export", "--format", "v2fly", "--action", "block").out == "keyword:ads\n"
    told = byway("rule", "export", "--format", "hosts", "--json").json
    assert (told["entries"], told["changed"]) == (3, {"narrowed": 2})
    assert told["left_out"] == {"DST-PORT rule": 1, "prefix": 3}
    assert told["text"].startswith("0.0.0.0 a.example\n")


def test_a_list_is_exported(byway: Byway, files: Path) -> None:
    ran = byway("rule", "export", "--format", "clash", "--list", "gfw")
    assert ran.out == "payload:\n  - 'DOMAIN-SUFFIX,listed.example'\n  - 'IP-CIDR,198.51.100.0/24'\n"
    assert ran.err == "2 entries in format clash.\n"
    refused = byway("rule", "export", "--format", "clash", "--list", "gwf")
    assert (refused.code, 'unknown list "gwf"; did you mean gfw?' in refused.err) == (2, True)


def test_subdomains_alone_are_exported_with_their_domain_where_a_format_has_no_words_for_them(
    byway: Byway, files: Path
) -> None:
    files.with_name("gfw.txt").write_text("[AutoProxy 0.2.9]\n.below.example\n")
    ran = byway("rule", "export", "--format", "plain", "--list", "gfw")
    assert ran.out == "below.example\n"
    assert ran.err.splitlines()[1:] == [
        "1 written with the domain itself, since the format cannot name its subdomains alone."
    ]


@pytest.mark.uses("sites")
def test_sites_that_were_found_blocked_are_exported(byway: Byway, files: Path, running: Running) -> None:
    beliefs = running.world.beliefs

    def learn() -> None:
        for at in (time.time() - 200, time.time() - 100, time.time() - 1):
            open_uplink(beliefs, now=at)
            beliefs.learn(rescued(host="blog.example.net", at=at), network=running.world.parts.network(), now=at)

    running.do(learn)
    assert byway("rule", "export", "--format", "v2fly", "--learned").out == "full:blog.example.net\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--format", "plain", "--list", "gfw", "--learned"],
        ["--format", "odd"],
        [],
        ["--format", "plain", "--action", "x"],
        ["--format", "plain", "--action", "RELAY:tro"],
    ],
)
def test_wrong_usage_ends_with_2(byway: Byway, files: Path, words: list[str]) -> None:
    ran = byway("rule", "export", *words)
    assert (ran.code, ran.out) == (2, "")
