from __future__ import annotations

import asyncio

import pytest

from tests.support.clock import Clock, run


def test_a_clock_moves_when_told_and_never_back() -> None:
    clock = Clock(5.0)
    assert (clock.advance(2.5), clock()) == (7.5, 7.5)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_a_day_of_waiting_happens_in_order_and_at_its_times() -> None:
    heard: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        heard.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait("day", 86_400))
            group.create_task(wait("minute", 60))

    run(main())
    assert heard == [("minute", 60.0), ("day", 86_400.0)]


def test_what_can_never_go_on_is_said() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing can wake it"):
        run(main())
