"""A country on loopback: one origin that all names lead to, a censor on the way to each, a relay around them all.

Each name has an address of its own, 127.1.N.1, that Byway is told in `[dns.hosts]`. A censor listens there; the relay
knows the origin itself. So the address that a request came from tells which way it took. Byway is a process of its own;
the origin also shows a page that nobody blocks, by which it sees that the uplink is well, as soon as it wants to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.support import programs
from tests.support.byway import Byway
from tests.support.censor import Behaviour, Censor
from tests.support.client import Fetched, fetch
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.waiting import until_read

RELAY = "vps"
CONTROL = "control.test"
DEAD = "127.0.9.9"
"""An address where nothing listens."""

_BETWEEN_VISITS_S = 0.05

_CONTROL_AT_ONCE = "control_after_s = 0.05\ncontrol_interval_s = 0.05\n"

Row = dict[str, Any]


class Country:
    """`async with Country(("a.test", "b.test")) as country:`, then `country.censor(…)` and `country.byway(…)`."""

    def __init__(self, names: Sequence[str]) -> None:
        # Each in a /24 of its own: what befalls three in one is taken for the fate of all.
        self.addresses = {name: f"127.{1 + n // 250}.{n % 250}.1" for n, name in enumerate(names)}
        self.origin = Origin()
        self.leads: dict[str, str] = dict.fromkeys(names, "127.0.0.1")  # where the relay goes for a name
        self.relay = Relay(self.leads)
        self.censors: dict[str, Censor] = {}
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Country:
        await self._open.enter_async_context(self.origin)
        await self._open.enter_async_context(self.relay)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def censor(self, name: str, behaviour: Behaviour, *, secure: bool = True) -> Censor:
        """Puts a censor on the way to the origin's port."""
        port = self.origin.https_port if secure else self.origin.http_port
        censor = await self._open.enter_async_context(Censor(self.addresses[name], port, origin="127.0.0.1"))
        await censor.set(behaviour)
        self.censors[name] = censor
        return censor

    def byway(
        self,
        folder: Path,
        *,
        detect: str = "",
        unresolved: Iterable[str] = (),
        rules: str | None = None,
        witness: bool = True,
    ) -> Running:
        """A Byway that knows the relay and every name's address, but for the `unresolved` ones. `detect` is what its
        `[detect]` says. Without a `witness` the control page does not answer."""
        folder.mkdir(parents=True, exist_ok=True)
        prefix = _without_dns(folder) if unresolved else ()
        return Running(self, folder, self.config(detect, unresolved, witness=witness), rules=rules, prefix=prefix)

    def config(self, detect: str, unresolved: Iterable[str] = (), *, witness: bool = True) -> str:
        known = {name: address for name, address in self.addresses.items() if name not in frozenset(unresolved)}
        known[CONTROL] = self.origin.addresses[0] if witness else DEAD
        hosts = "".join(f'"{name}" = "{address}"\n' for name, address in known.items())
        relay = f'[[relay]]\nname = "{RELAY}"\nurl = "socks5h://{self.relay.address}:{self.relay.port}"\n'
        # What is tested here is the way around by a relay; tests/lab has censors that local means get past, or do not.
        auto = f'[auto]\nladder = []\ncontrols = ["http://{CONTROL}:{self.origin.http_port}/"]\n'
        dns = f"[dns]\nservers = []\n[dns.hosts]\n{hosts}"  # no name is asked of the world's servers
        return f'{auto}{dns}[log]\nhosts = "all"\n[detect]\n{_CONTROL_AT_ONCE}{detect}{relay}'

    def peers(self, name: str) -> list[str]:
        """The addresses from which the requests for `name` reached the origin; re-tests of ours are HEAD requests or
        end before one."""
        return [r.peer for r in self.origin.requests if r.host.partition(":")[0] == name and r.method != "HEAD"]


class Running(Byway):
    """A real Byway in a country. It also answers over its control socket, without a process for each question."""

    def __init__(
        self, country: Country, folder: Path, config: str, *, rules: str | None = None, prefix: Sequence[str] = ()
    ) -> None:
        trust = {"SSL_CERT_FILE": str(country.origin.authority.write(folder))}
        super().__init__(folder, config=config, rules=rules, environment=trust, prefix=prefix)
        self._country = country

    async def get(self, url: str) -> Fetched:
        """A GET through it: CONNECT for https, absolute-form for http, HTTP within a CONNECT for `tunnel://`."""
        if url.startswith("tunnel://"):
            return await fetch_in_tunnel(url.removeprefix("tunnel://"), via=self.proxy)
        return await fetch(url, via=self.proxy, trust=self._country.origin.authority.client())

    async def ask(self, path: str, **query: str) -> Any:
        """GET of the control API."""
        connector = aiohttp.UnixConnector(str(self._control_socket()))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://byway{path}", params=query) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def rows(self, name: str, count: int) -> list[Row]:
        """The log's rows for `name`, the oldest first, once there are `count`."""
        found: list[Row] = []

        async def read() -> bool:
            found[:] = (await self.ask("/v1/log", site=name, limit="10000"))["rows"]
            return len(found) >= count

        await until_read(read, within_s=15)
        return sorted(found, key=lambda row: float(row["at"]))

    async def belief(self, name: str) -> dict[str, Any]:
        """What is held about `name` here."""
        found: dict[str, Any] = (await self.ask(f"/v1/sites/{name}"))["belief"]
        return found

    async def until_counted(self, name: str) -> None:
        """Returns once evidence against `name` has counted: the uplink was seen to be well."""

        async def counted() -> bool:
            return bool((await self.belief(name))["score"])

        await until_read(counted, within_s=15)

    async def ledger(self, name: str) -> list[tuple[str, str]]:
        """Every change of state of `name`, the oldest first."""
        changes = (await self.ask(f"/v1/sites/{name}"))["changes"]
        return [(c["before"], c["after"]) for c in reversed(changes) if c["before"] != c["after"]]

    async def visit_until(self, url: str, name: str, state: str) -> list[Fetched]:
        """Visits, whenever a re-test is due, until `name` is in `state`; every answer that the user had."""
        answers: list[Fetched] = []

        async def visited() -> bool:
            held = await self.belief(name)
            if held["state"] == state:
                return True
            await asyncio.sleep(max(_BETWEEN_VISITS_S, (held["retest_at"] or 0.0) - time.time()))
            answers.append(await self.get(url))
            return False

        await until_read(visited, within_s=20)
        return answers

    def _control_socket(self) -> str:
        path = json.loads((self.state / "run.json").read_text())["socket"]
        assert path is not None, "this system has no Unix sockets"
        return str(path)


def _without_dns(folder: Path) -> tuple[str, ...]:
    """What to run a program with so that unknown names do not exist and no query leaves: a mount namespace in which
    the system's resolver looks into files only. Where we may make none, the machine's own resolver is asked."""
    if not programs.namespaces_open():
        return ()
    switch = folder / "nsswitch.conf"
    switch.write_text("hosts: files\n")
    enter = 'mount --bind "$0" /etc/nsswitch.conf && exec "$@"'
    return (programs.require("unshare"), "-Urm", "sh", "-c", enter, str(switch))


async def fetch_in_tunnel(where: str, *, via: tuple[str, int]) -> Fetched:
    """Plain HTTP within a CONNECT, as browsers speak WebSocket and some clients everything. `where` is
    `host:port/path`."""
    authority, _, path = where.partition("/")
    started = time.monotonic()
    async with tunnel(authority, via) as (reader, writer):
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    return Fetched(int(head.split(b" ")[1]), (), body, time.monotonic() - started, tunnel=True)


@contextlib.asynccontextmanager
async def tunnel(
    authority: str, via: tuple[str, int]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A tunnel that was granted. Fails when it was not."""
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*via)
        try:
            writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split(b" ")[1] == b"200", head
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
