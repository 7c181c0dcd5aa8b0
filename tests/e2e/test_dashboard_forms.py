"""The forms of the dashboard in a real Chromium: the keyboard alone adds a relay, tests it, pins a site and undoes it,
with and without JavaScript; and what the forms answer can be read by everybody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.load import load
from tests.e2e.test_dashboard import arrived, press_to, shows, sign_in
from tests.e2e.test_own_pages import check_looks
from tests.support.byway import Byway
from tests.support.chromium import Tab
from tests.support.client import fetch
from tests.support.control_world import World
from tests.support.dashboard import Pages, dashboard
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium", "axe-core"), pytest.mark.slow]


async def type_text(page: Tab, text: str) -> None:
    for key in text:
        await page.press(key)


async def follow(page: Tab, selector: str) -> None:
    """Moves the focus there, presses Enter, and waits for another page."""
    await press_to(page, selector)
    await enter(page)


async def enter(page: Tab) -> None:
    await page.evaluate("window.isOld = true")
    await page.press("Enter")
    await shows(page, "!window.isOld && document.querySelector('main#main') && document.readyState === 'complete'")


@pytest.mark.parametrize("with_javascript", [True, False])
async def test_the_keyboard_alone_adds_a_relay_tests_it_pins_a_site_and_undoes_it(
    tmp_path: Path, page: Tab, with_javascript: bool
) -> None:
    async with Origin() as origin, Relay({"control.test": "127.0.0.1", "pinned.test": "127.0.0.1"}) as relay:
        config = f'# Mine.\n[auto]\ncontrols = ["http://control.test:{origin.http_port}/"]\n'
        async with Byway(tmp_path, config=config) as byway:
            printed = (await byway.command("open", "--print")).stdout
            (code,) = re.findall(r"[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}", printed)
            if not with_javascript:
                await page.call("Emulation.setScriptExecutionDisabled", value=True)
            await page.open(f"{byway.url}/sign-in")
            await press_to(page, "input[name=code]")
            await type_text(page, code)
            await page.press("Enter")
            await arrived(page)

            await follow(page, "nav a[href$='/relays']")
            await press_to(page, "textarea[name=urls]")
            await type_text(page, f"socks5h://{relay.address}:{relay.port}#mine")
            await follow(page, "form:has(textarea) button")
            assert "Added: mine." in await page.text()
            assert [each.name for each in load(byway.config).settings.relay] == ["mine"]
            assert "# Mine." in byway.config.read_text()
            assert "mine: ✓ works" in await page.text()
            assert relay.asked == [f"control.test:{origin.http_port}"]
            await follow(page, "a[href*='relays?row=mine']")
            assert await page.evaluate("document.activeElement.ariaLabel") == "Test: mine"
            mine = await page.evaluate("document.querySelector('[data-name=mine]').innerText")
            assert "Not used in the last 24 hours. Tested today" in mine

            await page.evaluate("document.activeElement.blur(); 0")
            await follow(page, "nav a[href$='/sites']")
            await press_to(page, "input[name=host]")
            await type_text(page, "pinned.test")
            await enter(page)
            await press_to(page, "select[name=action]")
            await type_text(page, "mine")
            assert await page.evaluate("document.activeElement.value") == "relay:mine"
            await follow(page, "form:has(select[name=action]) button")
            site = await byway.read("site", "list")
            assert [(each["scope"], each["relay"]) for each in site["overrides"]] == [("pinned.test", "mine")]
            answer = await fetch(f"http://pinned.test:{origin.http_port}/", via=byway.proxy)
            assert answer.status == 200
            assert relay.asked[-1] == f"pinned.test:{origin.http_port}"

            await follow(page, "form:has(input[type=hidden][name=undo]) button")
            assert (await byway.read("site", "list"))["overrides"] == []


async def test_a_moved_row_keeps_the_focus(world: World, tmp_path: Path, page: Tab) -> None:
    world.path, world.reads_file = tmp_path / "config.toml", True
    world.path.write_text("".join(f'[[relay]]\nname = "r{n}"\nurl = "socks5h://127.0.0.1:{n}"\n' for n in range(1, 4)))
    world.settings = load(world.path).settings
    world.rules = ""
    world.overrides.clear()
    world.overrides_changed()
    async with dashboard(world, tmp_path) as pages:
        home = await sign_in(page, pages)
        await page.open(f"{home}relays")
        await press_to(page, "button[aria-label='Down: r1']")
        for _ in range(2):
            await enter(page)
        assert [relay.name for relay in load(world.path).settings.relay] == ["r2", "r3", "r1"]
        assert await page.evaluate("document.activeElement.ariaLabel") == "Up: r1", "it is the last one"
        await press_to(page, "button[aria-label='Remove: r1']")
        await enter(page)
        assert await page.evaluate("document.activeElement.innerText") == "Undo the removal of r1"
        await enter(page)
        assert [relay.name for relay in load(world.path).settings.relay] == ["r2", "r3", "r1"]


async def test_what_the_forms_answer_can_be_read_by_everybody(
    world: World, pages: Pages, page: Tab, tmp_path: Path
) -> None:
    home = await sign_in(page, pages)
    await page.call("Log.enable")

    async def refused() -> None:
        await page.open(f"{home}relays")
        await page.evaluate("document.querySelector('textarea').value = 'nonsense\\nsocks5h://10.0.0.1:1'; 0")
        await page.evaluate("document.querySelector('form:has(textarea) button').click(); 0")
        await shows(page, "document.querySelector('[role=alert]') && document.readyState === 'complete'")

    async def tested() -> None:
        await page.open(f"{home}relays")
        await page.evaluate("document.querySelector('button[value=test]').click(); 0")
        await shows(page, "document.querySelector('ol.steps li') && document.readyState === 'complete'")

    await check_looks(page, refused, "dashboard-relays-refused")
    assert await page.evaluate("document.querySelector('textarea').value") == "nonsense\nsocks5h://10.0.0.1:1"
    await check_looks(page, tested, "dashboard-relays-tested")


async def update(page: Tab) -> None:
    """Lets the page ask for its content, and waits until that is up to date."""
    await page.evaluate("document.querySelector('.lead').dataset.old = ''; 0")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange')); 0")
    await shows(page, "!('old' in document.querySelector('.lead').dataset)")


async def test_what_is_typed_outlives_an_update(world: World, pages: Pages, page: Tab) -> None:
    await page.open(f"{await sign_in(page, pages)}relays")
    await until(lambda: world.followers == 1, within_s=20)
    await page.evaluate("document.querySelector('textarea').value = 'half a UR'; 0")
    await update(page)
    assert await page.evaluate("document.querySelector('textarea').value") == "half a UR"


async def test_what_somebody_is_about_to_click_outlives_an_update(world: World, pages: Pages, page: Tab) -> None:
    """Rows move while connections come and go: a click must not close another one than was under the pointer."""
    await page.open(f"{await sign_in(page, pages)}relays")
    await until(lambda: world.followers == 1, within_s=20)
    await page.evaluate("document.querySelector('[data-name] button').scrollIntoView({ block: 'center' }); 0")
    box = await page.evaluate("document.querySelector('[data-name] button').getBoundingClientRect().toJSON()")
    over = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", **over)
    assert await page.evaluate(_UPDATED) is False
    await page.evaluate("document.querySelector('[data-name] button').dataset.old = ''; 0")
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    await shows(
        page, "!('old' in document.querySelector('[data-name] button').dataset)"
    )  # and so does what it has missed
    await update(page)


async def test_an_open_tab_says_that_its_session_has_ended(world: World, pages: Pages, page: Tab) -> None:
    """Else it would go on showing what was true then. What is typed there stays."""
    home = await sign_in(page, pages)
    await page.open(f"{home}relays")
    await until(lambda: world.followers == 1, within_s=20)
    await page.evaluate("document.querySelector('textarea').value = 'half a UR'; 0")
    await page.evaluate(_SIGN_OUT)
    await until(lambda: world.followers == 0, within_s=20)
    assert await page.evaluate("document.querySelector('textarea').value") == "half a UR"
    await page.evaluate("document.querySelector('textarea').value = ''; 0")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange')); 0")
    await shows(page, "document.body?.innerText.includes('You are signed out.')")


async def test_what_is_typed_while_the_end_of_a_session_is_on_its_way_stays(
    world: World, pages: Pages, page: Tab
) -> None:
    await page.open(f"{await sign_in(page, pages)}relays")
    await until(lambda: world.followers == 1, within_s=20)
    await page.evaluate(_HOLD_REFUSALS)
    await page.evaluate(_SIGN_OUT)
    await until(lambda: world.followers == 0, within_s=20)
    await shows(page, "held.length > 0")
    await page.evaluate("document.querySelector('textarea').value = 'half a UR'; 0")
    await page.evaluate("held.forEach((go) => go()); new Promise((done) => setTimeout(done, 300))")
    assert await page.evaluate("document.querySelector('textarea').value") == "half a UR"


async def test_a_tab_that_nobody_touches_says_that_its_session_has_ended(world: World, pages: Pages, page: Tab) -> None:
    await page.open(f"{await sign_in(page, pages)}sites")
    await until(lambda: world.followers == 1, within_s=20)
    await page.evaluate(_SIGN_OUT)
    await shows(page, "document.body?.innerText.includes('You are signed out.')")


_SIGN_OUT = """{
  const form = document.querySelector('form[action$=sign-out]');
  fetch(form.action, {method: 'POST', body: new URLSearchParams(new FormData(form))}).then(() => 0);
}"""
"""As another tab does it."""

_HOLD_REFUSALS = """{
  const ask = window.fetch;
  window.held = [];
  window.fetch = (...all) => ask(...all).then((answer) =>
    answer.status !== 401 ? answer : new Promise((go) => held.push(() => go(answer))));
}"""

_UPDATED = """new Promise((done) => {
  const lead = document.querySelector('.lead');
  lead.dataset.old = '';
  document.dispatchEvent(new Event('visibilitychange'));  // the page asks for its content again
  const wait = (frames) => 'old' in lead.dataset && frames ? requestAnimationFrame(() => wait(frames - 1))
    : done(!('old' in lead.dataset));
  fetch(location.href).then((answer) => answer.text()).then(() => wait(30));
})"""
"""Whether the content was brought up to date, after an answer that was asked for later than the update's."""
