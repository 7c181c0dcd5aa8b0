"""The page of the open connections, as it comes from the server, and what its forms do."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from html import unescape

import pytest

from proxy.features.traffic import live_page as live
from proxy.model import DIRECT, Action, Override
from proxy.model.errors import ConfigError
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.opened import Opened, open_three
from tests.support.waiting import until


@pytest.fixture
def closed(world: World) -> list[int]:
    return open_three(world, at=time.time() - 20)


async def html_of(browser: Browser, page: str) -> str:
    status, html = await browser.get(browser.base + page)
    assert status == 200, html
    return html


@pytest.mark.usefixtures("closed")
async def test_open_connections_are_shown_newest_first(browser: Browser) -> None:
    text = await browser.text("live")
    assert "3 connections are open." in text
    rows = (
        r"example\.org – – ◔ connecting .* example\.net curl direct ✓ open 2\.0 kB 100 B \d+ s .*"
        r" a\.example\.org firefox tor ✓ open "
    )
    assert re.search(rows, text), text
    assert "AUTO: nothing is known" in text


async def test_nothing_is_open(browser: Browser) -> None:
    text = await browser.text("live")
    assert "0 connections are open." in text
    assert "Nothing is open. Open a site through Byway, and it appears here." in text


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    ("query", "sentence", "shown"),
    [
        ("site=example.org", "3 connections are open; 2 match.", ["example.org", "a.example.org"]),
        ("route=tor", "3 connections are open; 1 matches.", ["a.example.org"]),
        ("program=curl", "3 connections are open; 1 matches.", ["example.net"]),
        ("site=&route=&program=wget", "3 connections are open; 0 match.", []),
    ],
)
async def test_the_filter(browser: Browser, query: str, sentence: str, shown: list[str]) -> None:
    assert sentence in await browser.text(f"live?{query}")
    html = await html_of(browser, f"live?{query}")
    assert re.findall(r'<th scope="row"><a href="[^"]*/sites/([^"]*)"', html) == shown


async def test_only_the_newest_are_shown(world: World, browser: Browser) -> None:
    for number in range(live.ROWS + 5):
        Opened(world, number, f"host{number}.example", DIRECT, time.time(), [])
    assert f"{live.ROWS + 5} connections are open; the newest {live.ROWS} are shown." in await browser.text("live")
    html = await html_of(browser, "live")
    assert html.count('name="close"') == live.ROWS
    assert len(html) < 200_000, "a tab may ask for it every second"


@pytest.mark.usefixtures("closed")
async def test_a_page_follows_the_connections_until_it_is_paused(browser: Browser) -> None:
    html = await html_of(browser, "live?route=tor")
    assert '<div id="live" data-follows="connections">' in html
    pause = unescape(re.findall(r'href="([^"]*)">Pause<', html)[0])
    assert pause == f"{browser.base}live?route=tor&paused=1"
    html = await html_of(browser, pause.removeprefix(browser.base))
    assert '<div id="live" data-still>' in html
    assert "Paused: this page does not change by itself." in html
    assert unescape(re.findall(r'href="([^"]*)">Continue<', html)[0]) == f"{browser.base}live?route=tor"


async def test_a_connection_is_closed(browser: Browser, closed: list[int]) -> None:
    assert await browser.send("live/close", close="2", route="direct", paused="1") == "live?route=direct&paused=1"
    assert closed == [2]
    assert "Closed: example.net." in await browser.text("live")
    assert await browser.send("live/close", close="2") == "live"
    assert "That connection had ended already." in await browser.text("live")
    assert closed == [2]


async def test_a_connection_is_closed_by_a_form_of_the_page_alone(browser: Browser, closed: list[int]) -> None:
    status, _ = await browser.post(f"{browser.base}live/close", {"close": "2", "token": "0" * 32})
    assert status == 403
    status, _ = await browser.get(f"{browser.base}live/close?close=2")
    assert status == 405
    token = await browser.token()
    status, text = await browser.post(f"{browser.base}live/close", {"close": "2 ", "token": token})
    assert status == 400
    assert "is not the id of a connection" in text
    assert closed == []


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(("word", "action"), [("direct", Action.DIRECT), ("relay", Action.RELAY)])
async def test_an_override_from_a_connection_and_its_undo(
    world: World, browser: Browser, word: str, action: Action
) -> None:
    before = world.overrides["example.net"] = Override(Action.BLOCK)
    world.overrides_changed()
    assert await browser.send("live/override", **{word: "example.net", "route": "tor"}) == "live?route=tor"
    assert world.overrides["example.net"] == Override(action)
    text = await browser.text("live")
    assert "example.net and its subdomains: " in text
    assert "Open connections keep their route." in text
    assert "Undo for example.net: block" in await browser.text("live")
    (change,) = re.findall(r'name="undo" value="([^"]+)"', await html_of(browser, "live"))
    await browser.send("live/override", undo=change)
    assert world.overrides["example.net"] == before


@pytest.mark.usefixtures("closed")
async def test_the_undo_of_an_older_page_undoes_no_other_change(world: World, browser: Browser) -> None:
    await browser.send("live/override", direct="a.example.org")
    (older,) = re.findall(r'name="undo" value="([^"]+)"', await html_of(browser, "live"))
    await browser.send("live/override", relay="b.example.org")
    form = {"token": await browser.token(), "undo": older}
    assert (await browser.post(f"{browser.base}live/override", form))[0] == 409
    assert {host: str(each.action) for host, each in world.overrides.items()} == {
        "a.example.org": "DIRECT",
        "b.example.org": "RELAY",
    }


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    "form",
    [{}, {"direct": "a.example", "relay": "a.example"}, {"direct": "a..b"}, {"action": "block"}],
)
async def test_an_override_that_is_none_is_refused(world: World, browser: Browser, form: dict[str, str]) -> None:
    status, _ = await browser.post(f"{browser.base}live/override", {"token": await browser.token(), **form})
    assert status == 400
    assert not world.overrides


@pytest.mark.usefixtures("closed")
async def test_without_a_relay_none_is_offered(world: World, browser: Browser) -> None:
    assert "Always by a relay" in await browser.text("live")
    world.rules = ""
    world.settings = replace(world.settings, relay=())
    world.overrides_changed()
    assert "Always by a relay" not in await browser.text("live")


async def test_a_rule_is_made_from_a_connection(world: World, browser: Browser, closed: list[int]) -> None:
    html = await html_of(browser, "live")
    (path,) = [unescape(each) for each in re.findall(r'href="([^"]*live/rule[^"]*)"', html) if "a.example.org" in each]
    assert path == f"{browser.base}live/rule?host=a.example.org&program=firefox"
    html = await html_of(browser, path.removeprefix(browser.base))
    assert re.findall(r'<option value="(site|host|domain|program)">([^<]*)<', html) == [
        ("site", "a.example.org and its subdomains"),
        ("host", "a.example.org alone"),
        ("domain", "example.org and its subdomains"),
        ("program", "everything that the program firefox opens"),
    ]
    before = world.rules = "DOMAIN-SUFFIX,ads.example,BLOCK\n"
    form = {"host": "a.example.org", "program": "firefox"}
    assert await browser.send("live/rule", **form, subject="site", action="relay:tor") == "live"
    assert world.rules == f"{before}DOMAIN-SUFFIX,a.example.org,RELAY:tor\n"
    text = await browser.text("live")
    rule = "rules.txt:2 DOMAIN-SUFFIX,a.example.org,RELAY:tor"
    assert f"Added: {rule}. New connections follow it, open ones keep their route." in text
    assert closed == []


async def test_a_rule_that_does_not_decide_says_so(world: World, browser: Browser) -> None:
    world.overrides["example.org"] = Override(Action.DIRECT)
    world.overrides_changed()
    await browser.send("live/rule", host="a.example.org", program="", subject="host", action="relay")
    text = await browser.text("live")
    assert "Added: rules.txt:3 DOMAIN,a.example.org,RELAY." in text
    assert "The override of example.org still decides about a.example.org." in text
    assert "New connections follow it" not in text
    del world.overrides["example.org"]
    world.overrides_changed()
    await browser.send("live/rule", host="b.example.org", program="", subject="host", action="relay")
    text = await browser.text("live")
    assert "It is never used: rules.txt:2 DOMAIN-SUFFIX,example.org,RELAY:tor comes first" in text
    assert "New connections follow it" not in text


@pytest.mark.parametrize(
    ("host", "program", "subject", "action", "line"),
    [
        ("a.example.org", "", "host", "direct", "DOMAIN,a.example.org,DIRECT"),
        ("a.example.org", "", "domain", "prefer-relay", "DOMAIN-SUFFIX,example.org,PREFER-RELAY"),
        ("192.0.2.7", "", "address", "block", "IP-CIDR,192.0.2.7/32,BLOCK"),
        ("2001:db8::7", "", "address", "relay", "IP-CIDR,2001:db8::7/128,RELAY"),
        ("example.org", "Telegram Desktop", "program", "direct", "PROCESS-NAME,Telegram Desktop,DIRECT"),
    ],
)
async def test_the_rules_that_can_be_made(
    world: World, browser: Browser, host: str, program: str, subject: str, action: str, line: str
) -> None:
    await browser.send("live/rule", host=host, program=program, subject=subject, action=action)
    assert world.rules.splitlines()[-1] == line


@pytest.mark.parametrize(
    "form",
    [
        {"host": "a.example\nMATCH,DIRECT", "subject": "site", "action": "direct"},
        {"host": "a.example,DIRECT#", "subject": "site", "action": "direct"},
        {"host": "a.example", "subject": "site", "action": "direct,INSPECT"},
        {"host": "a.example", "subject": "site", "action": "relay:nobody"},
        {"host": "a.example", "subject": "MATCH", "action": "direct"},
        {"host": "a.example", "subject": "address", "action": "direct"},
        {"host": "a.example", "program": "x,DIRECT #", "subject": "program", "action": "direct"},
        {"host": "a.example", "program": "x\nMATCH,DIRECT", "subject": "program", "action": "direct"},
        {"host": "a.example", "subject": "site", "action": "direct", "line": "MATCH,DIRECT"},
        {"host": "a.example", "subject": "site"},
    ],
)
async def test_a_rule_that_is_none_is_refused(world: World, browser: Browser, form: dict[str, str]) -> None:
    before = world.rules
    status, _ = await browser.post(f"{browser.base}live/rule", {"token": await browser.token(), **form})
    assert status == 400
    assert world.rules == before


async def test_a_file_of_rules_that_cannot_be_used_stays_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, browser: Browser
) -> None:
    async def add(_self: object, _line: str) -> object:
        raise ConfigError("rules.txt:3: unknown action DIRCT; did you mean DIRECT?")

    monkeypatch.setattr("tests.support.control_world.RulesFile.add", add)
    await browser.send("live/rule", host="a.example", program="", subject="site", action="direct")
    text = await browser.text("live")
    assert "No rule was added. rules.txt:3: unknown action DIRCT; did you mean DIRECT?" in text


async def test_a_tab_is_told_while_connections_are_open(world: World, browser: Browser) -> None:
    """Once a second at most, and once more when the last one has ended."""
    url = f"{browser.pages.url}{browser.base}events?follows=connections"
    async with asyncio.timeout(30), browser.session.get(url, headers={"Sec-Fetch-Site": "same-origin"}) as events:
        await until(lambda: world.followers == 1)
        open_three(world, at=time.time())
        assert await events.content.readline() == b"event: changed\n"
        world.open_connections.entries.clear()
        await events.content.readuntil(b"event: changed\n")
    status, text = await browser.get(f"{browser.base}events?follows=keys")
    assert (status, "a page can follow connections" in text) == (400, True)
