"""The pages in other languages: as the setting or the browser asks, and with every string of ours."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from proxy.config.schema import Ui
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.model import Action, Override
from tests.cli.seeded import BLOCKED, SeededWorld
from tests.control.opened import open_three
from tests.control.world import World
from tests.support.dashboard import Browser
from tests.support.outcomes import rescued

PSEUDO = "en-XA"

PAGES = (
    "",
    "sites",
    "sites?status=slow",
    f"sites/{BLOCKED}",
    "sites/new.example.org",
    "sites/never.example",
    "live",
    "live?site=example.org&paused=1",
    "live?program=nothing",
    "live/rule?host=a.example.org&program=firefox",
    "relays",
    "rules",
    "rules?url=https://cdn.ads.example/x",
    "log?hours=",
    "log?site=never.example",
    "why",
    "networks",
    "addons",
)

HOSTS = (BLOCKED, "new.example.org", "never.example", "blog.example.net")
"""Which are the titles of their pages."""

_DATA = frozenset({"bdi", "code", "pre", "script", "style", "textarea"})
_EMPTY = frozenset({"meta", "link", "input", "br", "hr", "img"})
_SPOKEN = ("aria-label", "alt", "title")
_ISOLATE = re.compile("\u2068[^\u2068\u2069]*\u2069")


class _Texts(HTMLParser):
    """Collects what a person reads or hears on a page and is not data: in `bdi`, `code` and the like, with
    translate="no", or with lang="en", as what comes from outside or was stored."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_data = tag in _DATA or given.get("translate") == "no" or (tag != "html" and given.get("lang") == "en")
        if tag not in _EMPTY:
            self._open.append((tag, is_data))
        if not any(is_data for _, is_data in self._open) and tag != "time":
            self.found += [value for name in _SPOKEN if (value := given.get(name))]

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(is_data for _, is_data in self._open):
            self.found.append(data)


def untranslated(html: str) -> list[str]:
    """What is plain English on a page in the pseudo-locale, without data, hosts as titles, and our own name."""
    texts = _Texts()
    texts.feed(html)
    plain = []
    for text in texts.found:
        rest = re.sub(f"Byway|{'|'.join(map(re.escape, HOSTS))}", "", text)
        while rest != (rest := _ISOLATE.sub("", rest)):
            pass
        if re.search("[A-Za-z]", rest):
            plain.append(" ".join(text.split()))
    return plain


@pytest.fixture
def world() -> Iterator[World]:
    world = SeededWorld()
    world.see(rescued(host="new.example.org", at=time.time()))
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
    assert untranslated(await _page(browser, path, PSEUDO)) == []


async def test_a_string_that_is_not_wrapped_is_found(browser: Browser) -> None:
    """The control: the pages in English, and each place where a string may stand."""
    assert len(untranslated(await _page(browser))) > 20
    said = '<p title="one">two <bdi>x</bdi><time title="T"> ago</time><span lang="en">y</span> \u2068z\u2069</p>three'
    assert untranslated(said) == ["one", "two", "ago", "three"]


async def test_the_steps_and_the_verdict_of_a_measurement_are_wrapped(browser: Browser) -> None:
    form = {"token": await browser.token(), "site": "blog.example.net"}
    status, html = await browser.post(f"{browser.base}why", form, **{"Accept-Language": PSEUDO})
    assert status == 200
    assert "⟦" in html[html.index('id="verdict"') :]
    assert untranslated(html) == []
    html = await _page(browser, "sites/blog.example.net", PSEUDO)
    assert '<ol><li><bdi dir="ltr">' in html, "each step of the measurement"
    assert untranslated(html) == []


async def test_what_is_said_of_rules_is_wrapped(browser: Browser) -> None:
    form = {"token": await browser.token(), "text": "DOMAN,x,BLOCK", "version": "0"}
    for path in ("rules", "rules/check"):
        status, html = await browser.post(f"{browser.base}{path}", form, **{"Accept-Language": PSEUDO})
        assert (status, untranslated(html)) == (200, [])
    form["text"] = "MATCH,AUTO"
    status, html = await browser.post(f"{browser.base}rules", form, **{"Accept-Language": PSEUDO})
    assert (status, untranslated(html)) == (200, []), "the file has changed"


async def test_the_results_of_a_test_of_relays_are_wrapped(browser: Browser) -> None:
    form = {"token": await browser.token(), "relay": ""}
    status, html = await browser.post(f"{browser.base}relays/test", form, **{"Accept-Language": PSEUDO})
    assert status == 200
    assert untranslated(html) == []


async def test_what_a_form_did_and_why_one_is_refused_are_wrapped(browser: Browser) -> None:
    token = await browser.token()
    sent = {"Accept-Language": PSEUDO}
    await browser.send(f"sites/{BLOCKED}/override", action="relay:vps", hours="1")
    assert untranslated(await _page(browser, f"sites/{BLOCKED}", PSEUDO)) == []
    await browser.send("pause", minutes="15")
    assert untranslated(await _page(browser, "", PSEUDO)) == []
    status, html = await browser.post(f"{browser.base}mode", {"token": token, "mode": "odd"}, **sent)
    assert status == 400
    assert untranslated(html) == []


async def test_the_pages_of_who_is_not_signed_in_are_wrapped(browser: Browser) -> None:
    sent = {"Accept-Language": PSEUDO}
    _, html = await browser.get("/sign-in", **sent)
    assert untranslated(html) == []
    _, html = await browser.post("/sign-in", {"code": "wrong"}, **sent)
    assert untranslated(html) == []
    status, html = await browser.get(f"/s/{'0' * 32}/", **sent)
    assert status == 401
    assert untranslated(html) == []
