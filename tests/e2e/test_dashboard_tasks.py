"""Questions that people bring to the dashboard, each answered within three clicks from Today. docs/dashboard.md tells
the same ways. Typing is no click; sending what was typed is one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import Belief, State, Symptom
from proxy.model.feature import Feature
from tests.e2e.test_dashboard import shows, sign_in
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.outcomes import HOME, failed, outcome, rescued
from tests.support.seeded import SeededWorld

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

SITE = "livejournal.com"
CLICKS_MAX = 3
_DAYS_S = 86_400.0


class Person:
    """Uses a mouse, and counts its clicks."""

    def __init__(self, page: Tab) -> None:
        self.page = page
        self.clicks = 0

    async def click(self, selector: str, words: str = "") -> None:
        """Clicks on the one thing that is there, with these words if they are told, and waits for the next page."""
        self.clicks += 1
        assert self.clicks <= CLICKS_MAX, f"{selector} would be one click too many"
        chosen = (
            f"[...document.querySelectorAll({json.dumps(selector)})].filter(one => one.checkVisibility()"
            f" && ({json.dumps(words)} === '' || one.textContent.trim() === {json.dumps(words)}))"
        )
        found = await self.page.evaluate(f"{chosen}.length")
        assert found == 1, f"{found} of {selector} {words}"
        await self.page.evaluate(f"document.documentElement.dataset.left = 'yes'; {chosen}[0].click(); 0")
        await shows(self.page, "document.readyState === 'complete' && !('left' in document.documentElement.dataset)")

    async def choose(self, selector: str, value: str) -> None:
        """Opens a list and chooses: one click, as people count."""
        self.clicks += 1
        assert self.clicks <= CLICKS_MAX
        await self.page.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}; 0")
        assert await self.page.evaluate(f"document.querySelector({json.dumps(selector)}).value") == value

    async def ask_for(self, host: str) -> None:
        """Types a host on Home, and sends it."""
        await self.page.evaluate(f"document.querySelector('[role=search] [name=host]').value = {json.dumps(host)}; 0")
        await self.click("[role=search] button")


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    """livejournal.com is blocked since eight days; yesterday evening no route opened it."""
    world, now = SeededWorld(features=features), time.time()
    held = Belief(
        SITE, HOME, State.BLOCKED, "sni_reset", score=4.0, since=now - 8 * _DAYS_S, until=now + 9e5, last_good="tor",
        last_good_at=now - 600, scored_at=now, signal_at=now - 8 * _DAYS_S,
        why="direct: connection reset after the TLS ClientHello; tor delivered",
    )  # fmt: skip
    world.beliefs = Beliefs(world.settings.detect, [held])
    world.store.record(replace(rescued(host=SITE, at=now - 600), bytes_down=9_000), network=HOME)
    yesterday = outcome(
        failed(Symptom.RESET), host=SITE, at=now - 20 * 3600, error=f"no route to {SITE}: direct: connection reset"
    )
    world.store.record(yesterday, network=HOME)
    assert world.store.flush()
    yield world
    world.close()


@pytest.fixture
async def person(pages: Pages, page: Tab) -> Person:
    await sign_in(page, pages)
    return Person(page)


async def test_is_my_relay_any_good(person: Person) -> None:
    await person.click("nav a", "Relays")
    tor = await person.page.evaluate("document.querySelector('[data-key=relay-tor]').innerText")
    assert "works" in tor
    assert "of" in tor, "how many visits it delivered"
    assert person.clicks == 1


async def test_pause(world: World, person: Person) -> None:
    """No page goes on saying that sites open by routes that are not used now."""
    assert "1 site is blocked here. It opens anyway." in await person.page.text()
    await person.click("form[action$='/pause'] button", "Pause")
    assert person.clicks == 1
    assert abs(world.modes.paused_until - time.time() - 15 * 60) < 60
    lead = await person.page.evaluate("document.querySelector('.lead').innerText")
    assert re.fullmatch(r"Byway is paused until \d\d:\d\d: sites go direct, and blocked ones do not open\.", lead)
    assert "opens anyway" not in await person.page.text()
    for name in ("Sites", "Traffic", "Relays", "Rules", "Today"):
        person.clicks = 0
        await person.click("nav a", name)
        mark = await person.page.evaluate("document.querySelector('header strong').innerText")
        assert re.fullmatch(r"Paused until \d\d:\d\d, 1\d minutes left", mark), name
    await person.click("form[action$='/pause'] button", "Resume")
    assert not world.modes.paused_until
    assert "1 site is blocked here. It opens anyway." in await person.page.text()
