"""Relays abroad: SOCKS4, SOCKS5 and HTTP CONNECT, also within TLS; the first byte decides. They have the true addresses
of names.

They connect from their own address, so an origin can identify the relay. One of them may itself stand in a country that
censors: it then serves a block page in place of the site. This module uses no product code.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.lab.channel import Buffered, Channel, Plain, Secure
from tests.lab.name_servers import Addresses, View
from tests.lab.sockets import Address, MakeSocket, connect, listener
from tests.support.http2_relay import Link
from tests.support.streams import Connections, close, shut

CONNECT_S = 6.0
_GRANTED, _FAILED, _NO_HOST = 0, 4, 4
PAGE = (
    b"<html><title>Blocked</title><body>Sorry. Access to this website has been disabled because the Ministry of "
    b"Digital Economic and Society has found some unsuitable content.</body></html>"
)
"""The answer of providers in Thailand (Citizen Lab, filtering-annotations)."""


class Manner(Enum):
    HONEST = auto()
    BLOCK_PAGE = auto()  # answers plain HTTP with a block page of its own, and TLS with a close
    DEAF = auto()  # takes connections and never answers


@dataclass
class Relay:
    """`async with Relay(make, view, address) as relay:`; with `secure` it speaks within TLS."""

    make: MakeSocket
    view: View
    address: Address
    source: str = ""  # the address it connects from; empty: any of its network
    secure: ssl.SSLContext | None = None
    manner: Manner = Manner.HONEST
    refuses: Callable[[str], bool] = lambda host: False  # hosts that its provider does not let it reach
    silent: Callable[[str], bool] = lambda host: False  # hosts that do not answer it: nor does it then
    http2: bool = False  # with `secure`: whether it speaks HTTP/2 to clients that select it
    late_s: float = 0.0  # how long it takes to open a path, as a slow circuit does
    greets_after_s: float = 0.0  # how long it takes to say anything at all
    asked: list[str] = field(default_factory=list)  # host:port of every request, in order
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> Relay:
        await self.revive()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def revive(self) -> None:
        """Listens, on its earlier port if there was one."""
        if self.http2 and self.secure is not None:
            self.secure.set_alpn_protocols(["h2", "http/1.1"])
        sock = listener(self.make, self.address)
        self.address = (sock.getsockname()[0], sock.getsockname()[1])
        self._server = await asyncio.start_server(self._connections, sock=sock)

    async def stop(self) -> None:
        """Refuses all later connections, and breaks off the open ones."""
        if self._server is not None:
            await shut(self._server)
            self._server = None
        await self._connections.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.greets_after_s)
        channel: Channel = Plain(reader, writer)
        if self.secure is not None:
            channel = secure = Secure(reader, writer, self.secure)
            await secure.handshake()
            if secure.object.selected_alpn_protocol() == "h2":
                await self._serve_http2(secure)
                return
        data = Buffered(channel)
        if self.manner is Manner.DEAF:
            await asyncio.Event().wait()
        first = await data.exactly(1)
        if first == b"\x16":  # TLS: SOCKS servers close for another version
            return
        if first == b"\x05":
            host, port, replies = await self._socks5(data, channel)
        else:
            host, port, replies = await (self._socks4(data) if first == b"\x04" else self._connect(first, data))
        self.asked.append(f"{host}:{port}")
        if self.manner is Manner.BLOCK_PAGE:
            await channel.send(replies[0])
            await self._show_page(data, channel)
            return
        if self.silent(host):
            await asyncio.Event().wait()
        await asyncio.sleep(self.late_s)
        opened = await self._open(host, port)
        granted, failed = replies
        if opened is None:
            await channel.send(failed)
        else:
            await self._carry(data, channel, *opened, granted)

    async def _serve_http2(self, secure: Secure) -> None:
        def answer(target: str, fields: Mapping[str, str]) -> str | None:
            self.asked.append(target)
            return None if self.silent(target.rpartition(":")[0]) else "200"

        async def connected(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            host, _, port = target.rpartition(":")
            await asyncio.sleep(self.late_s)
            opened = await self._open(host.strip("[]"), int(port))
            if opened is None:
                raise OSError("not reached")
            return opened

        link = Link(secure, answer, connected)
        try:
            await link.run()
        finally:
            await link.close()

    async def _carry(
        self,
        data: Buffered,
        channel: Channel,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        granted: bytes,
    ) -> None:
        far = Plain(reader, writer)
        try:
            await channel.send(granted)  # who asked may have left meanwhile
            await copy_both_ways(data, channel, Buffered(far), far)
        except OSError:
            writer.transport.abort()
            raise
        finally:
            await close(writer)

    async def _open(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for address in () if self.refuses(host) else self._addresses(host):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    source = self.source if ":" not in address else ""
                    return await connect(self.make, (address, port), source=source)
        return None

    def _addresses(self, host: str) -> tuple[str, ...]:
        with contextlib.suppress(ValueError):
            return (str(ipaddress.ip_address(host)),)
        found = self.view(host.lower())
        return (*found.four, *found.six) if isinstance(found, Addresses) else ()

    async def _socks5(self, data: Buffered, channel: Channel) -> tuple[str, int, tuple[bytes, bytes]]:
        await data.exactly((await data.exactly(1))[0])
        await channel.send(b"\x05\x00")
        kind = (await data.exactly(4))[3]
        if kind == 3:
            host = (await data.exactly((await data.exactly(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await data.exactly(4 if kind == 1 else 16)))
        (port,) = struct.unpack("!H", await data.exactly(2))
        return host, port, (_socks5_reply(_GRANTED), _socks5_reply(_FAILED))

    async def _socks4(self, data: Buffered) -> tuple[str, int, tuple[bytes, bytes]]:
        """SOCKS4A as well: an address of 0.0.0.x stands for a name behind the user."""
        _, port, address = struct.unpack("!BH4s", await data.exactly(7))
        await data.until(b"\0")
        host = str(ipaddress.ip_address(address))
        if host.startswith("0.0.0."):
            host = (await data.until(b"\0")).rstrip(b"\0").decode()
        return host, port, (bytes((0, 90, *[0] * 6)), bytes((0, 91, *[0] * 6)))

    async def _connect(self, first: bytes, data: Buffered) -> tuple[str, int, tuple[bytes, bytes]]:
        head = (first + await data.until(b"\r\n\r\n")).decode("latin-1")
        _, target, _ = head.split("\r\n", 1)[0].split(" ")
        host, _, port = target.rpartition(":")
        refused = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        return host.strip("[]"), int(port), (b"HTTP/1.1 200 Connection established\r\n\r\n", refused)

    async def _show_page(self, data: Buffered, channel: Channel) -> None:
        first = await data.exactly(1)
        if first != b"\x16":  # TLS is only closed: nobody could read the page
            await data.until(b"\r\n\r\n")
            await channel.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (len(PAGE), PAGE)
            )


def _socks5_reply(code: int) -> bytes:
    return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))


async def copy_both_ways(near: Buffered, to_near: Channel, far: Buffered, to_far: Channel) -> None:
    """Copies until both sides have ended. Raises OSError when one of them breaks off, so that the caller breaks off
    both."""

    async def copy(source: Buffered, target: Channel) -> None:
        while data := await source.some():
            await target.send(data)
        await target.end()

    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(copy(near, to_far))
            both.create_task(copy(far, to_near))
    except* (OSError, asyncio.IncompleteReadError):
        raise OSError("one side broke off") from None
