"""A real Byway, three relays of strangers, and 45 addresses and names of the home network: no packet about them leaves
for a relay, whoever asks.

Each relay gives whatever it is asked for: the page of its owner's router. The lab's router sees every packet. Behind
the router of this home nobody answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from proxy.config.schema import Log
from proxy.model import Belief, Change, NetworkId, State
from proxy.store.store import Store
from proxy.wire import hostnames
from tests.lab.country import door
from tests.lab.router import DISCARD, Router
from tests.support.authority import Authority
from tests.support.byway import Byway
from tests.support.client import Fetched, fetch
from tests.support.dashboard import Pages
from tests.support.relay import Relay
from tests.support.sockets import lasting_port
from tests.support.streams import listening

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

STRANGER = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\nthe stranger's page"
RELAYS = {"socks5h": "192.0.2.130", "http": "192.0.2.138", "https": "192.0.2.146"}
"""The hosts with one, each called as its scheme."""
OURS, NO_RESOLVER = "192.168.7.2", "192.0.2.154"
CONTROL = "198.51.100.91"
SECURE_DNS = "198.51.100.77"
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
ELSEWHERE, ELSEWHERE_AT = "blocked.example.net", "198.51.100.90"

CONFIG = f"""
[dns]
local = ["office.test"]
servers = ["https://{SECURE_DNS}/dns-query"]
[dns.hosts]
"mapped.example.net" = "192.168.60.2"
"six.example.net" = "fd00::2"
"{ELSEWHERE}" = "{ELSEWHERE_AT}"
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


class Home(Byway):
    """Byway at its computer, and what goes out of it."""

    def __init__(self, folder: Path, router: Router, relays: str, rules: str, runtime: str) -> None:
        self.router = router
        self.space = router.ports["client"].space
        self.strangers = [Stranger({}) for _ in RELAYS]
        super().__init__(
            folder,
            config=CONFIG + relays,
            rules=rules,
            allow=["198.51.100.0/24", "192.0.2.128/25"],
            arguments=["--port", str(lasting_port())],
            # In a user namespace we are called root, and root's own folder is not ours. Its path is short.
            environment={"XDG_RUNTIME_DIR": runtime},
            prefix=self.space.entering,
            namespaces=self.space.namespaces,
        )

    @property
    def asked(self) -> list[str]:
        """Whatever a relay was asked for."""
        return [asked for stranger in self.strangers for asked in stranger.asked]

    async def caught_up(self) -> float:
        return await self.router.caught_up(NO_RESOLVER)

    async def turned_to(self, since: float) -> set[str]:
        """The addresses that anything was sent to from then on."""
        await self.caught_up()
        packets = self.router.events.packets(since=since)
        return {seen.packet.target for seen in packets if seen.packet.dport != DISCARD}

    async def get(self, url: str, **how: Any) -> Fetched:
        return await fetch(url, via=self.proxy, dial=self.space.open_connection, **how)


@contextlib.asynccontextmanager
async def home(folder: Path, rules: str = "") -> AsyncIterator[Home]:
    """A home whose router leads to the relays, and to nobody else; its hosts file knows some names, and no resolver
    answers."""
    authority = Authority()
    async with Router() as router, contextlib.AsyncExitStack() as stack:
        computer = router.add_space("client", [f"{OURS}/24"])
        router.add_space("isp", [f"{NO_RESOLVER}/29"])
        computer.put_file("/etc/resolv.conf", f"nameserver {NO_RESOLVER}\noptions timeout:2 attempts:2\n".encode())
        computer.put_file("/etc/nsswitch.conf", b"hosts: files dns\n")
        hosts = "".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **HOSTS}.items())
        computer.put_file("/etc/hosts", hosts.encode())
        ends = {"https": f"?ca={authority.write(folder)}"}
        relays = "".join(
            f'[[relay]]\nname = "{scheme}"\nurl = "{scheme}://{address}:1080{ends.get(scheme, "")}"\n'
            for scheme, address in RELAYS.items()
        )
        runtime = stack.enter_context(tempfile.TemporaryDirectory(prefix="byway-home-"))
        byway = Home(folder / "byway", router, relays, rules, runtime)
        for stranger, (scheme, address) in zip(byway.strangers, RELAYS.items(), strict=True):
            there = router.add_space(scheme, [f"{address}/29"])
            secure = authority.server(address) if scheme == "https" else None
            server = listening(stranger._connections, sock=there.create_server((address, 1080)), ssl=secure)
            await stack.enter_async_context(server)
        yield byway


async def every(visit: Visit, hosts: Sequence[str] = AT_HOME) -> list[Any]:
    return list(await asyncio.gather(*map(visit, hosts)))


async def test_no_relay_hears_of_the_home_network(tmp_path: Path) -> None:
    async with home(tmp_path) as byway:
        async with byway, api_of(byway) as api:
            since = await byway.caught_up()
            network = NetworkId((await byway.read("status"))["network"])

            # AUTO: by CONNECT as for https, and plain HTTP, a page and what a script sends.
            async def tunnel(host: str) -> None:
                assert (await byway.get(f"https://{host}:8443/")).status >= 400, host

            async def page(host: str) -> None:
                answer = await byway.get(f"http://{host}:8080/")
                assert answer.status >= 400, host
                assert b"stranger" not in answer.body

            async def form(host: str) -> None:
                assert (await byway.get(f"http://{host}/", method="POST", body=b"password")).status >= 400, host

            await asyncio.gather(every(tunnel), every(page), every(form))
            await every(form)  # after direct failed, a request that is sent once would compare by a relay
            await byway.command("mode", "relay")
            await every(page)
            await byway.command("mode", "auto")
            assert byway.asked == []

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
            assert byway.asked == []
            words = {answer["verdict"]["words"] for answer in told}
            assert words == {"not reachable on this network", "not tested"}  # the guard refuses some

            # What is said of them.
            status = json.dumps(await byway.read("status")) + json.dumps(await byway.read("site", "list"))
            assert '"not reachable on this network"' in status
            for wrong in ('"blocked"', '"likely blocked"', '"site down"', '"relays fail"', '"no such name"'):
                assert wrong not in status
            await pages(byway)
        assert byway.asked == []
        await leave_blocked(byway, network)  # as an older version may have left it
        async with byway:
            assert '"blocked"' not in json.dumps(await byway.read("site", "list"))
            await asyncio.gather(every(tunnel), every(page))
        assert byway.asked == []
        turned_to = await byway.turned_to(since)
        assert not turned_to & set(RELAYS.values()), "no packet to a relay at all"
        assert not turned_to & {SECURE_DNS, CONTROL}, "no encrypted DNS, no control page"


async def test_the_control_a_rule_sends_them_to_a_relay_and_others_are_rescued(tmp_path: Path) -> None:
    """An office behind `ssh -D`. What is not at home goes to the relays by itself."""
    rules = "IP-CIDR,10.9.0.0/16,RELAY:socks5h\nDOMAIN-SUFFIX,office.test,RELAY:http\nDOMAIN,nas,RELAY:https\n"
    async with home(tmp_path, rules) as byway, byway:
        since = await byway.caught_up()
        for host in ("10.9.0.1", "git.office.test", "nas", ELSEWHERE):
            answer = await byway.get(f"http://{host}/")
            assert answer.body == b"the stranger's page", host
        assert {"10.9.0.1:80", "git.office.test:80", "nas:80", f"{ELSEWHERE}:80"} <= set(byway.asked)
        assert await byway.turned_to(since) >= {*RELAYS.values(), ELSEWHERE_AT}
        await byway.command("site", "set", "tv.local", "relay")
        assert (await byway.get("http://tv.local/")).body == b"the stranger's page"


@contextlib.asynccontextmanager
async def api_of(byway: Home) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the control API, for all at once."""
    connector = aiohttp.UnixConnector(str(byway.run_file()["socket"]), limit=0)
    async with aiohttp.ClientSession("http://byway", connector=connector, timeout=aiohttp.ClientTimeout(60)) as api:
        yield api


async def pages(byway: Home) -> None:
    """The dashboard's page Why, and the page of each site."""
    async with door(byway.space, byway.proxy), byway.api() as api, Pages(byway.port, api).signed_in() as browser:
        token = await browser.token()
        for host in map(hostnames.host, (text.strip("[]") if ":" not in text else text for text in AT_HOME)):
            path = f"{browser.base}sites/{quote(host, safe='')}/measure"
            status, answer = await browser.post(path, {"token": token})
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
