"""A set of domains that stays small and quick with a million of them.

A Python set of as many strings takes 100 MiB, and stops every thread for 50 ms to grow and again to be freed. Here all
names stand in one text, a line each, and a hash table of chains says where: a few blocks of memory, which are filled in
short steps and freed at once. An answer is exact: what is compared is the name, and not its hash.

Published lists mean different things by a name: itself, what is below it, or both. So a byte of each entry says which.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from enum import IntFlag
from itertools import accumulate

from proxy.model.frozen_dataclass import frozen_dataclass


class Covers(IntFlag):
    """Which hosts an entry of a list stands for."""

    HOST = 1
    """The name itself."""
    SUBDOMAINS = 2
    """Every name below it, at any depth."""
    SITE = HOST | SUBDOMAINS
    CHILDREN = 4
    """The names one label below it: what `*.example.com` means in some formats."""


_CHARACTERS_PER_CHAIN = 4
"""So there are four chains for each domain of usual length, and four hosts in five that are not listed are told by one
number. With two, memory shrinks by 8 bytes a domain, and such a look-up takes a fifth longer (measured)."""

_CHAINS_AT_ONCE = 1 << 16
"""How many are made in one call: all of a million domains would take 10 ms, in which other threads wait."""


@frozen_dataclass
class DomainSet(Collection[str]):
    """Domains, each in its canonical spelling (`wire.hostnames`), with what it covers. Made by `DomainSetBuilder`.

    Entries have numbers from 1 on; 0 is none. They stand in `text` in this order, a line each: entry `n` begins at
    `starts[n] + n` and has `starts[n + 1] - starts[n]` characters.
    """

    text: bytearray
    starts: array[int]
    """The characters of all entries before each, and in the end of all."""
    heads: array[int]
    """By hash, the first entry of a chain. Their number is a power of two."""
    nexts: array[int]
    """By entry, the next one in its chain."""
    covers: bytearray
    """By entry, the flags of `Covers`. 0: its domain stands in `text` before, with the flags of both."""
    count: int
    """Different domains; in `text` some may stand twice."""
    has_dotless: bool
    """Whether a name of one label is among them. Else the last label of a host is not looked up."""

    @staticmethod
    def of(domains: Collection[str], covers: Covers = Covers.SITE) -> DomainSet:
        """Returns a set of these domains, each of which covers the same."""
        builder = DomainSetBuilder(sum(map(len, domains)))
        builder.add(tuple(domains), covers)
        return builder.build()

    def covering(self, host: str) -> str | None:
        """Returns the most specific entry that covers the host; None when none does. An address has no parent here: no
        entry is a part of one."""
        heads, last = self.heads, len(self.heads) - 1
        domain, wanted = host, 1  # Covers.HOST; as a plain number, which is quicker
        while "." in domain or (domain and self.has_dotless):
            entry = heads[hash(domain) & last]
            while entry:
                start, end = self.starts[entry], self.starts[entry + 1]
                if end - start == len(domain) and self.text.startswith(domain.encode(), start + entry):
                    if self.covers[entry] & wanted:
                        return domain
                    break
                entry = self.nexts[entry]
            domain = domain.partition(".")[2]
            wanted = 6 if wanted == 1 else 2  # SUBDOMAINS | CHILDREN, then SUBDOMAINS
        return None

    def covers_of(self, domain: str) -> Covers:
        """Returns what the entry of exactly this name covers; Covers(0) when the name is no entry."""
        entry = self.heads[hash(domain) & (len(self.heads) - 1)]
        while entry:
            start, end = self.starts[entry], self.starts[entry + 1]
            if end - start == len(domain) and self.text.startswith(domain.encode(), start + entry):
                return Covers(self.covers[entry])
            entry = self.nexts[entry]
        return Covers(0)

    def counts(self) -> dict[Covers, int]:
        """Returns how many domains cover each."""
        found = {Covers(flags): self.covers.count(flags) for flags in range(1, 8)}
        return {covers: count for covers, count in found.items() if count}

    def entries(self) -> Iterator[tuple[str, Covers]]:
        """Yields each domain once, with what it covers, in the order in which they were added."""
        starts = self.starts
        for entry, flags in enumerate(self.covers):
            if flags:
                yield self.text[starts[entry] + entry : starts[entry + 1] + entry].decode(), Covers(flags)

    def __contains__(self, domain: object) -> bool:
        return isinstance(domain, str) and bool(self.covers_of(domain))

    def __iter__(self) -> Iterator[str]:
        return (domain for domain, _ in self.entries())

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<DomainSet {self.count:,} domains>"


class DomainSetBuilder:
    """Collects the domains of a DomainSet. `size`: the characters of all of them, about; more only take longer."""

    def __init__(self, size: int) -> None:
        chains = 1 << (size // _CHARACTERS_PER_CHAIN).bit_length()
        zeros = array("I", (0,)) * min(chains, _CHAINS_AT_ONCE)
        self._heads = array("I")
        while len(self._heads) < chains:
            self._heads += zeros
        self._text = bytearray(b"\n")  # entry 0
        self._starts = array("I", (0, 0))  # of entry 0, and of the first to come
        self._nexts = array("I", (0,))
        self._covers = bytearray(1)
        self._count = 0
        self._has_dotless = False

    def add(self, domains: Sequence[str], covers: Covers | bytes = Covers.SITE) -> None:
        """Adds domains in canonical spelling, none of them empty. `covers` is what each of them covers, or a byte of
        flags for each. One that is added again covers what both say. Takes half a microsecond for each."""
        if not domains:
            return
        text, starts, heads, nexts, last = self._text, self._starts, self._heads, self._nexts, len(self._heads) - 1
        flags = self._covers
        flags += covers if isinstance(covers, bytes) else bytes((covers,)) * len(domains)
        text += ("\n".join(domains) + "\n").encode()
        starts.extend(accumulate(map(len, domains), initial=starts.pop()))
        for number, domain in enumerate(domains, len(nexts)):
            at = hash(domain) & last
            entry = heads[at]
            while entry:
                start, end = starts[entry], starts[entry + 1]
                if end - start == len(domain) and text.startswith(domain.encode(), start + entry):
                    break
                entry = nexts[entry]
            if entry:
                nexts.append(0)
                flags[entry] |= flags[number]
                flags[number] = 0
            else:
                nexts.append(heads[at])
                heads[at] = number
                self._count += 1
                if "." not in domain:
                    self._has_dotless = True

    def build(self) -> DomainSet:
        """Returns the set, which shares its memory with this: nothing can be added any more."""
        return DomainSet(
            self._text, self._starts, self._heads, self._nexts, self._covers, self._count, self._has_dotless
        )

    def __len__(self) -> int:
        return self._count
