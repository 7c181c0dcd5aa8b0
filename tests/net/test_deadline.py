"""Deadlines on a loop that is late: what has come by then is read, and silence is still silence."""

from __future__ import annotations

import ast
import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.net.deadline import PASSES, deadline, poll_again
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from tests.support.clock import run as play
from tests.support.late import stall
from tests.support.rows import each_row

Pair = tuple[socket.socket, socket.socket]
LIMIT_S = 60.0


@pytest.fixture
async def stream(poller: Poller, pair: Pair) -> AsyncIterator[SocketStream]:
    stream = SocketStream(pair[0], poller, "test:1")
    for _ in range(3):  # the edge that a registration makes is over
        await asyncio.sleep(0)
    yield stream
    stream.close()


def _answer_late(far: socket.socket) -> None:
    """The answer comes while this callback holds the loop up beyond the deadline."""
    far.send(b"answer")
    stall(2 * LIMIT_S)


async def test_the_control_asyncios_own_timeout_loses_the_answer(stream: SocketStream, pair: Pair) -> None:
    asyncio.get_running_loop().call_soon(_answer_late, pair[1])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LIMIT_S):
            await stream.receive()


async def test_an_answer_that_came_while_the_loop_was_held_up_is_read(stream: SocketStream, pair: Pair) -> None:
    asyncio.get_running_loop().call_soon(_answer_late, pair[1])
    with deadline(LIMIT_S):
        assert await stream.receive() == b"answer"


async def test_an_answer_that_came_after_the_last_poll_is_read(stream: SocketStream, pair: Pair) -> None:
    """The callback before the deadline's own, in the same pass, is the slow one: no poll has seen the answer yet."""
    loop = asyncio.get_running_loop()
    loop.call_at(loop.time() + LIMIT_S - 1, pair[1].send, b"answer")
    with deadline(LIMIT_S):
        stall(2 * LIMIT_S)  # both timers are due in the next pass, in this order
        assert await stream.receive() == b"answer"


async def test_an_answer_that_other_tasks_hand_on_is_in_time(stream: SocketStream, pair: Pair) -> None:
    """As with a lookup: a task reads, another one judges, and a shielded future is waited for."""
    judged: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def read() -> None:
        heard.put_nowait(await stream.receive())

    async def judge() -> None:
        judged.set_result(await heard.get())

    tasks = [spawn(read(), name="read"), spawn(judge(), name="judge")]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(_answer_late, pair[1])
    with deadline(LIMIT_S):
        assert await asyncio.shield(judged) == b"answer"
    await asyncio.wait(tasks)


async def test_a_peer_that_is_silent_times_out_all_the_same(stream: SocketStream) -> None:
    passes = 0

    def count() -> None:
        nonlocal passes
        passes += 1
        counting[0] = loop.call_soon(count)

    loop = asyncio.get_running_loop()
    stall(2 * LIMIT_S)
    counting = [loop.call_soon(count)]
    with pytest.raises(TimeoutError), deadline(-LIMIT_S):
        await stream.receive()
    counting[0].cancel()
    assert passes <= PASSES + 3


def test_it_fires_at_its_time() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError) as caught, deadline(5):
            await asyncio.sleep(60)
        assert loop.time() == 5
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)  # the task goes on

    play(story())


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_one_that_is_over_already_fires_as_soon_as_there_is_a_wait(seconds: float) -> None:
    async def story() -> None:
        with pytest.raises(TimeoutError), deadline(seconds):
            await asyncio.sleep(60)
        assert asyncio.get_running_loop().time() == 0

    play(story())


def test_a_block_that_ends_in_time_leaves_no_timer() -> None:
    async def story() -> None:
        with deadline(5):
            await asyncio.sleep(4)
        with deadline(None):
            await asyncio.sleep(60)
        assert asyncio.get_running_loop().time() == 64

    play(story())


def test_it_can_be_moved() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with deadline(5) as limit:
            loop.call_later(4, limit.reschedule, 10.0)
            await asyncio.sleep(8)
            limit.reschedule(None)
            await asyncio.sleep(60)
            limit.reschedule(70.0)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(60)
            assert loop.time() == 70
            limit.reschedule(80.0)  # it has fired

    play(story())


def test_they_nest() -> None:
    async def story(outer_s: float, inner_s: float) -> str:
        try:
            with deadline(outer_s):
                try:
                    with deadline(inner_s):
                        await asyncio.sleep(60)
                except TimeoutError:
                    await asyncio.sleep(0)
                    return "inner"
        except TimeoutError:
            return "outer"
        return "neither"

    assert play(story(5, 3)) == "inner"
    assert play(story(3, 5)) == "outer"
    assert play(story(3, 3)) in ("inner", "outer")
    assert play(story(90, 70)) == "neither"


@each_row("at_s", [2.0, 5.0])
@each_row("passes", range(PASSES + 1))
def test_a_cancellation_from_elsewhere_stays_one(at_s: float, passes: int) -> None:
    """Also when the deadline falls due in the same moment, and in each pass after that."""

    async def waiting() -> None:
        with deadline(5):
            await asyncio.sleep(60)

    async def story() -> None:
        task = spawn(waiting(), name="waiting")
        loop = asyncio.get_running_loop()

        def cancel(passes: int) -> None:
            if passes:
                loop.call_soon(cancel, passes - 1)
            else:
                task.cancel()

        loop.call_at(at_s, cancel, passes)
        with pytest.raises(asyncio.CancelledError):
            await task

    play(story())


def test_a_fault_in_the_block_is_not_hidden() -> None:
    async def broken() -> None:
        with deadline(5):
            try:
                await asyncio.sleep(60)
            finally:
                _ = 1 / 0

    async def story() -> None:
        with pytest.raises(ZeroDivisionError):
            await broken()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    play(story())


def test_what_ends_in_the_passes_after_the_deadline_is_in_time() -> None:
    async def story() -> None:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_at(5, done.set_result, "late by a hair")
        with deadline(5):
            assert await done == "late by a hair"

    play(story())


async def test_who_keeps_time_himself_can_poll_again(stream: SocketStream, pair: Pair) -> None:
    assert stream.receive_nowait() is None  # it is drained, and asks the kernel no more until an edge comes
    pair[1].send(b"answer")
    await poll_again()
    assert stream.receive_nowait() == b"answer"


# -- the rule of the house ---------------------------------------------------------------------------------------------

PROXY = Path(__file__).parents[2] / "proxy"
PEERS = ("net", "probe", "session", "features/inspection")
"""Where peers are waited for. Elsewhere it is programs, threads and addons, for which a plain timeout is right."""

BANNED = {"asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for"}


def _plain_timeouts(source: str) -> list[int]:
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if ast.unparse(call.func) in BANNED]


def test_no_plain_timeout_is_used_towards_peers() -> None:
    assert _plain_timeouts("async def f():\n    async with asyncio.timeout(1):\n        pass\n") == [2]
    for name in PEERS:
        paths = [PROXY / f"{name}.py", *(PROXY / name).rglob("*.py")]
        assert any(path.exists() for path in paths), name
        for path in filter(Path.exists, paths):
            assert not _plain_timeouts(path.read_text()), f"{path}: use proxy.net.deadline"
