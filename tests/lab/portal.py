"""The provider's own pages: a captive portal that answers for every site, and the page that says "blocked".

Both are plain web servers in the provider's space. A middlebox may hand diverted connections to one as well: it then
answers an HTTP request with a page or a redirect to the page, and TLS with a certificate that is not the site's.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.lab.channel import Buffered, Channel, Plain, Secure, first_flight
from tests.lab.sockets import Address, MakeSocket, listener
from tests.support.streams import Connections, shut

PORTAL_PAGE = b"<!doctype html><title>Guest network</title><form action=/login>Please sign in to go on.</form>"
BLOCK_PAGE = (
    b"<html><head><title>M3-6</title></head><body>"
    b'<iframe src="http://10.10.34.34?type=Invalid Site&policy=MainPolicy" style="width: 100%; height: 100%">'
    b"</iframe></body></html>"
)
"""The answer of Iran's provider in place of a site (Aryan, Aryan, Halderman: Internet Censorship in Iran, FOCI
2013)."""


class Says(Enum):
    PAGE = auto()  # answers 200 with its page
    COME_HERE = auto()  # redirects to its own address


@dataclass
class PageServer:
    """`async with PageServer(make, addresses, page) as server:`"""

    make: MakeSocket
    addresses: tuple[Address, ...]
    page: bytes
    says: Says = Says.PAGE
    location: str = ""  # where COME_HERE leads
    context: ssl.SSLContext | None = None  # what TLS gets; without one it is closed
    asked: list[str] = field(default_factory=list)  # the Host of each request
    bound: list[Address] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._connections = Connections(self.serve)

    async def __aenter__(self) -> PageServer:
        for address in self.addresses:
            sock = listener(self.make, address)
            self.bound.append((sock.getsockname()[0], sock.getsockname()[1]))
            self._servers.append(await asyncio.start_server(self._connections, sock=sock))
        return self

    async def __aexit__(self, *_: object) -> None:
        await shut(*self._servers)
        await self._connections.stop()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ahead, records = await first_flight(reader)
        channel: Channel = Plain(reader, writer, ahead)
        if records:
            if self.context is None:
                return
            channel = secure = Secure(reader, writer, self.context, ahead=ahead)
            await secure.handshake()
        head = (await Buffered(channel).until(b"\r\n\r\n")).decode("latin-1")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))
        }
        host = fields.get("host", "").partition(":")[0].lower()
        self.asked.append(host)
        away = self.says is Says.COME_HERE and host not in self.location
        status = (
            f"302 Found\r\nLocation: {self.location}" if away else "200 OK\r\nContent-Type: text/html; charset=utf-8"
        )
        body = b"" if away else self.page
        await channel.send(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        await channel.end()
