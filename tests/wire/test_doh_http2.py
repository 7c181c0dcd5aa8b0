"""The client against h2's server, in memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, PingAckReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes

from proxy.model import Destination
from proxy.model.errors import PeerError
from proxy.wire import dns
from proxy.wire.dns_url import DnsProtocol, SecureServer
from proxy.wire.doh_http2 import EARLY_LIMIT, OVERHEAD_LIMIT, STREAMS_LIMIT, Answered, DohHttp2, Failed
from tests.support.feeding import bytewise
from tests.support.rows import each_row

SERVER = SecureServer(DnsProtocol.DOH, Destination("192.0.2.1", 443), "/q")
HEAD = [(":status", "200"), ("content-type", "application/dns-message")]

#             length      type    flags   stream
PING = bytes((0, 0, 8)) + b"\x06" + b"\0" + bytes(4) + bytes(8)
EMPTY_SETTINGS = bytes((0, 0, 0)) + b"\x04" + b"\0" + bytes(4)


class Link:
    """Both ends. What the server says reaches the client whole, or byte by byte."""

    def __init__(self, settings: Mapping[SettingCodes | int, int] | None = None, *, bytewise: bool = False) -> None:
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.server.local_settings.update(settings or {})
        self.server.local_settings.acknowledge()
        self.server.initiate_connection()
        self.client = DohHttp2(SERVER)
        self.heard: list[Event] = []  # by the server
        self._bytewise = bytewise

    def exchange(self, raw: bytes = b"") -> list[Answered | Failed]:
        """Carries everything across, and `raw` as from the server. Returns what the client makes of it."""
        self.up()
        results = self.give(self.server.data_to_send() + raw)
        self.up()
        return results

    def up(self) -> None:
        self.heard += self.server.receive_data(self.client.data_to_send())

    def give(self, data: bytes) -> list[Answered | Failed]:
        pieces = bytewise(data) if self._bytewise else [data]
        return [result for piece in pieces if piece for result in self.client.receive_data(piece)]

    def answer(self, stream: int, message: bytes) -> None:
        self.server.send_headers(stream, HEAD)
        self.server.send_data(stream, message, end_stream=True)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.heard if isinstance(event, kind)]


@pytest.fixture(params=[False, True], ids=["whole", "bytewise"])
def link(request: pytest.FixtureRequest) -> Link:
    made = Link(bytewise=request.param)
    made.exchange()
    return made


def test_a_query_is_a_post_of_the_message(link: Link) -> None:
    link.client.ask(b"message")
    link.exchange()
    (request,) = link.of(RequestReceived)
    assert isinstance(request, RequestReceived)
    assert dict(request.headers) == {
        b":method": b"POST",
        b":scheme": b"https",
        b":authority": b"192.0.2.1",
        b":path": b"/q",
        b"accept": b"application/dns-message",
        b"content-type": b"application/dns-message",
        b"content-length": b"7",
    }
    assert [event.data for event in link.of(DataReceived) if isinstance(event, DataReceived)] == [b"message"]


def test_answers_come_in_any_order_and_interleaved(link: Link) -> None:
    one, two, three = (link.client.ask(text) for text in (b"one", b"two", b"three"))
    link.exchange()
    link.answer(three, b"THREE")
    for stream in (two, one):
        link.server.send_headers(stream, HEAD)
    for stream, data in ((one, b"O"), (two, b"T"), (one, b"N"), (two, b"W")):
        link.server.send_data(stream, data)
    assert link.exchange() == [Answered(three, b"THREE")]
    link.server.send_data(two, b"O", end_stream=True)
    link.server.send_data(one, b"E", end_stream=True)
    assert link.exchange() == [Answered(two, b"TWO"), Answered(one, b"ONE")]


def test_headers_in_several_frames_an_interim_answer_and_trailers_are_read(link: Link) -> None:
    stream = link.client.ask(b"query")
    link.exchange()
    link.server.send_headers(stream, [(":status", "103")])
    link.server.send_headers(stream, [*HEAD, *((f"x-{number}", os.urandom(500).hex()) for number in range(18))])
    link.server.send_data(stream, b"answer")
    link.server.send_headers(stream, [("x-trailer", "1")], end_stream=True)
    assert link.exchange() == [Answered(stream, b"answer")]


@each_row(
    ("fields", "body", "says"),
    [
        ([(":status", "403"), ("content-type", "text/html")], b"no", "HTTP status 403"),
        ([(":status", "200"), ("content-type", "text/html")], b"log in", "'text/html', which is no DNS message"),
        ([(":status", "200")], b"", "'nothing', which is no DNS message"),
        (HEAD, bytes(dns.MESSAGE_LIMIT + 1), f"exceeds {dns.MESSAGE_LIMIT} bytes"),
    ],
)
@each_row("ends", [False, True])
def test_an_answer_that_is_none_costs_its_stream_only(
    fields: list[tuple[str, str]], body: bytes, says: str, ends: bool
) -> None:
    link = Link()
    stream, other = link.client.ask(b"query"), link.client.ask(b"other")
    link.exchange()
    link.server.send_headers(stream, fields, end_stream=ends and not body)
    for at in range(0, len(body), 16_000):
        piece = body[at : at + 16_000]
        link.server.send_data(stream, piece, end_stream=ends and at + len(piece) == len(body))
    (failed,) = link.exchange()
    assert isinstance(failed, Failed)
    assert failed.stream == stream
    assert says in failed.reason
    assert not failed.is_unprocessed
    link.answer(other, b"answer")
    assert link.exchange() == [Answered(other, b"answer")]


def test_a_reset_stream_is_one_failure_and_a_refused_one_may_be_asked_elsewhere(link: Link) -> None:
    broken, refused, other = (link.client.ask(b"query") for _ in range(3))
    link.exchange()
    link.server.reset_stream(broken, ErrorCodes.INTERNAL_ERROR)
    assert link.exchange() == [Failed(broken, "it broke off the query (INTERNAL_ERROR)")]
    assert (link.client.can_ask, link.client.is_ending) == (True, False)
    link.server.reset_stream(refused, ErrorCodes.REFUSED_STREAM)
    assert link.exchange() == [Failed(refused, "it broke off the query (REFUSED_STREAM)", is_unprocessed=True)]
    assert (link.client.can_ask, link.client.is_ending) == (False, True)
    link.answer(other, b"answer")
    assert link.exchange() == [Answered(other, b"answer")]


def goaway(last: int, code: int) -> bytes:
    return bytes((0, 0, 8)) + b"\x07" + bytes(5) + last.to_bytes(4, "big") + code.to_bytes(4, "big")


@pytest.mark.parametrize(("code", "name"), [(0, "NO_ERROR"), (11, "ENHANCE_YOUR_CALM"), (999, "error code 999")])
def test_after_a_goaway_the_queries_up_to_the_last_stream_are_answered(link: Link, code: int, name: str) -> None:
    one, two, three = (link.client.ask(b"query") for _ in range(3))
    link.exchange()
    assert link.exchange(goaway(2**31 - 1, 0)) == []  # a first notice
    assert link.client.is_ending
    assert link.exchange(goaway(two, code)) == [
        Failed(three, f"it is closing the connection ({name})", is_unprocessed=True)
    ]
    assert not link.client.can_ask
    link.answer(two, b"TWO")
    link.answer(one, b"ONE")
    assert link.exchange() == [Answered(two, b"TWO"), Answered(one, b"ONE")]


def test_a_cancelled_query_resets_its_stream(link: Link) -> None:
    one, two = link.client.ask(b"one"), link.client.ask(b"two")
    link.exchange()
    link.client.cancel(one)
    link.exchange()
    (reset,) = link.of(StreamReset)
    assert isinstance(reset, StreamReset)
    assert (reset.stream_id, reset.error_code) == (one, ErrorCodes.CANCEL)
    link.answer(two, b"TWO")
    assert link.exchange() == [Answered(two, b"TWO")]


def test_the_answer_to_a_cancelled_query_is_dropped(link: Link) -> None:
    one, two = link.client.ask(b"one"), link.client.ask(b"two")
    link.exchange()
    link.answer(one, b"ONE")
    link.answer(two, b"TWO")
    link.client.cancel(one)
    assert link.give(link.server.data_to_send()) == [Answered(two, b"TWO")]
    link.up()


def test_the_server_is_answered_and_asked_for_signs_of_life(link: Link) -> None:
    link.server.ping(b"are you?")
    link.exchange()
    link.client.ping()
    link.exchange()
    assert len(link.of(PingAckReceived)) == 1
    link.exchange()


def test_leaving_is_said_once(link: Link) -> None:
    link.client.end()
    link.exchange()
    (ended,) = link.of(ConnectionTerminated)
    assert isinstance(ended, ConnectionTerminated)
    assert ended.error_code == ErrorCodes.NO_ERROR


# -- limits ------------------------------------------------------------------------------------------------------------


@each_row(
    ("settings", "allowed"),
    [
        ({}, STREAMS_LIMIT),
        ({SettingCodes.MAX_CONCURRENT_STREAMS: 3}, 3),
        ({SettingCodes.MAX_CONCURRENT_STREAMS: 0}, 0),
        ({SettingCodes.MAX_CONCURRENT_STREAMS: 10**6}, STREAMS_LIMIT),
        ({SettingCodes.INITIAL_WINDOW_SIZE: 10}, 0),
    ],
)
def test_the_server_may_limit_the_queries_under_way(settings: dict[SettingCodes | int, int], allowed: int) -> None:
    link = Link(settings)
    link.exchange()
    streams = []
    while link.client.can_ask:
        streams.append(link.client.ask(b"query"))
    assert len(streams) == allowed
    link.exchange()
    if streams:
        link.answer(streams[-1], b"answer")
        link.exchange()
        assert link.client.can_ask


def test_few_queries_are_sent_before_the_server_has_said_how_many_it_allows() -> None:
    link = Link({SettingCodes.MAX_CONCURRENT_STREAMS: EARLY_LIMIT + 1})
    streams = []
    for allowed in (EARLY_LIMIT, EARLY_LIMIT + 1):
        while link.client.can_ask:
            streams.append(link.client.ask(b"query"))
        assert len(streams) == allowed
        link.exchange()


def test_no_query_is_sent_in_part() -> None:
    """The server here opens no window by itself."""
    link = Link()
    link.exchange()
    sent = 0
    while link.client.can_ask:
        stream = link.client.ask(bytes(400))
        link.exchange()
        link.answer(stream, b"answer")
        assert link.exchange() == [Answered(stream, b"answer")]
        sent += 400
    assert 65_535 - 512 < sent <= 65_535
    link.server.increment_flow_control_window(1000)
    link.exchange()
    assert link.client.can_ask


def test_the_window_of_the_connection_is_opened_again() -> None:
    link = Link()
    for _ in range(20):  # 20 × 10,000 bytes; the window has 65,535
        stream = link.client.ask(b"query")
        link.exchange()
        link.answer(stream, bytes(10_000))
        assert link.exchange() == [Answered(stream, bytes(10_000))]
    late = [link.client.ask(b"query") for _ in range(10)]
    link.exchange()
    for stream in late:
        link.client.cancel(stream)
        link.server.send_headers(stream, HEAD)
        link.server.send_data(stream, bytes(5000))
    link.give(link.server.data_to_send())
    link.up()
    assert link.server.outbound_flow_control_window > 30_000


def refusal(link: Link, data: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        link.give(data)
    return str(caught.value)


def _pings(_: Link, __: int) -> bytes:
    return PING * (OVERHEAD_LIMIT // len(PING) + 1)


def _settings(_: Link, __: int) -> bytes:
    return EMPTY_SETTINGS * (OVERHEAD_LIMIT // len(EMPTY_SETTINGS) + 1)


def _empty_data(link: Link, stream: int) -> bytes:
    link.server.send_headers(stream, HEAD)
    for _ in range(OVERHEAD_LIMIT // 9):
        link.server.send_data(stream, b"")
    return link.server.data_to_send()


def _padding(link: Link, stream: int) -> bytes:
    link.server.send_headers(stream, HEAD)
    for _ in range(OVERHEAD_LIMIT // 250):
        link.server.send_data(stream, b"x", pad_length=240)
        link.exchange()
    return link.server.data_to_send()


def _interim(link: Link, stream: int) -> bytes:
    for number in range(OVERHEAD_LIMIT // 100):
        link.server.send_headers(stream, [(":status", "103"), ("x", f"{number}" * 50)])
    return link.server.data_to_send()


def _resets_of_nothing(_: Link, stream: int) -> bytes:
    reset = bytes((0, 0, 4)) + b"\x03" + b"\0" + stream.to_bytes(4, "big") + bytes(4)
    return reset * (OVERHEAD_LIMIT // len(reset) + 1)


@each_row("flood", [_pings, _settings, _empty_data, _interim, _resets_of_nothing])
def test_a_flood_ends_the_connection(flood: Callable[[Link, int], bytes]) -> None:
    link = Link()
    stream = link.client.ask(b"query")
    link.exchange()
    assert "more than its answers need" in refusal(link, flood(link, stream))
    assert len(link.client.data_to_send()) < 3 * OVERHEAD_LIMIT


def test_padding_is_a_flood_too() -> None:
    link = Link()
    stream = link.client.ask(b"query")
    link.exchange()
    with pytest.raises(PeerError, match="more than its answers need"):
        _padding(link, stream)


def test_data_after_our_reset_is_bounded() -> None:
    link = Link()
    stream = link.client.ask(b"query")
    link.exchange()
    link.client.cancel(stream)
    frame = (16_000).to_bytes(3, "big") + b"\0\0" + stream.to_bytes(4, "big") + bytes(16_000)
    assert "more than its answers need" in refusal(link, frame * (OVERHEAD_LIMIT // len(frame) + 1))


def test_what_belongs_to_answers_is_no_flood() -> None:
    link = Link()
    for _ in range(100):
        stream = link.client.ask(b"query")
        link.exchange()
        link.server.send_headers(stream, [*HEAD, ("x-random", os.urandom(1000).hex())])
        link.server.send_data(stream, bytes(1000), end_stream=True)
        assert link.exchange() == [Answered(stream, bytes(1000))]


@each_row(
    ("data", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a frame of 4740180 bytes"),  # "HTT" as a length
        ((2**14 + 1).to_bytes(3, "big") + bytes(6), "a frame of 16385 bytes"),
        (goaway(0, 0)[:9].replace(b"\x08", b"\x04", 1) + bytes(4), "GOAWAY frame is too short"),
        (bytes((0, 0, 7)) + b"\x06" + bytes(5) + bytes(7), "does not keep to HTTP/2"),  # a PING of 7 bytes
        (bytes((0, 0, 1)) + b"\0\0" + (99).to_bytes(4, "big") + b"x", "does not keep to HTTP/2"),  # nobody's DATA
        (bytes((0, 0, 1)) + b"\x01\4" + (1).to_bytes(4, "big") + b"\xff", "does not keep to HTTP/2"),  # no HPACK
        (bytes((0, 0, 5)) + b"\x05\4" + (1).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"\x88", "does not keep"),
    ],
)
def test_what_is_no_http2_ends_the_connection(data: bytes, says: str) -> None:
    link = Link()
    link.client.ask(b"query")
    link.exchange()
    assert says in refusal(link, data)
    link.client.end()


def test_push_is_disabled_and_a_promise_ends_the_connection() -> None:
    link = Link()
    stream = link.client.ask(b"query")
    link.exchange()
    assert link.server.remote_settings.enable_push == 0
    # PUSH_PROMISE, END_HEADERS: stream 2 of GET https /
    promise = b"\x05\4" + stream.to_bytes(4, "big") + (2).to_bytes(4, "big") + b"\x82\x87\x84\x41\x01a"
    assert "pushed" in refusal(link, (10).to_bytes(3, "big") + promise)


def test_a_list_of_headers_is_bounded_however_small_it_was_made() -> None:
    """One field of 4,000 bytes, which HPACK then repeats by a byte each: a bomb."""
    link = Link()
    stream = link.client.ask(b"query")
    link.exchange()
    size = 4000  # as an HPACK integer of seven bits: 127, and the rest in groups of seven
    field = b"\x40\x01x" + bytes((127, (size - 127) % 128 + 128, (size - 127) // 128)) + b"a" * size
    block = b"\x88" + field + b"\xbe" * 8000  # 0xbe: the newest field of the table
    frame = len(block).to_bytes(3, "big") + b"\x01\x04" + stream.to_bytes(4, "big") + block
    assert "does not keep to HTTP/2" in refusal(link, frame)


def test_an_answer_before_a_violation_counts(link: Link) -> None:
    stream = link.client.ask(b"query")
    link.exchange()
    link.answer(stream, b"answer")
    results = link.client.receive_data(link.server.data_to_send() + b"\xff" * 9)
    assert next(results) == Answered(stream, b"answer")
    with pytest.raises(PeerError):
        next(results)


def test_whatever_comes_it_is_read_or_refused() -> None:
    """The fuzz line: 500 changed conversations; nothing but PeerError is raised."""
    chance = random.Random(7540)
    refused = 0
    for _ in range(500):
        link = Link()
        streams = [link.client.ask(b"query") for _ in range(3)]
        link.up()
        for stream in streams:
            link.answer(stream, b"answer" * chance.randrange(9))
        link.server.ping(bytes(8))
        data = bytearray(link.server.data_to_send())
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        try:
            for result in link.client.receive_data(bytes(data)):
                assert result.stream in streams
        except PeerError:
            refused += 1
        else:
            if link.client.can_ask:
                link.client.ask(b"query")
        link.client.end()
        link.client.data_to_send()
    assert 50 < refused < 500  # both happen


def test_it_is_not_imported_before_it_is_needed() -> None:
    look = "import sys, proxy.net.dns.encrypted; print([name for name in sys.modules if name in ('h2', 'hpack')])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
