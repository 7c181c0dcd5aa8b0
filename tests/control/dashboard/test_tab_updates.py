"""How often a tab is told that something has changed."""

from __future__ import annotations

import asyncio
import time

from proxy.control.dashboard.tab_updates import pause_s
from tests.control.world import World
from tests.support.dashboard import Browser
from tests.support.outcomes import HOME, rescued
from tests.support.waiting import until


def test_the_pause_follows_what_a_page_costs() -> None:
    """Within 5 s in any case, and once a second when pages are quick."""
    assert pause_s(0.0) == pause_s(0.005) == 1.0
    assert pause_s(0.01) == 2.0
    assert pause_s(0.3) == pause_s(100.0) == 4.0


async def test_a_tab_is_told_what_was_learned_while_the_connection_is_open(world: World, browser: Browser) -> None:
    """No outcome is known then: a tunnel may stay open for hours."""
    headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
    async with (
        asyncio.timeout(20),
        browser.session.get(f"{browser.pages.url}{browser.base}events", headers=headers) as stream,
    ):
        assert stream.status == 200
        await until(lambda: world.followers == 1)
        world.beliefs.learn(rescued(host="new.example.org", at=time.time()), network=HOME, now=time.time())
        assert await stream.content.readline() == b"event: changed\n"
