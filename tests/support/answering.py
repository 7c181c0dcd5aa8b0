"""TLS and plain servers on loopback, with a dialer that connects to them for every name."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from proxy.model import Destination
from proxy.net.dialers.dialer import Dialer
from proxy.net.stream import Stream
from tests.support.streams import listening


class LeadsTo:
    """A dialer that connects to one port on loopback for every destination. `dialed` has the destinations."""

    def __init__(self, via: Dialer, port: int) -> None:
        self._via = via
        self._port = port
        self.dialed: list[Destination] = []

    async def dial(self, destination: Destination) -> Stream:
        self.dialed.append(destination)
        return await self._via.dial(Destination("127.0.0.1", self._port))


@contextlib.asynccontextmanager
async def answering(via: Dialer, answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[LeadsTo]:
    """A server that answers each request head with `answer` and closes. With a context it uses TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    async with listening(serve, "127.0.0.1", 0, ssl=context) as server:
        yield LeadsTo(via, server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def babbling(via: Dialer, said: bytes) -> AsyncIterator[LeadsTo]:
    """A server that answers the first bytes of every client with `said` and closes; with empty `said` it only
    closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(said)
        await writer.drain()

    async with listening(serve, "127.0.0.1", 0) as server:
        yield LeadsTo(via, server.sockets[0].getsockname()[1])
