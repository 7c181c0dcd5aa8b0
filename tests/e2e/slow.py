"""A site that answers when it is told to, so that slowness needs no waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from tests.support.streams import Connections, shut

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nslow\n"


class SlowSite:
    """Plain HTTP. Who comes from the address `relay` is the relay, all others come direct."""

    def __init__(self, address: str, *, relay: str) -> None:
        self.address = address
        self.port = 0
        self._relay = relay
        self._asked = {True: asyncio.Event(), False: asyncio.Event()}  # by the relay?
        self._may_answer = {True: asyncio.Event(), False: asyncio.Event()}
        self._connections = Connections(self._serve)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> SlowSite:
        sock = socket.create_server((self.address, 0))
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._connections, sock=sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await shut(self._server)
        await self._connections.stop()

    async def answer_one_of_both(self, *, relay: bool) -> None:
        """Waits until both ways have been tried, and answers the one."""
        async with asyncio.timeout(20):
            await asyncio.gather(*(asked.wait() for asked in self._asked.values()))
        self.answer(relay=relay)

    def answer(self, *, relay: bool) -> None:
        """From now on it answers what comes by this way."""
        self._may_answer[relay].set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        by_relay = writer.get_extra_info("peername")[0] == self._relay
        await reader.readuntil(b"\r\n\r\n")
        self._asked[by_relay].set()
        await self._may_answer[by_relay].wait()
        with contextlib.suppress(OSError):
            writer.write(_ANSWER)
            await writer.drain()
