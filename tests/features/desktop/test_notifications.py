"""Notifications: for the first rescue on a network and when all relays fail, nameless, and at most one an hour."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config.schema import Desktop, Log, Settings
from proxy.features.desktop.notifications import AGAIN_S, RELAYS_FAIL, RESCUED, Notifications
from proxy.model import Action, NetworkId, Outcome
from proxy.session.events import SignalWaits
from tests.support.outcomes import HOME, rescued, works
from tests.support.services import services
from tests.support.waiting import until


class Screen:
    """What somebody sees of a Byway with two relays."""

    def __init__(self, settings: Settings | None = None, *, ephemeral: bool = False) -> None:
        self.shown: list[str] = []
        self.now = 1e9
        self.faults: set[str] = set()
        self.asked = 0
        setup = SimpleNamespace(settings=settings or Settings(), registry=SimpleNamespace(relay_names=("tor", "vps")))
        health = SimpleNamespace(faults=lambda: dict.fromkeys(self.faults))
        show = lambda title, text: self.shown.append(title)  # noqa: E731
        shared = services(setup=lambda: setup, health=health, now=lambda: self.now)
        self.notifications = Notifications(shared, show, ephemeral=ephemeral)

    async def rescue(self, network: NetworkId = HOME, outcome: Outcome | None = None) -> None:
        record: Any = SimpleNamespace(network=network, outcome=outcome or rescued())
        event: Any = SimpleNamespace(record=record, outcome=record.outcome)
        self.notifications.on_rescued(event)
        await self._settled()

    async def signal(self) -> None:
        self.notifications.on_signal_waits(SignalWaits())
        await self._settled()

    async def _settled(self) -> None:
        count = len(self.shown)
        if self.notifications._shown_at == self.now and self.asked != self.now:
            self.asked = int(self.now)
            await until(lambda: len(self.shown) > count)


async def test_the_first_rescue_on_each_network_and_one_an_hour() -> None:
    screen = Screen()
    await screen.rescue()
    assert screen.shown == [RESCUED.title]
    other = NetworkId("0" * 16)
    screen.now += AGAIN_S - 1
    await screen.rescue(other)
    assert len(screen.shown) == 1
    screen.now += 1
    await screen.rescue()  # not the first
    assert len(screen.shown) == 1
    await screen.rescue(other)
    assert screen.shown == [RESCUED.title] * 2


async def test_what_a_rule_sends_by_a_relay_is_no_rescue() -> None:
    screen = Screen()
    outcome = rescued()
    await screen.rescue(outcome=replace(outcome, plan=replace(outcome.plan, action=Action.RELAY)))
    await screen.rescue(outcome=works("a.example"))
    assert screen.shown == []


async def test_all_relays_fail() -> None:
    screen = Screen()
    screen.faults = {"tor"}
    await screen.signal()
    assert screen.shown == []
    screen.faults = {"tor", "vps"}
    await screen.signal()
    await screen.signal()
    assert screen.shown == [RELAYS_FAIL.title]


@pytest.mark.parametrize(
    ("settings", "ephemeral"),
    [
        (Settings(), True),
        (Settings(log=Log(hosts="off")), False),
        (Settings(desktop=Desktop(notify=False)), False),
    ],
)
async def test_none_where_nothing_may_be_shown(settings: Settings, ephemeral: bool) -> None:
    screen = Screen(settings, ephemeral=ephemeral)
    screen.faults = {"tor", "vps"}
    await screen.rescue()
    await screen.signal()
    assert screen.shown == []


def test_no_notification_has_a_name_in_it() -> None:
    for notification in (RESCUED, RELAYS_FAIL):
        assert "{" not in notification.title + notification.text
