"""A server that keeps what each connection said, byte for byte, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.lab.sockets import Address, MakeSocket, listener
from tests.support.streams import Connections, shut

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Listens until the other side has ended."""
    while await reader.read(65536):
        pass


class Ear:
    """`async with Ear(make, (address, 0), answer) as ear:` then `ear.heard`, one entry a connection that said
    something. `answer` reads what is kept as it reads it."""

    def __init__(self, make: MakeSocket, where: Address, answer: Answer = say_nothing) -> None:
        self.address, self.port = where
        self.heard: list[bytes] = []
        self._make = make
        self._answer = answer
        self._connections = Connections(self._listen)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Ear:
        sock = listener(self._make, (self.address, self.port))
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._connections, sock=sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        await self._connections.stop()

    @property
    def connections(self) -> int:
        return self._connections.count

    async def refuse(self) -> None:
        """From now on."""
        if self._server is not None:
            await shut(self._server)
            self._server = None

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(_Kept(reader, self.heard), writer)


class _Kept(asyncio.StreamReader):
    """Reads on for another reader, and keeps what comes."""

    def __init__(self, reader: asyncio.StreamReader, heard: list[bytes]) -> None:
        super().__init__()
        self._reader = reader
        self._heard = heard
        self._place: int | None = None

    async def read(self, n: int = -1) -> bytes:
        data = await self._reader.read(n)
        if data and self._place is None:
            self._place = len(self._heard)
            self._heard.append(b"")
        if self._place is not None:
            self._heard[self._place] += data
        return data
