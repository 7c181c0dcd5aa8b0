"""A country: a person's computer, its provider, the world and some relays in it, and the router that joins them.

    async with Country(folder) as country:
        site = country.add_site("blog.test")
        country.rules.set([...])
        async with country.byway(folder / "byway") as byway:
            visit = await country.visitor(byway).visit(site.url())

All servers run in this process, on this loop; Byway is a process of its own in the client's space and knows nothing of
the loop. Everything that no rule of the router touches is honest: names resolve, sites answer, relays carry.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.model import NetworkState
from proxy.store import queries
from proxy.store.file import open_reader
from proxy.store.logged import LoggedConnection
from tests.lab import places
from tests.lab.authorities import STATE_ROOT, Authority
from tests.lab.channel import Buffered, Plain
from tests.lab.conditions import Conditions
from tests.lab.inside.sitecustomize import NO_TCP_INFO
from tests.lab.interceptor import Middlebox
from tests.lab.lateness import Lateness
from tests.lab.links import Link
from tests.lab.name_servers import Addresses, NameServer, Provider, Zone
from tests.lab.origins import GOOD, Conduct, Origins
from tests.lab.portal import BLOCK_PAGE, PORTAL_PAGE, PageServer, Says
from tests.lab.relays import Manner, Relay, copy_both_ways
from tests.lab.router import Router
from tests.lab.rules import RuleSet
from tests.lab.sockets import Address, connect
from tests.lab.spaces import Space
from tests.lab.visitor import Visitor
from tests.support.byway import Byway
from tests.support.client import Fetched, fetch, fetch_in_tunnel
from tests.support.sockets import lasting_port
from tests.support.streams import close, listening
from tests.support.waiting import until_read

RELAY = "abroad"
LINK = Link(delay_s=0.01)
"""The link of the person: 20 ms there and back, so that a wait that is counted in round trips is noticeable."""
NO_HEDGE = (
    "hedge_syn_s = 60\nhedge_relay_s = 60\nhedge_retransmits = 1000\nhedge_unacked_s = 60\nhedge_silent_s = 60\n"
    "hedge_silent_known_s = 60\nhedge_blind_s = 60\nhedge_ask_s = 60\n"
)
"""Lines of `[detect]` with which only a failure starts the next route. On a busy machine the lab answers late, and then
Byway rightly tries another route as well."""
_ROWS_REPORTED = 15
_ESTABLISHED = "01"  # the state in /proc/net/tcp
_FIRST_OF_SERVICES = 100  # numbers below are the lab's own sites

FILES: Mapping[str, str] = MappingProxyType({
    "/etc/resolv.conf": f"nameserver {places.PROVIDER_RESOLVER}\noptions timeout:2 attempts:1\n",
    "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {socket.gethostname()}\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
})  # fmt: skip
"""The person's files."""


@dataclass(frozen=True, slots=True)
class Site:
    """A web site with addresses of its own."""

    name: str
    address: str
    address6: str = ""

    def url(self, path: str = "/", *, secure: bool = True) -> str:
        return f"http{'s' if secure else ''}://{self.name}{path}"


class Country:
    """A country is made, used and closed on one running loop. Raises PermissionError where spaces may not be made."""

    def __init__(self, folder: Path, *, link: Link = LINK) -> None:
        self.folder = folder
        self._link = link
        self._open = contextlib.AsyncExitStack()
        self.public = Authority("Lab Public Root", logged=True)
        self.state = Authority("Lab State Root")  # in nobody's trust store, and on no list
        self.known_state = Authority("Lab State Root, seen before", shown=(STATE_ROOT,))
        self.office = Authority("Lab Office Root")
        self.readers: dict[str, Authority] = {}  # a name, or "" for all: who reads its TLS when it is turned aside
        self.conditions = Conditions.in_force()
        self.zone = Zone()
        self.provider = Provider(self.zone)
        self._numbers = 0

    async def __aenter__(self) -> Country:
        self.lateness = Lateness(asyncio.get_running_loop())
        self.lateness.start()
        self._open.callback(self.lateness.stop)
        try:
            self.router = await self._open.enter_async_context(Router())
            self._make_spaces()
            await self._make_services()
            await self._make_provider()
            await self._make_relays()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
        for authority in (self.public, self.state, self.known_state, self.office):
            authority.close()

    @property
    def rules(self) -> RuleSet:
        return self.router.rules

    # -- sites -------------------------------------------------------------------------------------------------------

    def add_site(
        self,
        name: str,
        *,
        conduct: Conduct = GOOD,
        number: int | None = None,
        six: bool = False,
        wide: bool = False,
        nobody: bool = False,
    ) -> Site:
        """Adds a site, with all names below it. `number` decides its address (places.site_address), which is in
        places.WIDE with `wide`; with `nobody` the name leads to an address that no host has."""
        if number is None:
            self._numbers += 1
            number = _FIRST_OF_SERVICES + self._numbers
        address = f"198.51.100.{number % 64 + 1}" if nobody else places.site_address(number, wide=wide)
        site = Site(name, address, places.site_address6(number) if six else "")
        self.zone.names[name] = Addresses((site.address,), (site.address6,) if six else ())
        if conduct is not GOOD:
            self.origins.conducts[name] = conduct
        return site

    # -- people ------------------------------------------------------------------------------------------------------

    def visitor(self, byway: Byway | None = None, *, office: bool = False) -> Visitor:
        """Returns a visitor at the computer in the country; without Byway, or with it. With `office` the visitor trusts
        the office's root as well."""
        trust = ssl.create_default_context(cadata=self.public.pem + (self.office.pem if office else ""))
        return Visitor(self.client.socket, trust, byway.proxy if byway is not None else None)

    def byway(
        self,
        folder: Path,
        *,
        config: str | None = None,
        rules: str | None = None,
        office: bool = False,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Running:
        """Returns a Byway at that computer. With `office`, the system trusts the office's root as well."""
        folder.mkdir(parents=True, exist_ok=True)
        text = self.config() if config is None else config
        if not self.conditions.tcp_info:
            environment = {**self.conditions.environment, **environment}
        return Running(self, folder, text, rules=rules, office=office, arguments=arguments, environment=environment)

    def config(
        self,
        *,
        detect: str = "",
        auto: str = "",
        dns: str = "",
        servers: Sequence[str] | None = None,
        controls: Sequence[str] | None = None,
        extra: str = "",
        relays: Sequence[tuple[str, str]] = (),
        no_relay: bool = False,
    ) -> str:
        """Returns the text of its configuration. `detect`, `auto` and `dns` are lines for those tables; `servers` are
        the encrypted DNS servers in place of one for DoH and one for DoT, `controls` the pages in place of three."""
        listed = () if no_relay else relays or ((RELAY, self.socks_url),)
        pages = json.dumps([f"https://{name}/" for name in places.CONTROLS] if controls is None else [*controls])
        asked = json.dumps([self.doh_url, self.dot_url] if servers is None else [*servers])
        tables = "".join(f'[[relay]]\nname = "{name}"\nurl = "{url}"\n' for name, url in listed)
        return (
            f'[log]\nhosts = "all"\n[auto]\ncontrols = {pages}\n{auto}\n'
            f"[dns]\nservers = {asked}\n{dns}\n[detect]\n{detect}\n{extra}\n{tables}"
        )

    socks_url = f"socks5h://{places.SOCKS_RELAY}:{places.SOCKS_PORT}"
    lying_url = f"socks5h://{places.LYING_RELAY}:{places.SOCKS_PORT}"
    doh_url = f"https://{places.DOH}/dns-query"
    http2_url = f"https://{places.DOT}/dns-query"
    dot_url = f"tls://{places.DOT}"

    @property
    def https_url(self) -> str:
        return f"https://{places.HTTPS_RELAY}:{places.HTTPS_PORT}?ca={self.trust_file()}"

    def trust_file(self, *, office: bool = False) -> Path:
        """The trust store of the person's computer."""
        path = self.folder / ("trust-office.crt" if office else "trust.crt")
        if not path.exists():
            path.write_text(self.public.pem + (self.office.pem if office else ""))
        return path

    def lift(self) -> None:
        """Ends every interference: there are no rules, no lies, no readers, and the link is as it was."""
        self.rules.clear()
        self.readers.clear()
        self.zone.regions.clear()
        self.provider.lies.clear()
        self.provider.everything, self.provider.fake, self.provider.six_from_four = None, "", False
        self.middlebox.page = None
        self.router.ports["client"].set_link(self._link)
        self.router.ports["client"].plug_in()

    def change_network(self) -> None:
        """Carries the computer to another network, behind another gateway; the provider's rules apply there too."""
        self.router.settle(
            "client",
            [f"{places.SECOND_CLIENT}/24", f"{places.SECOND_CLIENT6}/64"],
            gateway_hardware=bytes.fromhex("020000007701"),
        )

    def come_home(self) -> None:
        self.router.settle(
            "client",
            [f"{places.CLIENT}/24", f"{places.CLIENT6}/64"],
            gateway_hardware=bytes.fromhex("020000000101"),
        )

    async def caught_up(self) -> float:
        """Returns a time by the clock of the events: see Router.caught_up."""
        return await self.router.caught_up(places.PORTAL)

    # -- how it is made ----------------------------------------------------------------------------------------------

    def _make_spaces(self) -> None:
        add = self.router.add_space
        self.client = add("client", [f"{places.CLIENT}/24", f"{places.CLIENT6}/64"], link=self._link)
        self.isp = add("isp", ["192.0.2.2/25", "2001:db8:15::2/64"], prefixes=[places.PROVIDER, places.PROVIDER6])
        self.router.ports["isp"].take_all()
        prefixes = [places.SERVICES, places.SERVICES6, places.SITES, places.SITES6, places.WIDE]
        prefixes += [places.FAKE, places.NAT64]
        self.net = add("net", ["203.0.113.2/24", "2001:db8:113::2/64"], prefixes=prefixes)
        relays = [places.RELAYS, places.RELAYS6]
        self.relay_space = add("relay", ["192.0.2.136/25", "2001:db8:7e1a::2/64"], prefixes=relays)
        for path, text in FILES.items():
            self.client.put_file(path, text.encode())

    async def _make_services(self) -> None:
        enter = self._open.enter_async_context
        self.origins = await enter(Origins(self.net.socket, self.public))
        await self.origins.listen((host, port) for host in ("0.0.0.0", "::") for port in (80, 443))
        for name, address in places.CONTROLS.items():
            self.zone.names[name] = Addresses((address,))
        self.resolver = await enter(NameServer(self.net.socket, self.zone.truth))
        await self.resolver.udp((places.PUBLIC_RESOLVER, 53))
        await self.resolver.tcp((places.PUBLIC_RESOLVER, 53))
        await self.resolver.https((places.DOH, 443), self.public.server(places.DOH))
        await self.resolver.tls((places.DOT, 853), self.public.server(places.DOT))
        await self.resolver.https((places.DOT, 443), self.public.server(places.DOT), only_http2=True)

    async def _make_provider(self) -> None:
        enter = self._open.enter_async_context
        self.provider_resolver = await enter(NameServer(self.isp.socket, self.provider))
        for address in (places.PROVIDER_RESOLVER, places.PROVIDER_RESOLVER6):
            await self.provider_resolver.udp((address, 53))
            await self.provider_resolver.tcp((address, 53))
        self.zone.names["portal.provider.test"] = Addresses((places.PORTAL,))
        self.zone.names["blocked.provider.test"] = Addresses((places.BLOCK_PAGE,))
        portal_context = self.state.server("portal.provider.test", itself=True)
        self.portal = await enter(
            PageServer(
                self.isp.socket,
                _web(places.PORTAL),
                PORTAL_PAGE,
                Says.COME_HERE,
                "http://portal.provider.test/",
                portal_context,
            )
        )
        self.block_page = await enter(PageServer(self.isp.socket, _web(places.BLOCK_PAGE), BLOCK_PAGE))
        everywhere = (("0.0.0.0", 80), ("0.0.0.0", 443), ("::", 80), ("::", 443))
        self.middlebox = await enter(Middlebox(self.isp.socket, everywhere, self._reader_of))

    async def _make_relays(self) -> None:
        enter = self._open.enter_async_context
        make, truth = self.relay_space.socket, self.zone.truth
        self.relay = await enter(Relay(make, truth, (places.SOCKS_RELAY, places.SOCKS_PORT), source=places.SOCKS_RELAY))
        self.https_relay = await enter(
            Relay(
                make,
                truth,
                (places.HTTPS_RELAY, places.HTTPS_PORT),
                source=places.HTTPS_RELAY,
                secure=self.public.server(places.HTTPS_RELAY),
            )
        )
        self.lying_relay = await enter(
            Relay(
                make,
                truth,
                (places.LYING_RELAY, places.SOCKS_PORT),
                source=places.LYING_RELAY,
                manner=Manner.BLOCK_PAGE,
            )
        )
        for number, relay in enumerate((self.relay, self.https_relay, self.lying_relay)):
            await enter(self.conditions.applied(self, relay, f"relay {number}"))

    def _reader_of(self, host: str) -> Authority | None:
        """Returns the authority whose certificate a diverted connection receives."""
        name = host
        while name:
            if name in self.readers:
                return self.readers[name]
            _, _, name = name.partition(".")
        return self.readers.get("")


def _row_text(row: LoggedConnection) -> str:
    """One connection of the log, with the end of each attempt."""
    tried = "; ".join(
        f"{attempt.route} {attempt.stage} {attempt.elapsed_s:.2f} s {attempt.symptom} {attempt.error}".rstrip()
        for attempt in row.attempts
    )
    return f"{row.at:.2f} {row.host}:{row.port} by {row.winner or 'nothing'}: {tried or 'no attempt'}"


def _web(address: str) -> tuple[Address, ...]:
    return ((address, 80), (address, 443))


@contextlib.asynccontextmanager
async def door(space: Space, where: Address) -> AsyncIterator[None]:
    """Leads the address, on this machine's own loopback, to the same one in the space."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await connect(space.socket, where)
        near, far = Plain(reader, writer), Plain(far_reader, far_writer)
        try:
            await copy_both_ways(Buffered(near), near, Buffered(far), far)
        finally:
            await close(far_writer)

    async with listening(forward, *where):
        yield


class Running(Byway):
    """A real Byway at the computer in the country."""

    def __init__(
        self,
        country: Country,
        folder: Path,
        config: str,
        *,
        rules: str | None,
        office: bool,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        trust = {"SSL_CERT_FILE": str(country.trust_file(office=office)), "SSL_CERT_DIR": str(folder)}
        super().__init__(
            folder,
            config=config,
            rules=rules,
            allow=places.ALLOWED,
            arguments=["--port", str(lasting_port()), *arguments],
            environment={**trust, **environment},
            prefix=country.client.entering,
            namespaces=country.client.namespaces,
            forked=NO_TCP_INFO not in environment,
        )
        self._country = country

    def report(self) -> str:
        """Returns its last output and log lines, and how late the lab was, for a failure."""
        return "\n".join([super().report(), *self._logged(), self._country.lateness.report()])

    def _logged(self) -> list[str]:
        try:
            with contextlib.closing(open_reader(self.state / "byway.sqlite")) as db:
                rows = queries.log(db, limit=_ROWS_REPORTED)
                changes = queries.changes(db, limit=_ROWS_REPORTED)
        except (OSError, sqlite3.Error) as error:  # OSError: it did not start
            return [f"its log cannot be read: {error}"]
        return [
            f"its last {len(rows)} connections, the newest first:",
            *map(_row_text, rows),
            f"its last {len(changes)} changes:",
            *(f"{c.at:.2f} {c.scope} {c.before} → {c.after} {c.cause}: {c.why}" for c in changes),
        ]

    def warned(self, of: str) -> int:
        """Returns the number of lines in its output that warn of it."""
        return sum(of in line for line in self.said.read_text().splitlines())

    async def dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a connection at its computer."""
        return await connect(self._country.client.socket, (host, port))

    async def get(self, url: str) -> Fetched:
        """A GET through it, from its computer: CONNECT for https, absolute-form for http, HTTP within a CONNECT for
        `tunnel://`. Raises OSError and EOFError."""
        if url.startswith("tunnel://"):
            return await fetch_in_tunnel(url.removeprefix("tunnel://"), via=self.proxy, dial=self.dial)
        return await fetch(url, via=self.proxy, trust=self._country.public.client(), dial=self.dial)

    def sleep_a_day(self) -> None:
        """Sets its clocks a day ahead, as after a day asleep: only of a Byway with the environment of `Conditions`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR2)

    def door(self) -> AbstractAsyncContextManager[None]:
        """Leads its port on this machine's own loopback to it, for clients that run there."""
        return door(self._country.client, self.proxy)

    async def rows(self, name: str, count: int = 0) -> list[dict[str, Any]]:
        """Returns the log's rows for `name`, the oldest first, once there are `count`."""
        found: list[dict[str, Any]] = []

        async def read() -> bool:
            found[:] = (await self.ask("/v1/log", site=name, limit="1000"))["rows"]
            return len(found) >= count

        await until_read(read)
        return sorted(found, key=lambda row: float(row["at"]))

    async def until_counted(self, name: str) -> None:
        """Returns once evidence against `name` has counted: the uplink was seen to be well."""

        async def counted() -> bool:
            return bool((await self.belief(name))["score"])

        await until_read(counted)

    async def ledger(self, name: str) -> list[tuple[str, str]]:
        """Returns every change of state of `name`, the oldest first."""
        changes = (await self.ask(f"/v1/sites/{name}"))["changes"]
        return [(c["before"], c["after"]) for c in reversed(changes) if c["before"] != c["after"]]

    async def belief(self, name: str) -> dict[str, Any]:
        """Returns the belief about `name` on this network."""
        found: dict[str, Any] = (await self.ask(f"/v1/sites/{name}"))["belief"]
        return found

    async def network_state(self) -> str:
        """Returns the state in which Byway believes the network as a whole to be."""
        return str((await self.ask("/v1/status")).get("network_state") or NetworkState.OK)

    def is_connected_to(self, address: str) -> bool:
        """Returns whether it has an open TCP connection to this IPv4 address, by the kernel's table of its
        namespace."""
        wanted = f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}"
        for line in Path(f"/proc/{self.run_file()['pid']}/net/tcp").read_text().splitlines()[1:]:
            _, _, remote, state, *_ = line.split()
            if state == _ESTABLISHED and remote.partition(":")[0] == wanted:
                return True
        return False
