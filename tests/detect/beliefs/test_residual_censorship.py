from __future__ import annotations

import ipaddress

import pytest

from proxy.detect.beliefs import clock, counting
from proxy.detect.beliefs.state import ADDRESSES_MAX
from tests.detect.world import over
from tests.support.outcomes import AWAY, HOME

NOW = 1_000_000.0


def test_an_address_is_left_alone_for_a_while_in_any_spelling() -> None:
    residual = over(counting, clock)
    residual.note_residue("[2001:db8::1]:443", HOME, NOW, host="a.example")

    for address in ("2001:db8::1", "[2001:db8::1]:80", ipaddress.ip_address("2001:db8::1")):
        assert residual.in_residual_window(address, HOME, NOW)
        assert residual.in_residual_window(address, HOME, NOW + 179.9)
        assert not residual.in_residual_window(address, HOME, NOW + 180)
    assert not residual.in_residual_window("2001:db8::2", HOME, NOW)
    assert not residual.in_residual_window("2001:db8::1", AWAY, NOW)


def test_not_for_the_name_itself() -> None:
    residual = over(counting, clock)
    residual.note_residue("192.0.2.1:443", HOME, NOW, host="a.example")

    assert not residual.in_residual_window("192.0.2.1", HOME, NOW, host="a.example")
    assert residual.in_residual_window("192.0.2.1", HOME, NOW, host="b.example")


def test_an_echo_does_not_take_the_place_of_the_name_that_it_echoes() -> None:
    residual = over(counting, clock)
    residual.note_residue("192.0.2.1", HOME, NOW, host="blocked.example")
    residual.note_residue("192.0.2.1", HOME, NOW + 170, host="fine.example")

    assert residual.in_residual_window("192.0.2.1", HOME, NOW + 171, host="fine.example")
    assert not residual.in_residual_window("192.0.2.1", HOME, NOW + 171, host="blocked.example")
    residual.note_residue("192.0.2.1", HOME, NOW + 172, host="blocked.example")
    assert residual.in_residual_window("192.0.2.1", HOME, NOW + 351)


def test_what_was_answered_after_all_taints_nothing() -> None:
    residual = over(counting, clock)
    residual.note_residue("192.0.2.1:443", HOME, NOW, host="slow.example")
    residual.note_residue("192.0.2.2", HOME, NOW, host="blocked.example")

    residual.take_back_residue("192.0.2.1", HOME, "slow.example")
    assert not residual.in_residual_window("192.0.2.1", HOME, NOW)
    residual.take_back_residue("192.0.2.2", HOME, "slow.example")
    residual.take_back_residue("192.0.2.2", AWAY, "blocked.example")
    assert residual.in_residual_window("192.0.2.2", HOME, NOW), "another name began it, on this network"
    residual.take_back_residue("tor", HOME, "slow.example")


@pytest.mark.parametrize("address", ["", "example.org:443", "tor"])
def test_what_is_no_address_is_neither_noted_nor_tainted(address: str) -> None:
    residual = over(counting, clock)
    residual.note_residue(address, HOME, NOW)

    assert not residual.in_residual_window(address, HOME, NOW)


def test_F87_a_clock_set_back_taints_nothing_for_long() -> None:
    residual = over(counting, clock)
    residual.note_residue("192.0.2.1", HOME, NOW)

    assert not residual.in_residual_window("192.0.2.1", HOME, NOW - 3600)
    residual.advance(NOW)
    residual.advance(NOW - 3600)
    assert not residual.in_residual_window("192.0.2.1", HOME, NOW)


def test_it_is_bounded() -> None:
    residual = over(counting, clock)
    for number in range(ADDRESSES_MAX + 1):
        residual.note_residue(ipaddress.ip_address(0x0A000000 + number), HOME, NOW)

    assert not residual.in_residual_window("10.0.0.0", HOME, NOW)
    assert residual.in_residual_window("10.0.0.1", HOME, NOW)
