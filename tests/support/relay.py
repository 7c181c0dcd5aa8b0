"""A relay on loopback for SOCKS5, SOCKS4a and HTTP CONNECT, recognized by the first byte, also within TLS.

It has its own map of names, so a name that the machine cannot resolve opens only through it. It connects from its own
address, by which the origin recognizes it. It uses no product code.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.sockets import listener_alone
from tests.support.streams import Connections, shut, splice


class Refused(Exception):
    """The relay refuses: no such name, or wrong credentials."""


@dataclass
class Relay:
    """`async with Relay({"blocked.test": "127.0.0.1"}) as relay:` then `relay.port`."""

    names: Mapping[str, str]
    address: str = "127.0.0.9"
    user: str = ""
    password: str = ""
    secure: ssl.SSLContext | None = None
    port: int = 0
    asked: list[str] = field(default_factory=list)  # host:port of every request, in order
    _server: asyncio.Server | None = None
    _holder: socket.socket | None = None

    def __post_init__(self) -> None:
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> Relay:
        await self.revive()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    @property
    def connections(self) -> int:
        return self._connections.count

    async def revive(self) -> None:
        """Listens again, on the same port if it had one."""
        if self.address == "127.0.0.1" or self._holder is not None:
            sock = socket.create_server((self.address, self.port), backlog=512)
        else:
            sock, self._holder = listener_alone(self.address, self.port)
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._connections, sock=sock, ssl=self.secure)

    async def stop(self) -> None:
        """Refuses connections from now on, and breaks off open ones."""
        if self._server is not None:
            await shut(self._server)
            self._server = None
        await self._connections.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        speak = {b"\x05": self._socks5, b"\x04": self._socks4}.get(first, self._connect)
        granted = refused = b""
        try:
            host, port, granted, refused = await speak(first, reader, writer)
            self.asked.append(f"{host}:{port}")
            address = self._address(host)
        except Refused as refusal:
            writer.write(refused or str(refusal).encode("latin-1"))
            return
        try:
            await splice(reader, writer, address, port, source=self.address, granted=granted)
        except ConnectionRefusedError:
            writer.write(refused)

    def _address(self, host: str) -> str:
        if host in self.names:
            return self.names[host]
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise Refused from None

    async def _socks5(
        self, _: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int, bytes, bytes]:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        method = 2 if self.user else 0
        if method not in methods:
            raise Refused("\x05\xff")
        writer.write(bytes((5, method)))
        if self.user:
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            if (user.decode(), password.decode()) != (self.user, self.password):
                raise Refused("\x01\x01")
            writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        return host, port, _socks5_reply(0), _socks5_reply(4)

    async def _socks4(
        self, _: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int, bytes, bytes]:
        _command, port, address = struct.unpack("!BH4s", await reader.readexactly(7))
        await reader.readuntil(b"\x00")
        named = address[:3] == b"\0\0\0" and address[3] != 0
        host = (await reader.readuntil(b"\x00"))[:-1].decode() if named else str(ipaddress.ip_address(address))
        return host, port, b"\x00\x5a" + bytes(6), b"\x00\x5b" + bytes(6)

    async def _connect(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int, bytes, bytes]:
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if self.user:
            fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head.split("\r\n"))}
            scheme, _, token = fields.get("proxy-authorization", "").partition(" ")
            right = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            if (scheme.lower(), token) != ("basic", right):
                raise Refused("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        method, target, _version = head.split("\r\n", 1)[0].split(" ")
        if method != "CONNECT":
            raise Refused("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        host, _, port = target.rpartition(":")
        granted = b"HTTP/1.1 200 Connection established\r\n\r\n"
        return host.strip("[]"), int(port), granted, b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


def _socks5_reply(code: int) -> bytes:
    return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))
