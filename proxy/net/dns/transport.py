"""Connections to one encrypted DNS server, over any dialer: reused for later queries, and closed when idle.

Each connection is a task that owns its stream, so that none stays open whatever happens to its callers. DoH is HTTP/1.1
here, one query at a time on each of a few connections; over DoT many queries share one. A query that was on a reused
connection when it ended is sent once more on a new one, since a server may close at any time.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, context_trusting
from proxy.net.notify import Notify
from proxy.net.stream import Stream, read_with
from proxy.net.tasks import spawn
from proxy.wire import dns
from proxy.wire.dns_url import DnsProtocol, SecureServer
from proxy.wire.http1_body import read_body
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.reader import Parser, Reader

IDLE_S = 30.0
"""Seconds after which an idle connection is closed (RFC 7858 section 3.4 names no time); few servers wait longer."""

CONNECTIONS = 4
"""Connections to one DoH server: both address families of two names."""

WAITING_LIMIT = 1024
"""Queries that wait for one server at most."""

_INTERIM_LIMIT = 8
_MEDIA_TYPE = "application/dns-message"


class _PendingQuery:
    """One message and the future of its answer."""

    __slots__ = ("answer", "message", "was_retried")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.was_retried = False

    def settle(self, answer: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: DialError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class DnsTransport(ABC):
    """Exchanges messages with one server over one dialer."""

    connections = 1  # at most

    def __init__(self, server: SecureServer, via: Dialer, *, timeout_s: float, idle_s: float = IDLE_S) -> None:
        """`timeout_s` bounds the opening of a connection, with its TLS handshake, and each answer. Raises ConfigError
        for the server's `ca`."""
        self.server = server
        self._via = via
        self._context = context_trusting(server.ca) if server.ca else None
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._waiting: deque[_PendingQuery] = deque()
        self._idle: set[Notify] = set()  # of the connections that can take a query
        self._running = 0  # connections
        self._callers = 0

    async def exchange(self, message: bytes) -> bytes:
        """Sends a query. Returns the answer, unparsed. Raises DialError of stage RESOLVE."""
        if self._callers >= WAITING_LIMIT:
            raise self._failed("too many queries are waiting for it", Symptom.LOCAL)
        query = _PendingQuery(message)
        self._callers += 1
        try:
            self._enqueue(query)
            with deadline(self._timeout_s):
                return await query.answer
        except TimeoutError:
            raise self._failed(f"no answer within {self._timeout_s:g} s") from None
        finally:
            self._callers -= 1
            query.answer.cancel()

    def _enqueue(self, query: _PendingQuery) -> None:
        """Queues a query for an idle connection, or for a new one."""
        self._waiting.append(query)
        if self._idle:
            self._idle.pop().set()
        elif self._running < self.connections:
            self._running += 1
            spawn(self._run(), name=f"dns {self.server}")

    def _next_query(self) -> _PendingQuery | None:
        while self._waiting:
            query = self._waiting.popleft()
            if not query.answer.done():  # done: the caller has left
                return query
        return None

    async def _run(self) -> None:
        """One connection, from its first query to its end."""
        failure: DialError | None = None
        try:
            with deadline(self._timeout_s):
                stream = await self._open()
        except TimeoutError:
            failure = self._failed(f"no connection within {self._timeout_s:g} s")
        except DialError as error:
            failure = error
        else:
            try:
                await self._serve(stream)
            except BaseException:
                stream.abort()
                raise
            stream.close()
        finally:
            self._running -= 1
        # What still waits gets another connection, unless none can be opened.
        if failure is None:
            if (query := self._next_query()) is not None:
                self._enqueue(query)
        elif not self._running:
            while (query := self._next_query()) is not None:
                query.fail(failure)

    async def _open(self) -> Stream:
        try:
            inner = await self._via.dial(self.server.endpoint)
        except DialError as error:
            raise self._failed(str(error), _ours(error.symptom)) from error
        try:
            context = self._context or context_trusting(None)  # 10 ms the first time, which most never need
            stream = TlsStream(inner, context, self.server.name)
            await stream.handshake()
        except BaseException as error:
            inner.abort()
            if isinstance(error, ssl.SSLCertVerificationError):
                text = f"its certificate was refused: {error.verify_message.rstrip('.')}"
                raise self._failed(text, Symptom.CERTIFICATE) from error
            if isinstance(error, OSError):
                raise self._failed(f"its TLS handshake failed ({error.strerror or error})") from error
            raise
        return stream

    @abstractmethod
    async def _serve(self, stream: Stream) -> None:
        """Sends queries until the connection ends or is idle. Settles or retries each one that it has taken."""

    async def _await_query(self, stream: Stream, notify: Notify) -> bool:
        """Waits for the next query. Returns False when the connection has ended, or was idle for `idle_s`."""
        self._idle.add(notify)
        stream.notify = notify.set
        try:
            ends_at = asyncio.get_running_loop().time() + self._idle_s
            while not self._waiting:
                try:
                    if stream.receive_nowait() is not None:  # its end, or bytes that answer no query
                        return False
                except OSError:
                    return False
                remaining = ends_at - asyncio.get_running_loop().time()
                if remaining <= 0:
                    return False
                await notify.wait(remaining)
                if notify not in self._idle:  # `_enqueue` chose this connection
                    self._idle.add(notify)
            return True
        finally:
            self._idle.discard(notify)
            stream.notify = None

    def _retry_or_fail(self, query: _PendingQuery, error: DialError, *, is_reused: bool) -> None:
        """A query got no answer. `is_reused`: its connection had answered another one before, and may have been closed
        as idle, so the query gets a second try."""
        if is_reused and not query.was_retried:
            query.was_retried = True
            self._waiting.appendleft(query)
        else:
            query.fail(error)

    def _failed(self, text: str, symptom: Symptom = Symptom.RESOLVE_FAILED) -> DialError:
        return DialError(f"{self.server}: {text}", stage=Stage.RESOLVE, symptom=symptom)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.server} via {self._via!r}>"


class DohTransport(DnsTransport):
    """RFC 8484 over HTTP/1.1."""

    connections = CONNECTIONS

    async def _serve(self, stream: Stream) -> None:
        reader, notify, is_reused = Reader(), Notify(), False
        while await self._await_query(stream, notify):
            if (query := self._next_query()) is None:
                continue
            try:
                with deadline(self._timeout_s):
                    await stream.send(self._request(query.message))
                    keep_alive, answer = await read_with(stream, reader, _read_doh(reader))
            except TimeoutError as error:
                text = error.strerror or f"no answer within {self._timeout_s:g} s"
                query.fail(self._failed(text))
                return
            except (OSError, PeerError) as error:
                is_retriable = is_reused and not isinstance(error, _NotDns)
                self._retry_or_fail(query, self._failed(str(error)), is_reused=is_retriable)
                return
            query.settle(answer)
            if not keep_alive or len(reader):  # bytes behind an answer cannot belong to a later query
                return
            is_reused = True

    def _request(self, message: bytes) -> bytes:
        host = str(Destination(self.server.name, self.server.endpoint.port)).removesuffix(":443")
        lines = [
            f"POST {self.server.path} HTTP/1.1",
            f"Host: {host}",
            f"Accept: {_MEDIA_TYPE}",
            f"Content-Type: {_MEDIA_TYPE}",
            f"Content-Length: {len(message)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + message


class _NotDns(PeerError):
    """A whole HTTP answer that is not a DNS message: a retry would get the same."""


def _read_doh(reader: Reader) -> Parser[tuple[bool, bytes]]:
    """Returns whether the connection may be reused, and the message. Raises PeerError."""
    head = yield from read_response_head(reader, "POST")
    for _ in range(_INTERIM_LIMIT):
        if not head.is_interim:
            break
        head = yield from read_response_head(reader, "POST")
    _check_doh(head)
    answer = b""
    pieces = read_body(reader, head.body)
    for piece in pieces:
        if piece is None:
            yield
            continue
        answer += piece
        if len(answer) > dns.MESSAGE_LIMIT:
            raise _NotDns(f"its answer exceeds {dns.MESSAGE_LIMIT} bytes")
    return head.keep_alive, answer


def _check_doh(head: ResponseHead) -> None:
    media_type = next((value for name, value in head.headers if name.lower() == "content-type"), "nothing")
    if head.status != 200:
        raise _NotDns(f"it answered with HTTP status {head.status}")
    if media_type.partition(";")[0].strip().lower() != _MEDIA_TYPE:  # a captive portal's login page, for example
        raise _NotDns(f"it answered with {media_type[:60]!r}, which is no DNS message")


class DotTransport(DnsTransport):
    """RFC 7858: each message follows its length, and answers come in any order."""

    async def _serve(self, stream: Stream) -> None:
        connection = _DotConnection(stream)
        try:
            await self._exchange_all(connection)
        except (OSError, PeerError) as error:
            connection.error = str(error)
        finally:
            self._idle.discard(connection.notify)
            stream.notify = None
            for query, _ in connection.under_way.values():
                self._retry_or_fail(query, self._failed(connection.error), is_reused=connection.has_answered)

    async def _exchange_all(self, connection: _DotConnection) -> None:
        """Returns when the connection has ended or is idle. Raises OSError and PeerError."""
        loop = asyncio.get_running_loop()
        progress_at = loop.time()
        while True:
            self._idle.add(connection.notify)  # it takes further queries at any time
            was_idle = connection.is_idle
            while (query := self._next_query()) is not None:
                connection.add(query)
            if connection.transfer() or (was_idle and not connection.is_idle):
                progress_at = loop.time()
            if connection.has_ended:
                return
            remaining = progress_at + (self._idle_s if connection.is_idle else self._timeout_s) - loop.time()
            if remaining <= 0:
                connection.error = f"no answer within {self._timeout_s:g} s"
                return
            await connection.notify.wait(remaining)


class _DotConnection:
    """One DoT connection and its unanswered queries."""

    def __init__(self, stream: Stream) -> None:
        self.notify = Notify()
        self.under_way: dict[bytes, tuple[_PendingQuery, bytes]] = {}  # ID on the wire → query and its own ID
        self.error = "it closed the connection"
        self.has_answered = False
        self.has_ended = False
        self._stream = stream
        self._reader = Reader()
        self._frames = _frames(self._reader)
        self._unsent = b""
        stream.notify = self.notify.set

    @property
    def is_idle(self) -> bool:
        """Whether no answer is due. A query whose caller has left counts until it is answered, so that a connection on
        which the server stays silent is closed."""
        return not self.under_way

    def add(self, query: _PendingQuery) -> None:
        """Queues a query with an ID that is unique on this connection: the callers' may be equal."""
        if len(self.under_way) >= WAITING_LIMIT:
            for key in [key for key, (other, _) in self.under_way.items() if other.answer.done()]:
                del self.under_way[key]
        key = secrets.token_bytes(2)
        while key in self.under_way:
            key = secrets.token_bytes(2)
        self.under_way[key] = (query, query.message[:2])
        self._unsent += len(query.message).to_bytes(2, "big") + key + query.message[2:]

    def transfer(self) -> bool:
        """Sends and receives without waiting. Returns whether bytes came. Raises OSError and PeerError."""
        if self._unsent:
            self._unsent = self._unsent[self._stream.send_nowait(self._unsent) :]
        received = False
        while (data := self._stream.receive_nowait()) is not None:
            if not data:
                self.has_ended = True
                break
            received = True
            self._reader.receive_data(data)
            while (message := next(self._frames)) is not None:
                if (entry := self.under_way.pop(message[:2], None)) is not None:
                    query, number = entry
                    query.settle(number + message[2:])
                    self.has_answered = True
        return received


def _frames(reader: Reader) -> Generator[bytes | None, None, None]:
    """Yields message after message; None when it needs more bytes. Raises PeerError."""
    while True:
        size = int.from_bytes((yield from reader.exactly(2)), "big")
        if not 12 <= size <= dns.MESSAGE_LIMIT:  # 12: a DNS header
            raise PeerError(f"its answer is {size} bytes long")
        yield (yield from reader.exactly(size))


def make_transport(server: SecureServer, via: Dialer, *, timeout_s: float, idle_s: float = IDLE_S) -> DnsTransport:
    """Returns the transport for the server's protocol; see DnsTransport."""
    kind = DohTransport if server.kind is DnsProtocol.DOH else DotTransport
    return kind(server, via, timeout_s=timeout_s, idle_s=idle_s)


_OURS = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN})


def _ours(symptom: Symptom) -> Symptom:
    """What a dial's symptom says of a name server: our own troubles stay what they are."""
    return symptom if symptom in _OURS else Symptom.RESOLVE_FAILED
