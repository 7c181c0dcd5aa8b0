"""Caches of function results about visits, which can be emptied.

A browser asks for few names many times, with the same header fields, which may hold cookies. A function that caches
results for them is decorated with `remembered`. All these caches are emptied by `byway forget`, and once a minute
(`proxy/app/app.py`), so that no trace of a visit stays longer. A function whose results tell nothing about visits, such
as a codec's name, may use `functools.lru_cache`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_forgetting: list[Callable[[], None]] = []
"""Functions that empty the caches."""


def remembered(limit: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorates a function: its latest `limit` results are cached until `forget_remembered`. Its arguments are
    hashable; exceptions are not cached."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        remembering = lru_cache(maxsize=limit)(function)
        _forgetting.append(remembering.cache_clear)
        return cast("Callable[P, T]", remembering)

    return decorate


def forget_remembered() -> None:
    """Empties the cache of every `remembered` function."""
    for forget in _forgetting:
        forget()
