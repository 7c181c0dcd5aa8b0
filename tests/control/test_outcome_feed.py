"""Outcomes as they are recorded, for those who follow."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from proxy.control import outcome_feed as feed
from proxy.control.outcome_feed import OutcomeFeed
from proxy.net.tasks import spawn
from proxy.session.events import Ended, Events
from tests.support.outcomes import AWAY, HOME, works
from tests.support.waiting import until


async def test_a_follower_hears_what_comes_from_now_on() -> None:
    events = Events()
    news = OutcomeFeed(events)
    events.emit(Ended(works("before.example"), HOME))
    async with aclosing(news.follow()) as following:
        first = spawn(anext(following), name="follow")
        await until(lambda: bool(news._followers))
        events.emit(Ended(works("one.example"), HOME))
        events.emit(Ended(works("two.example"), AWAY))
        outcome, network = await asyncio.wait_for(first, 10)
        assert (outcome.host, network) == ("one.example", HOME)
        outcome, network = await anext(following)
        assert (outcome.host, network) == ("two.example", AWAY)
    assert not news._followers
    assert not events._handlers[Ended]


async def test_one_that_does_not_read_loses_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LIMIT", 2)
    events = Events()
    news = OutcomeFeed(events)
    async with aclosing(news.follow()) as following:
        first = spawn(anext(following), name="follow")
        await until(lambda: bool(news._followers))
        for number in range(5):
            events.emit(Ended(works(f"{number}.example"), HOME))
        heard = [(await asyncio.wait_for(first, 10))[0].host, (await anext(following))[0].host]
        assert heard == ["3.example", "4.example"]
