"""Prefixes of a piece, read all at once, are what the standard library says of each."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.routing.lists.prefix_lines import (
    IPV4_PREFIX,
    IPV6_PREFIX,
    SHORTEST_PREFIX,
    are_ipv4,
    are_ipv6,
    ipv4_keys,
    ipv6_keys,
)
from proxy.routing.prefix_set import prefix_key
from tests.support.calls import counting


def key_of(text: str) -> int | None:
    """The key of a prefix; None when it is none, or too short."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if network.prefixlen < SHORTEST_PREFIX[network.version]:
        return None
    return prefix_key(int(network.network_address), network.prefixlen)


@pytest.mark.parametrize(("are", "expression"), [(are_ipv4, IPV4_PREFIX), (are_ipv6, IPV6_PREFIX)])
@given(st.lists(st.text("12.:/a", max_size=12), min_size=1, max_size=3))
@example(["1.2.3.4", "1.2.3.4/24"])
@example(["2001:a::/32"])
@example(["2001:a::/32", "1.2.3.4/5"])
@example(["1.2.3/4", "1.2.3.4.5/6"])
@example(["1.2.3.04"])
@example(["01.2.3.4"])
@example(["\ud800"])
def test_many_prefixes_are_what_the_expression_says_of_each(
    are: Callable[[str], bool], expression: str, texts: list[str]
) -> None:
    assert are("\n".join(texts)) is all(re.fullmatch(expression, text) for text in texts)


NUMBERS = st.sampled_from(["0", "9", "10", "55", "56", "99", "100", "199", "200", "255", "256", "260", "299", "300"])
ODD = st.sampled_from(["", "999", "1000", "2550", "0255", "00", "01", "007"])


@given(st.lists(st.lists(NUMBERS, min_size=5, max_size=5), min_size=1, max_size=4), st.lists(st.booleans(), min_size=4))
@example([["255"] * 4 + ["32"]] * 3, [True] * 4)
def test_the_numbers_of_many_prefixes(rows: list[list[str]], have_length: list[bool]) -> None:
    texts = [".".join(row[:4]) + f"/{row[4]}" * has for row, has in zip(rows, have_length, strict=False)]
    expected = list(map(key_of, texts))
    assert list(ipv4_keys("\n".join(texts))) == ([] if None in expected else expected)


@given(st.lists(NUMBERS | ODD, min_size=5, max_size=5))
def test_no_number_is_taken_for_another(row: list[str]) -> None:
    """What is no prefix, or has a zero before a number, is never read as one."""
    text = ".".join(row[:4]) + f"/{row[4]}"
    keys = list(ipv4_keys(f"{text}\n1.2.3.4/5")) if are_ipv4(text) else []
    assert keys in ([], [key_of(text), key_of("1.2.3.4/5")])
    if all(number == "0" or not number.startswith("0") for number in row):
        assert bool(keys) is (key_of(text) is not None)


def test_many_random_prefixes() -> None:
    chance = random.Random(9)
    texts = [f"{ipaddress.IPv4Address(chance.getrandbits(32))}/{chance.randint(3, 32)}" for _ in range(5000)]
    assert list(ipv4_keys("\n".join(texts))) == list(map(key_of, texts))
    assert are_ipv4("\n".join(texts))
    texts = [
        str(ipaddress.ip_network((chance.getrandbits(64) << 64, chance.randint(16, 64)), strict=False))
        for _ in range(1000)
    ]
    usual = [text for text in texts if are_ipv6(text)]
    assert len(usual) > 900
    assert list(ipv6_keys("\n".join(usual))) == list(map(key_of, usual))


@pytest.mark.parametrize("texts", [["2001:db8::/129"], ["2000::/3"], ["2001:db8::/32", "2000::/2"]])
def test_a_length_that_no_prefix_of_ipv6_may_have(texts: list[str]) -> None:
    assert list(ipv6_keys("\n".join(texts))) == []


def test_a_thousand_prefixes_take_as_many_calls_as_one() -> None:
    texts = [f"10.{n // 256}.{n % 256}.0/24" for n in range(1000)]
    with counting() as calls:
        assert len(ipv4_keys("\n".join(texts))) == 1000
    with counting() as calls_for_one:
        ipv4_keys(texts[0])
    assert calls == calls_for_one
