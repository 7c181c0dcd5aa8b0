from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable

import pytest

from proxy.net.poller import BROKEN, READABLE, WRITABLE, EpollPoller, LoopPoller, Poller, make_poller
from tests.support.sockets import reset, tcp_pair
from tests.support.waiting import GIVEN_UP_S


class Watcher:
    """Notes what it is told."""

    def __init__(self, sock: socket.socket, fault: Exception | None = None) -> None:
        self.sock = sock
        self.fault = fault
        self.masks: list[int] = []
        self.told = asyncio.Event()

    def fileno(self) -> int:
        return self.sock.fileno()

    def ready(self, mask: int) -> None:
        self.masks.append(mask)
        self.told.set()
        if self.fault is not None:
            raise self.fault

    async def wait_for(self, mask: int) -> None:
        async with asyncio.timeout(GIVEN_UP_S):
            while not any(seen & mask for seen in self.masks):
                self.told.clear()
                await self.told.wait()


async def test_the_first_edge_tells_of_what_is_possible_already(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[1].send(b"before")
    watcher = Watcher(pair[0])
    poller.register(watcher)
    await watcher.wait_for(READABLE)
    await watcher.wait_for(WRITABLE)


async def test_tells_again_after_a_call_that_would_have_blocked(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    watcher = Watcher(near)
    poller.register(watcher)
    for word in (b"one", b"two"):
        await watcher.wait_for(WRITABLE)
        with pytest.raises(BlockingIOError):
            near.recv(1)
        poller.want_read(watcher)
        watcher.masks.clear()
        far.send(word)
        await watcher.wait_for(READABLE)
        assert near.recv(16) == word
        poller.want_write(watcher)
        near.send(b"x")
        far_got = far.recv(16)
        assert far_got == b"x"
        watcher.masks.append(WRITABLE)


async def test_a_pause_in_reading_ends_with_what_came_in_it(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    watcher = Watcher(near)
    poller.register(watcher)
    await watcher.wait_for(WRITABLE)
    with pytest.raises(BlockingIOError):
        near.recv(1)
    watcher.masks.clear()
    poller.pause_reading(watcher, writes=True)
    far.send(b"unread")
    for _ in range(3):
        await asyncio.sleep(0)
    if poller.edge_triggered:
        assert not any(mask & READABLE for mask in watcher.masks)
    poller.resume_reading(watcher, writes=True)
    poller.want_read(watcher)
    await watcher.wait_for(READABLE)
    assert near.recv(16) == b"unread"


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: only epoll tells of it")
@pytest.mark.parametrize("end", [lambda sock: sock.shutdown(socket.SHUT_WR), reset], ids=["end", "reset"])
async def test_a_pause_in_reading_hides_no_end(
    pair: tuple[socket.socket, socket.socket], end: Callable[[socket.socket], None]
) -> None:
    poller = EpollPoller(asyncio.get_running_loop())
    near, far = pair
    watcher = Watcher(near)
    poller.register(watcher, writes=False)
    poller.pause_reading(watcher, writes=False)
    end(far)
    await watcher.wait_for(READABLE | BROKEN)
    poller.close()


async def test_an_end_of_the_peer_is_readable(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    watcher = Watcher(near)
    poller.register(watcher)
    await watcher.wait_for(WRITABLE)
    poller.want_read(watcher)
    watcher.masks.clear()
    far.shutdown(socket.SHUT_WR)
    await watcher.wait_for(READABLE)
    assert near.recv(1) == b""


async def test_a_reset_wakes(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    watcher = Watcher(near)
    poller.register(watcher)
    await watcher.wait_for(WRITABLE)
    poller.want_read(watcher)
    watcher.masks.clear()
    reset(far)
    await watcher.wait_for(READABLE | BROKEN)
    with pytest.raises(ConnectionResetError):
        near.recv(1)


async def test_unregistered_is_told_nothing(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    watcher, other = Watcher(near), Watcher(far)
    poller.register(watcher)
    poller.register(other)
    poller.unregister(watcher)
    poller.unregister(watcher)  # harmless when repeated
    far.send(b"x")
    await other.wait_for(WRITABLE)
    poller.want_read(watcher)  # late calls of a finished stream
    poller.want_write(watcher)
    await asyncio.sleep(0)
    assert watcher.masks == []


async def test_one_faulty_owner_costs_the_others_nothing(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context["exception"])))
    faulty, healthy = Watcher(pair[0], RuntimeError("a fault")), Watcher(pair[1])
    poller.register(faulty)
    poller.register(healthy)
    await faulty.wait_for(WRITABLE)
    await healthy.wait_for(WRITABLE)
    assert set(faults) == {"a fault"}


async def test_what_outlives_the_poller_may_still_be_unregistered(pair: tuple[socket.socket, socket.socket]) -> None:
    for kind in (EpollPoller, LoopPoller):
        poller = kind(asyncio.get_running_loop())
        watcher = Watcher(pair[0])
        poller.register(watcher)
        poller.close()
        poller.close()
        poller.unregister(watcher)


async def test_a_socket_that_cannot_be_watched_leaves_nothing_behind(tmp_path: object) -> None:
    poller = EpollPoller(asyncio.get_running_loop())
    with open(f"{tmp_path}/plain", "wb") as plain:  # noqa: ASYNC230  epoll refuses plain files
        watcher = Watcher(plain)  # type: ignore[arg-type]  # anything with a descriptor
        with pytest.raises(PermissionError):
            poller.register(watcher)
        poller.unregister(watcher)  # would raise if it were still held
    poller.close()


async def test_an_edge_of_a_closed_socket_is_not_for_the_next_one_of_its_number(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Both sockets are readable in one batch. The first owner that is called closes the other and reuses its number."""
    fresh, far = tcp_pair()
    later: list[Watcher] = []
    is_taken = asyncio.Event()

    class Closes(Watcher):
        def ready(self, mask: int) -> None:
            super().ready(mask)
            other = watchers[1 - watchers.index(self)]
            if mask & READABLE and not later:
                number = other.fileno()
                poller.unregister(other)
                other.sock.close()
                os.dup2(fresh.fileno(), number)
                later.append(Watcher(socket.socket(fileno=number)))
                poller.register(later[0])
                is_taken.set()

    watchers = [Closes(sock) for sock in pair]
    for watcher in watchers:
        watcher.sock.send(b"for the other")
    for watcher in watchers:
        poller.register(watcher)
    async with asyncio.timeout(GIVEN_UP_S):
        await is_taken.wait()
    await later[0].wait_for(WRITABLE)
    assert not any(mask & READABLE for mask in later[0].masks)
    poller.unregister(later[0])
    for sock in (later[0].sock, fresh, far):
        sock.close()


async def test_many_more_edges_than_one_batch() -> None:
    poller = EpollPoller(asyncio.get_running_loop())
    sockets = [sock for _ in range(300) for sock in tcp_pair()]
    watchers = [Watcher(sock) for sock in sockets]
    for watcher in watchers:
        poller.register(watcher)
    for watcher in watchers:
        await watcher.wait_for(WRITABLE)
    poller.close()
    for sock in sockets:
        sock.close()


async def test_this_platform_has_a_poller() -> None:
    poller = make_poller(asyncio.get_running_loop())
    assert isinstance(poller, EpollPoller | LoopPoller)
    poller.close()


async def test_to_close_what_was_never_registered_is_harmless(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    for _ in range(2):
        poller.close_socket(pair[0])
        assert pair[0].fileno() < 0
    poller.unregister(Watcher(pair[1]))
    poller.want_write(Watcher(pair[1]))
