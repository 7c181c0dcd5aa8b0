"""Pieces of a large file are read as its lines are, in their order."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.lists.lines import BulkLines, entries_of, numbered, parse_lines
from proxy.wire import hostnames
from tests.support.calls import counting

LETTERS = re.compile(r"^(?:([a-z]+)|)\r?$", re.MULTILINE)
DIGITS = re.compile(r"^(?:([0-9]+)|)\r?$", re.MULTILINE)


def parsed(pieces: list[str]) -> list[tuple[int, str, str]]:
    """Number, kind and text of each line that has one."""
    found: list[tuple[int, str, str]] = []

    def taking(kind: str) -> BulkLines:
        def take(first: int, texts: list[str]) -> None:
            found.extend((number, kind, text) for number, text in enumerate(texts, first) if text)

        return BulkLines({"letters": LETTERS, "digits": DIGITS}[kind], take)

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
    from proxy.routing.lists.lines import DOMAIN

    if re.fullmatch(DOMAIN, text):
        assert hostnames.host(text) == text
