"""Connections to one encrypted DNS server, over any dialer: reused for later queries, and closed when idle.

Each connection is a task that owns its stream, so that none stays open after its callers have left. Many queries share
a connection over DoT, and over DoH when the server speaks HTTP/2, as nearly all do. Over HTTP/1.1 there is one query at
a time on each of a few connections. A server may close a reused connection at any time; its query is then sent once
more on a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from proxy.model import Symptom
from proxy.model.errors import DialError, PeerError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, context_trusting
from proxy.net.dns.stub_resolver import lookup_failed
from proxy.net.notify import Notify
from proxy.net.stream import Stream, read_with
from proxy.net.tasks import spawn
from proxy.wire import dns, doh
from proxy.wire.dns_url import DnsProtocol, SecureServer
from proxy.wire.reader import Reader

if TYPE_CHECKING:  # it imports h2, which takes 15 ms
    from proxy.wire.doh_http2 import DohHttp2

IDLE_S = 30.0
"""Seconds after which an idle connection is closed. RFC 7858 section 3.4 names no time; few servers wait longer."""

HTTP1_CONNECTIONS = 4
"""The most connections to one DoH server that speaks HTTP/1.1: both address families of two names."""

WAITING_LIMIT = 1024
"""The most queries that wait for one server."""

_CHUNK = 16 * 1024  # bytes; h2 parses as many in 30 ms at worst
_UNSENT_LIMIT = 256 * 1024  # bytes for the server, above which nothing is read from it

Key = TypeVar("Key", bytes, int)
"""The identifier of a query on the wire: its ID over DoT, its stream over HTTP/2."""


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

    alpn: tuple[str, ...] = ()  # the protocols to offer

    def __init__(self, server: SecureServer, via: Dialer, *, timeout_s: float, idle_s: float = IDLE_S) -> None:
        """`timeout_s` is the limit for opening a connection, with its TLS handshake, and for each answer. Raises
        ConfigError when the server's `ca` cannot be used."""
        self.server = server
        self._via = via
        self._context = context_trusting(server.ca, alpn=self.alpn) if server.ca else None
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._waiting: deque[_PendingQuery] = deque()
        self._connections = 1  # the limit
        self._running: set[Notify] = set()  # of the connections that take queries, or will
        self._idle: set[Notify] = set()  # of the connections that can take a query now
        self._callers = 0
        self.down_until = 0.0
        """The loop time until which its owner counts it as down."""

    async def exchange(self, message: bytes) -> bytes:
        """Sends a query. Returns the answer, unparsed. Raises DialError of stage RESOLVE."""
        if self._callers >= WAITING_LIMIT:
            raise self._failed("too many queries are waiting for it", Symptom.LOCAL)
        query = _PendingQuery(message)
        self._callers += 1
        try:
            self._waiting.append(query)
            self._assign()
            with deadline(self._timeout_s):
                return await query.answer
        except TimeoutError:
            raise self._failed(f"no answer within {self._timeout_s:g} s") from None
        finally:
            self._callers -= 1
            query.answer.cancel()

    def _assign(self) -> None:
        """Wakes an idle connection for the waiting queries, or opens a new one."""
        if self._idle:
            self._idle.pop().set()
        else:
            self._open_another()

    def _open_another(self) -> None:
        """Opens one more connection, unless the limit is reached."""
        if len(self._running) < self._connections:
            notify = Notify()
            self._running.add(notify)
            spawn(self._run(notify), name=f"dns {self.server}")

    def _next_query(self) -> _PendingQuery | None:
        while self._waiting:
            query = self._waiting.popleft()
            if not query.answer.done():  # done: the caller has left
                return query
        return None

    async def _run(self, notify: Notify) -> None:
        """Runs one connection, from its first query to its end."""
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
                await self._serve(stream, notify)
            except BaseException:
                stream.abort()
                raise
            stream.close()
        finally:
            self._running.discard(notify)
            notify.close()
        # Waiting queries get another connection, unless none can be opened.
        if failure is None:
            if (query := self._next_query()) is not None:
                self._waiting.appendleft(query)
                self._assign()
        elif not self._running:
            while (query := self._next_query()) is not None:
                query.fail(failure)

    async def _open(self) -> TlsStream:
        try:
            inner = await self._via.dial(self.server.endpoint)
        except DialError as error:
            is_ours = error.symptom in (Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN)
            raise self._failed(str(error), error.symptom if is_ours else Symptom.RESOLVE_FAILED) from error
        try:
            context = self._context or context_trusting(None, alpn=self.alpn)  # 10 ms the first time
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
    async def _serve(self, stream: TlsStream, notify: Notify) -> None:
        """Sends queries until the connection ends or is idle. Settles or retries each query that it has taken. `notify`
        wakes the connection, and identifies it in `_running` and `_idle`."""

    async def _share(self, connection: _SharedConnection[Key]) -> None:
        """Serves a connection that carries many queries at once."""
        try:
            await self._exchange_all(connection)
        except (OSError, PeerError) as error:
            connection.error = str(error)
        finally:
            self._idle.discard(connection.notify)
            connection.end()
            self._settle_failed(connection)
            for query in connection.under_way.values():
                self._retry_or_fail(query, self._failed(connection.error), is_retriable=connection.has_answered)

    async def _exchange_all(self, connection: _SharedConnection[Key]) -> None:
        """Exchanges queries and answers until the connection has ended or was idle for `idle_s`. Raises OSError and
        PeerError."""
        loop, notify = asyncio.get_running_loop(), connection.notify
        progress_at = loop.time()
        while not connection.has_ended:
            was_idle = connection.is_idle
            while connection.can_add and (query := self._next_query()) is not None:
                connection.add(query)
            has_received = connection.transfer()
            self._settle_failed(connection)
            if connection.can_add:
                self._idle.add(notify)
            else:
                self._idle.discard(notify)
            if connection.is_ending and notify in self._running:  # waiting and new queries get another connection
                self._running.remove(notify)
                if self._waiting:
                    self._assign()
            if has_received or (was_idle and not connection.is_idle):
                progress_at = loop.time()
            if has_received:
                await asyncio.sleep(0)  # other tasks have their turn, however much the server sends
                continue
            if connection.is_ending and not connection.under_way:
                return
            ends_at = progress_at + (self._idle_s if connection.is_idle else self._timeout_s)
            probe_at = progress_at + self._timeout_s / 2
            now = loop.time()
            if ends_at <= now:
                connection.error = f"no answer within {self._timeout_s:g} s"
                return
            if not connection.is_idle and not connection.is_probed:
                if probe_at <= now:
                    connection.probe()
                    continue
                ends_at = probe_at
            await notify.wait(ends_at)

    async def _await_query(self, stream: Stream, notify: Notify) -> bool:
        """Waits for the next query. Returns False when the connection has ended, or was idle for `idle_s`."""
        self._idle.add(notify)
        stream.notify = notify.set
        try:
            ends_at = asyncio.get_running_loop().time() + self._idle_s
            while not self._waiting:
                try:
                    if stream.receive_nowait() is not None:  # EOF, or bytes that answer no query
                        return False
                except OSError:
                    return False
                if asyncio.get_running_loop().time() >= ends_at:
                    return False
                await notify.wait(ends_at)
                if notify not in self._idle:  # `_assign` chose this connection
                    self._idle.add(notify)
            return True
        finally:
            self._idle.discard(notify)
            stream.notify = None

    def _settle_failed(self, connection: _SharedConnection[Key]) -> None:
        failed, connection.failed = connection.failed, []
        for query, reason, is_unprocessed in failed:
            self._retry_or_fail(query, self._failed(reason), is_retriable=is_unprocessed)

    def _retry_or_fail(self, query: _PendingQuery, error: DialError, *, is_retriable: bool) -> None:
        """Handles a query without an answer. `is_retriable`: its connection had answered another query before, and may
        have been closed as idle; or the server did not process the query. Such a query gets a second try."""
        if is_retriable and not query.was_retried:
            query.was_retried = True
            self._waiting.appendleft(query)
        else:
            query.fail(error)

    def _failed(self, text: str, symptom: Symptom = Symptom.RESOLVE_FAILED) -> DialError:
        return lookup_failed(f"{self.server}: {text}", symptom)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.server} via {self._via!r}>"


class DohTransport(DnsTransport):
    """DoH (RFC 8484) over HTTP/2, or over HTTP/1.1 if the server speaks only that."""

    alpn = ("h2", "http/1.1")

    async def _serve(self, stream: TlsStream, notify: Notify) -> None:
        if stream.alpn == "h2":
            await asyncio.to_thread(import_module, "proxy.wire.doh_http2")  # connections go on meanwhile
            from proxy.wire.doh_http2 import DohHttp2

            self._connections = 1
            await self._share(_Http2Connection(stream, notify, DohHttp2(self.server)))
            return
        self._connections = HTTP1_CONNECTIONS
        for _ in range(1, len(self._waiting)):
            self._open_another()
        await self._serve_http1(stream, notify)

    async def _serve_http1(self, stream: TlsStream, notify: Notify) -> None:
        reader, is_reused = Reader(), False
        while await self._await_query(stream, notify):
            if (query := self._next_query()) is None:
                continue
            try:
                with deadline(self._timeout_s):
                    await stream.send(doh.http1_request(self.server, query.message))
                    keep_alive, answer = await read_with(stream, reader, doh.read_http1_answer(reader))
            except TimeoutError as error:
                text = error.strerror or f"no answer within {self._timeout_s:g} s"
                query.fail(self._failed(text))
                return
            except (OSError, PeerError) as error:
                is_retriable = is_reused and not isinstance(error, doh.NotDns)
                self._retry_or_fail(query, self._failed(str(error)), is_retriable=is_retriable)
                return
            query.settle(answer)
            if not keep_alive or len(reader):  # bytes after an answer cannot belong to a later query
                return
            is_reused = True


class DotTransport(DnsTransport):
    """DoT (RFC 7858): each message follows its length, and answers come in any order."""

    async def _serve(self, stream: TlsStream, notify: Notify) -> None:
        await self._share(_DotConnection(stream, notify))


class _SharedConnection(ABC, Generic[Key]):
    """One connection and its unanswered queries."""

    def __init__(self, stream: Stream, notify: Notify) -> None:
        self.notify = notify
        self.under_way: dict[Key, _PendingQuery] = {}
        self.error = "it closed the connection"
        self.has_answered = False
        self.has_ended = False
        self.is_ending = False
        """No query can be added any more, and the connection ends with the last answer."""
        self.is_probed = False
        self._stream = stream
        self._unsent = b""
        self.failed: list[tuple[_PendingQuery, str, bool]] = []
        """The queries that the server will not answer, although the connection may go on: each with the reason, and
        whether it may be sent once more."""
        stream.notify = notify.set

    @property
    def is_idle(self) -> bool:
        """Whether no answer of the server is due."""
        return not self.under_way

    @property
    @abstractmethod
    def can_add(self) -> bool:
        """Whether `add` may be called."""

    @abstractmethod
    def add(self, query: _PendingQuery) -> None:
        """Queues a query for `transfer`."""

    def probe(self) -> None:
        """Asks a silent server for a sign of life, if the protocol has one. Until one comes, `is_probed` is true."""
        self.is_probed = True

    def transfer(self) -> bool:
        """Sends, and receives one chunk at most, without waiting. Returns whether a chunk came. Raises OSError and
        PeerError."""
        self._flush()
        if len(self._unsent) > _UNSENT_LIMIT:  # the server requests much and does not read
            return False
        data = self._stream.receive_nowait(_CHUNK)
        self.has_ended = data == b""
        if not data:
            return False
        self.is_probed = False
        self._receive(data)
        return True

    def end(self) -> None:
        """Tells the server that the connection ends, as far as that is possible without waiting."""
        self._stream.notify = None

    def _flush(self) -> None:
        if self._unsent:
            self._unsent = self._unsent[self._stream.send_nowait(self._unsent) :]

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Settles the queries whose answers have come. Raises PeerError."""


class _DotConnection(_SharedConnection[bytes]):
    """A connection over DoT. A query whose caller has left counts until it is answered, so that a connection with a
    silent server is closed."""

    can_add = True

    def __init__(self, stream: Stream, notify: Notify) -> None:
        super().__init__(stream, notify)
        self._reader = Reader()
        self._frames = _frames(self._reader)

    def add(self, query: _PendingQuery) -> None:
        """See _SharedConnection. The query gets an ID that is unique on this connection; the IDs of callers may be
        equal."""
        if len(self.under_way) >= WAITING_LIMIT:
            for key in [key for key, other in self.under_way.items() if other.answer.done()]:
                del self.under_way[key]
        number = secrets.token_bytes(2)
        while number in self.under_way:
            number = secrets.token_bytes(2)
        self.under_way[number] = query
        self._unsent += len(query.message).to_bytes(2, "big") + number + query.message[2:]

    def _receive(self, data: bytes) -> None:
        self._reader.receive_data(data)
        while (message := next(self._frames)) is not None:
            if (query := self.under_way.pop(message[:2], None)) is not None:
                query.settle(query.message[:2] + message[2:])
                self.has_answered = True


class _Http2Connection(_SharedConnection[int]):
    """A connection over HTTP/2. The stream of a query whose caller has left is reset. A PING distinguishes a slow
    answer from a dead connection."""

    def __init__(self, stream: Stream, notify: Notify, http2: DohHttp2) -> None:
        super().__init__(stream, notify)
        self._http2 = http2

    @property
    def is_idle(self) -> bool:
        return not self.under_way and not self.is_probed

    @property
    def can_add(self) -> bool:
        return self._http2.can_ask

    def add(self, query: _PendingQuery) -> None:
        self.under_way[self._http2.ask(query.message)] = query
        query.answer.add_done_callback(lambda _: self.notify.set())  # also when the caller leaves

    def probe(self) -> None:
        super().probe()
        self._http2.ping()

    def transfer(self) -> bool:
        for number in [number for number, query in self.under_way.items() if query.answer.done()]:
            del self.under_way[number]
            self._http2.cancel(number)
        return super().transfer()

    def end(self) -> None:
        super().end()
        self._http2.end()
        with contextlib.suppress(OSError):  # the connection is broken
            self._flush()

    def _flush(self) -> None:
        self._unsent += self._http2.data_to_send()
        super()._flush()

    def _receive(self, data: bytes) -> None:
        from proxy.wire.doh_http2 import Answered

        for result in self._http2.receive_data(data):
            query = self.under_way.pop(result.stream)
            if isinstance(result, Answered):
                query.settle(result.message)
                self.has_answered = True
            else:
                self.failed.append((query, result.reason, result.is_unprocessed))
        self.is_ending = self._http2.is_ending


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
