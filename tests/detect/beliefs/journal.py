"""A journal of 200 random histories: what Beliefs told and answered at each step, as hashes, in `journal.json`.

A rebuilding of `detect/beliefs` that means to change nothing must not change a hash. Where a change is meant, write the
journal anew and say so: `python -m tests.detect.beliefs.journal`.

Each step has three hashes of 16 bits: of the Changes (states, causes and dates), of the answers about all hosts, and of
the sentences in both. So a difference in words alone is told from one in what is believed. Times are rounded to a
millisecond and scores to a thousandth: the last bits of a logarithm are not the same on every computer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from proxy.model import Belief, Change
from tests.detect.beliefs.history import HOSTS, NETWORKS, TUNINGS, History

FILE = Path(__file__).with_name("journal.json")
HISTORIES = 200
STEPS = 30
WHAT = ("told", "answered", "said")
"""What each of the hashes of a step is of."""

_CHANGING = frozenset({"learn", "forget"})


class _Telling:
    """Beliefs whose Changes are kept as well."""

    def __init__(self, beliefs: Any) -> None:
        self._beliefs = beliefs
        self.changes: list[Change] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._beliefs, name)
        if name not in _CHANGING:
            return method

        def telling(*given: Any, **named: Any) -> Any:
            changes = method(*given, **named)
            self.changes += changes
            return changes

        return telling


class _Journal(History):
    """A history that is asked about all hosts after each step."""

    def __init__(self, number: int) -> None:
        super().__init__(number, TUNINGS[list(TUNINGS)[number % len(TUNINGS)]])
        self.telling = _Telling(self.beliefs)
        self.beliefs = cast(Any, self.telling)

    def steps(self, count: int) -> Iterator[str]:
        """The three hashes of each step, one after the other."""
        for _ in range(count):
            self.tell()
            if self.rng.random() < 0.6:
                self.pass_time()
            changes, self.telling.changes = self.telling.changes, []
            answers = [(*self.ask(host, network), network) for host in HOSTS for network in dict.fromkeys(NETWORKS)]
            told = [(_plain(change), _plain(change.belief)) for change in changes]
            answered = [(_plain(belief), *more) for belief, *more in answers]
            said = [change.why for change in changes] + [belief.why for belief, *_ in answers]
            yield "".join(map(_hashed, (told, answered, said)))


def _plain(value: Belief | Change | None) -> object:
    """All but the sentence, with numbers that are the same on every computer."""
    if value is None:
        return None
    if isinstance(value, Change):
        value = replace(value, belief=None)
    return [_rounded(getattr(value, name)) for name in type(value).__match_args__ if name != "why"]


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.3f}"
    return [_rounded(each) for each in value] if isinstance(value, tuple) else str(value)


def _hashed(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=2).hexdigest()


def histories(numbers: Iterable[int] = range(HISTORIES)) -> list[str]:
    """A line of hashes for each history."""
    return ["".join(_Journal(number).steps(STEPS)) for number in numbers]


def differences(one: list[str], other: list[str]) -> list[str]:
    """Where two journals differ first, in each history: its number, the step, and what differs."""
    found = []
    for number, (here, there) in enumerate(zip(one, other, strict=True)):
        for place in range(0, max(len(here), len(there)), 4):
            if here[place : place + 4] != there[place : place + 4]:
                found.append(f"history {number}, step {place // 12}: what was {WHAT[place // 4 % 3]}")
                break
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(histories(), indent=0) + "\n")
    print(f"{FILE.name}: {HISTORIES} histories of {STEPS} steps, {FILE.stat().st_size / 1024:.0f} KiB")
