"""The words of local strategies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Protocol
from proxy.model.strategy import (
    Place,
    Strategy,
    StrategyKind,
    check_joined,
    parse_rung,
    parse_word,
    strategies,
    strategy,
)
from tests.support.rows import each_row

WORDS = {
    "tlsrec": Strategy(StrategyKind.TLSREC),
    "tlsrec-at-4": Strategy(StrategyKind.TLSREC, Place.AT, 4),
    "tlsrec-by-8": Strategy(StrategyKind.TLSREC, Place.BY, 8),
    "hostcase": Strategy(StrategyKind.HOSTCASE),
    "split": Strategy(StrategyKind.SPLIT),
    "split-at-name": Strategy(StrategyKind.SPLIT, Place.NAME),
    "split-at-1": Strategy(StrategyKind.SPLIT, Place.AT, 1),
    "split-by-40": Strategy(StrategyKind.SPLIT, Place.BY, 40),
    "disorder": Strategy(StrategyKind.DISORDER),
    "pace-200": Strategy(StrategyKind.PACE, number=200),
}


@each_row("word", WORDS)
def test_a_word_is_the_inverse_of_str(word: str) -> None:
    assert parse_word(word) == WORDS[word] == strategy(word)
    assert str(WORDS[word]) == word


@each_row(
    ("word", "problem"),
    [
        ("", "is not a local strategy: use doh, "),
        ("magic", "is not a local strategy: use doh, "),
        ("doh", "is not a local strategy"),
        ("Split", "is not a local strategy"),
        ("split ", "is not a local strategy"),
        ("split-3", "is not a local strategy"),
        ("tlsrec-at-name", "is not a local strategy"),
        ("hostcase-at-4", "is not a local strategy"),
        ("disorder-by-4", "is not a local strategy"),
        ("split-at-name-4", "is not a local strategy"),
        ("split-at", "needs a number from 1 to 1000"),
        ("split-at-0", "needs a number from 1 to 1000"),
        ("split-by-7", "needs a number from 8 to 1000"),
        ("tlsrec-by-3", "needs a number from 4 to 1000"),
        ("tlsrec-at-1001", "needs a number from 4 to 1000"),
        ("pace", "needs a number from 50 to 1000"),
        ("pace-49", "needs a number from 50 to 1000"),
        ("pace-0200", "must be written pace-200"),
    ],
)
def test_a_word_that_cannot_be(word: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_word(word)
    assert strategy(word) is None


@each_row(
    "rung",
    [
        "doh",
        *(word for word in WORDS if "pace" not in word),
        "tlsrec|split-at-1|pace-1000",
        "split|pace-1000",
        "split-by-8|pace-250",
    ],
)
def test_a_rung(rung: str) -> None:
    assert parse_rung(rung) == rung


@each_row(
    ("rung", "problem"),
    [
        ("magic", '^"magic" is not a local strategy'),
        ("tlsrec|magic", '^its part "magic" is not a local strategy'),
        ("doh|tlsrec", '^its part "doh" is not'),
        ("split|tlsrec", '^"split.tlsrec" has words in another order than tlsrec, hostcase, split, disorder, pace'),
        ("split|split-at-1", "each once"),
        ("pace-200", "has no segments to pace"),
        ("tlsrec|pace-200", "has no segments to pace"),
        ("split-by-8|pace-251", "may take 2.008 s, and 2 s at most"),
    ],
)
def test_a_rung_that_cannot_be(rung: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_rung(rung)


def test_the_words_of_a_route() -> None:
    assert strategies(("doh", "ipv4", "tlsrec", "split-by-40")) == (WORDS["tlsrec"], WORDS["split-by-40"])
    check_joined(("doh", "tlsrec", "split", "pace-200"))


def test_what_each_kind_does() -> None:
    assert [word for word, each in WORDS.items() if not each.cuts] == ["hostcase"]
    assert [word for word, each in WORDS.items() if each.cuts_records] == ["tlsrec", "tlsrec-at-4", "tlsrec-by-8"]
    assert [word for word, each in WORDS.items() if each.first_piece_dies] == ["disorder"]
    assert [word for word, each in WORDS.items() if Protocol.TLS not in each.protocols] == ["hostcase"]


@given(st.text(max_size=30) | st.from_regex(r"(tlsrec|split|pace)(-at|-by)?-[0-9]{1,12}", fullmatch=True))
def test_fuzz_a_word_is_read_or_refused(word: str) -> None:
    try:
        found = parse_word(word)
    except ValueError:
        return
    assert str(found) == word
