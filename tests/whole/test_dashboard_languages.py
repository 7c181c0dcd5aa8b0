"""The pages in other languages: as the setting or the browser asks, and with every string of ours."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.schema import Ui
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.model import Action, Override
from proxy.model.feature import Feature
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.opened import open_three
from tests.support.outcomes import rescued
from tests.support.pseudo_pages import PSEUDO, untranslated
from tests.support.seeded import BLOCKED, SeededWorld, subscribe

PAGES = (
    "",
    "sites",
    "sites?status=slow",
    f"sites/{BLOCKED}",
    "sites/new.example.org",
    "sites/never.example",
    "traffic",
    "traffic?site=example.org&paused=1",
    "traffic?program=nothing",
    "traffic?filter=resul:x&when=soon",
    "traffic?site=never.example&when=yesterday",
    "traffic/rule?host=a.example.org&program=firefox",
    "relays",
    "rules",
    "rules?url=https://cdn.ads.example/x",
    "rules?tab=text",
    "rules?find=nothing",
    "rules/lists/gfwlist",
    "networks",
    "phones",
    "addons",
    "settings",
    "setup",
    "help",
    "forget?what=all",
    f"forget?what=host&value={BLOCKED}",
)

HOSTS = (BLOCKED, "new.example.org", "never.example", "blog.example.net")
"""Which are the titles of their pages."""


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    world.see(rescued(host="new.example.org", at=time.time()))
    subscribe(world)
    yield world
    world.close()


async def _page(browser: Browser, path: str = "", accepted: str = "") -> str:
    status, html = await browser.get(browser.base + path, **{"Accept-Language": accepted})
    assert status == 200, html
    return html


@pytest.mark.parametrize(
    ("accepted", "tag", "word"),
    [
        ("", '<html lang="en" dir="ltr">', "Relays"),
        ("ru-RU,ru;q=0.9,en;q=0.5", '<html lang="ru" dir="ltr">', "Ретрансляторы"),
        ("fa", '<html lang="fa" dir="rtl">', "رله‌ها"),
    ],
)
async def test_a_page_is_in_the_language_of_the_browser(browser: Browser, accepted: str, tag: str, word: str) -> None:
    html = await _page(browser, accepted=accepted)
    assert tag in html
    assert f">{word}</a>" in html


async def test_two_tabs_at_a_time_have_each_their_language(browser: Browser) -> None:
    """As when a person has just changed the browser's languages, and an older tab asks for its content again."""
    pages = await asyncio.gather(*(_page(browser, accepted=accepted) for accepted in ("ru", "en", "fa") * 3))
    assert [re.search(r'<html lang="(..)"', page)[1] for page in pages] == ["ru", "en", "fa"] * 3  # type: ignore[index]


async def test_the_setting_is_stronger_than_the_browser(world: World, browser: Browser) -> None:
    world.settings = replace(world.settings, ui=Ui(language="fa"))
    world.overrides_changed()
    assert '<html lang="fa" dir="rtl">' in await _page(browser, accepted="ru")


@pytest.mark.parametrize("path", PAGES)
async def test_every_string_of_a_page_is_wrapped(world: World, browser: Browser, path: str) -> None:
    ways, bad = (AddonFile(name, Path(f"/home/me/{name}.py"), shipped=False, enabled=True) for name in ("ways", "bad"))
    world.addons = (
        AddonState(ways, running="1", since=time.time(), hooks=("plan",)),
        AddonState(bad, problems=("bad.py:3: no plan",)),
    )
    world.overrides[BLOCKED] = Override(Action.RELAY, "tor", time.time() + 3000)
    world.overrides_changed()
    open_three(world, at=time.time() - 90)
    assert untranslated(await _page(browser, path, PSEUDO), HOSTS) == []


async def test_a_string_that_is_not_wrapped_is_found(browser: Browser) -> None:
    """The control: the pages in English, and each place where a string may stand."""
    assert len(untranslated(await _page(browser))) > 20
    said = '<p title="one">two <bdi>x</bdi><time title="T"> ago</time><span lang="en">y</span> \u2068z\u2069</p>three'
    assert untranslated(said) == ["one", "two", "ago", "three"]


async def test_the_steps_and_the_verdict_of_a_measurement_are_wrapped(browser: Browser) -> None:
    form, path = {"token": await browser.token()}, f"{browser.base}sites/blog.example.net/measure"
    status, html = await browser.post(path, form, **{"Accept-Language": PSEUDO})
    assert status == 200
    assert "⟦" in html[html.index('id="verdict"') :]
    assert untranslated(html, HOSTS) == []
    html = await _page(browser, "sites/blog.example.net", PSEUDO)
    assert '<ol><li><bdi dir="ltr">' in html, "each step of the measurement"
    assert untranslated(html, HOSTS) == []


async def test_what_is_said_of_rules_is_wrapped(browser: Browser) -> None:
    form = {"token": await browser.token(), "text": "DOMAN,x,BLOCK", "version": "0"}
    for path in ("rules", "rules/check"):
        status, html = await browser.post(f"{browser.base}{path}", form, **{"Accept-Language": PSEUDO})
        assert (status, untranslated(html)) == (200, [])
    form["text"] = "MATCH,AUTO"
    status, html = await browser.post(f"{browser.base}rules", form, **{"Accept-Language": PSEUDO})
    assert (status, untranslated(html)) == (200, []), "the file has changed"
    new = {"token": form["token"], "kind": "", "value": "https://", "action": "RELAY"}
    status, html = await browser.post(f"{browser.base}rules/add", new, **{"Accept-Language": PSEUDO})
    assert (status, untranslated(html)) == (400, [])
    edit = {"token": form["token"], "version": "0", "line": "1", "do": "remove"}
    status, html = await browser.post(f"{browser.base}rules/edit", edit, **{"Accept-Language": PSEUDO})
    assert (status, untranslated(html)) == (409, [])
    fetch = {"token": form["token"], "name": "gfwlist", "do": "fetch"}
    status, html = await browser.post(f"{browser.base}rules/fetch", fetch, **{"Accept-Language": PSEUDO})
    assert (status, untranslated(html)) == (200, [])


async def test_the_results_of_a_test_of_relays_are_wrapped(browser: Browser) -> None:
    form = {"token": await browser.token(), "relay": ""}
    status, html = await browser.post(f"{browser.base}relays/test", form, **{"Accept-Language": PSEUDO})
    assert status == 200
    assert untranslated(html, HOSTS) == []


@pytest.mark.parametrize("do", ["refresh", "direct"])
async def test_the_result_of_a_refresh_of_a_subscription_is_wrapped(browser: Browser, do: str) -> None:
    form = {"token": await browser.token(), "name": "shop", "do": do}
    status, html = await browser.post(f"{browser.base}relays/subscription", form, **{"Accept-Language": PSEUDO})
    assert status == 200
    assert "<bdi>shop</bdi>: " in html
    assert untranslated(html, HOSTS) == []


async def test_what_a_form_did_and_why_one_is_refused_are_wrapped(browser: Browser) -> None:
    token = await browser.token()
    sent = {"Accept-Language": PSEUDO}
    await browser.send(f"sites/{BLOCKED}/override", action="relay:vps", hours="1")
    assert untranslated(await _page(browser, f"sites/{BLOCKED}", PSEUDO), HOSTS) == []
    await browser.send("pause", minutes="15")
    assert untranslated(await _page(browser, "", PSEUDO), HOSTS) == []
    status, html = await browser.post(f"{browser.base}mode", {"token": token, "mode": "odd"}, **sent)
    assert status == 400
    assert untranslated(html, HOSTS) == []


async def test_the_pages_of_who_is_not_signed_in_are_wrapped(browser: Browser) -> None:
    sent = {"Accept-Language": PSEUDO}
    _, html = await browser.get("/sign-in", **sent)
    assert untranslated(html, HOSTS) == []
    _, html = await browser.post("/sign-in", {"code": "wrong"}, **sent)
    assert untranslated(html, HOSTS) == []
    status, html = await browser.get(f"/s/{'0' * 32}/", **sent)
    assert status == 401
    assert untranslated(html, HOSTS) == []
