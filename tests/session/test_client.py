"""Replies in a client's handshake: sent at the end of a pass of the loop, whole, before anything else."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine

import pytest

from proxy.net.loop.choice import new_loop
from proxy.net.poller import make_poller
from proxy.net.stream import CHUNK, SocketStream
from proxy.net.tasks import spawn
from proxy.session.client import Client
from proxy.wire import socks
from tests.support.sockets import reset, tcp_pair

Story = Callable[[Client, socket.socket], Coroutine[None, None, None]]


def tell(story: Story, loop: Callable[[], asyncio.AbstractEventLoop] = new_loop) -> None:
    """On the loop that Byway runs on, or another: a client, and the other side of its connection."""

    async def told() -> None:
        poller = make_poller(asyncio.get_running_loop())
        far, near = tcp_pair()
        client = Client(SocketStream(near, poller, "127.0.0.1:50000", connected=True))
        async with asyncio.timeout(20):
            await story(client, far)
        client.close()
        poller.close()
        far.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(told())


def read(sock: socket.socket) -> bytes:
    """All that it gets until its end."""
    sock.setblocking(True)
    sock.settimeout(20)
    return b"".join(iter(lambda: sock.recv(4096), b""))


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: epoll is Linux")
def test_a_reply_is_sent_at_the_end_of_the_pass() -> None:
    async def story(client: Client, far: socket.socket) -> None:
        client.reply(b"one ")
        client.reply(b"two")
        with pytest.raises(BlockingIOError):
            far.recv(16)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert far.recv(16) == b"one two"

    tell(story)


@pytest.mark.parametrize("loop", [new_loop, asyncio.new_event_loop])
def test_nothing_comes_before_a_reply_and_it_comes_once(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story(client: Client, far: socket.socket) -> None:
        client.reply(b"chosen ")
        await client.finish(b"and refused", linger_s=0.01)
        await asyncio.sleep(0)
        client.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert read(far) == b"chosen and refused"

    tell(story, loop)


@pytest.mark.parametrize("loop", [new_loop, asyncio.new_event_loop])
def test_bytes_after_a_final_answer_are_read_until_the_client_leaves(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Closing with unread bytes would reset the connection."""

    async def story(client: Client, far: socket.socket) -> None:
        finishing = spawn(client.finish(b"refused", linger_s=1000), name="finish")
        await asyncio.to_thread(read, far)
        await asyncio.to_thread(far.sendall, bytes(2 * CHUNK))
        far.shutdown(socket.SHUT_WR)
        await finishing
        assert client.stream.lowest_socket.recv(64) == b""

    tell(story, loop)


@pytest.mark.parametrize("loop", [new_loop, asyncio.new_event_loop])
def test_one_that_is_closed_at_once_gets_its_reply(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story(client: Client, far: socket.socket) -> None:
        client.reply(socks.SOCKS5_NO_METHOD)
        client.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert read(far) == socks.SOCKS5_NO_METHOD

    tell(story, loop)


@pytest.mark.parametrize("loop", [new_loop, asyncio.new_event_loop])
def test_one_that_cannot_be_sent_its_reply_has_left(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story(client: Client, far: socket.socket) -> None:
        reset(far)
        client.reply(b"too late")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            client.stream.receive_nowait()

    tell(story, loop)


@pytest.mark.parametrize("loop", [new_loop, asyncio.new_event_loop])
def test_a_reply_for_which_there_is_no_room_ends_the_connection(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story(client: Client, far: socket.socket) -> None:
        for size in (1 << 20, 1):
            while client.stream.send_nowait(bytes(size)):
                pass
        client.reply(b"no room")
        await client.news.wait(asyncio.get_running_loop().time() + 20)
        with pytest.raises(OSError, match="Bad file descriptor"):
            client.stream.receive_nowait()

    tell(story, loop)
