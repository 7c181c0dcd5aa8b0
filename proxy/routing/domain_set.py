"""A set of domains that stays small and fast with a million domains.

A Python set of a million strings takes 100 MiB, and stops all threads for 50 ms to grow and again to be freed. Here all
names stand in one text, and a hash table has their places: two blocks of memory, filled in short steps and freed at
once. Names are compared, not only hashes, so a result is exact. A cache miss of the processor takes most of the time: a
name that is not listed usually costs one, in the table, and a listed name a second one, in the text.

A name in a published list means the host, its subdomains, or both, so the table has that too.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from enum import IntFlag
from operator import itemgetter

from proxy.model.frozen_dataclass import frozen_dataclass


class Covers(IntFlag):
    """The hosts that an entry of a list covers."""

    HOST = 1
    """The name itself."""
    SUBDOMAINS = 2
    """Every name below it, at any depth."""
    SITE = HOST | SUBDOMAINS
    CHILDREN = 4
    """The names one label below it, as `*.example.com` in some formats."""


_CHARACTERS_PER_SLOT = 3
"""A domain of usual length then has five to ten slots, so the slot of a name that is not listed is seldom taken."""

_SLOTS_AT_ONCE = 1 << 16
"""Slots that are made in one call. Those of a million domains together would take 10 ms, in which other threads
wait."""

_CHARACTERS_AT_ONCE = 1 << 16
"""Characters of the text that `placed` reads in one call."""

_PLACE_BITS = 27
TEXT_LIMIT = 1 << _PLACE_BITS
"""Characters of all domains. An entry of the table is one number: the place of a domain in the text, and above these
bits the flags of `Covers`. With numbers of more than 30 bits Python takes twice the time."""

_PLACE = TEXT_LIMIT - 1
_COVERS = [Covers(flags) for flags in range(8)]
_MARKS = [flags << _PLACE_BITS for flags in range(8)]
"""The flags of `Covers` as bits of an entry."""

_NO_DOT_NOR_LINE_FEED = bytes(set(range(256)) - set(b".\n"))


@frozen_dataclass
class DomainSet(Collection[str]):
    """Domains in canonical spelling (`wire.hostnames`), each with the hosts that it covers. Made by
    `DomainSetBuilder`."""

    text: bytearray
    """The domains in the order of their addition, each with a line feed after it. A domain that was added twice is
    there twice; the entry has its first place."""
    slots: array[int]
    """By hash, the entry of a domain; 0: the slot is free. If a domain's slot is taken, it is in the next free one. The
    number of slots is a power of two."""
    last: int
    """The last slot, which is also the mask for a hash."""
    numbers: Sequence[int]
    """The numbers of domains, by the flags of `Covers`."""
    has_dotless: bool
    """True if the set has a name of one label. Otherwise the last label of a host is not looked up."""
    has_hosts_only: bool
    """True if each entry covers only the name itself, as in a hosts file. Then no parent of a host is looked up."""

    @staticmethod
    def of(domains: Collection[str], covers: Covers = Covers.SITE) -> DomainSet:
        """Returns a set of these domains, all with the same flags."""
        builder = DomainSetBuilder(sum(map(len, domains)))
        builder.add(tuple(domains), covers)
        return builder.build()

    def covering(self, host: str) -> str | None:
        """Returns the most specific entry that covers the host; None: none does. No entry is a parent of an address."""
        if not self.entry_for(host):
            return None
        name, wanted = host, Covers.HOST
        while not self.covers_of(name) & wanted:
            is_child, name = name is host, name.partition(".")[2]
            wanted = Covers.SUBDOMAINS | Covers.CHILDREN if is_child else Covers.SUBDOMAINS
        return name

    def entry_for(self, host: str) -> int:
        """Returns an entry of the table that covers the host; 0: none does. Looks up the shortest name first, since
        most hosts on a list are below a name of two labels."""
        text, slots, last = self.text, self.slots, self.last
        dot = 0 if self.has_hosts_only else len(host) if self.has_dotless else host.rfind(".")
        while dot >= 0:
            dot = host.rfind(".", 0, dot)
            name = host[dot + 1 :]
            slot = hash(name) & last
            while entry := slots[slot]:
                if text.startswith(f"{name}\n".encode(), entry & 0x7FFFFFF):  # _PLACE; plain numbers are faster
                    # SUBDOMAINS in an entry for a parent, else HOST; or CHILDREN
                    if entry & (0x10000000 if dot >= 0 else 0x8000000) or (
                        entry & 0x20000000 and 0 < dot == host.find(".")
                    ):
                        return entry
                    break
                slot = slot + 1 & last
        return 0

    def covers_of(self, domain: str) -> Covers:
        """Returns the flags of the entry for exactly this name; Covers(0): there is none."""
        return _COVERS[self.slots[self._slot_of(domain)] >> _PLACE_BITS]

    def _slot_of(self, domain: str) -> int:
        """Returns the slot with the entry for exactly this name; a free slot if there is none."""
        name, slot = f"{domain}\n".encode(), hash(domain) & self.last
        while (entry := self.slots[slot]) and not self.text.startswith(name, entry & _PLACE):
            slot = slot + 1 & self.last
        return slot

    def counts(self) -> dict[Covers, int]:
        """Returns the numbers of domains by their flags."""
        return {covers: count for covers, count in zip(_COVERS, self.numbers, strict=True) if count}

    def entries(self) -> Iterator[tuple[str, Covers]]:
        """Yields each domain once, with its flags, in the order in which they were added."""
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
    """Returns `least` to twice as many free slots. Large pages would save most of the processor's page walks, but they
    are not used: a virtual machine that has returned its free memory takes 9 ms for each, in which other threads
    wait."""
    number = 1 << least.bit_length()
    zeros, slots = array("I", (0,)) * min(number, _SLOTS_AT_ONCE), array("I")
    while len(slots) < number:
        slots += zeros
    return slots


class DomainSetBuilder:
    """Collects the domains of a DomainSet. `size` is about the number of their characters; if there are more, `add`
    only takes longer."""

    def __init__(self, size: int) -> None:
        self._slots = _free_slots(size // _CHARACTERS_PER_SLOT)
        self._text = bytearray(b"\n")  # no domain is at the place 0, since an entry of 0 is a free slot
        self._numbers = [0] * len(_COVERS)
        self._has_dotless = False

    def add(self, domains: Sequence[str], covers: Covers | bytes = Covers.SITE, *, lines: str = "") -> None:
        """Adds domains in canonical spelling, none of them empty. `covers` is the flags for all of them, or one byte of
        flags for each; `lines` is the same domains as lines of one text, if the caller has that. A domain that is added
        twice gets the flags of both. Takes a third of a microsecond a domain. Raises OverflowError when all domains
        together have more than TEXT_LIMIT characters."""
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
        """Returns the set. It shares memory with the builder, so nothing can be added after this."""
        hosts_only = len(self) == self._numbers[Covers.HOST]
        return DomainSet(self._text, self._slots, len(self._slots) - 1, self._numbers, self._has_dotless, hosts_only)

    def _grow(self) -> None:
        """Doubles the slots: there are more names than `size` announced."""
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
