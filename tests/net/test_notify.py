from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.net.notify import Notify
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from tests.support.clock import run as play
from tests.support.late import stall


def test_a_ring_that_came_before_the_wait_is_not_missed() -> None:
    async def story() -> None:
        notify = Notify()
        notify.set()
        notify.set()
        await notify.wait()
        assert asyncio.get_running_loop().time() == 0
        await notify.wait(asyncio.get_running_loop().time() + 5.0)  # both were one
        assert asyncio.get_running_loop().time() == 5

    play(story())


def test_the_wait_ends_with_the_ring() -> None:
    async def story() -> None:
        notify = Notify()
        for _ in range(2):
            asyncio.get_running_loop().call_later(1.0, notify.set)
            await notify.wait(asyncio.get_running_loop().time() + 60.0)
        assert asyncio.get_running_loop().time() == 2

    play(story())


def test_a_time_that_is_over_already_is_no_wait() -> None:
    async def story() -> None:
        await Notify().wait(-1.0)
        assert asyncio.get_running_loop().time() == 0

    play(story())


def test_a_wait_that_was_cancelled_leaves_the_bell_usable() -> None:
    async def story() -> None:
        notify = Notify()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await notify.wait(asyncio.get_running_loop().time() + 60.0)
        asyncio.get_running_loop().call_later(1.0, notify.set)
        await notify.wait()
        assert asyncio.get_running_loop().time() == 2

    play(story())


async def test_whoever_waited_too_long_for_a_late_loop_finds_what_came_in_time(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    """The loop polled before the answer came, and next when the time was over."""
    stream = SocketStream(pair[0], poller, "test:1")
    for _ in range(3):  # the edge that a registration makes is over
        await asyncio.sleep(0)
    assert stream.receive_nowait() is None
    loop, notify = asyncio.get_running_loop(), Notify()
    loop.call_at(loop.time() + 30, pair[1].send, b"answer")
    loop.call_soon(stall, 1000)
    await notify.wait(asyncio.get_running_loop().time() + 60.0)
    assert stream.receive_nowait() == b"answer"
    stream.close()


def test_a_ring_in_the_last_moment_leaves_no_alarm() -> None:
    async def story() -> None:
        notify = Notify()
        asyncio.get_running_loop().call_at(5.0, notify.set)
        await notify.wait(asyncio.get_running_loop().time() + 5.0)
        await notify.wait(asyncio.get_running_loop().time() + 5.0)
        assert asyncio.get_running_loop().time() == 10

    play(story())
