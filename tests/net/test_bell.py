from __future__ import annotations

import asyncio

import pytest

from proxy.net.bell import Bell
from tests.support.clock import run as play


def test_a_ring_that_came_before_the_wait_is_not_missed() -> None:
    async def story() -> None:
        bell = Bell()
        bell.ring()
        bell.ring()
        await bell.wait(None)
        assert asyncio.get_running_loop().time() == 0
        await bell.wait(5.0)  # both were one
        assert asyncio.get_running_loop().time() == 5

    play(story())


def test_the_wait_ends_with_the_ring() -> None:
    async def story() -> None:
        bell = Bell()
        for _ in range(2):
            asyncio.get_running_loop().call_later(1.0, bell.ring)
            await bell.wait(60.0)
        assert asyncio.get_running_loop().time() == 2

    play(story())


def test_a_time_that_is_over_already_is_no_wait() -> None:
    async def story() -> None:
        await Bell().wait(-1.0)
        assert asyncio.get_running_loop().time() == 0

    play(story())


def test_a_wait_that_was_cancelled_leaves_the_bell_usable() -> None:
    async def story() -> None:
        bell = Bell()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await bell.wait(60.0)
        asyncio.get_running_loop().call_later(1.0, bell.ring)
        await bell.wait(None)
        assert asyncio.get_running_loop().time() == 2

    play(story())
