"""Three questions that people bring to the pages of the rules and the set-up, from Today, with their clicks counted: a
mistake in the rules, which list decides, and the system proxy. Typing is no click; sending what was typed is one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.config.schema import ListConfig
from proxy.model.errors import BywayError
from proxy.routing.lists.formats import parse_list
from tests.e2e.test_dashboard import shows, sign_in
from tests.e2e.test_dashboard_tasks import Person
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

VALUE, URL, TEXT = "[name=value]", "[name=url]", "document.querySelector('textarea').value"


async def type_into(page: Tab, field: str, text: str) -> None:
    await page.evaluate(f"document.querySelector({json.dumps(field)}).focus(); 0")
    await page.call("Input.insertText", text=text)


@pytest.fixture
async def person(pages: Pages, page: Tab) -> Person:
    await sign_in(page, pages)
    return Person(page)


async def test_a_mistake_in_a_rule_is_named_while_it_is_typed_and_the_text_stays(world: World, person: Person) -> None:
    before, page = world.rules, person.page
    await person.click("nav a", "Rules")
    await type_into(page, VALUE, "DOMAN,ads.example,BLOCK")
    await shows(page, "document.querySelector('#add-checked').innerText.includes('did you mean DOMAIN?')")
    assert "Line 1" in await page.evaluate("document.querySelector('#add-checked').innerText")
    await person.click("[action$='rules/add'] button")
    assert "did you mean DOMAIN?" in await page.text()
    assert await page.evaluate(f"document.querySelector('{VALUE}').value") == "DOMAN,ads.example,BLOCK"
    assert person.clicks == 2
    assert world.rules == before
    await page.evaluate(f"document.querySelector('{VALUE}').value = ''; 0")
    await type_into(page, VALUE, "DOMAIN,ads.example,BLOCK")
    await person.click("[action$='rules/add'] button")
    assert world.rules == f"{before}DOMAIN,ads.example,BLOCK\n"


async def test_a_mistake_in_the_text_is_named_with_its_line_and_the_text_stays(world: World, person: Person) -> None:
    before, page = world.rules, person.page
    await person.click("nav a", "Rules")
    await person.click(".tabs a", "As text")
    await type_into(page, "textarea", "DOMAN,ads.example,BLOCK\n")
    await shows(page, "document.querySelector('#rules-checked').innerText.includes('did you mean DOMAIN?')")
    assert "Line 1" in await page.evaluate("document.querySelector('#rules-checked').innerText")
    assert person.clicks == 2
    await person.click("form[data-check] button", "Save")
    assert "did you mean DOMAIN?" in await page.text()
    assert await page.evaluate(TEXT) == f"DOMAN,ads.example,BLOCK\n{before}"
    assert world.rules == before


async def test_which_list_decides_and_by_which_line(world: World, person: Person) -> None:
    text = "".join(f"host{n}.example\n" for n in range(100_000))
    world.settings = replace(world.settings, list=(ListConfig(name="big", source="big.txt"),))
    world.lists = {"big": parse_list(iter([text]), size=len(text), source="big.txt")}
    world.list_texts = {"big": text}
    world.rules = "DOMAIN,a.example,BLOCK\nLIST,big,RELAY:tor\n"
    world.overrides_changed()
    await person.click("nav a", "Rules")
    await type_into(person.page, URL, "https://www.host70707.example/x")
    await person.click("[role=search]:has([name=url]) button")
    lit = await person.page.evaluate("document.querySelector('.ladder .lit').innerText")
    assert "rules.txt, line 2: LIST,big,RELAY:tor" in lit
    assert "List big, line 70708: host70707.example" in lit
    assert "This decides." in lit
    assert person.clicks == 2


async def test_two_tabs_that_edit_the_rules_are_told_and_lose_nothing(
    world: World, pages: Pages, person: Person, chromium: object
) -> None:
    page = person.page
    home = await page.evaluate("location.href")
    await page.open(f"{home}rules?tab=text")
    await type_into(page, "textarea", "DOMAIN,mine.example,BLOCK\n")
    mine = await page.evaluate(TEXT)
    async with pages.signed_in() as other:
        version = (await other.get(f"{other.base}rules?tab=text"))[1].split('name="version" value="')[1].split('"')[0]
        form = {"token": await other.token(), "version": version, "text": "DOMAIN,theirs.example,BLOCK\n"}
        assert (await other.post(f"{other.base}rules", form))[0] == 303
    theirs = world.rules
    await shows(page, "document.querySelector('[data-told]').checkVisibility()")
    assert "The file has changed since you opened it." in await page.text()
    assert await page.evaluate(TEXT) == mine
    await person.click("form[data-check] button", "Save")
    assert "Nothing is saved. To replace the changed file, save again." in await page.text()
    assert "-DOMAIN,theirs.example,BLOCK" in await page.text()
    assert await page.evaluate(TEXT) == mine
    assert world.rules == theirs


async def test_a_rule_is_dragged_to_another_place(world: World, person: Person) -> None:
    page = person.page
    world.rules = "DOMAIN,a.example,BLOCK\nDOMAIN,b.example,BLOCK\nDOMAIN,c.example,BLOCK\n"
    world.overrides_changed()
    await person.click("nav a", "Rules")
    drag = """((from, to) => {
      const [one, other] = [from, to].map((n) => document.querySelector(`[data-name="${n}"]`));
      const place = { bubbles: true, cancelable: true, dataTransfer: new DataTransfer() };
      one.querySelector("[data-handle]").dispatchEvent(new DragEvent("dragstart", place));
      const taken = !other.dispatchEvent(new DragEvent("dragover", place));
      other.dispatchEvent(new DragEvent(taken ? "drop" : "dragend", place));
      return taken;
    })"""
    assert await page.evaluate(f"{drag}(3, 1)")
    await until(lambda: world.rules.startswith("DOMAIN,c.example"), within_s=20)
    await shows(page, "document.querySelector('.notice')?.innerText.includes('Moved: ')")
    await shows(page, f"{drag}(1, 3)")  # once the script of the new page is there
    await until(lambda: world.rules.endswith("DOMAIN,c.example,BLOCK\n"), within_s=20)
    await shows(page, "document.querySelector('[data-name=\"3\"]')?.innerText.includes('c.example')")


async def test_the_system_proxy_is_turned_on(world: World, person: Person) -> None:
    await person.click(".tile a[href$='/setup']")
    await person.click("[action$='setup/system'] button", "Make Byway the system proxy")
    assert world.system_proxy.on is not None
    text = await person.page.text()
    assert "Byway is the system proxy of" in text
    assert "Restore the earlier setting" in text
    assert person.clicks == 2


async def test_that_the_system_proxy_cannot_be_turned_on_is_said_in_true_words(
    world: World, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no session bus."""

    async def fails(_desktop: object) -> None:
        raise BywayError("gsettings failed: Cannot autolaunch D-Bus without X11 $DISPLAY")

    monkeypatch.setattr(world.system_proxy, "turn_on", fails)
    await person.click(".tile a[href$='/setup']")
    await person.click("[action$='setup/system'] button", "Make Byway the system proxy")
    text = await person.page.text()
    assert "gsettings failed: Cannot autolaunch D-Bus" in text
    assert "Byway is not the system proxy of" in text
    assert "Byway is the system proxy of" not in text
