"""Every page of the dashboard in a real Chromium, in each language, light and dark, on a phone and on a desk: what axe
finds (WCAG 2.2, level AA), errors of scripts, requests to others, ids without an aim. BYWAY_SCREENSHOTS=FOLDER keeps
the looks."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from proxy.config.schema import Settings
from proxy.languages.language import Language
from proxy.model.feature import Feature
from tests.e2e.every_page import AT_PORT, DASHBOARD, OF_A_NEW_BYWAY, written
from tests.e2e.test_dashboard import sign_in
from tests.e2e.test_own_pages import check_looks
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages, dashboard
from tests.support.opened import open_three
from tests.support.outcomes import rescued
from tests.support.seeded import SeededWorld, subscribe

pytestmark = [pytest.mark.needs("chromium", "axe-core"), pytest.mark.waits, pytest.mark.slow]


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    open_three(world, at=time.time() - 90)
    subscribe(world)
    yield world
    world.close()


LANGUAGES = ("en", "ru", "fa", "en-XA")

WITHOUT_AIM = """(() => {
  const ids = [...document.querySelectorAll("[id]")].map(one => one.id);
  const filled = [...document.querySelectorAll("[fill^='url(#']")].map(one => one.getAttribute("fill").slice(5, -1));
  return [...ids.filter((id, place) => ids.indexOf(id) !== place), ...filled.filter(id => !ids.includes(id))];
})()"""
"""The ids that a page has twice, and the patterns that it uses and does not define."""


def looks() -> list[tuple[str, str, bool, int]]:
    """(page, language, dark, width) to look at: each page in each language, light and dark; on a phone or on a desk, so
    that each of the others meets both. The pseudo-locale takes one look at a page. With BYWAY_LOOKS=all each with
    each."""
    if os.environ.get("BYWAY_LOOKS") == "all":
        return list(itertools.product(DASHBOARD, LANGUAGES, (False, True), (360, 1280, 1920)))
    return [
        (shown, language, dark, 360 if (row // 2 + column + dark) % 2 else 1280)
        for row, shown in enumerate(DASHBOARD)
        for column, language in enumerate(LANGUAGES)
        for dark in ((False, True) if language != "en-XA" else (bool(row % 2),))
    ]


def test_each_two_properties_of_a_look_meet() -> None:
    chosen = looks()
    every = (tuple(DASHBOARD), LANGUAGES, (False, True), (360, 1280))
    for first, second in itertools.combinations(range(4), 2):
        met = {(look[first], look[second]) for look in chosen}
        assert met >= set(itertools.product(every[first], every[second]))
    assert {look[:3] for look in chosen} >= set(itertools.product(DASHBOARD, LANGUAGES[:-1], (False, True)))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_can_be_read_by_everybody(world: World, pages: Pages, page: Tab, language: str) -> None:
    """In each language, in light and dark, on a phone and on a desk; without an error, or a request to anybody else."""
    world.see(rescued(host="new.example.org", at=time.time()))
    home = await sign_in(page, pages)
    await page.watch_errors()
    await page.call("Network.enable")
    await page.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
    for shown, _, dark, width in (look for look in looks() if look[1] == language):
        name = f"dashboard-{shown}-{language}"
        await check_looks(page, partial(page.open, home + DASHBOARD[shown]), name, looks=[(dark, width)])
        assert await page.evaluate("document.documentElement.lang") == language
        assert await page.evaluate("document.documentElement.dir") == ("rtl" if language == "fa" else "ltr")
        asked = await page.evaluate("performance.getEntriesByType('resource').map(one => new URL(one.name).host)")
        assert set(asked) <= {f"127.0.0.1:{pages.port}"}
        linked = await page.evaluate("document.querySelectorAll('link[rel=stylesheet]').length")
        assert await page.evaluate("document.styleSheets.length") == linked <= 2, "of the dashboard, and of a feature"
        assert await page.evaluate(WITHOUT_AIM) == [], shown
        assert page.errors == [], shown


@pytest.mark.parametrize("language", LANGUAGES[:-1])
async def test_the_pages_of_a_new_byway_can_be_read_by_everybody(
    features: Sequence[Feature], page: Tab, tmp_path: Path, language: str
) -> None:
    new = World(features=features, settings=Settings(), rules="")
    await page.call("Network.enable")
    await page.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
    async with dashboard(new, tmp_path) as pages:
        home = await sign_in(page, pages)
        for row, (name, path) in enumerate(OF_A_NEW_BYWAY.items()):
            looks = [(dark, 360 if (row + dark) % 2 else 1280) for dark in (False, True)]
            await check_looks(page, partial(page.open, home + path), f"dashboard-{name}-{language}", looks=looks)
    new.close()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_pages_without_a_sign_in_can_be_read_by_everybody(pages: Pages, page: Tab, language: str) -> None:
    """Also one that is not there, and those that only other devices get."""
    await page.call("Network.enable")
    await page.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
    shows_own = {name: partial(page.open, pages.url + path) for name, path in AT_PORT.items()}
    shows_own |= {name: partial(page.write, text) for name, text in written(Language(language)).items()}
    for row, (name, show) in enumerate(shows_own.items()):
        looks = [(dark, 360 if (row + dark) % 2 else 1280) for dark in (False, True)]
        await check_looks(page, show, f"own-{name}-{language}", looks=looks)
        assert await page.evaluate("document.documentElement.lang") == language
