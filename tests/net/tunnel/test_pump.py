"""The pump, as one conformance suite over every kind of leg that it may be given.

Bytes are compared by hash against a pattern that repeats only after a prime number of bytes, so that nothing lost,
doubled or swapped goes unseen. The far ends are driven by coroutines on a poller of their own; nothing is waited for by
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import hashlib
import random
import resource
import signal
import socket
import ssl
import struct
import termios
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest
import trustme

from proxy.model import ClosedBy
from proxy.net.dialers.tls import TlsStream
from proxy.net.poller import EpollPoller, LoopPoller, Poller
from proxy.net.stream import CHUNK, EndedByByway, SocketStream, Stream
from proxy.net.tasks import spawn
from proxy.net.tunnel.pipes import PipePool
from proxy.net.tunnel.pump import HEAD_BYTES, Pump, TunnelResult

BOUND_S = 60.0  # only against hanging
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10_000_000)
_BLOCK = random.Random(2008).randbytes(1_048_573)  # prime
_MASK = bytes(byte ^ 0x5A for byte in range(256))


class Xor(Stream):
    """A stream whose bytes are not its socket's, so that the kernel cannot move them: as TLS, without its costs."""

    def __init__(self, inner: Stream) -> None:
        super().__init__(inner.peer)
        self._inner = inner
        inner.notify = lambda: self._wake(receiver=True, sender=True)

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        data = self._inner.receive_nowait(limit)
        return None if data is None else data.translate(_MASK)

    def send_nowait(self, data: bytes | memoryview) -> int:
        return self._inner.send_nowait(bytes(data).translate(_MASK))

    def send_eof(self) -> None:
        self._inner.send_eof()

    def close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return None

    @property
    def lowest_socket(self) -> socket.SocketType:
        return self._inner.lowest_socket


class ServerSide:
    """Makes a TlsStream the server's side of TLS, for the far end."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_hostname: str) -> ssl.SSLObject:
        return self._context.wrap_bio(incoming, outgoing, server_side=True)


@functools.cache
def _contexts() -> tuple[ssl.SSLContext, ServerSide]:
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    authority.issue_cert("relay.example").configure_cert(server)
    return client, ServerSide(server)


Wrap = Callable[[Stream, Stream], Awaitable[tuple[Stream, Stream]]]


async def _plain(near: Stream, far: Stream) -> tuple[Stream, Stream]:
    return near, far


async def _xor(near: Stream, far: Stream) -> tuple[Stream, Stream]:
    return Xor(near), Xor(far)


async def _tls(near: Stream, far: Stream) -> tuple[Stream, Stream]:
    client, server = _contexts()
    near = TlsStream(near, client, "relay.example")
    far = TlsStream(far, cast(ssl.SSLContext, server), "")
    await asyncio.gather(near.handshake(), far.handshake())
    return near, far


async def _tls_in_tls(near: Stream, far: Stream) -> tuple[Stream, Stream]:
    return await _tls(*await _tls(near, far))


@dataclass(frozen=True)
class Kind:
    """What a tunnel's two legs are made of."""

    name: str
    poller: Callable[[asyncio.AbstractEventLoop], Poller] = EpollPoller
    splices: bool = False
    client_leg: Wrap = _plain
    upstream_leg: Wrap = _plain
    overhead: int = 0  # bytes on the wire beyond the stream's, and what a second TLS layer holds
    is_slow: bool = False  # it is like another kind, twice

    @property
    def is_loop_poller(self) -> bool:
        return self.poller is LoopPoller


KINDS = (
    Kind("splice", splices=True),
    Kind("copy"),
    Kind("loop_poller", LoopPoller),
    Kind("opaque", splices=True, upstream_leg=_xor),
    Kind("opaque_both", splices=True, client_leg=_xor, upstream_leg=_xor, is_slow=True),
    Kind("tls", splices=True, upstream_leg=_tls, overhead=8 * 1024),
    Kind("tls_loop_poller", LoopPoller, upstream_leg=_tls, overhead=8 * 1024),
    Kind("tls_in_tls", splices=True, upstream_leg=_tls_in_tls, overhead=16 * 1024 + CHUNK, is_slow=True),
)


@dataclass
class Tunnel:
    """One tunnel as the test sees it: the far ends, which it drives, and the near ones, which the pump has."""

    client: Stream
    server: Stream
    near_client: Stream
    near_upstream: Stream
    ends: list[TunnelResult] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self, carried: TunnelResult) -> None:
        self.ends.append(carried)
        self.over.set()

    async def end(self) -> TunnelResult:
        """How it ended: told once, and after both descriptors were closed."""
        await self.over.wait()
        near = (self.near_client.lowest_socket, self.near_upstream.lowest_socket)
        await eventually(lambda: all(sock.fileno() == -1 for sock in near))  # TLS may have a last record to send
        assert len(self.ends) == 1
        return self.ends[0]


class Rig:
    """A pump with its poller, and tunnels on loopback through it."""

    def __init__(self, kind: Kind, *, idle_timeout_s: float = 600.0, half_open_timeout_s: float = 600.0) -> None:
        loop = asyncio.get_running_loop()
        self.kind = kind
        self.poller = kind.poller(loop)
        self.pipes = PipePool(limit=8)
        self.pump = Pump(
            idle_timeout_s=idle_timeout_s,
            half_open_timeout_s=half_open_timeout_s,
            splices=kind.splices,
            pipes=self.pipes,
        )
        self._far_poller = EpollPoller(loop)
        self._made: list[Stream] = []

    def pair(self, family: int = socket.AF_INET, buffers: int | None = None) -> tuple[Stream, Stream]:
        """A near and a far stream, connected."""
        near, far = _tcp_pair(buffers) if family == socket.AF_INET else socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        pair = SocketStream(near, self.poller, "near", connected=True), SocketStream(far, self._far_poller, "far")
        self._made += pair
        return pair

    async def legs(self, *, buffers: int | None = None) -> Tunnel:
        """A tunnel that is not carried yet."""
        near_client, client = await self.kind.client_leg(*self.pair(buffers=buffers))
        near_upstream, server = await self.kind.upstream_leg(*self.pair(buffers=buffers))
        return Tunnel(client, server, near_client, near_upstream)

    def start(self, tunnel: Tunnel, *, to_upstream: bytes = b"", to_client: bytes = b"") -> None:
        self.pump.start(
            tunnel.near_client, tunnel.near_upstream, tunnel.ended, to_upstream=to_upstream, to_client=to_client
        )

    async def tunnel(self, *, buffers: int | None = None, to_upstream: bytes = b"", to_client: bytes = b"") -> Tunnel:
        tunnel = await self.legs(buffers=buffers)
        self.start(tunnel, to_upstream=to_upstream, to_client=to_client)
        return tunnel

    async def close(self) -> None:
        await self.pump.close(0)
        for stream in self._made:
            stream.abort()
        self.poller.close()
        self._far_poller.close()


def _tcp_pair(buffers: int | None) -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener, contextlib.ExitStack() as undo:
        if buffers is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        far = undo.enter_context(socket.socket())
        if buffers is not None:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        far.connect(listener.getsockname())
        near, _ = listener.accept()
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        undo.pop_all()
    return near, far


@pytest.fixture(
    params=[pytest.param(kind, id=kind.name, marks=pytest.mark.slow if kind.is_slow else ()) for kind in KINDS]
)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture(autouse=True)
def bound() -> Iterator[None]:
    """Fails a test that hangs, wherever it does. Told again each second: the loop keeps a callback's exception."""

    def fail(*_: object) -> None:
        pytest.fail(f"hung for {BOUND_S:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, BOUND_S, 1.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
async def rig(kind: Kind) -> AsyncIterator[Rig]:
    rig = Rig(kind)
    yield rig
    await rig.close()


# -- what the far ends do ----------------------------------------------------------------------------------------------


def pieces(size: int, start: int = 0) -> Iterator[memoryview]:
    """`size` bytes of the pattern from `start` on."""
    block = memoryview(_BLOCK)
    position = start
    while position < start + size:
        offset = position % len(block)
        piece = block[offset : offset + min(size + start - position, 256 * 1024)]
        yield piece
        position += len(piece)


def hash_of(size: int, start: int = 0) -> str:
    digest = hashlib.sha256()
    for piece in pieces(size, start):
        digest.update(piece)
    return digest.hexdigest()


async def send_pattern(stream: Stream, size: int, start: int = 0) -> None:
    for piece in pieces(size, start):
        await stream.send(piece)


async def send_endlessly(stream: Stream) -> None:
    """Sends until the stream breaks."""
    while True:
        await stream.send(b"more" * 1024)
        await asyncio.sleep(0)


async def read_to_end(stream: Stream) -> tuple[int, str]:
    """How many bytes came until the end of sending, and their hash."""
    digest = hashlib.sha256()
    size = 0
    while data := await stream.receive():
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


async def read_exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive(size - len(data))
        assert piece, f"ended after {len(data)} of {size} bytes"
        data += piece
    return data


async def reset_comes(stream: Stream) -> int:
    """Reads until the reset, and returns how many bytes came before it. Fails at an orderly end."""
    size = 0
    try:
        while data := await stream.receive():
            size += len(data)
    except ConnectionResetError:
        return size
    raise AssertionError(f"an orderly end after {size} bytes, in place of a reset")


async def exchange(tunnel: Tunnel, up: int, down: int) -> None:
    """The pattern in both directions at once, both ends finish, everything is checked."""

    async def speak(stream: Stream, size: int, start: int) -> None:
        await send_pattern(stream, size, start)
        stream.send_eof()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(speak(tunnel.client, up, 0))
        tasks.create_task(speak(tunnel.server, down, 1))
        at_server = tasks.create_task(read_to_end(tunnel.server))
        at_client = tasks.create_task(read_to_end(tunnel.client))
    assert at_server.result() == (up, hash_of(up, 0))
    assert at_client.result() == (down, hash_of(down, 1))
    end = await tunnel.end()
    assert (end.bytes_up, end.bytes_down, end.error) == (up, down, "")


async def fill(stream: Stream, is_full: Callable[[], bool] = lambda: True) -> int:
    """Sends the pattern until a send has not been possible for a good while of loop turns, and `is_full` then: a busy
    kernel delivers, and makes room, much later. Returns how much went."""
    sent = 0
    turns_in_vain = 0
    while turns_in_vain < 2_000 or not is_full():
        piece = next(pieces(CHUNK, sent))
        taken = stream.send_nowait(piece)
        sent += taken
        turns_in_vain = 0 if taken else turns_in_vain + 1
        await asyncio.sleep(0)
    return sent


_CLOSE_WAIT = 8
"""The state of TCP after all that the peer sent has come, with its end (linux/tcp.h)."""


def _state(stream: Stream) -> int:
    return stream.lowest_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


async def eventually(holds: Callable[[], bool]) -> None:
    """Lets the loop turn until it holds; `bound` ends a vain wait."""
    while not holds():  # noqa: ASYNC110 - what is asked of the kernel rings no bell
        await asyncio.sleep(0)


# -- bytes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_every_byte_arrives_in_both_directions(rig: Rig, size: int) -> None:
    await exchange(await rig.tunnel(), size, size)
    assert rig.pump.active == 0


async def test_directions_are_independent(rig: Rig) -> None:
    await exchange(await rig.tunnel(), 3_000_001, 17)
    await exchange(await rig.tunnel(), 0, 3_000_001)


async def test_small_messages_are_not_kept_back(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    for number in range(300):
        message = b"%d," % number
        await tunnel.client.send(message)
        assert await read_exactly(tunnel.server, len(message)) == message
        await tunnel.server.send(message * 2)
        assert await read_exactly(tunnel.client, 2 * len(message)) == message * 2


async def test_what_lay_in_the_kernel_before_is_carried_without_a_new_edge(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one turn's worth, all of it there and finished before the pump has the streams."""
    monkeypatch.setattr("proxy.net.tunnel.pump._TURN", CHUNK)
    tunnel = await rig.legs(buffers=4_000_000)  # or as much as the kernel grants
    sent = await fill(tunnel.server)
    assert sent > 3 * CHUNK
    tunnel.server.send_eof()
    tunnel.client.send_eof()
    rig.start(tunnel)
    assert await read_to_end(tunnel.client) == (sent, hash_of(sent))
    assert (await tunnel.end()).bytes_down == sent


async def test_200_tunnels_at_once(rig: Rig) -> None:
    size = 1_000_000 if rig.kind.name == "splice" else 4 * CHUNK + 1  # what is spliced must be bulk
    async with asyncio.TaskGroup() as tasks:
        for _ in range(200):
            tasks.create_task(exchange(await rig.tunnel(), 1_000, size))
    assert rig.pump.active == 0
    assert rig.pipes.lent == 0


async def test_first_bytes_go_before_all_others(rig: Rig) -> None:
    tunnel = await rig.legs()
    await tunnel.client.send(b" and more")
    await tunnel.server.send(b" to you")
    rig.start(tunnel, to_upstream=b"hello", to_client=b"hello")
    assert await read_exactly(tunnel.server, 14) == b"hello and more"
    assert await read_exactly(tunnel.client, 12) == b"hello to you"
    tunnel.client.send_eof()
    tunnel.server.send_eof()
    end = await tunnel.end()
    assert (end.bytes_up, end.bytes_down) == (14, 12)


async def test_first_bytes_larger_than_the_kernel_takes(rig: Rig) -> None:
    first = b"".join(pieces(1_000_000))
    tunnel = await rig.tunnel(buffers=32 * 1024, to_upstream=first, to_client=first)
    tunnel.client.send_eof()
    tunnel.server.send_eof()
    expected = (len(first), hash_of(len(first)))
    assert tuple(await asyncio.gather(read_to_end(tunnel.server), read_to_end(tunnel.client))) == (expected, expected)
    end = await tunnel.end()
    assert (end.bytes_up, end.bytes_down) == (len(first), len(first))


async def test_first_bytes_count_only_when_delivered(rig: Rig) -> None:
    tunnel = await rig.legs()
    tunnel.client.abort()
    rig.start(tunnel, to_client=b"too late")
    end = await tunnel.end()
    assert end.bytes_up == 0
    assert end.closed_by is ClosedBy.CLIENT


async def test_B14_urgent_byte(rig: Rig) -> None:
    """Urgent data stays behind in the kernel, as for any reader that does not ask for it; the rest goes on."""
    tunnel = await rig.tunnel()
    await tunnel.client.send(b"before")
    assert await read_exactly(tunnel.server, 6) == b"before"
    tunnel.client.lowest_socket.send(b"!", socket.MSG_OOB)
    await tunnel.client.send(b"after")
    assert await read_exactly(tunnel.server, 5) == b"after"


async def test_B14_urgent_byte_within_bulk(rig: Rig) -> None:
    tunnel = await rig.tunnel()

    def has_sent_urgent() -> bool:
        with contextlib.suppress(BlockingIOError):
            return tunnel.client.lowest_socket.send(b"!", socket.MSG_OOB) == 1
        return False

    async with asyncio.TaskGroup() as tasks:
        reads = tasks.create_task(read_to_end(tunnel.server))
        await send_pattern(tunnel.client, 1_000_000)
        await eventually(has_sent_urgent)
        await send_pattern(tunnel.client, 1_000_000, 1_000_000)
        tunnel.client.send_eof()
    assert reads.result() == (2_000_000, hash_of(2_000_000))


async def test_B14_urgent_byte_and_end_while_nothing_is_taken(rig: Rig) -> None:
    tunnel = await rig.legs(buffers=4096)
    filled = await fill(tunnel.near_upstream)
    rig.start(tunnel)
    (carried,) = rig.pump._tunnels
    dots = 0
    while not carried.up.paused:  # `fill` may have left room
        dots += tunnel.client.send_nowait(b".")
        await asyncio.sleep(0)
    await tunnel.client.send(b"before")
    tunnel.client.lowest_socket.send(b"!", socket.MSG_OOB)
    await tunnel.client.send(b"after")
    tunnel.client.send_eof()
    await eventually(lambda: _state(tunnel.near_client) == _CLOSE_WAIT)
    await read_exactly(tunnel.server, filled)
    words = b""
    while word := await tunnel.server.receive():
        words += word
    assert words == b"." * dots + b"beforeafter"


# -- back-pressure -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_B13_slow_reader_stops_the_sender(rig: Rig, direction: str) -> None:
    tunnel = await rig.tunnel(buffers=256 * 1024)
    ends = [(tunnel.client, tunnel.near_client), (tunnel.server, tunnel.near_upstream)]
    (sender, source), (reader, sink) = ends if direction == "up" else reversed(ends)

    def held() -> int:
        return taken_from(source.lowest_socket) - given_to(sink.lowest_socket) - in_pipes(rig.pump)

    sent = await fill(sender, is_full=lambda: held() > 0 or rig.kind.splices)
    assert held() <= 2 * CHUNK + rig.kind.overhead

    sender.send_eof()
    assert await read_to_end(reader) == (sent, hash_of(sent))


def taken_from(sock: socket.SocketType) -> int:
    """Bytes that have been read from the socket."""
    received, unread = _at_one_moment(sock, 128, termios.FIONREAD)
    return received - unread


def given_to(sock: socket.SocketType) -> int:
    """Bytes that have been written to the socket."""
    acked, unacked = _at_one_moment(sock, 120, termios.TIOCOUTQ)
    return acked + unacked


def _at_one_moment(sock: socket.SocketType, offset: int, request: int) -> tuple[int, int]:
    """A counter of TCP_INFO and the length of its queue. A busy kernel delivers also between two calls."""
    while True:
        counted, queued = _tcp_counter(sock, offset), _ioctl(sock, request)
        if counted == _tcp_counter(sock, offset):
            return counted, queued


def in_pipes(pump: Pump) -> int:
    return sum(flow.pipe.buffered for tunnel in pump._tunnels for flow in (tunnel.up, tunnel.down) if flow.pipe)


def _tcp_counter(sock: socket.SocketType, offset: int) -> int:
    """tcpi_bytes_acked (at 120) or tcpi_bytes_received (at 128) of TCP_INFO."""
    (value,) = struct.unpack_from("Q", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136), offset)
    return int(value)


def _ioctl(sock: socket.SocketType, request: int) -> int:
    (value,) = struct.unpack("i", fcntl.ioctl(sock, request, b"\0" * 4))
    return int(value)


async def test_B13_one_slow_among_many(rig: Rig) -> None:
    slow = await rig.tunnel(buffers=64 * 1024)
    sent = await fill(slow.server)
    for _ in range(5):
        await exchange(await rig.tunnel(), 1_000_000, 1_000_000)
    slow.server.send_eof()
    assert await read_to_end(slow.client) == (sent, hash_of(sent))


@pytest.mark.parametrize("pieces", [[b"ab"], [b"ab", b"cd"], [bytes(range(200))], [b"a", bytes(range(256)) * 2000]])
async def test_what_comes_first_from_the_client_is_kept_to_the_end(rig: Rig, pieces: list[bytes]) -> None:
    tunnel, whole = await rig.tunnel(), b"".join(pieces)
    received = spawn(read_to_end(tunnel.server), name="the server")
    for piece in pieces:
        await tunnel.client.send(piece)
        await asyncio.sleep(0)
    await tunnel.server.send(b"an answer, which is not kept")
    tunnel.client.send_eof()
    tunnel.server.send_eof()
    assert (await received)[0] == len(whole)
    assert (await tunnel.end()).head_up == whole[:HEAD_BYTES]


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_B14_client_finishes_first(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    await tunnel.client.send(b"question")
    tunnel.client.send_eof()
    assert await read_to_end(tunnel.server) == (8, hashlib.sha256(b"question").hexdigest())
    await send_pattern(tunnel.server, 300_000)
    tunnel.server.send_eof()
    assert await read_to_end(tunnel.client) == (300_000, hash_of(300_000))
    assert await tunnel.end() == TunnelResult(8, 300_000, ClosedBy.CLIENT)


async def test_B14_server_finishes_first(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    tunnel.server.send_eof()
    assert await tunnel.client.receive() == b""
    await send_pattern(tunnel.client, 300_000)
    tunnel.client.send_eof()
    assert await read_to_end(tunnel.server) == (300_000, hash_of(300_000))
    assert await tunnel.end() == TunnelResult(300_000, 0, ClosedBy.SERVER)


async def test_B14_both_had_finished_before(rig: Rig) -> None:
    """The end is told, but not before carry() has returned."""
    tunnel = await rig.legs()
    tunnel.client.send_eof()
    tunnel.server.send_eof()
    await asyncio.sleep(0)
    rig.start(tunnel)
    assert tunnel.ends == []
    assert (await tunnel.end()).error == ""


async def test_A21_client_resets_in_a_download(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    sending = asyncio.gather(send_pattern(tunnel.server, 50_000_000), return_exceptions=True)
    await read_exactly(tunnel.client, 100_000)
    tunnel.client.abort()
    (error,) = await sending
    assert isinstance(error, ConnectionError)
    end = await tunnel.end()
    assert end.closed_by is ClosedBy.CLIENT
    assert end.error.startswith("the client's connection broke: ")


async def test_E30_upstream_resets_in_a_download(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    await tunnel.server.send(b"half a page")
    assert await read_exactly(tunnel.client, 11) == b"half a page"
    tunnel.server.abort()
    assert await reset_comes(tunnel.client) == 0
    end = await tunnel.end()
    assert (end.bytes_down, end.closed_by) == (11, ClosedBy.SERVER)
    assert end.error.startswith("the server's connection broke: ")


async def test_E30_upstream_resets_in_an_upload(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    sending = asyncio.gather(send_pattern(tunnel.client, 50_000_000), return_exceptions=True)
    await read_exactly(tunnel.server, 100_000)
    tunnel.server.abort()
    (error,) = await sending
    assert isinstance(error, ConnectionError)
    assert (await tunnel.end()).closed_by is ClosedBy.SERVER


async def test_A21_client_resets_while_the_server_does_not_read(rig: Rig) -> None:
    """Nothing is read from the client then, so only its socket's error tells."""
    tunnel = await rig.tunnel(buffers=64 * 1024)
    await fill(tunnel.client)
    tunnel.client.abort()
    if rig.kind.is_loop_poller:  # which looks only where something is waited for: the server has to read on
        with contextlib.suppress(ConnectionError):
            await read_to_end(tunnel.server)
    assert (await tunnel.end()).closed_by is ClosedBy.CLIENT


async def test_B14_client_resets_after_its_end(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    tunnel.client.send_eof()
    assert await tunnel.server.receive() == b""
    tunnel.client.abort()
    if rig.kind.is_loop_poller:
        with contextlib.suppress(ConnectionError):
            await send_pattern(tunnel.server, 50_000_000)
    end = await tunnel.end()
    assert end.closed_by is ClosedBy.CLIENT
    assert end.error != ""


async def test_B14_upstream_resets_after_its_end(rig: Rig) -> None:
    """The client has a whole answer and must not lose it, whatever it still sends."""
    tunnel = await rig.tunnel()
    await send_pattern(tunnel.server, 200_000)
    tunnel.server.send_eof()
    await eventually(lambda: next(iter(rig.pump._tunnels)).down.ended)
    tunnel.server.abort()
    await send_pattern(tunnel.client, 5_000_000)
    assert await read_to_end(tunnel.client) == (200_000, hash_of(200_000))
    assert tunnel.ends == []
    tunnel.client.send_eof()
    end = await tunnel.end()
    assert (end.bytes_down, end.closed_by, end.error) == (200_000, ClosedBy.SERVER, "")


async def test_E30_answer_before_a_reset_is_delivered_before_it(rig: Rig) -> None:
    """Like the refusal of an upload by a server that then closes with most of the upload unread."""
    tunnel = await rig.legs(buffers=64 * 1024)
    await fill(tunnel.client)
    await tunnel.server.send(b"too large")
    await eventually(lambda: _ioctl(tunnel.near_upstream.lowest_socket, termios.FIONREAD) > 0)
    tunnel.server.abort()
    rig.start(tunnel)
    assert await reset_comes(tunnel.client) == 9
    end = await tunnel.end()
    assert (end.bytes_down, end.closed_by) == (9, ClosedBy.SERVER)


async def test_E30_upstream_resets_while_the_client_does_not_read(rig: Rig) -> None:
    """What had come is delivered first, and its end is not taken for an orderly one."""
    tunnel = await rig.tunnel(buffers=64 * 1024)
    await fill(tunnel.server)
    tunnel.server.abort()
    await asyncio.sleep(0)
    assert await reset_comes(tunnel.client) > 64 * 1024
    end = await tunnel.end()
    assert end.closed_by is ClosedBy.SERVER
    assert end.error.startswith("the server's connection broke: ")


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_idle_tunnel_is_closed(kind: Kind) -> None:
    rig = Rig(kind, idle_timeout_s=0.1)
    tunnel = await rig.legs()
    await tunnel.client.send(b"x")
    rig.start(tunnel)
    assert await tunnel.server.receive() == b"x"
    assert await tunnel.client.receive() == b""
    assert await tunnel.server.receive() == b""
    end = await tunnel.end()
    assert end == TunnelResult(1, 0, ClosedBy.IDLE, "no data for 0.1 s")
    await rig.close()


async def test_B14_half_open_tunnel_is_closed_at_its_limit(kind: Kind) -> None:
    rig = Rig(kind, half_open_timeout_s=0.1)
    idle, half_open = await rig.tunnel(), await rig.tunnel()
    half_open.client.send_eof()
    assert await half_open.client.receive() == b""
    end = await half_open.end()
    assert end == TunnelResult(0, 0, ClosedBy.IDLE, "no data for 0.1 s after one side had finished")
    assert idle.ends == []
    await rig.close()


async def test_stalled_tunnel_is_reset_at_the_idle_limit(kind: Kind) -> None:
    """Bytes that nobody takes do not keep it, and the reset says that something is missing."""
    rig = Rig(kind, idle_timeout_s=0.1)
    tunnel = await rig.tunnel(buffers=64 * 1024)
    with pytest.raises(ConnectionError):
        await send_endlessly(tunnel.server)
    assert (await tunnel.end()).closed_by is ClosedBy.IDLE
    await reset_comes(tunnel.client)
    await rig.close()


async def test_limits_start_anew_with_every_byte(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    (inner,) = rig.pump._tunnels
    for now in range(100):
        await tunnel.client.send(b"x")
        assert await tunnel.server.receive() == b"x"
        inner.sweep(float(now), 1.0, 1.0)
    assert tunnel.ends == []
    inner.sweep(99.9, 1.0, 1.0)
    assert tunnel.ends == []
    inner.sweep(100.0, 1.0, 1.0)
    assert (await tunnel.end()).closed_by is ClosedBy.IDLE


async def test_upload_to_nobody_is_bounded(kind: Kind) -> None:
    """A client that goes on sending to a server that finished and reset is heard for the half-open limit only."""
    rig = Rig(kind, half_open_timeout_s=0.1)
    tunnel = await rig.tunnel()
    tunnel.server.send_eof()
    assert await tunnel.client.receive() == b""
    tunnel.server.abort()
    with pytest.raises(ConnectionError):
        await send_endlessly(tunnel.client)
    assert (await tunnel.end()).closed_by is ClosedBy.IDLE
    await rig.close()


# -- many --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """Raises the limit of open descriptors as far as it goes, and says how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_B13_3000_idle_tunnels(rig: Rig, many_descriptors: int) -> None:
    most = 3_000 if rig.kind.upstream_leg is _plain else 300  # the idle ones are plain in every kind
    count = min(most, (many_descriptors - 500) // 4)
    tunnels = []
    for _ in range(count):
        (near_client, client), (near_upstream, server) = rig.pair(socket.AF_UNIX), rig.pair(socket.AF_UNIX)
        tunnels.append(Tunnel(client, server, near_client, near_upstream))
        rig.start(tunnels[-1])
    assert rig.pump.active == count
    await exchange(await rig.tunnel(), 2_000_000, 2_000_000)
    for tunnel in tunnels:
        tunnel.client.send_nowait(b"still there?")
    for tunnel in tunnels:
        assert await tunnel.server.receive() == b"still there?"
        tunnel.server.close()
        tunnel.client.close()
    for tunnel in tunnels:
        assert (await tunnel.end()).bytes_up == 12
    assert rig.pump.active == 0


async def test_an_idle_tunnel_is_small(rig: Rig) -> None:
    pairs = [(rig.pair(socket.AF_UNIX), rig.pair(socket.AF_UNIX)) for _ in range(200)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for (near_client, _), (near_upstream, _) in pairs:
            rig.pump.start(near_client, near_upstream, _unheard)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    handles = 1024 if rig.kind.is_loop_poller else 0  # the loop's own, for each reader and writer
    assert (after - before) / len(pairs) < 1024 + handles


def _unheard(_: TunnelResult) -> None:
    pass


# -- what loopback cannot be made to do at will ------------------------------------------------------------------------


class Scripted(Stream):
    """Says what it is told to say, and remembers what it was told."""

    def __init__(self, *script: bytes | OSError, endless: bool = False, room: int = 1 << 40) -> None:
        super().__init__("scripted")
        self.script = list(script)
        self.endless = endless
        self.room = room  # bytes that it takes
        self.send_error: OSError | None = None
        self.eof_error: OSError | None = None
        self.socket_error = 0
        self.given = 0
        self.sends = 0
        self.taken = self.taken_last = b""
        self.told: list[str] = []
        self.pauses: list[str] = []

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        said = bytes(limit) if self.endless else self.script.pop(0) if self.script else None
        if isinstance(said, OSError):
            raise said
        self.given += len(said or b"")
        self.finished = self.script[:1] == [b""]
        return said

    def send_nowait(self, data: bytes | memoryview) -> int:
        self.sends += 1
        if self.send_error is not None:
            raise self.send_error
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.taken += taken if not self.endless else b""
        return len(taken)

    def send_last_nowait(self, data: bytes | memoryview) -> int:
        self.taken_last += bytes(data[: self.room])
        return super().send_last_nowait(data)

    def pause_reading(self) -> None:
        self.pauses.append("pause")

    def resume_reading(self) -> None:
        self.pauses.append("resume")

    def send_eof(self) -> None:
        self.told.append("eof")
        if self.eof_error is not None:
            raise self.eof_error

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return None

    @property
    def lowest_socket(self) -> socket.SocketType:
        return cast(socket.socket, self)

    def getsockopt(self, _level: int, _option: int) -> int:
        return self.socket_error

    def wake(self, *script: bytes | OSError) -> None:
        self.script += script
        if self.notify is not None:
            self.notify()


class Watch:
    """A pump with one tunnel between scripted streams."""

    def __init__(self, client: Scripted, server: Scripted, *, to_client: bytes = b"") -> None:
        self.pump = Pump(idle_timeout_s=600, half_open_timeout_s=600)
        self.ends: list[TunnelResult] = []
        self.pump.start(client, server, self.ends.append, to_client=to_client)

    async def end(self) -> TunnelResult:
        await self.pump.close(BOUND_S)
        await asyncio.sleep(0)
        (end,) = self.ends
        return end


async def test_what_comes_just_before_an_end_is_sent_with_it() -> None:
    client, server = Scripted(), Scripted()
    Watch(client, server)
    server.wake(b"first")
    server.wake(b"last", b"")
    assert (client.taken, client.taken_last, client.told) == (b"firstlast", b"last", ["eof"])

    client, server = Scripted(room=2), Scripted(b"")
    server.finished = True
    Watch(client, server, to_client=b"answer")
    assert (client.taken_last, client.told) == (b"an", [])
    client.room = 100
    client.wake()
    assert (client.taken, client.taken_last, client.told) == (b"answer", b"answer", ["eof"])


async def test_nobody_is_woken_by_a_source_whose_bytes_cannot_be_delivered() -> None:
    client, server = Scripted(room=2), Scripted()
    watch = Watch(client, server)
    server.wake(b"answer")
    client.wake()
    client.wake()
    assert (client.taken, server.pauses, client.pauses) == (b"an", ["pause"], [])
    client.room = 100
    client.wake()
    server.wake(b", and more", b"")
    assert (client.taken, server.pauses) == (b"answer, and more", ["pause", "resume"])
    client.wake(b"")
    assert (await watch.end()).bytes_down == len(client.taken)


async def test_an_upload_that_is_thrown_away_is_read_on() -> None:
    client, server = Scripted(), Scripted(room=2)
    Watch(client, server)
    client.wake(b"upload")
    assert client.pauses == ["pause"]
    server.send_error = BrokenPipeError()
    server.wake()
    assert client.pauses == ["pause", "resume"]
    client.wake(b"more")
    assert client.script == []


async def test_reads_no_more_than_a_chunk_while_nothing_is_taken() -> None:
    client, server = Scripted(room=0), Scripted(endless=True)
    Watch(client, server)
    for _ in range(10):
        server.wake()
        client.wake()
        await asyncio.sleep(0)
    assert server.given == CHUNK
    client.room = 10
    client.wake()
    assert server.given == CHUNK


async def test_endless_flow_lets_others_go_first() -> None:
    """carry() and each turn come back although the source never runs dry."""
    busy, quiet = Scripted(endless=True), Scripted()
    pump = Pump(idle_timeout_s=600, half_open_timeout_s=600)
    pump.start(Scripted(room=1 << 40), busy, _unheard)
    before = busy.given
    pump.start(quiet, Scripted(b"not starved"), _unheard)
    assert quiet.taken == b"not starved"
    for _ in range(3):
        await asyncio.sleep(0)
        assert 0 < busy.given - before <= 16 * CHUNK
        before = busy.given
        busy.wake()
        assert busy.given == before  # it has to wait for its turn
    pump.abort_all()
    await asyncio.sleep(0)
    assert busy.given == before


async def test_B14_end_is_told_once() -> None:
    client, server = Scripted(), Scripted(b"bye", b"")
    watch = Watch(client, server)
    for _ in range(5):
        client.wake()
        server.wake()
    assert (client.taken, client.told) == (b"bye", ["eof"])
    client.wake(b"")
    assert (client.told, server.told) == (["eof", "close"], ["close"])
    assert await watch.end() == TunnelResult(0, 3, ClosedBy.SERVER)
    assert client.notify is None
    assert server.notify is None


async def test_B14_end_after_what_is_still_to_be_delivered() -> None:
    client, server = Scripted(room=2), Scripted(b"bye", b"")
    watch = Watch(client, server)
    assert (client.taken, client.told) == (b"by", [])
    client.room = 100
    client.wake(b"")
    assert (client.taken, client.told) == (b"bye", ["close"])
    assert (await watch.end()).bytes_down == 3


async def test_E30_reset_met_while_sending_comes_after_the_answer() -> None:
    client, server = Scripted(), Scripted()
    watch = Watch(client, server)
    server.send_error = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    server.script = [b"too large", b""]  # its kernel says the end of sending once the error has been told
    client.wake(b"a large upload")
    assert (client.taken, client.told, server.told) == (b"too large", ["abort"], ["abort"])
    assert not client.taken_last, "a reset discards what waits for the end"
    expected = TunnelResult(0, 9, ClosedBy.SERVER, "the server's connection broke: Connection reset by peer")
    assert await watch.end() == expected


async def test_what_byway_itself_ends_is_blamed_on_no_server() -> None:
    client, server = Scripted(), Scripted()
    watch = Watch(client, server)
    server.wake(b"half a page", EndedByByway("Byway ended what carried it"))
    assert (client.taken, client.told, server.told) == (b"half a page", ["abort"], ["abort"])
    assert await watch.end() == TunnelResult(0, 11, ClosedBy.BYWAY, "Byway ended what carried it")


async def test_B14_whole_answer_is_kept_from_the_reset_after_it() -> None:
    """EPIPE: upstream had finished before it was reset. The rest of the upload goes nowhere."""
    client, server = Scripted(), Scripted()
    watch = Watch(client, server)
    server.send_error = BrokenPipeError(errno.EPIPE, "Broken pipe")
    server.script = [b"too large", b""]
    client.wake(b"a large upload", b"goes on")
    assert (client.taken, client.told, server.told) == (b"too large", ["eof"], [])
    client.wake(b"and on", b"")
    assert (client.told, server.told) == (["eof", "close"], ["abort"])
    assert server.sends == 1
    assert await watch.end() == TunnelResult(0, 9, ClosedBy.SERVER)


async def test_client_that_uploads_to_nobody_has_the_half_open_limit() -> None:
    """While the rest of the answer still waits for it: neither side has finished then."""
    client, server = Scripted(room=1), Scripted(b"answer")
    watch = Watch(client, server)
    server.send_error = BrokenPipeError(errno.EPIPE, "Broken pipe")
    client.wake(b"upload")
    (tunnel,) = watch.pump._tunnels
    tunnel.sweep(0.0, 600.0, 60.0)
    client.wake(b"goes on")
    tunnel.sweep(60.0, 600.0, 60.0)
    end = await watch.end()
    assert (end.bytes_up, end.bytes_down, end.closed_by) == (0, 1, ClosedBy.IDLE)


async def test_end_that_cannot_be_told_is_a_break() -> None:
    client, server = Scripted(), Scripted(b"")
    client.eof_error = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    end = await Watch(client, server).end()
    assert (end.closed_by, client.told, server.told) == (ClosedBy.CLIENT, ["eof", "abort"], ["abort"])


async def test_A21_reset_of_a_client_that_is_not_read_now() -> None:
    client, server = Scripted(b"upload"), Scripted(room=0)
    watch = Watch(client, server)
    client.wake()
    assert watch.ends == []
    client.socket_error = errno.ECONNRESET
    client.wake()
    assert (client.told, server.told) == (["abort"], ["abort"])
    assert (await watch.end()).error == "the client's connection broke: Connection reset by peer"


async def test_fault_in_whom_it_tells_does_not_stop_the_others() -> None:
    def fault(_: TunnelResult) -> None:
        raise RuntimeError("a fault in the listener")

    pump = Pump(idle_timeout_s=600, half_open_timeout_s=600)
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context["exception"])))
    other = Scripted()
    sources = [Scripted(endless=True) for _ in range(2)]
    pump.start(Scripted(), sources[0], fault)
    pump.start(other, sources[1], _unheard)
    sources[0].endless = False
    sources[0].script = [ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")]
    before = sources[1].given
    for _ in range(3):
        await asyncio.sleep(0)
    assert faults == ["a fault in the listener"]
    assert sources[1].given > before
    assert pump.active == 1
    pump.abort_all()


# -- pipes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def splicing() -> AsyncIterator[Rig]:
    rig = Rig(KINDS[0])
    yield rig
    await rig.close()


async def test_bulk_goes_through_pipes_that_come_back(splicing: Rig) -> None:
    tunnel = await splicing.tunnel()
    await exchange(tunnel, 0, 10_000_000)
    assert splicing.pipes.idle > 0
    assert splicing.pipes.lent == 0


async def test_pipe_is_given_back_when_the_flow_pauses(splicing: Rig) -> None:
    tunnel = await splicing.tunnel()
    for _ in range(3):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_pattern(tunnel.server, 5_000_000))
            tasks.create_task(read_exactly(tunnel.client, 5_000_000))
        await eventually(lambda: splicing.pipes.lent == 0)
        assert splicing.pipes.idle > 0


async def test_pipe_is_given_back_after_a_small_splice(splicing: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow copies again then, and finds nothing."""
    monkeypatch.setattr("proxy.net.tunnel.pump._WORTH_SPLICING", 100 * CHUNK)
    tunnel = await splicing.legs(buffers=4_000_000)
    await send_pattern(tunnel.server, 2 * CHUNK)
    splicing.start(tunnel)
    await read_exactly(tunnel.client, 2 * CHUNK)
    assert (splicing.pipes.lent, splicing.pipes.idle) == (0, 1)


async def test_exhausted_pool_means_copying(splicing: Rig) -> None:
    taken = [splicing.pipes.take() for _ in range(8)]
    assert None not in taken
    assert splicing.pipes.take() is None
    await exchange(await splicing.tunnel(), 10_000_000, 10_000_000)
    for pipe in taken:
        assert pipe is not None
        splicing.pipes.give(pipe)
    assert (splicing.pipes.lent, splicing.pipes.idle) == (0, 8)


async def test_pipe_with_bytes_in_it_is_never_lent_again(splicing: Rig) -> None:
    tunnel = await splicing.tunnel(buffers=256 * 1024)
    await fill(tunnel.server)
    assert splicing.pipes.lent == 1
    tunnel.client.abort()
    await tunnel.end()
    assert (splicing.pipes.lent, splicing.pipes.idle) == (0, 0)


async def test_socket_that_cannot_be_spliced_is_copied(splicing: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.splice", refuse)
    await exchange(await splicing.tunnel(), 2_000_000, 2_000_000)
    assert splicing.pipes.lent == 0


# -- the pump's own end ------------------------------------------------------------------------------------------------


async def test_abort_all_resets_both_ends(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    rig.pump.abort_all()
    await reset_comes(tunnel.client)
    await reset_comes(tunnel.server)
    assert await tunnel.end() == TunnelResult(0, 0, ClosedBy.BYWAY, "Byway is shutting down")


async def test_abort_where_resets_those_meant(rig: Rig) -> None:
    lost, other = await rig.tunnel(), await rig.tunnel()
    upstream = lost.near_upstream.lowest_socket
    assert rig.pump.abort_where(lambda stream: stream.lowest_socket is upstream, "the network is gone") == 1
    await reset_comes(lost.client)
    assert await lost.end() == TunnelResult(0, 0, ClosedBy.BYWAY, "the network is gone")
    assert [stream.lowest_socket for stream in rig.pump.upstreams] == [other.near_upstream.lowest_socket]
    await exchange(other, 1000, 1000)
    await other.end()
    assert rig.pump.upstreams == []


async def test_a_tunnel_can_be_looked_at(rig: Rig) -> None:
    tunnel = await rig.legs(buffers=64 * 1024)
    carrying = rig.pump.start(tunnel.near_client, tunnel.near_upstream, tunnel.ended, to_client=b"hello")
    await read_exactly(tunnel.client, 5)
    await tunnel.client.send(b"hi")
    await read_exactly(tunnel.server, 2)
    assert (carrying.up.moved, carrying.down.moved, carrying.client_is_slow, carrying.over) == (2, 5, False, False)
    assert carrying.upstream is tunnel.near_upstream
    await fill(tunnel.server)
    assert carrying.client_is_slow  # the client takes no more
    carrying.abort("enough")
    assert carrying.over
    assert (await tunnel.end()).error == "enough"


def test_only_the_servers_reset_is_a_reset() -> None:
    said = "connection broke: Connection reset by peer"
    assert TunnelResult(0, 0, ClosedBy.SERVER, f"the server's {said}").was_reset
    assert not TunnelResult(0, 0, ClosedBy.CLIENT, f"the client's {said}").was_reset
    assert not TunnelResult(0, 0, ClosedBy.SERVER, "the server's connection broke: Connection timed out").was_reset
    assert not TunnelResult(0, 0, ClosedBy.SERVER).was_reset


async def test_close_lets_tunnels_end(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.pump.close(BOUND_S))
        tasks.create_task(exchange(tunnel, 1_000_000, 1_000_000))
    assert rig.pump.active == 0


async def test_close_resets_what_is_left(rig: Rig) -> None:
    tunnel = await rig.tunnel()
    await rig.pump.close(0.01)
    await reset_comes(tunnel.client)
    assert (await tunnel.end()).closed_by is ClosedBy.BYWAY


async def test_closed_pump_takes_nothing(rig: Rig) -> None:
    await rig.pump.close(0)
    tunnel = await rig.tunnel(to_client=b"hello")
    assert tunnel.ends == []
    assert await tunnel.end() == TunnelResult(0, 0, ClosedBy.BYWAY, "Byway is shutting down")
