"""How often a tab is told that something has changed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from proxy.control.dashboard import dashboard
from proxy.control.dashboard.routes import Routes
from proxy.control.dashboard.tab_updates import pause_s
from proxy.detect.relay_faults import RelayFault
from proxy.model import Stage, Symptom
from proxy.session.events import Learned
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.outcomes import HOME, failed, outcome, rescued
from tests.support.waiting import until


def test_the_pause_follows_what_a_page_costs() -> None:
    """Within 5 s in any case, and once a second when pages are quick."""
    assert pause_s(0.0) == pause_s(0.005) == 1.0
    assert pause_s(0.01) == 2.0
    assert pause_s(0.3) == pause_s(100.0) == 4.0


def rescue(world: World) -> None:
    """Another route rescues a connection, which stays open."""
    now = time.time()
    changes = world.beliefs.learn(rescued(host="new.example.org", at=now), network=HOME, now=now)
    world.events.emit(Learned(changes))


def go_offline(world: World) -> None:
    world.beliefs.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT)), network=HOME, now=time.time())


def fail_relay(world: World) -> None:
    world.health.failed("tor", time.time(), fault=RelayFault.CONNECTION_REFUSED)


def edit_rules(world: World) -> None:
    world.rules = "MATCH,AUTO\n"
    world.overrides_changed()


def edit_with_a_mistake(world: World) -> None:
    world.counters["config_problem"] = "rules.txt:1: unknown rule type"


@pytest.mark.parametrize("happen", [rescue, go_offline, fail_relay, edit_rules, edit_with_a_mistake])
async def test_a_tab_is_told_what_has_changed_while_no_connection_ends(
    world: World, browser: Browser, happen: Callable[[World], None]
) -> None:
    """No outcome is known then: a tunnel may stay open for hours."""
    headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
    async with (
        asyncio.timeout(20),
        browser.session.get(f"{browser.pages.url}{browser.base}events", headers=headers) as stream,
    ):
        assert stream.status == 200
        await until(lambda: world.followers == 1)
        happen(world)
        assert await stream.content.readline() == b"event: changed\n"


async def test_what_goes_on_ends_when_the_session_does(world: World, browser: Browser) -> None:
    """A tab that is still open must not be told of sites any more."""
    headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
    token = await browser.token()
    async with (
        asyncio.timeout(20),
        browser.session.get(f"{browser.pages.url}{browser.base}events", headers=headers) as stream,
    ):
        await until(lambda: world.followers == 1)
        assert (await browser.post(f"{browser.base}sign-out", {"token": token}))[0] == 200
        with pytest.raises(ClientPayloadError):
            await stream.content.read()
    await until(lambda: world.followers == 0)


async def test_nothing_goes_on_for_a_session_that_ends_while_it_is_asked_for(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody signs out just after a page was loaded, which then asks for its events."""
    token, headers = await browser.token(), {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
    is_asked, is_signed_out = threading.Event(), threading.Event()

    load = dashboard._load_pages

    def load_pages(*given: Any) -> Routes:
        is_asked.set()
        assert is_signed_out.wait(20)
        return load(*given)

    monkeypatch.setattr(dashboard, "_load_pages", load_pages)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        asking = group.create_task(browser.session.get(f"{browser.pages.url}{browser.base}events", headers=headers))
        await until(is_asked.is_set)
        assert (await browser.post(f"{browser.base}sign-out", {"token": token}))[0] == 200
        is_signed_out.set()
        async with await asking as answer:
            assert answer.status == 401
    assert world.followers == 0
