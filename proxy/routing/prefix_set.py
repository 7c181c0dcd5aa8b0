"""A set of IP prefixes that stays small and quick with a million of them.

Two prefixes are apart, or one holds the other. So they stand in order of their first addresses, in arrays of numbers,
each with the number of the one around it: an address is in the last prefix that begins before it, or in one around
that. A million takes 9 bytes each, and for IPv6 21. They come in any order and are sorted in short steps, since other
threads wait while Python sorts: in runs of some thousand, which are merged a part at a time.
"""

from __future__ import annotations

import ipaddress
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from proxy.model import literal
from proxy.model.frozen_dataclass import frozen_dataclass

OCTETS = {str(number): number for number in range(256)}
"""The numbers of an IPv4 address by their one canonical spelling."""

_RUN = 8192
"""Prefixes that are sorted in one call, which takes two milliseconds."""

_SLOT_BITS = 12
"""IPv4 addresses are sought among those that share so many first bits: a search in a million halves 20 times."""

_LOW_64 = (1 << 64) - 1


def prefix_key(network: int, length: int) -> int:
    """Returns a prefix as one number: in order of these, each comes after those around it. `network` may have bits set
    beyond `length`, but the caller knows how many bits it has: they must be none."""
    return network << 8 | length


def spelled_prefix(network: int, length: int, *, version: int) -> str:
    """`192.0.2.0/24`; `192.0.2.1` for one address. `network` has no bits set beyond `length`."""
    if version == 6:
        address = str(ipaddress.IPv6Address(network))
        return address if length == 128 else f"{address}/{length}"
    address = f"{network >> 24}.{network >> 16 & 255}.{network >> 8 & 255}.{network & 255}"
    return address if length == 32 else f"{address}/{length}"


@frozen_dataclass
class _Nested:
    """The prefixes of one IP version in order. Their numbers are from 1 on; 0 is none."""

    firsts: array[int]
    """The first address of each, from number 1 on; of IPv6 its upper half."""
    rests: array[int]
    """Of IPv6 the lower half."""
    lengths: bytearray
    """By number."""
    parents: array[int]
    """By number, that of the longest prefix around it."""


@frozen_dataclass
class PrefixSet:
    """IP prefixes of both versions. Made by `PrefixSetBuilder`."""

    ipv4: _Nested
    ipv6: _Nested
    slots: array[int]
    """By the first bits of an IPv4 address, how many prefixes begin before; and in the end all."""
    shift: int
    """How far to shift an IPv4 address for its slot."""

    def find(self, host: str) -> int:
        """Returns the number of the longest prefix that contains the address; 0 when none does, or when the host is a
        name. Hosts are in canonical spelling; numbers of IPv6 are negative."""
        if ":" in host:
            return -self._find_ipv6(host)
        if not (host[-1:].isdigit() and host.rpartition(".")[2].isdigit()):  # no name ends so (`wire.hostnames`)
            return 0
        a, b, c, d = host.split(".")
        address = OCTETS[a] << 24 | OCTETS[b] << 16 | OCTETS[c] << 8 | OCTETS[d]
        known, slot = self.ipv4, address >> self.shift
        firsts = known.firsts
        number = bisect_right(firsts, address, self.slots[slot], self.slots[slot + 1])
        while number and (firsts[number - 1] ^ address) >> (32 - known.lengths[number]):
            number = known.parents[number]
        return number

    def covering(self, host: str) -> str | None:
        """Returns that prefix as `spelled_prefix` spells it; None when there is none."""
        number = self.find(host)
        return self._spelled(number) if number else None

    def _find_ipv6(self, host: str) -> int:
        known = self.ipv6
        if not known.firsts or (address := literal(host)) is None:
            return 0
        whole = int(address)
        upper, lower = whole >> 64, whole & _LOW_64
        number = bisect_right(known.firsts, upper)
        if number and known.firsts[number - 1] == upper:
            first = bisect_left(known.firsts, upper, 0, number)
            number = bisect_right(known.rests, lower, first, number)
        while number:
            network = known.firsts[number - 1] << 64 | known.rests[number - 1]
            if not (network ^ whole) >> (128 - known.lengths[number]):
                break
            number = known.parents[number]
        return number

    def _spelled(self, number: int) -> str:
        if number > 0:
            return spelled_prefix(self.ipv4.firsts[number - 1], self.ipv4.lengths[number], version=4)
        known = self.ipv6
        network = known.firsts[-number - 1] << 64 | known.rests[-number - 1]
        return spelled_prefix(network, known.lengths[-number], version=6)

    def __iter__(self) -> Iterator[str]:
        """Yields each once, in order: first those of IPv4."""
        numbers = chain(range(1, len(self.ipv4.firsts) + 1), range(-1, -len(self.ipv6.firsts) - 1, -1))
        return map(self._spelled, numbers)

    def __len__(self) -> int:
        return len(self.ipv4.firsts) + len(self.ipv6.firsts)

    def __repr__(self) -> str:
        return f"<PrefixSet {len(self):,} prefixes>"


class PrefixSetBuilder:
    """Collects the prefixes of a PrefixSet."""

    def __init__(self) -> None:
        self._families = {4: _Family(4), 6: _Family(6)}

    def add(self, version: int, keys: Iterable[int]) -> None:
        """Adds prefixes of an IP version, each as its `prefix_key`. Takes a quarter of a microsecond for each."""
        self._families[version].add(keys)

    def build(self) -> PrefixSet:
        """Returns the set. Nothing can be added any more. Takes most of a microsecond for each."""
        ipv4, ipv6 = (family.nested() for family in self._families.values())
        bits = min(_SLOT_BITS, len(ipv4.firsts).bit_length())
        slots = array("I", (0,))
        for slot in range(1, 1 << bits):
            slots.append(bisect_left(ipv4.firsts, slot << (32 - bits), slots[-1]))
        slots.append(len(ipv4.firsts))
        return PrefixSet(ipv4, ipv6, slots, 32 - bits)

    def __len__(self) -> int:
        """Different prefixes. Sorts all of them, which takes as long as to add them."""
        return sum(family.count() for family in self._families.values())


class _Family:
    """The keys of one IP version: runs, each of them sorted, one behind the other, and those that came since."""

    def __init__(self, version: int) -> None:
        self._bits = 32 if version == 4 else 128
        self._new: list[int] = []
        self._runs = self._no_runs()
        self._ends = [0]

    def add(self, keys: Iterable[int]) -> None:
        self._new.extend(keys)
        if len(self._new) >= _RUN:
            self._end_run()

    def count(self) -> int:
        """How many are different. Sorts all of them."""
        self._end_run()
        if len(self._ends) > 2:
            every = self._no_runs()
            for part in self.in_order():
                every.extend(part)
            self._free_runs()
            self._runs, self._ends = every, [0, len(every)]
        return len(self._runs)

    def in_order(self) -> Iterator[list[int]]:
        """Yields all keys in order, each once, in parts of about a run."""
        self._end_run()
        runs, starts = self._runs, self._ends[:-1]
        if not starts:
            return
        every = max(1, _RUN // len(starts) // 4)
        samples = sorted(chain.from_iterable(runs[start:end:every] for start, end in pairwise(self._ends)))
        for bound in (*samples[:: max(1, _RUN // every)][1:], None):
            part: list[int] = []
            for place, (start, end) in enumerate(zip(starts, self._ends[1:], strict=True)):
                until = end if bound is None else bisect_left(runs, bound, start, end)
                part += runs[start:until]
                starts[place] = until
            part.sort()  # quick, since it finds the runs in it
            yield list(dict.fromkeys(part))

    def nested(self) -> _Nested:
        """Returns them as a set has them. Nothing can be added any more."""
        bits = self._bits
        inside = [(1 << bits + 8 - length) - 1 for length in range(bits)] + [0]
        firsts, rests = array("I" if bits == 32 else "Q"), array("Q")
        lengths, parents = bytearray(1), array("I", (0,))
        until, parent = 1 << bits + 8, 0
        untils, around = [until], [parent]  # of each prefix around the next one: the greatest key that may be in it
        for part in self.in_order():
            found: list[int] = []
            for number, key in enumerate(part, len(parents)):
                while key > until:
                    untils.pop()
                    around.pop()
                    until, parent = untils[-1], around[-1]
                found.append(parent)
                if hidden := inside[key & 255]:
                    until, parent = key | hidden, number
                    untils.append(until)
                    around.append(number)
            parents.fromlist(found)
            lengths += bytes([key & 255 for key in part])
            if bits == 32:
                firsts.fromlist([key >> 8 for key in part])
            else:
                firsts.fromlist([key >> 72 for key in part])
                rests.fromlist([key >> 8 & _LOW_64 for key in part])
        self._free_runs()
        return _Nested(firsts, rests, lengths, parents)

    def _no_runs(self) -> array[int] | list[int]:
        return array("Q") if self._bits == 32 else []

    def _end_run(self) -> None:
        if self._new:
            self._runs.extend(sorted(self._new))
            self._ends.append(len(self._runs))
            self._new = []

    def _free_runs(self) -> None:
        """Frees the keys, a run at a time: other threads wait for each call, and a million numbers take 40 ms."""
        while self._runs:
            del self._runs[-_RUN:]
        self._ends = [0]


NO_PREFIXES = PrefixSetBuilder().build()
