"""Plain lists, as strangers publish them."""

from __future__ import annotations

import base64
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import ConfigError
from proxy.routing.lists import plain
from proxy.routing.lists.plain import LIST_LIMIT, SKIPPED_SHOWN, parse_plain

LETTERS = string.ascii_lowercase


def test_reads_domains_and_addresses_and_skips_the_rest() -> None:
    text = (
        "\ufeff# title\r\n\r\n! adblock style\n// c\nexample.org\n*.Wild.example # why\n+.plus.example\n.dot.example.\n"
        "bücher.example\n192.0.2.1\n2001:DB8::1\n0.0.0.0 hosts.example\n||adblock.example^\nhttps://page.example/\n"
    )
    found = parse_plain(text, source="list.txt")
    assert found.domains == {
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
    found = parse_plain("a b\n" * 1000, source="l")
    assert (found.lines_skipped, len(found.skipped), len(found)) == (1000, SKIPPED_SHOWN, 0)


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
    found = parse_plain(text, source="gfw.txt")
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
    found = parse_plain("socks5://me:sesame@relay.example:1 " + "x" * 500 + "\x1b[31m\n", source="l")
    assert "sesame" not in found.problem
    assert found.problem.isprintable()
    assert len(found.problem) < 250


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n! yet\n"])
def test_a_list_that_holds_nothing_says_so(text: str) -> None:
    assert parse_plain(text, source="l").problem == "l: the list is empty"
    assert parse_plain(text, source="l", allow_empty=True).problem == ""


def test_a_list_of_which_more_is_read_is_no_problem() -> None:
    assert parse_plain("a.example\nb.example\na b\n", source="l").problem == ""
    assert parse_plain("a.example\na b\n", source="l").problem == ""
    assert parse_plain("a.example\n" * 9 + "a b\n" * 8, source="l").problem == "", "twice the same is read twice"
    assert parse_plain("a b\n", source="l", allow_empty=True).problem, "it is told, and allowed"


def test_C7_a_public_suffix_is_warned_about() -> None:
    text = "example.com\ncom\n*.co.uk\nexample.co.uk\nlocalhost\ngithub.io\nXN--P1AI\nrouter\n192.0.2.1\n"
    found = parse_plain(text, source="l")
    assert found.suffixes == tuple(
        f'l:{line}: "{name}" is a public suffix, so every site below it is listed'
        for line, name in ((2, "com"), (3, "co.uk"), (7, "xn--p1ai"))
    )
    assert len(found) == 9, "it is read all the same"
    every = parse_plain("\n".join(f"{a}{b}" for a in LETTERS for b in LETTERS), source="l").suffixes
    assert len(every) == 6
    assert re.fullmatch("l: and 2[0-9]{2} more public suffixes", every[-1])


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="l: a list can have at most 32 million characters"):
        parse_plain("#" * (LIST_LIMIT + 1), source="l")
    monkeypatch.setattr(plain, "DOMAINS_LIMIT", 10)
    parse_plain("\n".join(f"a{n}.example" for n in range(10)), source="l")
    with pytest.raises(ConfigError, match="l: a list can have at most 10 domains"):
        parse_plain("\n".join(f"a{n}.example" for n in range(11)), source="l")


@given(st.text(max_size=200))
def test_any_text_is_a_list(text: str) -> None:
    found = parse_plain(text, source="l")
    assert len(found.skipped) <= found.lines_skipped
    assert all(sentence.isprintable() for sentence in found.skipped)
