"""Lists that are broken in many ways: no format crashes, loses count or takes more than it should.

    python -m tests.routing.lists.fuzz [--lines 100000] [--seed 1]

Samples of all formats are mutated, line by line and as a whole, and read in every format. A list is read or refused
with a ConfigError; whatever is read holds only canonical names.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from typing import get_args

from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.routing.lists.domain_list import SKIPPED_SHOWN, DomainList
from proxy.routing.lists.formats import FORMATS, parse_list
from proxy.routing.lists.matcher import EntryKind
from proxy.wire import hostnames
from tests.routing.lists.judges.rule_providers import Behavior, Format, rule_provider
from tests.routing.lists.test_formats import SAMPLES

_PIECES = (
    "*", "+.", "||", "@@", "^", "/", "//", "#", "!", "'", '"', "\\", ",", ":", "-", " ", "\t", ".", "..", "%", "[", "]",
    "(", "{", "}", "|", "=", "&", "$", "?", "é", "ж", "\u2028", "\ufeff", "\x00", "\x1b", "\r", "0", "255", "/33", "::",
    "xn--", "x" * 70, "a." * 130, "include:", "regexp:", "payload:", "DOMAIN,", "server=/", "0.0.0.0 ", "[AutoProxy]",
)  # fmt: skip


def mutated(line: str, chance: random.Random) -> str:
    """The line with a few characters put in, left out, doubled or exchanged."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(line))
        end = min(len(line), at + chance.choice((0, 0, 1, 1, 2, 8)))
        line = line[:at] + chance.choice((chance.choice(_PIECES), line[at:end] * 2, "")) + line[end:]
    return line


def samples() -> list[str]:
    """Texts of every format."""
    made = [
        rule_provider(behavior, form, lines=40, seed=1) for behavior in get_args(Behavior) for form in get_args(Format)
    ]
    return [*made, *(text for texts in SAMPLES.values() for text in texts if text)]


def run(lines: int, seed: int) -> int:
    """Reads so many mutated lines, in turn in every format. Returns how many were entries."""
    chance = random.Random(seed)
    texts = samples()
    done = entries = 0
    while done < lines:
        text = chance.choice(texts).splitlines()
        broken = [mutated(line, chance) if chance.random() < 0.7 else line for line in text]
        for name in get_args(ListFormatName):
            entries += _checked(broken, chance, name)
        done += len(broken)
    return entries


def _checked(lines: Sequence[str], chance: random.Random, name: ListFormatName) -> int:
    end = chance.choice(("\n", "\n", "\r\n"))
    whole = end.join(lines) + chance.choice((end, ""))
    cut = chance.randint(0, len(lines))
    pieces = [end.join(part) + end for part in (lines[:cut], lines[cut:]) if part]
    found: DomainList | None
    made = iter(chance.choice(([whole], pieces)))
    problems: tuple[str, ...] = ()
    try:
        found = parse_list(made, size=len(whole), source="l", format=name)
    except ConfigError as error:
        found, problems = None, tuple(error.problems)
    assert all(problem.isprintable() for problem in problems)
    if found is not None:
        _check(found)
    return len(found.listed) if found is not None else 0


def _check(found: DomainList) -> None:
    for matcher in (found.listed, found.exceptions):
        for kind, text, _ in matcher.entries():
            if kind is EntryKind.DOMAIN:
                assert hostnames.host(text) == text
                matcher.covering(text)
    assert len(found.skipped) == min(found.lines_skipped, SKIPPED_SHOWN)
    assert len(found.widened) == min(found.lines_widened, SKIPPED_SHOWN)
    assert all(sentence.isprintable() and len(sentence) < 400 for sentence in (*found.skipped, *found.widened))
    assert found.problem.isprintable()


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutates lists and reads them")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    entries = run(asked.lines, asked.seed)
    print(f"{asked.lines:,} mutated lines, each in {len(FORMATS) + 1} formats: no crash; {entries:,} entries were read")


if __name__ == "__main__":
    main()
