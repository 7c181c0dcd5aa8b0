from __future__ import annotations

from proxy.model.bounded import Bounded


def test_the_least_recently_set_key_is_dropped() -> None:
    table = Bounded[str, int](2)
    table["a"], table["b"] = 1, 2
    table["a"] = 3
    assert table["b"] == 2  # reading does not save it
    table["c"] = 4
    assert dict(table) == {"a": 3, "c": 4}


def test_a_default_counts_as_set_only_when_it_is_new() -> None:
    table = Bounded[str, int](1)
    assert table.setdefault("a", 1) == 1
    assert table.setdefault("a", 2) == 1
    assert table.setdefault("b", 3) == 3
    assert dict(table) == {"b": 3}


def test_keys_leave_in_the_usual_ways() -> None:
    table = Bounded[str, int](2)
    table["a"] = 1
    assert table.pop("a") == 1
    assert table.pop("a", None) is None
    table["b"] = 2
    del table["b"]
    assert not table
