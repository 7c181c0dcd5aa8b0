"""A real Byway, three relays of strangers, and 45 addresses and names of the home network: no packet about them leaves
for a relay, whoever asks.

Each relay gives whatever it is asked for: the page of its owner's router. A provider sees every packet. Behind the
router of this home nobody answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.config.schema import Log
from proxy.model import Belief, Change, NetworkId, State
from proxy.store.store import Store
from proxy.wire import hostnames
from tests.support.authority import Authority
from tests.support.byway import Byway
from tests.support.capture import Capture
from tests.support.client import Fetched, fetch
from tests.support.dashboard import Pages
from tests.support.netns import NEEDS, PROVIDER, Host, Internet
from tests.support.relay import Relay
from tests.support.streams import close, listening

pytestmark = [pytest.mark.namespaces, pytest.mark.needs(*NEEDS), pytest.mark.waits, pytest.mark.slow]

STRANGER = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\nthe stranger's page"
RELAYS = {"socks5h", "http", "https"}
"""The hosts with one, each called as its scheme."""
CONTROL = "198.18.0.91"
SECURE_DNS = "198.18.0.77"
"""An encrypted DNS server that would be asked. Nobody is there."""

HOSTS = {
    "camera.example.net": "192.168.50.9", "vpn.example.net": "100.70.0.1", "office.example.net": "10.20.0.5",
    "ads.example.net": "0.0.0.0", "dev.example.net": "127.0.0.1",
}  # fmt: skip
"""What the hosts file says."""

AT_HOME = [
    "192.168.77.1", "192.168.1.254", "10.9.0.1", "10.255.255.254", "172.16.0.1", "172.31.9.9", "100.64.0.1",
    "100.127.255.1", "169.254.7.7", "127.0.0.1", "10.9.1", "0xa090001", "167772161", "[fd12::5]", "[fc00::1]",
    "[fe80::1]", "[::1]", "[::ffff:10.9.0.1]", "[64:ff9b::10.9.0.1]", "[2002:a09:1::1]", "nas", "printer", "router",
    "fritz", "localhost", "nas.lan", "printer.lan", "nas.localdomain", "tv.local", "router.local", "vm.internal",
    "x.home.arpa", "nas.home.arpa", "pc.home", "wiki.corp", "a.intranet", "a.private", "git.office.test",
    "wiki.office.test", "mapped.example.net", "six.example.net", *HOSTS,
]  # fmt: skip
ELSEWHERE = "blocked.example.net"

CONFIG = f"""
[dns]
local = ["office.test"]
servers = ["https://{SECURE_DNS}/dns-query"]
[dns.hosts]
"mapped.example.net" = "192.168.60.2"
"six.example.net" = "fd00::2"
"{ELSEWHERE}" = "198.18.0.90"
[auto]
controls = ["http://{CONTROL}/"]
[limits]
connect_timeout_s = 2.5
resolve_timeout_s = 2.5
[detect]
syn_s = 2.5
measure_control_s = 0.5
[log]
hosts = "all"
"""

Visit = Callable[[str], Awaitable[object]]


class Stranger(Relay):
    """A relay that opens everything, and answers with the page of its owner's router."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        speak = self._socks5 if first == b"\x05" else self._connect
        host, port, granted, _ = await speak(first, reader, writer)
        self.asked.append(f"{host}:{port}")
        writer.write(granted)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STRANGER)
        await writer.drain()


@dataclass
class Home:
    """Byway's computer, and what goes out of it."""

    byway: Byway
    host: Host
    internet: Internet
    strangers: Sequence[Stranger]
    mark: socket.socket = field(repr=False)

    @property
    def asked(self) -> list[str]:
        """Whatever a relay was asked for."""
        return [asked for stranger in self.strangers for asked in stranger.asked]

    async def turned_to(self, since: int) -> set[str]:
        """The addresses that anything was sent to after the first `since` packets."""
        await self.internet.capture.settle(self.mark, PROVIDER)
        return {address for address, _ in self.internet.capture.begun_by(self.host.address, since=since)}

    async def get(self, url: str) -> Fetched:
        return await fetch(url, via=self.byway.proxy, dial=self.host.open_connection)

    @contextlib.asynccontextmanager
    async def api(self) -> AsyncIterator[aiohttp.ClientSession]:
        path = json.loads((self.byway.state / "run.json").read_text())["socket"]
        timeout = aiohttp.ClientTimeout(60)
        async with aiohttp.ClientSession(
            "http://byway", connector=aiohttp.UnixConnector(path=path, limit=0), timeout=timeout
        ) as api:
            yield api


@contextlib.asynccontextmanager
async def home(folder: Path, rules: str = "") -> AsyncIterator[Home]:
    authority, strangers = Authority(), list[Stranger]()
    async with Internet(folder) as internet, contextlib.AsyncExitStack() as open_:
        await internet.swallow("10.0.0.0/8")
        for prefix in ("172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.64/26"):
            await internet.swallow(prefix)
        open_.enter_context(internet.provider.make_socket(
            socket.AF_INET, socket.SOCK_DGRAM, address=(PROVIDER, Capture.MARK_PORT)
        ))  # fmt: skip
        relays = ""
        for scheme in sorted(RELAYS):
            host = await internet.host(scheme, resolver=PROVIDER)
            stranger = Stranger({})
            secure: ssl.SSLContext | None = authority.server(host.address) if scheme == "https" else None
            await open_.enter_async_context(
                listening(stranger._connections, sock=host.create_server((host.address, 1080)), ssl=secure)
            )
            strangers.append(stranger)
            ca = f"?ca={authority.write(folder)}" if secure else ""
            relays += f'[[relay]]\nname = "{scheme}"\nurl = "{scheme}://{host.address}:1080{ca}"\n'
        computer = await internet.host("home", resolver=PROVIDER, hosts=HOSTS)
        mark = open_.enter_context(computer.make_socket(socket.AF_INET, socket.SOCK_DGRAM))
        # In a user namespace we are called root, and root's own folder is not ours. Its path is short, for a socket.
        runtime = open_.enter_context(tempfile.TemporaryDirectory(prefix="byway-home-"))
        byway = Byway(
            folder / "byway",
            config=CONFIG + relays,
            rules=rules,
            allow=["198.18.0.0/15"],
            environment={"XDG_RUNTIME_DIR": runtime},
            prefix=computer.prefix,
        )
        yield Home(byway, computer, internet, strangers, mark)


async def every(visit: Visit, hosts: Sequence[str] = AT_HOME) -> list[Any]:
    return list(await asyncio.gather(*map(visit, hosts)))


async def test_no_relay_hears_of_the_home_network(tmp_path: Path) -> None:
    async with home(tmp_path) as there:
        byway = there.byway
        async with byway, there.api() as api:
            since = len(there.internet.capture.packets)
            network = NetworkId((await byway.read("status"))["network"])

            # AUTO: by CONNECT as for https, and plain HTTP, a page and what a script sends.
            async def tunnel(host: str) -> None:
                assert (await there.get(f"https://{host}:8443/")).status >= 400, host

            async def page(host: str) -> None:
                answer = await there.get(f"http://{host}:8080/")
                assert answer.status >= 400, host
                assert b"stranger" not in answer.body

            async def form(host: str) -> None:
                answer = await fetch(
                    f"http://{host}/", via=byway.proxy, dial=there.host.open_connection, method="POST", body=b"password"
                )
                assert answer.status >= 400, host

            await asyncio.gather(every(tunnel), every(page), every(form))
            await every(form)  # after direct failed, a request that is sent once would compare by a relay
            await byway.command("mode", "relay")
            await every(page)
            await byway.command("mode", "auto")
            assert there.asked == []

            async def why(host: str) -> dict[str, Any]:
                async with api.post("/v1/why", json={"site": host}) as answer:
                    lines = (await answer.text()).splitlines()
                assert answer.status == 200, lines
                told: dict[str, Any] = json.loads(lines[-1])
                return told

            async def survey(host: str) -> dict[str, Any]:
                async with api.post("/v1/test", json={"site": host}) as answer:
                    told: dict[str, Any] = await answer.json()
                    assert answer.status == 200, told
                    return told

            told = await every(why) + await every(survey)
            assert there.asked == []
            words = {answer["verdict"]["words"] for answer in told}
            assert words == {"not reachable on this network", "not tested"}  # the guard refuses some

            # What is said of them.
            status = json.dumps(await byway.read("status")) + json.dumps(await byway.read("site", "list"))
            assert '"not reachable on this network"' in status
            for wrong in ('"blocked"', '"likely blocked"', '"site down"', '"relays fail"', '"no such name"'):
                assert wrong not in status
            await pages(there)
        assert there.asked == []
        await leave_blocked(byway, network)  # as an older version may have left it
        async with byway:
            assert '"blocked"' not in json.dumps(await byway.read("site", "list"))
            await asyncio.gather(every(tunnel), every(page))
        assert there.asked == []
        relays = {there.internet.name(address) for address in await there.turned_to(since)} & {
            "socks5h",
            "http",
            "https",
        }
        assert relays == set(), "no packet to a relay at all"
        assert not {SECURE_DNS, "198.18.0.91"} & await there.turned_to(since), "no encrypted DNS, no control page"


async def test_the_control_a_rule_sends_them_to_a_relay_and_others_are_rescued(tmp_path: Path) -> None:
    """An office behind `ssh -D`. What is not at home goes to the relays by itself."""
    rules = "IP-CIDR,10.9.0.0/16,RELAY:socks5h\nDOMAIN-SUFFIX,office.test,RELAY:http\nDOMAIN,nas,RELAY:https\n"
    async with home(tmp_path, rules) as there, there.byway as byway:
        since = len(there.internet.capture.packets)
        for host in ("10.9.0.1", "git.office.test", "nas", ELSEWHERE):
            answer = await there.get(f"http://{host}/")
            assert answer.body == b"the stranger's page", host
        assert {"10.9.0.1:80", "git.office.test:80", "nas:80", f"{ELSEWHERE}:80"} <= set(there.asked)
        assert {there.internet.name(one) for one in await there.turned_to(since)} >= RELAYS
        await byway.command("site", "set", "tv.local", "relay")
        assert (await there.get("http://tv.local/")).body == b"the stranger's page"


async def pages(there: Home) -> None:
    """The dashboard's page Why, and the page of each site."""
    port = there.byway.port

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, away = await there.host.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(copy(reader, away), copy(far, writer))
        finally:
            await close(away)

    async with listening(forward, "127.0.0.1", port), there.api() as api, Pages(port, api).signed_in() as browser:
        token = await browser.token()
        for host in map(hostnames.host, (text.strip("[]") if ":" not in text else text for text in AT_HOME)):
            status, answer = await browser.post(f"{browser.base}why", {"token": token, "site": host})
            assert status in (200, 400), answer  # the page refuses what is not on the internet, by its text
            assert "stranger" not in answer
            assert status == 400 or '<span class="status quiet">' in answer, "not reachable, or not tested"


async def leave_blocked(byway: Byway, network: NetworkId) -> None:
    store, now = Store(byway.state / "byway.sqlite", Log(hosts="all")), time.time()
    store.start()
    for text in AT_HOME:
        host = hostnames.host(text)
        held = Belief(
            host, network, State.BLOCKED, "ip", score=8, since=now - 9e3, until=now + 9e5, last_good="socks5h",
            last_good_at=now - 60, scored_at=now, signal_at=now, why="direct failed; socks5h delivered",
        )  # fmt: skip
        store.believe([Change(now, host, network, State.UNKNOWN, State.BLOCKED, "ip", held.why, held)])
    assert store.flush()
    store.close()
