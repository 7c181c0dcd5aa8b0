"""Keys as relays: a host abroad with a server for each protocol, for a Byway at the computer in the country. They are
mihomo, wireguard-go and sshd.

    async with KeyRelays(country, folder) as keys:
        async with keys.byway("byway", keys.relays("trojan"), rules="MATCH,RELAY") as byway: ...

The site's page names ADDRESS when it was asked through a key, or IN_TUNNEL when through WireGuard: the kernel passes
its packets on. The host resolves names by the public resolver. mihomo's clock can be set: it then asks a time server of
its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.lab import places
from tests.lab.country import FILES, Country, Running
from tests.lab.name_servers import Addresses
from tests.lab.spaces import Space
from tests.support import programs
from tests.support.key_server import SHORT_ID, TCP, UDP, KeyServer, Place, path_with_engine
from tests.support.programs_running import ServerProgram
from tests.support.tunnel_servers import USER_ID, SshServer, hexadecimal, wireguard_keys
from tests.support.waiting import until

ADDRESS, IN_TUNNEL = "192.0.2.194", "192.0.2.195"
HOST = "keys.test"
"""The name of ADDRESS, for links that have one."""

WIREGUARD, SSH = "wireguard", "ssh"
OF_MIHOMO = (*TCP, *UDP)
PROTOCOLS = (*OF_MIHOMO, WIREGUARD, SSH)
NEEDED = ("mihomo", "unshare", "ip", "wireguard-go", "sshd", "ssh-keygen")
"""The programs for all of them. Those of mihomo need no other."""

OVER_UDP = (*UDP, WIREGUARD)

_WIREGUARD_PORT = 51820
_UAPI = "/var/run/wireguard/wg0.sock"
_NTP_PORT = 123
_NTP_SIZE = 48  # RFC 5905, figure 8
_ORIGIN = slice(24, 32)
_TRANSMIT = slice(40, 48)
_SINCE_1900 = 2_208_988_800  # seconds, to 1970


class KeyRelays:
    """The host, and the servers on it."""

    def __init__(
        self, country: Country, folder: Path, *, only: Sequence[str] = PROTOCOLS, ahead_s: float = 0.0
    ) -> None:
        """`only` are the protocols that are needed. `ahead_s`: by how much mihomo's clock is ahead of this
        computer's."""
        self.country = country
        self._folder = folder
        self._only = only
        self._ahead_s = ahead_s
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> KeyRelays:
        space = self.space = self.country.router.add_space("keys", [f"{ADDRESS}/29", f"{IN_TUNNEL}/29"])
        files = {
            **FILES,
            "/etc/resolv.conf": f"nameserver {places.PUBLIC_RESOLVER}\n",
            "/etc/passwd": f"root:x:0:0::/:/bin/sh\nuser:x:{USER_ID}:{USER_ID}::{self._folder}:/bin/sh\n",
            "/etc/group": f"root:x:0:\nuser:x:{USER_ID}:\n",
        }
        for path, text in files.items():
            space.put_file(path, text.encode())
        self.country.zone.names[HOST] = Addresses((ADDRESS,))
        options: dict[str, Any] = {"dns": {"enable": True, "ipv6": False, "nameserver": [places.PUBLIC_RESOLVER]}}
        if self._ahead_s:
            options["ntp"] = {"enable": True, "server": ADDRESS, "port": _NTP_PORT, "interval": 60}
            self._time = self._open.enter_context(TimeServer(space, self._ahead_s))
        self._environment = path_with_engine(self._folder)
        place = Place(ADDRESS, space.popen, space.open_connection, options)
        self.server = await self._open.enter_async_context(KeyServer(self._folder, place))
        self._servers: list[ServerProgram] = [self.server]
        if WIREGUARD in self._only:
            self._wireguard = await self._open.enter_async_context(_WireGuard(space))
            self._servers.append(self._wireguard)
        if SSH in self._only:
            self._ssh = await self._open.enter_async_context(SshServer(place, mapped="user"))
            self._servers.append(self._ssh)
        if self._ahead_s:
            await until(lambda: self._time.answered > 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def relays(self, *names: str, wrong: bool = False, host: str = "") -> list[tuple[str, str]]:
        """Returns the names and links of relays, by protocol; all that are needed without names."""
        return [(name, self.link(name, wrong=wrong, host=host)) for name in names or self._only]

    def link(self, name: str, *, wrong: bool = False, host: str = "") -> str:
        """Returns the link of a key; `wrong`: for a user that the server does not know. `host` is a name of its
        address."""
        if name == WIREGUARD:
            link = self._wireguard.link(wrong=wrong)
        elif name == SSH:
            link = self._ssh.link(user="other" if wrong else "user")
        else:
            return self.server.link(name, wrong=wrong, host=host)
        return link.replace(f"@{ADDRESS}:", f"@{host or ADDRESS}:")

    def links_of_others(self) -> list[tuple[str, str]]:
        """As `relays`, with another certificate, short id or host key in the link than the server's, where it has
        any."""
        other, short_id = bytes(32).hex(), "fedcba9876543210"
        links = [
            (name, link.replace(self.server.pin, other).replace(SHORT_ID, short_id)) for name, link in self.relays()
        ]
        return [(name, self._ssh.link(host="other") if name == SSH else link) for name, link in links]

    def port(self, name: str) -> int:
        """Returns the port of a protocol's server."""
        own = {WIREGUARD: _WIREGUARD_PORT} | ({SSH: self._ssh.port} if name == SSH else {})
        return own.get(name) or self.server.ports[name]

    def stop(self) -> None:
        """Ends all servers, as those of a host that is down."""
        for server in self._servers:
            server.stop()

    def byway(
        self, name: str, relays: Sequence[tuple[str, str]], *, rules: str, arguments: Sequence[str] = (), **config: Any
    ) -> Running:
        """Returns a Byway with these relays, and mihomo on its PATH. `config` is that of `Country.config`."""
        tables = "".join(f'[[relay]]\nname = "{key}"\nurl = "{link}"\nlocal = true\n' for key, link in relays)
        text = self.country.config(no_relay=True, extra=tables, **config)
        folder, environment = self._folder / name, self._environment
        return self.country.byway(folder, config=text, rules=rules, arguments=arguments, environment=environment)


def came_through(name: str) -> str:
    """Returns the address in a page that came through a key of this protocol."""
    return IN_TUNNEL if name == WIREGUARD else ADDRESS


def one_each(names: Iterable[str] = PROTOCOLS) -> str:
    """Returns rules by which a site `NAME.test`, and those below it, are for the relay NAME alone."""
    return "".join(f"DOMAIN-SUFFIX,{name}.test,RELAY:{name}\n" for name in names)


class _WireGuard(ServerProgram):
    """wireguard-go, as root of its host, with one peer."""

    def __init__(self, space: Space) -> None:
        self._space = space
        (self._private, self._public), (self._peer, self._peer_public) = wireguard_keys(), wireguard_keys()
        self._preshared = base64.b64encode(os.urandom(32)).decode()

    def link(self, *, wrong: bool = False) -> str:
        private = wireguard_keys()[0] if wrong else self._peer
        fields = {"publickey": self._public, "presharedkey": self._preshared, "address": f"{IN_TUNNEL}/32"}
        fields["dns"] = places.PROVIDER_RESOLVER  # has no effect
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
        return f"wireguard://{quote(private, safe='')}@{ADDRESS}:{_WIREGUARD_PORT}?{query}"

    async def start(self) -> None:
        here = self._space
        here.mount_memory("/run")  # its socket is there
        here.run(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        command = [programs.require("wireguard-go"), "-f", "wg0"]
        self.process = here.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        async def listens() -> bool:
            return here.run(lambda: os.path.exists(_UAPI))

        await self._until(listens)
        said = here.run(self._set_up)
        assert said == "errno=0\n\n", said
        (device,) = here.run(lambda: [name for _, name in socket.if_nameindex() if name not in ("lo", "wg0")])
        for words in (
            ("link", "set", "wg0", "up"),
            ("address", "del", f"{IN_TUNNEL}/29", "dev", device),
            ("route", "add", f"{IN_TUNNEL}/32", "dev", "wg0"),
        ):
            ran = here.popen([programs.require("ip"), *words])
            assert await asyncio.to_thread(ran.wait) == 0, words

    def _set_up(self) -> str:
        """Gives it its keys. Returns its answer."""
        peer = f"public_key={hexadecimal(self._peer_public)}\npreshared_key={hexadecimal(self._preshared)}\n"
        own = f"private_key={hexadecimal(self._private)}\nlisten_port={_WIREGUARD_PORT}\n"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(_UAPI)
            sock.sendall(f"set=1\n{own}{peer}allowed_ip={IN_TUNNEL}/32\n\n".encode())
            return sock.recv(1000).decode()


class TimeServer:
    """Says a wrong time (RFC 5905), to the program that sets its clock by it."""

    def __init__(self, space: Any, ahead_s: float) -> None:
        self.answered = 0
        self._ahead_s = ahead_s
        self._socket = space.create_udp((ADDRESS, _NTP_PORT))
        self._socket.setblocking(False)

    def __enter__(self) -> TimeServer:
        asyncio.get_running_loop().add_reader(self._socket, self._answer)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _answer(self) -> None:
        asked, sender = self._socket.recvfrom(1024)
        now = struct.pack("!Q", round((time.time() + self._ahead_s + _SINCE_1900) * 2**32))
        answer = bytearray(_NTP_SIZE)
        answer[0], answer[1] = 0x24, 1  # version 4, a server; it has a clock of its own
        answer[_ORIGIN] = asked[_TRANSMIT]
        answer[16:24] = answer[32:40] = answer[_TRANSMIT] = now
        self._socket.sendto(answer, sender)
        self.answered += 1
