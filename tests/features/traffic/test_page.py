"""The page Traffic as it comes from the server: what its filter selects, and what its forms do."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape

import pytest

from proxy.config.schema import Log
from proxy.features.traffic import page
from proxy.features.traffic.page import OPEN_ROWS
from proxy.features.traffic.view import ROWS, choose
from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language
from proxy.model import DIRECT, Action, Override
from proxy.model.errors import ConfigError
from proxy.model.feature import Feature
from proxy.model.phrase import _
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.opened import Opened, open_three
from tests.support.outcomes import HOME, failed, outcome, rescued, works
from tests.support.rows import each_row
from tests.support.waiting import until

BLOG = "blog.example.net"


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = World(features=features)
    now = time.time()
    world.see(works("fine.example", at=now - 7200), rescued(host=BLOG, at=now - 60))
    world.see(outcome(failed(), host="evil.example", at=now - 30, error="=1+1"))
    yield world
    world.close()


@pytest.fixture
def closed(world: World) -> list[int]:
    return open_three(world, at=time.time() - 20)


async def html_of(browser: Browser, page: str) -> str:
    status, html = await browser.get(browser.base + page)
    assert status == 200, html
    return html


async def rows(browser: Browser, query: str = "") -> list[str]:
    """Returns the sites of the ended connections on the page."""
    html = (await html_of(browser, f"traffic?{query}")).partition('id="visits"')[2]
    return [unescape(host) for host in re.findall(r'data-label="Site"><span><a href="[^"]*/sites/([^"]*)"', html)]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["evil.example", BLOG, "fine.example"]),
        ("filter=result:direct", ["fine.example"]),
        ("filter=failed", ["evil.example"]),
        ("filter=route:tor+since:1h", [BLOG]),
        ("filter=fine.example&site=evil.example", ["fine.example"]),  # words win over chips
        ("result=rescued", [BLOG]),
        (f"network={HOME}", ["evil.example", BLOG, "fine.example"]),
        ("network=home", ["evil.example", BLOG, "fine.example"]),
        ("network=cafe", []),
        ("when=1h", ["evil.example", BLOG]),
        ("when=since:3h+until:1h", ["fine.example"]),
        ("filter=since:3h+until:1h", ["fine.example"]),
        ("site=example.net&route=tor&result=rescued&when=all", [BLOG]),
        ("site=example.net&result=direct", []),
    ],
)
async def test_what_the_filter_selects(world: World, browser: Browser, query: str, shown: list[str]) -> None:
    world.settings = replace(world.settings, networks={"home": HOME})
    world.overrides_changed()
    assert await rows(browser, query) == shown


async def test_typed_words_become_chips_and_each_is_removed_by_a_link(browser: Browser) -> None:
    html = await html_of(browser, "traffic?filter=example.net+result:rescued+route:tor&when=7d")
    chips = dict(re.findall(r'<li class="chip">(\w+) .*?<a href="([^"]*)" aria-label="Remove the filter', html))
    assert list(chips) == ["Site", "Route", "Result"]
    assert unescape(chips["Route"]) == f"{browser.base}traffic?site=example.net&result=rescued&when=7d"
    assert re.findall(r'<input type="hidden" name="(site|route|result)" value="([^"]*)">', html)[:3] == [
        ("site", "example.net"),
        ("route", "tor"),
        ("result", "rescued"),
    ]
    assert 'name="filter" list="words" value=""' in html, "the field is free for more"


async def test_the_field_completes_sites_routes_results_and_networks(world: World, browser: Browser) -> None:
    world.settings = replace(world.settings, networks={"home": HOME, "two words": "x" * 16})
    world.overrides_changed()
    html = await html_of(browser, "traffic")
    options = re.findall(
        r'<option value="([^"]*)">', html.partition('<datalist id="words">')[2].partition("</datal")[0]
    )
    assert {"result:failed", "route:tor", "route:direct", "network:home", f"site:{BLOG}"} <= set(options)
    for option in options:
        choose({"filter": unescape(option)}, now=time.time(), day_words={})


@each_row(
    ("given", "field", "sentence"),
    [
        ({"filter": "resul:failed"}, "filter", "did you mean result?"),
        ({"filter": "result:odd"}, "filter", "unknown result"),
        ({"filter": "no..name"}, "filter", "two dots in a row"),
        ({"site": "no..name"}, "filter", "two dots in a row"),
        ({"result": "odd"}, "filter", "it can be direct, relay, rescued or failed"),
        ({"when": "yesterday 18-25"}, "when", "is not a period of time"),
        ({"filter": "failed since:soon"}, "when", "is not a period of time"),
    ],
)
def test_a_mistake_is_said_of_its_field(given: dict[str, str], field: str, sentence: str) -> None:
    chosen = choose(given, now=time.time(), day_words={})
    assert list(chosen.errors) == [field]
    assert sentence in chosen.errors[field]


async def test_a_mistake_is_marked_in_its_field_and_the_page_stays(browser: Browser) -> None:
    html = await html_of(browser, "traffic?filter=resul:failed+fine.example&when=yesterday+18-25&route=tor")
    filter_field, when_field = re.findall(r'<input name="(?:filter|when)"[^>]*>', html)
    assert 'value="resul:failed fine.example"' in filter_field
    assert 'value="yesterday 18-25"' in when_field
    for name, field in (("filter", filter_field), ("when", when_field)):
        assert 'aria-invalid="true"' in field
        assert f"mistake-{name}" in field
        assert f'id="mistake-{name}" role="alert"' in html
    assert "did you mean result?" in html
    assert "use <code" in html, "an example of a period"
    assert await rows(browser, "filter=resul:failed&when=soon&route=tor") == [BLOG], "what is right holds"
    assert await rows(browser, "filter=resul:failed&site=example.net") == [BLOG]
    assert '<div id="live" data-follows="connections">' in html, "it goes on to follow what happens"


async def test_fields_that_nobody_types_are_refused(browser: Browser) -> None:
    for query in ("older=x", "newer=1", "older=1e400~1", "path=/etc", "when=1h&when=2h"):
        assert (await browser.get(f"{browser.base}traffic?{query}"))[0] == 400, query


@pytest.mark.parametrize("language", [*Language])
def test_a_day_may_be_named_in_the_language_of_the_page(language: Language) -> None:
    word = catalogue(language).say(_("yesterday"))
    assert choose({"when": f"{word} 18-22"}, now=time.time(), day_words=page._day_words(language)).errors == {}


async def test_older_and_newer_connections_whatever_comes_meanwhile(world: World, browser: Browser) -> None:
    now = time.time()
    world.see(*(works(f"h{number}.example", at=now - 3600 - number // 2) for number in range(2 * ROWS + 20)))
    seen, path, newer = list[str](), "traffic?when=all&site=example", ""
    while path:
        html = await html_of(browser, path)
        seen += re.findall(r'data-label="Site"><span><a href="[^"]*sites/(h\d+\.example)', html)
        links = {
            word: unescape(href) for href, word in re.findall(r'href="[^"]*/(traffic\?[^"]*)">(Older|Newer)<', html)
        }
        assert ("Newer" in links) == ("older=" in path)
        path, newer = links.get("Older", ""), links.get("Newer", "")
        world.see(rescued(host="meanwhile.example", at=time.time()))
    assert len(seen) == len(set(seen)) == 2 * ROWS + 20
    html = await html_of(browser, newer)
    back = re.findall(r'data-label="Site"><span><a href="[^"]*sites/([^"]*)"', html)
    assert len(back) == ROWS
    assert not set(back) & set(seen[-20:]), "the page before the last"
    assert 'data-still="kept"' in html, "an older page does not change"


async def test_a_page_before_the_first_is_the_newest(world: World, browser: Browser) -> None:
    now = time.time()
    world.see(*(works(f"h{number}.example", at=now - 600 - number) for number in range(ROWS + 5)))
    html = await html_of(browser, "traffic")
    (older,) = re.findall(r'href="[^"]*/(traffic\?older=[^"]*)"', html)
    (newer,) = re.findall(r'href="[^"]*/(traffic\?newer=[^"]*)"', await html_of(browser, unescape(older)))
    status, location = await browser.get(browser.base + unescape(newer))
    assert status == 303, location


async def test_the_csv_has_all_that_match(world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_CSV_ROWS", 50)
    world.see(*(works(f"h{number}.example", at=time.time() - 60) for number in range(230)))
    status, text = await browser.get(f"{browser.base}traffic.csv?filter=result:direct&when=all")
    assert status == 200
    hosts = [row["host"] for row in csv.DictReader(io.StringIO(text))]
    assert len(hosts) == len(set(hosts)) == 231
    assert text.count("attempts,error") == 1
    status, text = await browser.get(f"{browser.base}traffic.csv?filter=site:never.example")
    assert (status, text.count("\n")) == (200, 1), "a heading alone"
    for mistake in ("filter=resul:x", "when=soon", "path=/etc"):
        assert (await browser.get(f"{browser.base}traffic.csv?{mistake}"))[0] == 400


async def test_the_log_as_csv(browser: Browser) -> None:
    html = await html_of(browser, "traffic?when=1h&site=example.net")
    link = f"{browser.base}traffic.csv?site=example.net&when=1h"
    assert f'href="{link.replace("&", "&amp;")}"' in html
    status, text = await browser.get(f"{browser.base}traffic.csv?when=1h")
    assert status == 200
    found = list(csv.DictReader(io.StringIO(text)))
    assert [row["host"] for row in found] == ["evil.example", BLOG]
    assert found[1]["route"] == "tor"
    assert found[1]["attempts"].startswith("direct: connection reset after the TLS ClientHello")
    assert found[0]["error"] == "'=1+1", "no formula in a spreadsheet"


async def test_visits_that_did_not_open_stand_above_by_site(world: World, browser: Browser) -> None:
    now = time.time()
    for number in range(3):
        world.see(outcome(failed(), host="shut.example", at=now - 5 * 3600 - 600 * number, error="no route"))
    world.see(*(works(f"h{number}.example", at=now - number) for number in range(ROWS + 5)))
    refused = outcome(host="ads.example", at=now - 50, error="blocked")
    world.see(replace(refused, plan=replace(refused.plan, action=Action.BLOCK)))
    html = await html_of(browser, "traffic")
    listed = html.partition('id="troubles"')[2].partition("</section>")[0]
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", listed))
    assert re.search(r"shut\.example \S+ \d\d:\d\d–\S+ \d\d:\d\d · 3 visits · direct: reset", text), text
    assert "evil.example" in text
    assert "ads.example" not in text, "a rule blocked it"
    assert 'id="troubles"' not in await html_of(browser, "traffic?result=direct")
    assert 'id="troubles"' not in await html_of(browser, "traffic?when=1h&site=h1.example")


async def test_a_row_has_its_attempts_and_the_way_to_a_rule(browser: Browser) -> None:
    html = await html_of(browser, f"traffic?site={BLOG}")
    story = html.partition('<tr class="story">')[2].partition("</details>")[0]
    assert re.findall(r'<tr><th scope="row"><span class="chip (\w+)">', story) == ["direct", "relay"]
    assert story.count("<svg") == 2
    assert "<title>direct: connection reset after the TLS ClientHello, from 0 ms to " in story
    assert f"traffic/rule?host={BLOG}" in story


async def test_visits_that_opened_direct_are_in_the_strip_alone(world: World, browser: Browser) -> None:
    """By default no design stores more names than that."""
    world.settings = replace(world.settings, log=Log(hosts="decisions"))
    world.store.configure(world.settings.log)
    world.overrides_changed()
    world.see(*(works("private.example", at=time.time() - 60) for _ in range(7)))
    html = await html_of(browser, "traffic")
    assert "private.example" not in html
    assert "10 visits in this time. 1 did not open." in html
    assert "are counted above, and not listed by name" in html


async def test_the_bars_of_the_strip_select_their_hour(browser: Browser) -> None:
    html = await html_of(browser, "traffic?result=failed")
    bars = [unescape(each) for each in re.findall(r'<a href="([^"]*)" tabindex="-1" data-from', html)]
    assert len(bars) >= 48
    assert all(each.startswith(f"{browser.base}traffic?result=failed&when=") for each in bars)
    shown = [host for bar in bars[-4:] for host in await rows(browser, bar.partition("?")[2])]
    assert shown == ["evil.example"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("live", "traffic"),
        (
            "live?site=a.example&route=tor&program=curl&paused=1",
            "traffic?site=a.example&route=tor&program=curl&paused=1",
        ),
        ("log", "traffic"),
        ("log?hours=24", "traffic"),
        ("log?hours=", "traffic?when=all"),
        ("log?hours=168&site=a.example&outcome=failed", "traffic?site=a.example&result=failed&when=7d"),
        ("log?hours=1&filter=route:tor", "traffic?when=1h&filter=route%3Ator"),
        ("log.csv?hours=", "traffic.csv?when=all"),
    ],
)
async def test_the_old_pages_lead_here_with_their_queries(browser: Browser, old: str, new: str) -> None:
    url = f"{browser.pages.url}{browser.base}{old}"
    async with browser.session.get(url, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers.get("Location")) == (303, browser.base + new)
    assert (await browser.get(browser.base + new))[0] == 200
    assert (await browser.get(f"{browser.base}live?path=x"))[0] == 400


@pytest.mark.parametrize("name", ["traffic", "live", "log"])
async def test_byway_open_leads_here_by_the_old_names_as_well(browser: Browser, name: str) -> None:
    code = await browser.pages.code(name)
    _, html = await browser.post("/sign-in", {"code": code}, origin="null", site="cross-site")
    assert re.search(r'url=/s/[0-9a-f]{32}/traffic"', html), html


@pytest.mark.usefixtures("closed")
async def test_open_connections_are_shown_newest_first(browser: Browser) -> None:
    text = await browser.text("traffic")
    assert "3 connections are open." in text
    rows = (
        r"example\.org – – ◔ connecting .* example\.net curl direct ✓ open 2\.0 kB 100 B \d+ s .*"
        r" a\.example\.org firefox tor ✓ open "
    )
    assert re.search(rows, text), text
    assert "AUTO: nothing is known" in text


async def test_nothing_is_open(browser: Browser) -> None:
    text = await browser.text("traffic")
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
    assert sentence in await browser.text(f"traffic?{query}")
    html = await html_of(browser, f"traffic?{query}")
    assert re.findall(r'<th scope="row"><a href="[^"]*/sites/([^"]*)"', html) == shown


async def test_only_the_newest_are_shown(world: World, browser: Browser) -> None:
    for number in range(OPEN_ROWS + 5):
        Opened(world, number, f"host{number}.example", DIRECT, time.time(), [])
    words = f"{OPEN_ROWS + 5} connections are open; the newest {OPEN_ROWS} are shown."
    assert words in await browser.text("traffic")
    html = await html_of(browser, "traffic")
    assert html.count('name="close"') == OPEN_ROWS
    (more,) = re.findall(r'href="([^"]*)">Show more<', html)
    assert more == f"{browser.base}traffic?open=all"
    assert (await html_of(browser, "traffic?open=all")).count('name="close"') == OPEN_ROWS + 5
    assert len(html) < 200_000, "a tab may ask for it every second"


@pytest.mark.usefixtures("closed")
async def test_a_page_follows_the_connections_until_it_is_paused(browser: Browser) -> None:
    html = await html_of(browser, "traffic?route=tor")
    assert '<div id="live" data-follows="connections">' in html
    pause = unescape(re.findall(r'href="([^"]*)">Stop updating this page<', html)[0])
    assert pause == f"{browser.base}traffic?route=tor&paused=1"
    html = await html_of(browser, pause.removeprefix(browser.base))
    assert '<div id="live" data-still="kept">' in html
    again = unescape(re.findall(r'href="([^"]*)">Update this page again<', html)[0])
    assert again == f"{browser.base}traffic?route=tor"


async def test_a_connection_is_closed(browser: Browser, closed: list[int]) -> None:
    assert await browser.send("traffic/close", close="2", route="direct", paused="1") == "traffic?route=direct&paused=1"
    assert closed == [2]
    assert "Closed: example.net." in await browser.text("traffic")
    assert await browser.send("traffic/close", close="2") == "traffic"
    assert "That connection had ended already." in await browser.text("traffic")
    assert closed == [2]


async def test_a_connection_is_closed_by_a_form_of_the_page_alone(browser: Browser, closed: list[int]) -> None:
    status, _ = await browser.post(f"{browser.base}traffic/close", {"close": "2", "token": "0" * 32})
    assert status == 403
    status, _ = await browser.get(f"{browser.base}traffic/close?close=2")
    assert status == 405
    token = await browser.token()
    status, text = await browser.post(f"{browser.base}traffic/close", {"close": "2 ", "token": token})
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
    assert await browser.send("traffic/override", **{word: "example.net", "route": "tor"}) == "traffic?route=tor"
    assert world.overrides["example.net"] == Override(action)
    text = await browser.text("traffic")
    assert "example.net and its subdomains: " in text
    assert "Open connections keep their route." in text
    assert "Undo for example.net: block" in await browser.text("traffic")
    (change,) = re.findall(r'name="undo" value="([^"]+)"', await html_of(browser, "traffic"))
    await browser.send("traffic/override", undo=change)
    assert world.overrides["example.net"] == before


@pytest.mark.usefixtures("closed")
async def test_the_undo_of_an_older_page_undoes_no_other_change(world: World, browser: Browser) -> None:
    await browser.send("traffic/override", direct="a.example.org")
    (older,) = re.findall(r'name="undo" value="([^"]+)"', await html_of(browser, "traffic"))
    await browser.send("traffic/override", relay="b.example.org")
    form = {"token": await browser.token(), "undo": older}
    assert (await browser.post(f"{browser.base}traffic/override", form))[0] == 409
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
    status, _ = await browser.post(f"{browser.base}traffic/override", {"token": await browser.token(), **form})
    assert status == 400
    assert not world.overrides


@pytest.mark.usefixtures("closed")
async def test_without_a_relay_none_is_offered(world: World, browser: Browser) -> None:
    assert "Always by a relay" in await browser.text("traffic")
    world.rules = ""
    world.settings = replace(world.settings, relay=())
    world.overrides_changed()
    assert "Always by a relay" not in await browser.text("traffic")


async def test_a_rule_is_made_from_a_connection(world: World, browser: Browser, closed: list[int]) -> None:
    html = await html_of(browser, "traffic")
    (path,) = [
        unescape(each) for each in re.findall(r'href="([^"]*traffic/rule[^"]*)"', html) if "a.example.org" in each
    ]
    assert path == f"{browser.base}traffic/rule?host=a.example.org&program=firefox"
    html = await html_of(browser, path.removeprefix(browser.base))
    assert re.findall(r'<option value="(site|host|domain|program)">([^<]*)<', html) == [
        ("site", "a.example.org and its subdomains"),
        ("host", "a.example.org alone"),
        ("domain", "example.org and its subdomains"),
        ("program", "everything that the program firefox opens"),
    ]
    before = world.rules = "DOMAIN-SUFFIX,ads.example,BLOCK\n"
    form = {"host": "a.example.org", "program": "firefox"}
    assert await browser.send("traffic/rule", **form, subject="site", action="relay:tor") == "traffic"
    assert world.rules == f"{before}DOMAIN-SUFFIX,a.example.org,RELAY:tor\n"
    text = await browser.text("traffic")
    rule = "rules.txt:2 DOMAIN-SUFFIX,a.example.org,RELAY:tor"
    assert f"Added: {rule}. New connections follow it, open ones keep their route." in text
    assert closed == []


async def test_a_rule_that_does_not_decide_says_so(world: World, browser: Browser) -> None:
    world.overrides["example.org"] = Override(Action.DIRECT)
    world.overrides_changed()
    await browser.send("traffic/rule", host="a.example.org", program="", subject="host", action="relay")
    text = await browser.text("traffic")
    assert "Added: rules.txt:3 DOMAIN,a.example.org,RELAY." in text
    assert "The override of example.org still decides about a.example.org." in text
    assert "New connections follow it" not in text
    del world.overrides["example.org"]
    world.overrides_changed()
    await browser.send("traffic/rule", host="b.example.org", program="", subject="host", action="relay")
    text = await browser.text("traffic")
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
    await browser.send("traffic/rule", host=host, program=program, subject=subject, action=action)
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
    status, _ = await browser.post(f"{browser.base}traffic/rule", {"token": await browser.token(), **form})
    assert status == 400
    assert world.rules == before


async def test_a_file_of_rules_that_cannot_be_used_stays_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, browser: Browser
) -> None:
    async def add(_self: object, _line: str) -> object:
        raise ConfigError("rules.txt:3: unknown action DIRCT; did you mean DIRECT?")

    monkeypatch.setattr("tests.support.control_world.RulesFile.add", add)
    await browser.send("traffic/rule", host="a.example", program="", subject="site", action="direct")
    text = await browser.text("traffic")
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
