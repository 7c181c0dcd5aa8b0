"""Answer heads: what real servers send passes, what could end in two places is refused with a 502."""

from __future__ import annotations

import random

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import PeerError
from proxy.wire.http1 import HEAD_LIMIT, HTTP_1_0, HTTP_1_1, BodyKind, Framing, ResponseHead, read_response_head
from proxy.wire.http1_body import NO_BODY
from proxy.wire.http1_response import FIELD_LIMIT
from proxy.wire.reader import Parser, Reader
from tests.support.feeding import Unfinished, bytewise, cut, feed, parse, refuse
from tests.support.rows import each_row

NGINX = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: nginx\r\n"
    b"Date: Tue, 07 Oct 2008 00:00:00 GMT\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n"
    b"Content-Length: 5\r\n"
    b"Connection: keep-alive\r\n"
    b"Set-Cookie: a=1; Path=/\r\n"
    b"Set-Cookie: b=2; HttpOnly\r\n"
    b"\r\n"
)


def to_get(reader: Reader) -> Parser[ResponseHead]:
    return read_response_head(reader, "GET")


def to_head(reader: Reader) -> Parser[ResponseHead]:
    return read_response_head(reader, "HEAD")


def to_connect(reader: Reader) -> Parser[ResponseHead]:
    return read_response_head(reader, "CONNECT")


def answer(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(line + b"\r\n" for line in (first, *lines)) + b"\r\n"


def head_of(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return parse(to_get, answer(*lines, first=first))


def refused(data: bytes) -> None:
    """Refused however it comes, with a 502 in whole."""
    assert refuse(to_get, data).reply.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


def judged(
    head: ResponseHead, *, method: str = "GET", version: tuple[int, int] = HTTP_1_1, keep_alive: bool = True
) -> tuple[h11.Response | h11.InformationalResponse, dict[str, list[str]]]:
    """What h11 reads out of the head that goes to the client, and its fields by name."""
    judge = h11.Connection(h11.CLIENT)
    proposal = [("Connection", "Upgrade"), ("Upgrade", "websocket")] if head.status == 101 else []
    judge.send(h11.Request(method=method, target="/", headers=[("Host", "x"), *proposal]))
    judge.receive_data(head.forwarded(head.body_for(version), keep_alive))
    event = judge.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    fields: dict[str, list[str]] = {}
    for name, value in event.headers:
        fields.setdefault(name.decode(), []).append(value.decode("latin-1"))
    return event, fields


# -- what passes -----------------------------------------------------------------------------------------------------


def test_a_head_that_was_read_before_is_judged_by_the_request_it_answers() -> None:
    data = answer(b"Content-Length: 5")
    password = answer(b"Proxy-Authenticate: Basic", b"Content-Length: 5", first=b"HTTP/1.1 407 Who are you")
    for _ in range(3):
        assert parse(to_get, data).body == Framing(BodyKind.LENGTH, 5)
        assert parse(to_head, data).body == NO_BODY
        assert parse(to_connect, data).body == NO_BODY
        assert parse(to_connect, password).status == 407
        refused(password)


def test_a_servers_answer_passes_with_its_meaning() -> None:
    head = parse(to_get, NGINX)
    assert (head.status, head.reason, head.version) == (200, "OK", (1, 1))
    assert head.body == Framing(BodyKind.LENGTH, 5)
    assert head.keep_alive
    event, fields = judged(head)
    assert (event.status_code, event.reason) == (200, b"OK")
    assert fields["set-cookie"] == ["a=1; Path=/", "b=2; HttpOnly"]
    assert fields["content-length"] == ["5"]
    assert fields["connection"] == ["keep-alive"]


@each_row(
    ("first", "status", "reason"),
    [
        (b"HTTP/1.1 200", 200, ""),  # some servers leave the blank out with the phrase
        (b"HTTP/1.1 200 ", 200, ""),
        (b"HTTP/1.1 404 Not  Found at all", 404, "Not  Found at all"),
        (b"HTTP/1.1 200 \xc3\xbc", 200, "Ã¼"),
        (b"HTTP/1.1 999 Request denied", 999, "Request denied"),  # a large site does
    ],
)
def test_status_lines(first: bytes, status: int, reason: str) -> None:
    head = head_of(first=first)
    assert (head.status, head.reason) == (status, reason)
    assert judged(head)[0].status_code == status


def test_an_answer_without_a_field() -> None:
    head = parse(to_get, b"HTTP/1.0 200 OK\r\n\r\n")
    assert (head.version, head.body.kind, head.keep_alive) == ((1, 0), BodyKind.UNTIL_EOF, False)


def test_values_beyond_ascii_pass_as_they_are() -> None:
    head = head_of(b"X-Name: gr\xfc\xdfe")
    assert b"X-Name: gr\xfc\xdfe\r\n" in head.forwarded(head.body, True)


def test_a_blank_before_the_colon_is_removed() -> None:
    head = head_of(b"Content-Length : 5", b"X-A \t: 1")
    assert head.body == Framing(BodyKind.LENGTH, 5)
    assert head.headers == (("X-A", "1"),)


def test_folded_lines_become_one_and_the_connection_is_not_trusted_again() -> None:
    head = head_of(b"P3P: CP=a", b"\t b", b"  c", b"Content-Length: 5")
    assert head.headers == (("P3P", "CP=a b c"),)
    assert head.body == Framing(BodyKind.LENGTH, 5)
    assert not head.keep_alive


def test_lines_may_be_folded_with_a_tab() -> None:
    assert head_of(b"X-A: a", b"\tb").headers == (("X-A", "a b"),)


def test_an_old_server_may_end_all_lines_with_lf_alone() -> None:
    head = parse(to_get, NGINX.replace(b"\r\n", b"\n"))
    assert head.headers == parse(to_get, NGINX).headers
    assert head.body == Framing(BodyKind.LENGTH, 5)
    assert not head.keep_alive


@each_row(
    ("version", "lines", "kept"),
    [
        (b"1.1", [b"Content-Length: 5"], True),
        (b"1.1", [b"Content-Length: 5", b"Connection: close"], False),
        (b"1.1", [b"Transfer-Encoding: chunked"], True),
        (b"1.1", [], False),  # until the end
        (b"1.0", [b"Content-Length: 5"], False),
        (b"1.0", [b"Content-Length: 5", b"Connection: Keep-Alive"], True),
        (b"1.9", [b"Content-Length: 5"], True),
    ],
)
def test_whether_the_servers_connection_lives_on(version: bytes, lines: list[bytes], kept: bool) -> None:
    assert head_of(*lines, first=b"HTTP/" + version + b" 200 OK").keep_alive is kept


def test_hop_by_hop_fields_end_here() -> None:
    head = head_of(
        *(
            b"Connection: keep-alive, X-Secret, Transfer-Encoding",
            b"X-Secret: 1",
            b"Keep-Alive: timeout=5",
            b"X-Kept: 1",
        ),
        *(
            b"Proxy-Connection: close",
            b"Trailer: X-Sum",
            b"TE: trailers",
            b"Upgrade: h2c",
            b"Transfer-Encoding: chunked",
        ),
    )
    assert head.headers == (("X-Kept", "1"),)
    assert head.keep_alive
    assert set(judged(head)[1]) == {"x-kept", "connection", "transfer-encoding"}


# -- A: the catalogue ------------------------------------------------------------------------------------------------


def test_A33_an_origin_cannot_ask_for_a_proxys_password() -> None:
    refused(answer(b"Proxy-Authenticate: Basic", first=b"HTTP/1.1 407 Proxy Authentication Required"))
    head = head_of(b"Proxy-Authenticate: Basic", b"Proxy-Authentication-Info: a", b"WWW-Authenticate: Basic")
    assert head.headers == (("WWW-Authenticate", "Basic"),)


def test_A33_a_relay_may_answer_407_to_connect() -> None:
    assert parse(to_connect, answer(b"Content-Length: 0", first=b"HTTP/1.1 407 Who are you")).status == 407


@pytest.mark.parametrize(
    ("first", "lines"),
    [(b"HTTP/1.1 100 Continue", ()), (b"HTTP/1.1 103 Early Hints", (b"Link: </a.css>; rel=preload",))],
)
def test_A35_interim_answers(first: bytes, lines: tuple[bytes, ...]) -> None:
    head = head_of(*lines, b"Content-Length: 5", b"Connection: close", first=first)
    assert head.is_interim
    assert head.body.is_empty
    event, fields = judged(head)
    assert isinstance(event, h11.InformationalResponse)
    assert set(fields) == ({"link"} if lines else set())


def test_A35_switching_protocols() -> None:
    head = head_of(b"Connection: Upgrade", b"Upgrade: websocket", first=b"HTTP/1.1 101 Switching Protocols")
    assert head.upgrade == "websocket"
    assert not head.is_interim
    assert judged(head)[1] == {"connection": ["Upgrade"], "upgrade": ["websocket"]}
    refused(answer(b"Connection: Upgrade", first=b"HTTP/1.1 101 Switching Protocols"))
    refused(answer(b"Upgrade: a", b"Upgrade: b", first=b"HTTP/1.1 101 Switching Protocols"))


@pytest.mark.parametrize("status", [b"204", b"304", b"199"])
def test_A37_answers_that_have_no_body(status: bytes) -> None:
    head = head_of(b"Content-Length: 5", b"Transfer-Encoding: chunked", first=b"HTTP/1.1 " + status + b" X")
    assert head.body.is_empty
    assert "transfer-encoding" not in judged(head)[1]
    assert head_of(b"Content-Length: 5", first=b"HTTP/1.1 " + status + b" X").body.is_empty


def test_A37_a_head_tells_the_length_of_what_it_does_not_bring() -> None:
    head = parse(to_head, answer(b"Content-Length: 5"))
    assert head.body.is_empty
    assert head.keep_alive
    assert judged(head, method="HEAD")[1]["content-length"] == ["5"]
    assert judged(head_of(b"Content-Length: 5", first=b"HTTP/1.1 304 X"))[1]["content-length"] == ["5"]
    assert "content-length" not in judged(head_of(b"Content-Length: 5", first=b"HTTP/1.1 204 X"))[1]


def test_A37_two_lengths() -> None:
    refused(answer(b"Content-Length: 5", b"Content-Length: 6"))
    refused(answer(b"Content-Length: 5, 6"))
    for lines in ([b"Content-Length: 5", b"Content-Length: 5"], [b"Content-Length: 5, 5"]):
        head = head_of(*lines)
        assert head.body == Framing(BodyKind.LENGTH, 5)
        assert not head.keep_alive
        assert judged(head)[1]["content-length"] == ["5"]


@each_row("value", [b"+5", b"-1", b"0x10", b"", b"5 5", b"1" * 20, b"5,", b"5;"])
def test_A37_lengths_that_are_no_numbers(value: bytes) -> None:
    refused(answer(b"Content-Length: " + value))


def test_A37_chunked_with_a_length_is_chunked_and_the_last() -> None:
    head = head_of(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    assert head.body.kind is BodyKind.CHUNKED
    assert not head.keep_alive
    assert "content-length" not in judged(head)[1]
    assert "content-length" not in judged(head, version=HTTP_1_0, keep_alive=False)[1]


@each_row("value", [b"gzip, chunked", b"chunked, identity", b"xchunked", b"chunked, chunked", b"", b"gzip"])
def test_A37_transfer_encodings(value: bytes) -> None:
    refused(answer(b"Transfer-Encoding: " + value))
    refused(answer(b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK"))
    refused(answer(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"))


def test_A37_identity_is_what_old_servers_say_for_none() -> None:
    assert head_of(b"Transfer-Encoding: identity", b"Content-Length: 5").body == Framing(BodyKind.LENGTH, 5)
    assert head_of(b"Transfer-Encoding: identity").body.kind is BodyKind.UNTIL_EOF


def test_A37_a_body_without_a_length_goes_in_chunks_or_until_the_end() -> None:
    for head in (head_of(), head_of(b"Transfer-Encoding: chunked")):
        assert head.body_for(HTTP_1_1).kind is BodyKind.CHUNKED
        assert judged(head)[1]["transfer-encoding"] == ["chunked"]
        assert head.body_for(HTTP_1_0).kind is BodyKind.UNTIL_EOF
        fields = judged(head, version=HTTP_1_0, keep_alive=False)[1]
        assert fields == {"connection": ["close"]}
    assert head_of(b"Content-Length: 5").body_for(HTTP_1_0) == Framing(BodyKind.LENGTH, 5)


@each_row(
    "location",
    [
        b"/a\r\nsplit here",
        b"/a\rX: 1",
        b"/a\nX: 1",
        b"/a\r\n\x00X: 1",
        b"/a\r\n: x",
        b"/\x00",
        b"/a\r\nHTTP/1.1 200 OK",
    ],
)
def test_A38_response_splitting(location: bytes) -> None:
    refused(answer(b"Location: " + location, b"Content-Length: 0", first=b"HTTP/1.1 302 Found"))


@each_row(
    "data",
    [
        *(
            b"<html>Blocked</html>\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"ICY 200 OK\r\n\r\n",
        ),
        *(
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/1.1 200OK\r\n\r\n",
            b"http/1.1 200 OK\r\n\r\n",
        ),
        *(
            b"HTTP/1.1 099 X\r\n\r\n",
            b"\t\r\n\r\n",
            b" HTTP/1.1 200 OK\r\n\r\n",
            b" \n\n",
            b"\r\n\r\n",
            b"\n\n",
            b"HTTP/1.1 200 OK\r\n X: 1\r\n\r\n",
            b"HTTP/1.1 200 \x00\r\n\r\n",
        ),
        *(b"HTTP/1.1 200 OK\r\nX : 1\nY: 2\r\n\r\n", b"HTTP/1.1 200 OK\nX: 1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\n"),
        *(b"HTTP/1.1 200 OK\r\n(X): 1\r\n\r\n", b"HTTP/1.1 200 OK\r\nX Y: 1\r\n\r\n", b"HTTP/1.1 200 OK\r\nX\r\n\r\n"),
    ],
)
def test_A38_what_is_no_head(data: bytes) -> None:
    refused(data)


@each_row(
    "data",
    [
        answer(b"X-A: " + b"a" * 10_000_000),
        answer(*[b"X-A: 1"] * 5000),
        b"HTTP/1.1 200 OK" + b"k" * HEAD_LIMIT,
        answer(*[b"X-A: 1"] * (FIELD_LIMIT + 1)),
    ],
)
def test_A39_heads_that_are_too_large(data: bytes) -> None:
    for pieces in ([data], cut(data, range(0, len(data), 16384))):
        with pytest.raises(PeerError) as refusal:
            feed(to_get, pieces)
        assert refusal.value.reply.startswith(b"HTTP/1.1 502 ")


def test_A39_no_more_is_asked_for_than_the_limit() -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 10_000
    with pytest.raises(PeerError):
        feed(to_get, [endless[:HEAD_LIMIT]])
    with pytest.raises(Unfinished):
        feed(to_get, [endless[: HEAD_LIMIT - 1]])


def test_a_server_that_ends_in_the_middle() -> None:
    for size in range(len(NGINX)):
        with pytest.raises(PeerError) as broken:
            feed(to_get, [NGINX[:size]] if size else [], ended=True)
        assert broken.value.reply == b""


# -- whatever comes --------------------------------------------------------------------------------------------------

_PARTS = st.sampled_from(
    [
        *(
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 204\r\n",
            b"HTTP/1.1 101 X\r\n",
            b"HTTP/1.1 407 X\r\n",
            b"\r\n",
            b"\r\n\r\n",
        ),
        *(b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: a\r\n"),
        *(b"Connection: close\r\n", b"X-A: 1\r\n", b" folded\r\n", b"\n", b"\r", b"\x00", b": ", b" ", b"\xff", b"\t"),
    ]
)
_HEADS = st.one_of(
    st.binary(max_size=200).map(lambda data: data + b"\r\n\r\n"),
    st.lists(_PARTS, max_size=12).map(lambda parts: b"HTTP/1.1 200 OK\r\n" + b"".join(parts) + b"\r\n\r\n"),
    st.tuples(st.integers(0, len(NGINX) - 5), st.binary(max_size=3)).map(
        lambda change: NGINX[: change[0]] + change[1] + NGINX[change[0] + len(change[1]) :]
    ),
)


@given(_HEADS, st.randoms(use_true_random=False))
def test_any_head_parses_or_is_refused_however_it_comes(data: bytes, chance: random.Random) -> None:
    """The same in each way of feeding; and h11 reads in what goes on what we read in what came."""
    places = [chance.randrange(len(data) + 1) for _ in range(5)]
    seen = {outcome(pieces) for pieces in ((data,), tuple(bytewise(data)), tuple(cut(data, places)))}
    assert len(seen) == 1, seen
    head = seen.pop()
    if isinstance(head, bytes) or head.status == 101:
        return
    event, fields = judged(head)
    assert event.status_code == head.status
    assert len(fields.get("content-length", [])) + len(fields.get("transfer-encoding", [])) <= 1
    assert ("transfer-encoding" in fields) == (head.body_for(HTTP_1_1).kind is BodyKind.CHUNKED)


def outcome(pieces: tuple[bytes, ...]) -> ResponseHead | bytes:
    """The head, or the reply of the refusal."""
    try:
        return feed(to_get, pieces, ended=True)[0]
    except PeerError as refusal:
        return refusal.reply
