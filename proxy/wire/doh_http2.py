"""The client's side of one HTTP/2 connection (RFC 9113) that carries DNS over HTTPS, by h2, without I/O.

This module and `connect_http2` alone import h2, which takes 15 ms: they are imported once a server has chosen HTTP/2.
h2 refuses every frame after a GOAWAY, although streams that the GOAWAY does not refuse go on (its issue 1181). So this
module cuts the bytes into frames and handles GOAWAY itself.

A server's demands are bounded: queries under way, bytes of an answer, and other bytes. Server push is disabled. A query
is sent only when the flow-control windows have room for all of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import doh
from proxy.wire.dns_url import SecureServer
from proxy.wire.reader import Reader

STREAMS_LIMIT = 100
"""Queries under way at most. A server may allow fewer, but hardly any does (RFC 9113 section 6.5.2)."""

EARLY_LIMIT = 4
"""Queries under way at most before the server's SETTINGS has come: both address families of two names. The server could
refuse more."""

OVERHEAD_LIMIT = 64 * 1024
"""Bytes at most that are no part of an answer, from one whole answer to the next: headers, PING, SETTINGS, padding, and
data that the server sent before our RST_STREAM reached it. h2 has the same limit for a list of headers."""

_FRAME_HEADER, _FRAME_LIMIT = 9, 2**14  # bytes; RFC 9113 sections 4.1 and 4.2
_GOAWAY = 0x7
_QUERY_LIMIT = 512  # bytes; the longest name, with padding, takes 384


@frozen_dataclass
class Answered:
    """The whole answer to the query on `stream`: a DNS message, unparsed."""

    stream: int
    message: bytes


@frozen_dataclass
class Failed:
    """The query on `stream` gets no answer. `is_unprocessed`: the server says that it has not processed the query."""

    stream: int
    reason: str
    is_unprocessed: bool = False


class DohHttp2:
    """See the module's docstring. After each call of another method, the owner of the connection sends
    `data_to_send`."""

    def __init__(self, server: SecureServer) -> None:
        self.is_ending = False
        """No further query may be sent. Queries under way may still be answered."""
        self._fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", doh.authority(server)),
            (":path", server.path),
            ("accept", doh.MEDIA_TYPE),
            ("content-type", doh.MEDIA_TYPE),
        ]
        self._answers: dict[int, bytes] = {}  # stream → the bytes of its answer so far
        self._limit = EARLY_LIMIT
        self._overhead = 0
        self._is_broken = False
        self._reader = Reader()
        self._frames = _frames(self._reader)
        self._http2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._http2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
            },
        )
        self._http2.initiate_connection()

    @property
    def can_ask(self) -> bool:
        """Whether `ask` may be called."""
        window = min(self._http2.remote_settings.initial_window_size, self._http2.outbound_flow_control_window)
        return not self.is_ending and len(self._answers) < self._limit and window >= _QUERY_LIMIT

    def ask(self, message: bytes) -> int:
        """Sends a query of at most 512 bytes. Returns its stream."""
        stream = self._http2.get_next_available_stream_id()
        self._http2.send_headers(stream, [*self._fields, ("content-length", str(len(message)))])
        self._http2.send_data(stream, message, end_stream=True)
        self._answers[stream] = b""
        return stream

    def cancel(self, stream: int) -> None:
        """Resets one stream whose answer is no longer needed."""
        del self._answers[stream]
        self._http2.reset_stream(stream, ErrorCodes.CANCEL)

    def ping(self) -> None:
        """Sends a PING, which a server that is still there answers at once."""
        self._http2.ping(bytes(8))

    def end(self) -> None:
        """Sends a GOAWAY: the owner will close the connection."""
        if not self._is_broken:  # else h2 has sent one, with the reason
            self._http2.close_connection()

    def data_to_send(self) -> bytes:
        return self._http2.data_to_send()

    def receive_data(self, data: bytes) -> Iterator[Answered | Failed]:
        """Yields the queries that the bytes bring to an end. Raises PeerError when the server breaks the protocol or
        exceeds OVERHEAD_LIMIT; the connection must be closed then."""
        self._reader.receive_data(data)
        try:
            while (frame := next(self._frames)) is not None:
                self._overhead += len(frame)
                if frame[3] == _GOAWAY:
                    yield from self._receive_goaway(frame[_FRAME_HEADER:])
                else:
                    for event in self._http2.receive_data(frame):
                        yield from self._receive_event(event)
                if self._overhead > OVERHEAD_LIMIT:
                    raise PeerError("it sends more than its answers need")
        except ProtocolError as error:
            self._is_broken = True
            raise PeerError(f"it does not keep to HTTP/2 ({str(error).rstrip('.') or type(error).__name__})") from error

    def _receive_event(self, event: Event) -> Iterator[Answered | Failed]:
        if isinstance(event, DataReceived) and event.flow_controlled_length:
            self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        match event:
            case ResponseReceived(stream_id=int(stream)) | DataReceived(stream_id=int(stream)):
                if stream in self._answers:
                    try:
                        self._receive_part(stream, event)
                    except doh.NotDns as error:
                        del self._answers[stream]
                        if event.stream_ended is None:
                            self._http2.reset_stream(stream, ErrorCodes.CANCEL)
                        yield Failed(stream, str(error))
            case RemoteSettingsChanged():
                self._limit = min(STREAMS_LIMIT, self._http2.remote_settings.max_concurrent_streams)
            case StreamEnded(stream_id=int(stream)) if stream in self._answers:
                self._overhead = 0
                yield Answered(stream, self._answers.pop(stream))
            case StreamReset(stream_id=int(stream)) if stream in self._answers:
                del self._answers[stream]
                is_refused = event.error_code == ErrorCodes.REFUSED_STREAM
                self.is_ending |= is_refused  # so that a second try of the query takes another connection
                yield Failed(stream, f"it broke off the query ({error_name(event.error_code)})", is_refused)

    def _receive_part(self, stream: int, event: ResponseReceived | DataReceived) -> None:
        """Raises NotDns."""
        if isinstance(event, DataReceived):
            self._overhead -= len(event.data)
            self._answers[stream] += event.data
            doh.check_size(len(self._answers[stream]))
        else:
            fields = {bytes(name): bytes(value).decode("latin-1") for name, value in event.headers}
            doh.check_answer(fields[b":status"], fields.get(b"content-type"))

    def _receive_goaway(self, payload: bytes) -> Iterator[Failed]:
        """RFC 9113 section 6.8. Streams up to the one in the frame are still answered."""
        if len(payload) < 8:
            raise PeerError("it does not keep to HTTP/2 (a GOAWAY frame is too short)")
        last, code = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF, int.from_bytes(payload[4:8], "big")
        self.is_ending = True
        for stream in [stream for stream in self._answers if stream > last]:
            del self._answers[stream]
            yield Failed(stream, f"it is closing the connection ({error_name(code)})", is_unprocessed=True)


def _frames(reader: Reader) -> Generator[bytes | None, None, None]:
    """Yields each frame with its header; None when more bytes are needed. Raises PeerError."""
    while True:
        header = yield from reader.exactly(_FRAME_HEADER)
        size = int.from_bytes(header[:3], "big")
        if size > _FRAME_LIMIT:
            raise PeerError(f"it does not keep to HTTP/2 (a frame of {size} bytes)")
        yield header + (yield from reader.exactly(size))


def error_name(code: ErrorCodes | int | None) -> str:
    """Returns the name of an error code (RFC 9113 section 7)."""
    try:
        return ErrorCodes(code or 0).name
    except ValueError:
        return f"error code {code}"
