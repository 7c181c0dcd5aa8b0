"""Two ways to talk over one pair of streams, plain and TLS, told apart after the first bytes were read.

asyncio's own TLS must have the first byte. A server here wants to look first: whether this is a ClientHello at all,
and in how many records it comes. So TLS is done over memory buffers, which is short.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Protocol

_CHUNK = 65536
HEAD_LIMIT = 64 * 1024
HELLO_LIMIT = 64 * 1024
_HANDSHAKE = 22


class Channel(Protocol):
    """What a server talks over. Both raise OSError, or asyncio.IncompleteReadError when the other side breaks off."""

    async def receive(self) -> bytes:
        """Some bytes, or none at the end."""
        ...

    async def send(self, data: bytes) -> None: ...

    async def end(self) -> None:
        """Nothing more will be sent."""
        ...


class Plain:
    """The streams as they are, with the bytes that were read ahead first."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ahead: bytes = b"") -> None:
        self._reader = reader
        self._writer = writer
        self._ahead = ahead

    async def receive(self) -> bytes:
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        return await self._reader.read(_CHUNK)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        if self._writer.can_write_eof():
            self._writer.write_eof()


class Secure:
    """TLS over the streams. `await handshake()` comes first, and raises ssl.SSLError, an OSError."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
        *,
        ahead: bytes = b"",
        server_name: str | None = None,
        server_side: bool = True,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.object = context.wrap_bio(self._in, self._out, server_side=server_side, server_hostname=server_name)
        self._in.write(ahead)

    async def handshake(self) -> None:
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                await self._more()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return

    async def receive(self) -> bytes:
        while True:
            try:
                return self.object.read(_CHUNK)
            except ssl.SSLWantReadError:
                await self._more()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.object.write(view[:_CHUNK]) :]
            await self._flush()

    async def end(self) -> None:
        """Says close_notify, and ends the connection: half-closed TLS is nothing that clients expect."""
        with contextlib.suppress(ssl.SSLError):
            self.object.unwrap()
        await self._flush()
        self._writer.close()

    async def _more(self) -> None:
        await self._flush()
        data = await self._reader.read(_CHUNK)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        if data := self._out.read():
            self._writer.write(data)
            await self._writer.drain()


class Buffered:
    """Reads a channel up to a mark or a length."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._data = bytearray()

    async def until(self, mark: bytes) -> bytes:
        """With the mark; at most `HEAD_LIMIT` bytes. Raises asyncio.IncompleteReadError at the end."""
        while (place := self._data.find(mark)) < 0:
            if len(self._data) > HEAD_LIMIT:
                raise asyncio.LimitOverrunError("no end of the head", len(self._data))
            await self._more(len(mark))
        return self._take(place + len(mark))

    async def exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            await self._more(count)
        return self._take(count)

    async def some(self) -> bytes:
        """What is there, or comes next; nothing at the end."""
        return self._take(len(self._data)) if self._data else await self._channel.receive()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    async def _more(self, wanted: int) -> None:
        data = await self._channel.receive()
        if not data:
            raise asyncio.IncompleteReadError(bytes(self._data), wanted)
        self._data += data


async def first_flight(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """The client's first bytes, and in how many TLS records its ClientHello came; 0 when it is none. Reads no further
    than the hello's end, and `HELLO_LIMIT` at most. Raises asyncio.IncompleteReadError."""
    data = b""
    while True:
        records = hello_records(data)
        if records is not None:
            return data, records
        if len(data) > HELLO_LIMIT:
            raise asyncio.LimitOverrunError("no end of the hello", len(data))
        more = await reader.read(_CHUNK)
        if not more:
            raise asyncio.IncompleteReadError(data, None)
        data += more


def hello_records(data: bytes) -> int | None:
    """In how many records the handshake message at the start of `data` lies; 0: no TLS; None: more is needed."""
    if not data:
        return None
    records = place = 0
    message = b""
    while place < len(data):
        if data[place] != _HANDSHAKE:
            return 0
        if len(data) < place + 5:
            return None
        end = place + 5 + int.from_bytes(data[place + 3 : place + 5])
        message += data[place + 5 : end]
        records += 1
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4]):
            return records
        place = end
    return None


def server_name(hello: bytes) -> str:
    """The name that a whole ClientHello asks for; empty when it asks for none. OpenSSL reads it, and is not heard."""
    names: list[str] = []

    def choose(_: ssl.SSLSocket | ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int:
        names.append(name or "")
        return ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME  # enough was seen

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = choose
    received = ssl.MemoryBIO()
    received.write(hello)
    with contextlib.suppress(ssl.SSLError):
        context.wrap_bio(received, ssl.MemoryBIO(), server_side=True).do_handshake()
    return names[0].lower() if names else ""
