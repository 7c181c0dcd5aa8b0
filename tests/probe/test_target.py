"""What people type when they mean a page, and what is asked for then."""

from __future__ import annotations

import re

import pytest

from proxy.model import Destination, Protocol
from proxy.probe.target import names_port, page_of
from tests.support.rows import each_row


@each_row(
    ("text", "host", "protocol", "port", "target"),
    [
        ("site.test", "site.test", Protocol.TLS, 443, "/"),
        ("site.test:8443", "site.test", Protocol.TLS, 8443, "/"),
        ("site.test:80", "site.test", Protocol.HTTP, 80, "/"),
        ("http://Site.test/a?b=c#d", "site.test", Protocol.HTTP, 80, "/a?b=c"),
        ("https://site.test:80/", "site.test", Protocol.TLS, 80, "/"),
        ("2001:db8::1", "2001:db8::1", Protocol.TLS, 443, "/"),
        ("https://[2001:db8::1]:8443/x", "2001:db8::1", Protocol.TLS, 8443, "/x"),
        ("https://site.test/\u00e4 b", "site.test", Protocol.TLS, 443, "/%C3%A4%20b"),
        ("https://user:pw@site.test/", "site.test", Protocol.TLS, 443, "/"),
    ],
)
def test_pages(text: str, host: str, protocol: Protocol, port: int, target: str) -> None:
    page = page_of(text)
    assert (page.host, page.protocol, page.port, page.target) == (host, protocol, port, target)


@each_row("text", ["", "http://", "a..b", "https://site.test:99999/", "x" * 9000])
def test_what_is_no_page(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        page_of(text)


def test_a_request_is_one_line_whatever_is_asked() -> None:
    page = page_of("http://site.test:8080/a\u2028b")
    assert page.request().startswith(b"GET /a%E2%80%A8b HTTP/1.1\r\nHost: site.test:8080\r\n")
    assert Destination(page.host, page.port) == Destination("site.test", 8080)


@each_row(
    ("text", "is_named"),
    [
        ("site.test", False),
        ("site.test/path", False),
        ("2001:db8::1", False),
        ("[2001:db8::1]", False),
        ("site.test:8443", True),
        ("[2001:db8::1]:80", True),
        ("http://site.test", True),
        (" https://site.test/ ", True),
    ],
)
def test_whether_a_scheme_or_port_is_named(text: str, is_named: bool) -> None:
    assert names_port(text) is is_named


@each_row(
    ("text", "said"),
    [
        ("htp://site.test/", 'unknown scheme "htp"; did you mean http?'),
        ("htpps://site.test", 'unknown scheme "htpps"; did you mean https?'),
        ("ftp://site.test/x", 'unknown scheme "ftp"; it can be http or https'),
        ("socks5h://127.0.0.1:9050", 'unknown scheme "socks5h"; it can be http or https'),
    ],
)
def test_a_scheme_that_no_site_has_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        page_of(text)


@pytest.mark.parametrize(
    ("text", "port"), [("ws://site.test/", 80), ("WSS://site.test", 443), ("HTTP://site.test", 80)]
)
def test_the_schemes_of_sites(text: str, port: int) -> None:
    assert page_of(text).port == port
