"""Connections to one secure name server, over any dialer: kept open between questions, and closed when idle.

Each connection is a task that owns its stream, so that none is left open whatever happens to those who ask. DoH is
HTTP/1.1 here, one question at a time on each of a few connections; over DoT many questions travel on one. A question
that was on a kept connection when it ended is asked once more on a new one: a server may close at any time.
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
"""How long a connection without a question is kept (RFC 7858 section 3.4 names no time); few servers wait longer."""

CONNECTIONS = 4
"""To one DoH server: both families of two names."""

WAITING_LIMIT = 1024
"""Questions that wait for one server."""

_INTERIM_LIMIT = 8
_MEDIA_TYPE = "application/dns-message"


class _PendingQuery:
    """One message and who waits for its answer."""

    __slots__ = ("answer", "asked_again", "message")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.asked_again = False

    def settle(self, answer: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: DialError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class DnsTransport(ABC):
    """What asks one server over one dialer."""

    connections = 1

    def __init__(self, server: SecureServer, via: Dialer, *, timeout_s: float, idle_s: float = IDLE_S) -> None:
        """`timeout_s` bounds a connection's whole beginning, and each answer. Raises ConfigError for the server's
        `ca`."""
        self.server = server
        self._via = via
        self._context = context_trusting(server.ca) if server.ca else None
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._waiting: deque[_PendingQuery] = deque()
        self._bells: set[Notify] = set()  # of connections that have nothing to do
        self._running = 0
        self._asking = 0

    async def exchange(self, message: bytes) -> bytes:
        """The answer to a query, not looked into. Raises DialError of stage RESOLVE."""
        if self._asking >= WAITING_LIMIT:
            raise self._failed("too many queries are waiting for it", Symptom.LOCAL)
        question = _PendingQuery(message)
        self._asking += 1
        try:
            self._put(question)
            with deadline(self._timeout_s):
                return await question.answer
        except TimeoutError:
            raise self._failed(f"no answer within {self._timeout_s:g} s") from None
        finally:
            self._asking -= 1
            question.answer.cancel()

    def _put(self, question: _PendingQuery) -> None:
        self._waiting.append(question)
        if self._bells:
            self._bells.pop().set()
        elif self._running < self.connections:
            self._running += 1
            spawn(self._run(), name=f"dns {self.server}")

    def _next(self) -> _PendingQuery | None:
        while self._waiting:
            question = self._waiting.popleft()
            if not question.answer.done():  # done: the caller has left
                return question
        return None

    async def _run(self) -> None:
        """One connection, from its first question to its end."""
        failure: DialError | None = None
        try:
            with deadline(self._timeout_s):
                stream = await self._open()
        except TimeoutError:
            failure = self._failed(f"no connection within {self._timeout_s:g} s")
        except DialError as error:
            failure = error
        else:
            await self._use(stream)
        finally:
            self._running -= 1
        self._after(failure)

    async def _use(self, stream: Stream) -> None:
        try:
            await self._converse(stream)
        except BaseException:
            stream.abort()
            raise
        stream.close()

    def _after(self, failure: DialError | None) -> None:
        """Those who still wait get another connection, unless none can be had."""
        if failure is None:
            if (question := self._next()) is not None:
                self._put(question)
        elif not self._running:
            while (question := self._next()) is not None:
                question.fail(failure)

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
    async def _converse(self, stream: Stream) -> None:
        """Serves questions until the connection ends or is idle. Takes care of those it has begun."""

    async def _idle(self, stream: Stream, bell: Notify) -> bool:
        """Waits for the next question; False when the connection has ended, or was idle for long."""
        self._bells.add(bell)
        stream.notify = bell.set
        try:
            ends_at = asyncio.get_running_loop().time() + self._idle_s
            while not self._waiting:
                try:
                    if stream.receive_nowait() is not None:  # its end, or bytes that answer no question
                        return False
                except OSError:
                    return False
                left = ends_at - asyncio.get_running_loop().time()
                if left <= 0:
                    return False
                await bell.wait(left)
                if bell not in self._bells:  # a question was meant for us
                    self._bells.add(bell)
            return True
        finally:
            self._bells.discard(bell)
            stream.notify = None

    def _lost(self, question: _PendingQuery, error: DialError, *, is_kept: bool) -> None:
        """A question that got no answer. `is_kept`: the connection had served others before."""
        if is_kept and not question.asked_again:
            question.asked_again = True
            self._waiting.appendleft(question)
        else:
            question.fail(error)

    def _failed(self, text: str, symptom: Symptom = Symptom.RESOLVE_FAILED) -> DialError:
        return DialError(f"{self.server}: {text}", stage=Stage.RESOLVE, symptom=symptom)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.server} via {self._via!r}>"


class DohTransport(DnsTransport):
    """RFC 8484 over HTTP/1.1."""

    connections = CONNECTIONS

    async def _converse(self, stream: Stream) -> None:
        reader, bell, is_kept = Reader(), Notify(), False
        while await self._idle(stream, bell):
            if (question := self._next()) is None:
                continue
            try:
                with deadline(self._timeout_s):
                    await stream.send(self._request(question.message))
                    keep_alive, answer = await read_with(stream, reader, _read_doh(reader))
            except TimeoutError as error:
                text = error.strerror or f"no answer within {self._timeout_s:g} s"
                question.fail(self._failed(text))
                return
            except (OSError, PeerError) as error:
                self._lost(question, self._failed(str(error)), is_kept=is_kept and not isinstance(error, _NotDns))
                return
            question.settle(answer)
            if not keep_alive or len(reader):
                return
            is_kept = True

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
    """A whole answer that is none of a name server: it would come again."""


def _read_doh(reader: Reader) -> Parser[tuple[bool, bytes]]:
    """Whether the connection may be used again, and the message. Raises PeerError."""
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
    kind = next((value for name, value in head.headers if name.lower() == "content-type"), "nothing")
    if head.status != 200:
        raise _NotDns(f"it answered with HTTP status {head.status}")
    if kind.partition(";")[0].strip().lower() != _MEDIA_TYPE:  # a login page, say
        raise _NotDns(f"it answered with {kind[:60]!r}, which is no DNS message")


class DotTransport(DnsTransport):
    """RFC 7858: each message behind its length, answers in any order."""

    async def _converse(self, stream: Stream) -> None:
        talk = _DotConnection(stream)
        try:
            await self._talk(talk)
        except (OSError, PeerError) as error:
            talk.why = str(error)
        finally:
            self._bells.discard(talk.bell)
            stream.notify = None
            for question in talk.left():
                self._lost(question, self._failed(talk.why), is_kept=talk.is_kept)

    async def _talk(self, talk: _DotConnection) -> None:
        """Until it ends, or is idle. Raises OSError and PeerError."""
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        while True:
            self._bells.add(talk.bell)
            was_idle = talk.is_idle
            while (question := self._next()) is not None:
                talk.add(question)
            if talk.move() or (was_idle and not talk.is_idle):
                moved_at = loop.time()
            if talk.has_ended:
                return
            left = moved_at + (self._idle_s if talk.is_idle else self._timeout_s) - loop.time()
            if left <= 0:
                talk.why = f"no answer within {self._timeout_s:g} s"
                return
            await talk.bell.wait(left)


class _DotConnection:
    """One DoT connection: what is under way on it."""

    def __init__(self, stream: Stream) -> None:
        self.bell = Notify()
        self.under_way: dict[bytes, tuple[_PendingQuery, bytes]] = {}  # number → question and its own number
        self.why = "it closed the connection"
        self.is_kept = False  # it has answered before
        self.has_ended = False
        self._stream = stream
        self._reader = Reader()
        self._frames = _frames(self._reader)
        self._unsent = b""
        stream.notify = self.bell.set

    @property
    def is_idle(self) -> bool:
        """The server owes nothing, also to those who have left: one that stays silent is not kept."""
        return not self.under_way

    def add(self, question: _PendingQuery) -> None:
        if len(self.under_way) >= WAITING_LIMIT:
            for key in [key for key, (other, _) in self.under_way.items() if other.answer.done()]:
                del self.under_way[key]
        key = secrets.token_bytes(2)
        while key in self.under_way:
            key = secrets.token_bytes(2)
        self.under_way[key] = (question, question.message[:2])
        self._unsent += len(question.message).to_bytes(2, "big") + key + question.message[2:]

    def move(self) -> bool:
        """Sends and receives what it can; True when something came. Raises OSError and PeerError."""
        if self._unsent:
            self._unsent = self._unsent[self._stream.send_nowait(self._unsent) :]
        came = False
        while (data := self._stream.receive_nowait()) is not None:
            if not data:
                self.has_ended = True
                break
            came = True
            self._reader.receive_data(data)
            while (message := next(self._frames)) is not None:
                self._answered(message)
        return came

    def left(self) -> list[_PendingQuery]:
        return [question for question, _ in self.under_way.values()]

    def _answered(self, message: bytes) -> None:
        found = self.under_way.pop(message[:2], None)
        if found is not None:
            question, own = found
            question.settle(own + message[2:])
            self.is_kept = True


def _frames(reader: Reader) -> Generator[bytes | None, None, None]:
    """Message after message; None asks for more bytes. Raises PeerError."""
    while True:
        size = int.from_bytes((yield from reader.exactly(2)), "big")
        if not 12 <= size <= dns.MESSAGE_LIMIT:
            raise PeerError(f"its answer is {size} bytes long")
        yield (yield from reader.exactly(size))


def make_transport(server: SecureServer, via: Dialer, *, timeout_s: float, idle_s: float = IDLE_S) -> DnsTransport:
    """See Channel."""
    channel = DohTransport if server.kind is DnsProtocol.DOH else DotTransport
    return channel(server, via, timeout_s=timeout_s, idle_s=idle_s)


_OURS = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN})


def _ours(symptom: Symptom) -> Symptom:
    """What a dial's symptom says of a name server: our own troubles stay what they are."""
    return symptom if symptom in _OURS else Symptom.RESOLVE_FAILED
