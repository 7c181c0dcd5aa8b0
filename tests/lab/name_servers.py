"""The lab's DNS: one zone of truth, and servers that answer with it or with something else, over UDP, TCP, TLS and
HTTPS.

A `View` gives the answers of one server: the truth, another set of addresses (a CDN by region), a lie of the
provider's, DNS64. dnspython builds and parses the messages, and h2 does HTTP/2. Every question is remembered with its
way and its client.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import cast
from urllib.parse import parse_qs, urlsplit

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from tests.lab.channel import Buffered, Channel, Plain, Secure
from tests.lab.places import NAT64
from tests.lab.sockets import Address, MakeSocket, datagram, listener
from tests.support.streams import Connections

_TTL_S = 60
_LENGTH = struct.Struct("!H")


class Said(Enum):
    """Answers that are not addresses."""

    NO_SUCH_NAME = "NXDOMAIN"
    FAILED = "SERVFAIL"
    REFUSED = "REFUSED"
    NOTHING = "silence"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a name. A name without addresses exists and has no records."""

    four: tuple[str, ...] = ()
    six: tuple[str, ...] = ()


Answer = Addresses | Said
View = Callable[[str], Answer]
"""Returns a server's answer for a name, which is in lower case and without the last dot."""


@dataclass(frozen=True, slots=True)
class Question:
    """One query as it arrived."""

    name: str
    kind: str  # A, AAAA, HTTPS, …
    over: str  # udp, tcp, tls, https (HTTP/1.1), h2
    asker: str


@dataclass
class Zone:
    """The truth: names, each with all names below it, and their addresses."""

    names: dict[str, Answer] = field(default_factory=dict)
    regions: dict[str, Answer] = field(default_factory=dict)
    """The answers that the site gives to the provider's own resolver: a CDN's servers for the provider's customers."""

    def truth(self, name: str) -> Answer:
        return _closest(self.names, name)

    def nearby(self, name: str) -> Answer:
        """Returns the answer of an honest resolver of the provider's."""
        found = _closest(self.regions, name)
        return self.truth(name) if found is Said.NO_SUCH_NAME else found


@dataclass
class Provider:
    """The view of the provider's resolver: the truth, except for its lies and for the changes that its network makes to
    all names."""

    zone: Zone
    lies: dict[str, Answer] = field(default_factory=dict)
    everything: Answer | None = None  # a captive portal's address, or silence: what all names get
    fake: str = ""  # a prefix out of which each name gets an address of its own, as another proxy's DNS does
    six_from_four: bool = False  # DNS64

    def __call__(self, name: str) -> Answer:
        if self.everything is not None:
            return self.everything
        lie = _closest(self.lies, name)
        if lie is not Said.NO_SUCH_NAME or _covers(self.lies, name):
            return lie
        found = self.zone.nearby(name)
        if self.fake and isinstance(found, Addresses):
            return Addresses((self._fake_address(name),))
        return _with_six(found) if self.six_from_four and isinstance(found, Addresses) else found

    def _fake_address(self, name: str) -> str:
        prefix = ipaddress.ip_network(self.fake)
        return str(prefix[2 + sum(name.encode()) * len(name) % (prefix.num_addresses - 4)])


def _closest(names: Mapping[str, Answer], name: str) -> Answer:
    """Returns the answer for the name, or for the nearest name above it."""
    while name:
        if name in names:
            return names[name]
        _, _, name = name.partition(".")
    return Said.NO_SUCH_NAME


def _covers(names: Iterable[str], name: str) -> bool:
    return any(name == above or name.endswith(f".{above}") for above in names)


def _with_six(found: Addresses) -> Addresses:
    """Returns the addresses of a name as by RFC 6147: for one without IPv6 addresses, its IPv4 ones within the
    translator's prefix."""
    if found.six:
        return found
    base = int(ipaddress.IPv6Network(NAT64).network_address)
    return Addresses(
        found.four, tuple(str(ipaddress.IPv6Address(base | int(ipaddress.IPv4Address(a)))) for a in found.four)
    )


_IPV4ONLY = Addresses(("192.0.0.170", "192.0.0.171"))
"""The addresses of ipv4only.arpa (RFC 7050), from which a client learns the translator's prefix."""


def reply_to(wire: bytes, view: View, hear: Callable[[str, str], None]) -> bytes | None:
    """Returns the answer to a query in wire format; None for silence. `hear` is called with name and kind. Raises
    dns.exception.DNSException for bytes that are no query."""
    query = dns.message.from_wire(wire)
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    kind = dns.rdatatype.to_text(question.rdtype)
    hear(name, kind)
    found = view(name) if name != "ipv4only.arpa" else _ipv4only(view)
    if found is Said.NOTHING:
        return None
    reply = dns.message.make_response(query, recursion_available=True)
    if isinstance(found, Said):
        reply.set_rcode(dns.rcode.from_text(found.value))
    else:
        addresses = {"A": found.four, "AAAA": found.six}.get(kind, ())
        if addresses:
            reply.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", kind, *addresses))
    return reply.to_wire()


def _ipv4only(view: View) -> Answer:
    if isinstance(view, Provider) and view.six_from_four and view.everything is None:
        return _with_six(_IPV4ONLY)
    return _IPV4ONLY


@dataclass
class NameServer:
    """`async with NameServer(make, view) as server:` then `await server.udp(address)`, `tcp`, `tls`, `https`."""

    make: MakeSocket
    view: View
    asked: list[Question] = field(default_factory=list)
    delay_s: float = 0.0
    """The wait before each answer over UDP, as where the server has to ask others first."""
    _open: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> NameServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def names(self, over: str = "") -> set[str]:
        """Returns all names that were asked for; with `over`, only by that way."""
        return {question.name for question in self.asked if over in ("", question.over)}

    async def udp(self, address: Address) -> Address:
        sock = datagram(self.make, address)
        bound = _address_of(sock.getsockname())
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(self), sock=sock)
        self._open.callback(transport.close)
        return bound

    async def tcp(self, address: Address) -> Address:
        return await self._listen(address, None, "tcp")

    async def tls(self, address: Address, context: ssl.SSLContext) -> Address:
        return await self._listen(address, context, "tls")

    async def https(self, address: Address, context: ssl.SSLContext, *, only_http2: bool = False) -> Address:
        """Serves HTTP/2 and HTTP/1.1, or refuses all clients that do not select HTTP/2. Changes `context`."""
        context.set_alpn_protocols(["h2"] if only_http2 else ["h2", "http/1.1"])
        return await self._listen(address, context, "h2" if only_http2 else "https")

    async def _listen(self, address: Address, context: ssl.SSLContext | None, over: str) -> Address:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asker = str(writer.get_extra_info("peername")[0])
            channel: Channel
            if context is None:
                channel = Plain(reader, writer)
            else:
                secure = Secure(reader, writer, context)
                await secure.handshake()
                channel = secure
                if secure.object.selected_alpn_protocol() == "h2":
                    await self._serve_http2(channel, asker)
                    return
                if over == "h2":
                    return
            talk = self._serve_https if over == "https" else self._serve_stream
            await talk(Buffered(channel), channel, over, asker)

        sock = listener(self.make, address)
        bound = _address_of(sock.getsockname())
        connections = Connections(serve)
        server = await asyncio.start_server(connections, sock=sock)
        self._open.push_async_callback(connections.stop)
        self._open.callback(server.close)
        return bound

    def answer(self, wire: bytes, over: str, asker: str) -> bytes | None:
        return reply_to(wire, self.view, lambda name, kind: self.asked.append(Question(name, kind, over, asker)))

    async def _serve_stream(self, data: Buffered, channel: Channel, over: str, asker: str) -> None:
        """Serves by RFC 7766: a length before each message; many messages on one connection."""
        while True:
            (length,) = _LENGTH.unpack(await data.exactly(_LENGTH.size))
            reply = self.answer(await data.exactly(length), over, asker)
            if reply is not None:
                await channel.send(_LENGTH.pack(len(reply)) + reply)

    async def _serve_https(self, data: Buffered, channel: Channel, over: str, asker: str) -> None:
        """Serves RFC 8484 over HTTP/1.1: GET with ?dns=, and POST."""
        while True:
            head = (await data.until(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head[:-4].split("\r\n")
            method, target, _ = first.split(" ")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if method == "POST":
                wire = await data.exactly(int(fields.get("content-length", "0")))
            else:
                text = parse_qs(urlsplit(target).query).get("dns", [""])[0]
                wire = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            try:
                reply = self.answer(wire, over, asker)
            except (dns.exception.DNSException, IndexError):
                await channel.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                continue
            if reply is None:
                return
            await channel.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\n"
                b"Cache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%b" % (len(reply), reply)
            )
            if fields.get("connection", "").lower() == "close":
                await channel.end()
                return

    async def _serve_http2(self, channel: Channel, asker: str) -> None:
        """Serves RFC 8484 over HTTP/2: POST. A question without an answer keeps its stream."""
        http2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        http2.initiate_connection()
        bodies: dict[int, bytes] = {}
        with contextlib.suppress(ProtocolError):
            while True:
                await channel.send(http2.data_to_send())
                if not (data := await channel.receive()):
                    return
                for event in http2.receive_data(data):
                    match event:
                        case RequestReceived(stream_id=stream):
                            bodies[stream] = b""
                        case DataReceived(stream_id=stream):
                            bodies[stream] += event.data
                            http2.acknowledge_received_data(event.flow_controlled_length, stream)
                        case StreamEnded(stream_id=stream):
                            self._answer_http2(http2, stream, bodies.pop(stream), asker)
                        case ConnectionTerminated():
                            return

    def _answer_http2(self, http2: H2Connection, stream: int, query: bytes, asker: str) -> None:
        try:
            reply = self.answer(query, "h2", asker)
        except (dns.exception.DNSException, IndexError):
            http2.send_headers(stream, [(":status", "400")], end_stream=True)
            return
        if reply is not None:
            fields = [(":status", "200"), ("content-type", "application/dns-message"), ("cache-control", "max-age=60")]
            http2.send_headers(stream, fields)
            http2.send_data(stream, reply, end_stream=True)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is none of the class before 3.12

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        with contextlib.suppress(dns.exception.DNSException, IndexError):  # no query: nobody waits for an answer
            reply = self._server.answer(data, "udp", addr[0])
            if reply is not None and self._server.delay_s:
                asyncio.get_running_loop().call_later(self._server.delay_s, self._transport.sendto, reply, addr)
            elif reply is not None:
                self._transport.sendto(reply, addr)


def _address_of(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    return name[0], name[1]
