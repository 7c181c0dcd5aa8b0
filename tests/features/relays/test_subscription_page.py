"""Subscriptions on the page of the relays: what is shown, refreshed, removed and restored."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.detect.relay_faults import RelayFault
from proxy.model.feature import Feature
from proxy.probe.list_refresh import Refreshed, Remedy, Result
from proxy.store.subscriptions import with_subscriptions
from tests.support.command_line import Byway, Home
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.seeded import SHOP, subscribe

CONFIG = f"""\
config_version = 1

[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9050"

# from a friend
[[subscription]]
name = "shop"
source = "{SHOP}"
refresh = "1d"
"""


@pytest.fixture
def world(tmp_path: Path, features: Sequence[Feature]) -> Iterator[World]:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    world = World(settings=load(file).settings, path=file, reads_file=True, rules="", features=features)
    subscribe(world)
    world.settings = with_subscriptions(load(file), world.copies).settings
    world.overrides_changed()
    yield world
    world.close()


def text_of(world: World) -> str:
    assert world.path is not None
    return world.path.read_text()


def read(html: str) -> str:
    """Returns the visible text."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


async def posted(browser: Browser, path: str, **form: str) -> tuple[int, str]:
    return await browser.post(f"{browser.base}{path}", {"token": await browser.token(), **form})


async def test_each_is_shown_with_all_that_is_known_and_without_its_address(browser: Browser) -> None:
    _, html = await browser.get(f"{browser.base}relays")
    assert "hunter2" not in html
    assert base64.b64encode(b"hunter2").decode() not in html
    text = read(html)
    assert (
        "shop subscription of shop.example 1 of 2 answered in the last 24 hours. 1 entry is not taken ✗ failed " in text
    )
    assert re.search(
        r"Fetched: (today|yesterday) \d\d:\d\d . 3[.]0 kB of 3[.]0 kB used, expired \d{4}-\d\d-\d\d ", text
    )
    assert "Subscription shop could not be fetched: through tor: answered 403 byway relay refresh shop" in text
    assert re.search("The account of subscription shop expired on .*, says its server[.] renew it where you got", text)
    assert "2 relays of shop" in text
    table = html[html.index("2 relays of") :]
    assert table.index("shop/DE") < table.index("shop/NL")
    assert "shop/DE" not in html[: html.index('id="subscription-1"')], "the first table is not flooded"


async def test_the_page_the_list_and_the_status_say_the_same(world: World, browser: Browser) -> None:
    async with browser.pages.api.get("/v1/relays") as answer:
        (shown,) = (await answer.json())["subscriptions"]
    async with browser.pages.api.get("/v1/status") as answer:
        told = [each["text"] for each in (await answer.json())["problems"]]
    text = await browser.text("relays")
    assert len(shown["problems"]) == 3
    for problem in shown["problems"]:
        assert problem["text"] in told
        assert problem["text"] in text
    assert shown["account"] in text
    assert f"{shown['answered']} of {shown['relays']} answered" in text


async def test_a_relay_of_one_that_fails_is_no_problem_by_itself(world: World, browser: Browser) -> None:
    for name in ("tor", "shop/NL"):
        world.health.failed(name, time.time(), error="no answer", fault=RelayFault.SILENT)
    async with browser.pages.api.get("/v1/status") as answer:
        told = [each["text"] for each in (await answer.json())["problems"]]
    assert "Relay tor fails: no answer." in told
    assert not [text for text in told if "shop/NL" in text]


@pytest.mark.uses("today")
@pytest.mark.uses("today")
async def test_the_front_page_counts_all_relays_of_one_as_one(world: World, browser: Browser) -> None:
    text = read((await browser.get(browser.base))[1])
    assert "1 of 2 relays work shop" in text
    assert "shop/NL" not in text


async def test_relays_of_one_that_fail_are_not_named_where_there_are_others(world: World, browser: Browser) -> None:
    for name in ("shop/DE", "shop/NL"):
        world.health.failed(name, time.time(), error="no answer", fault=RelayFault.SILENT)
    assert "1 relay is in use; it was not tested yet." in await browser.text("relays")
    world.health.failed("tor", time.time(), error="no answer", fault=RelayFault.SILENT)
    assert "1 of 1 relays in use fails: tor." in await browser.text("relays")
    world.settings = replace(world.settings, relay=tuple(each for each in world.settings.relay if each.name != "tor"))
    world.overrides_changed()
    assert "2 of 2 relays in use fail: shop/DE, shop/NL." in await browser.text("relays")


async def test_a_relay_of_one_is_disabled_and_enabled_and_no_more(world: World, browser: Browser) -> None:
    place = await browser.send("relays/edit", relay="shop/NL", do="disable")
    assert 'disabled = ["shop/NL"]' in text_of(world)
    _, html = await browser.get(browser.base + place)
    assert re.search(r"<details [^>]*\bopen>", html), "the row of the form is to be seen"
    assert 'aria-label="Enable: shop/NL" autofocus' in html
    assert 'aria-label="Remove: shop/NL"' not in html
    assert 'aria-label="Up: shop/NL"' not in html
    await browser.send("relays/edit", relay="shop/NL", do="enable")
    assert text_of(world) == CONFIG
    assert not re.search(r"<details [^>]*\bopen>", (await browser.get(f"{browser.base}relays"))[1])


async def test_one_is_removed_and_the_removal_undone(world: World, browser: Browser) -> None:
    place = await browser.send("relays/subscription", name="shop", do="remove")
    assert "subscription" not in text_of(world)
    _, html = await browser.get(browser.base + place)
    assert "<button autofocus>Undo the removal of shop</button>" in html
    assert "hunter2" not in html
    assert "Table of the subscriptions" not in html
    await browser.send("relays/undo", relays="shop")
    assert text_of(world) == CONFIG
    assert "2 relays of shop" in await browser.text("relays")


async def test_a_removal_is_undone_beside_a_later_edit(world: World, browser: Browser) -> None:
    await browser.send("relays/subscription", name="shop", do="remove")
    await browser.send("relays/edit", relay="tor", do="disable")
    await browser.send("relays/undo", relays="shop")
    assert world.path is not None
    settings = load(world.path).settings
    assert [(item.name, item.url, item.refresh) for item in settings.subscription] == [("shop", SHOP, "1d")]
    assert [relay.enabled for relay in settings.relay] == [False]


async def test_what_a_rule_needs_is_not_removed(world: World, browser: Browser) -> None:
    world.rules = "DOMAIN,a.example,RELAY:shop\n"
    world.overrides_changed()
    status, html = await posted(browser, "relays/subscription", name="shop", do="remove")
    assert (status, "because other settings need it: rules.txt:1" in read(html)) == (409, True)
    assert text_of(world) == CONFIG


async def test_a_refresh_says_why_it_failed_and_offers_what_may_help(world: World, browser: Browser) -> None:
    status, html = await posted(browser, "relays/subscription", name="shop", do="refresh")
    assert status == 200
    text = read(html)
    assert "shop : ✗ not fetched . through tor: " in text
    assert "The last good copy with 2 relays stays in use." in text
    assert "Fetch it direct, without a relay? Your provider sees shop.example. Fetch direct" in text
    assert "hunter2" not in html
    assert html.rstrip().endswith("</html>")
    _, html = await posted(browser, "relays/subscription", name="shop", do="direct")
    assert "through tor: " not in html, "it was asked for direct"
    assert "Your provider sees" not in html
    for name, do in (("shop", "exec"), ("shop", ""), ("none", "refresh"), ("shop/DE", "remove")):
        status, html = await posted(browser, "relays/subscription", name=name, do=do)
        assert (status, 'role="alert"' in html) == (400, True), (name, do)


@pytest.mark.parametrize(
    ("result", "said", "button"),
    [
        (Refreshed("shop", Result.REPLACED, 3), "✓ a new file with 3 relays", "Fetch again"),
        (Refreshed("shop", Result.UNCHANGED, 1), "✓ unchanged, with 1 relay", "Fetch again"),
        (Refreshed("shop", Result.FAILED, 9, "it has shrunk from 9 relays to 1", Remedy.ACCEPT_SMALLER),
         "it has shrunk from 9 relays to 1 . The last good copy with 9 relays stays in use.", "Take the smaller file"),
        (Refreshed("shop", Result.FAILED, 0, "<b>", Remedy.NONE), "<b> .", "Fetch again"),
    ],
)  # fmt: skip
async def test_each_result_in_words(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch, result: Refreshed, said: str, button: str
) -> None:
    asked = []

    async def refresh(_self: object, items: Sequence[object], **options: bool) -> object:
        asked.append(options)
        yield result

    monkeypatch.setattr("proxy.probe.list_refresh.ListRefresh.refresh", refresh)
    status, html = await posted(browser, "relays/subscription", name="shop", do="accept_smaller")
    assert (status, asked) == (200, [{"asked": True, "accept_smaller": True, "direct": False}])
    assert said in read(html)
    assert f">{button}</button>" in html


async def test_names_from_a_file_are_text(world: World, browser: Browser) -> None:
    hostile = "socks5h://a.example:1#%3Cscript%3Ealert(1)%3C/script%3E\n\u202esocks5h://b.example:1#\u202eX\n"
    world.copies.replace(world.copies.info(SHOP), hostile.encode())
    await world.parts.reload()
    _, html = await browser.get(f"{browser.base}relays")
    assert "script-alert-1" in html
    assert "<script>alert" not in html
    assert "\u202e" not in html


def test_commands_know_a_subscription_that_the_page_restored(byway: Byway, home: Home) -> None:
    home.config.write_text(CONFIG)
    shown = byway("relay", "list", "--json").json["subscriptions"]
    assert [(each["name"], each["host"]) for each in shown] == [("shop", "shop.example")]
    told = byway("relay", "list").err
    assert "Subscription shop is not fetched yet, so its group has no relays. To do: byway relay refresh shop" in told
