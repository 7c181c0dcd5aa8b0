from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial

import pytest

from proxy.model.errors import PeerError
from proxy.net.poller import BROKEN, PEER_SHUT, Poller
from proxy.net.stream import CHUNK, SocketStream, read_with
from proxy.net.tasks import spawn
from proxy.wire.reader import Parser, Reader
from tests.support.sockets import reset, tcp_pair
from tests.support.waiting import GIVEN_UP_S, until

PLENTY = os.urandom(16 << 20)  # more than the kernel takes at once


@pytest.fixture
async def streams(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> AsyncIterator[tuple[SocketStream, SocketStream]]:
    near, far = (SocketStream(sock, poller, f"test:{sock.fileno()}") for sock in pair)
    yield near, far
    near.close()
    far.close()


async def settled() -> None:
    """Lets the tasks run until they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


async def receive_all(stream: SocketStream) -> bytes:
    pieces = []
    while piece := await stream.receive():
        assert len(piece) <= CHUNK
        pieces.append(piece)
    return b"".join(pieces)


async def test_bytes_and_both_ends_arrive(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    async with asyncio.timeout(10):
        sending = spawn(near.send(PLENTY), name="send")
        await settled()
        assert not sending.done()
        receiving = spawn(receive_all(far), name="receive")
        await sending
        near.send_eof()
        near.send_eof()
        assert await receiving == PLENTY
        await far.send(b"the other direction stays open")
        far.send_eof()
        assert await receive_all(near) == b"the other direction stays open"


async def test_nowait_calls_say_when_they_would_block(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    woken = asyncio.Event()
    near.notify = woken.set
    assert near.receive_nowait() is None
    taken = 0
    while sent := near.send_nowait(PLENTY[:CHUNK]):
        taken += sent
    async with asyncio.timeout(10):
        woken.clear()
        while taken:
            taken -= len(await far.receive())
        await woken.wait()
        assert near.send_nowait(b"x") == 1
        await far.receive()
        woken.clear()
        await far.send(b"y")
        while near.receive_nowait() is None:
            await woken.wait()
            woken.clear()


async def test_a_partial_send_is_followed_by_an_edge(streams: tuple[SocketStream, SocketStream]) -> None:
    """The kernel took a part, so nobody was told that the next call would block."""
    near, far = streams
    woken = asyncio.Event()
    await settled()
    near.notify = woken.set
    sent = near.send_nowait(PLENTY)
    assert 0 < sent < len(PLENTY) * 8
    await settled()
    woken.clear()
    async with asyncio.timeout(10):
        while sent:
            sent -= len(await far.receive())
        await woken.wait()


async def test_an_accepted_stream_tells_that_it_may_send_only_after_a_send_was_cut_short(poller: Poller) -> None:
    calls: list[str] = []
    quiet, full, heard = tcp_pair(), tcp_pair(), tcp_pair()
    streams = {
        name: SocketStream(pair[0], poller, name, connected=True)
        for name, pair in {"quiet": quiet, "full": full, "heard": heard}.items()
    }
    for name, stream in streams.items():
        stream.notify = partial(calls.append, name)
    while streams["full"].send_nowait(bytes(CHUNK)):
        pass
    heard[1].send(b"x")
    await until(lambda: "heard" in calls)
    assert "quiet" not in calls
    async with asyncio.timeout(20):
        while "full" not in calls:
            with contextlib.suppress(BlockingIOError):
                full[1].recv(CHUNK)
            await asyncio.sleep(0)
    assert "quiet" not in calls
    quiet[1].send(b"x")
    await until(lambda: "quiet" in calls)
    for stream in streams.values():
        stream.close()
    for _, far in (quiet, full, heard):
        far.close()


async def test_B14_an_urgent_byte_stalls_nothing(
    pair: tuple[socket.socket, socket.socket], streams: tuple[SocketStream, SocketStream]
) -> None:
    """The kernel ends a read before an urgent byte, with more behind it, and has no new edge for that."""
    near, _ = streams
    pair[1].send(b"before")
    pair[1].send(b"!", socket.MSG_OOB)
    pair[1].send(b"after")
    pair[1].shutdown(socket.SHUT_WR)
    await settled()
    async with asyncio.timeout(GIVEN_UP_S):
        assert (await receive_all(near)).replace(b"!", b"") == b"beforeafter"


async def test_B14_an_urgent_byte_in_the_middle_stalls_nothing(
    pair: tuple[socket.socket, socket.socket], streams: tuple[SocketStream, SocketStream]
) -> None:
    near, _ = streams
    await settled()
    assert near.receive_nowait() is None
    pair[1].send(b"before")
    pair[1].send(b"!", socket.MSG_OOB)
    pair[1].send(b"after")
    received = b""
    async with asyncio.timeout(GIVEN_UP_S):
        while len(received.replace(b"!", b"")) < len(b"beforeafter"):
            received += await near.receive()


async def test_one_task_receives_while_another_sends(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    async with asyncio.timeout(20):
        receivers = [spawn(receive_all(stream), name="receive") for stream in streams]
        senders = [spawn(stream.send(PLENTY), name="send") for stream in streams]
        await asyncio.gather(*senders)
        near.send_eof()
        far.send_eof()
        assert await asyncio.gather(*receivers) == [PLENTY, PLENTY]


async def test_a_reset_is_raised_once_what_came_was_read(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    await far.send(b"last words")
    far.abort()
    far.abort()
    async with asyncio.timeout(GIVEN_UP_S):
        with pytest.raises(ConnectionResetError):
            await receive_all(near)


@pytest.mark.parametrize("end", ["close", "abort", "detach"])
async def test_ending_a_stream_wakes_who_waits(streams: tuple[SocketStream, SocketStream], end: str) -> None:
    near, _ = streams
    receiving = spawn(near.receive(), name="receive")
    sending = spawn(near.send(PLENTY), name="send")
    await settled()
    given = getattr(near, end)()
    async with asyncio.timeout(GIVEN_UP_S):
        for task in (receiving, sending):
            with pytest.raises(OSError, match="Bad file descriptor"):
                await task
    if given is not None:
        given.close()


async def test_a_cancelled_wait_leaves_the_stream_usable(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    waiting = spawn(near.receive(), name="receive")
    await settled()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await far.send(b"x")
    async with asyncio.timeout(GIVEN_UP_S):
        assert await near.receive() == b"x"


async def test_detach_gives_the_socket_away_non_blocking(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    given = near.detach()
    with given:
        assert given.gettimeout() == 0
        assert near.fileno() == -1
        near.close()  # finished already
        await far.send(b"x")
        async with asyncio.timeout(GIVEN_UP_S):
            assert await asyncio.get_running_loop().sock_recv(given, 10) == b"x"


async def test_connected_waits_for_the_handshake_and_tells_its_fault(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = dialling(poller, listener.getsockname()[1])
        async with asyncio.timeout(GIVEN_UP_S):
            await stream.connected()
        stream.close()
        port = listener.getsockname()[1]
    stream = dialling(poller, port)
    async with asyncio.timeout(GIVEN_UP_S):
        with pytest.raises(ConnectionRefusedError):
            await stream.connected()
    stream.close()
    stream.close()


async def test_a_connect_that_was_found_to_have_come_through_is_not_told_again(poller: Poller) -> None:
    """The edge that reports it comes after the first bytes were sent: who waits for their answer need not wake."""
    calls: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked, unasked = (dialling(poller, listener.getsockname()[1]) for _ in range(2))
        far, other = (listener.accept()[0] for _ in range(2))  # both handshakes are over
    asked.notify, unasked.notify = partial(calls.append, "asked"), partial(calls.append, "unasked")
    assert asked.is_connected()
    await until(lambda: "unasked" in calls)
    await settled()
    assert "asked" not in calls
    while asked.send_nowait(bytes(CHUNK)):
        pass
    far.setblocking(False)
    async with asyncio.timeout(20):
        while "asked" not in calls:
            with contextlib.suppress(BlockingIOError):
                far.recv(CHUNK)
            await asyncio.sleep(0)
    for end in (asked, unasked, far, other):
        end.close()


def dialling(poller: Poller, port: int) -> SocketStream:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", port))
    return SocketStream(sock, poller, f"127.0.0.1:{port}")


async def test_it_is_plain_all_the_way_down(streams: tuple[SocketStream, SocketStream]) -> None:
    near, _ = streams
    assert near.plain_socket is near.lowest_socket
    assert repr(near).startswith("<SocketStream test:")


def a_line(reader: Reader) -> Parser[bytes]:
    line = yield from reader.until(b"\n", limit=8, overlong=PeerError("too long"))
    return line


async def test_read_with_drives_a_parser_and_keeps_the_rest(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    reader = Reader()
    async with asyncio.timeout(GIVEN_UP_S):
        reading = spawn(read_with(near, reader, a_line(reader)), name="read")
        for byte in b"one\ntwo\n":
            await far.send(bytes([byte]))
            await settled()
        assert await reading == b"one\n"
        assert await read_with(near, reader, a_line(reader)) == b"two\n"
        assert len(reader) == 0


async def test_read_with_passes_on_what_the_parser_says(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    reader = Reader()
    await far.send(b"more than eight")
    async with asyncio.timeout(GIVEN_UP_S):
        with pytest.raises(PeerError, match="too long"):
            await read_with(near, reader, a_line(reader))
        reader = Reader()
        far.send_eof()
        with pytest.raises(PeerError, match="closed in the middle"):
            await read_with(near, reader, a_line(reader))


async def test_read_with_passes_on_a_reset(
    pair: tuple[socket.socket, socket.socket], streams: tuple[SocketStream, SocketStream]
) -> None:
    near, far = streams
    reset(far.detach())
    reader = Reader()
    async with asyncio.timeout(GIVEN_UP_S):
        with pytest.raises(ConnectionResetError):
            await read_with(near, reader, a_line(reader))


async def test_what_is_sent_apart_arrives_in_order(streams: tuple[SocketStream, SocketStream]) -> None:
    near, far = streams
    receiving = spawn(receive_all(far), name="receive")
    for piece in (b"a", b"b" * 1000, b"c"):
        assert near.send_apart_nowait(piece) == len(piece)
    while near.send_apart_nowait(PLENTY):
        pass
    woken = asyncio.Event()
    near.notify = woken.set  # full: its turn is told as after any send
    await asyncio.wait_for(woken.wait(), 10)
    near.close()
    received = await asyncio.wait_for(receiving, 10)
    assert received.startswith(b"a" + b"b" * 1000 + b"c" + PLENTY[:1000])


class Counting(socket.socket):
    """Counts its reads."""

    reads = 0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self.reads += 1
        return super().recv(bufsize, flags)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: only epoll reports the end")
async def test_an_end_that_came_with_the_last_bytes_takes_no_read_of_its_own(
    best_poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = Counting(fileno=pair[0].detach()), pair[1]
    stream = SocketStream(near, best_poller, "near")
    await asyncio.sleep(0.01)
    assert stream.receive_nowait() is None
    woken = asyncio.Event()
    stream.notify = woken.set
    far.sendall(b"last")
    far.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(10):
        while not stream._edges & PEER_SHUT:
            woken.clear()
            await woken.wait()
    before = near.reads
    assert [stream.receive_nowait() for _ in range(3)] == [b"last", b"", b""]
    assert near.reads == before + 1
    stream.close()


async def test_the_last_bytes_leave_together_with_the_end(best_poller: Poller) -> None:
    near, far = tcp_pair()
    stream = SocketStream(near, best_poller, "near", connected=True)
    with far:
        assert stream.send_last_nowait(b"last") == 4
        if sys.platform == "linux":
            with pytest.raises(BlockingIOError):  # they are held for the end
                far.recv(16)
        stream.send_eof()
        async with asyncio.timeout(10):
            assert [await asyncio.get_running_loop().sock_recv(far, 16) for _ in range(2)] == [b"last", b""]
    stream.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: only epoll reports the end")
async def test_a_stream_tells_ahead_that_it_has_finished(
    best_poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    stream = SocketStream(near, best_poller, "near", connected=True)
    stream.notify = (woken := asyncio.Event()).set
    far.sendall(b"last")
    far.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(10):
        while not stream._edges & PEER_SHUT:
            await woken.wait()
            woken.clear()
    assert (stream.finished, stream.receive_nowait(), stream.finished) == (False, b"last", True)
    stream.ready(BROKEN)  # a reset came since, so it is read
    assert not stream.finished
    stream.close()
