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


def _ipv4_spelling(length: int) -> tuple[int, int, str]:
    place = max(0, length - 1) // 8
    hidden = 8 * (place + 1) - length
    return place, 255 >> hidden << hidden, ".0" * (3 - place) + (f"/{length}" if length < 32 else "")


_IPV4_SPELLINGS = [_ipv4_spelling(length) for length in range(33)]
"""By length: the last octet with bits of the prefix, which bits those are, and what is written after it."""


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
        a third of a microsecond for each length that occurs."""
        if host.rpartition(".")[2].isdigit():  # no name ends so (`wire.hostnames`)
            return self._covering_ipv4(host)
        if (address := literal(host)) is None:
            return None
        return self._covering_ipv6(int(address))

    def _covering_ipv4(self, host: str) -> str | None:
        a, b, c, _ = octets = host.split(".")
        before = ("", f"{a}.", f"{a}.{b}.", f"{a}.{b}.{c}.")
        values = list(map(int, octets))
        heads, last = self.texts.heads, len(self.texts.heads) - 1
        for length in self.lengths.get(4, ()):
            place, mask, after = _IPV4_SPELLINGS[length]
            text = f"{before[place]}{values[place] & mask}{after}"
            if heads[hash(text) & last] and text in self.texts:  # of four prefixes that are none, three end here
                return text
        return None

    def _covering_ipv6(self, number: int) -> str | None:
        groups = [number >> shift & 0xFFFF for shift in (112, 96, 80, 64)]
        a, b, c, _ = groups
        before = ("", f"{a:x}:", f"{a:x}:{b:x}:", f"{a:x}:{b:x}:{c:x}:")
        heads, last = self.texts.heads, len(self.texts.heads) - 1
        for length in self.lengths.get(6, ()):
            place, hidden = (length - 1) // 16, -length % 16
            if 0 < length <= 64 and (group := groups[place] >> hidden << hidden) and a:
                text = f"{before[place]}{group:x}::/{length}"  # the zeros at the end are the longest run
            else:
                text = spelled_prefix(number >> (128 - length) << (128 - length), length, version=6)
            if heads[hash(text) & last] and text in self.texts:
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
