"""What a judge is asked about a list, and how its answers are compared with ours.

Lines that are skipped for a reason that is documented, such as regular expressions, are left out of what the judge
gets: it would list more. What we cannot read stays in, so it counts as a mistake if the judge can.
"""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from proxy.config.schema import ListFormatName
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.matcher import Entry, EntryKind
from proxy.wire import hostnames

PINNED = frozenset(Skip) - {Skip.UNREADABLE, Skip.NO_PROFILE}
"""Reasons to skip a line that are documented."""


class Judge(Protocol):
    """Asks another program whether a list names a host."""

    def __call__(self, text: str, hosts: Collection[str]) -> dict[str, bool]: ...


@frozen_dataclass
class Verdict:
    """What came of a judgement. `right` and `asked` count lines."""

    asked: int
    right: int
    skipped: dict[Skip, int]
    wrong: tuple[str, ...]
    """For the first lines that differ: the line, the host, our answer."""

    @property
    def share(self) -> float:
        """Of the lines that were asked about and mean what the judge says, in percent."""
        return 100 * self.right / max(1, self.asked)


def judged(
    text: str,
    judge: Judge,
    *,
    format: ListFormatName,  # noqa: A002  # as the setting is called
    lines: int,
    seed: int,
    head: str = "",
    tail: str = "",
) -> Verdict:
    """Judges a seeded sample of a list's lines. `head` and `tail` are what each line needs around it to be a list of
    its own."""

    def parsed(part: str) -> DomainList:
        return parse_list(iter([part]), size=len(part), source="l", format=format)

    skipped: Counter[Skip] = Counter()
    kept, readable = [], []
    for line in text.splitlines():
        if f"{line}\n" in (head, tail):
            kept.append(line)
            continue
        alone = parsed(f"{head}{line}\n{tail}")
        pinned = {reason: count for reason, count in alone.skips.items() if reason in PINNED}
        skipped.update(pinned)
        if not pinned:
            kept.append(line)
            if alone.lines_read or alone.skips:
                readable.append((line, tuple(alone.entries())))
    chance = random.Random(seed)
    sample = chance.sample(readable, min(lines, len(readable)))
    questions = {
        line: sorted({host for host in _questions(line, entries) if _is_host(host)}) for line, entries in sample
    }
    whole = "\n".join(kept) + "\n"
    ours = parsed(whole)
    answers = judge(whole, {host for hosts in questions.values() for host in hosts})
    right, wrong = 0, []
    for line, hosts in questions.items():
        differing = [host for host in hosts if answers[host] != (ours.covering(host) is not None)]
        right += not differing
        wrong += [f"{line!r}: {host}: the judge says {answers[host]}" for host in differing]
    return Verdict(len(questions), right, dict(skipped), tuple(wrong[:50]))


def _questions(line: str, entries: Sequence[Entry]) -> Iterator[str]:
    """Hosts that an entry should and should not cover: itself, its parent, names below it and its neighbours."""
    if not entries:  # we cannot read it: ask about every name in it
        words = "".join(char if char.isalnum() or char in ".-:" else " " for char in line).split()
        entries = [Entry(EntryKind.DOMAIN, word.strip("."), 0) for word in words if "." in word]  # type: ignore[arg-type]
    for entry in entries:
        yield from _ASK[entry.kind](entry.text)


def _near_domain(domain: str) -> Iterator[str]:
    yield from (domain, f"www.{domain}", f"a.b.{domain}", f"x{domain}", f"{domain}.x", domain.partition(".")[2])


def _near_prefix(prefix: str) -> Iterator[str]:
    network = ipaddress.ip_network(prefix)
    first, last = int(network[0]), int(network[-1])
    kind = type(network[0])
    for number in (first, last, first - 1, last + 1):
        if 0 <= number < 1 << network.max_prefixlen:
            yield str(kind(number))


def _near_keyword(word: str) -> Iterator[str]:
    word = word.strip(".-")
    yield from (f"www.{word}.test", f"x{word}x.test", f"{word}.test", f"x{word[:-1]}.x{word[1:]}.test")


def _near_wildcard(pattern: str) -> Iterator[str]:
    for filling in ("a", "abc.def", "1"):
        filled = pattern.replace("*", filling)
        yield from (filled, f"x.{filled}", f"x{filled}", f"{filled}x")
    yield pattern.replace("*", "").replace("..", ".").strip(".")


_ASK: dict[EntryKind, Callable[[str], Iterator[str]]] = {
    EntryKind.DOMAIN: _near_domain,
    EntryKind.PREFIX: _near_prefix,
    EntryKind.KEYWORD: _near_keyword,
    EntryKind.WILDCARD: _near_wildcard,
}


def _is_host(text: str) -> bool:
    try:
        return hostnames.host(text) == text
    except ValueError:
        return False
