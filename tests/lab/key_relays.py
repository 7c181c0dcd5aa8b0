"""Keys as relays: a host abroad on which mihomo serves each protocol, for a Byway at the computer in the country.

    async with KeyRelays(country, folder) as keys:
        async with keys.byway("byway", keys.relays("trojan"), rules="MATCH,RELAY") as byway: ...

The site's page names ADDRESS when it was asked through a key. The server resolves names by the public resolver. Its
clock can be set: it then asks a time server of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.lab import places
from tests.lab.country import FILES, Country, Running
from tests.lab.name_servers import Addresses
from tests.support.key_server import TCP, UDP, KeyServer, Place, path_with_engine
from tests.support.waiting import until

ADDRESS = "192.0.2.194"
HOST = "keys.test"
"""The name of ADDRESS, for links that have one."""

PROTOCOLS = (*TCP, *UDP)

_NTP_PORT = 123
_NTP_SIZE = 48  # RFC 5905, figure 8
_ORIGIN = slice(24, 32)
_TRANSMIT = slice(40, 48)
_SINCE_1900 = 2_208_988_800  # seconds, to 1970


class KeyRelays:
    """The host, and the server on it."""

    def __init__(self, country: Country, folder: Path, *, ahead_s: float = 0.0) -> None:
        """`ahead_s`: by how much the server's clock is ahead of this computer's."""
        self.country = country
        self._folder = folder
        self._ahead_s = ahead_s
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> KeyRelays:
        space = self.space = self.country.router.add_space("keys", [f"{ADDRESS}/29"])
        for path, text in FILES.items():
            space.put_file(path, text.encode())
        self.country.zone.names[HOST] = Addresses((ADDRESS,))
        options: dict[str, Any] = {"dns": {"enable": True, "ipv6": False, "nameserver": [places.PUBLIC_RESOLVER]}}
        if self._ahead_s:
            options["ntp"] = {"enable": True, "server": ADDRESS, "port": _NTP_PORT, "interval": 60}
            self._time = self._open.enter_context(TimeServer(space, self._ahead_s))
        self._environment = path_with_engine(self._folder)
        place = Place(ADDRESS, space.popen, space.open_connection, options)
        self.server = await self._open.enter_async_context(KeyServer(self._folder, place))
        if self._ahead_s:
            await until(lambda: self._time.answered > 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def relays(self, *names: str, wrong: bool = False, host: str = "") -> list[tuple[str, str]]:
        """Returns the names and links of relays, by protocol; all without names."""
        return [(name, self.server.link(name, wrong=wrong, host=host)) for name in names or PROTOCOLS]

    def byway(
        self, name: str, relays: Sequence[tuple[str, str]], *, rules: str, arguments: Sequence[str] = (), **config: Any
    ) -> Running:
        """Returns a Byway with these relays, and mihomo on its PATH. `config` is that of `Country.config`."""
        tables = "".join(f'[[relay]]\nname = "{key}"\nurl = "{link}"\nlocal = true\n' for key, link in relays)
        text = self.country.config(no_relay=True, extra=tables, **config)
        folder, environment = self._folder / name, self._environment
        return self.country.byway(folder, config=text, rules=rules, arguments=arguments, environment=environment)


def one_each(names: Iterable[str] = PROTOCOLS) -> str:
    """Returns rules by which a site `NAME.test`, and those below it, are for the relay NAME alone."""
    return "".join(f"DOMAIN-SUFFIX,{name}.test,RELAY:{name}\n" for name in names)


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
