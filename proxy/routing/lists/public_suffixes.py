"""Public suffixes in a list: an entry such as `co.uk` covers every site of a country, and is hardly meant so.

Only the ICANN section of the public suffix list counts, below which registries sell names; `github.io` belongs to one
owner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from publicsuffixlist import PSLFILE


class _Suffixes:
    """The rules of the section: names, and parents of which every child is a suffix (`*.ck`) but for exceptions."""

    def __init__(self, rules: Sequence[str]) -> None:
        self.exceptions = frozenset(rule[1:] for rule in rules if rule.startswith("!"))
        self.parents = frozenset(rule[2:] for rule in rules if rule.startswith("*."))
        # The parent of a wildcard is a suffix itself (the list's own tests).
        self.names = self.parents.union(rule for rule in rules if not rule.startswith(("!", "*.")))
        last_labels = "|".join(sorted({parent.rpartition(".")[2] for parent in self.parents}))
        behind = "|".join(rf"(?<=\.{re.escape(parent)})" for parent in sorted(self.parents))
        self.some_child = re.compile(rf"\.(?:{last_labels})$(?:{behind})", re.MULTILINE)


@cache
def _icann() -> _Suffixes:
    with open(PSLFILE, encoding="utf-8") as file:
        section = file.read().partition("===BEGIN ICANN DOMAINS===")[2].partition("===END ICANN DOMAINS===")[0]
    lines = [line.split(" ", 1)[0].strip() for line in section.splitlines()[1:] if not line.startswith("//")]
    return _Suffixes([line if line.isascii() else _in_a_labels(line) for line in lines if line])


def _in_a_labels(rule: str) -> str:
    """The list is normalised already, so punycode is all that IDNA would do: half the time of reading the list."""
    return ".".join(
        [label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in rule.split(".")]
    )


def public_suffixes(domains: Sequence[str], lines: str = "") -> list[int]:
    """Returns the places of those that are public suffixes; the others may be anything. `lines` is all of them as text,
    when there is one."""
    known = _icann()
    if known.names.isdisjoint(domains) and known.some_child.search(lines or "\n".join(domains)) is None:
        return []  # nearly always, and 20 times as fast as to look at each
    return [
        place
        for place, domain in enumerate(domains)
        if domain in known.names or (domain.partition(".")[2] in known.parents and domain not in known.exceptions)
    ]
