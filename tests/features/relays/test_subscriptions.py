"""Subscriptions: added, followed and removed by commands; without a running Byway, a command fetches itself."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from proxy.config.schema import SubscriptionConfig
from proxy.model.errors import BywayError
from proxy.model.feature import Feature
from proxy.store import list_copies
from proxy.store.list_copies import ListCopies
from proxy.terminal import fetching, terminal
from proxy.terminal.exit_codes import Exit
from tests.support.command_line import Byway, Home, Running
from tests.support.control_world import World
from tests.support.fetched import Servers, servers
from tests.support.list_source import endless, page, redirect
from tests.support.rows import each_row

__all__ = ["servers"]

pytestmark = pytest.mark.uses("settings", "rules", "imports")

PATH = "/api/hunter2/sub?token=hunter2"
KEY = "trojan://hunter2@k.example:443?allowInsecure=1#Key"


def listed(*names: str) -> bytes:
    """A file as shops serve it: links in base64."""
    links = [f"socks5h://me:hunter2@{name.lower()}.example:1080#{name}" for name in names]
    return base64.b64encode("\n".join((*links, KEY)).encode())


@pytest.fixture
def url(home: Home, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BYWAY_DNS__SERVERS", "[]")  # a fetch tries the relays of the subscription as well
    servers.source.answers[PATH] = page(
        listed("DE", "NL"), subscription_userinfo="upload=1000; download=2000; total=50000; expire=4102444800"
    )
    home.config.write_text(f'# mine\nconfig_version = 1\n\n[[relay]]\nname = "tor"\nurl = "{servers.relay_url}"\n')
    return servers.url(PATH)


def added(byway: Byway, url: str) -> None:
    ran = byway("relay", "add", url, "--name", "shop")
    assert ran.code == 0, ran.err


def members(byway: Byway) -> dict[str, str]:
    """The relays of the subscription, with their states."""
    rows = byway("relay", "list").rows
    return {row[0]: row[1] for row in rows if row[0].startswith("shop/")}


def test_the_address_of_an_outline_key_is_a_subscription_of_one_key(
    byway: Byway, home: Home, servers: Servers, url: str
) -> None:
    outline = {"server": "k.example", "server_port": 8388, "password": "hunter2", "method": "aes-256-gcm"}
    servers.source.answers[PATH] = page(json.dumps(outline).encode())
    ran = byway("relay", "add", f"ssconf{url.removeprefix('https')}#Outline", "--name", "outline")
    assert ran.code == 0, ran.err
    assert ran.rows[1][1:] == ["added", "ss://k.example:8388"]
    assert f'[[subscription]]\nname = "outline"\nsource = "{url}"\n' in home.config.read_text()
    assert "hunter2" not in ran.out + ran.err
    again = byway("relay", "add", f"ssconf{url.removeprefix('https')}")
    assert again.code == Exit.USAGE
    assert "subscription outline has this address" in again.err


@each_row("form", ["clash://install-config?name=x&url={quoted}", "sub://{encoded}#Shop"])
def test_a_link_of_another_client_adds_its_address(byway: Byway, home: Home, url: str, form: str) -> None:
    link = form.format(quoted=quote(url, safe=""), encoded=base64.b64encode(url.encode()).decode())
    ran = byway("relay", "add", link, "--name", "shop")
    assert ran.code == 0, ran.err
    assert f'source = "{url}"' in home.config.read_text()
    assert [*members(byway)] == ["shop/DE", "shop/NL"]
    assert byway("relay", "rm", "shop").code == 0


OUTLINE = (
    "transport:\n  $type: tcpudp\n  tcp:\n    $type: shadowsocks\n    endpoint: ss.example:80\n    secret: hunter2\n"
)


@each_row(
    ("file", "said"),
    [
        (OUTLINE, "it is a key in Outline's own notation (transport:), which can name several servers and ways: ask"),
        (json.dumps({"transport": {"$type": "tcpudp", "tcp": {"secret": "hunter2"}}}), "Outline's own notation"),
        ("error:\n  message: hunter2 ended\n", "its server says an error in place of a key, as Outline does"),
        (json.dumps({"error": {"message": "hunter2"}}), "its server says an error in place of a key, as Outline does"),
        (json.dumps({"server": "k.example", "server_port": 1, "password": "hunter2", "method": "aes-256-gcm",
                     "prefix": "POST "}),
         "field prefix: bytes of Outline before the first packet are not supported"),
    ],
)  # fmt: skip
def test_a_file_of_outline_that_is_not_supported_says_what_it_is(
    byway: Byway, home: Home, servers: Servers, url: str, file: str, said: str
) -> None:
    before = home.config.read_text()
    servers.source.answers[PATH] = page(file.encode())
    ran = byway("relay", "add", f"ssconf{url.removeprefix('https')}", "--name", "outline")
    assert ran.code == Exit.CONFIG
    assert said in ran.err
    assert "hunter2" not in ran.out + ran.err
    assert home.config.read_text() == before


def test_a_subscription_is_fetched_through_a_relay_and_is_a_group(
    byway: Byway, home: Home, servers: Servers, url: str
) -> None:
    ran = byway("relay", "add", url, "--name", "shop")
    assert ran.code == 0, ran.err
    assert [row[:2] for row in ran.rows[1:4]] == [["shop/DE", "added"], ["shop/NL", "added"], ["Key", "not taken"]]
    assert ran.rows[3][2].startswith("this Trojan key for k.example:443 (Key) is not supported: ")
    assert re.search("Its server says: 3.0 kB of 50(.0)? kB used, expires (2099-12-31|2100-01-01)[.]", ran.err)
    assert servers.relay.asked == [f"lists.test:{servers.source.port}"]
    (head,) = servers.source.heads
    assert "User-Agent: v2rayN/7.12\r\n" in head
    assert not re.search("cookie|hwid|device|etag|if-modified", head, re.IGNORECASE)
    assert home.config.read_text() == (
        f'# mine\nconfig_version = 1\n\n[[relay]]\nname = "tor"\nurl = "{servers.relay_url}"\n'
        f'[[subscription]]\nname = "shop"\nsource = "{url}"\nrefresh = "1d"\n'
    )
    shown = byway("relay", "list", "--json").json
    assert [group["relays"] for group in shown["groups"]] == [["shop/DE", "shop/NL"]]
    (subscription,) = shown["subscriptions"]
    assert (subscription["relays"], subscription["not_taken"]) == (2, 1)
    assert (subscription["used_bytes"], subscription["total_bytes"], subscription["expires_at"]) == (
        3000,
        50000,
        4102444800,
    )
    assert byway("config", "check").code == 0


def test_its_address_can_be_kept_out_of_the_history_of_the_shell(
    byway: Byway, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = "its address is now in your shell's history. Next time use `byway relay add -`"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{url}\n"))
    ran = byway("relay", "add", "-", "--name", "shop")
    assert (ran.code, warned in ran.err, "`byway relay test shop`" in ran.err) == (0, False, True), ran.err
    assert [*members(byway)] == ["shop/DE", "shop/NL"]
    assert byway("relay", "rm", "shop").code == 0
    assert warned in byway("relay", "add", url).err


def test_a_key_by_its_link_is_a_relay(byway: Byway, home: Home, servers: Servers, url: str) -> None:
    servers.source.answers[PATH] = page(
        b"trojan://hunter2@k.example:443#Key\nss://YWVzLTI1Ni1nY206aHVudGVyMg@s.example:1#S"
    )
    ran = byway("relay", "add", url, "--name", "shop")
    assert ran.rows[1:3] == [["shop/Key", "added", "trojan://k.example:443"], ["shop/S", "added", "ss://s.example:1"]]
    assert [*members(byway)] == ["shop/Key", "shop/S"]
    for command in (("relay", "list", "--json"), ("config", "show"), ("status", "--json"), ("config", "check")):
        ran = byway(*command)
        assert "hunter2" not in ran.out + ran.err
        assert "aHVudGVyMg" not in ran.out + ran.err
    servers.source.answers[PATH] = page(b"trojan://another@k.example:443#Key")
    assert byway("relay", "refresh").rows[1][:3] == ["shop", "replaced", "1"]
    assert [*members(byway)] == ["shop/Key"]


def test_at_a_terminal_a_list_with_a_subscription_alone_is_not_empty(
    byway: Byway, home: Home, url: str, person: None
) -> None:
    added(byway, url)
    assert byway("relay", "rm", "tor").code == 0
    ran = byway("relay", "list")
    assert "There is no relay" not in ran.out + ran.err
    assert "`byway relay list --all`" in ran.err
    assert "shop/DE" in byway("relay", "list", "--all").out
    assert byway("relay", "rm", "shop").code == 0
    ran = byway("relay", "list")
    assert "There is no relay" in ran.out + ran.err
    assert "--all" not in ran.err


def test_rules_name_the_group_and_not_its_relays(byway: Byway, home: Home, url: str) -> None:
    added(byway, url)
    assert byway("rule", "add", "DOMAIN,a.example,RELAY:shop").code == 0
    ran = byway("rule", "add", "DOMAIN,b.example,RELAY:shop/DE")
    assert (ran.code, 'unknown relay "shop/DE"' in ran.err) == (Exit.CONFIG, True)
    plan = byway("rule", "test", "a.example", "--json").json["plan"]
    assert plan["routes"] == ["shop/DE", "shop/NL"]
    file = home.config.parent / "more.json"
    file.write_text('[{"outboundTag": "proxy", "domain": ["full:c.example"]}]')
    assert byway("import", str(file), "--relay", "shop", "--yes").code == 0
    assert "DOMAIN,c.example,RELAY:shop" in home.config.with_name("rules.txt").read_text()
    ran = byway("relay", "rm", "shop")
    assert (ran.code, "rules.txt:1 (DOMAIN,a.example,RELAY:shop)" in ran.err) == (Exit.USAGE, True)


def test_names_and_what_the_person_chose_stay_over_a_refresh(
    byway: Byway, home: Home, servers: Servers, url: str
) -> None:
    added(byway, url)
    assert byway("relay", "disable", "shop/NL").code == 0
    assert byway("relay", "order", "shop/NL").code == 0
    table = tomllib.loads(home.config.read_text())["subscription"][0]
    assert (table["disabled"], table["order"]) == (["shop/NL"], ["shop/NL"])
    assert members(byway) == {"shop/NL": "disabled", "shop/DE": "not tested"}
    links = "socks5h://me:other@nl.example:1080#NL (3 days left)\nsocks5h://new.example:1080#DE\nsocks5h://fr.example:1#FR\n"
    servers.source.answers[PATH] = page(links.encode())
    assert byway("relay", "refresh", "shop").rows[1:] == [["shop", "replaced", "3", ""]]
    assert members(byway) == {"shop/NL": "disabled", "shop/DE": "not tested", "shop/FR": "not tested"}
    urls = {relay["name"]: relay["url"] for relay in byway("relay", "list", "--json").json["relays"]}
    assert urls["shop/DE"] == "socks5h://new.example:1080"
    servers.source.answers[PATH] = page(links.replace("#DE", "#Germany").encode())
    assert byway("relay", "refresh", "shop").code == 0
    assert list(members(byway)) == ["shop/NL", "shop/DE", "shop/FR"]
    assert byway("relay", "enable", "shop/NL").code == 0
    assert "disabled" not in home.config.read_text()


@each_row(
    ("answer", "why"),
    [
        (page(b"<!doctype html><html><body>sign in</body></html>", kind="text/html"), "a web page came in place"),
        (page(b"no", status="403 Forbidden"), "answered 403 (it refuses this address, or this way to it)"),
        (page(listed()), "none of its 1 entries is taken"),
        (page(b""), "it is empty"),
        (page(b"\r\n \n"), "it is empty"),
        (redirect("http://lists.test/sub"), "redirects to http://, which is not encrypted"),
        (redirect("https://192.168.1.1/sub"), "redirects to 192.168.1.1, which is no public place"),
        (page(b"", status="401 Unauthorized"), "answered 401 (it refuses this address)"),
        (page(b"", status="429 Too Many Requests"), "answered 429 (it was asked too often)"),
        (page(listed(), subscription_userinfo="expire=1"), "none of its 1 entries is taken"),
        (page(b"hello"), "what came cannot be used"),
        (page(b"\xff\xfe\x00"), "what came cannot be used"),
        (page(b"x" * (1024 * 1024 + 1)), "is larger than 1,048,576 bytes"),
        (endless, "is larger than 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_a_bad_answer_keeps_the_last_good_copy(
    byway: Byway, servers: Servers, url: str, answer: object, why: str
) -> None:
    if not members(byway):
        added(byway, url)
    servers.source.answers[PATH] = answer  # type: ignore[assignment]
    ran = byway("relay", "refresh")
    assert (ran.code, ran.rows[1][:3]) == (Exit.BAD, ["shop", "failed", "2"]), ran.out
    assert why in ran.rows[1][3]
    assert members(byway) == {"shop/DE": "not tested", "shop/NL": "not tested"}
    told = byway("relay", "list").err
    assert f"Subscription shop could not be fetched: {ran.rows[1][3]} To do: byway relay refresh shop" in told
    assert "hunter2" not in ran.out + ran.err + told


def test_a_full_disk_adds_nothing_and_keeps_the_last_good_copy(
    byway: Byway, home: Home, servers: Servers, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = home.config.read_text()

    def full(path: Path, _: object) -> None:
        raise BywayError(f"{path} cannot be written: no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(list_copies, "write_private", full)
        ran = byway("relay", "add", url, "--name", "shop")
        assert (ran.code, "no space left on device" in ran.err) == (1, True), ran.err
        assert home.config.read_text() == before
    added(byway, url)
    servers.source.answers[PATH] = page(listed("FR", "SE"))
    with monkeypatch.context() as disk:
        disk.setattr(list_copies, "write_private", full)
        (row,) = byway("relay", "refresh").rows[1:]
        assert (row[:3], "no space left on device" in row[3]) == (["shop", "failed", "2"], True)
    assert members(byway) == {"shop/DE": "not tested", "shop/NL": "not tested"}
    assert byway("relay", "refresh").rows[1] == ["shop", "replaced", "2", ""]


def test_a_file_that_shrank_is_taken_only_if_the_person_says_so(byway: Byway, servers: Servers, url: str) -> None:
    servers.source.answers[PATH] = page(listed("A", "B", "C", "D", "E"))
    added(byway, url)
    servers.source.answers[PATH] = page(listed("A", "B"))
    ran = byway("relay", "refresh")
    assert ran.rows[1] == ["shop", "failed", "5", "it has shrunk from 5 relays to 2"]
    assert "If shop has become that small: `byway relay refresh shop --accept-smaller`" in ran.err
    assert "--direct" not in ran.err, "another way would bring the same"
    assert byway("relay", "refresh", "--accept-smaller").rows[1] == ["shop", "replaced", "2", ""]
    assert list(members(byway)) == ["shop/A", "shop/B"]


def test_the_second_request_has_the_day_of_the_first_and_nothing_that_the_server_chose(
    byway: Byway, servers: Servers, url: str
) -> None:
    servers.source.answers[PATH] = page(
        listed("DE"), etag='"abc"', set_cookie="id=1", profile_update_interval="1", profile_web_page_url="https://evil.example",
        announce="run this", x_hwid_limit="1",
    )  # fmt: skip
    added(byway, url)
    byway("relay", "refresh")
    head = servers.source.heads[-1]
    assert re.search(r"If-Modified-Since: \w{3}, \d\d \w{3} \d{4} 00:00:00 GMT\r\n", head)
    assert "abc" not in head
    assert "cookie" not in head.lower()
    assert servers.relay.asked == [f"lists.test:{servers.source.port}"] * 2


def test_its_address_and_its_relays_are_secrets_everywhere(byway: Byway, home: Home, url: str) -> None:
    added(byway, url)
    for words in (
        ["relay", "list"], ["relay", "list", "--json"], ["relay", "list", "-v"], ["config", "show", "--all"],
        ["config", "show", "--json"], ["config", "export"], ["relay", "refresh"], ["config", "check"],
        ["relay", "add", url], ["rule", "list"],
    ):  # fmt: skip
        ran = byway(*words)
        assert "hunter2" not in ran.out + ran.err, words
    exported = byway("config", "export").out
    assert "https://lists.test" in exported
    assert "What may be a secret in the URL of subscription shop is left out" in byway("config", "export").err
    assert "shop/DE" not in byway("config", "show", "--all").out


def test_an_export_that_is_imported_here_keeps_the_address(byway: Byway, home: Home, url: str) -> None:
    added(byway, url)
    before = home.config.read_text()
    file = home.config.parent.parent / "export.toml"
    assert byway("config", "export", "-o", str(file)).code == 0
    ran = byway("config", "import", str(file), "--yes")
    assert ran.code == 0, ran.err
    assert home.config.read_text() == before


def test_copies_are_the_owners_alone(byway: Byway, home: Home, url: str) -> None:
    added(byway, url)
    files = list((home.state / "lists").iterdir())
    assert len(files) == 3
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3


def test_a_copy_that_is_lost_or_damaged_is_a_group_by_which_nothing_opens(
    byway: Byway, home: Home, servers: Servers, url: str
) -> None:
    added(byway, url)
    byway("rule", "add", "DOMAIN,a.example,RELAY:shop")
    copies = ListCopies(home.state / "lists")
    for spoil in (lambda: copies.file(url).write_bytes(b"hello"), lambda: copies.file(url).unlink()):
        spoil()
        assert members(byway) == {}
        assert byway("config", "check").code == 0
        assert byway("rule", "test", "a.example", "--json").json["plan"]["routes"] == []
    assert byway("relay", "refresh").rows[1][:3] == ["shop", "replaced", "2"]
    assert list(members(byway)) == ["shop/DE", "shop/NL"]


def test_without_a_working_relay_the_person_is_asked_once(
    byway: Byway, home: Home, servers: Servers, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.config.write_text(
        'config_version = 1\n[dns.hosts]\n"lists.test" = "127.0.0.1"\n[safety]\nallow = ["lists.test"]\n'
    )
    ran = byway("relay", "add", url, "--name", "shop")
    assert (ran.code, servers.source.heads) == (Exit.CONFIG, [])
    assert "to fetch it direct, so that your provider sees lists.test: --direct" in ran.err
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return True

    monkeypatch.setattr(fetching, "confirm", confirm)
    monkeypatch.setattr(sys, "stdin", _Terminal())
    added(byway, url)
    assert questions == ["Fetch it direct? Your provider sees lists.test."]
    assert "via" not in tomllib.loads(home.config.read_text())["subscription"][0], "the next fetch goes through relays"


def test_a_refresh_that_no_relay_can_do_is_done_direct_if_the_person_says_so(
    byway: Byway, home: Home, servers: Servers, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when all relays of the subscription were replaced: only the new file has some that work."""
    added(byway, url)
    home.config.write_text(
        home.config.read_text().replace(servers.relay_url, "socks5h://127.0.0.1:1")
        + '[dns.hosts]\n"lists.test" = "127.0.0.1"\n[safety]\nallow = ["lists.test"]\n'
    )
    servers.source.answers[PATH] = page(listed("FR", "SE"))
    count = len(servers.source.heads)
    ran = byway("relay", "refresh", "shop")
    assert (ran.code, len(servers.source.heads)) == (Exit.BAD, count)
    assert ran.rows[1][3].startswith("through tor: ")
    assert "To fetch direct, so that your provider sees lists.test: `byway relay refresh shop --direct`" in ran.err
    (line,) = byway("relay", "refresh", "shop", "--json").json["results"]
    assert (line["remedy"], line["host"]) == ("direct", "lists.test")
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return len(questions) > 1

    monkeypatch.setattr(terminal, "confirm", confirm)
    monkeypatch.setattr(sys, "stdin", _Terminal())
    assert byway("relay", "refresh", "shop").code == Exit.BAD, "the person said no"
    assert len(servers.source.heads) == count
    ran = byway("relay", "refresh", "shop")
    assert (ran.code, ran.rows[-1]) == (0, ["shop", "replaced", "2", ""])
    assert questions == ["Fetch direct? Your provider sees lists.test."] * 2
    assert list(members(byway)) == ["shop/FR", "shop/SE"]
    assert "via" not in home.config.read_text(), "the next one goes through relays again"
    servers.source.answers[PATH] = page(listed("NO", "SE"))
    assert byway("relay", "refresh", "shop", "--direct").rows[1][1] == "replaced"


def test_an_account_that_is_over_is_told_as_it_is_added_and_later(
    byway: Byway, home: Home, servers: Servers, url: str
) -> None:
    over = "upload=1; download=49999; total=50000; expire=1000000000"
    servers.source.answers[PATH] = page(listed("DE"), subscription_userinfo=over)
    ran = byway("relay", "add", url, "--name", "shop")
    sentences = (
        "The account of subscription shop expired on 2001-09-09, says its server.",
        "The account of subscription shop has used all of its 50.0 kB, says its server.",
    )
    listed_now = byway("relay", "list")
    for sentence in sentences:
        assert sentence in ran.err
        assert sentence in listed_now.err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@each_row(
    ("words", "said"),
    [
        (["relay", "disable", "shop/typo"], 'there is no relay "shop/typo"'),
        (["relay", "enable", "shop/typo"], 'there is no relay "shop/typo"'),
        (["relay", "enable", "none/DE"], 'there is no relay "none/DE"'),
        (["relay", "order", "shop/DE", "tor"], "relays of one subscription can be put in another order at a time"),
        (["relay", "rm", "shop/DE"], "relay shop/DE is of a subscription: `byway relay disable shop/DE`"),
        (["relay", "refresh", "shp"], 'unknown subscription "shp"; did you mean shop?'),
        (["relay", "add", "socks5h://h.example:1", "--direct"], "--direct is for a subscription"),
    ],
)
def test_what_cannot_be_meant_is_said(byway: Byway, home: Home, url: str, words: list[str], said: str) -> None:
    if "[[subscription]]" not in home.config.read_text():
        added(byway, url)
    before = home.config.read_text()
    ran = byway(*words)
    assert (ran.code, said in ran.err) == (Exit.USAGE, True), ran.err
    assert home.config.read_text() == before


def test_the_same_address_is_one_subscription_and_it_is_removed_whole(byway: Byway, home: Home, url: str) -> None:
    before = home.config.read_text()
    added(byway, url)
    ran = byway("relay", "add", url)
    assert (ran.code, "`byway relay refresh shop` fetches it again" in ran.err) == (Exit.USAGE, True)
    assert byway("relay", "rm", "shop").code == 0
    assert home.config.read_text() == before
    assert "nothing to fetch" in byway("relay", "refresh").err


@each_row(
    ("table", "said"),
    [
        ('name = "tor"\nsource = "https://h.example/s"', "subscription tor has the name of a relay or a group"),
        ('name = "direct"\nsource = "https://h.example/s"', '"direct" is reserved'),
        ('name = "x"\nsource = "http://h.example/hunter2"', "the source of a subscription is an https:// URL"),
        ('name = "x"\nsource = "https://h.example/s"\nuser_agent = "a\\r\\nb"', "not a text of one line in ASCII"),
        ('name = "x"\nsource = "https://h.example/s"\nrefresh = "1m"', "must be between 15m and 30d"),
    ],
)
def test_a_table_that_cannot_be_is_refused_without_its_address(
    byway: Byway, home: Home, url: str, table: str, said: str
) -> None:
    home.config.write_text(f'[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n[[subscription]]\n{table}\n')
    ran = byway("config", "check")
    assert (ran.code, said in ran.err, "hunter2" in ran.err) == (Exit.CONFIG, True, False), ran.err


@pytest.fixture
def make_world(home: Home, features: Sequence[Feature]) -> Callable[[], World]:
    def make() -> World:
        world = World(path=home.config, features=features)
        world.settings = replace(
            world.settings, subscription=(SubscriptionConfig("shop", "https://lists.test/hunter2", refresh="1d"),)
        )
        world.overrides_changed()
        return world

    return make


def test_a_running_byway_fetches(byway: Byway, running: Running) -> None:
    ran = byway("relay", "refresh", "shop")
    assert (ran.code, ran.rows[1][:3]) == (Exit.BAD, ["shop", "failed", "0"]), ran.err
    assert ran.rows[1][3].startswith("through tor: ")
    assert byway("relay", "refresh", "shop", "--json").json["results"][0]["result"] == "failed"
    shown = byway("relay", "list")
    assert "Subscription shop could not be fetched: through tor: " in shown.err
    assert "hunter2" not in shown.out + shown.err
    ran = byway("relay", "refresh", "shp")
    assert 'unknown subscription "shp"; did you mean shop?' in ran.err


def test_a_person_sees_the_first_relays_of_one_beside_its_group(
    byway: Byway, servers: Servers, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.source.answers[PATH] = page(listed(*"ABCDEFGH"))
    added(byway, url)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert "shop/A, shop/B, shop/C, shop/D, shop/E, and 3 more" in byway("relay", "list").out
    assert "shop/F, shop/G, shop/H" in byway("relay", "list", "--all").out
