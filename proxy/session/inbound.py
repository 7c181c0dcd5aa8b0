"""The inbound handshake: reads a client's first request, in any protocol, and returns one of three values.

The first byte tells HTTP from SOCKS. A TunnelRequest and a ForwardRequest name a destination; an OwnPageRequest comes
from a browser that opened Byway's own address. Required credentials are checked on every connection and never
remembered by address. Clients repeat the same bytes for the same tunnel or URL, so parsed requests are remembered by
their bytes, unless credentials are required.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import field
from typing import Generic, NamedTuple, TypeVar

from proxy.config.schema import Limits
from proxy.model import Destination, HttpRequest, Inbound, Symptom
from proxy.model.bounded import Bounded
from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.remembered import remembered
from proxy.net.stream import SocketStream
from proxy.session.client import Client
from proxy.session.recent_clients import RecentClients
from proxy.wire import hostnames, http1, sniff, socks
from proxy.wire.hostnames import OWN_NAME
from proxy.wire.http1 import Form, Headers, RequestHead
from proxy.wire.http1_error import refusal
from proxy.wire.sniff import Family

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_SOCKS5_GRANTED = socks.socks5_reply(socks.Socks5Reply.GRANTED)
_SOCKS4_GRANTED = socks.socks4_reply(granted=True)

_USER_AGENT = ("User-Agent", "user-agent")
"""The spellings that clients use."""

_REMEMBERED = 512
_REMEMBERED_SIZE = 1024
"""The number of CONNECTs and of SOCKS5 requests that are remembered, and the bytes of the longest CONNECT."""

_CONNECT_FORMS = 32
_TARGET = b"\0"
"""A browser's CONNECT heads differ in their target alone. This many heads are remembered, with _TARGET, which no valid
head holds, in place of the target."""

_FORWARDS_REMEMBERED = 32
"""Requests in absolute form that are remembered. They may hold cookies, so only few are kept."""

_USUAL_OFFERS = ((0,), (0, 1), (0, 2), (0, 1, 2), (2,), (2, 0))
"""The lists of SOCKS5 methods (RFC 1928 section 3) that clients usually offer: 0 none, 1 GSSAPI, 2 a password."""


@frozen_dataclass
class Credentials:
    """The user and password that clients need when `[listen] user` is set."""

    user: str
    password: str = field(repr=False)

    def matches(self, user: bytes, password: bytes) -> bool:
        """Whether both are right. Compares in constant time, and always both."""
        user_fits = hmac.compare_digest(user, self.user.encode())
        return hmac.compare_digest(password, self.password.encode()) and user_fits

    def basic_matches(self, authorization: str | None) -> bool:
        """Whether a `Proxy-Authorization` value holds them, in the Basic scheme (RFC 7617)."""
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return self.matches(user, password)


@frozen_dataclass
class TunnelRequest:
    """A CONNECT or SOCKS request: bytes both ways once `accepted` has been sent."""

    destination: Destination
    inbound: Inbound

    @property
    def accepted(self) -> bytes:
        match self.inbound:
            case Inbound.SOCKS5:
                return _SOCKS5_GRANTED
            case Inbound.SOCKS4 | Inbound.SOCKS4A:
                return _SOCKS4_GRANTED
            case _:
                return _ESTABLISHED

    def refused(self, symptom: Symptom, reason: str) -> bytes:
        """The answer when no route connected, or none is allowed."""
        match self.inbound:
            case Inbound.SOCKS5:
                return socks.socks5_reply_for(symptom)
            case Inbound.SOCKS4 | Inbound.SOCKS4A:
                return socks.socks4_reply(granted=False)
            case _:
                return http_refusal(symptom, reason)


INNER_ACCEPTED, INNER_REFUSED = b"+", b"-"


@frozen_dataclass
class InnerTunnel(TunnelRequest):
    """A tunnel that Byway itself opens. The answer is one byte, which says whether a route has connected. The log has
    the reason."""

    @property
    def accepted(self) -> bytes:
        return INNER_ACCEPTED

    def refused(self, symptom: Symptom, reason: str) -> bytes:
        return INNER_REFUSED


@frozen_dataclass
class ForwardRequest:
    """An absolute-form request; more may follow on the connection."""

    head: RequestHead
    destination: Destination
    http: HttpRequest
    """The method and the target at that destination."""


@frozen_dataclass
class OwnPageRequest:
    """A request for our own page. The control server parses `received` again."""

    received: bytes


InboundRequest = TunnelRequest | ForwardRequest | OwnPageRequest

_STATUS = {
    Symptom.FORBIDDEN: 403,
    Symptom.LOCAL: 503,
    Symptom.TIMEOUT: 504,
    Symptom.RESOLVE_FAILED: 504,
    Symptom.SILENT: 504,
    Symptom.DROPPED: 504,
    Symptom.ABANDONED: 504,  # reported only when no route delivered in time
}


def refusal_status(symptom: Symptom) -> int:
    """Returns the HTTP status of a connection that failed: 403, 502, 503 or 504."""
    return _STATUS.get(symptom, 502)


def http_refusal(symptom: Symptom, reason: str) -> bytes:
    """Returns an HTTP error with the reason as plain text."""
    return http1.error_response(refusal_status(symptom), reason)


def http_redirect(url: str) -> bytes:
    """Returns a temporary HTTP redirect. `url` is of http or https, in ASCII."""
    return http1.error_response(302, "", headers=[("Location", url), ("Cache-Control", "no-store")])


R = TypeVar("R")


class _Remembered(NamedTuple, Generic[R]):
    """An HTTP request that is remembered."""

    request: R
    user_agent: str  # empty: the request has none


def _user_agent(headers: Headers) -> str:
    """The value of the User-Agent field; empty when there is none."""
    for name, value in headers:
        if name in _USER_AGENT:
            return value
    return ""


def _connect_target(received: bytes) -> bytes:
    """The target of a head that begins with CONNECT; empty for another head, and for one that holds _TARGET."""
    if _TARGET in received or not received.startswith(b"CONNECT "):
        return b""
    return received[len(b"CONNECT ") :].partition(b" ")[0]


def _forward_request(head: RequestHead, destination: Destination) -> ForwardRequest:
    return ForwardRequest(head, destination, HttpRequest(head.method, head.target))


@remembered(_FORWARDS_REMEMBERED)
def _whole_forward(received: bytes) -> _Remembered[ForwardRequest] | None:
    """Parses bytes that are exactly one request in absolute form, without a body. Returns None for other bytes. Raises
    PeerError as the parser does."""
    if received.startswith(b"CONNECT "):
        return None
    head = http1.whole_request_head(received)
    if head is None or head.form is not Form.ABSOLUTE or not head.bodiless or head.destination is None:
        return None
    if head.destination.host == OWN_NAME:
        return None
    return _Remembered(_forward_request(head, head.destination), _user_agent(head.headers))


class InboundHandshake:
    """Reads the requests of clients. Each Setup has its own."""

    def __init__(
        self,
        limits: Limits,
        credentials: Credentials | None,
        is_ours: Callable[[str], bool],
        recent_clients: RecentClients | None = None,
    ) -> None:
        """`is_ours` says whether a Host header names this proxy itself. `recent_clients` notes the User-Agent of every
        HTTP request through the proxy."""
        self._limits = limits
        self._recent_clients = recent_clients or RecentClients()
        self.credentials = credentials
        """The credentials that clients need. A reload may change them while `read` waits: the caller must then not
        serve the request."""
        self._is_ours = is_ours
        self._socks5_method = socks.NO_AUTH if credentials is None else socks.PASSWORD
        self._socks5_choice = socks.socks5_method(self._socks5_method)
        self._socks5_greetings = frozenset(
            bytes((5, len(offer), *offer)) for offer in _USUAL_OFFERS if self._socks5_method in offer
        )
        """Whole greetings that offer that method, and need not be parsed."""
        # The next two are keyed by the head of the request.
        self._connects: Bounded[bytes, _Remembered[TunnelRequest]] = Bounded(_REMEMBERED if credentials is None else 0)
        self._connect_forms: Bounded[bytes, str] = Bounded(_CONNECT_FORMS if credentials is None else 0)
        """The User-Agent of each head, whose target is replaced by _TARGET."""
        self._socks5_requests: Bounded[bytes, TunnelRequest] = Bounded(_REMEMBERED)

    async def read(self, client: Client) -> InboundRequest | None:
        """Reads the first request of a connection. Returns None when the client left, or sent nothing in time. Raises
        PeerError, with the reply to send, for anything that is not a request."""
        reader, family = client.reader, None
        ends_at = asyncio.get_running_loop().time() + self._limits.head_timeout_s
        try:
            if not reader:
                await client.receive(ends_at)
                if not reader:
                    return None
            received = bytes(reader)
            if (entry := self._connects.get(received)) is not None:
                reader.clear()
                if entry.user_agent:
                    self._recent_clients.note(entry.user_agent)
                return entry.request
            family = sniff.sniff(reader[0])
            match family:
                case Family.HTTP:
                    if (tunnel := self._usual_connect(received)) is not None:
                        reader.clear()
                        return tunnel
                    if (forward := self._forward(received)) is not None:
                        reader.clear()
                        return forward
                    head = http1.take_request_head(reader)
                    if head is None:
                        head = await client.read(http1.read_request_head(reader), ends_at)
                    return self._classify(client, head, received)
                case Family.SOCKS5:
                    return await self._socks5(client, ends_at, is_usual=received in self._socks5_greetings)
                case Family.SOCKS4:
                    return await self._socks4(client, ends_at)
        except TimeoutError:
            if family is Family.HTTP:
                raise _too_slow(self._limits.head_timeout_s) from None
            return None

    async def next_request(self, client: Client) -> InboundRequest | None:
        """Reads the next request on a kept-alive HTTP connection; returns None and raises PeerError as `read` does."""
        stream, reader, loop = client.stream, client.reader, asyncio.get_running_loop()
        if not reader:
            ends_at = loop.time() + self._limits.keep_alive_s
            # `client.receive`, written out: every request comes here.
            while stream.drained or (data := stream.receive_nowait()) is None:
                if loop.time() >= ends_at:
                    return None  # an idle client needs no reply
                await client.news.wait(ends_at)
            if not data:
                return None
            if (forward := self._forward(data)) is not None:
                return forward
            reader.extend(data)
        head = http1.take_request_head(reader)
        if head is None:
            try:
                ends_at = loop.time() + self._limits.head_timeout_s
                head = await client.read(http1.read_request_head(reader), ends_at)
            except TimeoutError:
                raise _too_slow(self._limits.head_timeout_s) from None
        return self._classify(client, head)

    def _forward(self, received: bytes) -> ForwardRequest | None:
        """Parses bytes that are exactly one request in absolute form, as most are. Returns None for other bytes, and
        when credentials have to be checked. Raises as `read`."""
        if self.credentials is not None or len(received) > http1.REMEMBERED_LIMIT:
            return None
        entry = _whole_forward(received)
        if entry is None:
            return None
        if entry.user_agent:
            self._recent_clients.note(entry.user_agent)
        return entry.request

    def _usual_connect(self, received: bytes) -> TunnelRequest | None:
        """Returns the request of a CONNECT that differs from an earlier one in its target alone; None for other bytes,
        and for a target that is not valid."""
        target = _connect_target(received)
        user_agent = self._connect_forms.get(received.replace(target, _TARGET)) if target else None
        if user_agent is None:
            return None
        try:
            request = TunnelRequest(hostnames.authority(target), Inbound.CONNECT)
        except ValueError:
            return None  # the parser says why
        self._connects[received] = _Remembered(request, user_agent)
        if user_agent:
            self._recent_clients.note(user_agent)
        return request

    def _classify(self, client: Client, head: RequestHead, received: bytes = b"") -> InboundRequest:
        """Classifies an HTTP request, and checks its credentials. `received` is all that came on the connection; empty
        when this is not its first request. Raises PeerError for a request that is refused, OSError when its client has
        left."""
        stream, reader = client.stream, client.reader
        if head.form is Form.ORIGIN:
            # A remote client cannot give the password in this form. It gets the set-up page, which does not name us,
            # and only when Host is the address that it has reached, so that a scan does not learn what listens here.
            ours = self._is_ours(head.host) and (self.credentials is None or _is_near(stream))
            if not ours and not _names_own_address(head, stream):
                raise PeerError(f"request for {head.host!r}, which is not this proxy", reply=_MISDIRECTED)
            from proxy.session.foreign_requests import is_foreign  # in most runs nobody opens the page

            if is_foreign(head, self._is_ours):
                raise PeerError("request for our own page, by a page of another site", reply=_MISDIRECTED)
            return OwnPageRequest(_as_received(head) + reader.rest())
        if self.credentials is not None and not self.credentials.basic_matches(head.proxy_authorization):
            raise PeerError("proxy credentials are missing or wrong", reply=_authenticate())
        if user_agent := _user_agent(head.headers):
            self._recent_clients.note(user_agent)
        destination = head.destination
        assert destination is not None  # the parser guarantees it for every form but ORIGIN
        if head.form is Form.CONNECT:
            request = TunnelRequest(destination, Inbound.CONNECT)
            if received.endswith(b"\r\n\r\n") and not reader and len(received) <= _REMEMBERED_SIZE:
                self._connects[received] = _Remembered(request, user_agent)
                target = _connect_target(received)
                if target and target.decode() not in user_agent:
                    self._connect_forms[received.replace(target, _TARGET)] = user_agent
            return request
        if destination.host == OWN_NAME:
            if head.named is not None and head.named != destination:  # no later parser checks it
                raise refusal(400, "This request is refused: its URL and its Host field name different servers.")
            from proxy.session.foreign_requests import as_unknown, is_foreign

            if not is_foreign(head, self._is_ours):
                return OwnPageRequest(_as_received(head) + reader.rest())
            head, destination = as_unknown(head)
        return _forward_request(head, destination)

    async def _socks5(self, client: Client, ends_at: float, *, is_usual: bool) -> TunnelRequest:
        """`is_usual`: `reader` holds exactly one of the usual greetings."""
        reader = client.reader
        if is_usual:
            reader.clear()
        elif self._socks5_method not in await client.read(socks.read_socks5_methods(reader), ends_at):
            raise PeerError("no SOCKS5 method that this proxy accepts", reply=socks.SOCKS5_NO_METHOD)
        client.reply(self._socks5_choice)
        if not reader:
            await client.receive(ends_at)
        if self.credentials is not None:
            user, password = await client.read(socks.read_socks5_credentials(reader), ends_at)
            if not self.credentials.matches(user, password):
                raise PeerError("SOCKS5 credentials are wrong", reply=socks.SOCKS5_AUTH_FAILED)
            client.reply(socks.SOCKS5_AUTH_OK)
        received = bytes(reader)
        if (remembered_request := self._socks5_requests.get(received)) is not None:
            reader.clear()
            return remembered_request
        request = TunnelRequest(await client.read(socks.read_socks5_request(reader), ends_at), Inbound.SOCKS5)
        if received == socks.socks5_connect(request.destination):  # exactly the request
            self._socks5_requests[received] = request
        return request

    async def _socks4(self, client: Client, ends_at: float) -> TunnelRequest:
        request = await client.read(socks.read_socks4(client.reader), ends_at)
        if self.credentials is not None:  # SOCKS4 has no password to check
            raise PeerError(
                "SOCKS4 has no password, and this proxy requires one", reply=socks.socks4_reply(granted=False)
            )
        return TunnelRequest(request.destination, Inbound.SOCKS4A if request.is_4a else Inbound.SOCKS4)


def _is_near(client: SocketStream) -> bool:
    """Whether the client is on this computer, by the peer address of its socket. Raises OSError when it has left."""
    return ipaddress.ip_address(client.lowest_socket.getpeername()[0]).is_loopback


def _names_own_address(head: RequestHead, client: SocketStream) -> bool:
    """Whether Host is the address and port at which the client has reached us. Raises OSError when it has left."""
    if head.named is None or head.named.address is None:
        return False
    reached = client.lowest_socket.getsockname()
    return reached_address(reached) == head.named


def reached_address(name: object) -> Destination | None:
    """Returns the address and port in a socket's name, as `getsockname` returns it; None for another family."""
    if not isinstance(name, tuple):
        return None
    address = ipaddress.ip_address(str(name[0]).partition("%")[0])
    return Destination(str(getattr(address, "ipv4_mapped", None) or address), name[1])


def _as_received(head: RequestHead) -> bytes:
    """Returns the head in origin form, as bytes, for the control server to parse."""
    lines = [f"{head.method} {head.target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _too_slow(limit_s: float) -> PeerError:
    return PeerError(
        f"no complete request within {limit_s:g} s", reply=http1.error_response(408, "The request took too long.")
    )


def _authenticate() -> bytes:
    return http1.error_response(
        407,
        "This proxy requires a user and password.",
        headers=(("Proxy-Authenticate", 'Basic realm="proxy", charset="UTF-8"'),),
    )


_MISDIRECTED = b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
