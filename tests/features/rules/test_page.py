"""The page of the rules: the editor of rules.txt, and what each step decides about a host."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.model import Action, Override
from proxy.model.feature import Feature
from tests.support.control_world import RULES, World
from tests.support.dashboard import Browser
from tests.support.seeded import BLOCKED, SeededWorld

LONGER = f"{RULES}DOMAIN,new.example,BLOCK\n"


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    yield world
    world.close()


def text_in(html: str) -> str:
    """What stands in the editor."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", html, re.DOTALL)
    assert found is not None, html
    return unescape(found[1])


def version_in(html: str) -> str:
    found = re.search(r'name="version" value="([0-9a-f]*)"', html)
    assert found is not None, html
    return found[1]


async def send(browser: Browser, path: str, text: str, version: str, **more: str) -> tuple[int, str]:
    form = {"token": await browser.token(), "text": text, "version": version, **more}
    return await browser.post(browser.base + path, form)


async def test_a_text_is_saved_and_in_use(world: World, browser: Browser) -> None:
    _, html = await browser.get(f"{browser.base}rules")
    assert text_in(html) == world.rules
    text = f"{world.rules}DOMAIN,new.example,BLOCK\n"
    status, location = await send(browser, "rules", text.replace("\n", "\r\n"), version_in(html))
    assert (status, location) == (303, f"{browser.base}rules")
    assert world.rules.splitlines() == text.splitlines()
    text = await browser.text("rules")
    assert "Saved: 3 rules, in use now." in text
    assert "DOMAIN,new.example,BLOCK never" in text


async def test_nothing_is_saved_that_does_not_check(world: World, browser: Browser) -> None:
    before, version = world.rules, version_in((await browser.get(f"{browser.base}rules"))[1])
    wrong = f"{before}DOMAN,<b>.example,BLOCK\nDOMAIN,a.example,RELAY:tr\n"
    for path in ("rules", "rules/check"):
        status, html = await send(browser, path, wrong, version)
        assert status == 200
        assert text_in(html) == wrong, "what was typed stays"
        assert version_in(html) == version
        assert "2 problems. Solve them to save." in html
        assert 'data-line="3">Line 3</a> <code dir="ltr">DOMAN,&lt;b&gt;.example,BLOCK</code>' in html
        assert "did you mean DOMAIN?" in html
        assert "unknown relay &quot;tr&quot;; did you mean tor?" in html or 'unknown relay "tr"' in unescape(html)
        assert world.rules == before


async def test_a_text_is_checked_while_it_is_typed(world: World, browser: Browser) -> None:
    before = world.rules
    status, part = await send(browser, "rules/check", f"{before}DOMAN,x,BLOCK", "", part="1")
    assert status == 200
    assert "<html" not in part
    assert "1 problem. Solve it to save." in part
    _, part = await send(browser, "rules/check", "MATCH,DIRECT\nDOMAIN,a.example,BLOCK", "", part="1")
    assert "2 rules, no problem." in part
    assert "rules below it are never used" in part
    assert world.rules == before


async def test_a_file_that_was_changed_meanwhile_is_not_overwritten(world: World, browser: Browser) -> None:
    version = version_in((await browser.get(f"{browser.base}rules"))[1])
    world.rules = changed = f"{world.rules}DOMAIN,theirs.example,BLOCK\n"
    mine = f"{RULES}DOMAIN,mine.example,BLOCK\n"
    status, html = await send(browser, "rules", mine, version)
    assert status == 200
    assert "The file has changed since you opened it." in html
    assert "-DOMAIN,theirs.example,BLOCK" in html
    assert "+DOMAIN,mine.example,BLOCK" in html
    assert text_in(html) == mine
    assert world.rules == changed
    assert (await send(browser, "rules", mine, version_in(html)))[0] == 303
    assert world.rules == mine


async def test_a_file_with_a_problem_is_shown_with_it(world: World, browser: Browser) -> None:
    world.rules = "DOMAN,x,BLOCK\n"
    html = unescape((await browser.get(f"{browser.base}rules"))[1])
    assert 'unknown rule type "DOMAN"' in html
    assert text_in(html) == "DOMAN,x,BLOCK\n"


async def test_a_text_that_is_too_large(world: World, browser: Browser) -> None:
    before = world.rules
    long = before + "# comment\n" * 27_000
    _, html = await send(browser, "rules", long, version_in((await browser.get(f"{browser.base}rules"))[1]))
    assert "too large for this page" in html
    assert world.rules == before
    world.rules = long
    text = await browser.text("rules")
    assert "rules.txt is too large for this page. Edit it with a text editor." in text
    assert "Discard changes" not in text


@pytest.mark.parametrize("missing", ["text", "version"])
async def test_a_form_without_a_field_is_refused(browser: Browser, missing: str) -> None:
    form = {"token": await browser.token(), "text": RULES, "version": ""}
    del form[missing]
    assert (await browser.post(f"{browser.base}rules", form))[0] == 400
    foreign = {"token": "0" * 32, "text": RULES, "version": ""}
    assert (await browser.post(f"{browser.base}rules/check", foreign))[0] == 403


async def test_each_that_decides_is_shown(world: World, browser: Browser) -> None:
    text = await browser.text(f"rules?url={BLOCKED}")
    assert "Override none Rules" in text
    assert "Status ✗ blocked : Name filter" in text
    assert "No addon changes routes. Result AUTO : tor → vps → direct|doh and 7 more" in text
    world.overrides[BLOCKED] = Override(Action.RELAY, "vps", time.time() + 3600)
    world.overrides_changed()
    running = AddonState(AddonFile("ways", Path("/home/me/ways.py"), shipped=False, enabled=True), running="1")
    world.addons = (replace(running, hooks=("plan",)), replace(running, hooks=("judge",)))
    text = await browser.text(f"rules?url=https://www.{BLOCKED}/")
    assert f"Override {BLOCKED} : relay vps, ends in 60 min" in text
    assert "Asked last, and may change the routes: ways Result RELAY : vps" in text


async def test_lists_with_what_was_skipped(browser: Browser) -> None:
    text = await browser.text("rules")
    assert "gfwlist" in text
    assert "Skipped lines" in text
