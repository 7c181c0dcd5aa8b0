"""An https server for lists whose answers a test sets, good or bad.

    source.answers["/list.txt"] = page(b"blocked.test\n", last_modified=LONG_AGO)
    source.answers["/endless"] = ENDLESS

It presents a certificate for every name, unless it has another context. It keeps the head of every request.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from tests.support.authority import Authority
from tests.support.streams import Connections, shut

LONG_AGO, NEVER = "Tue, 07 Oct 2008 09:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"
"""Values of Last-Modified."""

Answer = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def page(content: bytes, *, status: str = "200 OK", kind: str = "text/plain", **fields: str) -> bytes:
    """An answer with this content. Underscores in the names of `fields` are dashes."""
    named = {"Content-Type": kind, "Content-Length": str(len(content))}
    named |= {name.replace("_", "-").title(): value for name, value in fields.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + content


def redirect(location: str, status: str = "302 Found") -> bytes:
    return f"HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def zipped(content: bytes, **fields: str) -> bytes:
    return page(gzip.compress(content), content_encoding="gzip", **fields)


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a body without an end, until the client leaves."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    line = b"".join(b"site%06d.test\n" % number for number in range(4096))
    while True:
        writer.write(line)
        await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a head and the first byte of a body, then waits until the client leaves."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nb")
    await writer.drain()
    await reader.read(1)


@dataclass
class ListSource:
    """`async with ListSource() as source:` then `source.port`."""

    answers: dict[str, Answer] = field(default_factory=dict)
    authority: Authority = field(default_factory=Authority)
    address: str = "127.0.0.1"
    context: ssl.SSLContext | None = None
    heads: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> ListSource:
        context = self.context or self.authority.server_for_all(lambda _: None, "127.0.0.1")
        self._server = await asyncio.start_server(self._connections, self.address, self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await shut(self._server)
        await self._connections.stop()

    @property
    def connections(self) -> int:
        return self._connections.count

    def fields(self, number: int = -1) -> dict[str, str]:
        """The header fields of one request, by lower-case name."""
        lines = self.heads[number].split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        answer = self.answers.get(head.split(" ")[1], page(b"", status="404 Not Found"))
        if not isinstance(answer, bytes):
            await answer(reader, writer)
            return
        since = parsedate_to_datetime(self.fields().get("if-modified-since", NEVER))
        changed = re.search(rb"\r\nLast-Modified: ([^\r]*)", answer)
        if changed is not None and parsedate_to_datetime(changed[1].decode()) <= since:
            answer = b"HTTP/1.1 304 Not Modified\r\n\r\n"
        writer.write(answer)
        await writer.drain()
