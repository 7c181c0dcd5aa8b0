"""Plain lists, as strangers publish them."""

from __future__ import annotations

import base64
import ipaddress
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from proxy.config import files
from proxy.config.files import decode_pieces
from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers, DomainSetBuilder
from proxy.routing.lists import list_builder
from proxy.routing.lists.domain_list import SKIPPED_SHOWN, DomainList, Skip
from proxy.routing.lists.formats import LIST_LIMIT, parse_list
from proxy.wire import hostnames
from tests.support.calls import counting
from tests.support.rows import each_row

LETTERS = string.ascii_lowercase


def read(text: str, *, source: str = "l", allow_empty: bool = False, allow_suffixes: bool = False) -> DomainList:
    return parse_list(
        iter([text]),
        size=len(text),
        source=source,
        format="plain",
        allow_empty=allow_empty,
        allow_suffixes=allow_suffixes,
    )


def entries(found: DomainList) -> set[str]:
    return {entry.text for entry in found.entries()}


def test_what_stands_behind_an_entry_is_a_comment() -> None:
    found = read("a.example # why\nb.example // why\nc.example ; why\n192.0.2.0/24 ; SBL1\n  ; why\nd.example;e\n")
    assert entries(found) == {"a.example", "b.example", "c.example", "192.0.2.0/24"}
    assert found.skips == {Skip.UNREADABLE: 1}
    usual = read("192.0.2.0/24 ; SBL1\n198.51.100.0/24 ; SBL2\n")
    assert (entries(usual), usual.skips) == ({"192.0.2.0/24", "198.51.100.0/24"}, {})


def test_reads_domains_and_addresses_and_skips_the_rest() -> None:
    text = (
        "\ufeff# title\r\n\r\n! adblock style\n// c\nexample.org\n*.Wild.example # why\n+.plus.example\n.dot.example.\n"
        "bücher.example\n192.0.2.1\n2001:DB8::1\n0.0.0.0 hosts.example\n||adblock.example^\nwhat is this\n"
    )
    found = read(text, source="list.txt")
    assert entries(found) == {
        "example.org",
        "wild.example",
        "plus.example",
        "dot.example",
        "xn--bcher-kva.example",
        "192.0.2.1",
        "2001:db8::1",
    }
    assert (found.lines_read, found.lines_skipped) == (7, 3)
    assert found.skipped[0] == 'list.txt:12: "0.0.0.0 hosts.example" is neither a domain nor an address'


def test_an_url_means_its_host() -> None:
    found = read("https://page.example/\nHTTP://Other.example/a?b=c # why\npath.example/x\nhttp://192.0.2.7/\n")
    assert entries(found) == {"page.example", "other.example", "path.example", "192.0.2.7"}
    assert (found.lines_read, found.lines_widened, found.skips) == (4, 4, {})
    assert found.widened[1] == 'l:2: "HTTP://Other.example/a?b=c" was read as all of "Other.example"'
    assert not read("a/b\nhttps://a b.example/\nhttps://a.example/,NEWS,x\nhttps:///x.example\n<a.example/>\n").listed


def test_a_port_is_a_condition() -> None:
    found = read("a.example:8080\nhttps://b.example:9966/x\n192.0.2.7:53\n2001:db8::1\nc.example\n")
    assert entries(found) == {"2001:db8::1", "c.example"}
    assert found.skips == {Skip.CONDITION: 3}


def test_prefixes_in_bulk_and_one_by_one() -> None:
    usual = [f"10.{n}.0.0/16" for n in range(200)] + ["192.0.2.7/32", "192.0.2.8", "0.0.0.0/8"]
    odd = ["172.16.5.9/12", "300.0.0.0/8", "010.0.0.0/8", "192.0.2.0/33", "128.0.0.0/1", "2001:db8::/32"]
    found = read("\n".join(usual))
    assert entries(found) == {*usual[:200], "192.0.2.7", "192.0.2.8", "0.0.0.0/8"}
    assert found.lines_read == 203
    for line, listed in zip(odd, ("172.16.0.0/12", "", "", "", "", "2001:db8::/32"), strict=True):
        assert entries(read(f"10.0.0.0/16\n{line}\n")) == {"10.0.0.0/16", listed} - {""}, line
    for line, listed in (("192.0.2.7/", "192.0.2.7"), ("192.0.2.", "192.0.0.2"), ("192..0.2", ""), ("1.2.3./24", "")):
        found = read(f"10.0.0.0/16\n{line}\n")
        assert entries(found) == {"10.0.0.0/16", listed} - {""}, line  # as the line is read alone
    found = read("\n".join(usual + odd))
    assert entries(found) == {*usual[:200], "192.0.2.7", "192.0.2.8", "0.0.0.0/8", "172.16.0.0/12", "2001:db8::/32"}
    assert found.skips == {Skip.UNREADABLE: 3, Skip.WIDE_PREFIX: 1}
    with counting() as calls:
        read("\n".join(usual[:200]))
    assert calls.total() < 60, calls


GROUP = st.sampled_from(["0", "1", "8", "db8", "8000", "fc00", "ffff"])
V6 = st.tuples(st.lists(GROUP, min_size=1, max_size=5).map(":".join), st.integers(0, 130)).map("{0[0]}::/{0[1]}".format)


@given(st.lists(V6, min_size=1, max_size=5))
def test_ipv6_prefixes_are_those_of_the_standard_library(lines: list[str]) -> None:
    expected, wide, unreadable = set(), 0, 0
    for line in lines:
        try:
            network = ipaddress.IPv6Network(line, strict=False)
        except ValueError:
            unreadable += 1
        else:
            wide += network.prefixlen < 4
            expected |= {str(network).removesuffix("/128")} if network.prefixlen >= 4 else set()
    found = read("\n".join(lines))
    assert entries(found) == expected
    assert (found.skips.get(Skip.WIDE_PREFIX, 0), found.skips.get(Skip.UNREADABLE, 0)) == (wide, unreadable)


def test_usual_ipv6_prefixes_are_read_by_few_calls() -> None:
    lines = [f"2001:{n:x}::/32" for n in range(1, 200)] + [f"2a00:{n:x}:8000::/{33 + n % 8}" for n in range(1, 20)]
    found = read("\n".join(lines))
    assert entries(found) == set(lines)
    with counting() as calls:
        read("\n".join(lines))
    assert calls.total() < 60, calls


def test_what_is_skipped_is_counted_but_not_all_told() -> None:
    found = read("a b\n" * 1000)
    assert (found.lines_skipped, len(found.skipped), len(found.listed)) == (1000, SKIPPED_SHOWN, 0)


GFWLIST = base64.encodebytes(
    b"[AutoProxy 0.2.9]\n" + b"".join(b"||blocked%d.example^\n@@||fine.example/%d?\n" % (n, n) for n in range(200))
).decode()
"""As its project publishes it: one file of base64."""

ADBLOCK = "[Adblock Plus 2.0]\n! Title: ads\n" + "".join(f"||ads{n}.example^$third-party\n" for n in range(50))
PAGE = """<!DOCTYPE html>
<html><head><title>404 Not Found</title></head>
<body>
<h1>Not Found</h1>
<p>The requested URL was not found on this server.</p>
</body></html>
"""
HOSTS = "".join(f"0.0.0.0 ads{n}.example\n" for n in range(20))


@each_row("text", [GFWLIST, ADBLOCK, PAGE, HOSTS], ids=["base64", "adblock", "a web page", "hosts"])
def test_a_list_of_which_more_is_skipped_than_read_says_so(text: str) -> None:
    found = read(text, source="gfw.txt")
    numbers = re.search(r"; ([\d,]+) lines? read, ([\d,]+) lines? skipped\.", found.problem)
    assert numbers is not None, found.problem
    assert (int(numbers[1].replace(",", "")), int(numbers[2].replace(",", ""))) == (
        found.lines_read,
        found.lines_skipped,
    )
    number, entry = found.skipped[0].removeprefix("gfw.txt:").split(": ", 1)
    assert entry.startswith(f'"{text.splitlines()[int(number) - 1].strip()[:8]}')
    assert found.problem.startswith(found.skipped[0])
    assert found.problem.endswith("The file was read in the format plain")
    assert found.problem.isprintable()


def test_the_first_skipped_line_is_inert_short_and_without_a_password() -> None:
    found = read("socks5://me:sesame@relay.example:1 " + "x" * 500 + "\x1b[31m\n")
    assert "sesame" not in found.problem
    assert found.problem.isprintable()
    assert len(found.problem) < 250


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n! yet\n"])
def test_a_list_that_holds_nothing_says_so(text: str) -> None:
    assert read(text).problem == "l: the list is empty"
    assert read(text, allow_empty=True).problem == ""


def test_a_list_of_which_more_is_read_is_no_problem() -> None:
    assert read("a.example\nb.example\na b\n").problem == ""
    assert read("a.example\na b\n").problem == ""
    assert read("a.example\n" * 9 + "a b\n" * 8).problem == "", "twice the same is read twice"
    assert read("a b\n", allow_empty=True).problem, "it is reported, and allowed"


def test_C7_a_public_suffix_is_refused() -> None:
    text = "example.com\ncom\n*.co.uk\nexample.co.uk\nlocalhost\ngithub.io\nXN--P1AI\nrouter\n192.0.2.1\n"
    found = read(text)
    assert found.suffixes == tuple(
        f'l:{line}: "{name}" is a public suffix, and is left out; '
        "to list every site below it, set allow_suffixes = true"
        for line, name in ((2, "com"), (3, "co.uk"), (7, "xn--p1ai"))
    )
    assert entries(found) == {"example.com", "example.co.uk", "localhost", "github.io", "router", "192.0.2.1"}
    assert found.skips == {Skip.SUFFIX: 3}
    assert found.problem == ""
    assert len(read(text, allow_suffixes=True).listed) == 9
    assert read("com\n").problem.startswith('l:1: "com" is a public suffix')
    every = read("\n".join(f"{a}{b}" for a in LETTERS for b in LETTERS)).suffixes
    assert len(every) == 6
    assert re.fullmatch("l: and 2[0-9]{2} more lines like these", every[-1])


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="l: a list can have at most 64 million characters"):
        read("#" * (LIST_LIMIT + 1))
    monkeypatch.setattr(list_builder, "ENTRIES_LIMIT", 10)
    read("\n".join(f"a{n}.example" for n in range(10)))
    with pytest.raises(ConfigError, match="l: a list can have at most 10 domains"):
        read("\n".join(f"a{n}.example" for n in range(11)))


@given(st.text(max_size=200))
def test_any_text_is_a_list(text: str) -> None:
    found = read(text)
    assert len(found.skipped) == min(found.lines_skipped, SKIPPED_SHOWN)
    assert all(sentence.isprintable() for sentence in found.skipped)


# -- what the expression for all lines of a piece reads is what line by line would be read -----------------------------

LIBRARY = PublicSuffixList(only_icann=True, accept_unknown=False)
LABEL = st.sampled_from(
    ["a", "www", "xn--p1ai", "Ab-1", "a_", "_a", "-a", "a-", "1", "0x1f", "x" * 63, "y" * 64, "é", ""]
)
WORDS = st.lists(LABEL, min_size=1, max_size=5).map(".".join) | st.sampled_from(
    ["example.com", "co.uk", "com", "x.ck", "www.ck", "192.0.2.1", "2001:db8::1", "127.1", "бук.рф", "a b", "a/b", "*",
     ".".join(["z" * 61] * 4), ".".join(["z" * 61] * 4) + ".zzzzzz"]
)  # fmt: skip
LINES = st.tuples(
    st.sampled_from(["", "", "", " ", "\t", "\ufeff", "\u00a0"]),
    st.sampled_from(["", "", "", ".", "*.", "+.", "!", "#", "//", "||"]),
    WORDS,
    st.sampled_from(["", "", "", ".", " ", " # why", "\t//x", "#x", " #\x07", " # ж", "\u2003"]),
    st.sampled_from(["\n"] * 6 + ["\r\n", "\r", "\n\n", "\x0b", "\x1c", "\u2028", "\r\r\n"]),
).map("".join)


def line_by_line(text: str) -> tuple[set[str], int, list[int], list[tuple[int, str]]]:
    """The model."""
    domains: set[str] = set()
    skipped, suffixes = [], []
    lines_read = 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), 1):
        entry = re.sub(r"(?:^|\s)(?:#|//).*", "", line).strip()
        if not entry or entry.startswith("!"):
            continue
        try:
            domain = hostnames.host(re.sub(r"^(?:[*+]?\.)", "", entry))
        except ValueError:
            skipped.append(number)
            continue
        if LIBRARY.is_public(domain):
            skipped.append(number)
            suffixes.append((number, domain))
            continue
        lines_read += 1
        domains.add(domain)
    return domains, lines_read, skipped, suffixes


def first_of(suffixes: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Each name once."""
    return sorted({name: (line, name) for line, name in reversed(suffixes)}.values())


@given(st.lists(LINES, max_size=30).map("".join), st.integers(1, 200))
def test_pieces_are_read_as_lines_would_be(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PIECE", size)
        patch.setattr(list_builder, "SKIPPED_SHOWN", 100)
        patch.setattr(list_builder, "SUFFIXES_SHOWN", 100)
        found = parse_list(decode_pieces(Path("l"), text.encode()), size=len(text), source="l", format="plain")
    domains, lines_read, skipped, suffixes = line_by_line(text)
    assert entries(found) == domains
    assert (found.lines_read, found.lines_skipped) == (lines_read, len(found.skipped))
    assert [int(sentence.split(":")[1]) for sentence in found.skipped] == skipped
    assert [(int(sentence.split(":")[1]), sentence.split('"')[1]) for sentence in found.suffixes] == first_of(suffixes)


def test_a_piece_is_asked_for_when_the_one_before_has_been_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the caller can pause between two pieces, and a piece is all that is handled at once."""
    added: list[int] = []
    add = DomainSetBuilder.add

    def note(builder: DomainSetBuilder, domains: Sequence[str], covers: Covers, *, lines: str) -> None:
        added.append(len(domains))
        add(builder, domains, covers, lines=lines)

    monkeypatch.setattr(DomainSetBuilder, "add", note)

    def pieces() -> Iterator[str]:
        for number in range(50):
            assert len(added) == number
            yield f"a{number}.example\n" * 100

    assert parse_list(pieces(), size=0, source="l", format="plain").lines_read == 5000
    assert added == [100] * 50


@each_row("end", ["\n", "\r\n", "  # why\n", ".\n"])
def test_usual_lines_are_read_by_few_calls(end: str) -> None:
    """As many of Python's functions are called for one line of a piece as for a thousand."""
    text = "".join(f"*.Site{n}.example{end}" for n in range(1000))
    read(text)  # public suffixes are read once
    with counting() as calls:
        read(text)
    with counting() as calls_for_one:
        read(f"*.Site.example{end}")
    assert calls["proxy.routing.domain_set.DomainSetBuilder.add"] == 1
    assert calls.total() == calls_for_one.total(), calls


def test_marks_of_v2fly_that_come_late_are_read() -> None:
    """As in the proxy-list.txt of v2ray-rules-dat: 25,000 domains come first."""
    many = "".join(f"site{number}.example\n" for number in range(5000))
    found = read(
        f"{many}full:www.a.example\ndomain:b.example\nkeyword:yard\nregexp:(^|\\.)c[5-7]\\.example$\nFull:D.example\n"
    )
    assert (found.format, found.skips) == ("plain", {Skip.REGULAR_EXPRESSION: 1})
    hosts = ("www.a.example", "x.www.a.example", "x.b.example", "shipyard.test", "d.example", "site4999.example")
    assert [found.contains(host) for host in hosts] == [True, False, True, True, True, True]


def test_of_a_subscription_in_base64_no_password_is_shown() -> None:
    link = b"trojan://hunter2@192.0.2.1:443#a\n"
    for text in (base64.b64encode(link * 3), base64.encodebytes(link * 19), base64.urlsafe_b64encode(link * 100)):
        found = read(text.decode())
        assert re.findall(r'"([^"]*)"', found.problem) == ["dHJvamFu…"]
        assert all(len(sentence) < 70 for sentence in found.skipped)
        assert found.skips == {Skip.UNREADABLE: text.count(b"\n") or 1}
