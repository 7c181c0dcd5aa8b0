"""The index of rules."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from proxy.model import Destination
from proxy.routing.domain_set import DomainSet
from proxy.routing.match import Index
from tests.support.calls import counting


def first(index: Index, host: str, port: int = 443) -> int | None:
    return index.first(Destination(host, port))


def test_C6_an_address_has_no_suffix() -> None:
    index = Index()
    index.add_suffix("0.2", 0)  # no rule can say this; the index must not need that
    assert first(index, "192.168.0.2") is None


def test_the_lowest_number_wins() -> None:
    index = Index()
    assert index.add_ports(range(443, 444), 3)
    assert index.add_exact("a.example", 4)
    assert index.add_suffix("example", 2)
    assert index.add_name_test(lambda host: host.startswith("b"), 1)
    assert first(index, "a.example") == 2
    assert first(index, "b.example") == 1
    assert first(index, "a.other") == 3
    assert first(index, "a.other", 80) is None
    assert index.add_always(9)
    assert first(index, "a.other", 80) == 9


def test_a_later_double_can_never_come_first() -> None:
    index = Index()
    network = ipaddress.ip_network("10.0.0.0/8")
    adds: list[Callable[[int], bool]] = [
        lambda number: index.add_exact("a", number),
        lambda number: index.add_suffix("a", number),
        lambda number: index.add_network(network, number),
        lambda number: index.add_ports(range(1, 3), number),
        index.add_always,
    ]
    for add in adds:
        assert add(1)
        assert not add(2)
    assert index.add_ports(range(2, 5), 3)  # partly its own


def test_tests_are_not_asked_beyond_the_best_number() -> None:
    asked: list[int] = []

    def test(number: int) -> bool:
        asked.append(number)
        return False

    index = Index()
    index.add_name_test(lambda _: test(0), 0)
    index.add_suffix("example", 1)
    index.add_name_test(lambda _: test(2), 2)
    index.add_test(lambda _: test(3), 3)
    assert first(index, "a.example") == 1
    assert asked == [0]


def test_prefixes_of_every_length_and_both_families() -> None:
    index = Index()
    index.add_network(ipaddress.ip_network("0.0.0.0/0"), 5)
    index.add_network(ipaddress.ip_network("192.0.2.128/25"), 2)
    index.add_network(ipaddress.ip_network("2001:db8::/32"), 1)
    index.add_network(ipaddress.ip_network("2001:db8::7/128"), 0)
    assert first(index, "192.0.2.129") == 2
    assert first(index, "192.0.2.127") == 5
    assert first(index, "2001:db8::7") == 0
    assert first(index, "2001:db8::8") == 1
    assert first(index, "2001:db9::8") is None
    assert first(index, "a.example") is None


def test_a_host_without_a_rule_costs_one_call_and_one_for_each_list() -> None:
    index = Index()
    listed = DomainSet.of({"listed.example"})
    for number in range(0, 3000, 3):
        index.add_exact(f"site{number}.example", number)
        index.add_suffix(f"site{number}.test", number + 1)
        index.add_network(ipaddress.ip_network(f"10.{number % 200}.0.0/16"), number + 2)
    index.add_ports(range(8000, 8010), 3000)
    other = Destination("a.b.other.example", 443)
    with counting() as calls:
        assert index.first(other) is None
    assert dict(calls) == {"proxy.routing.match.Index.first": 1}
    index.add_test(listed.entry_for, 3001)
    with counting() as calls:
        assert index.first(other) is None
    assert dict(calls) == {"proxy.routing.match.Index.first": 1, "proxy.routing.domain_set.DomainSet.entry_for": 1}
    assert first(index, "www.listed.example") == 3001
