"""What the pages say, as they come from the server: without JavaScript."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from proxy.config.schema import Log
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.model import Action, Override
from proxy.model.feature import Feature
from proxy.net.tasks import spawn
from tests.support.control_world import SECRET, World
from tests.support.dashboard import Browser, Pages
from tests.support.outcomes import AWAY, HOME, delivered, failed, outcome, rescued
from tests.support.seeded import BLOCKED, LONG, SeededWorld
from tests.support.waiting import until

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    yield world
    world.close()


async def test_the_list_of_sites(browser: Browser) -> None:
    text = await browser.text("sites")
    assert text.index(LONG) < text.index(BLOCKED), "the latest first"
    assert "Name filter" in text
    only = await browser.text("sites?name=USER")
    assert BLOCKED in only
    assert LONG not in only
    assert "No site matches." in await browser.text("sites?status=slow&cause=&network=&name=")
    assert (await browser.get(f"{browser.base}sites?page=0"))[0] == 400
    assert (await browser.get(f"{browser.base}sites?colour=red"))[0] == 400


async def test_a_long_list_has_pages(world: World, browser: Browser) -> None:
    for number in range(60):
        world.see(rescued(host=f"site{number}.example{number}.org", at=time.time()))
    first = await browser.text("sites")
    assert "Page 1 of 2 Next" in first
    assert "Page 2 of 2" in await browser.text("sites?page=2")
    assert "Page 2 of 2" in await browser.text("sites?page=99")


async def test_a_site(browser: Browser) -> None:
    text = await browser.text(f"sites/{BLOCKED}")
    moment = r"\d{1,2} [A-Z][a-z][a-z]( \d{4})? \d\d:\d\d"
    assert re.search(rf"✗ blocked on this network · since {moment} Opens by tor ", text)
    assert re.search(rf"Last confirmed {moment} \.", text)
    assert "Name filter" in text
    assert "Direct is stopped at the step: Name." in text
    assert "connection reset after the TLS ClientHello (SNI filtering)" in text, "on demand"
    assert "Blocked once since" in text, "though when that began is not in the log any more"
    assert "Routes now: tor → vps → direct|doh and 7 more" in text
    unknown = await browser.text("sites/never.example")
    assert "not tested" in unknown
    assert "No block of this site is recorded." in unknown


async def test_the_history_of_a_site(world: World, browser: Browser) -> None:
    world.see(rescued(host="new.example.org", at=time.time()))
    text = await browser.text("sites/new.example.org")
    assert "Blocked once since" in text
    assert "blocked now." in text
    assert "likely blocked" in text[text.index("What began it") :]
    _, html = await browser.get(f"{browser.base}sites/new.example.org")
    assert 'fill="url(#sni)"' in html


async def test_a_host_that_is_typed_is_checked(browser: Browser) -> None:
    status, location = await browser.get(f"{browser.base}sites/?host=%20Never.Example%20")
    assert status == 303
    assert location == ""
    status, text = await browser.get(f"{browser.base}sites/?host=no..name")
    assert status == 400
    assert "two dots in a row" in text


async def test_an_override_and_its_undo(world: World, browser: Browser) -> None:
    path = f"sites/{BLOCKED}/override"
    assert await browser.send(path, action="relay:vps", hours="1") == f"sites/{BLOCKED}"
    override = world.overrides[BLOCKED]
    assert (override.action, override.relay) == (Action.RELAY, "vps")
    assert 3500 < override.until - time.time() <= 3600
    notice = f"{BLOCKED} and its subdomains: relay vps, ends in 60 min."
    _, fetched = await browser.get(browser.base, **{"Sec-Fetch-Dest": "empty"})
    assert notice not in fetched, "another tab brings itself up to date in between"
    text = await browser.text(f"sites/{BLOCKED}")
    assert notice in text
    assert "Undo: no override: rules decide" in text
    assert "and its subdomains: relay" not in await browser.text(f"sites/{BLOCKED}"), "a notice is shown once"
    await browser.send(path, action="none")
    assert BLOCKED not in world.overrides
    assert "Undo: vps, never direct" in await browser.text(f"sites/{BLOCKED}")
    for form in ({"action": "relay:nobody"}, {"action": "exec"}, {}, {"action": "block", "hours": "9e9"}):
        assert (await browser.post(browser.base + path, {"token": await browser.token(), **form}))[0] == 400


async def test_an_undo_gives_back_the_end_of_an_override(world: World, browser: Browser) -> None:
    """What was to last an hour lasts no longer than that after an undo."""
    path = f"sites/{BLOCKED}"
    await browser.send(f"{path}/override", action="direct", hours="1")
    before = world.overrides[BLOCKED]
    await browser.send(f"{path}/override", action="relay")
    assert "Undo: direct, ends in 60 min" in await browser.text(path)
    await browser.send(f"{path}/override", undo=await undo_on(browser, path))
    assert world.overrides[BLOCKED] == before
    await browser.send(f"{path}/override", undo=await undo_on(browser, path))
    assert world.overrides[BLOCKED] == Override(Action.RELAY)


async def test_an_undo_does_not_bring_back_what_has_ended(world: World, browser: Browser) -> None:
    path = f"sites/{BLOCKED}"
    before = world.overrides[BLOCKED] = Override(Action.DIRECT, "", time.time() + 0.01)
    world.overrides_changed()
    await browser.send(f"{path}/override", action="relay")
    await until(lambda: before.has_ended(time.time()))
    assert "Undo: no override: rules decide" in await browser.text(path)
    await browser.send(f"{path}/override", undo=await undo_on(browser, path))
    assert BLOCKED not in world.overrides


async def test_nothing_is_undone_that_somebody_else_has_changed(world: World, browser: Browser) -> None:
    path = f"sites/{BLOCKED}"
    await browser.send(f"{path}/override", action="direct")
    change = await undo_on(browser, path)
    world.parts.override(BLOCKED, Override(Action.BLOCK))  # `byway site set`
    assert "Undo:" not in await browser.text(path)
    form = {"token": await browser.token(), "undo": change}
    status, html = await browser.post(f"{browser.base}{path}/override", form)
    assert status == 409
    assert "Nothing was undone: the override has been changed since." in html
    assert world.overrides[BLOCKED] == Override(Action.BLOCK)


async def test_two_changes_at_once_are_undone_from_the_later_one(world: World, browser: Browser) -> None:
    path, token, flushed = f"{browser.base}sites/{BLOCKED}", await browser.token(), world.store.flush
    waits, goes_on = threading.Event(), threading.Event()

    def flush(timeout_s: float = 1.0) -> bool:
        if not waits.is_set():  # the first one waits longer for the disk
            waits.set()
            goes_on.wait(10)
        return flushed(timeout_s)

    world.store.flush = flush  # type: ignore[method-assign]
    forms = [{"token": token, "action": action} for action in ("direct", "block")]
    first = spawn(browser.post(f"{path}/override", forms[0]), name="the first change")
    await until(waits.is_set)
    await browser.post(f"{path}/override", forms[1])
    goes_on.set()
    await first
    assert world.overrides[BLOCKED] == Override(Action.BLOCK)
    assert "Undo: direct" in await browser.text(f"sites/{BLOCKED}")


async def undo_on(browser: Browser, path: str) -> str:
    """What the button for an undo posts."""
    (change,) = re.findall(r'name="undo" value="([^"]+)"', (await browser.get(browser.base + path))[1])
    return str(change)


async def test_mode_and_pause(world: World, browser: Browser) -> None:
    assert await browser.send("mode", mode="relay") == ""
    assert world.modes.mode == "relay"
    assert "Sites go through relays only." in await browser.text()
    await browser.send("pause", minutes="15")
    text = await browser.text()
    assert "Paused until" in text
    await browser.send("pause", minutes="0")
    assert not world.modes.paused_until
    for form in ({"mode": "paused"}, {"mode": ""}, {}):
        assert (await browser.post(f"{browser.base}mode", {"token": await browser.token(), **form}))[0] == 400
    for minutes in ("", "-1", "nan", "1e9"):
        form = {"token": await browser.token(), "minutes": minutes}
        assert (await browser.post(f"{browser.base}pause", form))[0] == 400


async def test_relays(browser: Browser) -> None:
    text = await browser.text("relays")
    assert "1 of 2 relays in use fails: vps." in text
    assert "✓ works" in text
    assert "✗ fails" in text
    assert "https://user:***@relay.example:443" in text
    assert SECRET not in text


async def test_the_log(browser: Browser) -> None:
    everything = await browser.text("traffic?when=all")
    assert BLOCKED in everything
    assert "delivered" in everything
    assert "failed" in await browser.text("traffic?result=failed&when=all")
    only = await browser.text(f"traffic?site={LONG}&when=all")
    assert BLOCKED not in only
    assert "No matching connections" in await browser.text("traffic?site=never.example&when=all")
    for query in ("older=odd", "newer=x", "path=/etc"):
        assert (await browser.get(f"{browser.base}traffic?{query}"))[0] == 400


async def test_an_empty_log_says_why(pages: Pages, world: World) -> None:
    for hosts, words in (
        ("off", "Nothing is logged by name"),
        ("decisions", "not logged by name"),
        ("all", "No match"),
    ):
        world.settings = replace(world.settings, log=Log(hosts=hosts))  # type: ignore[arg-type]
        world.overrides_changed()
        async with pages.signed_in() as browser:
            assert words in await browser.text("traffic?site=never.example&when=all")


async def test_rules_with_their_hits(world: World, browser: Browser) -> None:
    text = await browser.text("rules")
    assert "2 rules are in use. 2 of them decided nothing since the start." in text
    assert "ads.example and its subdomains DOMAIN-SUFFIX,ads.example,BLOCK blocked never" in text
    assert "bank.example DIRECT never" in text
    assert "gfwlist" in text
    traced = await browser.text("rules?url=https://cdn.ads.example/x")
    assert "cdn.ads.example : blocked no route" in traced
    assert "rules.txt, line 1: DOMAIN-SUFFIX,ads.example,BLOCK . This decides." in traced
    assert (await browser.get(f"{browser.base}rules?url=no..name"))[0] == 400


async def test_networks(world: World, browser: Browser) -> None:
    text = await browser.text("networks")
    assert "This network has no name. With one, rules can name it" in text
    assert f"{HOME} this one State Internet access works. Blocked sites 3: " in text
    world.settings = replace(world.settings, networks={"Home Wi-Fi": HOME, "office": AWAY})
    world.overrides_changed()
    text = await browser.text("networks")
    assert "This is Home Wi-Fi." in text
    assert text.index("Home Wi-Fi this one") < text.index("office Blocked sites 0 Sites with a status 0 · last change")


async def test_addons(world: World, browser: Browser) -> None:
    assert "0 addons run." in await browser.text("addons")
    ways, bad = (AddonFile(name, Path(f"/home/me/{name}.py"), shipped=False, enabled=True) for name in ("ways", "bad"))
    world.addons = (
        AddonState(ways, running="1", since=time.time(), hooks=("plan",)),
        AddonState(bad, problems=("bad.py:3: no plan",)),
    )
    text = await browser.text("addons")
    assert "1 addon runs. 1 has a problem." in text
    assert text.index("bad.py:3: no plan") < text.index("ways File and hooks /home/me/ways.py Hooks: plan ✓ runs")


async def test_a_measurement_sends_each_step_as_it_is_done(world: World, browser: Browser) -> None:
    held = asyncio.Event()

    async def hold(_: str) -> None:
        await held.wait()

    world.hold = hold
    form = {"token": await browser.token(), "fresh": "1"}
    headers = {"Origin": browser.pages.url, "Sec-Fetch-Dest": "document"}
    address = f"{browser.pages.url}{browser.base}sites/blog.example.net/measure"
    async with browser.session.post(address, data=form, headers=headers) as answer:
        assert answer.status == 200
        begun = await asyncio.wait_for(answer.content.readuntil(b'aria-live="polite">'), 10)
        assert b"blog.example.net" in begun
        held.set()
        rest = (await asyncio.wait_for(answer.content.read(), 60)).decode()
    assert rest.index("DNS (system)") < rest.index("Verdict") < rest.index("Test again")
    assert rest.count(f'action="{browser.base}sites/blog.example.net/measure"') == 1, "it is tested again there"
    assert rest.rstrip().endswith("</html>")
    assert rest.count("<ol") == rest.count("</ol") - 1
    assert "http" in rest


@pytest.mark.parametrize("site", ["127.0.0.1", "192.168.1.1", "[::1]:8119", "10.0.0.1:80", "no..name", " "])
async def test_no_address_of_this_network_is_measured(world: World, browser: Browser, site: str) -> None:
    form = {"token": await browser.token(), "fresh": "1"}
    status, text = await browser.post(f"{browser.base}sites/{quote(site, safe='')}/measure", form)
    assert status == 400, text
    assert not world.resolved


async def test_a_fault_of_our_own_is_told_without_its_message(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError(BLOCKED)

    token = await browser.token()
    world.health.working = fault  # type: ignore[method-assign, assignment]
    status, text = await browser.post(f"{browser.base}sites/blog.example.net/measure", {"token": token, "fresh": "1"})
    assert (status, text.count("Byway has an internal error")) == (200, 1)
    world.beliefs.lookup = fault  # type: ignore[method-assign, assignment]
    status, page = await browser.get(f"{browser.base}sites/{BLOCKED}")
    assert status == 500
    assert "Byway has an internal error" in page
    assert text.rstrip().endswith("</html>")
    assert BLOCKED not in caplog.text
    assert "RuntimeError" in caplog.text


async def test_the_earlier_page_of_a_measurement_leads_to_that_of_the_site(browser: Browser) -> None:
    for query, path in (("", "sites"), ("?site=https://Example.org/a", "sites/example.org#measurement")):
        address = f"{browser.pages.url}{browser.base}why{query}"
        async with browser.session.get(address, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, browser.base + path)


async def test_what_comes_from_outside_is_text(world: World, browser: Browser) -> None:
    world.see(
        outcome(failed(error=HOSTILE), delivered(), host="evil.example.org", at=time.time(), why=HOSTILE),
    )
    world.overrides["evil.example.org"] = Override(Action.RELAY, HOSTILE)
    world.overrides_changed()
    world.store.flush()
    for page in (
        "",
        "sites",
        "sites/evil.example.org",
        "relays",
        "traffic?when=all",
        f"traffic?route={HOSTILE}",
        f"traffic?filter={HOSTILE}&when={HOSTILE}",
        f"sites?name={HOSTILE}",
    ):
        status, html = await browser.get(browser.base + page)
        assert status == 200
        assert HOSTILE not in html, page
        assert html.count("<script") == 1, "our own"


async def test_no_page_has_a_password(browser: Browser) -> None:
    for page in ("", "sites", f"sites/{BLOCKED}", "relays", "rules", "networks", "addons", "traffic?when=all"):
        assert SECRET not in (await browser.get(browser.base + page))[1]


async def test_a_typed_domain_leads_to_its_hosts(world: World, browser: Browser) -> None:
    world.see(rescued(host="www.instagram.com", at=time.time()))
    text = await browser.text("sites/instagram.com")
    assert "~ likely blocked" in text
    assert "This is what is known of www.instagram.com ." in text
    _, html = await browser.get(f"{browser.base}names?typed=insta")
    assert '<option value="www.instagram.com">' in html
    assert '<option value="instagram.com">' in html
    assert BLOCKED in await browser.text("sites/livejournal.com")
