"""A censor on loopback: it listens at the address that leads to an origin, and behaves like a censor.

It has its own address (127.0.0.2) and the origin's port; a relay under test knows the origin's true address. Its
behaviour can change while it runs. Where the behaviour depends on the name, a flight without one of `names` passes.
DROP, and behaviours of the connection itself, cannot see the name and affect all flights. tests/lab has censors that
act on packets.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.support.filters import drop_data
from tests.support.streams import Connections, close, reset, shut, splice


class Behaviour(Enum):
    PASS = auto()
    RESET = auto()  # RST once the name was seen
    EOF = auto()  # closes once the name was seen
    GARBAGE = auto()  # answers with what no protocol says
    SILENT = auto()  # acknowledges and never answers
    DROP = auto()  # the connection opens, no byte is ever acknowledged
    REFUSE = auto()  # nothing listens


_GARBAGE = b"\x00\x00\x00 neither a ServerHello nor a status line \x00"


@dataclass
class Censor:
    """`async with Censor("127.0.0.2", port, origin="127.0.0.1") as censor: await censor.set(Behaviour.RESET)`"""

    address: str
    port: int
    origin: str  # the address whose port of the same number is the true one
    behaviour: Behaviour = Behaviour.PASS
    names: frozenset[str] | None = None  # None: every name
    flights: list[bytes] = field(default_factory=list)  # the first bytes of each connection that was looked at
    struck: int = 0  # connections that were interfered with after a look
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self._connections = Connections(self._watch)

    async def __aenter__(self) -> Censor:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._shut()
        await self._connections.stop()

    @property
    def connections(self) -> int:
        """The number of accepted connections."""
        return self._connections.count

    async def set(self, behaviour: Behaviour, names: Iterable[str] | None = None) -> None:
        """Sets the behaviour for new connections. Open ones are not changed."""
        await self._shut()
        self.behaviour = behaviour
        self.names = None if names is None else frozenset(names)
        await self._open()

    async def _open(self) -> None:
        if self.behaviour is Behaviour.REFUSE:
            return
        listener = socket.create_server((self.address, self.port), backlog=256)
        try:
            if self.behaviour is Behaviour.DROP:
                drop_data(listener)
        except BaseException:  # an ordinary user may not, and the test is skipped
            listener.close()
            raise
        self._server = await asyncio.start_server(self._connections, sock=listener)

    async def _shut(self) -> None:
        if self._server is not None:
            await shut(self._server)
            self._server = None

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour, names = self.behaviour, self.names
        flight = await _flight(reader)
        self.flights.append(flight)
        if behaviour is Behaviour.PASS or not _named(flight, names):
            await splice(reader, writer, self.origin, self.port, source=self.address, first=flight)
            return
        self.struck += 1
        if behaviour is Behaviour.RESET:
            reset(writer)
        elif behaviour is Behaviour.GARBAGE:
            writer.write(_GARBAGE)
            await writer.drain()
            await close(writer)
        elif behaviour is Behaviour.SILENT:
            while await reader.read(65536):
                pass
            await asyncio.Event().wait()  # until the censor ends: not even the client's end is answered
        # EOF: returning closes


async def _flight(reader: asyncio.StreamReader) -> bytes:
    """Reads the client's first bytes: a whole TLS record, an HTTP head, or all bytes until the end."""
    data = b""
    while len(data) < 65536 and not _whole(data):
        piece = await reader.read(65536)
        if not piece:
            break
        data += piece
    return data


def _whole(data: bytes) -> bool:
    if data[:1] == b"\x16":
        return len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5])
    return b"\r\n\r\n" in data


def _named(flight: bytes, names: frozenset[str] | None) -> bool:
    """Whether one of the names occurs anywhere in the bytes, which is how censors search."""
    return bool(flight) and (names is None or any(name.encode() in flight.lower() for name in names))
