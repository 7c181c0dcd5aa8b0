"""HTTP/1.1 in inspected connections, where mitmproxy's parser is incomplete or too lenient.

From an origin, mitmproxy mistakes an interim answer (100, 103) for the final one, so that the page never arrives;
trailers raise an error that leaves both sides waiting; and an endless head fills memory. Here the first two are
dropped, as an intermediary may (RFC 9110 sections 15.2 and 6.5.1), and endless heads and chunk headers are refused. A
client's requests, heads and chunks, are parsed by `wire.http1` first and refused when ambiguous, as on the proxy's own
port.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from h11._events import Data, EndOfMessage
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from h11._util import RemoteProtocolError
from mitmproxy.proxy import commands, events, layer, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import _http1

from proxy.model.errors import PeerError
from proxy.wire.http1 import Form, RequestHead, read_body, read_request_head
from proxy.wire.http1_body import CHUNKED
from proxy.wire.http1_error import refusal
from proxy.wire.reader import Parser, Reader

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's head, as everywhere in Byway."""

HEAD_TIMEOUT_S = 10.0

_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[ \r\n]")  # 101 is a final answer, before another protocol
_HEAD_END = re.compile(rb"\n\r?\n")
_NO_HEAD = b"(a head of more than 64 KiB)\r\n\r\n"  # mitmproxy refuses it, like any bad head


class Http1OriginSide(_http1.Http1Client):
    """The side of a connection that speaks to an origin. Drops interim answers, and refuses an endless head."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        if self.request is not None:
            _drop_interim(self.buf)
            if _is_endless(self.buf):
                self.buf = ReceiveBuffer()
                self.buf += _NO_HEAD
        yield from super().read_headers(event)


class Http1ClientSide(_http1.Http1Server):
    """The side of a connection that speaks to a client. Refuses ambiguous requests, and heads that are too slow."""

    head_timeout_s: Callable[[], float] = staticmethod(lambda: HEAD_TIMEOUT_S)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._reader = Reader()
        self._head: Parser[RequestHead] | None = None  # of the head that is being read
        self._limit: commands.RequestWakeup | None = None  # fires when the time of the head is up

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if not isinstance(event, events.Wakeup):
            yield from super()._handle_event(event)
        elif event.command is self._limit and self._head is not None:
            yield from self._refuse(refusal(408, "The request took too long."))

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        """Lets mitmproxy parse a head only after `wire.http1` has accepted it."""
        if isinstance(event, events.DataReceived):
            try:
                before = self._head
                if not self._is_head_complete(event.data):
                    if self._head is not before:
                        self._limit = commands.RequestWakeup(self.head_timeout_s())
                        yield self._limit
                    return
            except PeerError as error:
                yield from self._refuse(error)
                return
        yield from super().read_headers(event)

    def _refuse(self, error: PeerError) -> layer.CommandGenerator[None]:
        yield commands.Log(f"A request was refused: {error}", logging.DEBUG)
        yield commands.SendData(self.conn, error.reply)
        yield commands.CloseConnection(self.conn)
        self.state = self.done

    def _is_head_complete(self, received: bytes) -> bool:
        """Whether the whole head was received. Raises PeerError with the reply when the head is refused."""
        if not self.buf:
            return False
        if self._head is None:
            self._reader = Reader(bytes(self.buf))
            self._head = read_request_head(self._reader)
        elif received:
            self._reader.receive_data(received)
        try:
            next(self._head)
        except StopIteration as read:
            self._head = None
            if read.value.form is not Form.ORIGIN:
                raise refusal(400, "Inside a TLS connection the request target must be a path.") from None
        else:
            return False
        if bytes(self.buf).startswith(b"\r\n"):  # RFC 9112 section 2.2; mitmproxy would wait for more
            self.buf.maybe_extract_at_most(2)
        return True

    @property
    def body_reader(self) -> _http1.TBodyReader:
        return self._body_reader

    @body_reader.setter
    def body_reader(self, reader: _http1.TBodyReader) -> None:
        self._body_reader = StrictChunks() if isinstance(reader, ChunkedReader) else reader


class StrictChunks(ChunkedReader):
    """Reads a client's body in chunks with `wire.http1_body`."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = Reader()
        self._pieces = read_body(self._reader, CHUNKED)

    def __call__(self, buf: ReceiveBuffer) -> Data | EndOfMessage | None:
        """Returns the next piece; None: it needs more bytes. Raises RemoteProtocolError."""
        if received := buf.maybe_extract_at_most(len(buf)):
            self._reader.receive_data(bytes(received))
        try:
            piece = next(self._pieces)
        except StopIteration:
            buf += self._reader.rest()  # the next request
            return EndOfMessage()
        except PeerError as error:
            raise RemoteProtocolError(str(error)) from None
        return None if piece is None else Data(data=piece)


class WithoutTrailers(ChunkedReader):
    """Reads an origin's body in chunks, and drops its trailers."""

    def __call__(self, buf: ReceiveBuffer) -> Data | EndOfMessage | None:
        event = super().__call__(buf)
        if event is None and len(buf) > HEAD_LIMIT:  # h11 waits for the end of a line
            raise RemoteProtocolError("a chunk header or trailers of more than 64 KiB")
        return EndOfMessage() if isinstance(event, EndOfMessage) else event


def install(head_timeout_s: Callable[[], float]) -> None:
    """Makes mitmproxy use these classes. A client has `head_timeout_s` seconds for a request head."""
    Http1ClientSide.head_timeout_s = staticmethod(head_timeout_s)
    vars(layers.http)["Http1Client"] = Http1OriginSide
    vars(layers.http)["Http1Server"] = Http1ClientSide
    vars(_http1)["ChunkedReader"] = WithoutTrailers


def _is_endless(buf: ReceiveBuffer) -> bool:
    return len(buf) > HEAD_LIMIT and _HEAD_END.search(bytes(buf), 0, HEAD_LIMIT) is None


def _drop_interim(buf: ReceiveBuffer) -> None:
    while _INTERIM.match(bytes(buf)) and buf.maybe_extract_lines() is not None:
        pass
