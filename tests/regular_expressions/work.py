"""A process that applies expressions to the attacks on them, and writes which take longer than in proportion.

    python -m tests.regular_expressions.work < JOBS

A line of JOBS is a JSON array: place, pattern (bytes as {"bytes": TEXT in Latin-1}), flags, methods. All attacks are
tried at the smallest size, and those that took longest at the larger ones. Each limit is what no linear expression
comes near to: ten times the slowest. A quadratic one that takes 0.1 s for 10 KB takes 15 minutes for 1 MB. An attack
that takes 5 s for 1 MB takes 0.05 s for 100 KB if it is quadratic, so one that takes less than half of that ends there:
most take 4 ms.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.regular_expressions.attacks import Attack, attacks
from tests.support.cpu_limit import Note, cpu_limit, ended

SIZES = ((300, 0.5, 24, 0.0), (10_000, 0.1, 6, 0.0), (100_000, 1.0, 3, 0.02), (1_000_000, 5.0, 0, 0.0))
"""Characters, the limit in CPU seconds, and which attacks the next size is tried with: how many of the slowest, and the
CPU seconds that each has taken at least."""


def _apply(pattern: re.Pattern[Any], method: str, text: Any) -> Callable[[], object]:
    match method:
        case "sub" | "subn":
            return lambda: pattern.sub(text[:0], text)
        case "finditer":
            return lambda: sum(1 for _ in pattern.finditer(text))
    return lambda: getattr(pattern, method)(text)


def try_all(pattern: str | bytes, flags: int, methods: list[str], note: Note) -> None:
    """Tries the attacks on an expression."""
    compiled: re.Pattern[Any] = re.compile(pattern, flags)
    tried: list[Attack] = attacks(pattern, flags)
    for method in methods:
        left = tried
        for size, limit_s, slowest, least_s in SIZES:
            times: list[tuple[float, int]] = []
            for number, attack in enumerate(left):
                text = attack.text(size)
                call = _apply(compiled, method, text.encode("latin-1") if isinstance(pattern, bytes) else text)
                note(f"{method} takes more than {limit_s} s for {size:,} characters: {attack!r}")
                before = time.process_time()
                with cpu_limit(limit_s):
                    call()
                times.append((time.process_time() - before, number))
            left = [left[number] for took_s, number in sorted(times, reverse=True)[:slowest] if took_s >= least_s]


def main() -> None:
    places, patterns, works = [], [], []
    for line in sys.stdin:
        place, written, flags, methods = json.loads(line)
        pattern = written["bytes"].encode("latin-1") if isinstance(written, dict) else written
        places.append(place)
        patterns.append(str(pattern))
        works.append(partial(try_all, pattern, flags, methods))
    for row in zip(places, patterns, ended(works), strict=True):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
