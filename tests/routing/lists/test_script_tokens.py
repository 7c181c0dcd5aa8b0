"""Tokens of JSON and JavaScript."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import ConfigError
from proxy.routing.lists.script_tokens import STRINGS_AT_ONCE, Kind, Token, are_plain, names, tokens
from tests.support.calls import counting
from tests.support.rows import each_row


def read(*pieces: str) -> list[tuple[Kind, str]]:
    return [(token.kind, token.text) for token in tokens(pieces, "l")][:-1]


def test_each_kind() -> None:
    assert read("""var a1 = "x\\"y" + 'it' /* no */ >= -1.5e+3; // end\n`t` # too\n$_ !== /[/"]x\\//i""") == [
        (Kind.WORD, "var"), (Kind.WORD, "a1"), (Kind.MARK, "="), (Kind.STRING, 'x\\"y'), (Kind.MARK, "+"),
        (Kind.STRING, "it"), (Kind.MARK, ">="), (Kind.NUMBER, "-1.5e+3"), (Kind.MARK, ";"), (Kind.STRING, "t"),
        (Kind.WORD, "$_"), (Kind.MARK, "!=="), (Kind.PATTERN, '/[/"]x\\//i'),
    ]  # fmt: skip


def test_a_slash_is_a_pattern_only_where_a_value_may_begin() -> None:
    assert read("a / b / c") == [
        (Kind.WORD, "a"),
        (Kind.MARK, "/"),
        (Kind.WORD, "b"),
        (Kind.MARK, "/"),
        (Kind.WORD, "c"),
    ]
    assert read("(1) / 2 /g")[3:] == [(Kind.MARK, "/"), (Kind.NUMBER, "2"), (Kind.MARK, "/"), (Kind.WORD, "g")]
    assert read("return /b/g")[1:] == [(Kind.PATTERN, "/b/g")]


def test_plain_strings_in_a_row_are_one_token() -> None:
    found = list(tokens(['["a.example",\n "b-c.example" , "d", "E", "last"]'], "l"))
    assert [token.kind for token in found] == [
        Kind.MARK, Kind.STRINGS, Kind.STRING, Kind.MARK, Kind.STRING, Kind.MARK, Kind.END,
    ]  # fmt: skip
    assert names(found[1]) == ["a.example", "b-c.example", "d"]
    keys = list(tokens(['{"a.example": 1,\n"b.example":1, "c": 1}'], "l"))
    assert [token.kind for token in keys[:3]] == [Kind.MARK, Kind.KEYS, Kind.STRING]
    assert names(keys[1]) == ["a.example", "b.example"]
    many = [token for token in tokens(['"a",' * (STRINGS_AT_ONCE * 2 + 500)], "l") if token.kind is Kind.STRINGS]
    assert [len(names(token)) for token in many] == [STRINGS_AT_ONCE, STRINGS_AT_ONCE, 500]


def test_escapes_are_resolved_in_names() -> None:
    found = list(tokens(['"b\\u00fccher", "a\\/b\\.c", "\\ud800", "\\u0000x"'], "l"))
    assert [name for token in found if token.kind is Kind.STRING for name in names(token)] == [
        "bücher", "a/b.c", "\\ud800", "x",
    ]  # fmt: skip


def test_lines_are_counted_and_a_comment_goes_over_pieces() -> None:
    assert list(tokens(["a\n/* b\n", "c\n", "*/ d\ne"], "l")) == [
        Token(Kind.WORD, "a", 1), Token(Kind.WORD, "d", 4), Token(Kind.WORD, "e", 5), Token(Kind.END, "", 5),
    ]  # fmt: skip


@each_row("text", ['"open', "a\n\x00", "'x\ny'", "`${a}`", "é", "@"])
def test_what_is_no_token_is_named_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"l:[12]: cannot be read at ['\"]"):
        read(text)


def test_a_million_strings_on_one_line_are_a_thousand_tokens() -> None:
    text = '["' + '","'.join(f"site{n}.example" for n in range(20_000)) + '"]'
    with counting() as calls:
        assert sum(len(names(token)) for token in tokens([text], "l") if token.kind is Kind.STRINGS) == 19_999
    assert calls.total() < 400, calls


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(_JSON, st.booleans())
def test_all_json_has_tokens(value: object, indented: bool) -> None:
    text = json.dumps(value, indent=2 if indented else None)
    pieces = text.splitlines(keepends=True)
    found = list(tokens(pieces, "l"))
    assert "".join(f'"{t.text}"' if t.kind is Kind.STRING else t.text for t in found).replace(" ", "").replace(
        "\n", ""
    ) == text.replace(" ", "").replace("\n", "")


def test_plain_names() -> None:
    assert are_plain(["a.example", ".b.example", "c"], dots=True)
    assert not are_plain(["a.example", ".b.example", "c"], dots=False)
    assert are_plain(["a.example", "c"], dots=False)
    for name in ("A.example", "1.2.3.4", "a..b", "-a.example", "a.example.", "", "a b", "a\nb", f"{'a.' * 130}b"):
        assert not are_plain(["a.example", name], dots=True), name
