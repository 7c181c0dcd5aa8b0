"""Relays abroad that are programs of Debian's, each on a host of its own, for a Byway at the computer in the country.

The address from which a request comes to the site, or a query to a name server, tells who sent it. Every name under
`.test` leads to one site; the provider lies about one of them. Where the relays are that have names, the hosts file of
that computer says, and no name server knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.lab import places
from tests.lab.country import FILES, Country, Running
from tests.lab.events import Kind
from tests.lab.name_servers import Addresses
from tests.lab.packets import TCP
from tests.lab.rules import AddressDrop, IcmpUnreachable
from tests.lab.spaces import Space
from tests.support import programs
from tests.support.authority import Authority
from tests.support.tunnel_servers import MAPPED, USER_ID
from tests.support.waiting import until

RELAYS = ("microsocks", "tinyproxy", "stunnel", "squid", "sshd")
"""The hosts with a relay, each called as its program."""
NO_ROUTE = "198.19.249.7"
"""The provider says that there is no way there."""
NOWHERE = "198.19.249.9"
"""What is sent there is lost."""
CONTROL = "control-page.test"
"""What Byway may ask of its own accord, at any moment after a relay has failed: at an address of its own."""
LIED_ABOUT = "lied-about.test"

USER, PASSWORD = "amina", "correct-horse-battery"
WRONG_PASSWORD = "incorrect-horse-battery"

_LISTENING = "0A"  # the state in /proc/net/tcp
_END_S = 5.0


class RealRelays:
    """`async with RealRelays(country, folder) as relays:`, then `await relays.start("tinyproxy")` and
    `relays.byway(…)`."""

    def __init__(self, country: Country, folder: Path) -> None:
        self.country = country
        self.addresses = {name: f"192.0.2.{146 + 8 * number}" for number, name in enumerate(RELAYS)}
        self.spaces: dict[str, Space] = {}
        self.authority = Authority()
        self._folder = folder
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> RealRelays:
        country, names = self.country, {f"{name}.relay": address for name, address in self.addresses.items()}
        self.ca = self.authority.write(self._folder)
        self.certificate, self.key = self.authority.write_server(self._folder, "stunnel.relay", "squid.relay")
        self.site, self._control = country.add_site("test"), country.add_site(CONTROL)
        country.provider.lies[LIED_ABOUT] = Addresses((NO_ROUTE,))
        country.rules.set([IcmpUnreachable(NO_ROUTE, code="network"), AddressDrop(NOWHERE)])
        hosts = "".join(f"{address} {name}\n" for name, address in names.items())
        country.client.put_file("/etc/hosts", (FILES["/etc/hosts"] + hosts).encode())
        files = {
            **FILES,
            "/etc/resolv.conf": f"nameserver {places.PUBLIC_RESOLVER}\n",
            "/etc/passwd": f"root:x:0:0::/:/bin/sh\nuser:x:{USER_ID}:{USER_ID}::{self._folder}:/bin/sh\n",
            "/etc/group": f"root:x:0:\nuser:x:{USER_ID}:\n",
        }
        for name, address in self.addresses.items():
            self.spaces[name] = space = country.router.add_space(name, [f"{address}/29"])
            space.mount_memory("/dev/shm")
            for path, text in files.items():
                space.put_file(path, text.encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    @property
    def pin(self) -> str:
        """The SHA-256 of the public key that stunnel and squid show, in hex."""
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(public).hexdigest()

    def url(self, template: str) -> str:
        """A relay's URL, with the addresses and what else is known only now filled in."""
        return template.format(**self.addresses, nowhere=NOWHERE, ca=self.ca, pin=self.pin,
                               user=USER, password=PASSWORD, wrong=WRONG_PASSWORD)  # fmt: skip

    def byway(
        self,
        name: str,
        relays: Sequence[tuple[str, str]],
        *,
        rules: str = "",
        detect: str = "",
        extra: str = "",
        controls: Sequence[str] = (),
    ) -> Running:
        """A Byway with these relays, each a name and more lines of its table."""
        tables = "".join(f'[[relay]]\nname = "{relay}"\n{lines}\n' for relay, lines in relays)
        config = self.country.config(
            detect=detect, servers=(), controls=controls, extra=f"{extra}\n{tables}", no_relay=True
        )
        return self.country.byway(self._folder / name, config=config, rules=rules)

    # -- what was seen -----------------------------------------------------------------------------------------------

    def begun(self, since: float, *, sender: str = "client") -> set[tuple[str, int]]:
        """The addresses and ports that the computer, or another host, turned to from then on: with a SYN, or with
        anything that is not TCP. The caller waits until all is noted (`Country.caught_up`)."""
        return {
            (seen.packet.target, seen.packet.dport)
            for seen in self.country.router.events.packets(sender=sender, since=since)
            if (seen.opens or seen.packet.protocol != TCP) and seen.packet.target != places.PORTAL
        }

    async def turned_to(self, since: float) -> set[str]:
        """The addresses that the computer turned to from then on; but for the sshd that an `ssh` there keeps a
        connection to, the control page, and the resolver that was asked for nothing else. It also gets an ICMP message
        when its answer is late."""
        await self.country.caught_up()
        kept = {self._control.address} | ({self.addresses["sshd"]} if "sshd" in self._running else set())
        seen = self.country.router.events.names_on("client", sender="client", since=since)
        if {it.name for it in seen if it.kind is Kind.DNS} <= {CONTROL}:
            kept.add(places.PROVIDER_RESOLVER)
        return {address for address, _ in self.begun(since)} - kept

    def askers(self, name: str) -> set[str]:
        """Who asked a name server for the name, or for a longer one that a search list made from it."""
        asked = (*self.country.provider_resolver.asked, *self.country.resolver.asked)
        return {one.asker for one in asked if one.name == name or one.name.startswith(f"{name}.")}

    def nobody_heard_of(self, name: str) -> bool:
        """Neither a name server nor the site."""
        origins = self.country.origins
        return not self.askers(name) and not origins.peers(name) and name not in origins.server_names

    def told(self, name: str) -> set[str]:
        """Whom the computer has sent packets with this watched name in them; but for the `ssh` there, whose are
        unreadable anyway."""
        return {seen.packet.target for seen in self.country.router.events.holding(name, sender="client")}

    async def passed_on(self, least: int = 0) -> list[int]:
        """Returns how many bytes each connection to stunnel brought to the proxy behind it, once there are at least so
        many and all have ended."""
        passed: list[int] = []

        def have_ended() -> bool:
            said = (self._folder / "stunnel-8443.txt").read_text()
            passed[:] = map(int, re.findall(r"(\d+) byte\(s\) sent to socket", said))
            return least <= len(passed) == said.count("accepted connection")

        await until(have_ended)
        return passed

    # -- the programs ------------------------------------------------------------------------------------------------

    async def start(self, *relays: str) -> None:
        """Starts the programs of these relays, unless they run."""
        new = [name for name in relays if name not in self._running]
        started = await asyncio.gather(*(getattr(self, f"_{name}")() for name in new))
        self._running.update(zip(new, started, strict=True))

    async def run(self, where: Space, *command: str) -> int:
        """Runs a command to its end there. Returns the exit code."""
        return await asyncio.to_thread(where.popen(command, stdout=subprocess.DEVNULL).wait)

    async def program(self, where: Space, *command: str, port: int, as_user: bool = False) -> subprocess.Popen[bytes]:
        """Starts a program there, and returns once one listens on the TCP port. It is stopped at the end. `as_user`: as
        an ordinary user in a nested namespace, for programs that refuse to be root or would drop it."""
        within = MAPPED if as_user else ()
        said = self._folder / f"{where.name}-{port}.txt"
        with said.open("ab") as out:
            process = where.popen([*within, *command], stdout=out, stderr=out)
        self._open.push_async_callback(stop, process)
        with contextlib.suppress(TimeoutError):
            await until(lambda: process.poll() is not None or _listens(process.pid, port))
        if not _listens(process.pid, port):
            raise OSError(f"{command[0]} does not listen on port {port}. It said:\n{said.read_text()[-4000:]}")
        return process

    async def _microsocks(self) -> list[subprocess.Popen[bytes]]:
        """Port 1080 for everybody, 1081 for who knows the password."""
        here, microsocks = self.spaces["microsocks"], programs.require("microsocks")
        return [
            await self.program(here, microsocks, "-p", "1080", port=1080),
            await self.program(here, microsocks, "-p", "1081", "-u", USER, "-P", PASSWORD, port=1081),
        ]

    async def _tinyproxy(self) -> list[subprocess.Popen[bytes]]:
        """Port 8888, without a password."""
        return [await self._a_tinyproxy("tinyproxy", "Listen 0.0.0.0")]

    async def _stunnel(self) -> list[subprocess.Popen[bytes]]:
        """Port 8443: TLS, and behind it a tinyproxy that wants the password."""
        settings = self._folder / "stunnel.conf"
        settings.write_text(
            f"foreground = yes\npid =\ndebug = notice\nsyslog = no\n"
            f"[relay]\naccept = 0.0.0.0:8443\nconnect = 127.0.0.1:8888\ncert = {self.certificate}\nkey = {self.key}\n"
        )
        return [
            await self._a_tinyproxy("stunnel", f"Listen 127.0.0.1\nBasicAuth {USER} {PASSWORD}"),
            await self.program(self.spaces["stunnel"], programs.require("stunnel"), str(settings), port=8443),
        ]

    async def _a_tinyproxy(self, where: str, settings: str) -> subprocess.Popen[bytes]:
        file = self._folder / f"tinyproxy-{where}.conf"
        file.write_text(f"Port 8888\nTimeout 60\nMaxClients 20\nLogLevel Connect\n{settings}\n")
        return await self.program(self.spaces[where], programs.require("tinyproxy"), "-d", "-c", str(file), port=8888)

    async def _squid(self) -> list[subprocess.Popen[bytes]]:
        """Port 3129: HTTPS, without a password."""
        file = self._folder / "squid.conf"
        file.write_text(
            f"https_port 3129 tls-cert={self.certificate} tls-key={self.key}\nhttp_access allow all\n"
            f"cache deny all\ncache_mem 0\npid_filename none\naccess_log none\ncache_log {self._folder}/cache.log\n"
            f"coredump_dir {self._folder}\nvisible_hostname squid.relay\npinger_enable off\n"
            "shutdown_lifetime 0 seconds\n"
        )
        squid = programs.require("squid")
        return [await self.program(self.spaces["squid"], squid, "-N", "-f", str(file), port=3129, as_user=True)]

    async def _sshd(self) -> list[subprocess.Popen[bytes]]:
        """`ssh -D 1080` on Byway's computer, to an sshd with keys that were made just now."""
        here, folder = self.spaces["sshd"], self._folder
        for key in ("host_key", "user_key"):
            words = ("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / key))
            assert await self.run(here, programs.require("ssh-keygen"), *words) == 0
        file = folder / "sshd_config"
        file.write_text(
            f"Port 2222\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        )
        sshd = programs.require("sshd")
        server = await self.program(here, sshd, "-D", "-e", "-f", str(file), port=2222, as_user=True)
        known = folder / "known_hosts"
        known.write_text(f"[sshd.relay]:2222 {(folder / 'host_key.pub').read_text()}")
        options = (f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes")
        client = await self.program(
            self.country.client,
            *(programs.require("ssh"), "-F", "none", "-N", "-D", "127.0.0.1:1080", "-p", "2222"),
            *("-i", f"{folder}/user_key", *(word for option in options for word in ("-o", option))),
            "user@sshd.relay",
            port=1080,
        )
        return [server, client]


async def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """Sends the program a signal, and kills it if it does not end."""
    if process.poll() is None:
        process.send_signal(how)
        with contextlib.suppress(TimeoutError):
            await until(lambda: process.poll() is not None, within_s=_END_S)
        process.kill()
        await asyncio.to_thread(process.wait)


def _listens(pid: int, port: int) -> bool:
    """Whether a program in the same network listens on the TCP port. No packet is sent to find out."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6, or the program has ended
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False
