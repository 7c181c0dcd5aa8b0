"""One plain HTTP request and its answer, over two streams that are already connected.

The request's body and the answer travel at the same time (RFC 9112 section 9.5): a server may answer before it has
read everything. Both directions are generators that make non-blocking calls and yield when they can do no more; one
coroutine steps them whenever a stream has news. So an exchange needs no task, and a direction holds at most one
received and one unsent piece. `wire.http1` writes heads and chunks anew. The caller closes both streams; only a client
whose answer broke off is aborted here, so that the answer does not look complete.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import NamedTuple, NoReturn, TypeVar

from proxy.model import ClosedBy, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.net.notify import Notify
from proxy.net.stream import CHUNK, EndedByByway, Stream
from proxy.wire import http1
from proxy.wire.http1 import BodyKind, Framing, RequestHead, ResponseHead
from proxy.wire.reader import Parser, Reader

T = TypeVar("T")

Steps = Generator[bool, None, T]
"""Yields False when it has to wait for news of a stream, and True when its turn is over and it could do more."""

CONTINUE_AFTER_S = 1.0
"""Seconds that a client waits for the server's `100 Continue` before it gets ours; curl waits as long."""

LINGER_S = 2.0
"""Seconds for which the rest of a request is still read after its answer is complete. Closing with unread bytes would
reset the connection, and could destroy the answer on its way (RFC 9112 section 9.6)."""

INTERIM_LIMIT = 32
"""Interim answers (1xx) before the final one, at most."""

AHEAD_LIMIT = 64 * 1024
"""Bytes of later requests that are read while this one is served. Only a read shows that the client has left."""

TURN = 4 * CHUNK
"""Bytes that a direction moves before other tasks have their turn."""

_OF_LENGTH = (BodyKind.NONE, BodyKind.LENGTH)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchanged(NamedTuple):  # one is made for each request
    """The result of an exchange whose answer had begun. Byte counts include the heads."""

    status: int
    bytes_up: int
    bytes_down: int
    client_reusable: bool  # the next request may be read from the client
    upstream_reusable: bool  # another request may be sent to the server
    upgraded: bool  # both streams carry another protocol now; its first bytes may be in the readers
    closed_by: ClosedBy
    error: str = ""  # why the answer is incomplete; the client has been aborted then


class _Stalled(Exception):
    """No byte has moved for the whole idle limit."""


class _End:
    """One of the two peers: its stream, the bytes that are not parsed yet, and the counts of bytes moved."""

    __slots__ = ("failure", "reader", "received", "sending", "sent", "stream")

    def __init__(self, stream: Stream, reader: Reader, failure: Callable[[OSError | PeerError], Exception]) -> None:
        """`failure` makes the error of the exchange from an error of this peer."""
        self.stream = stream
        self.reader = reader
        self.failure = failure
        self.received = 0
        self.sent = 0
        self.sending = False  # something is waiting for the peer to take it

    def read_available(self) -> bool:
        """Moves received bytes, or EOF, into the reader. Returns False when there is neither."""
        if self.stream.drained:
            return False
        try:
            data = self.stream.receive_nowait()
        except OSError as error:
            raise self.failure(error) from error
        if data is None:
            return False
        if data:
            self.reader.extend(data)
            self.received += len(data)
        else:
            self.reader.receive_data(data)
        return True

    def fill(self) -> Steps[None]:
        while self.stream.drained or not self.read_available():
            yield False

    def send_nowait(self, data: bytes | memoryview) -> bytes | memoryview:
        """Sends the bytes that the peer takes now, nearly always all. Returns the rest."""
        try:
            taken = self.stream.send_nowait(data)
        except OSError as error:
            raise self.failure(error) from error
        self.sent += taken
        self.sending = taken < len(data)
        return memoryview(data)[taken:] if self.sending else b""

    def send(self, data: bytes | memoryview) -> Steps[None]:
        while data := self.send_nowait(data):
            yield False


class Exchange:
    """The state that both directions share, and the coroutine that steps them. Used once."""

    __slots__ = (
        "_answer", "_broken_off", "_client", "_continue_due", "_head", "_keep_client", "_notify", "_refused",
        "_sent_before", "_server", "_uploaded",
    )  # fmt: skip

    def __init__(
        self,
        client: Stream,
        client_reader: Reader,
        upstream: Stream,
        upstream_reader: Reader,
        head: RequestHead,
        notify: Notify,
    ) -> None:
        """`upstream_reader` may hold the first bytes of the answer. Bytes of the client beyond this request stay in
        `client_reader`. The client's stream sets `notify`, and the server's does while the exchange runs."""
        self._notify = notify
        self._client = _End(client, client_reader, _as_it_is)
        self._server = _End(upstream, upstream_reader, _server_failed)
        self._head = head
        self._uploaded = False  # the whole request has gone out
        self._refused: DialError | None = None  # why it could not go out
        self._broken_off: DialError | None = None  # why the exchange has to end now
        self._continue_due = False  # the client waits for a 100, and the server sends none
        # The head of the final answer, once it is read. With it are set: the bytes that the client got before it, and
        # whether the client's connection is kept.
        self._answer: ResponseHead | None = None
        self._sent_before: int
        self._keep_client: bool

    @property
    def bytes_moved(self) -> tuple[int, int]:
        """Up and down, so far, with the heads."""
        return self._server.sent, self._client.sent

    @property
    def client_is_slow(self) -> bool:
        """Whether something waits for the client to take it."""
        return self._client.sending

    def break_off(self, why: str) -> None:
        """Ends the exchange as if the server had broken off."""
        self._broken_off = _server_fault(why, Symptom.SILENT)
        self._notify.set()

    @property
    def is_half_closed(self) -> bool:
        """Whether the client has finished sending."""
        return self._client.reader.ended

    async def run(self, *, head_sent: int = 0, idle_timeout_s: float) -> Exchanged:
        """Sends the request and passes the answer on. `head_sent` > 0: the head has been sent already, in so many
        bytes.

        Raises only before the client has got a byte of the answer: PeerError, with the reply to send, for an error of
        the client; OSError when it has left; DialError (stage first_byte) for an error of the server. When no byte
        moves for `idle_timeout_s`, that is an error of the side whose bytes are due. The caller then closes both
        streams; after a return, those that are not reusable.
        """
        client, server, loop = self._client, self._server, asyncio.get_running_loop()
        server.stream.notify = self._notify.set
        timer = self._watch_for_continue() if self._head.expect_continue else None
        upward: Steps[None] | None = None
        downward = self._downward()
        try:
            unsent = self._send_head(head_sent)
            moved, moved_at = server.sent, loop.time()
            if self._uploaded and client.stream.drained and server.stream.drained and not server.reader:
                await self._notify.wait(moved_at + idle_timeout_s)  # usually the answer is the next thing to do
            while True:
                if self._broken_off is not None:
                    raise self._broken_off
                again: object = False
                if not (self._uploaded and client.stream.drained):
                    upward = upward or self._upward(unsent)
                    again = next(upward, False)
                if (paused := next(downward, _ENDED)) is _ENDED:
                    break
                if again or paused:
                    await asyncio.sleep(0)
                    continue
                now = loop.time()
                if moved != (moved := client.received + client.sent + server.received + server.sent):
                    moved_at = now
                elif now >= moved_at + idle_timeout_s:
                    raise _Stalled
                await self._notify.wait(moved_at + idle_timeout_s)
            if upward is not None and not self._uploaded:
                await self._linger(upward)
        except (OSError, DialError, PeerError, _Stalled) as fault:
            if self._answer is None or client.sent == self._sent_before:
                self._raise(fault)
            client.stream.abort()
            return self._exchanged(self._answer, _who(fault), str(fault) or "no progress until the timeout")
        finally:
            server.stream.notify = None
            if upward is not None:
                upward.close()
            if timer is not None:
                timer.cancel()
        assert self._answer is not None  # `_downward` ends in no other way
        return self._exchanged(self._answer, ClosedBy.SERVER)

    async def _linger(self, upward: Steps[None]) -> None:
        """Reads the rest of a request whose answer is complete, for LINGER_S at most."""
        self._client.stream.send_eof()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + LINGER_S
        with contextlib.suppress(OSError, PeerError):
            for again in upward:
                if self._uploaded or loop.time() >= ends_at:
                    return
                if again:
                    await asyncio.sleep(0)
                else:
                    await self._notify.wait(ends_at)

    # -- the two directions ----------------------------------------------------------------------------------------

    def _send_head(self, head_sent: int) -> bytes | memoryview:
        """Sends the head of a request without a body, nearly always whole. Returns the unsent part: for a request with
        a body the whole head, which is sent together with the first bytes of the body."""
        self._server.sent += head_sent
        unsent: bytes | memoryview = b"" if head_sent else self._head.forwarded
        if self._head.bodiless:
            try:
                if unsent:
                    unsent = self._server.send_nowait(unsent)
                self._uploaded = not unsent
            except DialError as fault:  # the server may still answer with the reason: the other direction reads it
                self._refused = fault
        return unsent

    def _upward(self, unsent: bytes | memoryview) -> Steps[None]:
        """Sends the rest of the request. Then reads the bytes that the client sends ahead, and keeps them; drops them
        when the server took only a part of the request."""
        head, client = self._head, self._client
        try:
            if not head.bodiless:
                yield from self._carry(client, self._server, head.body, head.body, bytes(unsent))
                self._uploaded = True
            elif unsent and self._refused is None:
                yield False
                yield from self._server.send(unsent)
                self._uploaded = True
        except DialError as fault:
            self._refused = fault
        while not client.reader.ended and len(client.reader) < AHEAD_LIMIT:
            while client.stream.drained or not client.read_available():
                yield False
            if not self._uploaded:
                client.reader.rest()
                yield True  # a client may send as fast as this drops: others must run

    def _downward(self) -> Steps[None]:
        """Passes the answer on: interim answers as they come (not to an HTTP/1.0 client), then the final one."""
        request, client, server, continued = self._head, self._client, self._server, False
        for _ in range(INTERIM_LIMIT):
            parser: Parser[ResponseHead] | None = None
            while True:
                if server.reader or server.reader.ended:
                    try:
                        if parser is None:
                            taken = http1.take_response_head(server.reader, request.method)
                            if taken is not None:  # as nearly always
                                answer = taken
                                break
                            parser = http1.read_response_head(server.reader, request.method)
                        next(parser)
                    except StopIteration as stop:
                        answer = stop.value
                        break
                    except PeerError as fault:
                        if not server.reader.ended or len(server.reader):
                            raise _server_fault(str(fault), Symptom.GARBAGE) from fault
                        # The kernel reports a reset once: if sending got it, receiving sees EOF.
                        unanswered = _server_fault("the server closed without an answer", Symptom.EOF)
                        raise self._refused or unanswered from None
                while server.stream.drained or not server.read_available():
                    if self._continue_due and not continued:
                        self._continue_due = False
                        continued = True
                        yield from client.send(_CONTINUE)
                    else:
                        yield False
            if answer.status >= 200 or not answer.is_interim:
                break
            if request.version >= http1.HTTP_1_1 and not (answer.status == 100 and continued):
                continued = continued or answer.status == 100
                yield from client.send(answer.forwarded(answer.body, keep_alive=True))
        else:
            raise _server_fault(f"more than {INTERIM_LIMIT} interim answers came, and no final one", Symptom.GARBAGE)
        if answer.upgrade is not None:
            self._check_upgrade(answer.upgrade)
        self._answer, self._sent_before = answer, client.sent
        sent_as = answer.body_for(request.version)
        # Only after the whole request: the next one begins at its end, which may never come.
        may_keep = request.keep_alive and self._uploaded and not client.reader.ended
        self._keep_client = may_keep and sent_as.kind is not BodyKind.UNTIL_EOF
        head = answer.forwarded(sent_as, keep_alive=self._keep_client)
        yield from self._carry(server, client, answer.body, sent_as, head)

    def _carry(self, source: _End, sink: _End, body: Framing, sent_as: Framing, unsent: bytes) -> Steps[None]:
        """Sends a head (`unsent`) and the body after it. Small pieces are sent together."""
        if body.kind in _OF_LENGTH and body.length <= len(source.reader) and body.length <= CHUNK:
            # The whole body is here already, as for most answers.
            if rest := sink.send_nowait(unsent + source.reader.take(body.length)):
                yield False
                yield from sink.send(rest)
            return
        chunked = sent_as.kind is BodyKind.CHUNKED
        moved = 0
        try:
            for piece in http1.read_body(source.reader, body):
                if piece is not None:
                    moved += len(piece)
                    piece = http1.encode_chunk(piece) if chunked else piece
                    unsent = unsent + piece if unsent else piece
                if unsent and (piece is None or len(unsent) >= CHUNK):
                    yield from sink.send(unsent)
                    unsent = b""
                if piece is None:
                    yield from source.fill()
                elif moved >= TURN:
                    moved = 0
                    yield True
        except PeerError as fault:
            raise source.failure(fault) from fault
        if chunked:
            unsent += http1.LAST_CHUNK
        if unsent:
            yield from sink.send(unsent)

    def _check_upgrade(self, upgrade: str) -> None:
        """Raises DialError for a change of protocol that was not requested (RFC 9110 section 7.8)."""
        requested = (self._head.upgrade or "").lower().split(", ")
        if upgrade.lower() not in requested or not self._uploaded:
            raise _server_fault("the server switched to a protocol that was not requested", Symptom.GARBAGE)

    def _watch_for_continue(self) -> asyncio.TimerHandle:
        """Starts the timer after which the client gets our `100 Continue`: a server that does not support it must not
        make the client wait for ever (RFC 9110 section 10.1.1)."""
        sends_already = len(self._client.reader) > 0
        return asyncio.get_running_loop().call_later(CONTINUE_AFTER_S, self._continue_is_due, sends_already)

    def _continue_is_due(self, sends_already: bool) -> None:
        # A client that already sends needs none.
        self._continue_due = not (sends_already or self._client.received)
        self._notify.set()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _exchanged(self, answer: ResponseHead, closed_by: ClosedBy, error: str = "") -> Exchanged:
        client, server, keep_client, keep_server, upgraded = self._client, self._server, False, False, False
        if not error and answer.upgrade is not None:
            upgraded = True
        elif not error:
            keep_client = self._keep_client and not client.reader.ended
            keep_server = answer.keep_alive and self._uploaded and not (server.reader or server.reader.ended)
        return Exchanged(answer.status, server.sent, client.sent, keep_client, keep_server, upgraded, closed_by, error)

    def _raise(self, fault: Exception) -> NoReturn:
        """Raises a fault from before the answer, as `run` documents."""
        match fault:
            case PeerError():
                reply = http1.error_response(400, f"This request is refused: {fault}.")
                raise PeerError(str(fault), reply=reply) from fault
            case _Stalled() if not self._uploaded and not self._server.sending:
                sentence = "The rest of this request did not arrive in time."
                raise PeerError(sentence, reply=http1.error_response(408, sentence)) from None
            case _Stalled():
                raise _server_fault("the server did not answer in time", Symptom.SILENT) from None
            case _:
                raise fault


_ENDED = object()


def _as_it_is(error: OSError | PeerError) -> Exception:
    return error


def _server_failed(error: OSError | PeerError) -> DialError:
    if isinstance(error, PeerError):
        return _server_fault(str(error), Symptom.GARBAGE)
    return _server_fault(f"connection to the server failed: {error}", Symptom.RESET)


def _server_fault(message: str, symptom: Symptom) -> DialError:
    return DialError(message, stage=Stage.FIRST_BYTE, symptom=symptom)


def _who(fault: Exception) -> ClosedBy:
    match fault:
        case _Stalled():
            return ClosedBy.IDLE
        case DialError():
            return ClosedBy.BYWAY if isinstance(fault.__cause__, EndedByByway) else ClosedBy.SERVER
        case _:
            return ClosedBy.CLIENT
