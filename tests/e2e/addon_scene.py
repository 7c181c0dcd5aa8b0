"""A real Byway with addons, a relay, and an origin that sees by which way a request came.

`open.test` is reached direct by its rule (AUTO) and through the relay as well; `closed.test` is RELAY by rule, although
direct would work: whoever opens it is seen at the origin. `held.test` repeats what it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import textwrap
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from proxy.terminal.client import Client
from tests.support.byway import IMPATIENT, PATIENT, Byway
from tests.support.client import Fetched, fetch
from tests.support.descriptors import descriptors
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.streams import listening
from tests.support.waiting import until, until_read

RULES = "DOMAIN,closed.test,RELAY\nDOMAIN,blocked.test,BLOCK\n"
_HOSTS = ("open.test", "closed.test", "blocked.test", "other.test", "held.test")


class Scene:
    """`async with Scene(tmp_path, {"pin": "…"}) as scene:`"""

    def __init__(
        self, folder: Path, addons: dict[str, str], *, config: str = "", rules: str = RULES,
        environment: Mapping[str, str] | None = None, relay_fails: bool = False,
    ) -> None:  # fmt: skip
        """`relay_fails`: in this story the relay fails, and clients are told after its second failure. For one that is
        only slow on a busy machine they wait as long as ever."""
        self.origin = Origin()
        self.relay = Relay(dict.fromkeys(_HOSTS, "127.0.0.1"))
        self._folder = folder
        self._addons = addons
        self._config = config
        self._rules = rules
        self._environment = environment
        self._relay_fails = relay_fails
        self._open = contextlib.AsyncExitStack()
        self.byway: Byway

    async def __aenter__(self) -> Scene:
        await self._open.enter_async_context(self.origin)
        await self._open.enter_async_context(self.relay)
        hosts = "".join(f'"{host}" = "127.0.0.1"\n' for host in _HOSTS)
        config = (
            f'[[relay]]\nname = "tor"\nurl = "socks5h://{self.relay.address}:{self.relay.port}"\n'
            f"{IMPATIENT if self._relay_fails else PATIENT}"
            f"[dns.hosts]\n{hosts}{self._config}"
        )
        self.byway = Byway(self._folder, config=config, rules=self._rules, environment=self._environment)
        self.folder.mkdir()
        for name, text in self._addons.items():
            self.write(name, text)
        await self._open.enter_async_context(self.byway)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._open.__aexit__(*error)

    @property
    def folder(self) -> Path:
        """The user's addons."""
        return self.byway.config.with_name("addons")

    def write(self, name: str, text: str) -> Path:
        file = self.folder / f"{name}.py"
        file.write_text(textwrap.dedent(text))
        return file

    async def get(self, host: str, path: str = "/", **how: Any) -> Fetched:
        """One plain request."""
        return await fetch(f"http://{host}:{self.origin.http_port}{path}", via=self.byway.proxy, **how)

    async def way(self, host: str) -> str:
        """By which way a request for `host` came to the origin: `direct`, `tor`, or `none` when it did not."""
        before = len(self.origin.requests)
        answer = await self.get(host)
        if answer.status != 200:
            assert len(self.origin.requests) == before, "what was refused has not gone out"
            return "none"
        return "tor" if self.origin.requests[-1].peer.startswith(self.relay.address) else "direct"

    async def goes(self, host: str, way: str) -> None:
        """Returns once requests for `host` go that way."""

        async def asked() -> bool:
            return await self.way(host) == way

        await until_read(asked)

    async def says(self, words: str, *, times: int = 1) -> None:
        """Returns once so many lines of what Byway said hold the words."""
        await until(lambda: self.said(words) >= times)

    def said(self, words: str) -> int:
        return sum(words in line for line in self.byway.said.read_text().splitlines())

    async def ask(self, path: str, **query: str) -> Any:
        """What the control server answers."""
        return await asyncio.to_thread(lambda: Client.find(self.byway.state).get(path, **query))

    async def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.byway.read("log"))["rows"]
        return rows

    async def problems(self) -> list[str]:
        return [problem["text"] for problem in (await self.byway.read("status"))["problems"]]


class Talk:
    """A tunnel to a server that repeats what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def holds(self) -> bool:
        word = os.urandom(8)
        self._writer.write(word)
        return await asyncio.wait_for(self._reader.readexactly(len(word)), 20) == word


@contextlib.asynccontextmanager
async def talks(byway: Byway, number: int) -> AsyncIterator[list[Talk]]:
    """So many tunnels through Byway, each of which has been spoken through."""

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async with contextlib.AsyncExitStack() as opened:
        opened.enter_context(descriptors(1024 + 4 * number))
        server = await opened.enter_async_context(listening(repeat, "127.0.0.1", 0, backlog=1024))
        port = server.sockets[0].getsockname()[1]
        talking = []
        for _ in range(number):
            reader, writer = await asyncio.open_connection(*byway.proxy)
            opened.callback(writer.close)
            writer.write(f"CONNECT held.test:{port} HTTP/1.1\r\nHost: held.test:{port}\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            talk = Talk(reader, writer)
            assert await talk.holds()
            talking.append(talk)
        yield talking
