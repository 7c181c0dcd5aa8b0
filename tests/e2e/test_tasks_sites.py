"""Questions that people bring to the pages Sites and Site, each answered with the fewest clicks from Today. Typing is
no click; sending what was typed is one. docs/dashboard.md tells the same ways."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import Action, Belief, Stage, State, Symptom
from proxy.model.feature import Feature
from tests.e2e.test_dashboard import sign_in
from tests.e2e.test_dashboard_tasks import Person
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.outcomes import HOME, TOR, failed, outcome, rescued
from tests.support.seeded import SeededWorld
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

SITE = "www.livejournal.com"
TYPED = "livejournal.com"
_DAY_S = 86_400.0


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    """www.livejournal.com is blocked since eight days; 20 hours ago no route opened it, twice within 12 minutes."""
    world, now = SeededWorld(features=features), time.time()
    held = Belief(
        SITE, HOME, State.BLOCKED, "sni_reset", score=4.0, since=now - 8 * _DAY_S, until=now + 9e5, last_good="tor",
        last_good_at=now - 600, scored_at=now, signal_at=now - 8 * _DAY_S, began=now - 8 * _DAY_S,
        why="direct: connection reset after the TLS ClientHello; tor delivered",
    )  # fmt: skip
    world.beliefs = Beliefs(world.settings.detect, [held])
    world.store.record(replace(rescued(host=SITE, at=now - 600), bytes_down=9_000), network=HOME)
    for at in (0, 720):
        dead = failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR)
        world.store.record(outcome(failed(), dead, host=SITE, at=now - 20 * 3600 - at), network=HOME)
    assert world.store.flush()
    yield world
    world.close()


@pytest.fixture
async def person(pages: Pages, page: Tab) -> Person:
    await sign_in(page, pages)
    return Person(page)


async def texts(person: Person, selector: str) -> list[str]:
    found = await person.page.evaluate(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.innerText.replace(/\\s+/g, ' ').trim())"
    )
    return [str(text) for text in found]


async def test_a_is_it_blocked_here_and_since_when(person: Person) -> None:
    """The name is typed without `www.`, which alone is known."""
    await person.ask_for(TYPED)
    (lead,) = await texts(person, ".lead")
    assert lead.startswith("✗ blocked on this network · since ")
    assert await person.page.evaluate("document.querySelector('.lead time').title") == "8 d ago"
    assert f"This is what is known of {SITE}." in await person.page.text()
    assert "Last confirmed" in await person.page.text()
    assert person.clicks == 1


async def test_b_always_through_one_relay_and_back(world: World, person: Person) -> None:
    await person.ask_for(SITE)
    await person.choose("[name=action]", "relay:tor")
    await person.click("form:has(select[name=action]) button")
    await until(lambda: SITE in world.overrides, within_s=20)
    assert (world.overrides[SITE].action, world.overrides[SITE].relay) == (Action.RELAY, "tor")
    assert world.overrides[SITE].until == 0
    assert f"{SITE} and its subdomains: " in await person.page.text()
    assert person.clicks == 3
    person.clicks = 0
    await person.click("form:has([name=undo]) button")
    await until(lambda: SITE not in world.overrides, within_s=20)
    assert person.clicks == 1


async def test_c_why_did_it_not_open_yesterday_evening(person: Person) -> None:
    await person.ask_for(SITE)
    (group,) = await texts(person, "[aria-labelledby=failures] .plain > li")
    assert "2 visits: direct: connection reset after the TLS ClientHello; tor: the relay cannot be reached" in group
    assert await person.page.evaluate("document.querySelector('[aria-labelledby=failures] time').title") == "20 h ago"
    assert person.clicks == 1


async def test_d_a_proof_for_a_journalist(person: Person) -> None:
    await person.ask_for(SITE)
    await person.click("a.button", "See the proof")
    assert person.clicks == 2
    (proof,) = await texts(person, "section.proof")
    assert f"Proof of blocking: {SITE} ✗ blocked: connection reset after the TLS ClientHello (SNI filtering)" in proof
    assert "direct: connection reset after the TLS ClientHello" in proof
    assert "relay-1" in proof
    assert "tor" not in proof.split(), "left out unless asked for"
    for name, words in (("Markdown", "# Byway report"), ("OONI (JSON)", '"test_name": "byway"')):
        link = f"[...document.querySelectorAll('a[download]')].find(one => one.textContent === 'Download {name}')"
        told = await person.page.evaluate(
            f"fetch({link}.href).then(async answer => [answer.status, answer.headers.get('Content-Disposition'),"
            " await answer.text()])"
        )
        status, disposition, text = told
        assert status == 200, text
        assert disposition.startswith("attachment; filename="), disposition
        assert words in text
    await person.page.call("Emulation.setEmulatedMedia", media="print")
    assert await person.page.evaluate(
        "[...document.querySelectorAll('header.bar, .unprinted, section.proof')].map(one => one.checkVisibility())"
    ) == [False, False, True]
    await person.page.call("Emulation.setEmulatedMedia", media="")


async def test_h_forget_a_site(world: World, person: Person) -> None:
    await person.ask_for(SITE)
    await person.page.evaluate(f"document.querySelector('[name=confirm]').value = {json.dumps(SITE)}; 0")
    await person.click("[aria-labelledby=forget] button")
    assert [what.host for what in world.forgotten] == [SITE]
    assert f"{SITE} is forgotten" in await person.page.text()
    assert person.clicks == 2
