"""The dashboard in a real Firefox, on a phone and on a desk: what axe finds, errors of scripts, what the policy of a
page refused; and the same pages where Firefox runs no scripts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.model.feature import Feature
from tests.e2e.every_page import AT_PORT, DASHBOARD
from tests.e2e.test_own_pages import RULES, axe
from tests.support import firefox
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.firefox import Page
from tests.support.opened import open_three
from tests.support.outcomes import rescued
from tests.support.seeded import SeededWorld, subscribe

pytestmark = [pytest.mark.needs("firefox"), pytest.mark.waits, pytest.mark.slow]

WIDTHS = (360, 1280)


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    open_three(world, at=time.time() - 90)
    subscribe(world)
    world.see(rescued(host="new.example.org", at=time.time()))
    yield world
    world.close()


async def sign_in(page: Page, pages: Pages) -> str:
    """Types a code. Returns the address of the home page."""
    await page.open(f"{pages.url}/sign-in")
    await page.click("input[name=code]")
    await page.type(f"{await pages.code()}\n")
    for _ in range(600):
        if "/s/" in (address := await page.address()) and await page.texts("main#main"):
            return address
        await asyncio.sleep(0.05)
    raise AssertionError("not signed in within 30 s")


async def shows(page: Page, expression: str) -> Any:
    """Waits until an expression is true."""
    for _ in range(600):
        if value := await page.evaluate(expression):
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 30 s: {expression}\n{await page.text()}")


def errors(page: Page) -> list[str]:
    """Returns the errors so far. For pages without an icon Firefox asks for one, which their policy refuses."""
    return [error for error in page.errors if "/favicon.ico" not in error]


@pytest.mark.needs("axe-core")
@pytest.mark.parametrize(("language", "dark"), [("en", False), ("fa", True)])
async def test_every_page_can_be_read_by_everybody(pages: Pages, tmp_path: Path, language: str, dark: bool) -> None:
    preferences: dict[str, bool | int | str] = {"intl.accept_languages": language, "ui.systemUsesDarkTheme": int(dark)}
    async with firefox.opened(tmp_path, preferences) as page:
        await page.watch_errors()
        home = await sign_in(page, pages)
        await shows(page, "document.querySelector('#state').className === 'live'")
        for url in (*(home + path for path in DASHBOARD.values()), *(pages.url + path for path in AT_PORT.values())):
            for width in WIDTHS:
                await page.resize(width)
                await page.open(url)
                assert await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark
                assert await page.evaluate("document.documentElement.lang") == language
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, url
                await page.evaluate(f"{axe()}; 0")
                assert await page.evaluate(RULES) == [], (url, width)
        assert errors(page) == []


async def test_it_notices_what_is_wrong(pages: Pages, tmp_path: Path) -> None:
    """The control: a page with an error and an inline style."""
    async with firefox.opened(tmp_path, {}) as page:
        await page.watch_errors()
        await sign_in(page, pages)
        await page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
        await page.evaluate("setTimeout(() => nothing(), 0); 0")
        await page.evaluate("new Promise(done => setTimeout(() => done('later'), 50))")
        refused, raised = errors(page)
        assert "Content-Security-Policy" in refused
        assert raised == "ReferenceError: nothing is not defined"


async def test_every_page_is_whole_without_scripts(world: World, pages: Pages, tmp_path: Path) -> None:
    """The pages say the same, and forms work."""
    async with firefox.opened(tmp_path, {"javascript.enabled": False}) as page:
        home = await sign_in(page, pages)
        assert "4 sites are blocked" in "".join(await page.texts("#live .lead"))
        for name, path in DASHBOARD.items():
            await page.open(home + path)
            (title,), (content,), state = await page.texts("h1"), await page.texts("#live"), await page.texts("#state")
            assert title.strip(), name
            assert len(content.split()) > 10, name
            assert "".join(state).strip() == "", "the script would say whether the page is up to date"
        await page.open(home)
        await page.click("#replaced button")
        for _ in range(600):
            if any("Paused for 15 minutes." in text for text in await page.texts(".notice")):
                break
            await asyncio.sleep(0.05)
        assert world.modes.paused_until
