"""Pieces of a large file are read as its lines are, in their order."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config.schema import ListFormatName
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.lines import DOMAIN, BulkLines, are_domains, entries_of, numbered, parse_lines
from proxy.wire import hostnames
from tests.routing.lists.reading import read
from tests.support.calls import counting
from tests.support.rows import each_row

LETTERS = re.compile(r"^(?:([a-z]+)|)\r?$", re.MULTILINE)
DIGITS = re.compile(r"^(?:([0-9]+)|)\r?$", re.MULTILINE)


def parsed(pieces: list[str]) -> list[tuple[int, str, str]]:
    """Number, kind and text of each line that has one."""
    found: list[tuple[int, str, str]] = []

    def taking(kind: str) -> BulkLines:
        def take(first: int, texts: str) -> None:
            found.extend((number, kind, text) for number, text in enumerate(texts.split("\n"), first) if text)

        is_entry = {"letters": str.isalpha, "digits": str.isdecimal}[kind]
        expression = {"letters": LETTERS, "digits": DIGITS}[kind]
        return BulkLines(expression, take, lambda lines: all(map(is_entry, lines.split("\n"))))

    kinds = taking("letters"), taking("digits")
    parse_lines(iter(pieces), kinds, lambda number, line: found.append((number, "other", line)))
    return found


LINES = st.lists(st.sampled_from(["abc", "Abc", "12", "", "a1", "é", "a b", "x" * 3000]), max_size=20)
ENDS = st.sampled_from(["\n", "\r\n"])


@given(st.lists(LINES, max_size=4), ENDS)
def test_every_line_is_handed_over_once_and_in_order(pieces: list[list[str]], end: str) -> None:
    found = parsed(["".join(f"{line}{end}" for line in lines) for lines in pieces if lines])
    expected = []
    for number, line in enumerate([line for lines in pieces for line in lines], 1):
        kind = "letters" if re.fullmatch("[A-Za-z]+", line) else "digits" if line.isdecimal() else "other"
        if line:
            expected.append((number, kind, line.lower() if kind == "letters" else line[:2048]))
    assert found == expected


def test_a_piece_of_one_kind_is_one_call() -> None:
    pieces = ["12\n" * 500, "34\n" * 500]
    parsed(pieces)  # what is compiled at its first use
    with counting() as calls:
        parsed(pieces)
    with counting() as calls_for_few:
        parsed(["12\n", "34\n"])
    generator = "tests.routing.lists.test_lines.parsed.<locals>.taking.<locals>.take.<locals>.<genexpr>"
    assert calls.total() - calls[generator] == calls_for_few.total() - calls_for_few[generator]


def test_numbers_and_entries() -> None:
    assert list(numbered(iter(["\ufeffa\r\nb\n", "c"]))) == [(1, "a"), (2, "b"), (3, "c")]
    assert entries_of("\ufeff# c\n\n a \n// c\nb # d\n") == ["a", "b # d"]


@given(st.text("ab1-_.", max_size=40))
def test_the_expression_for_domains_matches_canonical_names_only(text: str) -> None:
    if re.fullmatch(DOMAIN, text):
        assert hostnames.host(text) == text


@given(st.lists(st.text("ab1-_.\n+é", max_size=6), min_size=1, max_size=3))
@example([""])
@example(["a" * 63, f"{'a' * 63}.b"])
@example(["a", "a" * 64])
@example(["a", f"b.{'a' * 64}.b"])
@example([f"{'a.' * 126}b"])
@example([f"{'a.' * 127}b"])
@example(["a.1b"])
@example(["\ud800"])
@example(["a", "b" * 64])
@example(["a", f"{'b' * 63}.{'c' * 63}"])
@example(["a", ""])
def test_many_domains_are_what_the_expression_says_of_each(texts: list[str]) -> None:
    lines = "\n".join(texts)
    assert are_domains(lines) is all(re.fullmatch(DOMAIN, text) for text in lines.split("\n"))


FRAMES: list[tuple[ListFormatName, str]] = [
    ("plain", "{}"), ("plain", "*.{}"), ("plain", "{}. # why"), ("hosts", "0.0.0.0 {}"), ("hosts", "0.0.0.0 {} # a"),
    ("dnsmasq", "server=/{}/192.0.2.1"), ("dnsmasq", "server=/{}/"), ("v2fly", "{}"), ("v2fly", "full:{} @ads"),
    ("clash", "- '{}'"), ("clash", "- {}"), ("clash", "  - '+.{}' # a"), ("clash", "- DOMAIN-SUFFIX,{}"),
    ("clash", '- "IP-CIDR,{},no-resolve"'), ("adblock", "||{}^"), ("adblock", "||{}^$third-party"),
    ("autoproxy", "||{}"), ("autoproxy", "{}"),
]  # fmt: skip
ENTRIES = st.sampled_from([
    "a.example", "b.example", "x", "1.2.3.4", "1.2.3.4/32", "10.0.0.0/8", "10.0.0.1/8", "1.2.3.400", "2001:db8::/32",
    "localhost", "localhost.site", "ip6-site", "com", "co.uk", "+.a.example", ".a.example", "*.a.example", "a-.example",
    "a..b", "a_b.example", "1a.example", "a.1a", "null", "~", "a.example.", "a.example/path", "full:a.example", "@ads",
    "1.2.3.012", "1.2.3.012/32", "1.2.3.4/", "1.2.3.", "#", "A.EXAMPLE", "é.example", "#/a.example", "/b.example/",
    "a,b", "a'b", "a^b", "..a.example", "+..a.example", "+.*.a.example", "*.+.a.example", "+a.example", "+.", "+",
    "*.b.example",
])  # fmt: skip


@pytest.mark.parametrize(("format", "frame"), FRAMES)
@given(st.lists(ENTRIES, min_size=2, max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_lines_in_the_same_frame_mean_what_each_means(
    format: ListFormatName,  # noqa: A002
    frame: str,
    entries: list[str],
    end: str,
) -> None:
    lines = [f"{frame.format(entry)}{end}" for entry in ("first.example", *entries)]
    head = ["payload:\n"] if format == "clash" else []
    together, alone = (
        parse_list(iter([*head, *pieces]), size=999, source="l", format=format) for pieces in (["".join(lines)], lines)
    )
    assert list(together.entries()) == list(alone.entries())
    assert list(together.exceptions.entries()) == list(alone.exceptions.entries())
    assert (together.skips, together.skipped, together.lines_read) == (alone.skips, alone.skipped, alone.lines_read)
    assert (together.lines_widened, together.widened) == (alone.lines_widened, alone.widened)


LEADS: dict[ListFormatName, list[str]] = {
    "v2fly": ["full:", "domain:", "", "keyword:", "full:full:", "\x01", "full:\x03"],
    "clash": ["DOMAIN,", "DOMAIN-SUFFIX,", "HOST,", "HOST-SUFFIX, ", "DOMAIN-KEYWORD,", "DOMAIN,DOMAIN,", "", "\x01"],
}


@pytest.mark.parametrize(("format", "around"), [("v2fly", "{}"), ("v2fly", "{} @ads"), ("clash", "- {}"),
                                                ("clash", "{}"), ("clash", "- '{}' # why")])  # fmt: skip
@given(st.data())
def test_lines_that_say_at_their_beginning_what_they_cover(
    format: ListFormatName,  # noqa: A002
    around: str,
    data: st.DataObject,
) -> None:
    names = st.sampled_from(["a.example", "b.example", "com", "1a.example", "a..b", "a\x03b.example"])
    usual = st.tuples(st.sampled_from(LEADS[format][:3]), names)
    rows = data.draw(st.lists(usual | st.tuples(st.sampled_from(LEADS[format]), names), min_size=2, max_size=5))
    lines = [f"{around.format(lead + name)}\n" for lead, name in rows]
    head = ["payload:\n"] if around.startswith("-") else []
    together, alone = (
        parse_list(iter([*head, *pieces]), size=999, source="l", format=format) for pieces in (["".join(lines)], lines)
    )
    assert list(together.entries()) == list(alone.entries())
    assert (together.skips, together.skipped, together.lines_read) == (alone.skips, alone.skipped, alone.lines_read)


ODD = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""Line ends of `str.splitlines` that no editor knows."""


@each_row(
    ("format", "text"),
    [
        ("plain", "# a{}hidden.example\nsite.example\nwhat is this\n"),
        ("clash", "payload:\n# a{}hidden.example\n- site.example\n- what is this\n"),
        ("v2fly", "# a{}hidden.example\nfull:site.example # b{}hidden.example\nwhat is this\n"),
        ("hosts", "# a{}0.0.0.0 hidden.example\n0.0.0.0 site.example\nwhat is this\n"),
        ("dnsmasq", "# a{}server=/hidden.example/\nserver=/site.example/\nwhat/is this\n"),
        ("adblock", "! a{}||hidden.example^\n||site.example^\n||what is this^\n"),
        ("autoproxy", "! a{}||hidden.example\n||site.example\n||what is this\n"),
        ("switchyomega", "[SwitchyOmega Conditions]\n; a{}hidden.example\nsite.example\nwhat is this\n"),
    ],
)
@each_row("mark", ODD)
def test_a_line_ends_where_it_does_for_editors(format: ListFormatName, text: str, mark: str) -> None:  # noqa: A002
    for ending in ("\n", "\r\n", "\r"):
        found = read(text.format(mark, mark).replace("\n", ending), format=format)
        assert [entry.text for entry in found.entries()] == ["site.example"]
        assert [sentence.split(":")[1] for sentence in found.skipped] == [str(text.count("\n"))]
