"""All web sites of the lab, on one pair of ports: the name in the request or the handshake decides which site answers.

    /            a page that names the host and the address that asked
    /big         BIG bytes; /bytes/N that many
    /page/30     a page that loads 30 pictures, as tests.support.origin has it; /part/7 is one of them
    /close       answers and closes

The `Conduct` of a site is its behaviour. A site without one behaves well. Every request is remembered with the address
of its client and with the number of TLS records in which the ClientHello came, so that a test can see by which way the
request came and whether its hello was cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tests.lab.authorities import Authority
from tests.lab.channel import Buffered, Channel, Plain, Secure, first_flight, server_name
from tests.lab.places import RELAYS, RELAYS6
from tests.lab.sockets import Address, MakeSocket, listener
from tests.support.origin import PICTURE, page_of_pictures, pattern
from tests.support.streams import LINGER_0, Connections

BIG = 300 * 1024
_ALERT_DECODE_ERROR = bytes.fromhex("15 0301 0002 02 32")  # record: alert, TLS 1.0, 2 bytes; fatal; decode_error
_ALERT_HANDSHAKE_FAILURE = bytes.fromhex("15 0301 0002 02 28")
_OUTSIDE = (ipaddress.ip_network(RELAYS), ipaddress.ip_network(RELAYS6))


@dataclass(frozen=True, slots=True)
class Conduct:
    """The peculiarities of a site."""

    delay_s: float = 0.0  # before each answer
    hello_delay_s: float = 0.0  # before the TLS handshake
    is_dead: bool = False  # accepts, and never answers a ClientHello: a router by SNI whose backend is gone …
    dead_at: str = ""  # … or does so at this address alone …
    restarts_s: float = 0.0  # … or for connections of its first seconds, and answers all later ones …
    restart_resets: bool = False  # … which it resets after the ClientHello, in place of the silence
    refuses: int = 0  # the status that it answers with, if not 200 …
    refuses_relays_only: bool = False  # … to whom
    refuses_direct_only: bool = False
    certificate: ssl.SSLContext | None = None  # what it shows; None: a good one
    date: str = ""  # the value of the Date field of its answers; empty: none
    moved_to: str = ""  # plain HTTP: a redirect to this URL, for everybody
    cut_hello_fails: bool = False  # a ClientHello in more than one record gets an alert
    alert: bool = False  # every ClientHello gets one
    at_most: int = 0  # TLS connections at once, after which it hangs up on the next; 0: any number
    silent_beyond: bool = False  # it does not hang up then, but never answers
    highest: ssl.TLSVersion | None = None
    content_type: str = "text/html; charset=utf-8"
    pause_after: int = 0  # sends so many bytes of a body, then rests …
    pause_s: float = 0.0  # … so long
    bytes_per_s: float = 0.0  # of a body; 0: as fast as it goes …
    paced: str = "/"  # … for targets that begin so
    upload_max: int = 0  # of a longer body it reads nothing: 413, and it closes
    lasts_s: float = 0.0  # of a connection, which it then resets; 0: as long as its client wants
    page_bytes: int = 0  # of the first page, at least: as large as those of real sites are
    page: bytes = b""  # the first page, for everybody; empty: the usual one …
    page_for_relays: bytes = b""  # … and what relays get in its place
    page_for_queries: bytes = b""  # the page of a target with a query
    page_for_other_case: bytes = b""  # … and of a request whose field `Host` is written in another case
    fields: tuple[str, ...] = ()  # further header lines of its answers


GOOD = Conduct()


@dataclass(slots=True)
class Asked:
    """One request as it arrived; its body comes later."""

    host: str
    target: str
    peer: str
    secure: bool
    hello_records: int
    at: float  # time.monotonic()
    method: str = "GET"
    body: bytes = b""


@dataclass
class Origins:
    """`async with Origins(make, authority) as origins:` then `await origins.listen(addresses)`."""

    make: MakeSocket
    authority: Authority
    conducts: dict[str, Conduct] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    only: dict[str, str] = field(default_factory=dict)  # address → the only name that its server knows
    opened: int = 0
    server_names: list[str] = field(default_factory=list)  # of each ClientHello
    _served: Counter[str] = field(default_factory=Counter)  # TLS connections now, by name
    _first_at: dict[str, float] = field(default_factory=dict)  # when the first TLS connection came, by name
    _open: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Origins:
        self._secure: Mapping[ssl.TLSVersion | None, ssl.SSLContext] = {
            highest: self.authority.server(highest=highest) for highest in (None, ssl.TLSVersion.TLSv1_2)
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def listen(self, addresses: Iterable[Address]) -> list[Address]:
        """Serves on all of the addresses, HTTP and HTTPS alike on each. Returns the bound addresses."""
        bound = []
        for address in addresses:
            sock = listener(self.make, address)
            bound.append((sock.getsockname()[0], sock.getsockname()[1]))
            connections = Connections(self._serve)
            server = await asyncio.start_server(connections, sock=sock)
            self._open.push_async_callback(connections.stop)
            self._open.callback(server.close)
        return bound

    def conduct(self, host: str) -> Conduct:
        return self.conducts.get(host, GOOD)

    def peers(self, host: str) -> list[str]:
        """Returns the addresses that sent requests for the host, in order; a re-test of Byway's is a HEAD request, or
        ends before one."""
        return [asked.peer for asked in self.asked if asked.host == host and asked.method != "HEAD"]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        ahead, records = await first_flight(reader)
        name = server_name(ahead) if records else ""
        self.server_names += [name] if records else []
        if self.conduct(name).at_most and self._served[name] >= self.conduct(name).at_most:
            if self.conduct(name).silent_beyond:
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            return
        self._served[name] += 1
        end: asyncio.TimerHandle | None = None
        if self.conduct(name).lasts_s:
            end = asyncio.get_running_loop().call_later(self.conduct(name).lasts_s, _reset, writer)
        try:
            await self._talk(reader, writer, ahead, records, self.conduct(name))
        finally:
            self._served[name] -= 1
            if end is not None:
                end.cancel()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ahead: bytes, records: int, conduct: Conduct
    ) -> None:
        channel: Channel = Plain(reader, writer, ahead)
        if records:
            name, address = server_name(ahead), str(writer.get_extra_info("sockname")[0])
            is_refused = conduct.alert or self.only.get(address, name) != name
            if is_refused or (conduct.cut_hello_fails and records > 1):
                writer.write(_ALERT_HANDSHAKE_FAILURE if is_refused else _ALERT_DECODE_ERROR)
                return
            if self._is_dead(name, address, conduct):
                if conduct.restart_resets:
                    _reset(writer)
                else:
                    await reader.read()
                return
            await asyncio.sleep(conduct.hello_delay_s)
            context = conduct.certificate or self._secure[conduct.highest]
            secure = Secure(reader, writer, context, ahead=ahead)
            await secure.handshake()
            channel = secure
        data = Buffered(channel)
        peer = str(writer.get_extra_info("peername")[0])
        while await self._answer(data, channel, peer, records):
            pass

    def _is_dead(self, name: str, address: str, conduct: Conduct) -> bool:
        """Whether nobody answers a ClientHello of this name at this address now."""
        if conduct.is_dead or address == conduct.dead_at:
            return True
        now = time.monotonic()
        return now < self._first_at.setdefault(name, now) + conduct.restarts_s

    async def _answer(self, data: Buffered, channel: Channel, peer: str, records: int) -> bool:
        """Answers one request; returns whether another may follow."""
        head = (await data.until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].removeprefix("\r\n").split("\r\n")  # an empty line before it: RFC 9112, section 2.2
        method, target, _ = first.split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(fields.get("content-length", "0"))
        host = fields.get("host", "").partition(":")[0].lower()
        is_usual = any(line.startswith(("Host:", "host:")) for line in lines)
        asked = Asked(host, target, peer, bool(records), records, time.monotonic(), method)
        self.asked.append(asked)
        conduct = self.conduct(host)
        if 0 < conduct.upload_max < length:
            await channel.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        if fields.get("expect") == "100-continue":
            await channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        is_chunked = fields.get("transfer-encoding") == "chunked"
        asked.body = await _chunks(data) if is_chunked else await data.exactly(length)
        await asyncio.sleep(conduct.delay_s)
        keep = fields.get("connection", "").lower() != "close" and target != "/close"
        status, extra, body = _content(conduct, host, target, peer, secure=bool(records), is_usual=is_usual)
        extra += f"Date: {conduct.date}\r\n" if conduct.date else ""
        extra += "".join(f"{line}\r\n" for line in conduct.fields)
        content_type = "image/gif" if target.startswith("/part/") else conduct.content_type
        await channel.send(
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
        )
        if method != "HEAD":
            pace = conduct.bytes_per_s if target.startswith(conduct.paced) else 0.0
            await _send_body(channel, body, replace(conduct, bytes_per_s=pace))
        return keep


def _content(
    conduct: Conduct, host: str, target: str, peer: str, *, secure: bool, is_usual: bool
) -> tuple[str, str, bytes]:
    """Returns the end of the status line, further header lines, and the body. `is_usual`: the field `Host` was written
    as always."""
    if conduct.refuses and not (conduct.refuses_direct_only if _is_relay(peer) else conduct.refuses_relays_only):
        return f"{conduct.refuses} Refused", "", b"<title>Access denied</title><p>Not for you."
    if conduct.moved_to and not secure:
        return "301 Moved Permanently", f"Location: {conduct.moved_to}\r\n", b""
    if target.startswith("/big"):
        return "200 OK", "", pattern(BIG)
    if target.startswith("/bytes/"):
        return "200 OK", "", pattern(int(target.removeprefix("/bytes/")))
    if target.startswith("/page/"):
        return "200 OK", "", page_of_pictures(target, host)
    if target.startswith("/part/"):
        return "200 OK", "", PICTURE
    if conduct.page_for_queries and "?" in target:
        return "200 OK", "", conduct.page_for_queries
    if conduct.page_for_other_case and not is_usual:
        return "200 OK", "", conduct.page_for_other_case
    if own := (conduct.page_for_relays if _is_relay(peer) else b"") or conduct.page:
        return "200 OK", "", own
    page = f"<!doctype html><title>{host}</title><p>{host} says hello to {peer}\n"
    return "200 OK", "", page.ljust(conduct.page_bytes).encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    writer.transport.abort()


async def _chunks(data: Buffered) -> bytes:
    """Returns a chunked body."""
    body = b""
    while size := int(await data.until(b"\r\n"), 16):
        body += (await data.exactly(size + 2))[:-2]
    await data.until(b"\r\n")
    return body


def _is_relay(peer: str) -> bool:
    address = ipaddress.ip_address(peer)
    return any(address in network for network in _OUTSIDE if network.version == address.version)


async def _send_body(channel: Channel, body: bytes, conduct: Conduct) -> None:
    if conduct.pause_after:
        await channel.send(body[: conduct.pause_after])
        await asyncio.sleep(conduct.pause_s)
        body = body[conduct.pause_after :]
    if not conduct.bytes_per_s:
        await channel.send(body)
        return
    step = max(1, int(conduct.bytes_per_s / 10))
    for place in range(0, len(body), step):
        await channel.send(body[place : place + step])
        await asyncio.sleep(0.1)
