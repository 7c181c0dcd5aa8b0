"""Counts the connections that each rule and each override decided, since the start and in memory only.

A rule is counted under its text, so it keeps its count when an edit moves its line.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.model.bounded import Bounded

_COUNTED = 1 << 16
"""Rules and overrides that are counted at most: edits can make new ones without end."""


@dataclass(slots=True)
class Hits:
    """The count of one rule. `last_at` is in seconds since the epoch; 0: never."""

    count: int = 0
    last_at: float = 0.0


class RuleHits:
    """The counts of all rules and overrides, by their text."""

    def __init__(self) -> None:
        self._hits: Bounded[str, Hits] = Bounded(_COUNTED)

    def count(self, text: str, at: float) -> None:
        """Counts one connection, planned at `at`."""
        hits = self._hits.get(text)
        if hits is None:
            self._hits[text] = Hits(1, at)
        else:
            hits.count += 1
            hits.last_at = at

    def take_back(self, text: str) -> None:
        """Takes one connection off the count, because it is counted again elsewhere."""
        if (hits := self._hits.get(text)) is not None:
            hits.count -= 1

    def forget(self, text: str) -> None:
        """Forgets the count of a rule that no longer exists."""
        self._hits.pop(text, None)

    def clear(self) -> None:
        self._hits.clear()

    def of(self, text: str) -> Hits:
        return self._hits.get(text) or Hits()
