"""Which hosts a list names: by domain, address prefix, keyword and wildcard.

One matcher holds the entries of one polarity: what a list names, or its exceptions. Domains and prefixes may be a
million. Keywords and wildcards are few, since each is tried for each host; both take time linear in the host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from proxy.model import literal
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers, DomainSet


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
class PrefixSet:
    """IP prefixes of both families."""

    texts: DomainSet
    """Each as `spelled_prefix` spells it. A hash table of texts is quick to fill in short steps; sorted numbers are
    not."""
    lengths: Mapping[int, tuple[int, ...]]
    """By IP version the lengths that occur, longest first. Each is one look-up."""

    def covering(self, host: str) -> str | None:
        """Returns the longest prefix that contains the address; None when none does, or when the host is a name. Takes
        half a microsecond (IPv6: some) for each length that occurs."""
        if (address := literal(host)) is None:
            return None
        number, bits, version = int(address), address.max_prefixlen, address.version
        heads, last = self.texts.heads, len(self.texts.heads) - 1
        for length in self.lengths.get(version, ()):
            hidden = bits - length
            at = number >> hidden << hidden
            if version == 4 and hidden:  # as `spelled_prefix` does it, without a call
                text = f"{at >> 24}.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}/{length}"
            else:
                text = spelled_prefix(at, length, version=version)
            if heads[hash(text) & last] and text in self.texts:  # of four prefixes that are none, three end here
                return text
        return None

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"<PrefixSet {len(self):,} prefixes>"


def spelled_prefix(network: int, length: int, *, version: int) -> str:
    """`192.0.2.0/24`; `192.0.2.1` for one address. `network` has no bits set beyond `length`."""
    if version == 6:
        address = str(ipaddress.IPv6Address(network))
        return address if length == 128 else f"{address}/{length}"
    address = f"{network >> 24}.{network >> 16 & 255}.{network >> 8 & 255}.{network & 255}"
    return address if length == 32 else f"{address}/{length}"


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
NO_PREFIXES = PrefixSet(NO_DOMAINS, {})


@frozen_dataclass
class Matcher:
    """The entries of one polarity."""

    domains: DomainSet = NO_DOMAINS
    prefixes: PrefixSet = NO_PREFIXES
    keywords: tuple[str, ...] = ()
    """Parts of names."""
    wildcards: tuple[Wildcard, ...] = ()

    def covering(self, host: str) -> str | None:
        """Returns the entry that covers a host in canonical spelling, None when none does: of domains and prefixes the
        most specific, of keywords and wildcards the first. Keywords and wildcards cover no addresses."""
        found = self.domains.covering(host)
        if found is not None:
            return found
        if self.prefixes.lengths and (found := self.prefixes.covering(host)) is not None:
            return found
        if (self.keywords or self.wildcards) and literal(host) is None:
            for keyword in self.keywords:
                if keyword in host:
                    return keyword
            for wildcard in self.wildcards:
                if wildcard.matches(host):
                    return wildcard.text
        return None

    def entries(self) -> Iterator[Entry]:
        """Yields every entry, kind by kind, each kind in the order of the file."""
        for text, covers in self.domains.entries():
            yield Entry(EntryKind.DOMAIN, text, covers)
        for text in self.prefixes.texts:
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
