"""How many calls of Python functions a message may cost that has arrived whole. Every connection pays them.

Each case is counted with a name that was never seen before, and with the same name again, as a page asks for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TypeVar

from proxy.wire import http1
from proxy.wire.flight import Flight
from proxy.wire.http1 import BodyKind, Framing
from proxy.wire.http1_body import CHUNKED
from proxy.wire.reader import Parser, Reader
from proxy.wire.sniff import Family, sniff
from proxy.wire.socks import read_socks5_method, read_socks5_methods, read_socks5_reply, read_socks5_request
from tests.support.calls import counting
from tests.support.rows import each_row
from tests.wire import hellos

T = TypeVar("T")
Run = Callable[[], object]

BROWSER = (
    b"Proxy-Connection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0\r\n"
)
PAGE = (
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Accept-Language: en-US,en;q=0.9\r\nCookie: a=b; c=d\r\nX-Requested-By: a page\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 07 Oct 2008 00:00:00 GMT\r\nContent-Type: text/html\r\n"
    b"Content-Length: 5\r\nConnection: keep-alive\r\nSet-Cookie: a=1; Path=/\r\nX-Served-By: %b\r\n\r\n"
)


def read(parser: Parser[T]) -> T:
    """The value of a parser whose bytes have come."""
    try:
        next(parser)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("the bytes were not enough")


def connect(name: bytes) -> Run:
    reader = Reader(b"CONNECT %b:443 HTTP/1.1\r\nHost: %b:443\r\n%b\r\n" % (name, name, BROWSER))
    return lambda: sniff(reader[0]) is Family.HTTP and http1.take_request_head(reader)


def absolute_form(name: bytes) -> Run:
    reader = Reader(b"GET http://%b/a?b HTTP/1.1\r\nHost: %b\r\n%b%b" % (name, name, BROWSER, PAGE))

    def run() -> object:
        head = http1.take_request_head(reader)
        return sniff(ord("G")) is Family.HTTP and head is not None and head.forwarded

    return run


def answer(name: bytes) -> Run:
    reader = Reader(ANSWER % name)

    def run() -> object:
        head = http1.take_response_head(reader, "GET")
        return head is not None and head.forwarded(head.body_for(http1.HTTP_1_1), keep_alive=True)

    return run


def socks5_name(name: bytes) -> Run:
    return socks5(b"\x03" + bytes((len(name),)) + name)


def socks5_address(name: bytes) -> Run:
    return socks5(b"\x01\xc6\x33" + name[:2])  # of 198.51.0.0/16


def socks5(address: bytes) -> Run:
    reader = Reader(b"\x05\x01\x00" + b"\x05\x01\x00" + address + b"\x01\xbb")
    return lambda: (
        sniff(reader[0]) is Family.SOCKS5 and read(read_socks5_methods(reader)) and read(read_socks5_request(reader))
    )


def socks5_relay(_name: bytes) -> Run:
    reader = Reader(b"\x05\x00" + b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    return lambda: (read(read_socks5_method(reader)), read(read_socks5_reply(reader)))


def counted_body(_name: bytes) -> Run:
    reader = Reader(bytes(5000))
    framing = Framing(BodyKind.LENGTH, 5000)
    return lambda: [*http1.read_body(reader, framing)]


def ten_chunks(_name: bytes) -> Run:
    reader = Reader(http1.encode_chunk(bytes(1000)) * 10 + http1.LAST_CHUNK)
    return lambda: [*http1.read_body(reader, CHUNKED)]


def flight(data: bytes) -> Run:
    def receive() -> Flight:
        flight = Flight()
        flight.receive_data(data)
        return flight

    return receive


def tls_flight(name: bytes) -> Run:
    return flight(hellos.by_hand(hellos.sni(name), hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE))


def http_flight(name: bytes) -> Run:
    return flight(b"GET /a HTTP/1.1\r\nHost: %b\r\n%b" % (name, PAGE))


def other_flight(_name: bytes) -> Run:
    return flight(b"SSH-2.0-OpenSSH_9.6\r\n")


@each_row(
    ("case", "new_name", "known_name"),
    [
        (connect, 13, 6),
        (absolute_form, 15, 8),
        (answer, 13, 4),  # one makes the head that goes on, which is remembered with it
        (socks5_name, 11, 9),
        (socks5_address, 16, 8),
        (socks5_relay, 8, 8),
        (counted_body, 4, 4),
        (ten_chunks, 69, 69),
        (tls_flight, 13, 11),
        (http_flight, 9, 5),
        (other_flight, 4, 4),
    ],
)
def test_calls(case: Callable[[bytes], Run], new_name: int, known_name: int) -> None:
    case(b"warm.example")()  # ports, for example, are known by then
    name = b"%b.example" % uuid.uuid4().hex.encode()
    for limit in (new_name, known_name):
        run = case(name)
        with counting() as calls:
            result = run()
        assert result
        assert calls.total() <= limit, calls
