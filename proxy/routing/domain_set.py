"""A set of domains that stays small and quick with a million of them.

A Python set of as many strings takes 100 MiB, and stops every thread for 50 ms to grow and again to be freed. Here all
names stand in one text, and a hash table says where: two blocks of memory, which are filled in short steps and freed at
once. An answer is exact: what is compared is the name, and not its hash. Memory far apart is what takes time, so a name
that is not listed mostly costs one number of the table, and one that is listed a place of the text too.

Published lists mean different things by a name: itself, what is below it, or both. So the table says that as well.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from enum import IntFlag
from operator import itemgetter

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

_PLACE_BITS = 27
TEXT_LIMIT = 1 << _PLACE_BITS
"""Characters of all domains. An entry of the table is one number, where a domain begins in the text and above that what
it covers; with numbers of more than 30 bits Python calculates in twice the time."""

_PLACE = TEXT_LIMIT - 1
_COVERS = [Covers(flags) for flags in range(8)]
_MARKS = [flags << _PLACE_BITS for flags in range(8)]
"""What an entry has of them."""

_NO_DOT_NOR_LINE_FEED = bytes(set(range(256)) - set(b".\n"))


@frozen_dataclass
class DomainSet(Collection[str]):
    """Domains, each in its canonical spelling (`wire.hostnames`), with what it covers. Made by `DomainSetBuilder`."""

    text: bytearray
    """The domains in the order in which they were added, each with a line feed after it. One that was added again
    stands there again, and no entry says so."""
    slots: array[int]
    """By hash: the entry of a domain; 0 for none. What finds its slot taken is in the next free one. The number of
    slots is a power of two."""
    last: int
    """The last slot: which bits of a hash are used."""
    numbers: Sequence[int]
    """How many domains cover what, by the flags of `Covers`."""
    has_dotless: bool
    """Whether a name of one label is among them. Else the last label of a host is not looked up."""
    has_hosts_only: bool
    """Whether each covers the name itself only, as in a hosts file. Then no parent of a host is looked up."""

    @staticmethod
    def of(domains: Collection[str], covers: Covers = Covers.SITE) -> DomainSet:
        """Returns a set of these domains, each of which covers the same."""
        builder = DomainSetBuilder(sum(map(len, domains)))
        builder.add(tuple(domains), covers)
        return builder.build()

    def covering(self, host: str) -> str | None:
        """Returns the most specific entry that covers the host; None when none does. An address has no parent here: no
        entry is a part of one."""
        if not self.entry_for(host):
            return None
        name, wanted = host, Covers.HOST
        while not self.covers_of(name) & wanted:
            is_child, name = name is host, name.partition(".")[2]
            wanted = Covers.SUBDOMAINS | Covers.CHILDREN if is_child else Covers.SUBDOMAINS
        return name

    def entry_for(self, host: str) -> int:
        """Returns the number of an entry in the table that covers the host; 0 when none does. Begins with the shortest
        name that is looked up, since most hosts on a list are below a name of two labels."""
        text, slots, last = self.text, self.slots, self.last
        dot = 0 if self.has_hosts_only else len(host) if self.has_dotless else host.rfind(".")
        while dot >= 0:
            dot = host.rfind(".", 0, dot)
            name = host[dot + 1 :]
            slot = hash(name) & last
            while entry := slots[slot]:
                if text.startswith(f"{name}\n".encode(), entry & 0x7FFFFFF):  # plain numbers are quicker: _PLACE
                    # SUBDOMAINS in an entry, else HOST; or CHILDREN
                    if entry & (0x10000000 if dot >= 0 else 0x8000000) or (
                        entry & 0x20000000 and 0 < dot == host.find(".")
                    ):
                        return entry
                    break
                slot = slot + 1 & last
        return 0

    def covers_of(self, domain: str) -> Covers:
        """Returns what the entry of exactly this name covers; Covers(0) when the name is no entry."""
        return _COVERS[self.slots[self._slot_of(domain)] >> _PLACE_BITS]

    def _slot_of(self, domain: str) -> int:
        """Returns the slot with the entry of exactly this name; a free one when there is none."""
        name, slot = f"{domain}\n".encode(), hash(domain) & self.last
        while (entry := self.slots[slot]) and not self.text.startswith(name, entry & _PLACE):
            slot = slot + 1 & self.last
        return slot

    def counts(self) -> dict[Covers, int]:
        """Returns how many domains cover each."""
        return {covers: count for covers, count in zip(_COVERS, self.numbers, strict=True) if count}

    def entries(self) -> Iterator[tuple[str, Covers]]:
        """Yields each domain once, with what it covers, in the order in which they were added."""
        return ((domain, _COVERS[entry >> _PLACE_BITS]) for domain, entry in self.placed())

    def placed(self) -> Iterator[tuple[str, int]]:
        """Yields each domain and its entry in the table."""
        place = 1
        while place < len(self.text):
            end = self.text.rindex(b"\n", 0, place + _CHARACTERS_AT_ONCE)
            for domain in self.text[place:end].decode().split("\n"):
                entry = self.slots[self._slot_of(domain)]
                if entry & _PLACE == place:  # else it was added again
                    yield domain, entry
                place += len(domain) + 1

    def __contains__(self, domain: object) -> bool:
        return isinstance(domain, str) and bool(self.covers_of(domain))

    def __iter__(self) -> Iterator[str]:
        return (domain for domain, _ in self.entries())

    def __len__(self) -> int:
        return sum(self.numbers)

    def __repr__(self) -> str:
        return f"<DomainSet {len(self):,} domains>"


def _free_slots(least: int) -> array[int]:
    """Returns so many free slots or more, up to twice as many. Large pages would save the processor most of its search
    for them, but are no choice: a virtual machine that gave its free memory back takes 9 ms for each, in which other
    threads wait."""
    number = 1 << least.bit_length()
    zeros, slots = array("I", (0,)) * min(number, _SLOTS_AT_ONCE), array("I")
    while len(slots) < number:
        slots += zeros
    return slots


class DomainSetBuilder:
    """Collects the domains of a DomainSet. `size`: the characters of all of them, about; more only take longer."""

    def __init__(self, size: int) -> None:
        self._slots = _free_slots(size // _CHARACTERS_PER_SLOT)
        self._text = bytearray(b"\n")  # no domain is at the place 0, which an entry has for none
        self._numbers = [0] * len(_COVERS)
        self._has_dotless = False

    def add(self, domains: Sequence[str], covers: Covers | bytes = Covers.SITE, *, lines: str = "") -> None:
        """Adds domains in canonical spelling, none of them empty. `covers` is what all of them cover, or the flags of
        each; `lines` is all of them, one a line, where the caller has such a text. One that is added again covers what
        both say. Takes a third of a microsecond for each. Raises OverflowError when they have more than TEXT_LIMIT
        characters, with those that were added before."""
        if not domains:
            return
        names = (lines or "\n".join(domains)).encode() + b"\n"
        text, place = self._text, len(self._text)
        if place + len(names) > TEXT_LIMIT:
            raise OverflowError("more domains than a set can hold")
        while 2 * (len(self) + len(domains)) > len(self._slots):
            self._grow()
        text += names
        if not self._has_dotless:
            self._has_dotless = b"\n\n" in b"\n" + names.translate(None, _NO_DOT_NOR_LINE_FEED)
        flags, numbers = covers if isinstance(covers, bytes) else bytes((covers,)) * len(domains), self._numbers
        kinds = set(flags)
        for each in kinds:
            numbers[each] += flags.count(each)
        slots, last = self._slots, len(self._slots) - 1
        wanted = [hash(domain) & last for domain in domains]
        itemgetter(*wanted)(slots)  # in one C call, several misses of the cache overlap; below they are hits
        taken = []
        if len(kinds) == 1:  # nearly always, and the loop takes a sixth less time
            entry = place | _MARKS[flags[0]]
            for domain, slot in zip(domains, wanted, strict=True):
                if slots[slot]:
                    taken.append((domain, slot, entry))
                else:
                    slots[slot] = entry
                entry += len(domain) + 1
        else:
            for domain, slot, flag in zip(domains, wanted, flags, strict=True):
                if slots[slot]:
                    taken.append((domain, slot, place | _MARKS[flag]))
                else:
                    slots[slot] = place | _MARKS[flag]
                place += len(domain) + 1
        for domain, slot, entry in taken:
            name = f"{domain}\n".encode()
            while first := slots[slot]:
                if text.startswith(name, first & _PLACE):
                    slots[slot] = both = first | (entry & ~_PLACE)
                    for each, more in ((entry, -1), (first, -1), (both, 1)):
                        numbers[each >> _PLACE_BITS] += more
                    break
                slot = slot + 1 & last
            else:
                slots[slot] = entry

    def build(self) -> DomainSet:
        """Returns the set, which shares its memory with this: nothing can be added any more."""
        hosts_only = len(self) == self._numbers[Covers.HOST]
        return DomainSet(self._text, self._slots, len(self._slots) - 1, self._numbers, self._has_dotless, hosts_only)

    def _grow(self) -> None:
        """Doubles the slots: there are more names than the size told."""
        slots = _free_slots(len(self._slots))
        last = len(slots) - 1
        for domain, entry in self.build().placed():
            slot = hash(domain) & last
            while slots[slot]:
                slot = slot + 1 & last
            slots[slot] = entry
        self._slots = slots

    def __len__(self) -> int:
        return sum(self._numbers)
