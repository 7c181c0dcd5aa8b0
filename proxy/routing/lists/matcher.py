"""Which hosts a list names: by domain, address prefix, keyword and wildcard.

One matcher holds the entries of one polarity: what a list names, or its exceptions. Domains and prefixes may be a
million. Keywords and wildcards are few, since each is tried for each host; both take time linear in the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers, DomainSet
from proxy.routing.prefix_set import NO_PREFIXES, PrefixSet


class EntryKind(StrEnum):
    """What an entry of a list is."""

    DOMAIN = "domain"
    PREFIX = "prefix"
    KEYWORD = "keyword"
    WILDCARD = "wildcard"


class Entry(NamedTuple):
    """One entry of a list, as it was understood, whatever the format: `Entry(DOMAIN, "example.com", Covers.SITE)`."""

    kind: EntryKind
    text: str
    """In canonical spelling. Of a prefix: `192.0.2.0/24`, and without a length when it is one address."""
    covers: Covers
    """HOST for what is no domain."""


@frozen_dataclass
class Wildcard:
    """A name with stars. A star stands for any characters, also none and dots; with `by_label`, for one whole label."""

    text: str
    by_label: bool
    parts: tuple[str, ...]
    """What stands between the stars; with `by_label` the labels."""

    @staticmethod
    def of(text: str, *, by_label: bool = False) -> Wildcard:
        """Parses a wildcard in lower case. Raises ValueError when it has no star."""
        if "*" not in text:
            raise ValueError("a wildcard needs a star")
        return Wildcard(text, by_label, tuple(text.split("." if by_label else "*")))

    def matches(self, host: str) -> bool:
        """Returns whether it matches the whole of a host in canonical spelling."""
        if self.by_label:
            labels = host.split(".")
            return len(labels) == len(self.parts) and all(
                part in ("*", label) for part, label in zip(self.parts, labels, strict=True)
            )
        first, *inner, last = self.parts
        end = len(host) - len(last)
        if not (host.startswith(first) and host.endswith(last)):
            return False
        at = len(first)
        for part in inner:  # the first place for each is the best: nothing is tried twice
            found = host.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return at <= end


NO_DOMAINS = DomainSet.of(())


@frozen_dataclass
class Matcher:
    """The entries of one polarity."""

    domains: DomainSet = NO_DOMAINS
    prefixes: PrefixSet = NO_PREFIXES
    keywords: tuple[str, ...] = ()
    """Parts of names."""
    wildcards: tuple[Wildcard, ...] = ()

    def contains(self, host: str) -> bool:
        """Whether an entry covers a host in canonical spelling; quicker than `covering`."""
        if ":" in host or (host[-1:].isdigit() and host.rpartition(".")[2].isdigit()):  # no name is so
            return self.prefixes.contains(host)
        return bool(self.domains.entry_for(host)) or self._pattern_for(host) is not None

    def covering(self, host: str) -> str | None:
        """Returns the entry that covers a host in canonical spelling, None when none does: of domains and prefixes the
        most specific, of keywords and wildcards the first. Keywords and wildcards cover no addresses."""
        if ":" in host or (host[-1:].isdigit() and host.rpartition(".")[2].isdigit()):  # no name is so
            return self.prefixes.covering(host)
        found = self.domains.covering(host)
        return self._pattern_for(host) if found is None else found

    def _pattern_for(self, host: str) -> str | None:
        for keyword in self.keywords:
            if keyword in host:
                return keyword
        for wildcard in self.wildcards:
            if wildcard.matches(host):
                return wildcard.text
        return None

    def entries(self) -> Iterator[Entry]:
        """Yields every entry, kind by kind, each kind in the order of the file; prefixes in that of their addresses."""
        for text, covers in self.domains.entries():
            yield Entry(EntryKind.DOMAIN, text, covers)
        for text in self.prefixes:
            yield Entry(EntryKind.PREFIX, text, Covers.HOST)
        for text in self.keywords:
            yield Entry(EntryKind.KEYWORD, text, Covers.HOST)
        for wildcard in self.wildcards:
            yield Entry(EntryKind.WILDCARD, wildcard.text, Covers.HOST)

    def __len__(self) -> int:
        return len(self.domains) + len(self.prefixes) + len(self.keywords) + len(self.wildcards)

    def __repr__(self) -> str:
        return f"<Matcher {len(self):,} entries>"


NO_ENTRIES = Matcher()
