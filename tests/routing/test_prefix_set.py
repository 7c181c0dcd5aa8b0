"""A set of prefixes answers as the standard library does, whatever is in it and however large it is."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.routing import prefix_set
from proxy.routing.match import IPNetwork
from proxy.routing.prefix_set import NO_PREFIXES, PrefixSet, PrefixSetBuilder, prefix_key, spelled_prefix
from proxy.wire import hostnames
from tests.support.calls import counting


def made_of(networks: Iterable[IPNetwork]) -> PrefixSet:
    builder = PrefixSetBuilder()
    for network in networks:
        builder.add(network.version, (prefix_key(int(network.network_address), network.prefixlen),))
    return builder.build()


def spelled(network: IPNetwork | None) -> str | None:
    return None if network is None else str(network).removesuffix("/32" if network.version == 4 else "/128")


def longest(networks: Iterable[IPNetwork], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> IPNetwork | None:
    containing = (it for it in networks if it.version == address.version and address in it)
    return max(containing, key=lambda it: it.prefixlen, default=None)


def edges(networks: Iterable[IPNetwork]) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The first and the last address of each, and what is beside them."""
    for network in networks:
        for number in {int(network[0]), int(network[0]) - 1, int(network[-1]), int(network[-1]) + 1}:
            if 0 <= number < 1 << network.max_prefixlen:
                yield (ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address)(number)


def networks_of(numbers: st.SearchStrategy[int], bits: int) -> st.SearchStrategy[IPNetwork]:
    network = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    return st.tuples(numbers, st.integers(0, bits)).map(lambda parts: network(parts, strict=False))


NESTED = st.sampled_from([0, 1, 0xC0000200, 0xC0000280, 0xC0000281, 0xC0000300, 0xFFFFFFFF, 0xFFFFFF00])
NESTED_V6 = NESTED.flatmap(lambda it: st.sampled_from([it, it << 64, it << 96, (1 << 128) - 1 - it, 0xFFFF << 32 | it]))
NETWORKS = st.lists(
    networks_of(st.integers(0, (1 << 32) - 1) | NESTED, 32)
    | networks_of(st.integers(0, (1 << 128) - 1) | NESTED_V6, 128),
    max_size=12,
)
"""Many of which hold each other, or are one another's neighbours."""


@given(NETWORKS, st.lists(st.ip_addresses(), max_size=4), st.sampled_from([1, 2, 8192]))
@example([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"), ipaddress.ip_network("::1")], [], 1)
@example([ipaddress.ip_network("::ffff:192.0.2.0/120"), ipaddress.ip_network("192.0.2.0/24")], [], 1)
def test_it_covers_what_the_standard_library_says(
    networks: list[IPNetwork], addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address], run: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_set, "_RUN", run)
        made = made_of(networks)
    every = set(networks)
    ascending = sorted(every, key=lambda it: (it.version, it.network_address, it.prefixlen))
    assert list(made) == [spelled(network) for network in ascending]
    assert len(made) == len(every)
    for address in (*addresses, *edges(networks)):
        host = hostnames.host(str(address))  # a mapped address is one of IPv4 there
        assert made.covering(host) == spelled(longest(every, ipaddress.ip_address(host)))
        assert made.contains(host) is (made.covering(host) is not None)
    for name in ("a.example", "1.192.0.2.example", "192.0.2.1.example", "192-0-2-1.example", "a.b4", ""):
        assert made.contains(name) is False
        assert made.covering(name) is None


def test_many_prefixes_of_one_place() -> None:
    """All of them share their first bits, so that they fall into one slot, and in many runs."""
    chance = random.Random(3)
    networks = {
        ipaddress.ip_network(
            (0x0A000000 | chance.getrandbits(20), chance.choice((20, 24, 27, 30, 32, 32))), strict=False
        )
        for _ in range(30_000)
    }
    made = made_of(networks)
    assert list(made) == [spelled(network) for network in sorted(networks)]
    by_length = {length: {int(it[0]) for it in networks if it.prefixlen == length} for length in (32, 30, 27, 24, 20)}
    for number in (0x0A000000 | chance.getrandbits(20) for _ in range(20_000)):
        found = ((number >> 32 - length << 32 - length, length) for length in by_length)
        expected = next((it for it in found if it[0] in by_length[it[1]]), None)
        host = str(ipaddress.IPv4Address(number))
        assert made.covering(host) == (None if expected is None else spelled_prefix(*expected, version=4))


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_counted_meanwhile_can_be_added_to(version: int) -> None:
    builder = PrefixSetBuilder()
    bits = 32 if version == 4 else 128
    keys = [prefix_key(number << 5, bits) for number in range(20_000)]
    builder.add(version, keys)
    assert len(builder) == 20_000
    builder.add(version, keys[::-1])
    builder.add(version, [prefix_key(7, bits)])
    assert len(builder) == len(builder) == 20_001
    made = builder.build()
    assert len(made) == 20_001
    assert next(iter(made)) == ("0.0.0.0" if version == 4 else "::")  # an address as any other


def test_spellings() -> None:
    assert spelled_prefix(0xC0000200, 24, version=4) == "192.0.2.0/24"
    assert spelled_prefix(1, 128, version=6) == "::1"
    assert repr(made_of([ipaddress.ip_network("192.0.2.0/24")])) == "<PrefixSet 1 prefixes>"
    assert (len(NO_PREFIXES), list(NO_PREFIXES), NO_PREFIXES.covering("192.0.2.1")) == (0, [], None)


def test_a_look_up_is_one_call_however_many_lengths_there_are() -> None:
    made = made_of(ipaddress.ip_network((0x0A000000, length)) for length in range(8, 32))
    for host in ("10.0.0.1", "10.200.0.1", "192.0.2.1", "a.example"):
        with counting() as calls:
            made.contains(host)
        assert dict(calls) == {"proxy.routing.prefix_set.PrefixSet.contains": 1}


@pytest.mark.parametrize("version", [4, 6])
def test_a_large_set_is_small_and_sorted_in_short_steps(version: int) -> None:
    chance = random.Random(5)
    bits = 32 if version == 4 else 128
    builder = PrefixSetBuilder()
    keys = [prefix_key(chance.getrandbits(24) << bits - 24, 24) for _ in range(100_000)]
    for start in range(0, len(keys), 1000):
        builder.add(version, keys[start : start + 1000])
    runs = [end - start for start, end in pairwise(builder._runs[version]._ends)]
    assert sum(runs) > 90_000
    assert max(runs) < 2 * prefix_set._RUN
    made = builder.build()
    family = made.ipv4 if version == 4 else made.ipv6
    blocks = (getattr(family, it.name) for it in fields(family))
    size = sum(memoryview(block).nbytes for block in (*blocks, made.slots))
    assert size < (13 if version == 4 else 49) * len(made) + 20_000
