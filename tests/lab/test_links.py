from __future__ import annotations

import pytest

from tests.lab.links import Lane, Link


def test_a_lane_delays_and_paces() -> None:
    lane = Lane(Link(delay_s=0.1, rate=1000), "seed")
    assert not lane.perfect
    assert lane.admit(5.0, 100) == pytest.approx(0.2)
    assert lane.admit(5.0, 100) == pytest.approx(0.3)  # waits for the first
    assert lane.admit(6.0, 100) == pytest.approx(0.2)
    assert lane.admit(6.0, 2000) == pytest.approx(2.2)
    assert lane.admit(6.0, 100) is None  # the queue is full
    lane.set(Link())
    assert lane.perfect


def test_the_same_seed_loses_the_same_packets() -> None:
    def lost(seed: str) -> list[bool]:
        lane = Lane(Link(loss=0.2), seed)
        return [lane.admit(0.0, 100) is None for _ in range(200)]

    assert lost("a") == lost("a")
    assert lost("a") != lost("b")
    assert 15 <= sum(lost("a")) <= 70
