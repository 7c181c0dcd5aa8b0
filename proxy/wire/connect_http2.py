"""The client's side of one HTTP/2 connection (RFC 9113) that carries tunnels as CONNECT streams, without I/O.

h2 does the headers, the settings and the states of streams. DATA, WINDOW_UPDATE and GOAWAY are handled here: h2 takes
60 µs for each frame of a download, and it refuses every frame after a GOAWAY (its issue 1181).

Flow control: a stream's window is opened again when its reader has taken the bytes, the connection's as soon as they
come. The windows of all streams together are no larger than that of the connection, so a stream that nobody reads holds
no other back, and CONNECTION_WINDOW bounds the bytes that wait. A relay's other demands are bounded as well: streams,
headers, and bytes that are no part of a tunnel.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.doh_http2 import error_name

STREAMS_LIMIT = 100
"""Tunnels at once at most. A relay may allow fewer, but hardly any does (RFC 9113 section 6.5.2)."""

STREAMS_IN_ALL = 2_000
"""Tunnels of one connection, after which another one is opened: h2 remembers each closed stream."""

STREAM_WINDOW = 256 * 1024
"""Bytes of a stream that may wait for its reader. 20 Mbit/s at a round trip of 100 ms."""

STREAM_WINDOW_MAX = 4 * 1024 * 1024
"""Bytes to which the window of a stream grows while its reader keeps up: 320 Mbit/s at 100 ms."""

CONNECTION_WINDOW = 32 * 1024 * 1024
"""Bytes of all streams that may wait for their readers. Beside a window for each stream it has room for one that has
grown, and most of a second."""

OVERHEAD_LIMIT = 64 * 1024
"""Bytes at most that belong to no tunnel while no tunnel gets or sends anything: headers, SETTINGS, PING, padding,
empty frames. OVERHEAD_S more may come in each second, so that a relay may ping for days."""

OVERHEAD_S = 256

HEADERS_LIMIT = 16 * 1024
"""Bytes of the largest list of headers, decompressed."""

_SPARE = CONNECTION_WINDOW - STREAMS_LIMIT * STREAM_WINDOW
_WINDOW_LARGEST = 2**31 - 1  # RFC 9113 section 6.9.1
_FRAME_LIMIT = 2**14  # bytes of the payload of a frame, each way
_HEADER = struct.Struct(">HBBBL")  # the length (16 bits, 8 bits), the type, the flags, the stream
_HEADER_SIZE = _HEADER.size
_INCREMENT = struct.Struct(">L")
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING = 0x0, 0x1, 0x3, 0x4, 0x5, 0x6
_GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0x7, 0x8, 0x9
_FOR_H2 = frozenset({_HEADERS, _RST_STREAM, _SETTINGS, _PING, _CONTINUATION})
_END_STREAM, _PADDED = 0x1, 0x8
_SEND_MAX = 64 * 1024  # bytes that one call takes
_MALFORMED = (H2Error, ValueError, LookupError, AssertionError, struct.error)
"""What h2, hpack and hyperframe raise for frames that they cannot read. Not all of it is documented."""


@frozen_dataclass
class Answered:
    """The final answer to the CONNECT of a stream. `has_page`: its headers announce a body, and the stream is over."""

    stream: int
    status: int
    has_page: bool = False


@frozen_dataclass
class Received:
    """Bytes of a tunnel, valid until the next call."""

    stream: int
    data: memoryview


@frozen_dataclass
class Ended:
    """The relay has finished sending on the stream."""

    stream: int


@frozen_dataclass
class Reset:
    """The stream is over. `is_unprocessed`: the relay says that it has done nothing about it."""

    stream: int
    code: int
    is_unprocessed: bool = False

    @property
    def reason(self) -> str:
        return error_name(self.code)


@frozen_dataclass
class WindowOpened:
    """More may be sent on this stream; 0: on all."""

    stream: int


TunnelEvent = Answered | Received | Ended | Reset | WindowOpened


class _Stream:
    """The state of one stream. Its window is what the relay may send, what waits for the reader, and what the reader
    has taken and the relay has not been told of."""

    __slots__ = ("ends_here", "ends_there", "is_answered", "left", "send_left", "untold", "window")

    def __init__(self, send_left: int) -> None:
        self.window = self.left = STREAM_WINDOW
        self.untold = 0
        self.send_left = send_left
        self.is_answered = False
        self.ends_here = False  # our END_STREAM is sent
        self.ends_there = False  # the relay's has come


class ConnectHttp2:
    """See the module's docstring. After each call of another method, the owner of the connection sends
    `data_to_send`."""

    def __init__(self) -> None:
        self.is_ending = False
        """No further stream may be opened. Those under way go on."""
        self.gone_away: int | None = None
        """The error code of the relay's GOAWAY."""
        self._streams: dict[int, _Stream] = {}
        self._limit = STREAMS_LIMIT
        self._excess: set[int] = set()  # streams above the limit, which was not known when they were opened
        self._opened = 0
        self._spare = _SPARE  # bytes by which windows of streams may still grow
        self._left = CONNECTION_WINDOW  # bytes that the relay may send
        self._send_left = 2**16 - 1  # bytes that we may send
        self._first_window = 2**16 - 1  # for sending, of a new stream
        self._untold = 0
        self._late = 0  # bytes that may still come on streams that are over
        self._overhead = 0.0
        self._overhead_at = 0.0
        self._rest = b""  # the beginning of a frame
        self._data_left = 0  # bytes of the frame of data that is under way
        self._data_stream = 0
        self._data_ends = False
        self._is_broken = False  # or over: nothing more is sent
        self._out = bytearray()
        self._http2 = H2Connection(
            H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )  # h2 demands :path of every request, which a CONNECT must not have (RFC 9113 section 8.5)
        self._http2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADERS_LIMIT,
            },
        )
        self._http2.decoder.max_header_list_size = HEADERS_LIMIT
        self._http2.initiate_connection()
        self._take_from_h2()
        self._open_window(0, CONNECTION_WINDOW - (2**16 - 1))

    @property
    def can_open(self) -> bool:
        return not self.is_ending and len(self._streams) < self._limit

    @property
    def has_room(self) -> bool:
        """Whether the windows of the connection let any stream send."""
        return self._send_left > 0

    def has(self, stream: int) -> bool:
        """Whether the stream is open in one direction at least."""
        return stream in self._streams

    def open(self, authority: str, credentials: str = "") -> int:
        """Sends the CONNECT for `host:port`, with the value of Proxy-Authorization. Returns its stream."""
        fields = [(":method", "CONNECT"), (":authority", authority)]
        if credentials:  # h2 keeps it out of the tables of HPACK
            fields.append(("proxy-authorization", credentials))
        stream = self._http2.get_next_available_stream_id()
        self._http2.send_headers(stream, fields)
        self._take_from_h2()
        self._streams[stream] = _Stream(self._first_window)
        self._opened += 1
        self.is_ending |= self._opened >= STREAMS_IN_ALL
        return stream

    def send_data(self, stream: int, data: bytes | memoryview) -> int:
        """Queues a prefix of `data`, as far as the windows allow and 64 KiB at most. Returns its length."""
        state = self._streams.get(stream)
        if state is None or state.ends_here or self._is_broken:
            return 0
        count = min(len(data), state.send_left, self._send_left, _SEND_MAX)
        if count <= 0:
            return 0
        view, at = memoryview(data), 0
        while at < count:
            size = min(count - at, _FRAME_LIMIT)
            self._out += _HEADER.pack(size >> 8, size & 0xFF, _DATA, 0, stream)
            self._out += view[at : at + size]
            at += size
        state.send_left -= count
        self._send_left -= count
        self._overhead = max(0.0, self._overhead - count)
        return count

    def end(self, stream: int) -> None:
        """Finishes our direction of the stream."""
        state = self._streams.get(stream)
        if state is None or state.ends_here or self._is_broken:
            return
        state.ends_here = True
        self._http2.end_stream(stream)
        self._take_from_h2()
        if state.ends_there:
            self._drop(stream)

    def reset(self, stream: int) -> None:
        """Ends a stream at once. Bytes that come on it are discarded."""
        state = self._streams.get(stream)
        if state is None or self._is_broken:
            return
        self._drop(stream)
        if not state.ends_there:
            self._late += state.left
        self._http2.reset_stream(stream, ErrorCodes.CANCEL)
        self._take_from_h2()

    def taken(self, stream: int, count: int, *, keeps_up: bool) -> None:
        """The reader of the stream has taken `count` bytes. `keeps_up`: none are left for it."""
        state = self._streams.get(stream)
        if state is None or state.ends_there:
            return
        state.untold += count
        if 2 * state.untold < state.window:
            return
        if keeps_up and (more := min(state.window, STREAM_WINDOW_MAX - state.window, self._spare)) > 0:
            self._spare -= more
            state.window += more
            state.untold += more
        self._open_window(stream, state.untold)
        state.left += state.untold
        state.untold = 0

    def ping(self) -> None:
        """Sends a PING, which a relay that is still there answers at once."""
        if not self._is_broken:
            self._http2.ping(bytes(8))
            self._take_from_h2()

    def go_away(self) -> None:
        """Tells the relay that the connection ends."""
        self.is_ending = True
        if not self._is_broken:  # else h2 has told it, with the reason
            self._http2.close_connection()
            self._take_from_h2()
            self._is_broken = True  # from now on, h2 takes and sends nothing

    @property
    def unsent(self) -> int:
        """The bytes of the next `data_to_send`."""
        return len(self._out)

    def data_to_send(self) -> bytearray:
        """Returns what is to be sent, and forgets it."""
        data, self._out = self._out, bytearray()
        return data

    def receive_data(self, data: bytes | memoryview, now: float) -> list[TunnelEvent]:
        """Returns the events of `data`, which came at `now` (seconds, of any clock). Raises PeerError when the relay
        breaks the protocol or exceeds a limit; the connection must be closed then, after `data_to_send`."""
        if self._is_broken:
            return []
        self._overhead = max(0.0, self._overhead - OVERHEAD_S * (now - self._overhead_at))
        self._overhead_at = now
        events: list[TunnelEvent] = []
        try:
            self._receive(memoryview(b"".join((self._rest, data)) if self._rest else data), events)
        except _MALFORMED as error:
            if isinstance(error, H2Error):  # h2 has told the relay the reason
                self._is_broken = True
                self._take_from_h2()
            self.go_away()
            raise _broken(type(error).__name__) from error  # its text may quote the relay
        except PeerError:
            self.go_away()
            raise
        return events

    def _receive(self, view: memoryview, events: list[TunnelEvent]) -> None:
        at, size = 0, len(view)
        while True:
            if self._data_left:
                count = min(self._data_left, size - at)
                if not count:
                    break
                self._receive_payload(view[at : at + count], events)
                at += count
                continue
            if size - at < _HEADER_SIZE:
                break
            high, low, kind, flags, stream = _HEADER.unpack_from(view, at)
            length, stream = high << 8 | low, stream & 0x7FFF_FFFF
            if length > _FRAME_LIMIT:
                raise _broken(f"a frame of {length} bytes")
            if kind == _DATA and not flags & _PADDED:
                at += _HEADER_SIZE
                self._begin_data(stream, length, ends=bool(flags & _END_STREAM), events=events)
                continue
            if size - at < _HEADER_SIZE + length:
                break
            frame = view[at : at + _HEADER_SIZE + length]
            at += _HEADER_SIZE + length
            if kind == _DATA:
                self._receive_padded(stream, frame[_HEADER_SIZE:], ends=bool(flags & _END_STREAM), events=events)
            else:
                self._receive_frame(kind, stream, frame, events)
        self._rest = bytes(view[at:])

    # -- data ------------------------------------------------------------------------------------------------------

    def _begin_data(self, stream: int, length: int, *, ends: bool, events: list[TunnelEvent]) -> None:
        """A frame of data begins; its payload of `length` bytes may come in several pieces."""
        state = self._streams.get(stream)
        self._left -= length
        if self._left < 0:
            raise _broken("more data than the connection's window allows")
        self._untold += length
        if 2 * self._untold >= CONNECTION_WINDOW:
            self._open_window(0, self._untold)
            self._left += self._untold
            self._untold = 0
        if state is None:
            if not 0 < stream <= self._http2.highest_outbound_stream_id or not stream % 2:
                raise _broken("data on a stream that was never opened")
            self._late -= length
            if self._late < 0:
                raise _broken("data on a stream that is over")
        else:
            state.left -= length
            if state.left < 0:
                raise _broken("more data than the stream's window allows")
            if state.ends_there or not state.is_answered:
                raise _broken("data behind the end of a stream" if state.ends_there else "data before an answer")
        if not length and not ends:
            self._count_overhead(_HEADER_SIZE)
        self._data_stream, self._data_left, self._data_ends = stream, length, ends
        if ends and not length:
            self._end_there(events)

    def _receive_payload(self, payload: memoryview, events: list[TunnelEvent]) -> None:
        self._data_left -= len(payload)
        self._overhead = max(0.0, self._overhead - len(payload))
        if self._data_stream in self._streams:
            events.append(Received(self._data_stream, payload))
        if self._data_ends and not self._data_left:
            self._end_there(events)

    def _receive_padded(self, stream: int, content: memoryview, *, ends: bool, events: list[TunnelEvent]) -> None:
        padding = content[0] + 1 if content else 0
        if not 0 < padding <= len(content):
            raise _broken("a frame with more padding than bytes")
        self._begin_data(stream, padding, ends=False, events=events)
        self._data_left = 0
        self._count_overhead(padding)
        if stream in self._streams:
            self.taken(stream, padding, keeps_up=False)
        self._begin_data(stream, len(content) - padding, ends=ends, events=events)
        if self._data_left:
            self._receive_payload(content[1 : len(content) - padding + 1], events)

    def _end_there(self, events: list[TunnelEvent]) -> None:
        """The frame of data with END_STREAM is complete."""
        self._data_ends = False
        stream = self._data_stream
        if (state := self._streams.get(stream)) is None:
            return
        self._http2.receive_data(_HEADER.pack(0, 0, _DATA, _END_STREAM, stream))
        self._take_from_h2()
        self._note_end(stream, state, events)

    def _note_end(self, stream: int, state: _Stream, events: list[TunnelEvent]) -> None:
        state.ends_there = True
        events.append(Ended(stream))
        if state.ends_here:
            self._drop(stream)

    # -- other frames ----------------------------------------------------------------------------------------------

    def _receive_frame(self, kind: int, stream: int, frame: memoryview, events: list[TunnelEvent]) -> None:
        self._count_overhead(len(frame))
        if kind == _WINDOW_UPDATE:
            self._receive_window(stream, frame[_HEADER_SIZE:], events)
        elif kind == _GOAWAY:
            self._receive_goaway(frame[_HEADER_SIZE:], events)
        elif kind in _FOR_H2:
            for event in self._http2.receive_data(bytes(frame)):
                self._receive_event(event, events)
            self._take_from_h2()
        elif kind == _PUSH_PROMISE:
            raise _broken("a pushed stream")
        # Others mean nothing to us: PRIORITY, ALTSVC, ORIGIN and what is not known (RFC 9113 section 5.5).

    def _receive_window(self, stream: int, content: memoryview, events: list[TunnelEvent]) -> None:
        if len(content) != _INCREMENT.size:
            raise _broken("a WINDOW_UPDATE of another size")
        increment = _INCREMENT.unpack(content)[0] & 0x7FFF_FFFF
        state = self._streams.get(stream)
        if not stream:
            self._send_left += increment
        elif state is not None:
            state.send_left += increment
        largest = self._send_left if state is None else max(self._send_left, state.send_left)
        if not increment or largest > _WINDOW_LARGEST:
            raise _broken("a WINDOW_UPDATE that no window allows")
        if not stream or state is not None:
            events.append(WindowOpened(stream))

    def _receive_goaway(self, content: memoryview, events: list[TunnelEvent]) -> None:
        """RFC 9113 section 6.8. Streams up to the one in the frame go on."""
        if len(content) < 8:
            raise _broken("a GOAWAY frame is too short")
        last, code = int.from_bytes(content[:4], "big") & 0x7FFF_FFFF, int.from_bytes(content[4:8], "big")
        self.is_ending, self.gone_away = True, code
        for stream in [stream for stream in self._streams if stream > last]:
            self._drop(stream)
            events.append(Reset(stream, code, is_unprocessed=True))

    def _receive_event(self, event: Event, events: list[TunnelEvent]) -> None:
        match event:
            case ResponseReceived(stream_id=int(stream)) if (state := self._streams.get(stream)) is not None:
                state.is_answered = True
                self._overhead = 0.0
                events.append(answer := _answer(stream, event))
                if answer.has_page:  # h2 would compare its length with bytes that it does not get
                    self.reset(stream)
            case StreamEnded(stream_id=int(stream)) if (state := self._streams.get(stream)) is not None:
                self._note_end(stream, state, events)
            case StreamReset(stream_id=int(stream)) if stream in self._streams:
                self._drop(stream)
                code = int(event.error_code or 0)
                # A stream above the limit may be refused with either code (RFC 9113 section 5.1.2).
                is_excess = code == ErrorCodes.PROTOCOL_ERROR and stream in self._excess
                self._excess.discard(stream)
                is_unprocessed = code == ErrorCodes.REFUSED_STREAM or is_excess
                events.append(Reset(stream, code, is_unprocessed=is_unprocessed))
            case RemoteSettingsChanged(changed_settings=changed):
                self._change_settings({int(code): setting.new_value for code, setting in changed.items()}, events)

    def _change_settings(self, changed: Mapping[int, int], events: list[TunnelEvent]) -> None:
        self._limit = min(STREAMS_LIMIT, self._http2.remote_settings.max_concurrent_streams)
        self._excess.update([*self._streams][self._limit :])
        if (window := changed.get(SettingCodes.INITIAL_WINDOW_SIZE)) is None:
            return
        more, self._first_window = window - self._first_window, window
        for state in self._streams.values():
            state.send_left += more
            if state.send_left > _WINDOW_LARGEST:
                raise _broken("SETTINGS that no window allows")
        if more > 0:
            events.append(WindowOpened(0))

    def _count_overhead(self, size: int) -> None:
        self._overhead += size
        if self._overhead > OVERHEAD_LIMIT:
            raise PeerError("the relay sends more than its tunnels need")

    # -- the parts of it -------------------------------------------------------------------------------------------

    def _drop(self, stream: int) -> None:
        state = self._streams.pop(stream)
        self._spare += state.window - STREAM_WINDOW

    def _open_window(self, stream: int, increment: int) -> None:
        self._out += _HEADER.pack(0, _INCREMENT.size, _WINDOW_UPDATE, 0, stream)
        self._out += _INCREMENT.pack(increment)

    def _take_from_h2(self) -> None:
        self._out += self._http2.data_to_send()

    def __repr__(self) -> str:
        return f"<ConnectHttp2 {len(self._streams)} streams{' ending' if self.is_ending else ''}>"


def _answer(stream: int, event: ResponseReceived) -> Answered:
    """Raises ValueError."""
    status, length = 0, b"0"
    for name, value in event.headers:
        if name == b":status":
            status = int(value)
        elif name == b"content-length":
            length = bytes(value)
    return Answered(stream, status, has_page=length.strip(b"0") != b"")


def _broken(what: str) -> PeerError:
    return PeerError(f"the relay does not keep to HTTP/2 ({what})")
