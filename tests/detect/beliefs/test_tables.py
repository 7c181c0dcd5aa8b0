from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.detect.beliefs.generations import Generations
from proxy.detect.beliefs.tables import AddressTable, HostLru, Key, on_network
from proxy.detect.scopes import registrable
from proxy.model import NetworkId
from tests.support.outcomes import AWAY, HOME
from tests.support.rows import each_row

A, B, C = ((HOME, f"www.{letter}.example") for letter in "abc")


def test_the_least_recently_used_of_a_domain_goes_first() -> None:
    table: HostLru[int] = HostLru(total=100, per_domain=2)
    table.put((HOME, "a.example.org"), 1)
    table.put((HOME, "b.example.org"), 2)
    table.put((HOME, "a.example.org"), 3)

    assert table.put((HOME, "c.example.org"), 4) == [((HOME, "b.example.org"), 2)]
    assert table.items() == [((HOME, "a.example.org"), 3), ((HOME, "c.example.org"), 4)]


def test_domains_and_networks_are_counted_apart() -> None:
    table: HostLru[int] = HostLru(total=100, per_domain=1)

    for key in ((HOME, "a.example.org"), (AWAY, "a.example.org"), (HOME, "a.example.net")):
        assert table.put(key, 0) == []


def test_the_least_recently_used_domain_goes_first() -> None:
    table: HostLru[int] = HostLru(total=2, per_domain=2)
    table.put((HOME, "one.example"), 1)
    table.put((HOME, "two.example"), 2)
    table.put((HOME, "one.example"), 1)

    assert table.put((HOME, "three.example"), 3) == [((HOME, "two.example"), 2)]


def test_correcting_is_no_use() -> None:
    table: HostLru[int] = HostLru(total=100, per_domain=2)
    table.put((HOME, "a.example.org"), 1)
    table.put((HOME, "b.example.org"), 2)
    table.correct((HOME, "a.example.org"), 9)

    assert table.put((HOME, "c.example.org"), 3) == [((HOME, "a.example.org"), 9)]
    with pytest.raises(KeyError):
        table.correct((HOME, "a.example.org"), 1)


NAMES = st.sampled_from([f"{host}.{domain}" for host in "abcd" for domain in ("x.example", "y.example", "z.test")])


@given(st.lists(st.tuples(st.sampled_from(["put", "pop"]), st.sampled_from([HOME, AWAY]), NAMES), max_size=60))
def test_it_is_a_bounded_dictionary(steps: list[tuple[str, NetworkId, str]]) -> None:
    table: HostLru[int] = HostLru(total=5, per_domain=2)
    model: dict[tuple[NetworkId, str], int] = {}
    for number, (step, network, host) in enumerate(steps):
        key = (network, host)
        if step == "put":
            model[key] = number
            for gone, value in table.put(key, number):
                assert model.pop(gone) == value
                assert gone != key
        else:
            assert table.pop(key) == model.pop(key, None)
        assert dict(table.items()) == model
        assert len(table) <= 5
        for domain in {(n, registrable(h)) for n, h in table}:
            assert sum((n, registrable(h)) == domain for n, h in table) <= 2
    table.clear()
    assert (len(table), table.items(), table.values()) == (0, [], [])


@each_row(
    ("act", "changed"),
    [
        (lambda table: table.put(A, 2), {A}),
        (lambda table: table.correct(A, 2), {A}),
        (lambda table: table.pop(A), {A}),
        (lambda table: table.put(C, 3), {A, C}),  # A is evicted
        (lambda table: table.put(A, 2, is_change=False), set()),
        (lambda table: table.pop(C), set()),
        (lambda table: table.forget(lambda key: key == B), {B}),
        (lambda table: table.clear(), {A, B, C}),
    ],
    ids=["put", "correct", "pop", "evict", "renew", "pop none", "forget", "clear"],
)
def test_each_change_raises_a_generation(act: Callable[[HostLru[int]], object], changed: set[Key]) -> None:
    generations = Generations()
    table: HostLru[int] = HostLru(generations, total=2, per_domain=2)
    table.put(A, 1)
    table.put(B, 1)
    before = {key: generations.of(*key) for key in (A, B, C)}

    act(table)

    assert {key for key, number in before.items() if generations.of(*key) != number} == changed


def test_a_renewed_value_is_used() -> None:
    table: HostLru[int] = HostLru(total=2, per_domain=2)
    table.put(A, 1)
    table.put(B, 2)
    table.put(A, 3, is_change=False)

    assert table.put(C, 4) == [(B, 2)]
    assert table.get(A) == 3


def test_an_address_is_forgotten_with_the_host_that_began() -> None:
    table = AddressTable(3)
    one, two = (ipaddress.ip_address(f"192.0.2.{number}") for number in (1, 2))
    table[HOME, one] = (1.0, "a.example.org")
    table[HOME, two] = (2.0, "b.example.org")
    table[AWAY, one] = (3.0, "a.example.org")

    assert table.begun_by((HOME, "a.example.org"), 0.5) == [one]
    assert table.begun_by((HOME, "a.example.org"), 1.0) == []
    assert table.begun_by((AWAY, "b.example.org"), 0.5) == []

    table.forget(on_network(HOME, "a.example.org"))
    assert [*table] == [(HOME, two), (AWAY, one)]
    table.forget(on_network(AWAY, None))
    assert [*table] == [(HOME, two)]
