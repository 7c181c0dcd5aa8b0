"""The client's tunnels against h2's server, in memory, and against bytes that h2 would not send."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from typing import TypeVar

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes
from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple

from proxy.model.errors import PeerError
from proxy.wire.connect_http2 import (
    CONNECTION_WINDOW,
    HEADERS_LIMIT,
    OVERHEAD_LIMIT,
    OVERHEAD_S,
    STREAM_WINDOW,
    STREAM_WINDOW_MAX,
    STREAMS_IN_ALL,
    STREAMS_LIMIT,
    Answered,
    ConnectHttp2,
    Ended,
    Received,
    Reset,
    TunnelEvent,
    WindowOpened,
)
from tests.support.feeding import bytewise
from tests.support.rows import each_row

E = TypeVar("E", bound=Event)
Seen = Answered | Ended | Reset | WindowOpened | tuple[int, bytes]


class Link:
    """Both ends. The server's bytes reach the client whole, or byte by byte."""

    def __init__(self, settings: Mapping[SettingCodes | int, int] | None = None, *, bytewise: bool = False) -> None:
        self.server = H2Connection(
            H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
        )
        self.server.local_settings.update(settings or {})
        self.server.local_settings.acknowledge()
        self.server.initiate_connection()
        self.client = ConnectHttp2()
        self.heard: list[Event] = []  # by the server
        self.now = 0.0
        self._bytewise = bytewise

    def exchange(self, raw: bytes = b"") -> list[Seen]:
        """Carries everything across, and `raw` as from the server. Returns the client's events."""
        self.up()
        events = self.give(self.server.data_to_send() + raw)
        self.up()
        return events

    def up(self) -> None:
        if data := bytes(self.client.data_to_send()):
            self.heard += self.server.receive_data(data)

    def give(self, data: bytes) -> list[Seen]:
        pieces = bytewise(data) if self._bytewise else [data]
        seen: list[Seen] = []
        for piece in pieces:
            for event in self.client.receive_data(piece, self.now) if piece else ():
                if not isinstance(event, Received):
                    seen.append(event)
                elif seen and isinstance(last := seen[-1], tuple) and last[0] == event.stream:
                    seen[-1] = (event.stream, last[1] + bytes(event.data))
                else:
                    seen.append((event.stream, bytes(event.data)))
        return seen

    def open(self, target: str = "site.test:443") -> int:
        """Opens a tunnel, which the server grants."""
        stream = self.client.open(target)
        self.up()
        self.server.send_headers(stream, [(":status", "200")])
        assert Answered(stream, 200) in self.exchange()
        return stream

    def send(self, stream: int, size: int) -> int:
        """Sends as many bytes as the windows allow, `size` at most. The client's reader takes none. Returns them."""
        sent = 0
        while sent < size and (room := min(self.server.local_flow_control_window(stream), 16384, size - sent)) > 0:
            self.server.send_data(stream, bytes(room))
            sent += room
            self.exchange()
        return sent

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.heard if isinstance(event, kind)]


@pytest.fixture(params=[False, True], ids=["whole", "bytewise"])
def link(request: pytest.FixtureRequest) -> Link:
    made = Link(bytewise=request.param)
    made.exchange()
    return made


def test_a_connect_has_no_scheme_and_no_path_and_its_password_is_never_indexed(link: Link) -> None:
    link.client.open("[2001:db8::1]:443", "Basic c2VjcmV0")
    link.exchange()
    (request,) = link.of(RequestReceived)
    assert isinstance(request, RequestReceived)
    assert [tuple(field) for field in request.headers] == [
        (b":method", b"CONNECT"),
        (b":authority", b"[2001:db8::1]:443"),
        (b"proxy-authorization", b"Basic c2VjcmV0"),
    ]
    assert [isinstance(field, NeverIndexedHeaderTuple) for field in request.headers] == [False, False, True]


def test_bytes_go_both_ways_and_each_way_ends_by_itself(link: Link) -> None:
    one, two = link.open("one.test:443"), link.open("two.test:443")
    assert link.client.send_data(one, b"hello") == 5
    link.client.end(one)
    link.server.send_data(two, b"B")
    link.server.send_data(one, b"A")
    link.server.send_data(two, b"B2", end_stream=True)
    assert link.exchange() == [(two, b"B"), (one, b"A"), (two, b"B2"), Ended(two)]
    assert [(event.stream_id, event.data) for event in link.of(DataReceived) if event.data] == [(one, b"hello")]
    assert [event.stream_id for event in link.of(StreamEnded)] == [one]
    link.server.send_data(one, b"A2", end_stream=True)
    assert link.exchange() == [(one, b"A2"), Ended(one)]
    assert not link.client.has(one)
    assert link.client.has(two), "ours is open"
    link.client.end(two)
    assert not link.client.has(two)


def test_an_answer_has_its_status_and_whether_a_page_follows(link: Link) -> None:
    for status, length, has_page in (("200", "0", False), ("407", "4", True), ("502", "", False)):
        stream = link.client.open("site.test:443")
        link.up()
        fields = [(":status", status), *([("content-length", length)] if length else [])]
        link.server.send_headers(stream, [(":status", "103")])
        link.server.send_headers(stream, fields)
        assert link.exchange() == [Answered(stream, int(status), has_page)]


# -- flow control ------------------------------------------------------------------------------------------------------


def test_a_stream_that_nobody_reads_holds_no_other_back() -> None:
    link = Link()
    link.exchange()
    stalled = [link.open() for _ in range(STREAMS_LIMIT - 1)]
    for stream in stalled:
        assert link.send(stream, 2 * STREAM_WINDOW) == STREAM_WINDOW
    live, moved = link.open(), 0
    while moved < 2 * CONNECTION_WINDOW:
        sent = link.send(live, STREAM_WINDOW)
        assert sent, f"stopped after {moved} bytes"
        moved += sent
        link.client.taken(live, sent, keeps_up=True)
        link.exchange()


def test_a_window_grows_while_its_reader_keeps_up_and_no_further() -> None:
    link = Link()
    link.exchange()
    live = link.open()
    for keeps_up, most in ((False, STREAM_WINDOW), (True, STREAM_WINDOW_MAX)):
        for _ in range(64):
            sent = link.send(live, 10 * STREAM_WINDOW_MAX)
            assert sent <= most
            link.client.taken(live, sent, keeps_up=keeps_up)
            link.exchange()
    assert link.server.local_flow_control_window(live) == STREAM_WINDOW_MAX


def test_the_windows_of_all_streams_fit_into_that_of_the_connection() -> None:
    link = Link()
    link.exchange()
    streams = [link.open() for _ in range(STREAMS_LIMIT)]
    for _ in range(8):
        for stream in streams:
            link.client.taken(stream, link.send(stream, 2 * STREAM_WINDOW), keeps_up=True)
            link.exchange()
    windows = [link.server.streams[stream].outbound_flow_control_window for stream in streams]
    assert max(windows) > STREAM_WINDOW
    assert sum(windows) <= CONNECTION_WINDOW
    for stream in streams[:50]:
        link.client.reset(stream)
    link.exchange()
    assert max(link.server.streams[link.open()].outbound_flow_control_window for _ in range(50)) == STREAM_WINDOW


def test_what_is_sent_keeps_to_both_windows(link: Link) -> None:
    one, two = link.open(), link.open()
    assert link.client.send_data(one, bytes(100_000)) == 65_535
    assert link.client.send_data(two, b"x") == 0
    assert not link.client.has_room
    link.up()
    link.server.acknowledge_received_data(40_000, one)
    assert set(link.exchange()) == {WindowOpened(0), WindowOpened(one)}
    assert link.client.send_data(two, bytes(1000)) == 1000
    assert link.client.send_data(one, bytes(100_000)) == 39_000
    assert max(len(event.data) for event in link.of(DataReceived)) <= 16384


def test_settings_move_the_windows_of_open_streams(link: Link) -> None:
    stream = link.open()
    assert link.client.send_data(stream, bytes(60_000)) == 60_000
    link.up()
    link.server.increment_flow_control_window(1_000_000)
    link.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    link.exchange()
    assert link.client.send_data(stream, b"x") == 0
    link.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 60_003})
    assert WindowOpened(0) in link.exchange()
    assert link.client.send_data(stream, b"12345") == 3
    assert link.client.send_data(link.open(), bytes(100_000)) == 60_003


def test_padding_counts_and_is_no_data(link: Link) -> None:
    stream = link.open()
    for _ in range(2 * STREAM_WINDOW // 1200):
        link.server.send_data(stream, b"a" * 1000, pad_length=199)
        link.client.taken(stream, 1000, keeps_up=False)
        assert (stream, b"a" * 1000) in link.exchange()
    link.server.send_data(stream, b"", end_stream=True, pad_length=7)
    assert link.exchange() == [Ended(stream)]


# -- the end of streams and of the connection --------------------------------------------------------------------------


def test_goaway_lets_streams_go_on_that_it_does_not_refuse(link: Link) -> None:
    one, two = link.open(), link.client.open("late.test:443")
    link.up()
    goaway = b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">LL", one, ErrorCodes.NO_ERROR)
    assert link.exchange(goaway) == [Reset(two, ErrorCodes.NO_ERROR, is_unprocessed=True)]
    assert link.client.is_ending
    assert not link.client.can_open
    assert link.client.gone_away == ErrorCodes.NO_ERROR
    link.server.send_data(one, b"goes on", end_stream=True)
    assert link.exchange() == [(one, b"goes on"), Ended(one)]


@each_row(
    ("code", "is_unprocessed"),
    [(ErrorCodes.REFUSED_STREAM, True), (ErrorCodes.CONNECT_ERROR, False), (ErrorCodes.HTTP_1_1_REQUIRED, False)],
)
def test_a_reset_tells_whether_anything_was_done(code: ErrorCodes, is_unprocessed: bool) -> None:
    link = Link()
    link.exchange()
    stream = link.client.open("site.test:443")
    link.up()
    link.server.reset_stream(stream, code)
    assert link.exchange() == [Reset(stream, code, is_unprocessed)]
    assert not link.client.has(stream)


def test_bytes_under_way_to_a_stream_that_we_reset_are_discarded(link: Link) -> None:
    one, two = link.open(), link.open()
    link.client.reset(one)  # the server does not know
    late = link.server.data_to_send()
    for _ in range(STREAM_WINDOW // 16384):
        link.server.send_data(one, bytes(16384))
    late += link.server.data_to_send()
    assert link.give(late) == []
    with pytest.raises(PeerError, match="a stream that is over"):
        link.give(b"\0\0\x01\0\0" + struct.pack(">L", one) + b"x")
    assert link.client.send_data(two, b"x") == 0
    link.up()
    assert [event.error_code for event in link.of(StreamReset)] == [ErrorCodes.CANCEL]
    assert link.of(ConnectionTerminated)


def test_as_many_streams_as_the_server_allows() -> None:
    link = Link({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    for _ in range(3):
        assert link.client.can_open  # its SETTINGS has not come
        link.client.open("site.test:443")
    link.give(link.server.data_to_send())
    assert not link.client.can_open
    for stream in (1, 3):
        link.client.reset(stream)
    assert link.client.can_open


def test_a_connection_ends_after_many_streams() -> None:
    link = Link()
    link.exchange()
    for number in range(STREAMS_IN_ALL):
        assert link.client.can_open, number
        link.client.reset(link.client.open("site.test:443"))
        if not number % 50:
            link.up()
    assert link.client.is_ending


def test_a_ping_is_answered_and_ours_too(link: Link) -> None:
    link.client.ping()
    link.server.ping(b"12345678")
    link.exchange()
    assert len(link.of(PingAckReceived)) == 1


def test_the_end_is_told_once_and_nothing_is_sent_after_it(link: Link) -> None:
    stream = link.open()
    for _ in range(2):
        link.client.go_away()
    link.client.end(stream)
    link.client.reset(stream)
    link.client.ping()
    assert link.client.send_data(stream, b"x") == 0
    link.up()
    assert isinstance(link.heard[-1], ConnectionTerminated)
    assert len(link.of(ConnectionTerminated)) == 1
    assert link.give(link.server.data_to_send() + b"anything") == []


# -- a relay that does not keep to the protocol ------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">L", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">L", stream) + payload


def headers(stream: int, fields: list[tuple[str, str]], *, flags: int = 4) -> bytes:
    return frame(1, flags, stream, Encoder().encode(fields))


def bomb(stream: int) -> bytes:
    """A field that enters the table once and is named again and again, each time by one byte."""
    block = Encoder().encode([(":status", "200"), ("x", "y" * 4000)])
    return frame(1, 4, stream, block + b"\xbe" * 10_000)


OK = headers(1, [(":status", "200")])
DATA = 16384
BREAKS: dict[str, tuple[bytes, str]] = {
    # what: (bytes on a connection with one CONNECT, on stream 1; a part of the sentence)
    "data on a stream that was never opened": (frame(0, 0, 5, b"x"), "never opened"),
    "data on a stream of the relay": (frame(0, 0, 2, b"x"), "never opened"),
    "data on the connection": (frame(0, 0, 0, b"x"), "never opened"),
    "data before the answer": (frame(0, 0, 1, b"x"), "before an answer"),
    "data behind the end": (OK + frame(0, 1, 1) + frame(0, 0, 1, b"x"), "behind the end"),
    "the end twice": (OK + frame(0, 1, 1) + frame(0, 1, 1), "behind the end"),
    "more than the window": (OK + frame(0, 0, 1, bytes(DATA)) * (STREAM_WINDOW // DATA + 1), "stream's window"),
    "a frame that is too long": (frame(0, 0, 1, bytes(DATA + 1)), "a frame of 16385 bytes"),
    "a long frame of another kind": (frame(6, 0, 0, bytes(DATA + 1)), "a frame of 16385 bytes"),
    "padding alone": (OK + frame(0, 8, 1, b"\x05abc"), "padding"),
    "padding without its length": (OK + frame(0, 8, 1), "padding"),
    "a push": (frame(5, 4, 1, struct.pack(">L", 2) + Encoder().encode([(":method", "GET")])), "pushed"),
    "a window by nothing": (frame(8, 0, 0, bytes(4)), "no window allows"),
    "a window of a stream by nothing": (frame(8, 0, 1, bytes(4)), "no window allows"),
    "a window that is too large": (frame(8, 0, 0, b"\x7f\xff\xff\xff"), "no window allows"),
    "a stream's window that is too large": (frame(8, 0, 1, b"\x7f\xff\xff\xff"), "no window allows"),
    "a window of another size": (frame(8, 0, 1, bytes(5)), "another size"),
    "settings with too large a window": (frame(4, 0, 0, b"\0\x04\xff\xff\xff\xff"), "HTTP/2"),
    "settings that overflow a window": (
        frame(8, 0, 1, b"\x7f\xff\0\0") + frame(4, 0, 0, b"\0\x04\x7f\xff\xff\xff"),
        "no window allows",
    ),
    "settings of another size": (frame(4, 0, 0, bytes(5)), "HTTP/2"),
    "a short GOAWAY": (frame(7, 0, 0, bytes(7)), "too short"),
    "a continuation of nothing": (frame(9, 4, 1), "HTTP/2"),
    "headers that are no HPACK": (frame(1, 4, 1, b"\xff" * 50), "HTTP/2"),
    "an upper-case name": (headers(1, [(":status", "200"), ("Evil", "1")]), "HTTP/2"),
    "a line end in a value": (headers(1, [(":status", "200"), ("x", "evil\r\ny: z")]), "HTTP/2"),
    "no status": (headers(1, [("x", "evil")]), "HTTP/2"),
    "a status that is no number": (headers(1, [(":status", "evil")]), "HTTP/2"),
    "a length that is no number": (headers(1, [(":status", "200"), ("content-length", "evil")]), "HTTP/2"),
    "two answers": (OK + headers(1, [(":status", "200")]), "HTTP/2"),
    "headers of a stream of the relay": (headers(2, [(":status", "200")]), "HTTP/2"),
    "headers that unpack to much": (bomb(1), "HTTP/2"),
    "headers in pieces for ever": (
        frame(1, 0, 1, b"") + frame(9, 0, 1, b"\0" * 100) * 100,
        "HTTP/2",
    ),
    "a reset of nothing": (frame(3, 0, 0, bytes(4)), "HTTP/2"),
    "not HTTP/2": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "a frame of"),
    "PING for ever": (frame(6, 0, 0, bytes(8)) * 5000, "more than its tunnels need"),
    "SETTINGS for ever": (frame(4, 0, 0) * 8000, "more than its tunnels need"),
    "empty data for ever": (OK + frame(0, 0, 1) * 8000, "more than its tunnels need"),
    "padding for ever": (OK + frame(0, 8, 1, b"\xff" + bytes(255)) * 300, "more than its tunnels need"),
    "unknown frames for ever": (frame(0xEE, 0, 0, bytes(100)) * 700, "more than its tunnels need"),
    "windows for ever": (frame(8, 0, 1, b"\0\0\0\1") * 6000, "more than its tunnels need"),
    "interim answers for ever": (headers(1, [(":status", "100")]) * 8000, "more than its tunnels need"),
    "resets for ever": (frame(3, 0, 1, bytes(4)) * 6000, "more than its tunnels need"),
}  # fmt: skip


@each_row(("sent", "says"), BREAKS.values(), ids=BREAKS)
def test_a_relay_that_breaks_the_protocol_is_told_why_and_its_words_are_not_shown(sent: bytes, says: str) -> None:
    for is_bytewise in (False, True) if len(sent) < 2000 else (False,):
        link = Link(bytewise=is_bytewise)
        link.exchange()
        link.client.open("site.test:443")
        link.up()
        with pytest.raises(PeerError, match=says) as caught:
            link.give(sent)
        assert "evil" not in str(caught.value).lower()
        link.up()
        assert link.of(ConnectionTerminated)
        assert link.give(frame(6, 0, 0, bytes(8))) == []


def test_what_a_relay_may_send_for_days() -> None:
    """A PING each 10 s for two days, and the windows of an upload that brings nothing back."""
    link = Link()
    link.exchange()
    stream = link.open()
    for _ in range(17_280):
        link.now += 10
        link.give(frame(6, 0, 0, bytes(8)))
    link.client.data_to_send()
    for _ in range(20_000):
        assert link.client.send_data(stream, bytes(1000)) == 1000
        link.client.data_to_send()
        link.give(frame(8, 0, 0, struct.pack(">L", 1000)) + frame(8, 0, stream, struct.pack(">L", 1000)))
    assert len(frame(6, 0, 0, bytes(8))) <= OVERHEAD_S * 10


def test_large_headers_are_refused_before_they_take_room() -> None:
    link = Link()
    link.exchange()
    stream = link.client.open("site.test:443")
    link.up()
    link.server.send_headers(stream, [(":status", "200"), ("x", "y" * (HEADERS_LIMIT // 2))])
    assert link.exchange() == [Answered(stream, 200)]
    stream = link.client.open("site.test:443")
    link.up()
    link.server.send_headers(stream, [(":status", "200"), *((f"x{n}", "y" * 4000) for n in range(5))])
    with pytest.raises(PeerError):
        link.exchange()
    assert HEADERS_LIMIT < OVERHEAD_LIMIT


def test_damaged_bytes_raise_nothing_else() -> None:
    rng = random.Random(28)
    link = Link()
    for _ in range(3):
        link.client.open("site.test:443")
    link.up()
    for stream in (1, 3, 5):
        link.server.send_headers(stream, [(":status", "200"), ("server", "x")])
        link.server.send_data(stream, b"hello", pad_length=3)
    link.server.ping(bytes(8))
    link.server.send_headers(1, [("trailer", "1")], end_stream=True)
    link.server.reset_stream(3)
    whole = link.server.data_to_send() + frame(7, 0, 0, struct.pack(">LL", 5, 0)) + frame(8, 0, 0, b"\0\0\1\0")
    kinds: set[bool] = set()
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at, way = rng.randrange(len(damaged)), rng.randrange(3)
            damaged[at : at + (way != 1)] = bytes([rng.randrange(256)] * (way != 2))  # changed, inserted or deleted
        client = ConnectHttp2()
        for _ in range(3):
            client.open("site.test:443")
        at = rng.randrange(len(damaged))
        try:
            events: list[TunnelEvent] = [
                *client.receive_data(bytes(damaged[:at]), 0.0),
                *client.receive_data(bytes(damaged[at:]), 0.0),
            ]
            kinds.add(bool(events))
        except PeerError:
            kinds.add(False)
    assert kinds == {True, False}
