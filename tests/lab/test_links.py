from __future__ import annotations

import asyncio

import pytest

from tests.lab.links import Lane, Link, Schedule
from tests.support.clock import run


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


def test_what_is_due_at_once_is_done_in_the_order_that_it_was_asked_for() -> None:
    done: list[int] = []

    async def ask() -> None:
        schedule = Schedule(asyncio.get_running_loop())
        for number, delay_s in enumerate((0.2, 0.1, 0.1, 0.1, 0.0)):
            schedule.after(delay_s, lambda number=number: done.append(number))  # type: ignore[misc]  # bound now
        await asyncio.sleep(0.15)
        assert done == [4, 1, 2, 3]
        await asyncio.sleep(0.1)
        schedule.after(1.0, lambda: done.append(99))
        schedule.close()
        await asyncio.sleep(2.0)

    run(ask())
    assert done == [4, 1, 2, 3, 0]
