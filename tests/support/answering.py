"""TLS and plain servers on loopback behind a dialer that leads every name to them."""

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
    """A dialer that reaches one port on loopback, whatever is asked; `dialed` holds what was."""

    def __init__(self, via: Dialer, port: int) -> None:
        self._via = via
        self._port = port
        self.dialed: list[Destination] = []

    async def dial(self, destination: Destination) -> Stream:
        self.dialed.append(destination)
        return await self._via.dial(Destination("127.0.0.1", self._port))


@contextlib.asynccontextmanager
async def answering(via: Dialer, answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[LeadsTo]:
    """A server that answers each request head with `answer` and closes; in TLS when there is a context."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    async with listening(serve, "127.0.0.1", 0, ssl=context) as server:
        yield LeadsTo(via, server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def babbling(via: Dialer, said: bytes) -> AsyncIterator[LeadsTo]:
    """A server that says the same to everybody's first bytes and closes; with nothing to say, it just closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(said)
        await writer.drain()

    async with listening(serve, "127.0.0.1", 0) as server:
        yield LeadsTo(via, server.sockets[0].getsockname()[1])
