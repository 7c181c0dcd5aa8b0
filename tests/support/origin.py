"""A web server on loopback that records its requests.

    /page/30           a page that loads 30 pictures, and says on itself how many a browser could show; ?hosts=a:1,b:2
                       spreads them over hosts
    /part/7            one of them
    /bytes/5000000     that many bytes of `pattern`
    /hold              answers once `origin.release` is set
    /close             answers and closes
    anything else      a line that names the host; a body that is sent is counted, and its SHA-256 is the answer

Every request is recorded with the peer's address, so a test can tell by which route it came.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.authority import Authority
from tests.support.streams import Connections, shut

PICTURE = bytes.fromhex(  # a GIF of one pixel
    "47494638396101000100800000ffffff00000021f90400000000002c00000000010001000002024401003b"
)
_COUNT = """<script>
addEventListener("load", () => {
    document.body.dataset.shown = Array.from(document.images).filter(picture => picture.naturalWidth).length
})
</script>"""
_PRIME = bytes(range(251))
_HEAD_LIMIT = 256 * 1024


def pattern(size: int) -> bytes:
    """Returns the bytes of /bytes/N. Their period is a prime, so a lost, doubled or shifted block shows."""
    return (_PRIME * (size // len(_PRIME) + 1))[:size]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request that arrived."""

    method: str
    target: str
    host: str
    headers: tuple[tuple[str, str], ...]
    peer: str  # the address it came from
    body: bytes
    secure: bool


@dataclass
class Origin:
    """`async with Origin() as origin:` serves HTTP and HTTPS on the addresses, each with the same two ports."""

    authority: Authority = field(default_factory=Authority)
    addresses: tuple[str, ...] = ("127.0.0.1",)
    requests: list[Recorded] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)  # of each TLS handshake, in order
    release: asyncio.Event = field(default_factory=asyncio.Event)
    http_port: int = 0
    https_port: int = 0
    _servers: list[asyncio.Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> Origin:
        secure = self.authority.server_for_all(self.server_names.append, *self.addresses)
        self.http_port = await self._listen(None)
        self.https_port = await self._listen(secure)
        return self

    async def __aexit__(self, *_: object) -> None:
        await shut(*self._servers)
        await self._connections.stop()

    @property
    def connections(self) -> int:
        return self._connections.count

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.requests)

    def targets(self, host: str = "") -> list[str]:
        """Returns the targets of the requests, in order; with `host`, only those of one host."""
        return [request.target for request in self.requests if host in ("", request.host.rsplit(":", 1)[0])]

    async def _listen(self, context: ssl.SSLContext | None) -> int:
        for _ in range(50):  # the free port of one address may be taken on another
            sockets = list[socket.socket]()
            port = 0
            try:
                for address in self.addresses:
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    sockets.append(sock := socket.create_server((address, port), family=family, backlog=512))
                    port = sock.getsockname()[1]
            except OSError:
                for sock in sockets:
                    sock.close()
                continue
            for sock in sockets:
                self._servers.append(
                    await asyncio.start_server(self._connections, sock=sock, ssl=context, limit=_HEAD_LIMIT)
                )
            return port
        raise OSError(f"no port is free on all of {self.addresses}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._answer(reader, writer):
            pass

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request. Returns whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        method, target, version = first.split(" ")
        headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        fields = dict(headers)
        if fields.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b"".join([piece async for piece in _body(reader, fields)])
        peer = str(writer.get_extra_info("peername")[0])
        secure = writer.get_extra_info("ssl_object") is not None
        self.requests.append(Recorded(method, target, fields.get("host", ""), headers, peer, body, secure))
        keep = version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
        return await self._reply(writer, self.requests[-1], keep=keep)

    async def _reply(self, writer: asyncio.StreamWriter, request: Recorded, *, keep: bool) -> bool:
        url = urlsplit(request.target)
        _, kind, *rest = url.path.split("/")
        number = int(rest[0]) if rest and rest[0].isdigit() else 0
        if kind == "hold":
            await self.release.wait()
        content_type = {"page": "text/html", "part": "image/gif"}.get(kind, "text/plain")
        content = _content(kind, number, request)
        keep = keep and kind != "close"
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
        )
        if request.method != "HEAD":
            writer.write(content)
        await writer.drain()
        return keep


def page_of_pictures(target: str, title: str) -> bytes:
    """Returns /page/N?hosts=…"""
    url = urlsplit(target)
    hosts = parse_qs(url.query).get("hosts", [""])[0]
    where = [f"//{host}" for host in hosts.split(",")] if hosts else [""]
    pictures = (f'<img src="{where[n % len(where)]}/part/{n}">' for n in range(int(url.path.removeprefix("/page/"))))
    return f"<!doctype html><title>{title}</title>{''.join(pictures)}{_COUNT}".encode()


def _content(kind: str, number: int, request: Recorded) -> bytes:
    if kind == "page":
        return page_of_pictures(request.target, request.host)
    if kind == "part":
        return PICTURE
    if kind == "bytes":
        return pattern(number)
    if request.body:
        return f"{len(request.body)} bytes {hashlib.sha256(request.body).hexdigest()}\n".encode()
    return f"{request.host} says hello\n".encode()


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> AsyncIterator[bytes]:
    if fields.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    elif length := int(fields.get("content-length", "0")):
        yield await reader.readexactly(length)
