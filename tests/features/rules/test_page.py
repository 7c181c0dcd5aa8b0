"""The page of the rules: the editor of rules.txt, and what each step decides about a host."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest

from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.model import Action, Override
from proxy.model.feature import Feature
from tests.support.control_world import RULES, World
from tests.support.dashboard import Browser
from tests.support.seeded import BLOCKED, SeededWorld

LONGER = f"{RULES}DOMAIN,new.example,BLOCK\n"


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    yield world
    world.close()


def text_in(html: str) -> str:
    """What stands in the editor."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", html, re.DOTALL)
    assert found is not None, html
    return unescape(found[1])


def version_in(html: str) -> str:
    found = re.search(r'name="version" value="([0-9a-f]*)"', html)
    assert found is not None, html
    return found[1]


async def send(browser: Browser, path: str, text: str, version: str, **more: str) -> tuple[int, str]:
    form = {"token": await browser.token(), "text": text, "version": version, **more}
    return await browser.post(browser.base + path, form)


async def test_a_text_is_saved_and_in_use(world: World, browser: Browser) -> None:
    _, html = await browser.get(f"{browser.base}rules?tab=text")
    assert text_in(html) == world.rules
    text = f"{world.rules}DOMAIN,new.example,BLOCK\n"
    status, location = await send(browser, "rules", text.replace("\n", "\r\n"), version_in(html))
    assert (status, location) == (303, f"{browser.base}rules?tab=text")
    assert world.rules.splitlines() == text.splitlines()
    text = await browser.text("rules")
    assert "Saved: 3 rules, in use now." in text
    assert "new.example alone DOMAIN,new.example,BLOCK blocked never" in text


async def test_nothing_is_saved_that_does_not_check(world: World, browser: Browser) -> None:
    before, version = world.rules, version_in((await browser.get(f"{browser.base}rules?tab=text"))[1])
    wrong = f"{before}DOMAN,<b>.example,BLOCK\nDOMAIN,a.example,RELAY:tr\n"
    for path in ("rules", "rules/check"):
        status, html = await send(browser, path, wrong, version)
        assert status == 200
        assert text_in(html) == wrong, "what was typed stays"
        assert version_in(html) == version
        assert "2 problems. Solve them to save." in html
        assert 'data-line="3">Line 3</a> <code dir="ltr">DOMAN,&lt;b&gt;.example,BLOCK</code>' in html
        assert "did you mean DOMAIN?" in html
        assert "unknown relay &quot;tr&quot;; did you mean tor?" in html or 'unknown relay "tr"' in unescape(html)
        assert world.rules == before


async def test_a_text_is_checked_while_it_is_typed(world: World, browser: Browser) -> None:
    before = world.rules
    status, part = await send(browser, "rules/check", f"{before}DOMAN,x,BLOCK", "", part="1")
    assert status == 200
    assert "<html" not in part
    assert "1 problem. Solve it to save." in part
    _, part = await send(browser, "rules/check", "MATCH,DIRECT\nDOMAIN,a.example,BLOCK", "", part="1")
    assert "2 rules, no problem." in part
    assert "rules below it are never used" in part
    assert world.rules == before


async def test_a_file_that_was_changed_meanwhile_is_not_overwritten(world: World, browser: Browser) -> None:
    version = version_in((await browser.get(f"{browser.base}rules?tab=text"))[1])
    world.rules = changed = f"{world.rules}DOMAIN,theirs.example,BLOCK\n"
    mine = f"{RULES}DOMAIN,mine.example,BLOCK\n"
    status, html = await send(browser, "rules", mine, version)
    assert status == 200
    assert "The file has changed since you opened it." in html
    assert "-DOMAIN,theirs.example,BLOCK" in html
    assert "+DOMAIN,mine.example,BLOCK" in html
    assert text_in(html) == mine
    assert world.rules == changed
    assert (await send(browser, "rules", mine, version_in(html)))[0] == 303
    assert world.rules == mine


async def test_a_file_with_a_problem_is_shown_with_it(world: World, browser: Browser) -> None:
    world.rules = "DOMAN,x,BLOCK\n"
    html = unescape((await browser.get(f"{browser.base}rules?tab=text"))[1])
    assert 'unknown rule type "DOMAN"' in html
    assert text_in(html) == "DOMAN,x,BLOCK\n"


async def test_a_text_that_is_too_large(world: World, browser: Browser) -> None:
    before = world.rules
    long = before + "# comment\n" * 27_000
    _, html = await send(browser, "rules", long, version_in((await browser.get(f"{browser.base}rules?tab=text"))[1]))
    assert "too large for this page" in html
    assert world.rules == before
    world.rules = long
    text = await browser.text("rules?tab=text")
    assert "rules.txt is too large for this page. Edit it with a text editor." in text
    assert "Discard changes" not in text


@pytest.mark.parametrize("missing", ["text", "version"])
async def test_a_form_without_a_field_is_refused(browser: Browser, missing: str) -> None:
    form = {"token": await browser.token(), "text": RULES, "version": ""}
    del form[missing]
    assert (await browser.post(f"{browser.base}rules", form))[0] == 400
    foreign = {"token": "0" * 32, "text": RULES, "version": ""}
    assert (await browser.post(f"{browser.base}rules/check", foreign))[0] == 403


async def test_the_step_that_decides_is_lit(world: World, browser: Browser) -> None:
    def lit(html: str) -> str:
        (found,) = re.findall(r'<li class="lit" aria-current="step"><strong>([^<]*)', html)
        return str(found)

    path = f"rules?url={BLOCKED}"
    html = (await browser.get(browser.base + path))[1]
    assert lit(html) == "3. Learned"
    text = await browser.text(path)
    assert "1. Override none. 2. Rules No rule matches. Also on list gfwlist , line 2: ||livejournal.com" in text
    assert "✗ blocked : Name filter" in text
    assert "No addon changes routes. 5. Route tor → vps → direct|doh and 7 more" in text
    world.rules = f"DOMAIN,other.example,BLOCK\nLIST,gfwlist,RELAY:tor\n{world.rules}"
    world.overrides_changed()
    assert lit((await browser.get(browser.base + path))[1]) == "2. Rules"
    text = await browser.text(path)
    assert (
        "rules.txt, line 2: LIST,gfwlist,RELAY:tor . List gfwlist , line 2: ||livejournal.com . This decides." in text
    )
    assert "Also on list" not in text
    world.overrides[BLOCKED] = Override(Action.RELAY, "vps", time.time() + 3600)
    world.overrides_changed()
    running = AddonState(AddonFile("ways", Path("/home/me/ways.py"), shipped=False, enabled=True), running="1")
    world.addons = (replace(running, hooks=("plan",)), replace(running, hooks=("judge",)))
    path = f"rules?url=https://www.{BLOCKED}/"
    assert lit((await browser.get(browser.base + path))[1]) == "1. Override"
    text = await browser.text(path)
    assert f"1. Override {BLOCKED} : relay vps, ends in 60 min. This decides." in text
    assert "Asked last, and may change the routes: ways . 5. Route vps" in text
    world.overrides.clear()
    world.overrides_changed()
    world.modes.pause(600)
    assert lit((await browser.get(f"{browser.base}rules?url=new.example"))[1]) == "In place of AUTO"


async def edit(browser: Browser, line: int, do: str, **more: str) -> tuple[int, str]:
    html = (await browser.get(f"{browser.base}rules"))[1]
    form = {"token": await browser.token(), "version": version_in(html), "line": str(line), "do": do, **more}
    return await browser.post(f"{browser.base}rules/edit", form)


async def test_a_rule_is_switched_moved_and_removed(world: World, browser: Browser) -> None:
    first, second = world.rules.splitlines()
    assert await edit(browser, 1, "off") == (303, f"{browser.base}rules?line=1&did=on")
    assert world.rules == f"# {first}\n{second}\n"
    text = await browser.text("rules?line=1&did=on")
    assert f"Off: {first}. What it matched may connect direct now." in text
    assert "1 rule is in use. 1 of them decided nothing since the start. 1 is off." in text
    html = (await browser.get(f"{browser.base}rules?line=1&did=on"))[1]
    assert re.search(r'<button name="do" value="on"[^>]* autofocus>', html), "the keyboard stays on the row"
    await edit(browser, 1, "on")
    assert world.rules == f"{first}\n{second}\n"
    assert await edit(browser, 2, "up", before="1") == (303, f"{browser.base}rules?line=1&did=up")
    assert world.rules == f"{second}\n{first}\n"
    await edit(browser, 0, "move", order="2 1")
    assert world.rules == f"{first}\n{second}\n"
    assert await edit(browser, 1, "remove") == (303, f"{browser.base}rules?line=0&did=undo")
    assert world.rules == f"{second}\n"


async def undo(browser: Browser, version: str = "") -> tuple[int, str]:
    html = (await browser.get(f"{browser.base}rules"))[1]
    form = {"token": await browser.token(), "version": version or version_in(html)}
    return await browser.post(f"{browser.base}rules/undo", form)


async def test_an_edit_is_undone_once_and_not_over_another_one(world: World, browser: Browser) -> None:
    before = world.rules
    await edit(browser, 2, "remove")
    assert "<button autofocus>Undo</button>" in (await browser.get(f"{browser.base}rules?line=0&did=undo"))[1]
    assert await undo(browser) == (303, f"{browser.base}rules")
    assert world.rules == before
    assert f"Undone: Removed: {before.splitlines()[1]}." in await browser.text("rules")
    assert (await undo(browser))[0] == 409
    await edit(browser, 2, "remove")
    world.rules = changed = f"{world.rules}DOMAIN,theirs.example,BLOCK\n"
    status, html = await undo(browser)
    assert status == 409
    assert "Nothing was undone: the rules have been changed since." in html
    assert "Undo</button>" not in html
    assert world.rules == changed


async def test_a_form_of_an_older_file_changes_nothing(world: World, browser: Browser) -> None:
    version = version_in((await browser.get(f"{browser.base}rules"))[1])
    world.rules = changed = f"DOMAIN,theirs.example,BLOCK\n{world.rules}"
    form = {"token": await browser.token(), "version": version, "line": "1", "do": "remove"}
    status, html = await browser.post(f"{browser.base}rules/edit", form)
    assert status == 409
    assert "The rules have changed since this page was made, so nothing was changed." in html
    assert world.rules == changed


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"line": "9", "do": "off"}, 400),
        ({"line": "0", "do": "remove"}, 400),
        ({"line": "2", "do": "up", "before": "7"}, 400),
        ({"line": "1", "do": "move", "before": "2"}, 400),
        ({"do": "move", "order": "1 2"}, 400),
        ({"do": "move", "order": "9 1"}, 400),
        ({"do": "move", "order": "\u0662 -1 <b> " * 200}, 400),
        ({"line": "-1", "do": "off"}, 400),
        ({"line": "1e3", "do": "off"}, 400),
        ({"line": "<b>", "do": "off"}, 400),
        ({"line": "9" * 400, "do": "off"}, 400),
        ({"line": "1", "do": "run"}, 400),
        ({"line": "1", "do": "off", "odd": "x"}, 400),
        ({}, 400),
    ],
)
async def test_a_forged_edit_changes_nothing(
    world: World, browser: Browser, fields: dict[str, str], status: int
) -> None:
    before = world.rules
    version = version_in((await browser.get(f"{browser.base}rules"))[1])
    form = {"token": await browser.token(), "version": version, **fields}
    answered, html = await browser.post(f"{browser.base}rules/edit", form)
    assert answered == status, html
    assert "<b>" not in html
    assert world.rules == before


async def test_a_rule_that_is_off_and_has_a_mistake_stays_off(world: World, browser: Browser) -> None:
    world.rules = "# DOMAIN,a.example,RELAY:gone\n"
    world.overrides_changed()
    status, html = await edit(browser, 1, "on")
    assert status == 400
    assert 'unknown relay "gone"' in unescape(html)
    assert world.rules.startswith("# ")


async def add(browser: Browser, path: str = "rules/add", **form: str) -> tuple[int, str]:
    return await browser.post(browser.base + path, {"token": await browser.token(), **form})


async def test_a_rule_is_added_with_what_it_changes(world: World, browser: Browser) -> None:
    before = world.rules
    status, location = await add(browser, kind="", value="https://video.example/watch", action="RELAY:tor")
    assert (status, location) == (303, f"{browser.base}rules?line=3&did=down")
    assert world.rules == f"{before}DOMAIN-SUFFIX,video.example,RELAY:tor\n"
    assert "Added: DOMAIN-SUFFIX,video.example,RELAY:tor." in await browser.text("rules")
    assert await undo(browser) == (303, f"{browser.base}rules")
    assert world.rules == before
    await add(browser, kind="DOMAIN", value="video.example", action="BLOCK", first="1")
    assert world.rules == f"DOMAIN,video.example,BLOCK\n{before}"
    await add(browser, kind="DOMAIN", value="x.ads.example", action="DIRECT")
    assert "It is never used: rules.txt:2 DOMAIN-SUFFIX,ads.example,BLOCK comes first" in await browser.text("rules")


@pytest.mark.parametrize("path", ["rules/add", "rules/add/check"])
@pytest.mark.parametrize(
    ("kind", "value", "action", "words"),
    [
        ("", "", "RELAY", "there is nothing to match"),
        ("DOMAIN", "a..b", "RELAY", "empty label"),
        ("", "DOMAN,x.example,BLOCK", "RELAY", "did you mean DOMAIN?"),
        ("", "a.example", "RELAY:tr", 'unknown relay "tr"'),
        ("LIST", "near", "RELAY", 'unknown list "near"'),
        ("", "<script>alert(1)</script>", "RELAY", "<script>"),
        ("DOMAIN", '"><img src=x onerror=alert(1)>', "RELAY", "onerror"),
        ("<b>", "a.example", "RELAY", "unknown rule type"),
        ("", "a.example", "<b>", "unknown action"),
        ("", "a.example\nDOMAIN,b.example,DIRECT", "RELAY", ""),
        ("DOMAIN-REGEX", "(a+)+$" * 300, "BLOCK", "pattern"),
        ("", "\u202eexample.org", "RELAY", ""),
    ],
)
async def test_a_new_rule_with_a_mistake_is_named_and_kept(
    world: World, browser: Browser, path: str, kind: str, value: str, action: str, words: str
) -> None:
    before = world.rules
    status, html = await add(browser, path, kind=kind, value=value, action=action)
    assert status in (200, 400)
    assert words in unescape(html)
    assert f'value="{escape(value, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")}"' in html
    assert "<script>alert" not in html
    assert "<img" not in html
    assert world.rules == before


async def test_a_new_rule_is_checked_while_it_is_typed(browser: Browser) -> None:
    status, part = await add(browser, "rules/add/check", kind="", value="example.org", action="RELAY", part="1")
    assert status == 200
    assert "<html" not in part
    assert "This rule is added: DOMAIN-SUFFIX,example.org,RELAY" in part


async def test_fifty_rules_a_page(world: World, browser: Browser) -> None:
    world.rules = "".join(f"DOMAIN,host{n}.example,BLOCK\n" for n in range(120))
    world.overrides |= {f"site{n}.example": Override(Action.DIRECT) for n in range(60)}
    world.overrides_changed()
    html = (await browser.get(f"{browser.base}rules"))[1]
    assert html.count("data-name=") == 50
    assert 'href="' + browser.base + 'rules?page=2"' in html
    assert "Page 1 of 3" in html
    assert html.count("/sites/site") == 48, "of 62 overrides, 50"
    second = (await browser.get(f"{browser.base}rules?page=2&overrides=2"))[1]
    assert "host50.example" in second
    assert "Page 2 of 3" in second
    assert second.count("/sites/site") == 12
    assert "Page 3 of 3" in await browser.text("rules?page=999")
    assert (await browser.get(f"{browser.base}rules?page=0"))[0] == 400
    assert "host99.example" in await browser.text("rules?line=100&did=up"), "the page with the rule that was moved"
    found = await browser.text("rules?find=host7")
    assert "host70.example" in found
    assert "host69.example" not in found


async def test_lists_with_age_hits_and_what_to_do(world: World, browser: Browser) -> None:
    world.rules = f"{world.rules}LIST,gfwlist,RELAY:tor\n"
    world.overrides_changed()
    for _ in range(3):
        world.rule_hits.count("LIST,gfwlist,RELAY:tor", time.time())
    text = await browser.text("rules")
    assert "own 2 entries · a file, read when it changes · no rule uses it" in text
    assert re.search(r"gfwlist 3 entries · fetched .* · 3 hits Fetch now Which of my sites\?", text)


async def test_the_page_of_a_list_says_which_of_the_users_sites_are_on_it(world: World, browser: Browser) -> None:
    text = await browser.text("rules/lists/gfwlist")
    assert "3 of the sites that Byway knows on this network are on this list." in text
    assert f"{BLOCKED} livejournal.com ✗ blocked" in text
    assert "Skipped lines 1 of 4" in text
    assert (await browser.get(f"{browser.base}rules/lists/gfwlst"))[0] == 404
    assert (await browser.get(f"{browser.base}rules/lists/%3Cb%3E"))[0] == 404


async def test_a_list_is_fetched_now(world: World, browser: Browser) -> None:
    form = {"token": await browser.token(), "name": "gfwlist", "do": "fetch"}
    status, html = await browser.post(f"{browser.base}rules/fetch", form)
    assert status == 200
    assert "<bdi>gfwlist</bdi>: " in html
    assert "not fetched" in html, "no relay of this Byway answers"
    assert f'href="{browser.base}rules/lists/gfwlist">Back to the list' in html
    for wrong in ({"name": "own"}, {"name": "odd"}, {"do": "odd"}):
        assert (await browser.post(f"{browser.base}rules/fetch", form | wrong))[0] == 400
