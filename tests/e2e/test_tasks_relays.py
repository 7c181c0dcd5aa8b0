"""Tasks that people bring to the page Relays, each within its clicks from the first page, and by the keyboard within 15
tabs of the page. Typing and pasting are no clicks."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.model.errors import ConfigError
from tests.e2e.test_dashboard import shows, sign_in
from tests.e2e.test_dashboard_tasks import Person
from tests.support.byway import Byway
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages, dashboard
from tests.support.origin import Origin
from tests.support.outcomes import TOR, VPS, delivered, failed, outcome
from tests.support.relay import Relay
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

TABS_MAX = 15
_PASTE = """(() => {
  const data = new DataTransfer();
  data.setData('text/plain', %s);
  document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
})(); 0"""


async def tab_to(page: Tab, selector: str) -> int:
    """Presses Tab until the element has the focus. Returns how often."""
    await page.evaluate("document.activeElement.blur(); document.querySelector('main').focus(); 0")
    for presses in range(1, TABS_MAX + 1):
        await page.press("Tab")
        if await page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            return presses
    raise AssertionError(f"{selector} is more than {TABS_MAX} tabs away")


async def paste(page: Tab, text: str) -> None:
    """Pastes a text onto the page, and waits until it says what it understood."""
    await page.evaluate(_PASTE % json.dumps(text))
    await shows(page, "document.querySelector('[data-checked]').childElementCount > 0")


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Byway, Relay]]:
    async with Origin() as origin, Relay({"control.test": "127.0.0.1"}) as relay:
        config = f'[auto]\ncontrols = ["http://control.test:{origin.http_port}/"]\n'
        async with Byway(folder, config=config) as byway:
            yield byway, relay


async def signed_in(byway: Byway, page: Tab) -> None:
    printed = (await byway.command("open", "--print")).stdout
    await page.open(f"{byway.url}/sign-in")
    code = next(word for word in printed.split() if word.count("-") == 3)
    await page.evaluate(f"document.querySelector('input[name=code]').value = {json.dumps(code)}; 0")
    await page.evaluate("document.querySelector('form').requestSubmit(); 0")
    await shows(page, "document.querySelector(\"nav a[href$='/relays']\") !== null")


async def test_is_my_relay_any_good(world: World, pages: Pages, page: Tab) -> None:
    """Task e: one click, and the answer is that of the visits, whatever was forgotten since."""
    for number in range(122):
        route = failed(route=TOR) if number < 3 else delivered(TOR)
        seen = outcome(route, *([delivered(VPS)] if number < 3 else []), at=time.time())
        world.store.record(seen, network=world.parts.network())
    assert world.store.flush()
    await sign_in(page, pages)
    person = Person(page)
    await person.click("nav a[href$='/relays']")
    assert "Good: 98 % of 124 visits" in await page.text()  # with two of before
    assert person.clicks == 1


@pytest.mark.parametrize("with_javascript", [True, False])
async def test_add_a_relay(tmp_path: Path, page: Tab, with_javascript: bool) -> None:
    """Task f: two clicks, with a name of one's own. It is tested before it is saved."""
    async with running(tmp_path) as (byway, relay):
        await signed_in(byway, page)
        await page.call("Emulation.setScriptExecutionDisabled", value=not with_javascript)
        await page.call("Page.reload")
        await shows(page, "document.readyState === 'complete'")
        person = Person(page)
        await person.click("nav a[href$='/relays']")
        text = f"“{relay.address} {relay.port}”"
        if with_javascript:
            await paste(page, text)
            assert f"socks5h://{relay.address}:{relay.port}" in await page.text()
            await page.evaluate("document.querySelector('[name=name-0]').value = 'mine'; 0")
        else:
            await page.evaluate(f"document.querySelector('textarea').value = {json.dumps(text)}; 0")
        await person.click("button[value=add]")
        name = "mine" if with_javascript else load(byway.config).settings.relay[0].name
        assert f"{name}: ✓ works" in await page.text()
        assert f"Added: {name}." in await page.text()
        assert [each.name for each in load(byway.config).settings.relay] == [name]
        assert len(relay.asked) == 1
        assert person.clicks == 2


async def test_the_field_for_relays_is_near_however_many_there_are(world: World, pages: Pages, page: Tab) -> None:
    await page.open(f"{await sign_in(page, pages)}relays")
    assert await tab_to(page, "a[href='#urls']") <= TABS_MAX
    await page.press("Enter")
    await shows(page, "document.activeElement.id === 'urls'")


async def test_a_name_that_is_typed_outlives_the_next_look(world: World, pages: Pages, page: Tab) -> None:
    await page.open(f"{await sign_in(page, pages)}relays")
    await paste(page, "socks5h://1.1.1.1:1080")
    name = "document.querySelector('[name=name-0]')"
    await page.evaluate(f"{name}.focus(); {name}.value = 'mi'; 0")
    await page.evaluate(f"{name}.dispatchEvent(new Event('input', {{ bubbles: true }})); 0")
    await page.evaluate("new Promise((done) => setTimeout(done, 600))")
    assert await page.evaluate(f"{name}.value") == "mi"
    assert await page.evaluate(f"document.activeElement === {name}")


async def test_cards_are_dragged_and_a_tab_that_is_older_undoes_nothing(
    world: World, tmp_path: Path, page: Tab
) -> None:
    world.path, world.reads_file = tmp_path / "config.toml", True
    world.path.write_text("".join(f'[[relay]]\nname = "r{n}"\nurl = "socks5h://127.0.0.1:{n}"\n' for n in range(1, 4)))
    world.settings = load(world.path).settings
    world.rules = ""
    world.overrides.clear()
    world.overrides_changed()

    def names() -> list[str]:
        assert world.path is not None
        try:
            return [relay.name for relay in load(world.path).settings.relay]
        except ConfigError:  # it was replaced while it was read
            return []

    async with dashboard(world, tmp_path) as pages:
        home = await sign_in(page, pages)
        await page.open(f"{home}relays")
        await page.evaluate(_DRAG % ("r3", "r1"))
        await until(lambda: names() == ["r3", "r1", "r2"], within_s=20)
        await shows(page, "document.readyState === 'complete' && document.querySelector('.notice') !== null")
        assert "The order of the relays is: r3, r1, r2." in await page.text()
        version = await page.evaluate("document.querySelector('#relay-order [name=version]').value")
        world.path.write_text(world.path.read_text() + "# mine\n")
        await page.evaluate(f"document.querySelector('#relay-order [name=version]').value = {json.dumps(version)}; 0")
        await page.evaluate(_DRAG % ("r2", "r3"))
        await shows(page, "document.body?.innerText.includes('was edited since')")
        assert names() == ["r3", "r1", "r2"]


_DRAG = """(() => {
  const [from, to] = ['%s', '%s'].map((name) => document.querySelector(`[data-name=${name}]`));
  const dataTransfer = new DataTransfer();
  const send = (on, type) => on.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
  send(from.querySelector('[data-handle]'), 'dragstart');
  send(to, 'dragover');
  send(to, 'drop');
})(); 0"""
