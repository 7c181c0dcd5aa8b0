"""The page of the set-up: whether this browser uses Byway, the system proxy, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from proxy.config.schema import Listen
from proxy.model.errors import BywayError
from proxy.model.feature import Feature
from proxy.setup.desktop.system_proxy import Restored
from tests.features.desktop.test_own_pages import CHROMIUM, FIREFOX
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.seeded import SeededWorld


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    yield world
    world.close()


def is_on(world: World) -> bool:
    return world.system_proxy.on is not None


async def page(browser: Browser, user_agent: str) -> str:
    status, html = await browser.get(f"{browser.base}setup", **{"User-Agent": user_agent})
    assert status == 200
    return html


async def test_whether_this_browser_uses_byway_and_how_to_set_it(world: World, browser: Browser) -> None:
    html = await page(browser, FIREFOX)
    assert "Not seen: no request of this browser came to the proxy in the last 10 seconds." in html
    assert "Choose “Manual proxy configuration”." in html
    assert 'Port: <code dir="ltr">8119</code>' in html
    world.recent_clients.note(FIREFOX)
    assert "It seems so: a browser of exactly this kind" in await page(browser, FIREFOX)
    html = await page(browser, CHROMIUM)
    assert "Not seen" in html
    assert "byway system on" in html


@pytest.mark.uses("relays")
async def test_addresses_and_what_is_wrong(world: World, browser: Browser) -> None:
    text = await browser.text("setup")
    assert "http://127.0.0.1:8119/proxy.pac goes direct while Byway does not run" in text
    assert "No proxy for localhost, 127.0.0.0/8, ::1, .local, " in text
    assert "Byway listens for this computer only." in text
    assert "user or password" in text[text.index("What is wrong") :]
    world.settings = replace(world.settings, listen=Listen(address="192.0.2.7", user="me"))
    world.overrides_changed()
    text = await browser.text("setup")
    assert "Byway listens on 192.0.2.7, port 8119, for other computers and phones too." in text


async def test_the_system_proxy_is_turned_on_and_off(world: World, browser: Browser) -> None:
    assert "Byway is not the system proxy of" in await browser.text("setup")
    assert await browser.send("setup/system", do="on") == "setup"
    assert is_on(world)
    text = await browser.text("setup")
    assert "is now http://127.0.0.1:8119/proxy.pac. It is lenient" in text
    assert "Restore the earlier setting" in text
    await browser.send("setup/system", do="off")
    assert "The earlier system proxy setting was restored." in await browser.text("setup")
    assert not is_on(world)
    world.system_proxy.strict_by = "rules.txt:1"
    await browser.send("setup/system", do="on")
    assert "It is strict, because of rules.txt:1: if Byway crashes" in await browser.text("setup")


async def test_what_cannot_be_turned_on_is_said(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> Restored:
        raise BywayError("gsettings is not installed: install it, or set the proxy by hand")

    monkeypatch.setattr(world.system_proxy, "turn_on", fails)
    token = await browser.token()
    status, html = await browser.post(f"{browser.base}setup/system", {"token": token, "do": "on"})
    assert (status, "gsettings is not installed" in html) == (409, True)
    assert "Byway is not the system proxy of" in html
    assert "Byway is the system proxy of" not in html
    for form in ({"do": "exec"}, {}, {"do": "on", "desktop": "kde"}, {"do": "on", "command": "x"}):
        assert (await browser.post(f"{browser.base}setup/system", {"token": token, **form}))[0] == 400


async def test_a_setting_that_cannot_be_read_is_said(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> bool:
        raise BywayError("gsettings failed: no bus")

    monkeypatch.setattr(world.system_proxy, "is_in_use", fails)
    text = await browser.text("setup")
    assert "gsettings failed: no bus" in text
    assert "Byway is the system proxy of" not in text.replace("Whether Byway is the system proxy of", "")
    assert "Byway is not the system proxy of" not in text, "it is not known"
    assert "Restore the earlier setting" in text


async def test_whether_a_certificate_is_needed(world: World, browser: Browser) -> None:
    assert "None is needed: no rule has INSPECT" in await browser.text("setup")
    world.rules = "DOMAIN,a.example,AUTO,INSPECT\n"
    world.overrides_changed()
    assert "A rule inspects https: DOMAIN,a.example,AUTO,INSPECT." in await browser.text("setup")
