"""What a client says first: told apart, kept, and never sent twice when that could do anything twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Protocol
from proxy.wire.flight import FLIGHT_LIMIT, NAME_LIMIT, Flight
from proxy.wire.tls import Verdict
from tests.support.rows import each_row
from tests.wire import hellos

GET = b"GET /page HTTP/1.1\r\nHost: Example.ORG:8080\r\nAccept: */*\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: example.org\r\n\r\n"
OPTIONS = b"OPTIONS * HTTP/1.0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nhello"

# name: bytes, protocol, server name, may be sent twice, bytes until complete
SAMPLES: dict[str, tuple[bytes, Protocol, str | None, bool, int]] = {
    "hello": (hellos.PLAIN, Protocol.TLS, "www.example.org", True, len(hellos.PLAIN)),
    "real hello": (hellos.real(), Protocol.TLS, "www.example.org", True, len(hellos.real())),
    "big hello": (hellos.BIG, Protocol.TLS, "www.example.org", True, len(hellos.BIG)),
    "hello with ech": (hellos.ENCRYPTED, Protocol.TLS, "public.example", True, len(hellos.ENCRYPTED)),
    "hello in five records": (
        hellos.split(hellos.PLAIN, 1, 9, 40, 10), Protocol.TLS, "www.example.org", True, len(hellos.PLAIN) + 20
    ),
    "hello without a name": (hellos.by_hand(hellos.ALPN), Protocol.TLS, None, True, len(hellos.by_hand(hellos.ALPN))),
    "early data announced": (hellos.RESUMING, Protocol.TLS, "www.example.org", False, len(hellos.RESUMING)),
    "early data": (
        hellos.RESUMING + b"\x17\x03\x03\x00\x01x", Protocol.TLS, "www.example.org", False, len(hellos.RESUMING)
    ),
    "hello and more": (hellos.PLAIN + b"\x14", Protocol.TLS, "www.example.org", False, len(hellos.PLAIN)),
    "get": (GET, Protocol.HTTP, "example.org", True, len(GET)),
    "head": (HEAD, Protocol.HTTP, "example.org", True, len(HEAD)),
    "options": (OPTIONS, Protocol.HTTP, None, True, len(OPTIONS)),
    "three heads": (GET + HEAD + OPTIONS, Protocol.HTTP, "example.org", True, len(GET)),
    "get with an odd line": (
        GET.replace(b"Host", b"odd line\r\nHost"), Protocol.HTTP, "example.org", False, len(GET) + 10
    ),
    "post": (POST, Protocol.HTTP, "example.org", False, len(POST) - 5),
    "get, then post": (GET + POST, Protocol.HTTP, "example.org", False, len(GET)),
    "get and half a get": (GET + GET[:20], Protocol.HTTP, "example.org", False, len(GET)),
    "get, then junk": (GET + b"junk\r\n\r\n", Protocol.HTTP, "example.org", False, len(GET)),
    "get, then an odd head": (GET + HEAD.replace(b": ", b" : "), Protocol.HTTP, "example.org", False, len(GET)),
    "post whose body is a get": (
        b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n" + GET, Protocol.HTTP, None, False, 39
    ),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", Protocol.OTHER, None, False, 1),
    "rtsp": (b"OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n", Protocol.OTHER, None, False, 29),
    "http 0.9": (b"GET /\r\n", Protocol.OTHER, None, False, 7),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", Protocol.OTHER, None, False, 15),
    "smtp-like": (b"GETTING\r\n", Protocol.OTHER, None, False, 4),
    "almost tls": (b"\x16\x03\x01\x00\x05\x02zzzz", Protocol.OTHER, None, False, 6),
    "old ssl": (b"\x80\x2e\x01\x03\x01", Protocol.OTHER, None, False, 1),
    "random": (bytes(range(256)) * 4, Protocol.OTHER, None, False, 1),
}  # fmt: skip


def fed(*pieces: bytes) -> Flight:
    flight = Flight()
    for piece in pieces:
        flight.receive_data(piece)
    return flight


def judged(flight: Flight) -> tuple[Protocol, str | None, bool, bool]:
    return flight.protocol, flight.server_name, flight.replayable, flight.complete


@each_row("name", SAMPLES)
def test_whole(name: str) -> None:
    data, protocol, server_name, replayable, _ = SAMPLES[name]
    flight = fed(data)
    assert judged(flight) == (protocol, server_name, replayable, True)
    assert flight.data == data


@each_row("name", SAMPLES)
def test_byte_by_byte(name: str) -> None:
    data, protocol, server_name, replayable, complete_at = SAMPLES[name]
    flight = Flight()
    for index, byte in enumerate(data):
        assert flight.complete == (index >= complete_at), f"at {index}"
        flight.receive_data(bytes([byte]))
    assert judged(flight) == (protocol, server_name, replayable, True)
    assert flight.data == data


@each_row("name", SAMPLES)
def test_with_a_tail(name: str) -> None:
    data, protocol, server_name, _, _ = SAMPLES[name]
    for flight in (fed(data, b"tail"), fed(data + b"tail")):
        assert judged(flight) == (protocol, server_name, False, True)
        assert flight.data == data + b"tail"


def test_nothing_yet() -> None:
    assert judged(Flight()) == (Protocol.NONE, None, False, False)


def test_a_client_that_says_nothing_and_ends() -> None:
    flight = fed(b"")
    assert flight.ended
    assert not flight.complete


@each_row("name", SAMPLES)
def test_a_client_that_ends_has_said_all(name: str) -> None:
    data, protocol, server_name, replayable, _ = SAMPLES[name]
    flight = fed(data, b"")
    assert flight.ended
    assert judged(flight) == (protocol, server_name, replayable, True)


@each_row("part", [hellos.PLAIN[:100], GET[:30], b"\x16", b"GE"])
def test_a_part_and_then_the_end_is_sent_once(part: bytes) -> None:
    assert not fed(part).complete
    flight = fed(part, b"")
    assert flight.complete
    assert not flight.replayable


def test_F90_what_may_have_a_body_is_never_sent_twice() -> None:
    for field in (b"Content-Length: 0", b"content-length: 5", b"Transfer-Encoding: chunked", b"Expect: 100-continue"):
        head = b"GET / HTTP/1.1\r\nHost: a.example\r\n" + field + b"\r\n\r\n"
        assert judged(fed(head)) == (Protocol.HTTP, "a.example", False, True)
    for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT"):
        head = method + b" / HTTP/1.1\r\nHost: a.example\r\n\r\n"
        assert judged(fed(head)) == (Protocol.HTTP, "a.example", False, True)


@each_row(
    "field",
    [b" folded", b"Na me: x", b"Name : x", b": x", b"no colon", b"A: b\rC: d", b"A: b\nContent-Length: 5", b"A: \0"],
)
def test_F90_an_odd_head_is_sent_once(field: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a.example\r\n" + field + b"\r\n\r\n"
    assert judged(fed(head)) == (Protocol.HTTP, "a.example", False, True), "its name counts: an onlooker reads it too"


@each_row(
    ("fields", "name"),
    [
        (b"Host: example.org", "example.org"),
        (b"hOsT:example.org:80", "example.org"),
        (b"Host: \t EXAMPLE.org. \t", "example.org"),
        (b"Host: b\xc3\xbccher.example", "xn--bcher-kva.example"),
        (b"Host: 127.0.0.1", None),
        (b"Host: [::1]:80", None),
        (b"Host: 127.1", None),
        (b"Host:", None),
        (b"Host: a.example\r\nHost: b.example", None),
        (b"Host: user@a.example", None),
        (b"Host: a.example, b.example", None),
        (b"X: y", None),
    ],
)
def test_A25_the_name_in_a_host_header(fields: bytes, name: str | None) -> None:
    flight = fed(b"GET / HTTP/1.1\r\n" + fields + b"\r\n\r\n")
    assert judged(flight) == (Protocol.HTTP, name, True, True)


def test_the_first_name_counts() -> None:
    assert fed(HEAD + GET.replace(b"Example.ORG", b"other.example")).server_name == "example.org"


def test_a_second_head_may_come_in_pieces() -> None:
    pieces = [GET, HEAD[:10], HEAD[10:], POST, GET]
    states = [fed(*pieces[:count]).replayable for count in range(1, 6)]
    assert states == [True, False, True, False, False]


def test_a_flight_that_outgrows_the_limit_is_sent_once() -> None:
    assert FLIGHT_LIMIT == 16 * 1024
    head = b"GET / HTTP/1.1\r\nHost: a.example\r\nCookie: "
    most = head + b"c" * (FLIGHT_LIMIT - len(head) - 4) + b"\r\n\r\n"
    assert judged(fed(most)) == (Protocol.HTTP, "a.example", True, True)
    more = most.replace(b"ccc", b"cccc", 1)
    assert judged(fed(more)) == (Protocol.HTTP, "a.example", False, True)
    assert judged(fed(more[:-4] + b"cccc")) == (Protocol.HTTP, None, False, False)
    endless = fed(head + b"c" * NAME_LIMIT)
    assert judged(endless) == (Protocol.HTTP, "a.example", False, True)
    nameless = fed(b"GET / HTTP/1.1\r\nCookie: " + b"c" * NAME_LIMIT)
    assert judged(nameless) == (Protocol.HTTP, None, False, True)


def test_a_hello_that_outgrows_the_limit_is_sent_once() -> None:
    long = hellos.by_hand(hellos.sni(b"a.example"), hellos.extension(21, bytes(12_000)))
    assert judged(fed(long)) == (Protocol.TLS, "a.example", True, True)
    message = hellos.message(hellos.sni(b"a.example"), hellos.extension(21, bytes(30_000)))
    longer = hellos.record(message[:16_000]) + hellos.record(message[16_000:])
    assert judged(fed(longer)) == (Protocol.TLS, "a.example", False, True)
    flight = fed(longer[:20_000])
    assert judged(flight) == (Protocol.TLS, None, False, False)
    flight.receive_data(longer[20_000:])
    assert flight.data == longer
    assert judged(flight) == (Protocol.TLS, "a.example", False, True)
    assert not flight.replayable


@each_row(
    ("method", "bodiless", "replayable"),
    [("GET", True, True), ("HEAD", True, True), ("OPTIONS", True, True), ("DELETE", True, False), ("POST", True, False),
     ("GET", False, False), ("POST", False, False)],
)  # fmt: skip
def test_of_http(method: str, bodiless: bool, replayable: bool) -> None:
    head = method.encode() + b" / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    flight = Flight.of_http(head, method, bodiless=bodiless)
    assert judged(flight) == (Protocol.HTTP, None, replayable, True)
    assert flight.data == head
    flight.receive_data(GET)
    assert flight.replayable == replayable
    flight.receive_data(b"x")
    assert not flight.replayable


def test_of_http_knows_the_limit() -> None:
    assert Flight.of_http(b"x" * FLIGHT_LIMIT, "GET", bodiless=True).replayable
    assert not Flight.of_http(b"x" * (FLIGHT_LIMIT + 1), "GET", bodiless=True).replayable


SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"


@each_row(
    ("flight", "answer", "verdict"),
    [
        (fed(hellos.PLAIN), b"", Verdict.MORE),
        (fed(hellos.PLAIN), b"\x16\x03", Verdict.MORE),
        (fed(hellos.PLAIN), SERVER_HELLO, Verdict.VALID),
        (fed(hellos.PLAIN), bytearray(SERVER_HELLO), Verdict.VALID),
        (fed(hellos.PLAIN), ALERT, Verdict.ALERT),
        (fed(hellos.PLAIN), b"HTTP/1.1 200 OK\r\n", Verdict.GARBAGE),
        (fed(GET), b"", Verdict.MORE),
        (fed(GET), b"H", Verdict.MORE),
        (fed(GET), b"HTTP/1.", Verdict.MORE),
        (fed(GET), b"HTTP/1.1", Verdict.VALID),
        (fed(GET), bytearray(b"HTTP/1.1 200 OK\r\n"), Verdict.VALID),
        (fed(GET), b"HTTP/1.0 403 Forbidden\r\n", Verdict.VALID),
        (fed(GET), b"HTTP/1.x", Verdict.GARBAGE),
        (fed(GET), b"HTTP/2", Verdict.GARBAGE),
        (fed(GET), b"http/1.1 200", Verdict.GARBAGE),
        (fed(GET), b"<html>", Verdict.GARBAGE),
        (fed(GET), SERVER_HELLO, Verdict.GARBAGE),
        (Flight.of_http(GET, "GET", bodiless=True), b"HTTP/1.1", Verdict.VALID),
        (fed(b"SSH-2.0-x\r\n"), b"", Verdict.MORE),
        (fed(b"SSH-2.0-x\r\n"), b"S", Verdict.VALID),
        (Flight(), b"220 mail", Verdict.VALID),
    ],
)
def test_judge(flight: Flight, answer: bytes | bytearray, verdict: Verdict) -> None:
    assert flight.judge(answer) is verdict


def test_repr_is_a_user_interface() -> None:
    assert repr(fed(HEAD, b"")) == f"<Flight http example.org {len(HEAD)} bytes complete replayable ended>"
    assert repr(Flight()) == "<Flight empty 0 bytes>"


PIECES = st.lists(
    st.sampled_from([GET, HEAD, POST, hellos.PLAIN, b"GET ", b"\r\n", b"\n", b"Host: a\r\n", b"\x16\x03\x01"])
    | st.binary(max_size=60),
    max_size=8,
)


@given(PIECES, st.data())
def test_fuzz_pieces_do_not_matter(pieces: list[bytes], data: st.DataObject) -> None:
    """However the bytes are cut, all that is said once the last one has come is the same."""
    whole = b"".join(pieces)
    if not whole:
        return
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]
    assert judged(fed(*parts)) == judged(fed(whole))
    assert fed(*parts).data == whole
