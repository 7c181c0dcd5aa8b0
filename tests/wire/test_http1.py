"""Request heads: what browsers send passes with its meaning, what could be read in two ways is refused.

h11, which had no part in this parser, judges what we send on: it must read the same request out of it.
"""

from __future__ import annotations

import random
import re

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Destination
from proxy.model.errors import PeerError
from proxy.wire import http1
from proxy.wire.http1 import HEAD_LIMIT, BodyKind, Form, Framing, RequestHead
from proxy.wire.reader import Reader
from tests.support.feeding import Unfinished, bytewise, cut, feed, parse, refuse
from tests.support.rows import each_row
from tests.wire.bad_heads import BAD_HEADS

HOST = b"Host: example.org\r\n"
CHROME = (
    b"GET http://example.org/path/to?x=1&y={a|b}^`'\" HTTP/1.1\r\n"
    b"Host: example.org\r\n"
    b"Proxy-Connection: keep-alive\r\n"
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate\r\n"
    b"Accept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: a=b; c=d\r\n"
    b"\r\n"
)


def get(*lines: bytes, target: bytes = b"http://example.org/", host: bytes = HOST) -> bytes:
    """A GET with these header lines."""
    return b"GET " + target + b" HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes) -> bytes:
    return b"POST" + get(*lines).removeprefix(b"GET")


def head_of(data: bytes) -> RequestHead:
    return parse(http1.read_request_head, data)


def status_of(data: bytes) -> int:
    """The status of the refusal, which must be a whole HTTP answer that closes."""
    reply = refuse(http1.read_request_head, data).reply
    return judged_reply(reply)


def judged_reply(reply: bytes) -> int:
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    judge.send(h11.EndOfMessage())
    judge.receive_data(reply)
    answer = judge.next_event()
    assert isinstance(answer, h11.Response)
    assert (b"connection", b"close") in list(answer.headers)
    body = judge.next_event()
    assert isinstance(body, h11.Data)
    assert re.fullmatch(rb"[A-Z][^\n]{8,160}\.\n", bytes(body.data)), body.data  # a sentence or two, short
    return answer.status_code


def judged(head: RequestHead) -> tuple[h11.Request, dict[str, list[str]]]:
    """What h11 reads out of the head that goes to the server, and its fields by name."""
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(head.forwarded)
    request = judge.next_event()
    assert isinstance(request, h11.Request)
    fields: dict[str, list[str]] = {}
    for name, value in request.headers:
        fields.setdefault(name.decode(), []).append(value.decode("latin-1"))
    return request, fields


# -- what passes -------------------------------------------------------------------------------------------------------


def test_a_browsers_request_passes_with_its_meaning() -> None:
    head = head_of(CHROME)
    assert (head.method, head.form, head.version) == ("GET", Form.ABSOLUTE, (1, 1))
    assert head.destination == Destination("example.org", 80)
    assert head.target == "/path/to?x=1&y={a|b}^`'\""
    assert head.bodiless
    assert head.keep_alive
    assert head.host == "example.org"
    assert dict(head.headers)["Cookie"] == "a=b; c=d"
    request, fields = judged(head)
    assert (request.method, request.target, request.http_version) == (b"GET", head.target.encode(), b"1.1")
    assert fields["host"] == ["example.org"]
    assert fields["connection"] == ["keep-alive"]
    assert "proxy-connection" not in fields
    assert fields["cookie"] == ["a=b; c=d"]
    assert len(fields) == 8


def test_the_usual_spellings_and_unusual_ones_mean_the_same() -> None:
    assert head_of(CHROME.replace(b"Host:", b"hOsT:").replace(b"Cookie:", b"cOOKIE:")).forwarded.lower() == (
        head_of(CHROME).forwarded.lower()
    )


def test_field_order_and_repeated_fields_are_kept() -> None:
    head = head_of(get(b"X-A: 1", b"Cookie: a", b"X-A: 2", b"Empty:", b"X-Blanks: \t in  side \t "))
    assert head.passed == "X-A: 1\r\nCookie: a\r\nX-A: 2\r\nEmpty: \r\nX-Blanks: in  side\r\n"


def test_values_beyond_ascii_pass_as_they_are() -> None:
    value = "grüße и".encode()
    assert b"X-Name: " + value + b"\r\n" in head_of(get(b"X-Name: " + value)).forwarded


@each_row(
    ("target", "path"),
    [
        (b"http://example.org", "/"),
        (b"HTTP://Example.ORG./a", "/a"),  # A27: the scheme has no case
        (b"http://example.org?q=/a", "/?q=/a"),
        (b"http://example.org/?q=a\\b", "/?q=a\\b"),  # browsers send backslashes in queries
        (b"http://example.org/a//b/../c;d=e", "/a//b/../c;d=e"),
        (b"http://example.org/http://other.example/", "/http://other.example/"),
        ("http://example.org/ü?ü".encode(), "/%C3%BC?%C3%BC"),  # as curl sends what was typed
        (b"http://example.org:80/", "/"),
    ],
)
def test_targets_are_sent_in_origin_form(target: bytes, path: str) -> None:
    head = head_of(get(target=target))
    assert head.destination == Destination("example.org", 80)
    assert head.target == path
    request, fields = judged(head)
    assert request.target.decode() == path
    assert fields["host"] == ["example.org"]


@each_row(
    ("authority", "destination", "host"),
    [
        (b"example.org:8080", Destination("example.org", 8080), "example.org:8080"),
        (b"127.0.0.1:81", Destination("127.0.0.1", 81), "127.0.0.1:81"),
        (b"[2001:DB8::1]", Destination("2001:db8::1", 80), "[2001:db8::1]"),
        (b"[::1]:8080", Destination("::1", 8080), "[::1]:8080"),
        ("bücher.example".encode(), Destination("xn--bcher-kva.example", 80), "xn--bcher-kva.example"),
    ],
)
def test_every_kind_of_host(authority: bytes, destination: Destination, host: str) -> None:
    head = head_of(get(target=b"http://" + authority + b"/", host=b"Host: " + authority + b"\r\n"))
    assert head.destination == destination
    assert head.host == host
    assert judged(head)[1]["host"] == [host]


def test_a_post_with_a_length() -> None:
    head = head_of(post(b"Content-Length: 5"))
    assert head.body == Framing(BodyKind.LENGTH, 5)
    assert not head.bodiless
    assert judged(head)[1]["content-length"] == ["5"]


def test_a_length_of_nothing_is_said_and_is_no_body() -> None:
    head = head_of(post(b"Content-Length: 0"))
    assert head.bodiless
    assert judged(head)[1]["content-length"] == ["0"]


def test_a_chunked_post() -> None:
    head = head_of(post(b"transfer-encoding: Chunked"))
    assert head.body.kind is BodyKind.CHUNKED
    assert judged(head)[1]["transfer-encoding"] == ["chunked"]


def test_an_old_client_may_leave_host_out() -> None:
    head = head_of(b"GET http://example.org/ HTTP/1.0\r\n\r\n")
    assert (head.version, head.host, head.keep_alive) == ((1, 0), "", False)
    request, fields = judged(head)
    assert request.http_version == b"1.1"
    assert fields["host"] == ["example.org"]


@each_row(
    ("version", "lines", "kept"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: Keep-Alive, CLOSE"], False),
        (b"1.1", [b"Proxy-Connection: close"], False),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Proxy-Connection: Keep-Alive"], True),
    ],
)
def test_whether_the_clients_connection_lives_on(version: bytes, lines: list[bytes], kept: bool) -> None:
    head = head_of(get(*lines).replace(b"HTTP/1.1", b"HTTP/" + version))
    assert head.keep_alive is kept
    assert judged(head)[1]["connection"] == ["keep-alive"]  # to the server it is ours to say


def test_an_empty_line_after_the_last_body_is_forgiven_once() -> None:
    assert head_of(b"\r\n" + get()) == head_of(get())
    assert status_of(b"\r\n\r\n") == 400


def test_pipelined_requests_stay_apart() -> None:
    first, left = feed(http1.read_request_head, [get() + get(target=b"http://other.example/")])
    second, nothing = feed(http1.read_request_head, [left])
    assert (first.destination, second.destination) == (Destination("example.org", 80), Destination("other.example", 80))
    assert nothing == b""


def test_fields_that_were_read_before_are_judged_by_the_line_above_them() -> None:
    """What is remembered of fields is what they say whatever the first line is."""
    chunked = post(b"Transfer-Encoding: chunked")
    for _ in range(3):
        assert head_of(chunked).body.kind is BodyKind.CHUNKED
        assert status_of(chunked.replace(b"HTTP/1.1", b"HTTP/1.0")) == 400
        assert status_of(chunked.replace(b"POST http://example.org/", b"CONNECT example.org:80")) == 400
    hops = get(b"Max-Forwards: 3")
    for _ in range(3):
        assert "Max-Forwards: 3\r\n" in head_of(hops).passed
        assert "Max-Forwards: 2\r\n" in head_of(b"OPTIONS" + hops.removeprefix(b"GET")).passed
    assert head_of(get(target=b"http://example.org:81/")).named == Destination("example.org", 80)
    assert head_of(get(target=b"http://example.org/")).keep_alive
    assert not head_of(get().replace(b"HTTP/1.1", b"HTTP/1.0")).keep_alive


@each_row("data", [CHROME, *BAD_HEADS.values()])
def test_what_is_one_head_and_nothing_else_is_read_as_from_a_reader(data: bytes) -> None:
    def taken(reader: Reader) -> RequestHead | bytes | None:
        try:
            return http1.take_request_head(reader)
        except PeerError as error:
            return error.reply

    def whole() -> RequestHead | bytes | None:
        try:
            return http1.whole_request_head(data)
        except PeerError as error:
            return error.reply

    reader = Reader(data)
    expected = taken(reader)
    assert whole() == (None if reader or b"\n\n" in data else expected)


@each_row("data", [CHROME + b"G", CHROME + CHROME, CHROME[:-1], b"", b"GE", b"GET / HTTP/1.1\n\n"])
def test_anything_else_is_not_read_as_one_head(data: bytes) -> None:
    assert http1.whole_request_head(data) is None


@pytest.mark.parametrize("size", [100, http1.REMEMBERED_LIMIT, 4 * http1.REMEMBERED_LIMIT])
def test_what_is_refused_is_refused_again(size: int) -> None:
    bad = get(b"X-A: " + b"a" * size, b"X-B : 1")
    assert [status_of(bad) for _ in range(3)] == [400] * 3
    good = get(b"X-A: " + b"a" * size)
    assert head_of(good) == head_of(good)


def test_repr_tells_no_secret() -> None:
    head = head_of(get(b"Cookie: secret", b"Proxy-Authorization: Basic secret", target=b"http://example.org/secret"))
    assert repr(head) == "<RequestHead GET example.org:80 absolute>"


# -- A: the catalogue ----------------------------------------------------------------------------------------------


def test_A1_content_length_with_transfer_encoding() -> None:
    assert status_of(post(b"Content-Length: 5", b"Transfer-Encoding: chunked")) == 400
    assert status_of(post(b"Transfer-Encoding: chunked", b"Content-Length: 5")) == 400


def test_A2_A3_two_content_lengths() -> None:
    assert status_of(post(b"Content-Length: 5", b"Content-Length: 6")) == 400
    assert status_of(post(b"Content-Length: 5", b"content-length: 5")) == 400
    assert status_of(post(b"Content-Length: 5, 5")) == 400


@each_row("value", ["+5", "5_0", "0x10", "-1", " 5 5", "", "1" * 20, "5,", "٥", "5;", "1e3", "5.0", '"5"'])
def test_A4_content_length_spellings(value: str) -> None:
    assert status_of(post(b"Content-Length: " + value.encode())) == 400


@each_row(
    "value",
    [
        b"chunked, identity",
        b"xchunked",
        b",chunked",
        b"chunked;q=1",
        b"\x0bchunked",
        b"gzip, chunked",
        b"",
        b"chunked,",
    ],
)
def test_A5_transfer_encodings(value: bytes) -> None:
    assert status_of(post(b"Transfer-Encoding: " + value)) == 400


def test_A5_two_transfer_encodings() -> None:
    assert status_of(post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")) == 400


def test_A6_transfer_encoding_in_http_1_0() -> None:
    assert status_of(post(b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0")) == 400


@each_row("line", [b"Content-Length : 5", b"X-A\t: 1", b"Host : example.org", b" : 1"])
def test_A7_blank_before_the_colon(line: bytes) -> None:
    assert status_of(get(line)) == 400


@pytest.mark.parametrize("lines", [(b"X-A: 1", b" folded"), (b"X-A: 1", b"\tX-B: 2"), (b" ",)])
def test_A8_folded_lines(lines: tuple[bytes, ...]) -> None:
    assert status_of(get(*lines)) == 400


def test_A8_blank_before_the_first_field() -> None:
    assert status_of(get().replace(b"Host", b" Host")) == 400


@each_row(
    "data",
    [
        get().replace(b"\r\n", b"\n"),
        get(b"X-A: 1").replace(b"1\r\n", b"1\n"),
        get(b"X-A: 1\nX-B: 2"),
        get(b"X-A: 1\rX-B: 2"),
        get(b"X-A: 1\r"),
        get(b"X-A: \x00"),
        get(b"X-\x00A: 1"),
        get(b"X-A: \x1b[31m"),
        get(b"X-A: \x7f"),
        get(target=b"http://example.org/\x00"),
        get(target=b"http://example.org/\r"),
        b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\n\n",
        b"GET http://example.org/ HTTP/1.1\nHost: example.org\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\rHost: example.org\r\r\n\r\n",
        b"\n" + get(),
        b"\r" + get(),
    ],
)
def test_A9_bare_line_ends_and_control_characters(data: bytes) -> None:
    assert status_of(data) == 400


@each_row("name", [b"", *(b"X" + bytes([char]) for char in b'()[]{}@,;<>\\/?="'), b"X\xff", "Ü".encode()])
def test_A10_header_names(name: bytes) -> None:
    assert status_of(get(name + b": x")) == 400


def test_A10_a_line_without_a_colon() -> None:
    assert status_of(get(b"Nonsense")) == 400
    assert status_of(get(b"Cookie")) == 400


@each_row(
    ("line", "status"),
    [
        (b"GET  http://example.org/ HTTP/1.1", 400),
        (b"GET\thttp://example.org/\tHTTP/1.1", 400),
        (b"GET http://example.org/\t HTTP/1.1", 400),
        (b"GET http://example.org/ HTTP/1.1 ", 400),
        (b" GET http://example.org/ HTTP/1.1", 400),
        (b"GET http://example.org/ HTTP/1.2", 505),
        (b"GET http://example.org/ HTTP/9.9", 505),
        (b"GET http://example.org/ HTTP/0.9", 505),
        (b"GET http://example.org/ HTTP/1.10", 400),
        (b"GET http://example.org/ HTTP/11", 400),
        (b"GET http://example.org/ http/1.1", 400),
        (b"GET http://example.org/ XTTP/1.1", 400),
        (b"GET http://example.org/", 400),
        (b"GET", 400),
        (b"", 400),
        (b"get http://example.org/ HTTP/1.1", 400),
        (b"Get http://example.org/ HTTP/1.1", 400),
        (b"G@T http://example.org/ HTTP/1.1", 400),
        (b"A" * 64 + b" http://example.org/ HTTP/1.1", 400),
        (b"PRI * HTTP/2.0", 505),
        ("GET http://example.org/ HTTP/1.١".encode(), 400),
    ],
)
def test_A13_request_lines(line: bytes, status: int) -> None:
    assert status_of(line + b"\r\n" + HOST + b"\r\n") == status


@each_row("method", [b"PROPFIND", b"M-SEARCH", b"VERSION-CONTROL", b"PATCH", b"X_Y1"])
def test_A13_other_methods_pass(method: bytes) -> None:
    head = head_of(method + get().removeprefix(b"GET"))
    assert judged(head)[0].method == method


def test_A14_long_addresses() -> None:
    assert len(head_of(get(target=b"http://example.org/" + b"a" * 8192)).target) == 8193
    assert fed_status(get(target=b"http://example.org/" + b"a" * 65536)) == 414
    assert fed_status(b"\r\n" + get(target=b"http://example.org/" + b"a" * 65536)) == 414


@each_row(
    "lines",
    [
        [b"X-A: " + b"a" * 65536],
        [b"X-A: " + b"a" * 2_000_000],
        [b"X-%d: 1" % number for number in range(2000)],
        [b"X-A: 1"] * 100,  # with Host it is one too many
    ],
)
def test_A15_heads_that_are_too_large(lines: list[bytes]) -> None:
    assert fed_status(get(*lines)) == 431


def test_A15_as_much_as_fits() -> None:
    assert len(head_of(get(*[b"X-A: 1"] * 99)).headers) == 100
    rest = HEAD_LIMIT - len(get(b"X-A: "))
    head, _ = feed(http1.read_request_head, [get(b"X-A: " + b"a" * rest)])
    assert len(head.headers) == 2


def test_A15_no_more_is_asked_for_than_the_limit() -> None:
    endless = get(b"X-A: " + b"a" * 200_000)
    with pytest.raises(PeerError):
        feed(http1.read_request_head, [endless[:HEAD_LIMIT]])
    with pytest.raises(Unfinished):
        feed(http1.read_request_head, [endless[: HEAD_LIMIT - 1]])


def fed_status(data: bytes) -> int:
    """As `status_of`, for samples too large to be fed in every way: in pieces as a socket brings them."""
    places = range(0, len(data), 16384)
    with pytest.raises(PeerError) as whole:
        feed(http1.read_request_head, [data])
    with pytest.raises(PeerError) as pieces:
        feed(http1.read_request_head, cut(data, places))
    assert whole.value.reply == pieces.value.reply
    return judged_reply(pieces.value.reply)


def test_A19_half_a_head_and_then_the_end() -> None:
    for size in range(len(CHROME)):
        with pytest.raises(PeerError) as broken:
            feed(http1.read_request_head, [CHROME[:size]] if size else [], ended=True)
        assert broken.value.reply == b""


@pytest.mark.parametrize("host", [b"evil.example", b"evil.example:8080", b"127.0.0.1"])
def test_A24_the_address_wins_over_host(host: bytes) -> None:
    head = head_of(get(host=b"Host: " + host + b"\r\n"))
    assert head.destination == Destination("example.org", 80)
    assert judged(head)[1]["host"] == ["example.org"]
    assert b"evil" not in head.forwarded


@each_row(
    "host",
    [
        b"",
        HOST + HOST,
        HOST + b"host: other.example\r\n",
        *(
            b"Host: " + value + b"\r\n"
            for value in [
                *(
                    b"",
                    b"user@example.org",
                    b"user:pass@example.org",
                    b"example.org/path",
                    b"example.org, other.example",
                ),
                *(
                    b"exa mple.org",
                    b"example.org:",
                    b"example.org:0",
                    b"example.org:99999",
                    b"example.org:http",
                    b":80",
                ),
                *(b"http://example.org", b"[::1", b"::1", b"[fe80::1%25eth0]", b"a..b", b"a" * 300, b"example.org\\"),
            ]
        ),
    ],
)
def test_A25_hosts(host: bytes) -> None:
    assert status_of(get(host=host)) == 400


@each_row("user", [b"user:secret@", b"secret@", b"@", b":secret@", b"a@secret@", b"%40secret@"])
def test_A26_user_information_is_refused_and_not_repeated(user: bytes) -> None:
    fault = refuse(http1.read_request_head, get(target=b"http://" + user + b"example.org/"))
    assert judged_reply(fault.reply) == 400
    assert b"secret" not in fault.reply
    assert "secret" not in str(fault)


@each_row(
    "target",
    [
        *(b"http://example.org/#top", b"http://example.org#top", b"http://example.org/?a#top", b"/#", b"http://#"),
        *(b"http://example.org\\@evil.example/", b"http:\\\\example.org\\", b"http://example.org/a\\b", b"/\\evil"),
        *(b"http:/example.org", b"http:///", b"http://", b"http://?", b"http:example.org", b"://example.org/", b"http"),
        *(b"ftp://example.org/", b"file:///etc/passwd", b"gopher://example.org/", b"ws://example.org/", b"data:1"),
        *(b"example.org", b"example.org:80", b"*", b"http://exa%mple.org/", b"http://[::1/", b"http://example.org:/"),
        *(b"http://example.org:0/", b"http://example.org:65616/", b"http://example.org:-1/", b"http://a..b/", b"?a"),
        *(b"http://exa\xffmple.org/", "http://example。org／a".encode()),
    ],
)  # fmt: skip
def test_A27_addresses(target: bytes) -> None:
    assert status_of(get(target=target)) == 400


@pytest.mark.parametrize("scheme", [b"https", b"HTTPS", b"wss"])
def test_A28_https_without_connect_is_refused_with_a_hint(scheme: bytes) -> None:
    fault = refuse(http1.read_request_head, get(target=scheme + b"://example.org/"))
    assert judged_reply(fault.reply) == 400
    assert b"CONNECT" in fault.reply


@pytest.mark.parametrize(
    ("host", "read"),
    [
        (b"localhost:8119", "localhost:8119"),
        (b"LocalHost.:8119", "localhost:8119"),
        (b"byway.internal", "byway.internal"),
    ],
)
def test_A29_origin_form_says_whose_it_is(host: bytes, read: str) -> None:
    head = head_of(get(b"Cookie: a", target=b"/path?q", host=b"Host: " + host + b"\r\n"))
    assert (head.form, head.destination, head.target, head.host) == (Form.ORIGIN, None, "/path?q", read)
    request, fields = judged(head)  # as the control server gets it
    assert request.target == b"/path?q"
    assert fields["host"] == [read]


def test_A29_origin_form_without_host() -> None:
    assert head_of(b"GET / HTTP/1.0\r\n\r\n").host == ""
    assert head_of(b"GET / HTTP/1.0\r\n\r\n").forwarded == b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"


def test_A30_options_for_ourselves() -> None:
    assert status_of(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n") == 501


def test_A30_options_for_a_whole_server() -> None:
    assert head_of(b"OPTIONS http://example.org HTTP/1.1\r\n" + HOST + b"\r\n").target == "*"
    assert head_of(b"OPTIONS http://example.org/ HTTP/1.1\r\n" + HOST + b"\r\n").target == "/"


@pytest.mark.parametrize("target", [b"http://example.org/", b"/", b"*"])
def test_A30_trace(target: bytes) -> None:
    assert status_of(b"TRACE " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n") == 501


def test_A30_max_forwards() -> None:
    def options(value: bytes) -> bytes:
        return b"OPTIONS" + get(b"Max-Forwards: " + value).removeprefix(b"GET")

    assert status_of(options(b"0")) == 501
    assert status_of(options(b"-1")) == 400
    assert status_of(options(b"1\r\nMax-Forwards: 1")) == 400
    assert judged(head_of(options(b"5")))[1]["max-forwards"] == ["4"]
    assert judged(head_of(get(b"Max-Forwards: 0")))[1]["max-forwards"] == ["0"]


@each_row(
    "lines",
    [
        (b"Connection: x-secret", b"X-Secret: 1"),
        (b"X-Secret: 1", b"connection: close, X-SECRET"),
        (b"Connection: connection", b"Connection: X-Secret", b"X-Secret: 1"),
        (b"Proxy-Connection: keep-alive",),
        (b"Keep-Alive: timeout=5",),
        (b"TE: trailers",),
        (b"Trailer: X-Sum",),
        (b"Upgrade: websocket",),  # without Connection: Upgrade it asks for nothing
        (b"Proxy: evil.example",),
        (b"Proxy-Authenticate: Basic",),
        (b"HTTP2-Settings: AAMAAABkAAQ",),
    ],
)
def test_A31_hop_by_hop_fields_end_here(lines: tuple[bytes, ...]) -> None:
    head = head_of(get(b"X-Kept: 1", *lines))
    assert head.passed == "X-Kept: 1\r\n"
    assert set(judged(head)[1]) == {"host", "connection", "x-kept"}


@each_row("name", [b"Content-Length", b"transfer-encoding", b"HOST", b"Authorization"])
def test_A31_needed_fields_cannot_be_named_hop_by_hop(name: bytes) -> None:
    assert status_of(get(b"Connection: close, " + name)) == 400


@each_row("value", [b"clo se", b'"close"', b"a=b", b"close;"])
def test_A31_connection_holds_names(value: bytes) -> None:
    assert status_of(get(b"Connection: " + value)) == 400


def test_A32_proxy_authorization_is_read_and_ends_here() -> None:
    head = head_of(get(b"Proxy-Authorization: Basic dTpw", b"Authorization: Basic b3JpZ2lu"))
    assert head.proxy_authorization == "Basic dTpw"
    fields = judged(head)[1]
    assert "proxy-authorization" not in fields
    assert fields["authorization"] == ["Basic b3JpZ2lu"]
    assert head_of(get()).proxy_authorization is None
    assert status_of(get(b"Proxy-Authorization: Basic a", b"proxy-authorization: Basic b")) == 400


def test_A34_expectations() -> None:
    head = head_of(post(b"Content-Length: 5", b"Expect: 100-Continue"))
    assert head.expect_continue
    assert judged(head)[1]["expect"] == ["100-continue"]
    assert status_of(post(b"Content-Length: 5", b"Expect: junk")) == 417
    assert status_of(post(b"Content-Length: 5", b"Expect:")) == 417
    for nothing_to_wait_for in (
        get(b"Expect: 100-continue"),
        post(b"Content-Length: 5", b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        head = head_of(nothing_to_wait_for)
        assert not head.expect_continue
        assert "expect" not in judged(head)[1]


def test_A36_upgrades() -> None:
    head = head_of(get(b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"))
    assert head.upgrade == "websocket"
    fields = judged(head)[1]
    assert fields["connection"] == ["Upgrade"]
    assert fields["upgrade"] == ["websocket"]
    assert fields["sec-websocket-version"] == ["13"]


@pytest.mark.parametrize(("asked", "kept"), [(b"h2c", None), (b"H2C, websocket", "websocket"), (b"", None)])
def test_A36_http2_is_not_asked_for(asked: bytes, kept: str | None) -> None:
    head = head_of(get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + asked, b"HTTP2-Settings: AAMA"))
    assert head.upgrade == kept
    assert b"h2c" not in head.forwarded.lower()
    assert b"HTTP2" not in head.forwarded


def test_A36_http_1_0_upgrades_nothing() -> None:
    head = head_of(get(b"Connection: Upgrade", b"Upgrade: websocket").replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert head.upgrade is None


# -- B: CONNECT --------------------------------------------------------------------------------------------------------


def connect(target: bytes, *lines: bytes) -> bytes:
    return b"CONNECT " + target + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def test_connect() -> None:
    head = head_of(connect(b"Example.org:443", b"Host: example.org:443", b"Proxy-Authorization: Basic dTpw"))
    assert (head.form, head.destination) == (Form.CONNECT, Destination("example.org", 443))
    assert head.proxy_authorization == "Basic dTpw"
    assert head_of(connect(b"[::1]:443", b"Host: [::1]:443")).destination == Destination("::1", 443)
    assert head_of(connect(b"example.org:443", b"Host: example.org")).destination == Destination("example.org", 443)


def test_an_old_client_connects_without_host() -> None:
    head = head_of(b"CONNECT example.org:443 HTTP/1.0\r\n\r\n")
    assert head.destination == Destination("example.org", 443)


@each_row(
    "target",
    [
        *(b"example.org", b"example.org:0", b"example.org:65616", b"example.org:-1", b"example.org:http", b":443"),
        *(b"", b"example.org:443/path", b"http://example.org:443", b"user@example.org:443", b"example.org:443:443"),
        *(b"::1:443", b"[::1]", b"example.org:+443", b"example.org:0443", b"*", b"/", b"exa mple.org:443"),
    ],
)
def test_B1_connect_targets(target: bytes) -> None:
    assert status_of(connect(target, b"Host: example.org")) == 400


def test_B2_connect_has_no_body() -> None:
    assert status_of(connect(b"example.org:443", b"Host: example.org", b"Content-Length: 5")) == 400
    assert status_of(connect(b"example.org:443", b"Host: example.org", b"Transfer-Encoding: chunked")) == 400
    assert head_of(connect(b"example.org:443", b"Host: example.org", b"Content-Length: 0")).bodiless


# -- whatever comes ----------------------------------------------------------------------------------------------------

_PARTS = st.sampled_from(
    [
        *(
            b"GET",
            b"POST",
            b"CONNECT",
            b"OPTIONS",
            b" ",
            b"  ",
            b"\t",
            b"http://",
            b"https://",
            b"example.org",
            b":",
            b"80",
        ),
        *(b"/", b"?", b"#", b"\\", b"@", b"*", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00"),
        *(
            b"Host: example.org\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
        ),
        *(b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"X-A: 1\r\n", b" : ", b"\xc3\xbc", b"[::1]", b"%"),
    ]
)
_HEADS = st.one_of(
    st.binary(max_size=200).map(lambda data: data + b"\r\n\r\n"),
    st.lists(_PARTS, max_size=30).map(lambda parts: b"".join(parts) + b"\r\n\r\n"),
    st.lists(_PARTS, max_size=8).map(lambda parts: get()[:-2] + b"".join(parts) + b"\r\n\r\n"),
    st.tuples(st.integers(0, len(CHROME) - 5), st.binary(max_size=3)).map(
        lambda change: CHROME[: change[0]] + change[1] + CHROME[change[0] + len(change[1]) :]
    ),
)


@given(_HEADS, st.randoms(use_true_random=False))
def test_any_head_parses_or_is_refused_however_it_comes(data: bytes, chance: random.Random) -> None:
    """The same in each way of feeding; and h11 reads in what goes on what we read in what came."""
    places = [chance.randrange(len(data) + 1) for _ in range(5)]
    seen = {outcome(pieces) for pieces in ((data,), tuple(bytewise(data)), tuple(cut(data, places)))}
    assert len(seen) == 1, seen
    read = seen.pop()
    if isinstance(read, bytes) or read.form is Form.CONNECT or not read.host:
        return
    request, fields = judged(read)
    assert request.method.decode() == read.method
    assert request.target.decode() == read.target
    expected = read.destination
    assert fields["host"] == [read.host if expected is None else http1.host_field(expected)]
    assert {"proxy-connection", "proxy-authorization", "te", "keep-alive"}.isdisjoint(fields)
    if read.body.kind is BodyKind.LENGTH:
        assert fields["content-length"] == [str(read.body.length)]


def outcome(pieces: tuple[bytes, ...]) -> RequestHead | bytes:
    """The head, or the reply of the refusal."""
    try:
        return feed(http1.read_request_head, pieces, ended=True)[0]
    except PeerError as refused:
        return refused.reply
