"""A set of domains that stays small and quick with a million of them.

A Python set of as many strings takes 100 MiB, and stops every thread for 50 ms to grow and again to be freed. Here all
names stand in one text, and a hash table says where: two blocks of memory, which are filled in short steps and freed at
once. An answer is exact: what is compared is the name, and not its hash. Memory far apart is what takes time, so a name
that is not listed mostly costs one number of the table, and one that is listed a place of the text too.

Published lists mean different things by a name: itself, what is below it, or both. So a byte in front of each name says
which.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from enum import IntFlag
from itertools import chain

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


_CHARACTERS_PER_SLOT = 3
"""So there are five to ten slots for each domain of usual length: what is not listed seldom finds its slot taken."""

_SLOTS_AT_ONCE = 1 << 16
"""How many are made in one call: all of a million domains would take 10 ms, in which other threads wait."""

_CHARACTERS_AT_ONCE = 1 << 16
"""Of the text that are read again in one call."""

TEXT_LIMIT = 1 << 27
"""Characters of all domains. With numbers of more than 30 bits Python calculates in twice the time."""

_COVERS = [Covers(flags) for flags in range(8)]
FLAGS = bytes(range(8))
FLAGS_TO_LINES = bytes.maketrans(FLAGS, b"\n" * len(FLAGS))
NO_FLAGS = bytes(range(8, 256))
"""For `translate`: what stands in `marked`."""

_NO_FLAGS_NOR_DOT = NO_FLAGS.replace(b".", b"")
_ANY_FLAGS = re.compile(rb"[\0-\7]")


@frozen_dataclass
class DomainSet(Collection[str]):
    """Domains, each in its canonical spelling (`wire.hostnames`), with what it covers. Made by `DomainSetBuilder`."""

    text: bytearray
    """The domains in the order in which they were added, as `marked`, and a 0. Instead of flags, one that stands before
    already has a 0."""
    slots: array[int]
    """By hash: where a domain begins in the text; 0 for none. What finds its slot taken is in the next free one. The
    number of slots is a power of two."""
    last: int
    """The last slot: which bits of a hash are used."""
    count: int
    """Different domains."""
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
        text, slots, last = self.text, self.slots, self.last
        domain, dot, end = host, host.find("."), -1 if self.has_dotless else host.rfind(".")
        while domain:
            slot = hash(domain) & last
            while place := slots[slot]:
                if text.startswith(domain.encode(), place) and text[place + len(domain)] < 8:
                    flags = text[place - 1]  # plain numbers are quicker: 1 HOST, 2 SUBDOMAINS, 4 CHILDREN
                    is_child = flags & 4 and host.find(".") + 1 + len(domain) == len(host)
                    if flags & 1 if domain is host else flags & 2 or is_child:
                        return domain
                    break
                slot = slot + 1 & last
            if dot == end:
                return None
            domain = host[dot + 1 :]
            dot = host.find(".", dot + 1)
        return None

    def covers_of(self, domain: str) -> Covers:
        """Returns what the entry of exactly this name covers; Covers(0) when the name is no entry."""
        place = _found(self.text, self.slots, domain)[1]
        return _COVERS[self.text[place - 1]] if place else _COVERS[0]

    def counts(self) -> dict[Covers, int]:
        """Returns how many domains cover each."""
        found = dict.fromkeys(range(1, 8), 0)
        for start in range(0, len(self.text), _CHARACTERS_AT_ONCE):
            flags = self.text[start : start + _CHARACTERS_AT_ONCE].translate(None, NO_FLAGS)
            for each in found:
                found[each] += flags.count(each)
        return {Covers(flags): count for flags, count in found.items() if count}

    def entries(self) -> Iterator[tuple[str, Covers]]:
        """Yields each domain once, with what it covers, in the order in which they were added."""
        return ((domain, _COVERS[self.text[place - 1]]) for place, domain in _names(self.text))

    def __contains__(self, domain: object) -> bool:
        return isinstance(domain, str) and bool(self.covers_of(domain))

    def __iter__(self) -> Iterator[str]:
        return (domain for domain, _ in self.entries())

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<DomainSet {self.count:,} domains>"


def marked(domains: Sequence[str], flags: bytes) -> bytes:
    """Returns domains as one text, each behind the byte of its flags of `Covers`."""
    return "".join(chain.from_iterable(zip(flags.decode(), domains, strict=True))).encode()


def _free_slots(least: int) -> array[int]:
    """Returns so many free slots or more, up to twice as many. Large pages would save the processor most of its search
    for them, but are no choice: a virtual machine that gave its free memory back takes 9 ms for each, in which other
    threads wait."""
    number = 1 << least.bit_length()
    zeros, slots = array("I", (0,)) * min(number, _SLOTS_AT_ONCE), array("I")
    while len(slots) < number:
        slots += zeros
    return slots


def _found(text: bytearray, slots: array[int], domain: str) -> tuple[int, int]:
    """Returns the slot of a domain and its place in the text; when the domain is not there, the free slot for it and
    0."""
    last, name = len(slots) - 1, domain.encode()
    slot = hash(domain) & last
    while (place := slots[slot]) and not (text.startswith(name, place) and text[place + len(name)] < 8):
        slot = slot + 1 & last
    return slot, place


def _names(text: bytearray) -> Iterator[tuple[int, str]]:
    """Yields where each domain begins in the text, and the domain; each once."""
    start = 0
    while start < len(text):
        end = found.start() if (found := _ANY_FLAGS.search(text, start + _CHARACTERS_AT_ONCE)) else len(text)
        part = text[start:end]
        flags, domains = part.translate(None, NO_FLAGS), part.translate(FLAGS_TO_LINES).decode().split("\n")
        place = start
        for flag, domain in zip(flags, domains[1:], strict=True):
            place += 1
            if flag:
                yield place, domain
            place += len(domain)
        start = end


class DomainSetBuilder:
    """Collects the domains of a DomainSet. `size`: the characters of all of them, about; more only take longer."""

    def __init__(self, size: int) -> None:
        self._slots = _free_slots(size // _CHARACTERS_PER_SLOT)
        self._text = bytearray(b"\0")
        self._count = 0
        self._has_dotless = False

    def add(self, domains: Sequence[str], covers: Covers | bytes = Covers.SITE) -> None:
        """Adds domains in canonical spelling, none of them empty. `covers` is what each of them covers, or all of them
        as `marked`. One that is added again covers what both say. Takes half a microsecond for each. Raises
        OverflowError when they have more than TEXT_LIMIT characters, with those that were added before."""
        if not domains:
            return
        while 2 * (self._count + len(domains)) > len(self._slots):
            self._grow()
        names = covers if isinstance(covers, bytes) else f"{chr(covers)}{chr(covers).join(domains)}".encode()
        text, place = self._text, len(self._text) - 1
        if place + len(names) > TEXT_LIMIT:
            raise OverflowError("more domains than a set can hold")
        text[place:] = names + b"\0"
        if not self._has_dotless:
            self._has_dotless = b"\n\n" in names.translate(FLAGS_TO_LINES, _NO_FLAGS_NOR_DOT) + b"\n"
        slots, last, again = self._slots, len(self._slots) - 1, 0
        for domain in domains:
            place += 1
            slot = hash(domain) & last
            while first := slots[slot]:
                if text.startswith(domain.encode(), first) and text[first + len(domain)] < 8:
                    text[first - 1] |= text[place - 1]
                    text[place - 1] = 0
                    again += 1
                    break
                slot = slot + 1 & last
            else:
                slots[slot] = place
            place += len(domain)
        self._count += len(domains) - again

    def build(self) -> DomainSet:
        """Returns the set, which shares its memory with this: nothing can be added any more."""
        return DomainSet(self._text, self._slots, len(self._slots) - 1, self._count, self._has_dotless)

    def _grow(self) -> None:
        """Doubles the slots: there are more names than the size told."""
        slots = self._slots = _free_slots(len(self._slots))
        last = len(slots) - 1
        for place, domain in _names(self._text):
            slot = hash(domain) & last
            while slots[slot]:
                slot = slot + 1 & last
            slots[slot] = place

    def __len__(self) -> int:
        return self._count
