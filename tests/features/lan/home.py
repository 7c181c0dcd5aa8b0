"""A home in network namespaces: this computer, a phone and a stranger on one Wi-Fi, the router, and the internet.

It is built in the network namespace of this process, which must be one of its own: `unshare -Urnm python -m …`. Another
link leads from this computer to a neighbour, who is not in the home.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.spaces import Space
from tests.support import programs
from tests.support.byway import Byway
from tests.support.client import Fetched, fetch
from tests.support.streams import listening
from tests.support.waiting import until_read

OURS, ROUTER, PHONE, STRANGER = "192.168.7.2", "192.168.7.1", "192.168.7.10", "192.168.7.11"
ELSEWHERE, NEIGHBOUR = "10.9.0.1", "10.9.0.2"
"""Our address on another link, and the one who is there."""
SITE, RELAY = "45.33.32.7", "45.33.32.8"
"""Public addresses; nothing leaves the namespaces."""
PUBLIC_OURS = "45.33.32.9"
"""A public address of this computer."""

HARDWARE = {"phone": "02:00:00:00:00:10", "stranger": "02:00:00:00:00:11", "router": "02:00:00:00:00:01"}
NAMES = {
    "site.example": SITE,
    "inside.example": ROUTER,
    "here.example": OURS,
    "loop.example": "127.0.0.1",
    "mapped.example": "::ffff:192.168.7.1",
    "relay.example": RELAY,
}


def ip(words: str, of: Space | None = None) -> None:
    """Runs `ip` here, or in a space."""
    command = [programs.require("ip"), *words.split()]
    if of is None:
        subprocess.run(command, check=True, timeout=10)
    else:
        assert of.popen(command).wait(10) == 0, words


class Here:
    """Programs on this computer, where a Space has those of another one."""

    async def open_connection(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See Space."""
        return await asyncio.open_connection(address, port)


class Home:
    """`async with Home() as home:`; then `home.byway` runs, on the network `home` that `[lan] only_on` has."""

    def __init__(self, config: str = "", rules: str | None = None, settings: Mapping[str, str] | None = None) -> None:
        """`config` follows the tables of the home, `settings` are environment variables of Byway."""
        self._config = config
        self._rules = rules
        self._settings = dict(settings or {})
        self.spaces: dict[str, Space] = {}
        self.here = Here()
        self.reached: Counter[str] = Counter()
        """The connections to each server: "site", and those that no guest may reach."""
        self._closing = contextlib.AsyncExitStack()
        self.byway: Byway

    async def __aenter__(self) -> Self:
        await self._closing.__aenter__()
        try:
            self._build()
            await self._serve()
            folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory()))
            self.byway = await self._closing.enter_async_context(
                Byway(folder, config=self._text(""), rules=self._rules, environment=self._settings)
            )
            self.network = (await self.byway.ask("/v1/status"))["network"]
            assert self.network != "unknown"
            self.configure()
            await self.in_use()
        except BaseException:
            await self._closing.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._closing.__aexit__(kind, error, traceback)

    def _text(self, network: str) -> str:
        hosts = "\n".join(f'"{name}" = "{address}"' for name, address in NAMES.items())
        named = f'[networks]\nhome = "{network}"\n[lan]\nonly_on = ["home"]\n' if network else ""
        return f"{named}[dns.hosts]\n{hosts}\n{self._config}"

    def configure(self) -> None:
        """Writes the configuration that names the network."""
        self.byway.config.write_text(f"config_version = 1\n{self._text(self.network)}")
        self.byway.reload()

    async def in_use(self) -> None:
        """Waits until Byway is on the network `home`."""

        async def is_named() -> bool:
            return bool((await self.byway.ask("/v1/status"))["network_name"] == "home")

        await until_read(is_named)

    def _build(self) -> None:
        for name in ("switch", "router", "phone", "stranger", "neighbour"):
            made = self.spaces[name] = Space(name)
            self._closing.callback(made.close)
            ip("link set lo up", made)
        ip("link set lo up")
        switch = self.spaces["switch"]
        ip("link add bridge type bridge", switch)
        ip("link set bridge up", switch)
        ends: Sequence[tuple[str, str, Space | None]] = (
            ("wlan", OURS, None),
            *((name, address, self.spaces[name]) for name, address in
              (("router", ROUTER), ("phone", PHONE), ("stranger", STRANGER))),
        )  # fmt: skip
        for name, address, space in ends:
            near = "wlan" if space is None else "eth"
            where = f"/proc/{os.getpid()}/fd/{space.fd}" if space is not None else str(os.getpid())
            ip(f"link add port-{name} type veth peer name {near} netns {where}", switch)
            ip(f"link set port-{name} master bridge up", switch)
            if name in HARDWARE:
                ip(f"link set {near} address {HARDWARE[name]}", space)
            ip(f"address add {address}/24 dev {near}", space)
            ip(f"link set {near} up", space)
            if space is not self.spaces["router"]:
                ip(f"route add default via {ROUTER} dev {near}", space)
        for address in (SITE, RELAY):
            ip(f"address add {address}/32 dev lo", self.spaces["router"])
        neighbour = self.spaces["neighbour"]
        ip(f"link add other type veth peer name eth netns /proc/{os.getpid()}/fd/{neighbour.fd}")
        ip(f"address add {ELSEWHERE}/24 dev other")
        ip("link set other up")
        ip(f"address add {NEIGHBOUR}/24 dev eth", neighbour)
        ip("link set eth up", neighbour)
        ip(f"route add 192.168.7.0/24 via {ELSEWHERE}", neighbour)
        ip(f"address add {PUBLIC_OURS}/32 dev lo")

    async def _serve(self) -> None:
        """Starts the servers: one that guests may reach, and one at each place that they may not."""
        router, neighbour = self.spaces["router"], self.spaces["neighbour"]
        places: Sequence[tuple[str, Space | None, str, int]] = (
            ("site", router, SITE, 80),
            ("site", router, SITE, 443),
            ("relay", router, RELAY, 80),
            ("relay", router, RELAY, 1080),
            ("router", router, ROUTER, 80),
            ("neighbour", neighbour, NEIGHBOUR, 80),
            *(("here", None, address, 80) for address in ("127.0.0.1", OURS, ELSEWHERE, PUBLIC_OURS)),
        )
        for name, space, address, port in places:
            sock = socket.create_server((address, port)) if space is None else space.create_server((address, port))

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
                self.reached[name] += 1
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())

            await self._closing.enter_async_context(listening(serve, sock=sock))

    # -- what the tests do ---------------------------------------------------------------------------------------------

    async def turn_on(self, *clients: str, for_s: float = 3600) -> tuple[str, int]:
        """Turns it on, once Byway has read the configuration that allows it; returns the address and port."""
        asked = {"for_s": for_s, "clients": [*clients]}

        async def is_allowed() -> bool:
            async with self.byway.api() as api, api.put("/v1/lan", json=asked) as answer:
                return answer.status == 200

        await until_read(is_allowed)
        host, _, port = (await self.lan())["address"].rpartition(":")
        return host, int(port)

    async def change(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        async with self.byway.api() as api, api.request(method, path, json=body) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return await answer.json()

    async def lan(self) -> Any:
        return await self.byway.ask("/v1/lan")

    async def fetch(self, of: str, url: str, via: tuple[str, int] | None, limit_s: float = 10.0) -> Fetched:
        """Fetches a page from a space."""
        return await fetch(url, via=via, dial=self.spaces[of].open_connection, limit_s=limit_s)

    async def status_of(self, of: str, url: str, via: tuple[str, int], limit_s: float = 10.0) -> int:
        """Returns the status of a page; 0 when the connection was closed without one."""
        try:
            return (await self.fetch(of, url, via, limit_s)).status
        except (OSError, EOFError, TimeoutError):
            return 0

    async def waiting(self, count: int = 1) -> list[Any]:
        """Returns the devices that wait, once there are that many."""
        found: list[Any] = []

        async def wait() -> bool:
            found[:] = (await self.lan())["waiting"]
            return len(found) >= count

        await until_read(wait)
        return found


def forge(space: Space, address: str, hardware: str) -> None:
    """Says in a space, to all on the link, that `address` is at `hardware` (an answer of ARP that nobody asked for)."""
    sender = bytes.fromhex(hardware.replace(":", "")) + ipaddress.ip_address(address).packed
    frame = b"\xff" * 6 + sender[:6] + b"\x08\x06" + bytes.fromhex("0001080006040002") + sender + sender
    with space.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sock:
        sock.bind(("eth", 0))
        sock.send(frame)
