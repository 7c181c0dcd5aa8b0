"""Matches hosts against the entries of a list: domains, address prefixes, keywords and wildcards.

A list has two matchers, for its entries and for its exceptions. There may be a million domains and prefixes. Keywords
and wildcards are few, since each is tried for each host, in time linear in the host's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers, DomainSet
from proxy.routing.prefix_set import NO_PREFIXES, PrefixSet


class EntryKind(StrEnum):
    """The kinds of entries."""

    DOMAIN = "domain"
    PREFIX = "prefix"
    KEYWORD = "keyword"
    WILDCARD = "wildcard"


class Entry(NamedTuple):
    """One entry of a list, whatever its format: `Entry(DOMAIN, "example.com", Covers.SITE)`."""

    kind: EntryKind
    text: str
    """In canonical spelling. A prefix is `192.0.2.0/24`; a single address has no length."""
    covers: Covers
    """HOST for all kinds but domains."""


@frozen_dataclass
class Wildcard:
    """A name with stars. A star matches any characters, also none and dots; with `by_label`, one whole label."""

    text: str
    by_label: bool
    parts: tuple[str, ...]
    """The texts between the stars; with `by_label`, the labels."""

    @staticmethod
    def of(text: str, *, by_label: bool = False) -> Wildcard:
        """Parses a wildcard in lower case. Raises ValueError when it has no star."""
        if "*" not in text:
            raise ValueError("a wildcard needs a star")
        return Wildcard(text, by_label, tuple(text.split("." if by_label else "*")))

    def matches(self, host: str) -> bool:
        """Returns whether it matches a whole host in canonical spelling."""
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
        for part in inner:  # the first place of each part is the best, so nothing is tried twice
            place = host.find(part, at, end)
            if place < 0:
                return False
            at = place + len(part)
        return at <= end


NO_DOMAINS = DomainSet.of(())


@frozen_dataclass
class Matcher:
    """The entries of a list, or its exceptions."""

    domains: DomainSet = NO_DOMAINS
    prefixes: PrefixSet = NO_PREFIXES
    keywords: tuple[str, ...] = ()
    """Parts of names."""
    wildcards: tuple[Wildcard, ...] = ()

    def contains(self, host: str) -> bool:
        """Whether an entry covers a host in canonical spelling; faster than `covering`."""
        if ":" in host or (host[-1:].isdigit() and host.rpartition(".")[2].isdigit()):  # an address
            return self.prefixes.contains(host)
        return bool(self.domains.entry_for(host)) or self._pattern_for(host) is not None

    def covering(self, host: str) -> str | None:
        """Returns the text of the entry that covers a host in canonical spelling: the most specific domain or prefix,
        else the first keyword or wildcard; None: none does. Keywords and wildcards cover no addresses."""
        if ":" in host or (host[-1:].isdigit() and host.rpartition(".")[2].isdigit()):  # an address
            return self.prefixes.covering(host)
        domain = self.domains.covering(host)
        return self._pattern_for(host) if domain is None else domain

    def _pattern_for(self, host: str) -> str | None:
        for keyword in self.keywords:
            if keyword in host:
                return keyword
        for wildcard in self.wildcards:
            if wildcard.matches(host):
                return wildcard.text
        return None

    def entries(self) -> Iterator[Entry]:
        """Yields every entry, kind by kind, each kind in the order of the file; prefixes in the order of addresses."""
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
