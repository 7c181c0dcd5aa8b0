"""Columns that fit, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.terminal.table import lay_out, wrap
from proxy.terminal.terminal import columns_of


@pytest.fixture(autouse=True)
def _no_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def test_what_fits_stands_side_by_side() -> None:
    assert list(lay_out(("site", "state"), [("example.org", "✓ works")], 80)) == [
        "site         state",
        "example.org  ✓ works",
    ]


def test_a_long_sentence_is_wrapped_in_the_last_column() -> None:
    lines = list(lay_out(("a", "b"), [("direct", "one two three four five six seven eight")], 34))
    assert lines == ["a       b", "direct  one two three four five", "        six seven eight"]


def test_a_word_that_is_too_long_is_not_broken_and_what_follows_goes_below() -> None:
    host = "a-very-long-label." * 3 + "example.org"
    lines = list(lay_out(("site", "state", "why"), [(host, "blocked", "reset"), ("b.org", "works", "")], 40))
    assert any(line == host for line in lines)
    assert [line.split() for line in lines if "blocked" in line] == [["blocked", "reset"]]


def test_headings_that_are_empty_have_no_line() -> None:
    assert list(lay_out(("", ""), [("x", "y")], 80)) == ["x  y"]


def test_wide_characters_take_two_columns() -> None:
    assert columns_of("例え.テスト") == 11
    assert list(lay_out(("a", "b"), [("例", "1"), ("xx", "2")], 80))[1:] == ["例  1", "xx  2"]


words = st.text(st.sampled_from("abc .-"), max_size=60)


@pytest.mark.uses("rules")
@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=5), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal_but_for_a_word_that_is(rows: list[tuple[str, ...]], width: int) -> None:
    for line in lay_out(("one", "two", "three"), rows, width):
        longest = max((columns_of(word) for row in rows for cell in row for word in cell.split()), default=0)
        assert columns_of(line) <= max(width, width + longest - 10)
        if longest <= 10:
            assert columns_of(line) <= width


@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=5), st.integers(40, 120))
def test_no_word_is_lost_or_broken(rows: list[tuple[str, ...]], width: int) -> None:
    lines = list(lay_out(("", "", ""), rows, width))
    shown = sorted(" ".join(lines).split())
    assert shown == sorted(" ".join(" ".join(row) for row in rows).split())


@given(words, st.integers(1, 40))
def test_wrapped_lines_are_short(text: str, width: int) -> None:
    assert all(columns_of(line) <= width or " " not in line.strip() for line in wrap(text, width))
