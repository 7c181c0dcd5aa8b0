"""https URLs that Byway fetches itself, and redirects from one to the next."""

from __future__ import annotations

import pytest

from proxy.wire import https_url
from tests.support.rows import each_row


@each_row(
    ("text", "host", "port", "target"),
    [
        ("https://lists.test/l.txt", "lists.test", 443, "/l.txt"),
        ("HTTPS://Lists.Test.:8443", "lists.test", 8443, "/"),
        ("https://lists.test?x=1#part", "lists.test", 443, "/?x=1"),
        ("https://lists.test/\u00e4", "lists.test", 443, "/%C3%A4"),
        ("https://[2001:db8::1]/x", "2001:db8::1", 443, "/x"),
        ("https://0x7f.1/x", "127.0.0.1", 443, "/x"),
        ("https://\uff11\uff12\uff17.1/x", "127.0.0.1", 443, "/x"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example", 443, "/"),
    ],
)
def test_urls(text: str, host: str, port: int, target: str) -> None:
    url = https_url.parse(text)
    assert (url.host, url.port, url.target) == (host, port, target)
    assert https_url.parse(str(url)) == url


@each_row(
    "text",
    ["", "l.txt", "http://lists.test/", "https://", "https:///x", "https://me:sesame@lists.test/", "https://a b/",
     "https://lists.test\\@evil.test/", "https://lists.test:99999/", "https://lists.test/\r\nHost: x",
     "https://lists.test/" + "x" * 5000],
)  # fmt: skip
def test_what_is_no_https_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as failed:
        https_url.parse(text)
    assert "sesame" not in str(failed.value)


def test_the_host_field_names_an_unusual_port() -> None:
    assert https_url.parse("https://lists.test/").field == "lists.test"
    assert https_url.parse("https://[2001:db8::1]:8443/").field == "[2001:db8::1]:8443"


@each_row(
    ("location", "to"),
    [
        ("/other", "https://lists.test/other"),
        ("other?x", "https://lists.test/a/other?x"),
        ("//cdn.test/b", "https://cdn.test/b"),
        (" https://cdn.test:8443 ", "https://cdn.test:8443/"),
    ],
)
def test_redirects(location: str, to: str) -> None:
    assert str(https_url.parse("https://lists.test/a/l.txt").joined(location)) == to


@each_row(
    ("location", "says"),
    [
        ("http://lists.test/", "redirects to http://, which is not encrypted"),
        ("javascript:alert(1)", "redirects to javascript://, which is not encrypted"),
        ("https://[::1", "redirects to what is no URL"),
        ("https://a@b/", "redirects to a URL that cannot be used: it has a user name"),
        ("/" * 5000, "redirects to an overlong URL"),
    ],
)
def test_redirects_that_are_refused(location: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as failed:
        https_url.parse("https://lists.test/").joined(location)
    assert str(failed.value).startswith(says)
