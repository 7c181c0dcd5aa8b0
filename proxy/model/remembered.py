"""Results that are remembered to save time, of what clients ask for and servers answer, and that can be forgotten.

A browser asks for few names many times, with the same fields, which may hold cookies. A function that remembers what it
returned for them is marked as `remembered`. All of them forget when a user asks Byway to forget, and once a minute
(`proxy/app/app.py`), so that nothing of a visit stays in them for longer. What tells nothing of visits, such as a
codec's name, may use `functools.lru_cache` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_forgetting: list[Callable[[], None]] = []
"""What empties each memory."""


def remembered(limit: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorates a function that remembers its latest `limit` results until `forget_remembered`. Its arguments are
    hashable, and what it raises is not remembered."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        remembering = lru_cache(maxsize=limit)(function)
        _forgetting.append(remembering.cache_clear)
        return cast("Callable[P, T]", remembering)

    return decorate


def forget_remembered() -> None:
    """Empties the memory of every `remembered` function. They only take longer at the next call."""
    for forget in _forgetting:
        forget()
