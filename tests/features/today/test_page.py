"""The page Today: its sentence, its facts, the visits, the blocked sites, what to do and what changed."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.control.site_states import KnownSite
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.verdict.site_status import LastResult, SiteState, SiteStatus, Source
from proxy.features.today.page import blocked_alike, sentence
from proxy.model import Action, AutoMode, Belief, Cause, Change, Override, Stage, State, Symptom
from proxy.model.feature import Feature
from tests.support.control_world import World
from tests.support.dashboard import Browser, dashboard
from tests.support.outcomes import AWAY, HOME, TOR, failed, outcome, rescued
from tests.support.seeded import BLOCKED, SeededWorld


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    yield world
    world.close()


@pytest.fixture
async def new(tmp_path: Path, features: Sequence[Feature]) -> AsyncIterator[Browser]:
    """A browser at a Byway that has just been installed."""
    world = World(features=features)
    folder = tmp_path / "new"
    folder.mkdir()
    async with dashboard(world, folder) as pages, pages.signed_in() as browser:
        yield browser
    world.close()


def known(name: str, *, by: str = "", status: SiteStatus = SiteStatus.BLOCKED, since: float = 5.0) -> KnownSite:
    """A site that was found blocked. With another status, it is what the site is now."""
    belief = Belief(name, HOME, State.BLOCKED, Cause.SNI_RESET, last_good=by)
    return KnownSite(name, belief, SiteState(status, Cause.SNI_RESET, since=since, works_by=by))


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([], "No blocked sites are known here."),
        ([known("a.example", by="tor")], "1 site is blocked here. It opens anyway."),
        ([known("a.example")], "1 site is blocked here. No way to open it is known yet."),
        ([known("a.example", status=SiteStatus.SITE_DOWN)], "1 site is blocked here. It does not open."),
        (
            [
                known("a.example", by="tor"),
                known("b.example", by="tor"),
                known("c.example", status=SiteStatus.SITE_DOWN),
            ],
            "3 sites are blocked here. 2 open anyway. 1 does not open.",
        ),
        (
            [known("a.example", by="tor"), known("b.example")],
            "2 sites are blocked here. 1 opens anyway. For 1 no way is known yet.",
        ),
    ],
)
def test_the_sentence_counts_every_blocked_site_once(sites: list[KnownSite], said: str) -> None:
    assert sentence(sites) == said


def test_names_of_one_site_that_are_blocked_alike_are_one_row() -> None:
    names = [known("www.a.example", by="tor", since=9), known("a.example", by="tor"), known("b.a.example")]
    rows = blocked_alike([*names, known("z.example", since=20)])
    assert [[site.name for site in row] for row in rows] == [
        ["z.example"], ["a.example", "www.a.example"], ["b.a.example"]
    ]  # fmt: skip


async def test_it_says_first_what_is_blocked_then_the_facts(browser: Browser) -> None:
    text = await browser.text()
    assert "3 sites are blocked here. 3 open anyway." in text
    order = [
        *("3 sites are", "Internet works", "DNS answers", "1 of 2 relays work", "Visits by hour", "Blocked on this"),
        "To do",
    ]
    assert sorted(order, key=text.index) == order
    assert "Sites go direct first, and another route if they are blocked. Rules and overrides hold." in text
    assert "This browser was not seen" in text


async def test_a_new_byway_says_what_to_do(new: Browser) -> None:
    text = await new.text()
    assert "No blocked sites are known here." in text
    assert "No visits in the last 24 hours. Open a site through Byway, and it appears here." in text
    assert "0 of 2 relays work" in text
    assert "First steps This browser uses Byway a step for this browser, or for all programs" in text
    assert "Done: A relay" in text
    assert "Try a site that is blocked here Byway measures each route to it, and says what it found." in text
    assert "To do Nothing." in text
    assert "Nothing changed." in text


async def test_the_first_steps_tick_themselves(tmp_path: Path, features: Sequence[Feature]) -> None:
    """With no relay, then with a site that was measured; and they are gone with the first visit."""
    world, host = World(features=features, rules=""), "shut.example"
    world.settings = replace(world.settings, relay=())
    world.overrides_changed()
    async with dashboard(world, tmp_path) as pages, pages.signed_in() as browser:
        text = await browser.text()
        assert "Done:" not in text
        assert "A relay Or go on without: then sites that only a relay opens stay closed." in text
        assert "Find proxies on this computer" in text
        found = LastResult(
            SiteStatus.BLOCKED, time.time(), Source.MEASUREMENT, Cause.DNS, "lies", works_by="direct|doh"
        )
        world.beliefs.measured(host, found, network=HOME)
        text = await browser.text()
        assert f"Done: Try a site that is blocked here {host}" in text
        assert text.index("1 site is blocked here.") < text.index("Blocked on this network") < text.rindex(host)
        world.store.record(rescued(host=host, at=time.time()), network=HOME)
        assert world.store.flush()
        assert "First steps" not in await browser.text()
    world.close()


async def test_a_block_is_there_after_the_visit(world: World, browser: Browser) -> None:
    world.see(rescued(host="new.example.org", at=time.time()))
    text = await browser.text()
    assert "4 sites are blocked here" in text
    assert "new.example.org became blocked: Name filter" in text
    page = (await browser.get(browser.base))[1]
    row = page[page.index('sites/new.example.org"') :]
    assert 'aria-label="Blocked on 1 of 14 days"' in row
    assert row.count("url(#axis)") >= 13, "days without a record are grey"
    assert "url(#direct)" not in row[: row.index("</tr>")]


async def test_what_became_free_is_news(world: World, browser: Browser) -> None:
    at = time.time() - 60
    freed = Change(at, "old.example", HOME, State.BLOCKED, State.WORKS, Cause.NONE, "direct delivered", None)
    world.store.believe([freed, replace(freed, scope="far.example", network=AWAY)])
    text = await browser.text()
    assert "old.example is free again" in text
    assert "far.example" not in text


async def test_a_problem_has_its_buttons_and_its_command(browser: Browser) -> None:
    page = (await browser.get(browser.base))[1]
    todo = page[page.index('<ul class="todo">') : page.index("</ul>", page.index('<ul class="todo">'))]
    assert re.search(r'action="\S+relays/test">.*name="relay" value="vps">', todo)
    assert 'name="do" value="disable"' in todo
    assert "byway relay test vps" in todo


async def test_a_blocked_site_that_does_not_open_can_be_measured_at_once(
    tmp_path: Path, features: Sequence[Feature]
) -> None:
    world, host, now = World(features=features), "shut.example", time.time()
    held = Belief(host, HOME, State.BLOCKED, Cause.SNI_RESET, score=4.0, since=now - 60, until=now + 9e5)
    world.beliefs = Beliefs(world.settings.detect, [held])
    world.see(outcome(failed(), failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR), host=host, at=now))
    async with dashboard(world, tmp_path) as pages, pages.signed_in() as browser:
        text = await browser.text()
        assert "1 site is blocked here. It does not open." in text
        assert "shut.example does not open. Measure now" in text
        assert 'sites/shut.example/measure"' in (await browser.get(browser.base))[1]
    world.close()


async def test_visits_that_no_route_delivered_are_counted_as_visits(world: World, browser: Browser) -> None:
    """One visit that two routes failed to deliver is one that did not open."""
    now = time.time()
    shut = outcome(failed(), failed(route=TOR), host="shut.example", at=now, error="no route to shut.example")
    refused = outcome(host="ads.example", at=now, action=Action.BLOCK, error="blocked by a rule")
    before = _not_opened(await browser.text())
    for seen in (shut, refused, rescued(host="new.example.org", at=now)):
        world.store.record(seen, network=HOME)
    assert world.store.flush()
    assert _not_opened(await browser.text()) == before + 1


def _not_opened(text: str) -> int:
    found = re.search(r"(\d+) did not open\.", text)
    return int(found[1]) if found else 0


async def test_a_pause_is_on_every_page_with_its_end(world: World, browser: Browser) -> None:
    await browser.send("pause", minutes="15")
    for page in ("", "sites", "rules"):
        assert re.search(r"Paused until \d\d:\d\d, 15 minutes left", await browser.text(page)), page
    assert "Byway is paused until" in await browser.text()
    assert "Resume" in await browser.text("sites")
    await browser.send("pause", minutes="0")
    assert "Paused until" not in await browser.text()
    assert world.parts.modes.mode is AutoMode.AUTO


async def test_the_header_names_the_network(world: World, browser: Browser) -> None:
    assert "Network: unnamed network" in await browser.text()
    world.settings = replace(world.settings, networks={"<b>Home</b>": HOME})
    world.overrides_changed()
    assert "&lt;b&gt;Home&lt;/b&gt;" in (await browser.get(browser.base))[1]


async def test_names_are_completed_from_what_is_known(world: World, browser: Browser) -> None:
    world.overrides["shop.livejournal.com"] = Override(Action.DIRECT)
    world.overrides_changed()
    status, found = await browser.get(f"{browser.base}names?typed=%20WWW.user")
    assert (status, found) == (200, f'<option value="{BLOCKED}"></option>')
    _, found = await browser.get(f"{browser.base}names?typed=livejournal")
    assert re.findall('value="([^"]+)"', found)[:2] == ["livejournal.com", "pics.livejournal.com"]
    assert "shop.livejournal.com" in found
    assert (await browser.get(f"{browser.base}names?typed=%3Cscript%3E"))[1] == ""
    assert (await browser.get(f"{browser.base}names?other=x"))[0] == 400
