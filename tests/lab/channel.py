"""Two ways to speak over one pair of streams, plain and TLS; the first bytes decide between them.

TLS of asyncio needs the first byte itself. A server here looks at the first bytes before: whether they are a
ClientHello at all, and in how many records it comes. So this module does TLS over memory buffers, which takes little
code.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Protocol

from tests.support.streams import reset

_CHUNK = 65536
HEAD_LIMIT = 64 * 1024
HELLO_LIMIT = 64 * 1024
_HANDSHAKE = 22


class Channel(Protocol):
    """A server speaks over it. Both methods raise OSError, or asyncio.IncompleteReadError when the other side breaks
    off."""

    async def receive(self) -> bytes:
        """Returns some bytes, or none at the end."""
        ...

    async def send(self, data: bytes) -> None: ...

    async def end(self) -> None:
        """Ends the sending: nothing more follows."""
        ...


class Plain:
    """The streams without TLS, beginning with the bytes that were read ahead."""

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
    """TLS over the streams. The caller does `await handshake()` first, which raises ssl.SSLError, an OSError."""

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

    def put(self, data: bytes) -> None:
        """Sends without waiting. The caller awaits `drain` now and then."""
        self.object.write(data)
        self._writer.write(self._out.read())

    async def drain(self) -> None:
        await self._writer.drain()

    def cut(self) -> None:
        reset(self._writer)

    async def end(self) -> None:
        """Sends close_notify and ends the connection: clients do not expect half-closed TLS."""
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
        """Returns the bytes up to and including the mark, at most `HEAD_LIMIT`. Raises asyncio.IncompleteReadError at
        the end."""
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
        """Returns the bytes that are buffered, or those that arrive next; empty at the end."""
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
    """Returns the client's first bytes, and the number of TLS records in which its ClientHello came; 0 when they are no
    ClientHello. Reads no further than the end of the hello, and at most `HELLO_LIMIT`. Raises
    asyncio.IncompleteReadError."""
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
    """Returns the number of records that carry the handshake message at the start of `data`; 0: this is no TLS; None:
    more bytes are needed."""
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
    """Returns the name that a whole ClientHello asks for; empty when it asks for none. OpenSSL reads the hello, and its
    answer is discarded."""
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
