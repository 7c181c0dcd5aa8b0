"""What befalls a user, and what the dashboard says of it: a site is blocked while somebody watches, a relay dies, a
network asks for a login, an addon is broken, a rule is made. A real Byway in a country on loopback.

Nothing here asserts a length of time: what has to be said at once is said on the first look after the visit, or on a
page that is open and never loaded again.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.addon_scene import Scene
from tests.e2e.country import CONTROL, RELAY, Country, Running
from tests.e2e.test_dashboard import shows, sign_in
from tests.lab.portal import PageServer, Says
from tests.support import ooni
from tests.support.byway import TYPED, Byway
from tests.support.censor import Behaviour
from tests.support.chromium import tab
from tests.support.dashboard import Browser, Pages
from tests.support.relay import Relay
from tests.support.waiting import until_read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: the censor is made of Linux socket filters")

SITE, OTHER = "blog.test", "other.test"
SPARE = "spare"
PORTAL_ADDRESS = "127.0.8.1"


@contextlib.asynccontextmanager
async def pages_of(byway: Byway) -> AsyncIterator[Pages]:
    """The dashboard of a real Byway."""
    path = json.loads((byway.state / "run.json").read_text())["socket"]
    async with aiohttp.ClientSession("http://byway", connector=aiohttp.UnixConnector(path=path)) as api:
        yield Pages(byway.port, api)


@contextlib.asynccontextmanager
async def signed_in(byway: Byway) -> AsyncIterator[Browser]:
    async with pages_of(byway) as pages, pages.signed_in() as browser:
        yield browser


@pytest.mark.needs("chromium")
async def test_a_site_is_blocked_while_its_page_is_open(tmp_path: Path) -> None:
    async with Country((SITE, OTHER)) as country, country.byway(tmp_path / "byway") as byway:
        url = f"https://{SITE}:{country.origin.https_port}/"
        censor = await country.censor(SITE, Behaviour.PASS)
        assert (await byway.get(url)).status == 200
        async with pages_of(byway) as pages, tab(tmp_path / "browser") as page, pages.signed_in() as browser:
            home = await sign_in(page, pages)
            assert "No blocked sites are known" in await page.text()
            await censor.set(Behaviour.RESET)
            assert (await byway.get(url)).status == 200, "rescued"
            assert country.peers(SITE)[-1] == country.relay.address
            # The page is not loaded again: it follows what happens.
            said = f"1 site is blocked on this network: 1 works through {RELAY}."
            await shows(page, f"document.querySelector('.lead').innerText.includes({json.dumps(said)})")
            assert await page.evaluate("performance.getEntriesByType('navigation').length") == 1
            assert await page.evaluate("location.href") == home
            card = await browser.text(f"sites/{SITE}")
            assert "connection reset after the TLS ClientHello (SNI filtering)" in card
            assert f"Works by {RELAY}" in card
            status, report = await browser.get(f"{browser.base}sites/{SITE}/report?format=ooni")
        assert status == 200
        lines = [json.loads(line) for line in report.splitlines()]
        assert [ooni.problems(line) for line in lines] == [[]] * 2
        assert [line["test_keys"]["anomaly"] for line in lines] == [False, True]
        (handshake,) = lines[1]["test_keys"]["tls_handshakes"]
        assert handshake["failure"] == "connection_reset"
        assert handshake["server_name"] == SITE
        assert RELAY not in report


class WithSpare(Country):
    """A country with a second relay, which is configured last."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.spare = Relay(self.leads, address="127.0.0.11")

    async def __aenter__(self) -> WithSpare:
        await super().__aenter__()
        await self._open.enter_async_context(self.spare)
        return self

    def with_spare(self, folder: Path, rules: str) -> Running:
        relay = f'[[relay]]\nname = "{SPARE}"\nurl = "socks5h://{self.spare.address}:{self.spare.port}"\n'
        folder.mkdir()
        return Running(self, folder, self.config("") + relay, rules=rules)


async def test_a_relay_dies_and_another_takes_over(tmp_path: Path) -> None:
    async with WithSpare((SITE,)) as country, country.with_spare(tmp_path / "byway", f"DOMAIN,{SITE},RELAY\n") as byway:
        url = f"http://{SITE}:{country.origin.http_port}/"
        assert (await byway.get(url)).status == 200
        assert country.peers(SITE)[-1] == country.relay.address
        async with signed_in(byway) as browser:
            assert "Problems" not in await browser.text()
            await country.relay.stop()
            assert (await byway.get(url)).status == 200, "the first visit after it died"
            assert country.peers(SITE)[-1] == country.spare.address
            home = await browser.text()
            problems = home[home.index("Problems") : home.index("Mode")]
            assert f"Relay {RELAY} fails: connection refused." in problems
            assert f"{TYPED} relay test {RELAY}" in problems
            assert "1 of 2 relays in use fails: vps." in await browser.text("relays")


async def test_a_network_asks_for_a_login_and_is_well_again(tmp_path: Path) -> None:
    async with Country((SITE,)) as country:
        await country.censor(SITE, Behaviour.RESET)
        address = (PORTAL_ADDRESS, country.origin.http_port)
        portal = PageServer(socket.socket, (address,), b"hello", Says.COME_HERE, "http://login.portal.test/")
        config = country.config("").replace(f'"{CONTROL}" = "127.0.0.1"', f'"{CONTROL}" = "{PORTAL_ADDRESS}"')
        (tmp_path / "byway").mkdir()
        async with portal, Running(country, tmp_path / "byway", config) as byway, signed_in(byway) as browser:

            async def home_says(words: str) -> None:
                async def said() -> bool:
                    await byway.get(f"https://{SITE}:{country.origin.https_port}/")
                    return words in await browser.text()

                await until_read(said, within_s=20)

            await home_says("Captive portal: this network shows its login page")
            assert "No blocked sites are known" in await browser.text(), "nothing is learned there"
            portal.says = Says.PAGE
            await home_says("1 site is blocked on this network")
            assert "Captive portal" not in await browser.text()


async def test_a_broken_addon_is_told_with_file_and_line(tmp_path: Path) -> None:
    good, failing = "def plan(request, plan):\n    return None\n", "def plan(request, plan):\n    return 1 // 0\n"
    async with Scene(tmp_path, {"mine": good, "failing": failing}) as scene, signed_in(scene.byway) as browser:
        assert "2 addons run." in await browser.text("addons")
        scene.write("mine", "def plan(request, plan)\n    return None\n")
        await scene.says("mine.py:1: not valid Python")
        home = await browser.text()
        assert "Addon mine does not load: " in home
        assert "mine.py:1: not valid Python: expected ':'; the previous version keeps running." in home
        await scene.get("open.test")
        text = await browser.text("addons")
        assert "2 addons run. 1 has a problem." in text
        assert "mine.py:1: not valid Python" in text
        assert "failing.py:2" in text
        assert "plan raised ZeroDivisionError" in text
        scene.write("mine", good)

        async def mended() -> bool:
            return "does not load" not in await browser.text()

        await until_read(mended)
        assert "mine.py:1" not in await browser.text("addons")


async def test_a_rule_that_is_typed_decides_the_next_connection(tmp_path: Path) -> None:
    async with Country((SITE,)) as country, country.byway(tmp_path / "byway", rules="MATCH,AUTO\n") as byway:
        url = f"http://{SITE}:{country.origin.http_port}/"
        await country.censor(SITE, Behaviour.PASS, secure=False)
        assert (await byway.get(url)).status == 200
        assert country.peers(SITE)[-1] != country.relay.address
        async with signed_in(byway) as browser:
            _, html = await browser.get(f"{browser.base}rules")
            version = html.partition('name="version" value="')[2].partition('"')[0]
            text = f"DOMAIN,{SITE},RELAY:{RELAY}\r\nMATCH,AUTO\r\n"
            assert await browser.send("rules", text=text, version=version) == "rules"
            assert (await byway.get(url)).status == 200
            assert country.peers(SITE)[-1] == country.relay.address, "with the very next one"
            assert byway.rules.read_text() == text.replace("\r\n", "\n")
            assert f"DOMAIN,{SITE},RELAY:{RELAY} 1 " in await browser.text("rules")
