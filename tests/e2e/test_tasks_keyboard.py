"""The twelve tasks that people bring to the dashboard, by the keyboard alone: from Today to the answer, with real
presses of Tab, at most 15 a task. The focus shows wherever it stops, and no pointer rests on anything. Letters, Enter
and typed text are not counted."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.model import Action, Symptom
from proxy.model.feature import Feature
from tests.e2e.test_dashboard import shows, sign_in
from tests.e2e.test_tasks_traffic import evening
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.opened import open_three
from tests.support.outcomes import HOME, failed, outcome
from tests.support.seeded import BLOCKED, SeededWorld
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

TABS_MAX = 15

_SHOWS = """((it) => {
  const box = it.getBoundingClientRect(), style = getComputedStyle(it);
  return it.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
    && box.width > 0 && box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
})(document.activeElement)"""


class Keyboard:
    """A person without a mouse, who counts the presses of Tab."""

    def __init__(self, page: Tab, world: World) -> None:
        self.page = page
        self.world = world
        self.tabs = 0

    async def to(self, selector: str) -> None:
        """Presses Tab until such an element has the focus."""
        while not await self.page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            self.tabs += 1
            assert self.tabs <= TABS_MAX, f"{selector} is more than {TABS_MAX} tabs away"
            await self.page.press("Tab")
            await shows(self.page, _SHOWS)

    async def jump(self, selector: str) -> None:
        """Follows a link to another place of the page."""
        await self.to(selector)
        await self.page.press("Enter")

    async def skip(self) -> None:
        await self.jump("a.skip")

    async def follow(self, selector: str = "*") -> None:
        """Presses Enter on such an element, by default where the focus is, and waits for the next page."""
        await self.to(selector)
        await self.page.evaluate("document.documentElement.dataset.left = 'yes'; 0")
        await self.page.press("Enter")
        await shows(self.page, "document.readyState === 'complete' && !('left' in document.documentElement.dataset)")

    async def type(self, text: str) -> None:
        await self.page.call("Input.insertText", text=text)

    async def ask(self) -> None:
        """Asks for the blocked site in the header."""
        await self.to("header [name=host]")
        await self.type(BLOCKED)
        await self.follow()

    async def text(self, selector: str) -> str:
        """Returns what an element shows: nothing that is hidden, or appears below a pointer."""
        return str(await self.page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))


@pytest.fixture
def world(features: Sequence[Feature], tmp_path: Path) -> Iterator[World]:
    """Yesterday evening no route opened the blocked site; three connections are open; each new relay works."""
    path = tmp_path / "config.toml"
    path.write_text('[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n')
    world = SeededWorld(features=features, path=path, working=["mine"])
    for minute in (0, 12):
        world.store.record(outcome(failed(Symptom.RESET), host=BLOCKED, at=evening() + minute * 60), network=HOME)
    assert world.store.flush()
    yield world
    world.close()


async def _is_it_blocked(keyboard: Keyboard) -> None:
    await keyboard.ask()
    lead = await keyboard.text(".lead")
    assert "blocked on this network" in lead
    assert "since" in lead


async def _one_relay(keyboard: Keyboard) -> None:
    await _set_relay(keyboard)


async def _undo(keyboard: Keyboard) -> None:
    await _set_relay(keyboard)
    keyboard.tabs = 0
    await keyboard.skip()
    await keyboard.jump("a[href='#override']")
    await keyboard.follow("form:has([name=undo]) button")
    await until(lambda: BLOCKED not in keyboard.world.overrides, within_s=20)


async def _set_relay(keyboard: Keyboard) -> None:
    await keyboard.ask()
    await keyboard.skip()
    await keyboard.jump("a[href='#override']")
    await keyboard.to("select[name=action]")
    for letter in "tor":
        await keyboard.page.press(letter)
    await keyboard.follow("form:has(select[name=action]) button")
    await until(lambda: BLOCKED in keyboard.world.overrides, within_s=20)
    override = keyboard.world.overrides[BLOCKED]
    assert (override.action, override.relay) == (Action.RELAY, "tor")


async def _why(keyboard: Keyboard) -> None:
    await keyboard.ask()
    group = await keyboard.text("[aria-labelledby=failures] .plain > li")
    assert "yesterday 20:04–20:16" in group
    assert "2 visits: direct: connection reset" in group


async def _proof(keyboard: Keyboard) -> None:
    await keyboard.ask()
    await keyboard.skip()
    await keyboard.jump("a[href='#report']")
    await keyboard.follow("a.button[href$='/proof']")
    assert f"Proof of blocking: {BLOCKED}" in await keyboard.text("section.proof")


async def _is_it_good(keyboard: Keyboard) -> None:
    await keyboard.follow("nav a[href$='/relays']")
    assert "Good: 100 % of 2 visits." in await keyboard.text("[data-key=relay-tor]")


async def _add_relay(keyboard: Keyboard) -> None:
    await keyboard.follow("nav a[href$='/relays']")
    await keyboard.skip()
    await keyboard.jump("a[href='#urls']")
    await keyboard.to("textarea[name=urls]")
    await keyboard.type("socks5h://127.0.0.1:1080#mine")
    await shows(keyboard.page, "document.querySelector('[data-checked]').innerText.includes('1080')")
    await keyboard.follow("button[value=add]")
    assert "Added: mine." in await keyboard.page.text()
    assert keyboard.world.path is not None
    assert [relay.name for relay in load(keyboard.world.path).settings.relay] == ["tor", "mine"]


async def _mistake(keyboard: Keyboard) -> None:
    before = keyboard.world.rules
    await keyboard.follow("nav a[href$='/rules']")
    await keyboard.skip()
    await keyboard.to("[name=value]")
    await keyboard.type("DOMAN,ads.example,BLOCK")
    await shows(keyboard.page, "document.querySelector('#add-checked').innerText.includes('did you mean DOMAIN?')")
    await keyboard.follow()
    assert "did you mean DOMAIN?" in await keyboard.page.text()
    assert keyboard.world.rules == before
    assert await keyboard.page.evaluate("document.querySelector('[name=value]').value") == "DOMAN,ads.example,BLOCK"


async def _add_rule(keyboard: Keyboard) -> None:
    await keyboard.follow("nav a[href$='/rules']")
    await keyboard.skip()
    await keyboard.to("[name=value]")
    await keyboard.type("new.example")
    await keyboard.follow()
    assert "DOMAIN-SUFFIX,new.example,RELAY" in keyboard.world.rules


async def _forget(keyboard: Keyboard) -> None:
    await keyboard.ask()
    await keyboard.skip()
    await keyboard.jump("a[href='#forget']")
    await keyboard.to("[name=confirm]")
    await keyboard.type(BLOCKED)
    await keyboard.follow("[aria-labelledby=forget] button")
    assert [what.host for what in keyboard.world.forgotten] == [BLOCKED]
    assert f"{BLOCKED} is forgotten" in await keyboard.page.text()


async def _pause(keyboard: Keyboard) -> None:
    await keyboard.follow("button[name=minutes]")
    assert keyboard.world.modes.paused_until > time.time()
    assert (await keyboard.text(".lead")).startswith("Byway is paused until ")


async def _close(keyboard: Keyboard) -> None:
    closed = open_three(keyboard.world, at=time.time() - 5)
    await keyboard.follow("nav a[href$='/traffic']")
    await keyboard.skip()
    await keyboard.follow("button[name=close]")
    await until(lambda: closed == [3], within_s=20)
    assert "Closed: " in await keyboard.page.text()


async def _which_list(keyboard: Keyboard) -> None:
    keyboard.world.rules = "DOMAIN,a.example,BLOCK\nLIST,gfwlist,RELAY:tor\n"
    keyboard.world.overrides_changed()
    await keyboard.follow("nav a[href$='/rules']")
    await keyboard.skip()
    await keyboard.to("[name=url]")
    await keyboard.type("https://www.livejournal.com/x")
    await keyboard.follow()
    lit = await keyboard.text(".ladder .lit")
    assert "rules.txt, line 2: LIST,gfwlist,RELAY:tor" in lit
    assert "List gfwlist, line 2: ||livejournal.com" in lit


async def _system_proxy(keyboard: Keyboard) -> None:
    await keyboard.skip()
    await keyboard.follow(".tile a[href$='/setup']")
    await keyboard.skip()
    await keyboard.follow("[action$='setup/system'] button")
    assert keyboard.world.system_proxy.on is not None
    assert "Byway is the system proxy of" in await keyboard.page.text()


TASKS: Mapping[str, Callable[[Keyboard], Awaitable[None]]] = {
    "a: is it blocked, since when": _is_it_blocked,
    "b: always through one relay": _one_relay,
    "b: undo": _undo,
    "c: why did it fail yesterday evening": _why,
    "d: a proof": _proof,
    "e: is my relay any good": _is_it_good,
    "f: add a relay": _add_relay,
    "g: a mistake in a rule": _mistake,
    "g: a rule": _add_rule,
    "h: forget a site": _forget,
    "i: pause": _pause,
    "j: close a live connection": _close,
    "k: which list decides": _which_list,
    "l: the system proxy": _system_proxy,
}


@pytest.mark.parametrize("name", TASKS)
async def test_a_task_by_the_keyboard(world: World, pages: Pages, page: Tab, name: str) -> None:
    await sign_in(page, pages)
    keyboard = Keyboard(page, world)
    await TASKS[name](keyboard)
    print(f"{name}: {keyboard.tabs} tabs")
