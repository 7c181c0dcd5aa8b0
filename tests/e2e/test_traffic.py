"""The page Traffic: in a Chromium, and at a real Byway, where the next connection follows a rule that was made from an
open one."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy.model import DIRECT
from tests.e2e.test_dashboard import arrived, press_to, shows, sign_in
from tests.support.byway import PATIENT, Byway
from tests.support.chromium import Tab
from tests.support.control_world import World
from tests.support.dashboard import Browser, Pages
from tests.support.opened import Opened, open_three
from tests.support.relay import Relay
from tests.support.streams import close, listening
from tests.support.waiting import until, until_read

pytestmark = pytest.mark.waits

HOST = "www.site.test"


@pytest.fixture
def closed(world: World) -> list[int]:
    return open_three(world, at=time.time() - 5)


@pytest.fixture
async def live(world: World, closed: list[int], pages: Pages, page: Tab) -> Tab:
    """A tab with the page."""
    home = await sign_in(page, pages)
    await page.open(f"{home}traffic")
    await shows(page, "document.querySelectorAll('[name=close]').length === 3")
    return page


@pytest.mark.slow
@pytest.mark.needs("chromium")
async def test_the_keyboard_alone_closes_a_connection(live: Tab, closed: list[int]) -> None:
    await press_to(live, "button[name=close][value='2']")
    await live.press("Enter")
    await until(lambda: closed == [2], within_s=20)
    await shows(live, "document.querySelector('[role=status]')?.innerText === 'Closed: example.net.'")
    await shows(live, "document.querySelectorAll('[name=close]').length === 2")


@pytest.mark.slow
@pytest.mark.needs("chromium")
async def test_the_keyboard_alone_sends_a_site_direct_and_undoes_it(world: World, live: Tab, closed: list[int]) -> None:
    await press_to(live, "details[data-key='1'] summary")
    await live.press("Enter")
    await press_to(live, "button[name=direct][value='a.example.org']")
    await live.press("Enter")
    await until(lambda: "a.example.org" in world.overrides, within_s=20)
    await arrived(live)
    await press_to(live, "button[name=undo]")
    await live.press("Enter")
    await until(lambda: "a.example.org" not in world.overrides, within_s=20)
    assert closed == []


@pytest.mark.slow
@pytest.mark.needs("chromium")
async def test_the_page_follows_connections_as_they_open_and_end(world: World, live: Tab) -> None:
    await live.evaluate("document.querySelector(\"details[data-key='1']\").open = true; 0")
    Opened(world, 7, "new.example", DIRECT, time.time(), [])
    await shows(live, "document.body?.innerText.includes('new.example')")
    assert await live.evaluate("document.querySelector(\"details[data-key='1']\").open"), "what is open stays so"
    assert not await live.evaluate("document.querySelector(\"details[data-key='7']\").open")
    world.open_connections.entries.clear()
    await shows(live, "document.body?.innerText.includes('Nothing is open.')")


@pytest.mark.slow
@pytest.mark.needs("chromium")
async def test_a_paused_page_stays(world: World, live: Tab) -> None:
    address = await live.evaluate("location.pathname")
    await live.evaluate("[...document.links].find(each => each.innerText === 'Stop updating this page').click(); 0")
    await shows(live, "document.querySelector('#state.kept') !== null")
    Opened(world, 7, "new.example", DIRECT, time.time(), [])
    asked = "performance.getEntriesByType('resource').filter(each => each.initiatorType === 'fetch').length"
    assert await live.evaluate(asked) == 0
    await live.evaluate("[...document.links].find(each => each.innerText === 'Update this page again').click(); 0")
    assert await shows(live, "document.querySelector('#live:not([data-still])') && location.pathname") == address
    await until(lambda: world.followers == 1, within_s=20)


@pytest.mark.slow
@pytest.mark.needs("chromium")
async def test_a_tab_asks_for_no_more_than_its_share(world: World, live: Tab) -> None:
    """A long page is asked for as seldom as it is long, though the server says every second that something changed."""
    for number in range(100, 220):
        Opened(world, number, f"host{number}.{'example' * 8}.test", DIRECT, time.time(), [])
    counted = (
        "performance.getEntriesByType('resource').filter(each => each.initiatorType === 'fetch' && each.responseEnd)"
    )
    await shows(live, f"{counted}.length >= 4")
    fetched = await live.evaluate(f"{counted}.map(each => [each.startTime, each.responseEnd, each.decodedBodySize])")
    gaps = [(begin - end, size / 50) for (_, end, size), (begin, _, _) in pairwise(fetched)]
    assert all(gap >= least * 0.95 for gap, least in gaps), gaps  # timers may ring a little early
    assert max(least for _, least in gaps) > 1000, "the page is long enough to show it"


@pytest.mark.slow
@pytest.mark.needs("chromium")
async def test_without_javascript_the_page_is_whole_and_filters_and_closes(live: Tab, closed: list[int]) -> None:
    await live.call("Emulation.setScriptExecutionDisabled", value=True)
    await live.evaluate("document.querySelector('[name=filter]').value = 'program:firefox'; 0")
    await live.evaluate("document.querySelector('main [role=search] button').click(); 0")
    await shows(live, "document.body?.innerText.includes('3 connections are open; 1 matches.')")
    await live.evaluate("document.querySelector('[name=close]').click(); 0")
    await shows(live, "document.body?.innerText.includes('Closed: a.example.org.')")
    assert await live.evaluate("location.search") == "?program=firefox"
    assert closed == [1]


@contextlib.asynccontextmanager
async def browser_of(byway: Byway) -> AsyncIterator[Browser]:
    """A browser that is signed in to a real Byway."""
    async with byway.api() as api, Pages(byway.port, api).signed_in() as browser:
        yield browser


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)


@pytest.mark.slow
async def test_the_next_connection_follows_a_rule_that_is_made_from_an_open_one(tmp_path: Path) -> None:
    async with listening(echo, "127.0.0.1", 0) as server, Relay({HOST: "127.0.0.1"}) as relay:
        port = server.sockets[0].getsockname()[1]
        config = (
            f'[[relay]]\nname = "exit"\nurl = "socks5://{relay.address}:{relay.port}"\n'
            f'[dns.hosts]\n"{HOST}" = "127.0.0.1"\n{PATIENT}'
        )
        async with Byway(tmp_path, config=config, rules="# mine\nMATCH,AUTO\n") as byway, browser_of(byway) as browser:

            async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                reader, writer = await asyncio.open_connection(*byway.proxy)
                writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                writer.write(b"hello\n")
                assert await reader.readline() == b"hello\n"
                return reader, writer

            reader, writer = await connect()
            assert relay.asked == []
            text = await browser.text("traffic")
            assert "1 connection is open." in text
            assert f"{HOST} :{port} " in text
            assert " direct ✓ open " in text
            asked_at = time.monotonic()
            form = {"host": HOST, "program": "", "subject": "domain", "action": "relay:exit"}
            await browser.send("traffic/rule", **form)
            following = await connect()
            print(f"the next connection followed the rule {time.monotonic() - asked_at:.3f} s after the form was sent")
            assert relay.asked == [f"{HOST}:{port}"]
            assert byway.rules.read_text() == "# mine\nDOMAIN-SUFFIX,site.test,RELAY:exit\nMATCH,AUTO\n"
            text = await browser.text("traffic")
            assert "Added: rules.txt:2 DOMAIN-SUFFIX,site.test,RELAY:exit. New connections follow it" in text
            assert "2 connections are open." in text
            assert " exit ✓ open " in text
            writer.write(b"again\n")
            assert await reader.readline() == b"again\n", "what is open stays open"

            # The user closes the one through the relay.
            own = "{}:{}".format(*following[1].get_extra_info("sockname"))

            async def row_of_exit() -> dict[str, Any]:
                async with browser.pages.api.get("/v1/connections/open", params={"route": "exit"}) as answer:
                    (row,) = (await answer.json())["connections"]
                return dict(row)

            async def is_program_known() -> bool:
                return bool((await row_of_exit())["program"])

            await until_read(is_program_known)  # it is looked up once the connection is a second old
            row = await row_of_exit()
            assert row["client"] == own
            assert row["why"] == "rules.txt:2 DOMAIN-SUFFIX,site.test,RELAY:exit"
            await browser.send("traffic/close", close=str(row["id"]))
            assert await following[0].read() == b""
            assert "1 connection is open." in await browser.text("traffic")
            await close(writer)
            await close(following[1])


async def test_the_next_connection_follows_an_override_that_is_made_from_an_open_one(tmp_path: Path) -> None:
    async with listening(echo, "127.0.0.1", 0) as server, Relay({HOST: "127.0.0.1"}) as relay:
        port = server.sockets[0].getsockname()[1]
        config = (
            f'[[relay]]\nname = "exit"\nurl = "socks5://{relay.address}:{relay.port}"\n'
            f'[dns.hosts]\n"{HOST}" = "127.0.0.1"\n{PATIENT}'
        )
        async with Byway(tmp_path, config=config) as byway, browser_of(byway) as browser:

            async def visit() -> int:
                """Returns how often the relay has been asked after a visit."""
                reader, writer = await asyncio.open_connection(*byway.proxy)
                writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                await close(writer)
                return len(relay.asked)

            assert await visit() == 0
            await browser.send("traffic/override", relay=HOST)
            assert await visit() == 1
            (change,) = re.findall(r'name="undo" value="([^"]+)"', (await browser.get(f"{browser.base}traffic"))[1])
            await browser.send("traffic/override", undo=change)
            assert await visit() == 1
