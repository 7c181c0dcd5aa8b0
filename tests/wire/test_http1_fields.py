"""The lines of a head: those that are as usual are read at once, and as one after the other would be."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.wire import http1_fields
from proxy.wire.http1_fields import field_table, read_fields

TABLE = field_table(("host", "connection"))
LINES = st.lists(st.text(alphabet="aH-0: \t;,\x80\xff(\x0b", max_size=9), max_size=4)


def by_line(lines: str, *, lenient: bool) -> list[tuple[str, str]] | str:
    try:
        return http1_fields._cut(lines, lenient=lenient)
    except ValueError as fault:
        return str(fault)


@given(LINES, st.booleans())
@example(["a: b", " c: d"], True)
@example(["a:b", "c"], False)
@example(["a : b"], True)
@example(["a: b", ""], True)
@example(["a:", "b: \t", "c:\t d e \t"], False)
def test_usual_lines_are_read_at_once_as_they_are_one_by_one(lines: list[str], lenient: bool) -> None:
    text = "".join(f"{line}\r\n" for line in lines)
    try:
        read: list[tuple[str, str]] | str = read_fields(text, TABLE, frozenset(), lenient=lenient)[0]
    except ValueError as fault:
        read = str(fault)
    assert read == by_line(text, lenient=lenient)


@pytest.mark.parametrize("blanks", ["", " ", "\t \t"])
def test_a_long_line_takes_no_longer_than_it_is(blanks: str) -> None:
    """Each of these would take hours if the expression went back at each of its characters."""
    size = 60_000
    for value in (" " * size, "a" * size, "a " * (size // 2), "a" + " " * size):
        received, _, _ = read_fields(f"a:{blanks}{value}{blanks}\r\n", TABLE, frozenset())
        assert received == [("a", value.strip())]
    with pytest.raises(ValueError, match="no colon"):
        read_fields("a" * size + "\r\n", TABLE, frozenset())
