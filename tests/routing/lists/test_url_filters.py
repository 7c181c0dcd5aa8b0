"""Which hosts filters of URLs name. The rows are what Adblock Plus's and AutoProxy's manuals say of each form."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind
from proxy.routing.lists.url_filters import (
    HostFilter,
    add_filter,
    host_filter,
    shell_wildcard,
    url_wildcard,
)
from tests.support.rows import each_row

SITE, HOST, SUBDOMAINS = Covers.SITE, Covers.HOST, Covers.SUBDOMAINS


def domain(text: str, covers: Covers, *, narrow: bool = False) -> HostFilter:
    return HostFilter(EntryKind.DOMAIN, (text,), covers, narrow)


def wildcard(*texts: str, narrow: bool = False) -> HostFilter:
    return HostFilter(EntryKind.WILDCARD, texts, HOST, narrow)


def keyword(text: str, *, narrow: bool = False) -> HostFilter:
    return HostFilter(EntryKind.KEYWORD, (text,), HOST, narrow)


@each_row(
    ("text", "expected"),
    [
        # where a label begins
        ("||example.com^", domain("example.com", SITE)),
        ("||Example.COM", domain("example.com", SITE)),
        ("||example.com/", domain("example.com", SITE)),
        ("||example.com/*", domain("example.com", SITE)),
        ("||example.com|", domain("example.com", SITE)),
        ("||example.com*", domain("example.com", SITE)),
        ("||example.com^path", domain("example.com", SITE, narrow=True)),
        ("||example.com/path", domain("example.com", SITE, narrow=True)),
        ("||example.com*/path", domain("example.com", SITE, narrow=True)),
        ("||example.com:8080^", domain("example.com", SITE, narrow=True)),
        ("||example.com?a=b", domain("example.com", SITE, narrow=True)),
        ("||*.example.com^", domain("example.com", SUBDOMAINS)),
        ("||.example.com", domain("example.com", SUBDOMAINS)),
        ("||cdn*.example.com", wildcard("cdn*.example.com", "*.cdn*.example.com")),
        ("||example.*", wildcard("example.*", "*.example.*")),
        ("||example.", wildcard("example.*", "*.example.*")),
        ("||example.*/path", wildcard("example.*", "*.example.*", narrow=True)),
        ("||ads*", wildcard("ads*", "*.ads*")),
        ("||ads*^", wildcard("ads*", "*.ads*")),
        ("||example.com.^", domain("example.com.", SITE)),
        ("||192.0.2.1^", domain("192.0.2.1", HOST)),
        ("||[2001:db8::1]^", domain("[2001:db8::1]", HOST)),
        ("||192.0.2.", Skip.PATTERN),
        ("||bücher.example^", domain("xn--bcher-kva.example", SITE)),
        ("||com", domain("com", SITE)),
        # where the URL begins
        ("|http://example.com", domain("example.com", HOST, narrow=True)),
        ("|https://example.com/", domain("example.com", HOST, narrow=True)),
        ("|https://example.com/path", domain("example.com", HOST, narrow=True)),
        ("|*://example.com^", domain("example.com", HOST)),
        ("|http*://example.com^", domain("example.com", HOST)),
        ("|http://*.example.com/", domain("example.com", SUBDOMAINS, narrow=True)),
        ("|https://fbcdn*.example.net/", wildcard("fbcdn*.example.net", narrow=True)),
        ("|http://cdn", wildcard("cdn*", narrow=True)),
        ("|http://cdn.", wildcard("cdn.*", narrow=True)),
        ("|http://192.0.2.1/", domain("192.0.2.1", HOST, narrow=True)),
        ("|http://192.0.2.1:8080/x", domain("192.0.2.1", HOST, narrow=True)),
        ("http://example.com", domain("example.com", HOST, narrow=True)),
        ("://example.com/", domain("example.com", HOST)),
        ("//example.com^", domain("example.com", HOST)),
        ("|http", Skip.NO_HOST),
        ("|/path", Skip.NO_HOST),
        ("|http://", Skip.PATTERN),
        ("|http://*", Skip.PATTERN),
        ("|https://*/path", Skip.NO_HOST),
        # anywhere
        (".example.com", domain("example.com", SUBDOMAINS)),
        (".example.com/", domain("example.com", SUBDOMAINS)),
        (".example.com/path", domain("example.com", SUBDOMAINS, narrow=True)),
        ("example.com", keyword("example.com")),
        ("example.com|", wildcard("*example.com")),
        ("example.com^", wildcard("*example.com")),
        ("example.com/path", wildcard("*example.com", narrow=True)),
        ("*example.com/path", wildcard("*example.com", narrow=True)),
        ("falun", keyword("falun")),
        ("*falun*", keyword("falun")),
        (".example.", keyword(".example.")),
        ("-ads-", keyword("-ads-")),
        ("ads*.example.com", wildcard("*ads*.example.com*")),
        ("192.0.2.1", domain("192.0.2.1", HOST)),
        ("/banner/*", Skip.NO_HOST),
        ("/ads.", Skip.NO_HOST),
        ("track.php?id=", Skip.NO_HOST),
        ("ads/", Skip.NO_HOST),
        ("&ad=", Skip.NO_HOST),
        ("ad%20x", Skip.NO_HOST),
        ("*", Skip.NO_HOST),
        ("^", Skip.NO_HOST),
        # others
        ("||a,b^", Skip.UNREADABLE),
        ("||*", Skip.PATTERN),
        ("||*/path", Skip.NO_HOST),
        ("/^https?:\\/\\/[^\\/]+blogspot\\.(.*)/", Skip.REGULAR_EXPRESSION),
        ("/^https?:\\/\\/cut", Skip.REGULAR_EXPRESSION),
    ],
)
def test_the_hosts_of_a_filter(text: str, expected: HostFilter | Skip) -> None:
    assert host_filter(text) == expected


@each_row(
    ("text", "expected"),
    [
        ("www.example.com", domain("www.example.com", HOST)),
        ("*.example.com", domain("example.com", SUBDOMAINS)),
        ("*example.com", wildcard("*example.com")),
        ("www.example.*", wildcard("www.example.*")),
        ("*example*", keyword("example")),
        ("a*b*", wildcard("a*b*")),
        ("*", Skip.PATTERN),
        ("www?.example.com", Skip.PATTERN),
    ],
)
def test_the_hosts_of_a_shell_wildcard(text: str, expected: HostFilter | Skip) -> None:
    assert shell_wildcard(text) == expected


@each_row(
    ("text", "expected"),
    [
        ("*://www.example.com/*", domain("www.example.com", HOST)),
        ("*://*.example.com/*", domain("example.com", SUBDOMAINS)),
        ("http://www.example.com/*", domain("www.example.com", HOST, narrow=True)),
        ("*://www.example.com/path*", domain("www.example.com", HOST, narrow=True)),
        ("http*://www.example.com/*", domain("www.example.com", HOST)),
        ("*example*", keyword("example")),
        ("*.example.com/*", domain("example.com", SUBDOMAINS)),
        ("*example.com/*", wildcard("*example.com")),
        ("*://*/ads/*", Skip.NO_HOST),
        ("*/ads/*", Skip.NO_HOST),
        ("*", Skip.PATTERN),
        ("*://*/*", Skip.PATTERN),
        ("*://w?w.example.com/*", Skip.PATTERN),
    ],
)
def test_the_hosts_of_a_wildcard_of_urls(text: str, expected: HostFilter | Skip) -> None:
    assert url_wildcard(text) == expected


def added(*filters: str, narrow: bool = False) -> DomainList:
    builder = ListBuilder("l", size=100)
    for number, text in enumerate(filters, 1):
        add_filter(builder, number, text, narrow=narrow)
    return builder.build()


def test_a_filter_for_a_part_of_a_host_is_read_as_the_host_and_told() -> None:
    found = added("||a.example^", "|http://b.example/page", "c.example/page")
    assert [found.covering(host) is not None for host in ("a.example", "b.example", "www.c.example")] == [True] * 3
    assert found.lines_widened == 2
    assert found.widened == (
        'l:2: "|http://b.example/page" was read as all of "b.example"',
        'l:3: "c.example/page" was read as all of "*c.example"',
    )
    assert added("||a.example^", narrow=True).lines_widened == 1


def test_an_exception_for_a_part_of_a_host_is_left_out_as_the_rest_would_go_direct() -> None:
    found = added("||a.example^", "@@||fine.a.example^", "@@||www.a.example/page", "@@|http://m.a.example")
    hosts = ("a.example", "fine.a.example", "www.a.example", "m.a.example")
    assert [found.covering(host) is not None for host in hosts] == [True, False, True, True]
    assert found.skips == {Skip.NARROW_EXCEPTION: 2}
    assert not added("@@||a.example^", narrow=True).exceptions


@given(st.text(alphabet="|@*^/:.?&=[]ax1é ", max_size=30))
def test_any_text_is_a_filter_or_has_a_reason_not_to_be(text: str) -> None:
    found = added(text)
    assert found.lines_read or found.lines_skipped


@each_row(
    "text",
    ["||bücher.example^", ".bücher.example", "bücher.example", "|http://bücher.example/", "||cdn*.bücher.example^"],
)
def test_an_international_name_is_in_a_labels(text: str) -> None:
    found = added(text)
    assert found.skips == {}
    host = "cdn1.xn--bcher-kva.example" if "cdn" in text else "xn--bcher-kva.example"
    assert found.covering(f"www.{host}" if text.startswith(".") else host) is not None


def test_a_filter_that_is_a_dot_and_a_public_suffix_is_refused() -> None:
    found = added(".com", ".co.uk", ".example.com")
    assert found.covering("www.example.org.com") is None
    assert found.skips == {Skip.SUFFIX: 2}
