from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from proxy.testing import Tried, change
from tests.addons.shipped import shipped


@dataclass
class Webhook:
    """One that writes down what it gets."""

    url: str = ""
    told: list[Any] = field(default_factory=list)


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    made = Webhook()

    async def take(request: web.Request) -> web.Response:
        made.told.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


async def told(addon: Tried, *changes: Any) -> None:
    for one in changes:
        await addon.change(one)
    for work in addon.api.spawned:
        await work
    addon.api.spawned.clear()


async def test_a_site_that_becomes_blocked_or_free_is_told(webhook: Webhook) -> None:
    addon = shipped("notify", {"webhook": webhook.url, "proxy": ""})
    await told(
        addon,
        change("a.example", "blocked", before="suspect", why="reset"),
        change("a.example", "blocked", before="blocked"),  # new numbers for the same
        change("b.example", "suspect"),
        change("a.example", "works", before="blocked", why="direct answered"),
    )
    assert addon.api.notified == [("a.example is blocked", "reset"), ("a.example is free again", "direct answered")]
    assert webhook.told == [
        {"site": "a.example", "state": "blocked", "why": "reset"},
        {"site": "a.example", "state": "works", "why": "direct answered"},
    ]


async def test_it_goes_through_the_proxy(webhook: Webhook) -> None:
    """The webhook's own server stands in for one: it gets the request for a host that there is not."""
    proxy = webhook.url.removesuffix("/hook")
    addon = shipped("notify", {"webhook": "http://webhook.invalid/hook", "proxy": proxy, "desktop": False})
    await told(addon, change())
    assert len(webhook.told) == 1
    assert addon.api.notified == []


async def test_one_that_cannot_be_reached_is_said_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    addon = shipped("notify", {"webhook": "http://webhook.invalid/secret", "proxy": "http://127.0.0.1:1"})
    await told(addon, change())
    assert "the webhook failed: ClientProxyConnectionError" in caplog.text
    assert "secret" not in caplog.text


async def test_one_that_refuses_is_said(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    addon = shipped("notify", {"webhook": f"{webhook.url}/secret", "proxy": ""})
    await told(addon, change())
    assert "the webhook failed: 404" in caplog.text
    assert "secret" not in caplog.text
