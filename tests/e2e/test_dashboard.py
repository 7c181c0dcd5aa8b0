"""The dashboard in a real Chromium: signing in, a measurement, the keyboard, and a page that follows what happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.model.feature import Feature
from proxy.net.tasks import spawn
from tests.e2e.test_own_pages import check_looks
from tests.support.byway import Byway
from tests.support.chromium import Refused, Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.opened import open_three
from tests.support.outcomes import rescued
from tests.support.seeded import BLOCKED, SeededWorld, subscribe
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium", "axe-core"), pytest.mark.alone, pytest.mark.slow]


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    open_three(world, at=time.time() - 90)
    subscribe(world)
    yield world
    world.close()


async def sign_in(page: Tab, pages: Pages) -> str:
    """Types a code. Returns the address of the home page."""
    await page.open(f"{pages.url}/sign-in")
    await page.evaluate(f"document.querySelector('input').value = {json.dumps(await pages.code())}; 0")
    await page.evaluate("document.querySelector('button').click(); 0")
    return await arrived(page)


async def arrived(page: Tab) -> str:
    """Waits for the dashboard. Returns its address."""
    return str(await shows(page, "document.querySelector('main#main') && location.href"))


async def shows(page: Tab, expression: str) -> Any:
    """Waits until an expression is true of whatever page is there then, and returns its value."""
    for _ in range(600):
        with contextlib.suppress(Refused):  # one page is being left for the next
            if value := await page.evaluate(expression):
                return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 30 s: {expression}\n{await page.text()}")


async def test_a_measurement_can_be_read_by_everybody(pages: Pages, page: Tab) -> None:
    home = await sign_in(page, pages)

    async def measure() -> None:
        await page.open(f"{home}sites/blog.example.net")
        await page.evaluate("document.querySelector('form[action$=measure] button').click(); 0")
        await shows(page, "document.querySelector('#verdict') && document.readyState === 'complete'")

    await check_looks(page, measure, "dashboard-measurement")
    text = await page.text()
    assert text.index("DNS (system)") < text.index("Verdict") < text.index("What to do")


async def test_a_measured_site_can_be_read_by_everybody(pages: Pages, page: Tab) -> None:
    home = await sign_in(page, pages)
    await page.open(f"{home}sites/blog.example.net")
    await page.evaluate("document.querySelector('form[action$=measure] button').click(); 0")
    await shows(page, "document.querySelector('#verdict') && document.readyState === 'complete'")
    assert (await page.text()).index("Verdict") < (await page.text()).rindex("Forget this site")
    await check_looks(page, lambda: page.open(f"{home}sites/blog.example.net"), "dashboard-measured-site")
    assert "All steps" in await page.text()


async def test_a_page_follows_what_happens(world: World, pages: Pages, page: Tab) -> None:
    await sign_in(page, pages)
    assert "3 sites are blocked" in await page.text()
    await until(lambda: world.followers == 1, within_s=20)
    world.see(rescued(host="new.example.org", at=time.time()))
    await shows(page, "document.body.innerText.includes('4 sites are blocked')")


async def test_without_javascript_a_page_is_whole_and_forms_work(world: World, pages: Pages, page: Tab) -> None:
    home = await sign_in(page, pages)
    await page.call("Emulation.setScriptExecutionDisabled", value=True)
    await page.open(f"{home}sites/{BLOCKED}")
    assert "Direct is" in await page.text() or "Next test of direct" in await page.text()
    await page.evaluate("document.querySelector('[name=action]').value = 'relay:tor'; 0")
    await page.evaluate("document.querySelector('[name=action]').form.querySelector('button').click(); 0")
    await until(lambda: BLOCKED in world.overrides, within_s=20)


async def test_the_keyboard_alone_pins_a_site_and_undoes_it(world: World, pages: Pages, page: Tab) -> None:
    home = await sign_in(page, pages)
    await page.open(f"{home}sites/{BLOCKED}")
    await page.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await press_to(page, "select[name=action]")
    for key in "tor":
        await page.press(key)
    assert await page.evaluate("document.activeElement.value") == "relay:tor"
    await press_to(page, "select[name=action] ~ button, form:has([name=action]) button")
    await page.press("Enter")
    await until(lambda: BLOCKED in world.overrides, within_s=20)
    await arrived(page)
    await press_to(page, "form:has(input[type=hidden][name=undo]) button")
    await page.press("Enter")
    await until(lambda: BLOCKED not in world.overrides, within_s=20)


async def test_rules_are_checked_while_they_are_typed_and_saved_when_they_fit(
    world: World, pages: Pages, page: Tab
) -> None:
    before = world.rules
    home = await sign_in(page, pages)

    async def type_wrong() -> None:
        await page.evaluate("sessionStorage.clear(); 0")  # what was typed for the look before would be there again
        await page.open(f"{home}rules?tab=text")
        await page.evaluate("document.querySelector('textarea').focus(); 0")
        await page.call("Input.insertText", text="# mine\nDOMAN,x.example,BLOCK\n")
        await shows(page, "document.querySelector('[data-checked]').innerText.includes('did you mean DOMAIN?')")

    await check_looks(page, type_wrong, "dashboard-rules-problem")
    await page.evaluate("document.querySelector('[data-checked] a').click(); 0")
    selected = "(area => area.value.slice(area.selectionStart, area.selectionEnd))(document.querySelector('textarea'))"
    assert await page.evaluate(selected) == "DOMAN,x.example,BLOCK"
    # What is typed stays when the page follows what happens.
    await page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges(); 0")
    await page.evaluate("document.querySelector('.tabs').dataset.old = ''; 0")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange')); 0")
    await shows(page, "!('old' in document.querySelector('.tabs').dataset)")
    typed = await page.evaluate("document.querySelector('textarea').value")
    assert typed.startswith("# mine\nDOMAN,x.example,BLOCK\n")
    assert "did you mean DOMAIN?" in await page.text()
    assert world.rules == before
    await page.evaluate("document.querySelector('textarea').focus(); 0")
    await page.evaluate("document.querySelector('[data-checked] a').click(); 0")
    await page.call("Input.insertText", text="DOMAIN,x.example,BLOCK")
    await shows(page, "document.querySelector('[data-checked]').innerText.includes('no problem')")
    await press_to(page, "form[data-check] button:not([formaction])")
    await page.press("Enter")
    await shows(page, "document.querySelector('.notice')?.innerText.includes('Saved: 3 rules')")
    assert world.rules == f"# mine\nDOMAIN,x.example,BLOCK\n{before}".replace("\n", "\r\n")


async def press_to(page: Tab, selector: str) -> None:
    """Moves the focus forward until it is on such an element."""
    for _ in range(60):
        if await page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            return
        await page.press("Tab")
    raise AssertionError(f"the keyboard does not reach {selector}")


async def test_byway_open_signs_a_browser_in(tmp_path: Path, page: Tab) -> None:
    """The default browser is a program that notes what it is to open; Chromium opens that."""
    noted = tmp_path / "noted.txt"
    program = tmp_path / "browser.sh"
    program.write_text(f'#!/bin/sh\nstat -c %a "${{1#file://}}" > {noted}.mode\necho "$1" > {noted}\n')
    program.chmod(0o700)
    environment = {"BROWSER": f"{program} %s", "DISPLAY": ":9"}
    async with Byway(tmp_path, environment=environment) as byway:
        opening = spawn(byway.command("open", "sites"), name="byway open")
        await until(lambda: noted.exists() and noted.read_text().endswith("\n"), within_s=30)
        assert noted.with_suffix(".txt.mode").read_text() == "600\n"
        file = noted.read_text().strip()
        assert Path(file.removeprefix("file://")).parent == byway.state
        await page.call("Page.enable")
        await page.call("Page.navigate", url=file)
        address = await arrived(page)
        assert address.endswith("/sites")
        assert "Nothing is stored about any site." in await page.text()
        done = await opening
        assert "The dashboard is open in your browser." in done.stderr
        assert not list(byway.state.glob("open-*")), "the file is gone"
        assert stat.S_IMODE(byway.state.stat().st_mode) == 0o700
        printed = await byway.command("open", "--print")
        assert f"Open {byway.url}/sign-in and type: " in printed.stdout
        refused = await byway.command("open", "shell", check=False)
        assert refused.returncode == 2
        assert "unknown page" in refused.stderr
