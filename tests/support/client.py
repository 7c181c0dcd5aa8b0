"""A client that sends exactly one request, through a proxy or direct, and reads the whole answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.streams import close

_LIMIT_S = 30.0

Dial = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. `tunnel`: a CONNECT was granted; if not, the answer is the proxy's own."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    elapsed_s: float
    tunnel: bool = False


async def fetch(
    url: str,
    *,
    via: tuple[str, int] | None = None,
    trust: ssl.SSLContext | None = None,
    method: str = "GET",
    body: bytes = b"",
    headers: Sequence[tuple[str, str]] = (),
    dial: Dial = asyncio.open_connection,
    limit_s: float | None = _LIMIT_S,
) -> Fetched:
    """Fetches `url` on a new connection: CONNECT for https, absolute-form for http, direct without `via`. `dial` opens
    the connection, for example in another network. Raises OSError, or asyncio.IncompleteReadError when the answer
    breaks off; TimeoutError after `limit_s`."""
    started = time.monotonic()
    target = urlsplit(url)
    secure = target.scheme == "https"
    assert target.hostname is not None
    port = target.port or (443 if secure else 80)
    async with asyncio.timeout(limit_s), _connection(dial, *(via or (target.hostname, port))) as (reader, writer):
        if via and secure:
            place = f"[{target.hostname}]:{port}" if ":" in target.hostname else f"{target.hostname}:{port}"
            writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            granted, told = await _head(reader)
            if granted != 200:
                return Fetched(granted, told, await _body(reader, told, method), time.monotonic() - started)
        if secure:
            await writer.start_tls(trust or ssl.create_default_context(), server_hostname=target.hostname)
        path = f"{target.path or '/'}{'?' + target.query if target.query else ''}"
        asked = url if via and not secure else path
        fields = [("Host", target.netloc), ("Connection", "close"), *headers]
        if body:
            fields.append(("Content-Length", str(len(body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        writer.write(f"{method} {asked} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        status, told = await _head(reader)
        content = await _body(reader, told, method)
        return Fetched(status, told, content, time.monotonic() - started, tunnel=bool(via and secure))


@contextlib.asynccontextmanager
async def _connection(
    dial: Dial, host: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yields a connection that is closed at the end. After a failure it is broken off without waiting: an unfinished
    TLS handshake never reports that it is closed."""
    reader, writer = await dial(host, port)
    try:
        yield reader, writer
    except BaseException:
        writer.transport.abort()
        raise
    await close(writer)


async def fetch_in_tunnel(where: str, *, via: tuple[str, int], dial: Dial = asyncio.open_connection) -> Fetched:
    """Fetches by plain HTTP within a CONNECT, as browsers speak WebSocket and some clients everything. `where` is
    `host:port/path`."""
    authority, _, path = where.partition("/")
    started = time.monotonic()
    async with tunnel(authority, via, dial=dial) as (reader, writer):
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    return Fetched(int(head.split(b" ")[1]), (), body, time.monotonic() - started, tunnel=True)


@contextlib.asynccontextmanager
async def tunnel(
    authority: str, via: tuple[str, int], *, dial: Dial = asyncio.open_connection
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yields a tunnel that was granted. Fails when it was not."""
    async with asyncio.timeout(_LIMIT_S):
        reader, writer = await dial(*via)
        try:
            writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split(b" ")[1] == b"200", head
            yield reader, writer
        finally:
            await close(writer)


async def _head(reader: asyncio.StreamReader) -> tuple[int, tuple[tuple[str, str], ...]]:
    while True:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")[:-4].split("\r\n")
        status = int(first.split(" ")[1])
        if status >= 200 or status == 101:
            return status, tuple((n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines))


async def _body(reader: asyncio.StreamReader, headers: tuple[tuple[str, str], ...], method: str) -> bytes:
    fields = dict(headers)
    if method == "HEAD":
        return b""
    if fields.get("transfer-encoding") == "chunked":
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        return b"".join(pieces)
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    return await reader.read()
