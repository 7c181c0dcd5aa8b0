from __future__ import annotations

import asyncio

from tests.support.clock import run


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
