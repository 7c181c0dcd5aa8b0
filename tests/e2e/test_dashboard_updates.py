"""Pages of the dashboard that follow what happens, in a real Chromium: they take nothing away that somebody typed, has
in focus or has scrolled to, and they say when they do not follow."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from proxy.model import AutoMode
from tests.e2e.test_dashboard import arrived, press_to, shows, sign_in
from tests.support.byway import Byway
from tests.support.chromium import Chromium, Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages, dashboard
from tests.support.outcomes import rescued
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.waits, pytest.mark.slow]

WRONG = "DOMAN,x.example,BLOCK\n"
_COUNT_EVENTS = """{
  const Real = EventSource;
  window.told = 0;
  window.EventSource = class extends Real {
    constructor(...all) {
      super(...all);
      for (const name of ["open", "changed"]) this.addEventListener(name, () => setTimeout(() => window.told++, 500));
    }
  };
}"""
"""Counts what a page was told, half a second later: the page has asked for its content by then, if it does at all."""


_NOTE_STATES = """{
  const state = document.querySelector('#state');
  window.states = [];
  new MutationObserver(() => states.push(state.className)).observe(state, {attributeFilter: ['class']});
}"""
"""Notes each state of a tab: one that passes may be over when a busy machine looks."""


@pytest.fixture
async def home(world: World, pages: Pages, page: Tab) -> str:
    await page.call("Page.enable")
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=_COUNT_EVENTS)
    return await sign_in(page, pages)


async def tell(world: World, page: Tab, *, times: int = 2) -> None:
    """Lets things happen, until the page was told of them so many times."""
    before = await page.evaluate("window.told")
    for number in range(times):
        world.see(rescued(host=f"new{number}.example.org", at=time.time()))
        await shows(page, f"window.told > {before + number}")


async def type_rules(page: Tab, home: str, text: str) -> None:
    await page.open(f"{home}rules?tab=text")
    await page.evaluate("document.querySelector('textarea').focus(); 0")
    await page.call("Input.insertText", text=text)


async def save(page: Tab) -> None:
    await page.evaluate("window.isOld = true; document.querySelector('form[data-check] button').click(); 0")
    await shows(page, "!window.isOld && window.told >= 1")


@pytest.mark.parametrize("with_javascript", [True, False])
async def test_rules_with_a_mistake_stay_in_the_editor_after_save(
    world: World, page: Tab, home: str, with_javascript: bool
) -> None:
    before = world.rules
    await page.call("Emulation.setScriptExecutionDisabled", value=not with_javascript)
    await type_rules(page, home, WRONG)
    if with_javascript:
        await save(page)
        await tell(world, page)
    else:
        await page.evaluate("document.querySelector('form[data-check] button').click(); 0")
        await shows(page, "document.querySelector('[data-checked]')?.innerText.includes('1 problem')")
    assert await page.evaluate("document.querySelector('textarea').value") == WRONG + before
    assert "did you mean DOMAIN?" in await page.text()
    assert world.rules == before


async def test_rules_whose_file_has_changed_stay_in_the_editor_and_are_saved_on_demand(
    world: World, page: Tab, home: str
) -> None:
    mine = f"DOMAIN,mine.example,BLOCK\n{world.rules}"
    await type_rules(page, home, "DOMAIN,mine.example,BLOCK\n")
    world.rules += "DOMAIN,theirs.example,BLOCK\n"
    await save(page)
    await tell(world, page)
    assert await page.evaluate("document.querySelector('textarea').value") == mine
    assert "The file has changed since you opened it." in await page.text()
    assert "This page stays as it is" in await page.text()
    await page.evaluate("document.querySelector('form[data-check] button').click(); 0")
    await shows(page, "document.querySelector('.notice')?.innerText.includes('Saved: 3 rules')")
    assert world.rules.replace("\r\n", "\n") == mine


async def again(page: Tab, action: str) -> None:
    """Leaves the page, and comes back."""
    await page.evaluate(f"window.isOld = true; {action}; 0")
    await shows(page, "!window.isOld && document.readyState === 'complete' && document.querySelector('main') !== null")


async def test_what_was_typed_is_there_after_back_and_a_reload_until_it_is_saved(
    world: World, page: Tab, home: str
) -> None:
    typed = f"DOMAIN,mine.example,BLOCK\n{world.rules}"
    area = "document.querySelector('textarea').value"
    await type_rules(page, home, "DOMAIN,mine.example,BLOCK\n")
    await again(page, "document.querySelector('nav a').click()")
    await again(page, "history.back()")
    assert await page.evaluate(area) == typed
    assert "What you typed before is here again. It is not saved." in await page.text()
    await again(page, "location.reload()")
    assert await page.evaluate(area) == typed
    await page.evaluate("document.querySelector('form[data-check] button').click(); 0")
    await shows(page, "document.querySelector('.notice')?.innerText.includes('Saved: ')")
    assert world.rules.replace("\r\n", "\n") == typed
    await again(page, "location.reload()")
    assert "is here again" not in await page.text()


async def test_what_was_typed_is_not_saved_over_a_file_that_has_changed_since(
    world: World, page: Tab, home: str
) -> None:
    await type_rules(page, home, "DOMAIN,mine.example,BLOCK\n")
    world.rules += "DOMAIN,theirs.example,BLOCK\n"
    theirs = world.rules
    await again(page, "location.reload()")
    await page.evaluate("document.querySelector('form[data-check] button').click(); 0")
    await shows(page, "document.body?.innerText.includes('The file has changed since you opened it.')")
    assert world.rules == theirs


async def test_what_was_discarded_does_not_come_back(world: World, page: Tab, home: str) -> None:
    await type_rules(page, home, WRONG)
    await again(page, "document.querySelector('[data-discard]').click()")
    assert await page.evaluate("document.querySelector('textarea').value") == world.rules


async def test_what_is_typed_stays_when_the_session_has_ended_before_it_is_saved(
    world: World, page: Tab, home: str
) -> None:
    before = world.rules
    await type_rules(page, home, "DOMAIN,mine.example,BLOCK\n")
    form = "document.querySelector('form[action$=sign-out]')"
    await page.evaluate(
        f"fetch({form}.action, {{method: 'POST', body: new URLSearchParams(new FormData({form}))}}).then(() => 0)"
    )
    await page.evaluate("document.querySelector('form[data-check] button').click(); 0")
    await shows(page, "document.body.innerText.includes('Nothing was saved. What you typed is still here.')")
    await shows(page, "document.querySelector('#state').innerText.startsWith('You are signed out.')")
    assert (await page.evaluate("document.querySelector('textarea').value")).startswith("DOMAIN,mine.example,BLOCK")
    assert world.rules == before


async def test_what_is_typed_stays_when_byway_has_ended_before_it_is_saved(tmp_path: Path, page: Tab) -> None:
    async with Byway(tmp_path) as byway:
        printed = (await byway.command("open", "--print")).stdout
        await page.open(f"{byway.url}/sign-in")
        code = printed.split("type: ")[1].split()[0]
        await page.evaluate(f"document.querySelector('input').value = {json.dumps(code)}; 0")
        await page.evaluate("document.querySelector('button').click(); 0")
        await type_rules(page, await arrived(page), "DOMAIN,mine.example,BLOCK\n")
    await page.evaluate("document.querySelector('form[data-check] button').click(); 0")
    await shows(page, "document.body.innerText.includes('Nothing was saved. What you typed is still here.')")
    await shows(page, "document.querySelector('#state').innerText.startsWith('Byway does not answer.')")
    assert (await page.evaluate("document.querySelector('textarea').value")).startswith("DOMAIN,mine.example,BLOCK")


async def test_what_is_typed_stays_while_the_rest_of_the_page_follows(world: World, page: Tab, home: str) -> None:
    """Focus or not: what stands above the editor is that of now."""
    await type_rules(page, home, WRONG)
    for blur in ("", "document.activeElement.blur()"):
        await page.evaluate(f"{blur}; document.querySelector('.tabs').dataset.old = ''; 0")
        await tell(world, page)
        await shows(page, "!('old' in document.querySelector('.tabs').dataset)")
        assert (await page.evaluate("document.querySelector('textarea').value")).startswith(WRONG)


async def test_the_focus_in_a_row_stays_while_the_page_follows(world: World, page: Tab, home: str) -> None:
    await page.open(f"{home}traffic")
    await press_to(page, "summary")
    await page.press("Enter")
    key = await page.evaluate("document.activeElement.parentElement.dataset.key")
    rows = await page.evaluate("document.querySelectorAll('tbody tr').length")
    await tell(world, page)
    await shows(page, f"document.querySelectorAll('tbody tr').length > {rows}")
    assert await page.evaluate("document.activeElement.parentElement.dataset.key") == key
    assert await page.evaluate("document.activeElement.parentElement.open")
    assert await page.evaluate("document.querySelectorAll('details[open]').length") == 1, "and no other row is open"


async def test_a_scrolled_table_stays_where_it_is(world: World, page: Tab, home: str) -> None:
    await page.look(dark=False, width=360)
    await page.open(f"{home}traffic")
    rows = await page.evaluate("document.querySelectorAll('tbody tr').length")
    await page.evaluate("document.querySelector('.wide').scrollLeft = 40; 0")
    assert await page.evaluate("document.querySelector('.wide').scrollLeft") == 40
    await tell(world, page)
    await shows(page, f"document.querySelectorAll('tbody tr').length > {rows}")
    assert await page.evaluate("document.querySelector('.wide').scrollLeft") == 40


async def test_a_page_is_in_the_end_what_the_server_would_send(world: World, page: Tab, home: str) -> None:
    """Element by element, after rows came, went and moved."""
    for path in ("", "sites", "traffic", "relays", "rules"):
        await page.open(f"{home}{path}")
        world.open_connections.entries.clear()
        await tell(world, page, times=3)
        is_same = """fetch(location.href).then(async (answer) => {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
          const [shown, sent] = [document.getElementById("live"), fresh].map((each) => each.innerHTML);
          return shown.replace(/just now|\\d+ s ago/g, "") === sent.replace(/just now|\\d+ s ago/g, "");
        })"""
        await shows(page, is_same)


async def test_a_pause_is_marked_on_every_page(world: World, page: Tab, home: str) -> None:
    await page.open(f"{home}sites")
    assert "Paused" not in await page.text()
    world.modes.pause(600)
    await tell(world, page)
    await shows(page, "/Paused until \\d\\d:\\d\\d/.test(document.querySelector('header').innerText)")
    world.modes.resume()
    await tell(world, page)
    await shows(page, "!document.querySelector('header').innerText.includes('Paused')")


@pytest.mark.parametrize("shown", ["sites", "settings", "traffic"])
async def test_a_tab_says_that_byway_has_ended(tmp_path: Path, page: Tab, shown: str) -> None:
    async with Byway(tmp_path) as byway:
        printed = (await byway.command("open", "--print")).stdout
        code = printed.split("type: ")[1].split()[0]
        await page.open(f"{byway.url}/sign-in")
        await page.evaluate(f"document.querySelector('input').value = {json.dumps(code)}; 0")
        await page.evaluate("document.querySelector('button').click(); 0")
        home = await arrived(page)
        await page.open(f"{home}{shown}")
        await shows(page, "document.querySelector('#state').className !== 'ended'")
    await shows(page, "document.querySelector('#state').innerText.startsWith('Byway does not answer.')")
    assert "{time}" not in await page.text()


async def test_a_tab_follows_again_once_byway_answers(world: World, tmp_path: Path, chromium: Chromium) -> None:
    """The stream breaks, as when a laptop sleeps; the session is still there."""
    async with chromium.tab() as page, dashboard(world, tmp_path) as pages:
        await page.open(f"{await sign_in(page, pages)}sites")
        await shows(page, "document.querySelector('#state').className === 'live'")
        await until(lambda: world.followers == 1, within_s=20)
        await page.evaluate(_NOTE_STATES)
        pages.cut()
        await shows(page, "states.includes('ended')")
        world.see(rescued(host="meanwhile.example.org", at=time.time()))
        await shows(page, "document.querySelector('#state').className === 'live'")
        await shows(page, "document.body.innerText.includes('meanwhile.example.org')")


async def test_the_first_sentence_says_what_replaces_auto(world: World, page: Tab, home: str) -> None:
    await page.open(home)
    lead = "document.querySelector('.lead').innerText"
    assert "3 sites are blocked" in await page.evaluate(lead)
    world.modes.pause(600)
    await tell(world, page)
    await shows(page, f"{lead}.startsWith('Byway is paused until ')")
    assert "work through" not in await page.evaluate(lead)
    ids = await page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids)), "none stands twice"
    world.modes.set_mode(AutoMode.RELAY)
    await tell(world, page)
    await shows(page, f"{lead}.startsWith('All sites go through relays')")
