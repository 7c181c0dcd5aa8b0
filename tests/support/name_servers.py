"""Name servers on loopback with answers of a test's choice: over UDP and TCP, TLS, and HTTPS.

A `Say` returns the answers to a question: any number of messages, made by `reply` or arbitrary bytes. dnspython encodes
and parses messages; h2 implements HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

LOOPBACK = "127.0.0.1"


class Speaks(Enum):
    """The protocols of a server over TLS, which it selects by ALPN (RFC 7301) where that is used."""

    DOT = ()
    HTTP1 = ("http/1.1",)
    HTTP2 = ("h2",)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that arrived."""

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
    """Returns an answer with the addresses of the requested type, after `aliases` in a row."""
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
    """Returns a Say with the same answer to every question."""
    return lambda asked: [reply(asked, *addresses, ttl=ttl, code=code)]


def silent(_: Asked) -> Sequence[bytes]:
    return []


class Http2Peer:
    """The server's side of one HTTP/2 connection."""

    def __init__(self, writer: asyncio.StreamWriter, settings: Mapping[SettingCodes | int, int]) -> None:
        self.http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http2.local_settings.update(settings)
        self.http2.local_settings.acknowledge()
        self.http2.initiate_connection()
        self._writer = writer
        self.resets: list[int] = []  # streams that were reset
        self._answered: set[int] = set()
        self._streams: dict[str, int] = {}  # by the question

    def asked(self, stream: int, message: bytes) -> None:
        self._streams[_question(message)] = stream

    def answer(
        self, stream: int, body: bytes, *, status: str = "200", kind: str = "application/dns-message", end: bool = True
    ) -> None:
        """Sends an answer on `stream`."""
        self.http2.send_headers(stream, [(":status", status), ("content-type", kind)])
        self.http2.send_data(stream, body, end_stream=end)

    def answer_questions(self, stream: int, messages: Sequence[bytes]) -> None:
        """Sends each answer on the stream of its question, once and unless that was reset; on `stream` if it answers no
        question."""
        for message in messages:
            asking = self._streams.get(_question(message), stream)
            if asking not in self._answered and asking not in self.resets:
                self._answered.add(asking)
                self.answer(asking, message)

    def send(self, data: bytes = b"") -> None:
        """Sends the output of h2, then `data` unchanged."""
        self._writer.write(self.http2.data_to_send() + data)


def _question(message: bytes) -> str:
    try:
        return str(dns.message.from_wire(message).question)
    except dns.exception.DNSException:
        return ""


class NameServer:
    """One server on one port. `say` may be changed at any time."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: list[Asked] = []
        self.port = 0
        self.connections = 0
        self.pages: list[bytes] = []  # whole HTTP answers to give in place of DNS ones
        self.heads: list[str] = []  # of HTTP requests
        self.close_after = 0  # answers on a connection, after which it is closed; 0: never
        self.settings: dict[SettingCodes | int, int] = {}  # of HTTP/2, for connections to come
        self.act: Callable[[Http2Peer, int, Sequence[bytes]], None] = Http2Peer.answer_questions
        """Sends the messages of `say` for the question on an HTTP/2 stream."""
        self.peers: list[Http2Peer] = []
        self.pings = 0
        self.reads = asyncio.Event()  # cleared: nothing that comes over HTTP/2 has an effect
        self.reads.set()
        self.push: Callable[[bytes], None] = lambda _: None
        """Sends a datagram to the client of the last question."""
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
        """Serves TCP or TLS, where each message follows its length."""
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

    async def http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves HTTP/2. A client that does not select it is refused."""
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            writer.transport.abort()
            return
        async with self._connection(writer) as number:
            peer = Http2Peer(writer, self.settings)
            self.peers.append(peer)
            messages: dict[int, bytes] = {}
            given = 0
            while not (self.close_after and given >= self.close_after):
                peer.send()
                data = await reader.read(65536)
                await self.reads.wait()
                if not data:
                    return
                events = peer.http2.receive_data(data)
                # h2 has taken all of them in: a stream whose query and reset came in one read is closed already.
                peer.resets += [event.stream_id for event in events if isinstance(event, StreamReset)]
                for event in events:
                    match event:
                        case RequestReceived(stream_id=stream):
                            self.heads.append("\r\n".join(f"{name!s}: {value!s}" for name, value in event.headers))
                            messages[stream] = b""
                        case DataReceived(stream_id=stream):
                            messages[stream] += event.data
                            peer.http2.acknowledge_received_data(event.flow_controlled_length, stream)
                        case StreamEnded(stream_id=stream):
                            peer.asked(stream, messages[stream])
                            answers = self.answers(messages.pop(stream), "https", number)
                            self.act(peer, stream, answers)
                            given += len(answers)
                        case PingReceived():
                            self.pings += 1
            peer.send()

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
async def tls_server(say: Say, context: ssl.SSLContext, speaks: Speaks) -> AsyncIterator[NameServer]:
    """DoT, or DoH by one version of HTTP. `context` is changed."""
    server = NameServer(say)
    context.set_alpn_protocols(speaks.value)
    serve = {Speaks.DOT: server.framed, Speaks.HTTP1: server.http, Speaks.HTTP2: server.http2}[speaks]
    listener = await asyncio.start_server(serve, LOOPBACK, 0, ssl=context)
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
    """Writes the files of /etc for name resolution."""
    lines = [f"nameserver {server}" for server in servers]
    (folder / "resolv.conf").write_text("\n".join([*lines, more, ""]))
    (folder / "hosts").write_text(hosts)
    (folder / "nsswitch.conf").write_text(nsswitch or "passwd: files\nhosts: files dns\n")
    return folder
