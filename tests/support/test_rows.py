"""A table of rows as one test: all are run, and all that fail are listed."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from tests.support.rows import each_row


def failure_of(test: object) -> str:
    assert callable(test)
    with pytest.raises(pytest.fail.Exception) as failed:
        test()
    return str(failed.value)


def test_all_rows_are_run_and_each_that_fails_is_listed_with_its_difference() -> None:
    seen = []

    @each_row(("text", "length"), [("one", 3), ("three", 4), ("four", 4), ("seven", 0)])
    def test(text: str, length: int) -> None:
        seen.append(text)
        assert len(text) == length

    said = failure_of(test)
    assert seen == ["one", "three", "four", "seven"]
    assert said.startswith("2 of 4 rows fail\n")
    assert "\n'three' | 4\n" in said
    assert "AssertionError: assert 5 == 4\n" in said
    assert "\n'seven' | 0\n" in said
    assert "assert len(text) == length\n" in said
    assert "'four'" not in said


def test_tables_are_multiplied_and_what_is_left_are_fixtures() -> None:
    seen = []

    @each_row("a", "xy")
    @each_row("b", [1, 2])
    def test(a: str, b: int, tmp: str = "") -> None:
        seen.append((a, b))

    test()  # type: ignore[call-arg]  # pytest gives it no more
    assert seen == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]
    assert list(inspect.signature(test).parameters) == ["tmp"]


def test_a_row_has_the_name_that_it_is_given() -> None:
    @each_row("value", [pytest.param(1, id="the first"), 2], ids=lambda value: f"number {value}")
    @each_row("other", [3, 4], ids=["three", "four"])
    def test(value: int, other: int) -> None:
        raise ValueError("wrong")

    said = failure_of(test)
    for name in ("the first | three", "the first | four", "number 2 | three", "number 2 | four"):
        assert f"\n{name}\n" in said
    assert said.count("ValueError: wrong") == 4


def test_an_exception_that_does_not_come_and_a_skip_are_failures() -> None:
    @each_row("what", ["raises", "skips"])
    def test(what: str) -> None:
        if what == "skips":
            pytest.skip("not here")
        with pytest.raises(ValueError):  # noqa: PT011 - it does not come
            pass

    assert failure_of(test).startswith("2 of 2 rows fail\n")


async def test_rows_may_be_async() -> None:
    @each_row("a", [1, 2, 3])
    async def test(a: int) -> None:
        await asyncio.sleep(0)
        assert a == 2

    assert inspect.iscoroutinefunction(test)
    with pytest.raises(pytest.fail.Exception, match=r"^2 of 3 rows fail"):
        await test()  # type: ignore[call-arg]  # pytest gives it no more


def test_marks_stay() -> None:
    @pytest.mark.slow
    @each_row("a", [1])
    @pytest.mark.alone
    def test(a: int) -> None: ...

    assert {mark.name for mark in test.pytestmark} == {"slow", "alone"}  # type: ignore[attr-defined]


def test_what_cannot_be_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="with rows"):
        each_row("a", [])
    with pytest.raises(ValueError, match="no marks"):
        each_row("a", [pytest.param(1, marks=pytest.mark.slow)])
    with pytest.raises(ValueError, match="shorter"):
        each_row(("a", "b"), [(1,)])
    with pytest.raises(ValueError, match="shorter"):
        each_row("a", [1, 2], ids=["one"])
