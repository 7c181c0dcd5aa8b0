"""What a visit to a host that is known to work costs, in calls of Python functions.

Timings differ by machine and hour, and no test can hold them. Calls do not, and each takes about a third of a
microsecond. Whoever lowers a number here keeps it low for good; whoever has to raise one says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.call_counter import CountedByway
from tests.support.streams import close, listening

HOST = "site.test"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + bytes(1024)
VISITS = 200

Visit = Callable[[], Awaitable[None]]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        writer.write(ANSWER)
        if b"close" in head:
            return


class Visitor:
    """A client that asks for the same page again and again, one visit after the other."""

    def __init__(self, proxy: tuple[str, int], port: int) -> None:
        self._proxy = proxy
        self._port = port
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        """A tunnel by CONNECT, and one page in it."""
        reader, writer = await asyncio.open_connection(*self._proxy)
        writer.write(f"CONNECT {HOST}:{self._port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await self._read_page(reader, writer)

    async def socks5(self) -> None:
        """A tunnel by SOCKS5, and one page in it."""
        reader, writer = await asyncio.open_connection(*self._proxy)
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        writer.write(b"\x05\x01\x00\x03" + bytes([len(HOST)]) + HOST.encode() + self._port.to_bytes(2, "big"))
        assert (await reader.readexactly(10))[1] == 0
        await self._read_page(reader, writer)

    async def plain(self) -> None:
        """A plain request on a connection of its own."""
        reader, writer = await asyncio.open_connection(*self._proxy)
        await self._read_page(reader, writer, target=f"http://{HOST}:{self._port}/")

    async def keep_alive(self) -> None:
        """A plain request on the connection of the one before."""
        if self._kept is None:
            self._kept = await asyncio.open_connection(*self._proxy)
        reader, writer = self._kept
        writer.write(f"GET http://{HOST}:{self._port}/ HTTP/1.1\r\nHost: {HOST}:{self._port}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.readexactly(1024)) == 1024

    async def aclose(self) -> None:
        """Closes the connection that was kept."""
        if self._kept is not None:
            await close(self._kept[1])

    async def _read_page(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, target: str = "/"
    ) -> None:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.read(-1)).endswith(bytes(1024))
        writer.close()
        await writer.wait_closed()


BUDGETS = {"connect": 280, "socks5": 335, "plain": 310, "keep_alive": 160}
"""Calls a visit, at most."""


@pytest.mark.parametrize("kind", BUDGETS)
async def test_a_visit_to_a_known_host_stays_within_its_calls(tmp_path: Path, kind: str) -> None:
    config = f'[dns.hosts]\n"{HOST}" = "127.0.0.1"\n'
    async with listening(answer, "127.0.0.1", 0) as server, CountedByway(tmp_path, config=config) as byway:
        visitor = Visitor(byway.proxy, server.sockets[0].getsockname()[1])
        visit: Visit = getattr(visitor, kind)
        async with contextlib.aclosing(visitor):
            calls = await byway.count(visit, times=VISITS)
    assert calls <= BUDGETS[kind]
