"""DoH over HTTP/1.1, byte by byte; over sockets: tests/net/dns/test_transport.py."""

from __future__ import annotations

import pytest

from proxy.model import Destination
from proxy.model.errors import PeerError
from proxy.wire import dns
from proxy.wire.dns_url import DnsProtocol, SecureServer
from proxy.wire.doh import NotDns, authority, check_answer, http1_request, read_http1_answer
from tests.support.feeding import parse, refuse
from tests.support.rows import each_row

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\n"


def server(host: str = "192.0.2.1", port: int = 443, sni: str | None = None) -> SecureServer:
    return SecureServer(DnsProtocol.DOH, Destination(host, port), "/q", sni)


@each_row(
    ("server", "said"),
    [
        (server(), "192.0.2.1"),
        (server(port=8443), "192.0.2.1:8443"),
        (server("2001:db8::1"), "[2001:db8::1]"),
        (server(port=8443, sni="dns.test"), "dns.test:8443"),
    ],
)
def test_the_host_is_the_one_in_the_certificate(server: SecureServer, said: str) -> None:
    assert authority(server) == said
    assert f"\r\nHost: {said}\r\n".encode() in http1_request(server, b"x")


def test_a_request_carries_the_message_and_no_more_fields_than_needed() -> None:
    assert http1_request(server(), b"message") == (
        b"POST /q HTTP/1.1\r\nHost: 192.0.2.1\r\nAccept: application/dns-message\r\n"
        b"Content-Type: application/dns-message\r\nContent-Length: 7\r\n\r\nmessage"
    )


@pytest.mark.parametrize(
    ("data", "keep_alive"),
    [
        (HEAD + b"Content-Length: 7\r\n\r\nmessage", True),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"Content-Length: 7\r\nConnection: close\r\n\r\nmessage", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nmes\r\n4\r\nsage\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_read_however_it_comes(data: bytes, keep_alive: bool) -> None:
    assert parse(read_http1_answer, data) == (keep_alive, b"message")


def test_an_answer_that_is_too_large_is_refused_before_all_of_it_has_come() -> None:
    size = dns.MESSAGE_LIMIT + 1
    error = refuse(read_http1_answer, HEAD + b"Content-Length: %d\r\n\r\n" % (10 * size) + bytes(size))
    assert isinstance(error, NotDns)


@each_row(
    ("status", "media_type", "says"),
    [
        ("200", "application/dns-message", None),
        ("200", "Application/DNS-Message; charset=x", None),
        ("204", "application/dns-message", "HTTP status 204"),
        ("5" * 99, None, "HTTP status 55555555555555555555"),
        ("200", "text/html", "'text/html', which is no DNS message"),
        ("200", "x" * 99, f"'{'x' * 60}', which"),
        ("200", None, "'nothing', which"),
    ],
)
def test_what_is_no_dns_message_is_named(status: str, media_type: str | None, says: str | None) -> None:
    if says is None:
        check_answer(status, media_type)
        return
    with pytest.raises(PeerError) as caught:
        check_answer(status, media_type)
    assert says in str(caught.value)
