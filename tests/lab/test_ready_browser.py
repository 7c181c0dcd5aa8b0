"""`byway browser` in the country: whatever a page makes a Chromium or a Firefox do, the provider sees only the traffic
that Byway sends to the relay. The control is the same browser with a proxy and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import TCPConnector

from tests.lab import places, relay_roads
from tests.lab.country import Country, Running
from tests.lab.events import Events
from tests.lab.origins import BIG
from tests.support import chromium, firefox, programs
from tests.support.browsers import is_running, pid_of
from tests.support.chromium import Tab
from tests.support.firefox import Page
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.alone, pytest.mark.slow]

BROWSERS = [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("chromium", "firefox")]
OPTIONS = {
    "chromium": ("--no-sandbox", "--headless", "--remote-debugging-port=0", "--disable-dev-shm-usage"),
    "firefox": firefox.OPTIONS,
}
"""Options of the test's own: there is no window, and Chromium has no sandbox for root."""

MEET = f"""(async () => {{
  const peer = new RTCPeerConnection({{ iceServers: [{{ urls: "stun:{places.PUBLIC_RESOLVER}:3478" }}] }});
  peer.createDataChannel("x");
  for (const rel of ["dns-prefetch", "preconnect"]) {{
    const link = document.createElement("link");
    link.rel = rel; link.href = "https://hinted.test/"; document.head.append(link);
  }}
  const all = new Promise(done => {{ peer.onicecandidate = event => event.candidate || done(); }});
  await peer.setLocalDescription(await peer.createOffer());
  await Promise.race([all, new Promise(done => setTimeout(done, 5000))]);
  return "met";
}})()"""
"""Asks a STUN server of the world for this computer's address, and gives hints to look up a name and to connect
there."""


@contextlib.asynccontextmanager
async def attached(country: Country, kind: str, profile: Path) -> AsyncIterator[Tab | Page]:
    """Yields the page of a browser at the computer in the country. It is closed on leaving."""
    connector = TCPConnector(socket_factory=lambda address: country.client.socket(*address[:3]))
    if kind == "firefox":
        async with firefox.attached(profile, connector) as page:
            yield page
        return
    async with chromium.attached(profile, connector) as tab:
        try:
            yield tab
        finally:
            await tab.call("Browser.close")


@contextlib.asynccontextmanager
async def started(country: Country, kind: str, profile: Path, words: Sequence[str]) -> AsyncIterator[Tab | Page]:
    """Yields the page of a browser that is started with these words, without any part of Byway."""
    flag = f"--user-data-dir={profile}" if kind == "chromium" else f"--profile={profile}"
    process = await asyncio.create_subprocess_exec(
        *(*country.client.entering, programs.require(kind), flag, *OPTIONS[kind], *words, "about:blank"),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
    )  # fmt: skip
    try:
        async with attached(country, kind, profile) as page:
            yield page
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 30)
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def opened(country: Country, byway: Running, kind: str, *options: str) -> AsyncIterator[Tab | Page]:
    """Yields the page of `byway browser KIND`."""
    await byway.command("browser", kind, "--", *OPTIONS[kind], *options)
    profile = byway.state / "browser" / kind
    async with attached(country, kind, profile) as page:
        pid = pid_of(profile)
        yield page
    await until(lambda: not is_running(pid))  # else it writes into a folder that is being removed


def beside_relays(events: Events, *, since: float = 0.0) -> list[str]:
    """Returns the packets that the client sent to any host but a relay, and the names in them."""
    relays = (places.SOCKS_RELAY, places.HTTPS_RELAY)
    return [
        *(
            f"{seen.kind} {seen.name}"
            for seen in events.names_on("client", sender="client", since=since)
            if seen.target not in relays
        ),
        *(
            f"{protocol} to {seen.packet.target}:{seen.packet.dport}"
            for protocol in ("tcp", "udp")
            for seen in events.packets(since=since, protocol=protocol)
            if seen.packet.target not in relays
        ),
    ]


@pytest.mark.parametrize("kind", BROWSERS)
async def test_nothing_goes_around_byway(folder: Path, kind: str) -> None:
    async with Country(folder) as country, country.byway(folder / "byway", rules="MATCH,RELAY\n") as byway:
        site, events = country.add_site("met.test"), country.router.events
        since = events.clock()
        async with opened(country, byway, kind) as page:
            await page.open(site.url(secure=False))
            assert "met.test says hello" in await page.text()
            assert await page.evaluate(MEET) == "met"
        assert beside_relays(events, since=since) == []
        assert {asked.peer for asked in country.origins.asked} == {places.SOCKS_RELAY}

        profile = folder / "other"
        profile.mkdir()
        words = [f"--proxy-server={byway.url}"]
        if kind == "firefox":
            words = []
            host, port = byway.proxy
            (profile / "user.js").write_text(
                'user_pref("network.proxy.type", 1);\n'
                f'user_pref("network.proxy.http", "{host}");\nuser_pref("network.proxy.http_port", {port});\n'
                f'user_pref("network.proxy.ssl", "{host}");\nuser_pref("network.proxy.ssl_port", {port});\n'
            )
        since = events.clock()
        async with started(country, kind, profile, words) as page:
            await page.open(site.url(secure=False))
            assert await page.evaluate(MEET) == "met"
        assert any(leak.startswith("udp") for leak in beside_relays(events, since=since)), "the control"


@pytest.mark.needs("chromium")
async def test_chromium_speaks_no_quic(folder: Path) -> None:
    """This holds even if something made it connect direct, which an option of the test does, and for a site that it
    should ask by QUIC."""
    direct = ("--proxy-server=direct://", "--origin-to-force-quic-on=quic.test:443")
    async with Country(folder) as country, country.byway(folder / "byway", rules="MATCH,RELAY\n") as byway:
        site, events = country.add_site("quic.test"), country.router.events
        async with opened(country, byway, "chromium", *direct) as page:
            await page.open("about:blank")  # its own first page does not come direct
            await fetched(page, site.url())
        assert events.packets(site.address, 443, protocol="tcp")
        assert not events.packets(site.address, 443, protocol="udp")
        (folder / "other").mkdir()
        async with started(country, "chromium", folder / "other", direct) as page:
            await fetched(page, site.url())
        assert events.packets(site.address, 443, protocol="udp"), "the control"


LOADED = """(async () => {
  if (document.readyState != "complete") await new Promise(done => addEventListener("load", done));
  return performance.getEntriesByType("navigation")[0].encodedBodySize;
})()"""
"""The bytes of the page, once all of it is there."""


@pytest.mark.needs("chromium")
async def test_chromium_reloads_the_page_that_stalls_on_the_way_to_the_relay(folder: Path) -> None:
    """The stalled tunnel cannot be saved, but the person has to do nothing, and all pages come. With a window
    `--enable-auto-reload` is the default. Chromium keeps a second connection in reserve, which would stall as well: the
    reload does not get to it."""
    options = ("--ignore-certificate-errors", "--enable-auto-reload")
    async with Country(folder) as country, relay_roads.at_two_addresses(country):
        relay = relay_roads.RELAY, relay_roads.relay_url(country, relay_roads.MAIN)
        config = country.config(relays=(relay,), auto="retest = false\n")  # else it is known before the first page
        country.rules.set(relay_roads.frozen(country))
        neighbour = country.add_site("neighbour.test")
        sites = [country.add_site(f"{number}.by-relay.test") for number in range(relay_roads.PAGES)]
        async with (
            country.byway(folder / "byway", config=config, rules="DOMAIN-SUFFIX,by-relay.test,RELAY\n") as byway,
            opened(country, byway, "chromium", *options) as page,
            relay_roads.beside(country, byway, neighbour),
        ):
            assert isinstance(page, Tab)
            for site in sites:
                await page.open_in_the_end(site.url("/big"))
                assert await page.evaluate(LOADED) == BIG
        asked_from = [peer for site in sites for peer in country.origins.peers(site.name)]
        assert asked_from[0] == relay_roads.MAIN, "else this showed nothing"
        assert relay_roads.MAIN not in asked_from[1:], asked_from


async def fetched(page: Tab | Page, url: str) -> None:
    """Requests the URL and waits for the end, whatever that is: the site's certificate is not trusted."""
    await page.evaluate(f"fetch({url!r}, {{mode: 'no-cors'}}).then(() => 'came', () => 'failed')")
