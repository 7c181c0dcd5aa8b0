"""A set of domains answers as a Python set does, whatever is in it and however large it is."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing import domain_set
from proxy.routing.domain_set import Covers, DomainSet, DomainSetBuilder
from tests.support.calls import counting

LABELS = st.sampled_from(["a", "b", "ab", "ba", "com", "co", "uk", "xn--p1ai", "www", "www-1", "a_b", "x" * 63])
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
"""Short labels of few letters: most names are the beginning, the end or the middle of another one."""

ADDRESSES = st.ip_addresses().map(str)


def covering_of(entries: dict[str, Covers], host: str) -> str | None:
    """The model of entries that do not all cover the same."""
    labels = host.split(".")
    for above in range(len(labels)):
        wanted = (Covers.HOST, Covers.CHILDREN | Covers.SUBDOMAINS, Covers.SUBDOMAINS)[min(above, 2)]
        if entries.get(parent := ".".join(labels[above:]), Covers(0)) & wanted:
            return parent
    return None


def covering(domains: set[str], host: str) -> str | None:
    """The model: each parent in turn, the longest first; an address has none."""
    if host.rpartition(".")[2].isdigit() or ":" in host:
        return host if host in domains else None
    labels = host.split(".")
    return next((parent for n in range(len(labels)) if (parent := ".".join(labels[n:])) in domains), None)


@given(st.sets(NAMES | ADDRESSES), st.lists(NAMES | ADDRESSES), st.integers(0, 2000))
def test_it_covers_what_the_model_covers(domains: set[str], hosts: list[str], size: int) -> None:
    builder = DomainSetBuilder(size)
    builder.add(list(domains))
    builder.add(list(domains)[::2])
    assert len(builder) == len(domains), "each once"
    made = builder.build()
    assert (set(made), len(made), len(list(made))) == (domains, len(domains), len(domains))
    names = [domain for domain in domains if domain == covering({domain}, f"x.{domain}")]
    for host in (*hosts, *domains, *(f"www.{name}" for name in names), *(f"x{name}" for name in names)):
        assert made.covering(host) == covering(domains, host)
        assert (host in made) is (host in domains)


ENTRIES = st.lists(st.tuples(NAMES, st.sampled_from([1, 2, 3, 4, 5]).map(Covers)))


@given(ENTRIES, st.lists(NAMES))
def test_an_entry_covers_what_is_said_of_it(entries: list[tuple[str, Covers]], hosts: list[str]) -> None:
    builder = DomainSetBuilder(50)
    merged: dict[str, Covers] = {}
    for name, covers in entries:
        builder.add((name,), covers)
        merged[name] = merged.get(name, Covers(0)) | covers
    made = builder.build()
    assert list(made.entries()) == list(merged.items()), "each once, in their order"
    assert len(made) == len(merged)
    for host in (*hosts, *merged, *(f"a.{name}" for name in merged), *(f"a.b.{name}" for name in merged)):
        assert made.covering(host) == covering_of(merged, host)
        assert bool(made.entry_for(host)) is (covering_of(merged, host) is not None)
        assert made.covers_of(host) == merged.get(host, Covers(0))


def test_many_domains_and_their_neighbours() -> None:
    chance = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
    every = {"".join(chance.choices(letters, k=chance.randint(1, 9))) + chance.choice((".com", ".ru", ".co.uk"))
             for _ in range(50_000)}  # fmt: skip
    listed = set(random.Random(8).sample(sorted(every), 25_000))
    made = DomainSet.of(listed)
    assert set(made) == listed
    for name in every:
        for host in (name, f"a.{name}", f"{name}.com"):
            assert made.covering(host) == covering(listed, host)


def test_the_most_specific_entry_covers() -> None:
    made = DomainSet.of({"example.org", "deep.example.org", "192.0.2.1", "2001:db8::1"})
    assert made.covering("www.example.org") == "example.org"
    assert made.covering("x.deep.example.org") == "deep.example.org"
    assert made.covering("192.0.2.1") == "192.0.2.1"
    assert made.covering("2001:db8::1") == "2001:db8::1"
    for other in ("notexample.org", "example.org.evil", "org", "2.192.0.2", "192.0.2.10", "example", ""):
        assert made.covering(other) is None
    assert repr(made) == "<DomainSet 4 domains>"
    assert DomainSet.of(()).covering("example.org") is None


def test_names_of_one_slot_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_set, "hash", lambda domain: -1, raising=False)  # the last one: the search goes round
    domains = {"a.com", "aa.com", "com.a", "a.com.a", "b"}
    builder = DomainSetBuilder(0)
    builder.add([*sorted(domains, reverse=True), *domains])  # one before that which is its beginning
    made = builder.build()
    assert (set(made), len(made)) == (domains, len(domains))
    for host in ("a.com", "aa.com", "com.a", "a.com.a", "b", "x.aa.com", "xaa.com", "com", "a", "a.co", "m"):
        assert made.covering(host) == covering(domains, host)


@given(ENTRIES, st.integers(1, 50))
def test_names_of_one_slot_cover_what_is_said_of_each(entries: list[tuple[str, Covers]], at_once: int) -> None:
    """All but the first find their slot taken, by others of the same call too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain_set, "hash", lambda domain: -1, raising=False)
        builder, merged = DomainSetBuilder(0), dict[str, Covers]()
        for start in range(0, len(entries), at_once):
            some = entries[start : start + at_once]
            builder.add([name for name, _ in some], bytes(covers for _, covers in some))
        for name, covers in entries:
            merged[name] = merged.get(name, Covers(0)) | covers
        made = builder.build()
        assert list(made.entries()) == list(merged.items())
        assert made.counts() == Counter(merged.values())


def test_a_look_up_is_one_call() -> None:
    made = DomainSet.of({f"site{n}.example.com" for n in range(1000)})
    for host in ("www.other.example.com", "deep.down.site7.example.com", "192.0.2.1"):
        with counting() as calls:
            made.entry_for(host)
        assert dict(calls) == {"proxy.routing.domain_set.DomainSet.entry_for": 1}


def test_in_a_set_of_hosts_no_parent_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(name: str) -> int:
        asked.append(name)
        return hash(name)

    monkeypatch.setattr(domain_set, "hash", noted, raising=False)
    hosts = DomainSet.of({"a.example.com", "localhost"}, Covers.HOST)
    asked.clear()
    answers = [bool(hosts.entry_for(host)) for host in ("a.example.com", "b.example.com", "localhost", "x.localhost")]
    assert answers == [True, False, True, False]
    assert asked == ["a.example.com", "b.example.com", "localhost", "x.localhost"]


def test_a_large_set_is_small_and_most_of_its_slots_are_free() -> None:
    names = [f"site{n:x}.example" for n in range(200_000)]
    made = DomainSet.of(names)
    free = made.slots.count(0)
    assert free == len(made.slots) - len(names)
    assert free > 0.6 * len(made.slots), "most names that are not listed need no comparison"
    runs = ("".join("1" if taken else " " for taken in made.slots)).split()
    assert max(map(len, runs)) < 40, "what is searched for a name"
    assert sum(memoryview(block).nbytes for block in (made.text, made.slots)) < 60 * len(names)


@given(st.lists(st.tuples(NAMES, st.sampled_from([1, 2, 3]).map(Covers)), min_size=20), st.integers(1, 7))
def test_it_grows_when_it_was_told_a_size_too_small(entries: list[tuple[str, Covers]], at_once: int) -> None:
    small, merged = DomainSetBuilder(0), dict[str, Covers]()
    for start in range(0, len(entries), at_once):
        some = entries[start : start + at_once]
        names = [name for name, _ in some]
        small.add(names, bytes(covers for _, covers in some))
        for name, covers in some:
            merged[name] = merged.get(name, Covers(0)) | covers
    made = small.build()
    assert list(made.entries()) == list(merged.items())
    assert made.counts() == Counter(merged.values())
    assert made.slots.count(0) >= len(made.slots) // 2


def test_a_text_that_is_too_long_for_the_slots_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_set, "TEXT_LIMIT", 17)
    builder = DomainSetBuilder(0)
    builder.add(["a.example", "b.c"])
    with pytest.raises(OverflowError, match="more domains than a set can hold"):
        builder.add(["dd"])
    builder.add(["d"])
    assert set(builder.build()) == {"a.example", "b.c", "d"}
