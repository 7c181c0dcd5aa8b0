from __future__ import annotations

import pytest

from proxy.model.remembered import forget_remembered, remembered


def test_a_function_remembers_its_latest_results_until_all_forget() -> None:
    calls = list[str]()

    @remembered(2)
    def shouted(word: str) -> str:
        calls.append(word)
        return word.upper()

    @remembered(2)
    def halved(number: int) -> int:
        calls.append(str(number))
        return number // 2

    for _ in range(2):
        assert (shouted("a"), shouted("b"), halved(4)) == ("A", "B", 2)
    assert calls == ["a", "b", "4"]
    assert shouted("c") == "C"
    assert shouted("a") == "A"  # the oldest of two
    assert calls == ["a", "b", "4", "c", "a"]
    forget_remembered()
    assert (shouted("a"), halved(4)) == ("A", 2)
    assert calls == ["a", "b", "4", "c", "a", "a", "4"]


def test_what_is_raised_is_not_remembered() -> None:
    calls = list[int]()

    @remembered(2)
    def fail(number: int) -> int:
        calls.append(number)
        raise ValueError(number)

    for _ in range(2):
        with pytest.raises(ValueError, match="1"):
            fail(1)
    assert calls == [1, 1]
