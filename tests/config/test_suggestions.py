from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.suggestions import nearest, one_of, quoted, suggestion


def test_no_password_of_a_url_is_quoted() -> None:
    assert "sesame" not in quoted("socks5://me:sesame@relay.example:1080")


@given(st.text())
def test_C10_a_quoted_word_is_inert_and_short(word: str) -> None:
    assert quoted(word).isprintable()
    assert len(quoted(word)) <= 62 + 60 * 9  # each of 60 characters as \U0001f600 at most
    assert quoted("a\x1b[31m\n") == '"a\\x1b[31m\\n"'


def test_the_nearest_word_is_found_whatever_its_case() -> None:
    assert nearest("RELEY", ["RELAY", "BLOCK"]) == "RELAY"
    assert nearest("prot", ["address", "port"]) == "port"
    assert nearest("colour", ["port"]) is None
    assert nearest("x" * 100_000, ["port"]) is None


def test_suggestions() -> None:
    assert suggestion("prot", ["address", "port"]) == "; did you mean port?"
    assert suggestion("colour", ["address", "port"]) == "; it can be address or port"
    assert suggestion("colour", [str(n) for n in range(20)]) == ""
    assert suggestion("colour", []) == ""
    assert one_of(["a"]) == "a"
    assert one_of(["a", "b", "c"]) == "a, b or c"
