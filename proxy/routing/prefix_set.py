"""A set of IP prefixes that stays small and quick with a million of them.

Two prefixes are disjoint, or one contains the other. So the prefixes that are in no other are disjoint ranges. Sorted,
an address is in the last range that begins before it, or in none. All prefixes are kept sorted as well, to find the
longest one around an address, which only pages and commands need. Of a million, each takes 13 bytes, for IPv6 49. They
come in any order and are sorted in runs of some thousand, which are merged: sorting blocks the other threads.
"""

from __future__ import annotations

import ipaddress
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, compress
from operator import ne
from typing import Any

from proxy.model import literal
from proxy.model.frozen_dataclass import frozen_dataclass

OCTETS = tuple({str(number): number << bits for number in range(256)} for bits in (24, 16, 8, 0))
"""For each octet of an IPv4 address: its value in the address, by its canonical spelling."""

_FIRST, _SECOND, _THIRD, _LAST = OCTETS

_RUN = 8192
"""The prefixes that one call sorts, in two milliseconds."""

_SLOT_BITS = 12
"""The first bits by which IPv4 addresses are divided into slots: without them, a search in a million takes 20 steps."""

_LOW_64 = (1 << 64) - 1


def prefix_key(network: int, length: int) -> int:
    """Returns a prefix as one number. In the order of these numbers, a prefix comes after those that contain it.
    `network` must have no bits set beyond `length`."""
    return network << 8 | length


def spelled_prefix(network: int, length: int, *, version: int) -> str:
    """Returns `192.0.2.0/24`, or `192.0.2.1` for one address. `network` must have no bits set beyond `length`."""
    if version == 6:
        address = str(ipaddress.IPv6Address(network))
        return address if length == 128 else f"{address}/{length}"
    address = f"{network >> 24}.{network >> 16 & 255}.{network >> 8 & 255}.{network & 255}"
    return address if length == 32 else f"{address}/{length}"


@frozen_dataclass
class _Sorted:
    """The prefixes of one IP version in the order of their first addresses, each before those that it contains, and the
    ranges of the prefixes that are in no other. An IPv6 address is in two arrays: its upper and its lower half."""

    lengths: bytearray
    firsts: array[int]
    """The first address of each prefix."""
    lower_firsts: array[int]
    begins: array[int]
    """The first address of each range."""
    lower_begins: array[int]
    ends: array[int]
    """And its last one."""
    lower_ends: array[int]


@frozen_dataclass
class PrefixSet:
    """IP prefixes of both versions. Made by `PrefixSetBuilder`."""

    ipv4: _Sorted
    ipv6: _Sorted
    slots: array[int]
    """By the first bits of an IPv4 address, how many ranges begin before; and in the end all."""
    shift: int
    """How far to shift an IPv4 address for its slot."""

    def contains(self, host: str) -> bool:
        """Returns whether an address is in one of the prefixes; False for a name. Hosts are in canonical spelling."""
        if ":" in host:
            return self._contains_ipv6(host)
        if not host[-1:].isdigit():
            return False
        try:
            a, b, c, d = host.split(".")
            address = _FIRST[a] + _SECOND[b] + _THIRD[c] + _LAST[d]
        except (KeyError, ValueError):  # a name that ends so
            return False
        slot = address >> self.shift
        place = bisect_right(self.ipv4.begins, address, self.slots[slot], self.slots[slot + 1])
        return place > 0 and self.ipv4.ends[place - 1] >= address

    def covering(self, host: str) -> str | None:
        """Returns the longest prefix that contains the address, as `spelled_prefix` spells it; None when there is none,
        or when the host is a name. It tries each length, which is too slow for each connection."""
        if not self.contains(host) or (address := literal(host)) is None:
            return None
        known, bits = (self.ipv4, 32) if address.version == 4 else (self.ipv6, 128)
        for length in range(bits, -1, -1):
            network = int(address) >> (bits - length) << (bits - length)
            place = _place(known, network, bits)
            while place < len(known.lengths) and _first(known, place, bits) == network:
                if known.lengths[place] == length:
                    return spelled_prefix(network, length, version=address.version)
                place += 1
        return None

    def _contains_ipv6(self, host: str) -> bool:
        known = self.ipv6
        if not known.begins or (address := literal(host)) is None:
            return False
        halves = int(address) >> 64, int(address) & _LOW_64
        place = bisect_right(known.begins, halves[0])
        if place and known.begins[place - 1] == halves[0]:
            first = bisect_left(known.begins, halves[0], 0, place)
            place = bisect_right(known.lower_begins, halves[1], first, place)
        return place > 0 and (known.ends[place - 1], known.lower_ends[place - 1]) >= halves

    def __iter__(self) -> Iterator[str]:
        """Yields each once, in order: first those of IPv4."""
        for known, version, bits in ((self.ipv4, 4, 32), (self.ipv6, 6, 128)):
            for place, length in enumerate(known.lengths):
                yield spelled_prefix(_first(known, place, bits), length, version=version)

    def __len__(self) -> int:
        return len(self.ipv4.lengths) + len(self.ipv6.lengths)

    def __repr__(self) -> str:
        return f"<PrefixSet {len(self):,} prefixes>"


def _first(known: _Sorted, place: int, bits: int) -> int:
    return known.firsts[place] if bits == 32 else known.firsts[place] << 64 | known.lower_firsts[place]


def _place(known: _Sorted, network: int, bits: int) -> int:
    """Returns the place of the first prefix that begins at this address or behind it."""
    if bits == 32:
        return bisect_left(known.firsts, network)
    upper = network >> 64
    first = bisect_left(known.firsts, upper)
    return bisect_left(known.lower_firsts, network & _LOW_64, first, bisect_right(known.firsts, upper, first))


class PrefixSetBuilder:
    """Collects the prefixes of a PrefixSet."""

    def __init__(self) -> None:
        self._runs = {4: _Runs(partial(array, "Q")), 6: _Runs(list)}

    def add(self, version: int, keys: Iterable[int]) -> None:
        """Adds prefixes of an IP version, each as its `prefix_key`. Takes a fifth of a microsecond for each."""
        self._runs[version].add(keys)

    def build(self) -> PrefixSet:
        """Returns the set. Nothing can be added any more. Takes a microsecond for each."""
        ipv4, ipv6 = (_sorted(self._runs[version].taken(), bits) for version, bits in ((4, 32), (6, 128)))
        bits = min(_SLOT_BITS, len(ipv4.begins).bit_length())
        slots = array("I", (0,))
        for slot in range(1, 1 << bits):
            slots.append(bisect_left(ipv4.begins, slot << (32 - bits), slots[-1]))
        slots.append(len(ipv4.begins))
        return PrefixSet(ipv4, ipv6, slots, 32 - bits)

    def __len__(self) -> int:
        """Returns the number of different prefixes. Sorts them, which takes as long as building the set."""
        return sum(runs.count() for runs in self._runs.values())


class _Runs:
    """The keys of one IP version: sorted runs, one after the other, and the keys added since the last run."""

    def __init__(self, kept: Callable[[list[int]], array[int] | list[int]]) -> None:
        """`kept` converts keys into the type in which runs are stored."""
        self._kept: Callable[[list[int]], Any] = kept
        self._new: list[int] = []
        self._runs = self._kept([])  # one block: many small ones would leave holes in memory
        self._ends = [0]

    def add(self, keys: Iterable[int]) -> None:
        self._new.extend(keys)
        if len(self._new) >= _RUN:
            self._end_run()

    def count(self) -> int:
        runs, ends = self._kept([]), [0]
        for run in self.taken():
            runs += self._kept(run)
            ends.append(len(runs))
        self._runs, self._ends = runs, ends
        return len(runs)

    def taken(self) -> Iterator[list[int]]:
        """Yields all keys in order, each once, in parts of about a run. Removes them."""
        self._end_run()
        runs, starts, ends = self._runs, self._ends[:-1], self._ends[1:]
        self._runs, self._ends = self._kept([]), [0]
        every = max(1, _RUN // max(1, len(starts)) // 2)
        samples = sorted(chain.from_iterable([runs[start:end:every] for start, end in zip(starts, ends, strict=True)]))
        for bound in (*samples[:: max(1, _RUN // every)][1:], None):
            part: list[int] = []
            for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
                starts[place] = end if bound is None else bisect_left(runs, bound, start, end)
                part += runs[start : starts[place]]
            part.sort()  # quick, since it finds the runs in it
            yield list(compress(part, map(ne, part, chain((None,), part))))  # each once
        while runs:  # a run at a time: other threads wait while a million numbers are freed, which takes 40 ms
            del runs[-_RUN:]

    def _end_run(self) -> None:
        if self._new:
            self._runs += self._kept(sorted(self._new))
            self._ends.append(len(self._runs))
            self._new = []


def _sorted(runs: Iterable[list[int]], bits: int) -> _Sorted:
    """Returns the tables of a set for prefixes, whose keys come in order."""
    made = _Sorted(bytearray(), *[array(code) for code in ("IQIQIQ" if bits == 32 else "QQQQQQ")])
    until = -1  # the last address of all prefixes before
    for run in runs:
        firsts, begins, ends = [key >> 8 for key in run], list[int](), list[int]()
        for key, first in zip(run, firsts, strict=True):
            if first > until:  # else it is in one before
                until = first | (1 << bits - (key & 255)) - 1
                begins.append(first)
                ends.append(until)
        made.lengths.extend([key & 255 for key in run])
        _append(firsts, made.firsts, made.lower_firsts, bits)
        _append(begins, made.begins, made.lower_begins, bits)
        _append(ends, made.ends, made.lower_ends, bits)
    return made


def _append(addresses: list[int], upper: array[int], lower: array[int], bits: int) -> None:
    """Appends IPv6 addresses to the arrays of their halves, and IPv4 addresses to the first array."""
    upper.fromlist(addresses if bits == 32 else [it >> 64 for it in addresses])
    lower.fromlist([] if bits == 32 else [it & _LOW_64 for it in addresses])


NO_PREFIXES = PrefixSetBuilder().build()
