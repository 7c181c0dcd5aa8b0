"""A land behind one provider: Byway's computer, five relays that are programs of Debian's, an origin and a name server.

Each is a host of its own (tests/support/netns.py) with its own address, so the address from which a request comes to
the origin, or a query to the name server, tells who sent it. Every name under `.test` leads to the origin; the provider
lies about one of them, and to Byway's computer alone. Where the relays are that have names, the hosts file there says,
and no name server knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support import programs
from tests.support.authority import Authority
from tests.support.byway import Byway
from tests.support.capture import Capture
from tests.support.client import Fetched, fetch
from tests.support.netns import Host, Internet, Program
from tests.support.origin import Origin
from tests.support.resolver import Resolver
from tests.support.waiting import until_read

NAME_SERVER = "198.18.0.53"
ORIGIN = "198.18.0.80"
CONTROL, CONTROL_PAGE = "198.18.0.81", "control-page.test"
"""What Byway may ask of its own accord, at any moment after a relay has failed: at an address of its own."""
ASKED = (NAME_SERVER, 53)
NOWHERE = "198.18.200.9"
"""What is sent there is lost."""
NO_ROUTE = "198.18.201.9"
"""The provider says that there is no way there; but of six packets in a second, Linux says it of five only."""
ALLOW = ("198.18.0.0/15",)

USER, PASSWORD = "amina", "correct-horse-battery"
WRONG_PASSWORD = "incorrect-horse-battery"

RELAYS = ("microsocks", "tinyproxy", "stunnel", "squid", "sshd")
"""The hosts with a relay, each called as its program."""

Row = dict[str, Any]


class Land:
    """`async with Land(tmp_path) as land:`, then `await land.start("tinyproxy")` and `land.byway(…)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.relay_authority = Authority()
        self.origin: Origin
        self.resolver: Resolver
        self.home: Host  # Byway's computer
        self._internet = Internet(folder)
        self._relays: dict[str, Host] = {}
        self._running: dict[str, list[Program]] = {}
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Land:
        try:
            await self._make()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _make(self) -> None:
        internet = await self._open.enter_async_context(self._internet)
        for address in (NAME_SERVER, ORIGIN, CONTROL):
            await internet.give_address(address)
        await internet.swallow(f"{NOWHERE}/32")
        for name in RELAYS:
            self._relays[name] = await internet.host(name, resolver=NAME_SERVER)
        known = {f"{name}.relay": host.address for name, host in self._relays.items()}
        self.home = await internet.host("home", resolver=NAME_SERVER, hosts=known)
        provider = internet.provider
        self.resolver = await self._open.enter_async_context(
            Resolver(
                provider.make_socket(socket.AF_INET, socket.SOCK_DGRAM, address=(NAME_SERVER, 53)),
                self._lookup,
            )
        )
        self.origin = await self._open.enter_async_context(
            Origin(addresses=(ORIGIN, CONTROL), create_server=provider.create_server)
        )
        # Somebody has to take the capture's marks: Linux would call each unreachable, and say that only so often.
        self._open.enter_context(
            provider.make_socket(socket.AF_INET, socket.SOCK_DGRAM, address=(ORIGIN, Capture.MARK_PORT))
        )
        self._mark = self._open.enter_context(self.home.make_socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.ca = self.relay_authority.write(self.folder)
        self.certificate, self.key = self.relay_authority.write_server(self.folder, "stunnel.relay", "squid.relay")

    def _lookup(self, name: str, asker: str) -> str | None:
        """The provider's name server lies to its own customer, and to nobody else."""
        if not name.endswith(".test"):
            return None
        if name == CONTROL_PAGE:
            return CONTROL
        return NO_ROUTE if name.endswith("lied-about.test") and asker == self.home.address else ORIGIN

    @property
    def capture(self) -> Capture:
        return self._internet.capture

    @property
    def pin(self) -> str:
        """The SHA-256 of the public key that stunnel and squid show, in hex."""
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(public).hexdigest()

    def address(self, relay: str) -> str:
        return self._relays[relay].address

    def host(self, relay: str) -> Host:
        return self._relays[relay]

    def url(self, template: str) -> str:
        """A relay's URL, with the addresses and what else is known only now filled in."""
        addresses = {name: host.address for name, host in self._relays.items()}
        return template.format(**addresses, nowhere=NOWHERE, ca=self.ca, pin=self.pin,
                               user=USER, password=PASSWORD, wrong=WRONG_PASSWORD)  # fmt: skip

    async def settle(self) -> None:
        """Returns when all that has left Byway's computer so far has been seen."""
        await self.capture.settle(self._mark, ORIGIN)

    async def begun(self, since: int = 0) -> set[str]:
        """The addresses that Byway's computer turned to after the first `since` packets; but for the sshd that an `ssh`
        there keeps a connection to, and the control page."""
        await self.settle()
        kept = {CONTROL, self.address("sshd")} if "sshd" in self._running else {CONTROL}
        names = [asked.name for asked in self.resolver.asked if asked.asker == self.home.address]
        if names and names[-1] == CONTROL_PAGE:  # whether another name was asked for, see `nobody_heard_of`
            kept.add(NAME_SERVER)
        return {address for address, _ in self.capture.begun_by(self.home.address, since=since)} - kept

    def passed_on(self) -> list[int]:
        """How many bytes each connection that has ended at stunnel brought to the proxy behind it."""
        said = self._relays["stunnel"].folder / "stunnel-8443.txt"
        return [int(number) for number in re.findall(r"(\d+) byte\(s\) sent to socket", said.read_text())]

    # -- the relays --------------------------------------------------------------------------------------------------

    async def start(self, *relays: str) -> None:
        """Starts the programs of these relays, unless they run."""
        new = [name for name in relays if name not in self._running]
        for name, started in zip(new, await asyncio.gather(*map(self._started, new)), strict=True):
            self._running[name] = started

    async def _started(self, name: str) -> list[Program]:
        relay = self._relays[name]
        started: list[Program] = await getattr(self, f"_start_{name}")(relay)
        return started

    async def _start_microsocks(self, relay: Host) -> list[Program]:
        """Port 1080 for everybody, 1081 for who knows the password."""
        microsocks = programs.require("microsocks")
        return [
            await relay.start(microsocks, "-p", "1080", port=1080),
            await relay.start(microsocks, "-p", "1081", "-u", USER, "-P", PASSWORD, port=1081),
        ]

    async def _start_tinyproxy(self, relay: Host) -> list[Program]:
        """Port 8888, without a password."""
        return [await self._tinyproxy(relay, "Listen 0.0.0.0")]

    async def _start_stunnel(self, relay: Host) -> list[Program]:
        """Port 8443: TLS, and behind it a tinyproxy that wants the password."""
        settings = relay.folder / "stunnel.conf"
        settings.write_text(
            f"foreground = yes\npid =\ndebug = notice\nsyslog = no\n"
            f"[relay]\naccept = 0.0.0.0:8443\nconnect = 127.0.0.1:8888\ncert = {self.certificate}\nkey = {self.key}\n"
        )
        return [
            await self._tinyproxy(relay, f"Listen 127.0.0.1\nBasicAuth {USER} {PASSWORD}"),
            await relay.start(programs.require("stunnel"), str(settings), port=8443),
        ]

    async def _tinyproxy(self, relay: Host, settings: str) -> Program:
        file = relay.folder / "tinyproxy.conf"
        file.write_text(f"Port 8888\nTimeout 60\nMaxClients 20\nLogLevel Connect\n{settings}\n")
        return await relay.start(programs.require("tinyproxy"), "-d", "-c", str(file), port=8888)

    async def _start_squid(self, relay: Host) -> list[Program]:
        """Port 3129: HTTPS, without a password."""
        file = relay.folder / "squid.conf"
        file.write_text(
            f"https_port 3129 tls-cert={self.certificate} tls-key={self.key}\nhttp_access allow all\n"
            f"cache deny all\ncache_mem 0\npid_filename none\naccess_log none\ncache_log {relay.folder}/cache.log\n"
            f"coredump_dir {relay.folder}\nvisible_hostname squid.relay\npinger_enable off\n"
            "shutdown_lifetime 0 seconds\n"
        )
        return [await relay.start(programs.require("squid"), "-N", "-f", str(file), port=3129, as_user=True)]

    async def _start_sshd(self, relay: Host) -> list[Program]:
        """`ssh -D 1080` on Byway's computer, to an sshd with keys that were made just now."""
        for key in ("host_key", "user_key"):
            await relay.run(
                programs.require("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(relay.folder / key)
            )
        file = relay.folder / "sshd_config"
        file.write_text(
            f"Port 2222\nHostKey {relay.folder}/host_key\nAuthorizedKeysFile {relay.folder}/user_key.pub\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        )
        server = await relay.start(programs.require("sshd"), "-D", "-e", "-f", str(file), port=2222, as_user=True)
        known = relay.folder / "known_hosts"
        known.write_text(f"[sshd.relay]:2222 {(relay.folder / 'host_key.pub').read_text()}")
        options = (f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes")
        client = await self.home.start(
            *(programs.require("ssh"), "-F", "none", "-N", "-D", "127.0.0.1:1080", "-p", "2222"),
            *("-i", f"{relay.folder}/user_key", *(word for option in options for word in ("-o", option))),
            "user@sshd.relay",
            port=1080,
        )
        return [server, client]

    # -- Byway -------------------------------------------------------------------------------------------------------

    def byway(self, name: str, relays: Sequence[tuple[str, str]], *, rules: str = "", settings: str = "") -> AtHome:
        """A Byway on its computer with these relays, each a name and more lines of its table."""
        tables = "".join(f'[[relay]]\nname = "{relay}"\n{lines}\n' for relay, lines in relays)
        folder = self.folder / name
        folder.mkdir()
        return AtHome(self, folder, f'[log]\nhosts = "all"\n{settings}{tables}', rules)


class AtHome(Byway):
    """A Byway on its own computer. Its clients are there as well."""

    def __init__(self, land: Land, folder: Path, config: str, rules: str) -> None:
        super().__init__(folder, config=config, rules=rules, allow=ALLOW, prefix=land.home.prefix)
        self._land = land

    async def get(self, url: str) -> Fetched:
        """A GET through it: CONNECT for https, absolute-form for http."""
        land = self._land
        return await fetch(url, via=self.proxy, trust=land.origin.authority.client(), dial=land.home.open_connection)

    async def curl(self, proxy: str, url: str) -> int:
        """The exit code of a curl that asks through it."""
        words = ("--silent", "--max-time", "20", "--proxy", proxy, url)
        return (await self._land.home.run(programs.require("curl"), *words, check=False)).returncode

    async def rows(self, name: str, count: int = 1) -> list[Row]:
        """What `byway log --json` says of the name, the oldest first, once there are `count` rows."""
        found: list[Row] = []

        async def read() -> bool:
            found[:] = (await self.read("log", "--site", name))["rows"]
            return len(found) >= count

        await until_read(read, within_s=20)
        return found


# -- who heard of a name -----------------------------------------------------------------------------------------------


def untold(land: Land, name: str) -> str:
    why = "no route is allowed" if "only-addresses" in name else "all allowed routes failed"
    return f"{name}:{land.origin.http_port} could not be reached: {why}. For details: `byway why {name}`"


def nobody_heard_of(land: Land, name: str) -> bool:
    """Neither the name server nor the origin."""
    asked = [r.host for r in land.origin.requests if r.host.partition(":")[0] == name]
    return not asked and not land.resolver.askers(name) and name not in land.origin.server_names


def told(land: Land, name: str) -> set[str]:
    """Whom Byway's computer has sent packets with the name in them, as text or as DNS writes it; but for the `ssh`
    there, whose are unreadable anyway."""
    as_asked = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    packets = [*land.capture.holding(name.encode()), *land.capture.holding(as_asked)]
    return {packet.target for packet in packets if packet.source == land.home.address}
