"""Recognizes public suffixes in a list: an entry such as `co.uk` covers every site of a country, hardly by intention.

Only the ICANN section of the public suffix list counts, with suffixes below which registries sell names; `github.io`
has one owner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from publicsuffixlist import PSLFILE


class _Suffixes:
    """The rules of the section: names, and parents whose children are all suffixes (`*.ck`), except for exceptions."""

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
    """Encodes labels with punycode. IDNA would give the same, since the list is normalized, and take half of the time
    in which the list is read."""
    return ".".join(
        [label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in rule.split(".")]
    )


def public_suffixes(domains: Sequence[str], lines: str = "") -> list[int]:
    """Returns the indexes of the public suffixes among `domains`, which may be any texts. `lines` is the same domains
    as lines of one text, if the caller has that."""
    rules = _icann()
    if rules.names.isdisjoint(domains) and rules.some_child.search(lines or "\n".join(domains)) is None:
        return []  # nearly always, and 20 times as fast as a look at each domain
    return [
        place
        for place, domain in enumerate(domains)
        if domain in rules.names or (domain.partition(".")[2] in rules.parents and domain not in rules.exceptions)
    ]
