"""asyncio on the loop that waits in the poller's epoll set: sockets with owners beside everything else. All but
the end of a pass holds on asyncio's own loop as well."""

from __future__ import annotations

import asyncio
import contextvars
import os
import select
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import pytest

from proxy.net.loop.polling_loop import PollingLoop
from proxy.net.poller import EpollPoller
from proxy.net.stream import SocketStream
from tests.support.loops import both_loops
from tests.support.sockets import tcp_pair
from tests.support.streams import close, listening
from tests.support.waiting import until

T = TypeVar("T")

BOTH = both_loops()

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: epoll is Linux")


Run = Callable[[Coroutine[Any, Any, Any]], Any]


def run_on_ours(story: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=PollingLoop) as runner:
        return runner.run(story)


@pytest.fixture(params=tuple(BOTH.values()), ids=tuple(BOTH))
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a story on each loop."""

    def run_story(story: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(story)

    return run_story


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())


async def ask(port: int) -> bytes:
    """Over asyncio's own transports."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    answer = await reader.readline()
    await close(writer)
    return answer


def test_an_owned_socket_wakes_its_task(run: Run) -> None:
    async def story() -> bytes:
        poller = EpollPoller(asyncio.get_running_loop())
        near, far = tcp_pair()
        stream = SocketStream(near, poller, "near")
        asyncio.get_running_loop().call_later(0.01, far.send, b"news")
        received = await asyncio.wait_for(stream.receive(), 20)
        stream.close()
        far.close()
        poller.close()
        return received

    assert run(story()) == b"news"


def test_asyncio_works_beside_it_and_before_and_after(run: Run) -> None:
    async def story() -> list[bytes]:
        loop = asyncio.get_running_loop()
        async with listening(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            answers = [await ask(port)]
            poller = EpollPoller(loop)
            near, far = tcp_pair()
            stream = SocketStream(near, poller, "near")
            answers.append(await ask(port))
            answers.append(await asyncio.to_thread(lambda: b"from a thread"))
            far.send(b"owned")
            answers.append(await asyncio.wait_for(stream.receive(), 20))
            stream.close()
            far.close()
            poller.close()
            answers.append(await ask(port))
        return answers

    assert run(story()) == [b"hello\n", b"hello\n", b"from a thread", b"owned", b"hello\n"]


def test_no_timer_comes_too_early(run: Run) -> None:
    async def story() -> list[float]:
        loop = asyncio.get_running_loop()
        poller = EpollPoller(loop)
        early = []
        for seconds in (0.0, 0.0004, 0.0101, 0.0333):
            due_at = loop.time() + seconds
            await asyncio.sleep(seconds)
            early.append(due_at - loop.time())
        poller.close()
        return early

    assert all(seconds <= 0.0001 for seconds in run(story()))


def test_a_fault_of_one_owner_is_reported_and_costs_the_others_nothing(run: Run) -> None:
    class Faulty:
        def __init__(self, sock: socket.socket) -> None:
            self.fileno = sock.fileno

        def ready(self, mask: int) -> None:
            raise RuntimeError("a fault")

    async def story() -> tuple[set[str], bytes]:
        loop, faults = asyncio.get_running_loop(), set[str]()
        loop.set_exception_handler(lambda _, context: faults.add(str(context["exception"])))
        poller = EpollPoller(loop)
        (near, far), (other, other_far) = tcp_pair(), tcp_pair()
        poller.register(Faulty(near))
        stream = SocketStream(other, poller, "other")
        far.send(b"x")
        other_far.send(b"y")
        received = await asyncio.wait_for(stream.receive(), 20)
        await until(lambda: bool(faults))
        for sock in (far, near, other_far):
            sock.close()
        stream.close()
        poller.close()
        return faults, received

    assert run(story()) == ({"a fault"}, b"y")


def test_the_loop_without_a_poller_is_asyncios(run: Run) -> None:
    async def story() -> str:
        await asyncio.sleep(0.01)
        return await asyncio.to_thread(lambda: "done")

    assert run(story()) == "done"


def test_callbacks_run_in_their_order_and_context_and_not_on_a_closed_loop(run: Run) -> None:
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)
    other = contextvars.copy_context()
    other.run(number.set, 7)
    calls: list[tuple[str, int]] = []

    def note(name: str) -> None:
        calls.append((name, number.get()))

    async def story() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        loop.call_soon(note, "first")
        loop.call_soon(note, "never").cancel()
        loop.call_soon(note, "second", context=other)
        await asyncio.sleep(0)
        return loop

    loop = run(story())
    assert calls == [("first", 0), ("second", 7)]
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(note, "late")


def test_a_fault_of_a_callback_is_reported_and_costs_the_others_nothing(run: Run) -> None:
    calls: list[str] = []

    def fail() -> None:
        raise RuntimeError("a fault")

    async def story() -> list[str]:
        loop, faults = asyncio.get_running_loop(), list[str]()
        loop.set_exception_handler(lambda _, context: faults.append(str(context["exception"])))
        loop.call_soon(fail)
        loop.call_soon(calls.append, "after it")
        loop.call_later(0, fail)
        await asyncio.sleep(0.01)
        return faults

    assert run(story()) == ["a fault", "a fault"]
    assert calls == ["after it"]


def test_timers_are_called_in_their_order_and_cancelled_ones_do_not_pile_up(run: Run) -> None:
    async def story() -> tuple[list[int], int]:
        loop, called = asyncio.get_running_loop(), list[int]()
        for number in (3, 1, 2):
            loop.call_later(number * 0.002, called.append, number)
        for _ in range(1000):
            loop.call_later(3600, called.append, 0).cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return called, len(cast(Any, loop)._scheduled)

    called, left = run(story())
    assert called == [1, 2, 3]
    assert left < 300


def test_sockets_are_closed_at_the_end_of_the_pass() -> None:
    async def story() -> bytes:
        poller = EpollPoller(asyncio.get_running_loop())
        near, far = tcp_pair()
        number, stream = near.fileno(), SocketStream(near, poller, "near", connected=True)
        stream.send_nowait(b"last words")
        stream.close()
        stream.abort()  # harmless, as always after that
        assert stream.lowest_socket.fileno() == -1
        with socket.socket() as other:
            assert other.fileno() != number
        with pytest.raises(OSError, match="Bad file descriptor"):
            stream.receive_nowait()
        assert far.recv(16) == b"last words"
        with pytest.raises(BlockingIOError):
            far.recv(16)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with far:
            ended = far.recv(16)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        poller.close()
        return ended

    assert run_on_ours(story()) == b""


def test_one_that_is_reset_is_closed_then_as_well(run: Run) -> None:
    async def story() -> None:
        poller = EpollPoller(asyncio.get_running_loop())
        near, far = tcp_pair()
        SocketStream(near, poller, "near", connected=True).abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with far, pytest.raises(ConnectionResetError):
            far.recv(16)
        poller.close()

    run(story())


def test_a_pass_ends_with_its_calls_and_then_closes() -> None:
    done: list[str] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        poller = EpollPoller(loop)
        loop.set_exception_handler(lambda _, context: done.append(str(context["exception"])))
        near, far = tcp_pair()

        def fail() -> None:
            raise RuntimeError("a fault")

        def note_end() -> None:
            with pytest.raises(BlockingIOError):
                far.recv(1)
            done.append("call")
            poller.at_pass_end(lambda: done.append("call of a call"))

        poller.close_socket(near)
        poller.at_pass_end(fail)
        poller.at_pass_end(note_end)
        loop.call_soon(done.append, "next pass")
        done.append("this pass")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with far:
            assert far.recv(1) == b""
        poller.close()

    run_on_ours(story())
    assert done == ["this pass", "a fault", "call", "call of a call", "next pass"]


def test_a_poller_that_is_closed_leaves_nothing_undone(run: Run) -> None:
    async def story() -> list[str]:
        poller, done = EpollPoller(asyncio.get_running_loop()), list[str]()
        near, far = tcp_pair()
        poller.at_pass_end(lambda: done.append("called"))
        poller.close_socket(near)
        poller.close()
        with far:
            assert far.recv(1) == b""
        other, far = tcp_pair()
        poller.at_pass_end(lambda: done.append("called at once"))
        poller.close_socket(other)
        with far:
            assert far.recv(1) == b""
        return done

    assert run(story()) == ["called", "called at once"]


def test_a_second_poller_gets_its_events_too_and_the_first_keeps_its_own(run: Run) -> None:
    async def story() -> list[bytes]:
        pollers = [EpollPoller(asyncio.get_running_loop()) for _ in range(2)]
        received = []
        for poller in (*pollers, pollers[0]):
            near, far = tcp_pair()
            stream = SocketStream(near, poller, "near")
            asyncio.get_running_loop().call_soon(far.send, b"news")
            received.append(await asyncio.wait_for(stream.receive(), 20))
            stream.close()
            far.close()
            if poller is pollers[1]:
                poller.close()
        pollers[0].close()
        return received

    assert run(story()) == [b"news"] * 3
