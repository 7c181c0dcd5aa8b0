"""Tasks that people bring to the page Traffic, by as few clicks as they may take, by the keyboard within 15 tabs, and
by dragging over the strip of time. Typing is no click; sending what was typed is one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest

from proxy.features.traffic.view import ROWS
from proxy.model import Symptom
from proxy.model.feature import Feature
from tests.e2e.test_dashboard import shows, sign_in
from tests.e2e.test_own_pages import check_looks
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.opened import open_three
from tests.support.outcomes import failed, outcome, rescued
from tests.support.seeded import SeededWorld
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.waits, pytest.mark.slow]

SITE = "blog.example.com"
TABS_MAX = 15


def evening() -> float:
    """Yesterday at 20:04, local time."""
    day = datetime.now().astimezone().date() - timedelta(days=1)
    return datetime(day.year, day.month, day.day, 20, 4).astimezone().timestamp()


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    """Yesterday evening no route opened a site; since then more visits than a page has were rescued."""
    world = SeededWorld(features=features)
    for minute in (0, 12):
        at = evening() + minute * 60
        world.see(outcome(failed(Symptom.RESET), host=SITE, at=at, error=f"no route to {SITE}: direct: reset"))
    now = time.time()
    world.see(*(rescued(host=f"h{number}.example", at=now - 60 - number) for number in range(ROWS + 20)))
    yield world
    world.close()


@pytest.fixture
async def home(pages: Pages, page: Tab) -> str:
    return await sign_in(page, pages)


class Person:
    """Uses a mouse or a keyboard, and counts the clicks and the tabs."""

    def __init__(self, page: Tab) -> None:
        self.page = page
        self.clicks = 0
        self.tabs = 0

    async def leaves(self, action: str) -> None:
        """Does what leads to another page, and waits for it."""
        self.clicks += 1
        await self.page.evaluate(f"document.documentElement.dataset.left = 'yes'; {action}; 0")
        await self.arrives()

    async def arrives(self) -> None:
        await shows(self.page, "document.readyState === 'complete' && !('left' in document.documentElement.dataset)")

    async def click(self, selector: str, words: str = "") -> None:
        chosen = (
            f"[...document.querySelectorAll({json.dumps(selector)})].filter(one => one.checkVisibility()"
            f" && ({json.dumps(words)} === '' || one.textContent.trim() === {json.dumps(words)}))"
        )
        assert await self.page.evaluate(f"{chosen}.length") == 1, f"{selector} {words}"
        await self.leaves(f"{chosen}[0].click()")

    async def skip_to_content(self) -> None:
        """Presses Tab and Enter, on the link that every page begins with."""
        await self.tab_to("a.skip")
        await self.page.press("Enter")

    async def tab_to(self, selector: str) -> None:
        while not await self.page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            self.tabs += 1
            assert self.tabs <= TABS_MAX, f"{selector} is more than {TABS_MAX} tabs away"
            await self.page.press("Tab")


@pytest.fixture
def person(page: Tab) -> Person:
    return Person(page)


async def test_close_a_live_connection_by_two_clicks(world: World, home: str, person: Person) -> None:
    del home
    closed = open_three(world, at=time.time() - 5)
    await person.click("nav a", "Traffic")
    await person.click("button[name=close][value='2']")
    await until(lambda: closed == [2], within_s=20)
    assert "Closed: example.net." in await person.page.text()
    assert person.clicks == 2


async def test_why_did_it_fail_yesterday_evening_is_said_after_one_click(home: str, person: Person) -> None:
    del home
    await person.click("nav a", "Traffic")
    assert person.clicks == 1
    listed = await person.page.evaluate("document.querySelector('[aria-labelledby=troubles]').innerText")
    line = next(line for line in listed.splitlines() if line.startswith(SITE))
    assert "yesterday 20:04–yesterday 20:16 · 2 visits · direct: reset" in line


async def test_an_evening_is_typed_and_sent_by_the_keyboard(home: str, person: Person) -> None:
    await person.page.open(f"{home}traffic")
    await person.skip_to_content()
    await person.tab_to("main input[name=filter]")
    await person.page.call("Input.insertText", text=f"{SITE} failed")
    await person.tab_to("main input[name=when]")
    await person.page.evaluate("document.activeElement.select(); 0")
    await person.page.call("Input.insertText", text="yesterday 18-22")
    await person.page.evaluate("document.documentElement.dataset.left = 'yes'; 0")
    await person.page.press("Enter")
    await person.arrives()
    rows = await person.page.evaluate(
        "[...document.querySelectorAll('table.visits > tbody > tr:not(.story)')].map(one => one.innerText)"
    )
    assert len(rows) == 2
    assert all(SITE in row and "direct: reset" in row for row in rows)
    assert "yesterday 20:16" in rows[0]
    print(f"typed after {person.tabs} tabs")


async def test_an_evening_is_dragged_over(home: str, page: Tab, person: Person) -> None:
    await page.open(f"{home}traffic?result=failed")
    day = f"{datetime.fromtimestamp(evening()).astimezone():%Y-%m-%d}"
    ends = [f"a[data-from='{day}T18:00']", f"a[data-to='{day}T22:00']"]
    await page.evaluate("document.querySelector('.time').scrollIntoView({block: 'center'}); 0")
    found = f"""{json.dumps(ends)}.map((each) => document.querySelector(each + " .room").getBoundingClientRect())
        .map((box) => [box.x + box.width / 2, box.y + box.height / 2])"""
    (first, y), (last, _) = await page.evaluate(found)
    await page.evaluate("document.documentElement.dataset.left = 'yes'; 0")
    mouse = {"button": "left", "buttons": 1, "clickCount": 1}
    await page.call("Input.dispatchMouseEvent", type="mousePressed", x=first, y=y, **mouse)
    for step in range(1, 5):
        x = first + (last - first) * step / 4
        await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, **mouse)
    assert await page.evaluate("document.querySelectorAll('a.dragged').length") == 4
    await page.call("Input.dispatchMouseEvent", type="mouseReleased", x=last, y=y, **mouse)
    await person.arrives()
    assert await page.evaluate("document.querySelector('main [name=when]').value") == f"{day} 18:00-22:00"
    assert "result=failed" in await page.evaluate("location.search")
    rows = await page.evaluate("[...document.querySelectorAll('table.visits th[data-key]')].map(one => one.innerText)")
    assert rows == ["yesterday 20:16", "yesterday 20:04"]


async def test_a_click_on_a_bar_selects_its_hour_and_the_table_says_the_same(
    home: str, page: Tab, person: Person
) -> None:
    await page.open(f"{home}traffic")
    day = f"{datetime.fromtimestamp(evening()).astimezone():%Y-%m-%d}"
    bar = f"document.querySelector(\"a[data-from='{day}T20:00']\")"
    assert (await page.evaluate(f"{bar}.querySelector('title').textContent")).endswith("did not open: 2")
    await person.leaves(f"{bar}.dispatchEvent(new MouseEvent('click', {{bubbles: true, cancelable: true}}))")
    rows = await page.evaluate("[...document.querySelectorAll('table.visits th[data-key]')].map(one => one.innerText)")
    assert rows[:2] == ["yesterday 20:16", "yesterday 20:04"]
    await shows(page, "document.querySelector('#state').innerText.includes('This page stays as it is')")


async def test_the_page_says_that_it_waits_while_text_is_selected_and_goes_on_after(
    world: World, home: str, page: Tab
) -> None:
    await page.open(f"{home}traffic")
    await shows(page, "document.querySelector('#state').className === 'live'")
    await until(lambda: world.followers == 1, within_s=20)
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('#visits')); 0")
    world.see(rescued(host="meanwhile.example", at=time.time()))
    await shows(page, "document.querySelector('#state').className === 'held'")
    assert "waits while you select text" in await page.evaluate("document.querySelector('#state').innerText")
    assert not await page.evaluate("document.body.innerText.includes('meanwhile.example')")
    await page.evaluate("getSelection().removeAllRanges(); 0")
    await shows(page, "document.body.innerText.includes('meanwhile.example')")
    await shows(page, "document.querySelector('#state').className === 'live'")


async def test_the_page_goes_on_while_the_focus_is_in_its_list(world: World, home: str, page: Tab) -> None:
    await page.open(f"{home}traffic")
    await shows(page, "document.querySelector('#state').className === 'live'")
    await page.evaluate("document.querySelector('.visits summary').focus(); 0")
    await page.press("Enter")
    held = await page.evaluate("document.activeElement.parentElement.dataset.key")
    for number in range(3):
        world.see(rescued(host=f"new{number}.example", at=time.time()))
        await shows(page, f"document.body.innerText.includes('new{number}.example')")
    assert await page.evaluate("document.activeElement.parentElement.dataset.key") == held
    assert await page.evaluate("document.activeElement.parentElement.open")


async def test_a_connection_that_another_tab_has_closed_is_said_to_have_ended(
    world: World, home: str, page: Tab
) -> None:
    closed = open_three(world, at=time.time() - 5)
    await page.open(f"{home}traffic?paused=1")
    form = "new URLSearchParams({token: document.querySelector('[name=token]').value, close: '2'})"
    await page.evaluate(f"fetch('traffic/close', {{method: 'POST', body: {form}}}).then(() => 0)")
    assert closed == [2]
    await page.evaluate("document.querySelector(\"[name=close][value='2']\").click(); 0")
    await shows(page, "document.querySelector('[role=status]')?.innerText === 'That connection had ended already.'")
    assert closed == [2]


async def test_a_phone_has_cards_and_nothing_that_scrolls_sideways(home: str, page: Tab) -> None:
    await page.look(dark=False, width=360)
    await page.open(f"{home}traffic")
    await page.evaluate("document.querySelectorAll('.story details').forEach(each => each.open = true); 0")
    assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    wide = "[...document.querySelectorAll('.visits *')].filter(one => one.getBoundingClientRect().right > innerWidth)"
    assert await page.evaluate(f"{wide}.map(one => one.outerHTML.slice(0, 80))") == []
    label = "getComputedStyle(document.querySelector('.visits td[data-label]'), '::before').content"
    assert await page.evaluate(label) == '"Site"'


@pytest.mark.alone
@pytest.mark.needs("axe-core")
@pytest.mark.parametrize("language", ["en", "fa"])
async def test_the_page_can_be_read_by_everybody(world: World, home: str, page: Tab, language: str) -> None:
    """With open connections, chips, a marked mistake, and what can be unfolded; in light and dark, on a phone and on a
    desk."""
    open_three(world, at=time.time() - 90)
    await page.call("Network.enable")
    await page.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})

    async def unfolded() -> None:
        await page.open(f"{home}traffic?route=tor&filter=resul:x&when=soon")
        await page.evaluate(
            "[...document.querySelectorAll('main details')].slice(0, 9).forEach(it => it.open = true); 0"
        )

    await check_looks(page, unfolded, f"dashboard-traffic-unfolded-{language}")
