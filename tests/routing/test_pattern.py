"""Host patterns: they find what `re` finds, and nobody's pattern or name makes them slow."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from random import Random
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.pattern import CACHE_LIMIT, PATTERN_LIMIT, POSITIONS_LIMIT, WORK_LIMIT, Pattern
from tests.support.rows import each_row

LETTERS = "ab1-."

atoms = st.one_of(
    st.sampled_from(LETTERS.replace(".", "")),
    st.sampled_from([r"\.", ".", r"\d", r"\w", r"\D", r"\W", "[ab]", "[^a]", "[a-z0-9]", "[.-]", r"[\d.]"]),
)
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "+?"])),
        st.builds("({}|)".format, inner),
    ),
    max_leaves=8,
)
anchored = st.builds("{}{}{}".format, st.sampled_from(["", "^", r"(^|\.)"]), patterns, st.sampled_from(["", "$"]))
hosts = st.text(alphabet=LETTERS, min_size=1, max_size=12)


@given(anchored, st.lists(hosts, max_size=5))
def test_finds_what_re_finds(pattern: str, names: list[str]) -> None:
    ours = Pattern(pattern)
    theirs = re.compile(pattern)
    for name in names:
        assert ours.search(name) == bool(theirs.search(name)), (pattern, name)


@given(st.text(alphabet=LETTERS + r"()[]{}|*+?^$\,0w", max_size=30), hosts)
def test_any_text_is_a_pattern_or_a_value_error(text: str, host: str) -> None:
    try:
        pattern = Pattern(text)
    except ValueError:
        return
    pattern.search(host)


def test_is_blind_to_case() -> None:
    assert Pattern("^WWW[A-C]").search("wwwb.example")
    assert Pattern("(?i)Example").search("example.org")
    assert not Pattern("^www[A-C]").search("wwwd.example")


def test_a_range_has_both_ends_and_what_lies_between() -> None:
    for text in ("^[b-d]$", "^[B-D]$"):
        pattern = Pattern(text)
        assert [char for char in "abcde" if pattern.search(char)] == ["b", "c", "d"]


@each_row(
    "pattern",
    ["(a+)+$", "(a*)*$", "(a|a)*$", "(a|aa)+$", "(.*a){12}$", r"([a-z]+)*\.$", "(a?){60}a{60}$", ".*.*.*.*.*z$"],
)
def test_G6_catastrophic_patterns_cost_a_bounded_number_of_steps(pattern: str) -> None:
    compiled = Pattern(pattern)
    steps = 0
    real_step = compiled._automaton.step

    class Counting:
        last = compiled._automaton.last

        @staticmethod
        def step(states: int, char: str) -> int:
            nonlocal steps
            steps += 1
            return real_step(states, char)

    compiled._automaton = Counting()  # type: ignore[assignment]  # a counter in its place
    compiled.search("a" * 250 + "-.-")
    assert steps <= 255  # one for each character and the two marks, however the pattern is built


CALLS_LIMIT = 8 * WORK_LIMIT
"""Function calls, Python's and C's, to read and compile one pattern: a few for each step that is counted."""


class _TooManyCalls(BaseException):
    """Ends a compilation that would not end by itself."""


def _calls_to_compile(text: str) -> int:
    """How many function calls `Pattern(text)` makes, refused or not. Independent of what the compiler counts."""
    calls = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls > CALLS_LIMIT:
            raise _TooManyCalls(text)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        Pattern(text)
    except ValueError:
        pass
    finally:
        sys.setprofile(before)
    return calls


bodies = st.recursive(
    st.sampled_from(["a", "", "()", "(|)", "(?:)", "a?", ".*", "[ab]", "a|", "|a|b|", "^", "$"]),
    lambda inner: st.one_of(
        st.builds("({}){}".format, inner, st.sampled_from(["*", "+", "?", "{9}", "{0,99}", "{999999}", "{9,}", ""])),
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
    ),
    max_leaves=40,
)


@given(bodies)
def test_G6_compiling_any_pattern_takes_a_bounded_number_of_steps(text: str) -> None:
    assert _calls_to_compile(text) <= CALLS_LIMIT
    with suppress(ValueError):
        assert Pattern(text).work < WORK_LIMIT


@each_row(
    "text",
    [
        "(){9999999}",
        "(){1,9999999}a",
        "((){9999}){9999}",
        "(((){999}){999}){999}",
        "(|){9999999}",
        "((|)|()){9999999}",
        "(?:){9999999}",
        "(^|){9999999}",
        "((a{100}){100}){100}",
        "((a?){100}){100}",
        "(((((a*)*)*)*)*){256}",
        "(" * 29 + "a" + "?)" * 29 + "{256}",
        "(" * 29 + "(a?){256}" + ")*" * 29,
        "(((a?b?){4}c?){4}d?){6}" + "(|a)" * 8,
        "(" + "()" * 200 + "a){256}",
        "(" + "|" * 200 + "a){256}",
        "a?" * 256,
        "|" * 512,
        "a{9999999}",
        "a{0,9999999}",
    ],
)
def test_G6_a_repetition_is_bounded_in_the_work_it_causes(text: str) -> None:
    assert _calls_to_compile(text) <= CALLS_LIMIT
    with suppress(ValueError):
        assert Pattern(text).work < WORK_LIMIT


def test_the_step_cache_is_bounded() -> None:
    pattern = Pattern("a.{14}c")  # its sets of states are what the last fourteen letters were: 16,384 of them
    sizes = set()
    for seed in range(100):
        pattern.search("".join(Random(seed).choices("ab", k=60)))
        sizes.add(len(pattern._cache))
    assert max(sizes) <= CACHE_LIMIT


@each_row(
    ("pattern", "says"),
    [
        ("", "empty"),
        ("a" * (PATTERN_LIMIT + 1), "longer than"),
        ("a{200}b{200}", f"more than {POSITIONS_LIMIT}"),
        ("(a{99}){99}", f"more than {POSITIONS_LIMIT}"),
        ("(" * 40 + "a" + ")" * 40, "nested"),
        ("(a", "is not closed"),
        ("a)", "has no matching ("),
        ("*a", "has nothing to repeat"),
        ("a**", "follows another repetition"),
        ("a++", "follows another repetition"),
        ("^*a", "^ and $ cannot be repeated"),
        ("(?=a)", "look-around"),
        ("(?P<n>a)", "look-around"),
        (r"(a)\1", r"\1 is not supported"),
        (r"\bads", r"\b is not supported"),
        ("a/b", "never occurs in a host"),
        ("пример", "never occurs in a host"),
        ("[", "ends inside a []"),
        ("[]", "contains no character"),
        ("[z-a]", "not a range"),
        ("a\\", "ends inside an escape"),
        ("a{2,1}", "0 or less than its minimum"),
        ("a{x}", "write a count as"),
        ("a{", "write a count as"),
        ("a{0}", "0 or less than its minimum"),
        ("(){2}", "an empty group cannot be repeated"),
        ("(|){9999999}", "an empty group cannot be repeated"),
        ("a{99999999999}", "write a count as"),
    ],
)
def test_refuses_with_a_sentence(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Pattern(pattern)
