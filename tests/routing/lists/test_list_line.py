"""The line of a list that decides about a host."""

from __future__ import annotations

import base64

import pytest

from proxy.config.schema import ListFormatName
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.list_line import ListLine, line_of
from tests.support.rows import each_row

GFW = "[AutoProxy 0.2.9]\n! x.livejournal.com is not meant\n||blog.livejournal.com\n||livejournal.com\n"


@each_row(
    ("list_format", "text", "host", "number", "line"),
    [
        ("plain", "# a.example\nb.example\nsub.a.example\na.example # why\n", "www.a.example", 4, "a.example # why"),
        ("plain", "x.example\r\nА.example\r\na.example\r\n", "a.example", 3, "a.example"),
        ("plain", "192.0.2.0/24\n198.51.100.0/24\n", "198.51.100.7", 2, "198.51.100.0/24"),
        ("autoproxy", GFW, "user.livejournal.com", 4, "||livejournal.com"),
        ("autoproxy", base64.b64encode(GFW.encode()).decode(), "livejournal.com", 4, "||livejournal.com"),
        ("adblock", "! t\n||b.a.example^\n||a.example.net^\n||a.example^\n", "a.example", 4, "||a.example^"),
        ("hosts", "127.0.0.1 localhost\n0.0.0.0 x.a.example\n0.0.0.0 b.example a.example\n", "a.example", 3,
         "0.0.0.0 b.example a.example"),
        ("clash", "payload:\n  - 'x.a.example'\n  - '+.a.example'\n", "w.a.example", 3, "- '+.a.example'"),
        ("clash", "DOMAIN-KEYWORD,journal\nDOMAIN-SUFFIX,a.example,PROXY\n", "my-journal.example", 1,
         "DOMAIN-KEYWORD,journal"),
        ("v2fly", "# t\nfull:x.a.example\ndomain:a.example @ads\n", "b.a.example", 3, "domain:a.example @ads"),
        ("dnsmasq", "server=/b.example/192.0.2.1\nserver=/a.example/192.0.2.1\n", "a.example", 2,
         "server=/a.example/192.0.2.1"),
        ("switchyomega", "[SwitchyOmega Conditions]\n@with result\n\n*.a.example +proxy\n* +direct\n", "w.a.example",
         4, "*.a.example +proxy"),
        ("sing-box", '{"version": 1, "rules": [{"domain_suffix": [\n"b.example",\n".a.example"\n]}]}', "x.a.example", 3,
         '".a.example"'),
    ],
)  # fmt: skip
def test_the_line_of_the_entry_that_covers_a_host(
    list_format: ListFormatName, text: str, host: str, number: int, line: str
) -> None:
    listed = parse_list(iter([text]), size=len(text), source="l", format=list_format)
    entry = listed.covering(host)
    assert entry is not None
    assert line_of(text, list_format, entry) == ListLine(number, line)


def test_an_entry_without_a_line_of_its_own() -> None:
    assert line_of("bücher.example\n", "plain", "xn--bcher-kva.example") is None
    assert line_of("a.example\n", "plain", "b.example") is None
    assert line_of("# a.example\n" * 1000 + "a.example\n", "plain", "a.example") is None, "too many lines are tried"
    assert line_of("x" * 9000 + ".example\n", "plain", "example") is None


def test_a_short_entry_in_a_long_list() -> None:
    text = "".join(f"{n}.a.example\n" for n in range(100_000)) + "a.example\n"
    assert line_of(text, "plain", "99999.a.example") == ListLine(100_000, "99999.a.example")
    assert line_of(text, "plain", "a.example") == ListLine(100_001, "a.example")


@pytest.mark.parametrize("text", ["\ufeffa.example\n", "a.example"])
def test_the_first_and_the_last_line(text: str) -> None:
    assert line_of(text, "plain", "a.example") == ListLine(1, "a.example")
