"""The pages in other languages: as the setting or the browser asks, and with every string of ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.config.schema import Ui
from tests.cli.seeded import SeededWorld
from tests.control.world import World
from tests.support.dashboard import Browser


@pytest.fixture
def world() -> Iterator[World]:
    world = SeededWorld()
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
