"""A censor on loopback: it listens at the address that leads to an origin, and behaves like a censor.

It has its own address (127.0.0.2) and the origin's port; a relay under test knows the origin's true address. Its
behaviour can change while it runs; `lift` ends it. Where the behaviour depends on the name, a flight without one of
`names` passes. DROP, and behaviours of the connection itself, cannot see the name and affect all flights.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
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
    ALERT = auto()  # answers with a TLS alert, as a server does that knows no such name
    SILENT = auto()  # acknowledges and never answers
    DROP = auto()  # the connection opens, no byte is ever acknowledged
    REFUSE = auto()  # nothing listens
    FULL = auto()  # the accept queue is full: a SYN stays unanswered


_ANSWERS = {
    Behaviour.GARBAGE: b"\x00\x00\x00 neither a ServerHello nor a status line \x00",
    # record: alert, TLS 1.2, 2 bytes: fatal, unrecognized_name (RFC 6066, section 3)
    Behaviour.ALERT: b"\x15\x03\x03\x00\x02\x02\x70",
}
GARBAGE, ALERT = _ANSWERS[Behaviour.GARBAGE], _ANSWERS[Behaviour.ALERT]


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
    _listener: socket.socket | None = None
    _fillers: list[socket.socket] = field(default_factory=list)

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

    async def lift(self) -> None:
        await self.set(Behaviour.PASS)

    async def _open(self) -> None:
        if self.behaviour is Behaviour.REFUSE:
            return
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        backlog = 0 if self.behaviour is Behaviour.FULL else 256
        listener = socket.create_server((self.address, self.port), family=family, backlog=backlog)
        self._listener = listener  # closed on leaving, whatever fails until it serves
        if self.behaviour is Behaviour.FULL:
            self._fill(listener)
            return
        if self.behaviour is Behaviour.DROP:
            drop_data(listener)
        self._listener = None
        self._server = await asyncio.start_server(self._connections, sock=listener)

    async def _shut(self) -> None:
        if self._server is not None:
            await shut(self._server)
            self._server = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def _fill(self, listener: socket.socket) -> None:
        """Connects until the queue is full. A connection over loopback opens at once or never."""
        for _ in range(8):
            filler = socket.socket(listener.family)
            filler.setblocking(False)
            self._fillers.append(filler)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
            if not _connected(filler):
                return
        raise OSError(errno.EIO, "the accept queue does not fill")

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
        elif behaviour in _ANSWERS:
            writer.write(_ANSWERS[behaviour])
            await writer.drain()
            await close(writer)
        elif behaviour is Behaviour.SILENT:
            while await reader.read(65536):
                pass
            await asyncio.Event().wait()  # until the censor ends: not even the client's end is answered
        # EOF: returning closes


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


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
