"""Name servers on loopback that say what a test wants: over UDP and TCP, over TLS, and over HTTPS.

What is said to a question is the business of a `Say`: any number of messages, made by `reply` or wholly made up.
dnspython writes and reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it came."""

    name: str
    kind: str  # A, AAAA
    over: str  # udp, tcp, tls, https
    message: dns.message.Message
    size: int
    connection: int = 0  # counted from 1; 0: no connection


Say = Callable[[Asked], Sequence[bytes]]


def reply(
    asked: Asked,
    *addresses: str,
    ttl: int = 60,
    code: str = "NOERROR",
    aliases: Sequence[str] = (),
    number: int | None = None,
    name: str = "",
    truncated: bool = False,
) -> bytes:
    """An answer with those of the addresses that are of the kind asked for, behind `aliases` in a row."""
    message = dns.message.make_response(asked.message)
    message.set_rcode(dns.rcode.from_text(code))
    owner = f"{name or asked.name}."
    for alias in aliases:
        message.answer.append(dns.rrset.from_text(owner, ttl, "IN", "CNAME", f"{alias}."))
        owner = f"{alias}."
    fitting = [address for address in addresses if (":" in address) is (asked.kind == "AAAA")]
    if fitting and asked.kind in ("A", "AAAA"):
        message.answer.append(dns.rrset.from_text(owner, ttl, "IN", asked.kind, *fitting))
    if truncated:
        message.flags |= dns.flags.TC
    if number is not None:
        message.id = number
    return message.to_wire(max_size=65535)


def saying(*addresses: str, ttl: int = 60, code: str = "NOERROR") -> Say:
    """The same answer to everything."""
    return lambda asked: [reply(asked, *addresses, ttl=ttl, code=code)]


def silent(_: Asked) -> Sequence[bytes]:
    return []


class NameServer:
    """One server, on one port for what it speaks. `say` may be changed at any time."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: list[Asked] = []
        self.port = 0
        self.connections = 0
        self.pages: list[bytes] = []  # whole HTTP answers to give in place of DNS ones
        self.heads: list[str] = []  # of HTTP requests
        self.close_after = 0  # answers on a connection, after which it is closed; 0: never
        self.push: Callable[[bytes], None] = lambda _: None
        """Sends a datagram to whoever asked last."""
        self._writers: set[asyncio.StreamWriter] = set()

    def names(self) -> list[str]:
        return [asked.name for asked in self.asked]

    def answers(self, data: bytes, over: str, connection: int = 0) -> Sequence[bytes]:
        message = dns.message.from_wire(data)
        (question,) = message.question
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text().removesuffix(".")
        asked = Asked(name, kind, over, message, len(data), connection)
        self.asked.append(asked)
        return self.say(asked)

    def drop_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def framed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """TCP, and TLS: each message behind its length."""
        over = "tcp" if writer.get_extra_info("ssl_object") is None else "tls"
        async with self._connection(writer) as number:
            given = 0
            while not (self.close_after and given >= self.close_after):
                size = int.from_bytes(await reader.readexactly(2), "big")
                for answer in self.answers(await reader.readexactly(size), over, number):
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    given += 1

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._connection(writer) as number:
            given = 0
            while not (self.close_after and given >= self.close_after):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
                message = await reader.readexactly(int(length.partition(":")[2]))
                for answer in self.answers(message, "https", number):
                    writer.write(self.pages.pop(0) if self.pages else page(answer))
                    given += 1

    @contextlib.asynccontextmanager
    async def _connection(self, writer: asyncio.StreamWriter) -> AsyncIterator[int]:
        self.connections += 1
        self._writers.add(writer)
        try:
            yield self.connections
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


def page(body: bytes, *, status: str = "200 OK", kind: str = "application/dns-message", more: str = "") -> bytes:
    """An HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@contextlib.asynccontextmanager
async def plain_server(say: Say, *, address: str = LOOPBACK, port: int = 0) -> AsyncIterator[NameServer]:
    """UDP and TCP on the same port."""
    server = NameServer(say)

    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            server.push = lambda answer: self.transport.sendto(answer, addr)
            for answer in server.answers(data, "udp"):
                server.push(answer)

    listener = await asyncio.start_server(server.framed, address, port)
    server.port = listener.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, local_addr=(address, server.port)
    )
    try:
        yield server
    finally:
        transport.close()
        await _end(server, listener)


@contextlib.asynccontextmanager
async def tls_server(say: Say, context: ssl.SSLContext, *, http: bool) -> AsyncIterator[NameServer]:
    """DoT, or DoH."""
    server = NameServer(say)
    listener = await asyncio.start_server(server.http if http else server.framed, LOOPBACK, 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await _end(server, listener)


async def _end(server: NameServer, listener: asyncio.Server) -> None:
    listener.close()
    server.drop_connections()
    await listener.wait_closed()


def machine_files(folder: Path, *servers: str, more: str = "", hosts: str = "", nsswitch: str = "") -> Path:
    """What /etc holds of resolving."""
    lines = [f"nameserver {server}" for server in servers]
    (folder / "resolv.conf").write_text("\n".join([*lines, more, ""]))
    (folder / "hosts").write_text(hosts)
    (folder / "nsswitch.conf").write_text(nsswitch or "passwd: files\nhosts: files dns\n")
    return folder
