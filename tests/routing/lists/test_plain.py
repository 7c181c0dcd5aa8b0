"""Plain lists, as strangers publish them."""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from proxy.config import files
from proxy.config.files import decode_pieces
from proxy.model.errors import ConfigError
from proxy.routing.domain_set import DomainSetBuilder
from proxy.routing.lists import plain
from proxy.routing.lists.plain import LIST_LIMIT, SKIPPED_SHOWN, parse_plain
from proxy.routing.match import DomainList
from proxy.wire import hostnames
from tests.support.calls import counting

LETTERS = string.ascii_lowercase


def read(text: str, *, source: str = "l", allow_empty: bool = False) -> DomainList:
    return parse_plain(iter([text]), size=len(text), source=source, allow_empty=allow_empty)


def test_reads_domains_and_addresses_and_skips_the_rest() -> None:
    text = (
        "\ufeff# title\r\n\r\n! adblock style\n// c\nexample.org\n*.Wild.example # why\n+.plus.example\n.dot.example.\n"
        "bücher.example\n192.0.2.1\n2001:DB8::1\n0.0.0.0 hosts.example\n||adblock.example^\nhttps://page.example/\n"
    )
    found = read(text, source="list.txt")
    assert set(found.domains) == {
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


def test_what_is_skipped_is_counted_but_not_all_told() -> None:
    found = read("a b\n" * 1000)
    assert (found.lines_skipped, len(found.skipped), len(found.domains)) == (1000, SKIPPED_SHOWN, 0)


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


@pytest.mark.parametrize("text", [GFWLIST, ADBLOCK, PAGE, HOSTS], ids=["base64", "adblock", "a web page", "hosts"])
def test_a_list_of_which_more_is_skipped_than_read_says_so(text: str) -> None:
    found = read(text, source="gfw.txt")
    numbers = re.search(r"; ([\d,]+) lines? read, ([\d,]+) lines? skipped\.", found.problem)
    assert numbers is not None, found.problem
    assert (int(numbers[1].replace(",", "")), int(numbers[2].replace(",", ""))) == (
        found.lines_read,
        found.lines_skipped,
    )
    number, entry = found.skipped[0].removeprefix("gfw.txt:").split(": ", 1)
    assert entry.startswith(f'"{text.splitlines()[int(number) - 1].strip()[:40]}')
    assert found.problem.startswith(found.skipped[0])
    assert found.problem.endswith("Byway reads lists of plain domains, one per line")
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


def test_C7_a_public_suffix_is_warned_about() -> None:
    text = "example.com\ncom\n*.co.uk\nexample.co.uk\nlocalhost\ngithub.io\nXN--P1AI\nrouter\n192.0.2.1\n"
    found = read(text)
    assert found.suffixes == tuple(
        f'l:{line}: "{name}" is a public suffix, so every site below it is listed'
        for line, name in ((2, "com"), (3, "co.uk"), (7, "xn--p1ai"))
    )
    assert len(found.domains) == 9, "it is read all the same"
    every = read("\n".join(f"{a}{b}" for a in LETTERS for b in LETTERS)).suffixes
    assert len(every) == 6
    assert re.fullmatch("l: and 2[0-9]{2} more public suffixes", every[-1])


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="l: a list can have at most 32 million characters"):
        read("#" * (LIST_LIMIT + 1))
    monkeypatch.setattr(plain, "DOMAINS_LIMIT", 10)
    read("\n".join(f"a{n}.example" for n in range(10)))
    with pytest.raises(ConfigError, match="l: a list can have at most 10 domains"):
        read("\n".join(f"a{n}.example" for n in range(11)))


@given(st.text(max_size=200))
def test_any_text_is_a_list(text: str) -> None:
    found = read(text)
    assert len(found.skipped) <= found.lines_skipped
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


def line_by_line(text: str) -> tuple[object, ...]:
    """The model."""
    domains: set[str] = set()
    skipped, suffixes = [], []
    lines_read = 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        entry = re.sub(r"(?:^|\s)(?:#|//).*", "", line).strip()
        if not entry or entry.startswith("!"):
            continue
        try:
            domain = hostnames.host(re.sub(r"^(?:[*+]?\.)", "", entry))
        except ValueError:
            skipped.append(number)
            continue
        lines_read += 1
        if domain not in domains and LIBRARY.is_public(domain):
            suffixes.append((number, domain))
        domains.add(domain)
    return domains, lines_read, skipped, suffixes


@settings(deadline=None)  # a timing is no assertion
@given(st.lists(LINES, max_size=30).map("".join), st.integers(1, 200))
def test_pieces_are_read_as_lines_would_be(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PIECE", size)
        patch.setattr(plain, "SKIPPED_SHOWN", 100)
        patch.setattr(plain, "SUFFIXES_SHOWN", 100)
        found = parse_plain(decode_pieces(Path("l"), text.encode()), size=len(text), source="l")
    domains, lines_read, skipped, suffixes = line_by_line(text)
    assert set(found.domains) == domains
    assert (found.lines_read, found.lines_skipped) == (lines_read, len(found.skipped))
    assert [int(sentence.split(":")[1]) for sentence in found.skipped] == skipped
    assert [(int(sentence.split(":")[1]), sentence.split('"')[1]) for sentence in found.suffixes] == suffixes


def test_a_piece_is_asked_for_when_the_one_before_has_been_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the caller can pause between two pieces, and a piece is all that is handled at once."""
    added: list[int] = []
    add = DomainSetBuilder.add

    def note(builder: DomainSetBuilder, domains: Sequence[str]) -> None:
        added.append(len(domains))
        add(builder, domains)

    monkeypatch.setattr(DomainSetBuilder, "add", note)

    def pieces() -> Iterator[str]:
        for number in range(50):
            assert len(added) == number
            yield f"a{number}.example\n" * 100

    assert parse_plain(pieces(), size=0, source="l").lines_read == 5000
    assert added == [100] * 50


@pytest.mark.parametrize("end", ["\n", "\r\n", "  # why\n", ".\n"])
def test_usual_lines_are_read_by_few_calls(end: str) -> None:
    text = "".join(f"*.Site{n}.example{end}" for n in range(1000))
    read(text)  # public suffixes are read once
    with counting() as calls:
        read(text)
    assert calls["proxy.routing.domain_set.DomainSetBuilder.add"] == 1
    assert calls.total() < 20, calls
