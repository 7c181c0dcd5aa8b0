"""What people type when they mean a site."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Destination
from proxy.probe.site_name import is_of_same_site, names_of, scope, site, with_or_without_www
from tests.support.rows import each_row


@each_row(
    ("text", "host", "port"),
    [
        ("example.org", "example.org", 443),
        ("Example.ORG.", "example.org", 443),
        ("example.org:8080", "example.org", 8080),
        ("example.org/a/b?c#d", "example.org", 443),
        ("http://example.org/x", "example.org", 80),
        ("https://example.org:444/x", "example.org", 444),
        ("HTTPS://example.org", "example.org", 443),
        ("https://user:pass@example.org/", "example.org", 443),
        ("bücher.example", "xn--bcher-kva.example", 443),
        ("192.0.2.1", "192.0.2.1", 443),
        ("127.1:80", "127.0.0.1", 80),
        ("[2001:db8::1]:80", "2001:db8::1", 80),
        ("[2001:db8::1]", "2001:db8::1", 443),
        ("2001:db8::0:1", "2001:db8::1", 443),
        ("  example.org\n", "example.org", 443),
    ],
)
def test_a_site_is_what_is_meant(text: str, host: str, port: int) -> None:
    assert site(text) == Destination(host, port)


@each_row(
    "text",
    ["", " ", "http://", "https:///x", ":443", "a..b", "example.org:0", "example.org:65536", "example.org:x", "a b",
     "x\x00y", "[::1", "x" * 9000, "http://[fe80::1%25eth0]/", "-a.example"],
)  # fmt: skip
def test_what_names_no_site_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        site(text)


@each_row("text", ["example.org", "*.example.org", ".example.org", "https://Example.org/x", "example.org:80"])
def test_a_scope_is_the_host_with_all_below_it(text: str) -> None:
    assert scope(text) == "example.org"


@given(st.text(max_size=300))
def test_any_text_is_a_site_or_a_value_error(text: str) -> None:
    try:
        found = site(text)
    except ValueError:
        return
    assert site(str(found)) == found


@each_row("text", ["192.0.2.0/24", "192.0.2.1/32", "2001:db8::/32", " 10.0.0.0/8\n"])
def test_a_prefix_is_no_site(text: str) -> None:
    with pytest.raises(ValueError, match=r"is a prefix of addresses; for it, run `byway rule add IP-CIDR,"):
        scope(text)
    assert scope("192.0.2.1/24x") == "192.0.2.1"


@each_row(
    ("host", "other"),
    [
        ("livejournal.com", "www.livejournal.com"),
        ("www.livejournal.com", "livejournal.com"),
        ("blog.livejournal.com", "www.blog.livejournal.com"),
        ("192.0.2.1", ""),
        ("2001:db8::1", ""),
        ("localhost", ""),
        ("www.localhost", ""),
    ],
)
def test_the_name_with_or_without_www(host: str, other: str) -> None:
    assert with_or_without_www(host) == other


@each_row(
    ("name", "host", "is_of_it"),
    [
        ("www.livejournal.com", "livejournal.com", True),
        ("*.livejournal.com", "www.livejournal.com", True),
        ("livejournal.com", "livejournal.com", False),
        ("livejournal.org", "livejournal.com", False),
        ("one.github.io", "two.github.io", False),
        ("192.0.2.0/24", "192.0.2.1", False),
        ("192.0.2.2", "192.0.2.1", False),
    ],
)
def test_the_hosts_of_a_site(name: str, host: str, is_of_it: bool) -> None:
    assert is_of_same_site(name, host) is is_of_it


def test_names_to_complete_have_their_domains() -> None:
    scopes = ["www.livejournal.com", "*.example.co.uk", "192.0.2.0/24", "www.livejournal.com", "a.example.co.uk"]
    assert names_of(scopes) == ["a.example.co.uk", "example.co.uk", "livejournal.com", "www.livejournal.com"]
