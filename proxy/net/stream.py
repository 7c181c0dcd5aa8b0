"""A path for bytes in both directions. A Dialer returns one, and everything above it uses it.

It has two layers of calls. The `_nowait` calls never block, and report when they would have; the race and the pump use
them and are woken through `notify`. `receive` and `send` wait, for a coroutine that has nothing else to do. A Stream
has one owner at a time, who closes it; one task may receive while another sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

from proxy.model import Symptom
from proxy.model.errors import DialError
from proxy.net.poller import BROKEN, PEER_SHUT, READABLE, URGENT, WRITABLE, Poller
from proxy.wire.reader import Parser, Reader

T = TypeVar("T")

CHUNK = 64 * 1024
"""Bytes of one read at most. With as many again that wait to be sent, a direction holds 128 KiB outside the kernel."""

BULK_RECORDS = 8 * (16 * 1024 + 22)
"""Bytes of the full TLS 1.3 records that hold 2 * CHUNK (RFC 8446 section 5.2: 5 bytes of header, 1 of type and 16 of
authentication each). A read of this size cuts no record: a fifth less CPU for a GB than reads of one CHUNK
(measured)."""

LENT = memoryview(mmap.mmap(-1, BULK_RECORDS, access=mmap.ACCESS_COPY))
"""The buffer of `lend_nowait`, shared by all streams. As an anonymous mapping, it takes no memory before the first bulk
transfer; as a private one, a fork has its own."""

_READS, _WRITES = READABLE | BROKEN, WRITABLE | BROKEN  # after these events, a call may do more than before
_FINAL_EDGES = BROKEN | PEER_SHUT | URGENT  # after these, more may follow a short read without another edge

_NEW_SEGMENT = socket.MSG_EOR if sys.platform == "linux" else 0
_MORE_FOLLOWS = socket.MSG_MORE if sys.platform == "linux" else 0

_LINGER_0 = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class EndedByByway(ConnectionAbortedError):
    """Byway itself ended what carries a stream. Its text is a sentence without a full stop."""


class Stream(ABC):
    """See the module's docstring. All calls may raise OSError (ConnectionError when the peer is the cause)."""

    __slots__ = ("_receiver", "_sender", "drained", "finished", "held_s", "notify", "peer", "syn_at")

    def __init__(self, peer: str) -> None:
        self.peer = peer
        """The remote address of the first hop, "address:port"."""
        self.notify: Callable[[], None] | None = None
        """Called whenever a `_nowait` call may return more than before. Must not raise."""
        self.syn_at = 0.0
        """The time when it began to connect, by the loop's clock; 0: not known."""
        self.held_s = 0.0
        """Seconds for which Byway itself held back the dial or the delivery; they are not the route's."""
        self.drained = False
        """`receive_nowait` would return None, so it need not be called before the next `notify`."""
        self.finished = False
        """The next `receive_nowait` returns b"". It may do so with False, too."""
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None

    @abstractmethod
    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        """Returns 1 to `limit` bytes; b"" when the peer has finished sending; None when nothing has come yet."""

    def lend_nowait(self, limit: int = CHUNK) -> bytes | memoryview | None:
        """Returns as `receive_nowait`, but the bytes are valid only until the next call on any stream: they may lie in
        LENT. `limit` is at most BULK_RECORDS."""
        return self.receive_nowait(limit)

    @abstractmethod
    def send_nowait(self, data: bytes | memoryview) -> int:
        """Sends a prefix of `data`. Returns its length in bytes; 0 when nothing can be sent now."""

    def send_last_nowait(self, data: bytes | memoryview) -> int:
        """Sends as `send_nowait`, when `send_eof` follows at once: both may then leave in one segment."""
        return self.send_nowait(data)

    def send_apart_nowait(self, data: bytes | memoryview) -> int:
        """Sends as `send_nowait`. The next bytes begin a new TCP segment, if the system can ensure it."""
        return self.send_nowait(data)

    @abstractmethod
    def send_eof(self) -> None:
        """Ends our direction after the bytes sent (half-close); the other one stays open. Harmless when repeated."""

    @abstractmethod
    def close(self) -> None:
        """Closes both directions in an orderly way, without waiting. Harmless when repeated."""

    @abstractmethod
    def abort(self) -> None:
        """Closes both directions with a reset; unsent bytes are discarded (SO_LINGER 0). Harmless when repeated."""

    def want_write(self) -> None:  # noqa: B027  only a plain socket has to do something
        """Asks for a `notify` when more can be sent. A caller that sends to the `plain_socket` itself calls this when a
        send was cut short."""

    is_answer_needed = False
    """Only a byte from beyond shows that the path is open, since a relay on the way says so too early."""

    def fault_before_answer(self, symptom: Symptom) -> DialError | None:
        """Returns the fault of the relay that is behind a failure before the first byte of an answer; None: it may as
        well be the destination's. `symptom` is that of the failure. Streams through keys know more than the race."""
        return None

    def pause_reading(self) -> None:  # noqa: B027  as `want_write`
        """Stops `notify` for each packet, for an owner that does not read for now. `notify` is still called at EOF and
        when the connection breaks."""

    def resume_reading(self) -> None:  # noqa: B027
        """Ends a pause. `notify` is called for bytes that came during the pause."""

    is_shared = False
    """Whether `lowest_socket` carries other streams as well, so that its options and its TCP_INFO are theirs too."""

    def unread_error(self) -> int:
        """Returns the errno with which a read would fail at once; 0: none is known. A plain socket reports it once."""
        return self.lowest_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def bound_window(self, size: int) -> None:
        """Lets at most about `size` bytes be under way to us, for a comparison of speeds."""
        self.lowest_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def give_up_connection(self) -> None:  # noqa: B027  only a shared connection has to do something
        """The connection below was found frozen: no other stream is to be opened on it."""

    @property
    @abstractmethod
    def plain_socket(self) -> socket.SocketType | None:
        """The socket, if its bytes are the stream's own, so that the kernel may move them (splice); else None."""

    @property
    @abstractmethod
    def lowest_socket(self) -> socket.SocketType:
        """The TCP socket below all layers, for TCP_INFO and socket options."""

    async def receive(self, limit: int = CHUNK) -> bytes:
        """Returns 1 to `limit` bytes, or b"" when the peer has finished sending."""
        while self.drained or (data := self.receive_nowait(limit)) is None:
            await self.readable()
        return data

    def readable(self) -> asyncio.Future[None]:
        """Returns a future that is done when `receive_nowait` may return more. Await it at once. A coroutine would be
        one more step of each wake-up."""
        receiver: asyncio.Future[None] = asyncio.Future()
        self._receiver = receiver
        return receiver

    async def send(self, data: bytes | memoryview) -> None:
        """Sends all of `data`; returns when the kernel has taken it."""
        sent = self.send_nowait(data)
        if sent == len(data):
            return
        left = memoryview(data)[sent:]
        while left:
            if sent := self.send_nowait(left):
                left = left[sent:]
                continue
            await self._sendable()

    async def _sendable(self) -> None:
        """Waits until a send may succeed."""
        self._sender = asyncio.Future()
        try:
            await self._sender
        finally:
            self._sender = None

    def _wake(self, *, receiver: bool, sender: bool) -> None:
        self._resume(receiver=receiver, sender=sender)
        if self.notify is not None:
            self.notify()

    def _resume(self, *, receiver: bool, sender: bool) -> None:
        """Lets coroutines that wait in `receive` or `send` try again."""
        if receiver and self._receiver is not None:
            receives, self._receiver = self._receiver, None
            if not receives.done():
                receives.set_result(None)
        if sender and self._sender is not None and not self._sender.done():
            self._sender.set_result(None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer}>"


class SocketStream(Stream):
    """A plain TCP (or Unix) socket, registered with the poller for its whole life."""

    __slots__ = (
        "_armed_by_poller", "_awaits_write", "_edges", "_eof_sent", "_writes_armed", "lowest_socket",
        "plain_socket", "poller",
    )  # fmt: skip

    # Every connection reads these many times, so they are attributes and not properties.
    plain_socket: socket.SocketType | None
    lowest_socket: socket.SocketType
    # An attribute would take 72 bytes in each stream; a method, four Python calls a tunnel.
    fileno = property(attrgetter("lowest_socket.fileno"))

    def __init__(self, sock: socket.SocketType, poller: Poller, peer: str, *, connected: bool = False) -> None:
        """`connected`: the socket is connected, so it is not watched for writing before a send was cut short."""
        # The assignments of Stream.__init__, written out: every connection makes two of these.
        self.peer = peer
        self.notify = None
        self.syn_at = self.held_s = 0.0
        self.drained = self.finished = False
        self._receiver = self._sender = None
        self.plain_socket = sock
        self.lowest_socket = sock
        self.poller = poller
        self._armed_by_poller = poller.edge_triggered
        self._writes_armed = poller.edge_triggered and not connected
        self._awaits_write = not connected  # a connect() is in progress, or a send was cut short
        self._edges = WRITABLE if connected else 0  # all events so far
        self._eof_sent = False
        poller.register(self, writes=not connected)

    def ready(self, mask: int) -> None:
        # Every event of every connection comes here: `_wake` is written out.
        self._edges |= mask
        if mask & _READS:
            self.drained = self.finished = False  # a reset may have come since
            if mask & URGENT:
                self.plain_socket = None  # splice(2) ends before an urgent byte as it ends at EOF
        elif not self._awaits_write:
            return  # a connect() that `is_connected` has already seen
        if self._receiver is not None or self._sender is not None:
            self._resume(receiver=mask & _READS > 0, sender=mask & _WRITES > 0)
        if self.notify is not None:
            self.notify()

    def is_connected(self) -> bool:
        """Whether the connect() in progress has succeeded. Raises the OSError with which it failed."""
        if self._armed_by_poller and self._edges & WRITABLE and not self._edges & BROKEN:
            return True  # epoll calls a socket writable when it is connected, and not before
        try:
            self.lowest_socket.getpeername()
        except OSError as error:
            if code := self.lowest_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, os.strerror(code)) from None
            if error.errno != errno.ENOTCONN:
                raise
            if not self._armed_by_poller:
                self.poller.want_write(self)
            return False
        self._awaits_write = False
        return True

    async def connected(self) -> None:
        """Waits for a connect() in progress. Raises the OSError with which it failed."""
        while not self.is_connected():
            await self._sendable()

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        if self.drained:  # recv would return EAGAIN; an edge will come
            return None
        if self.finished:
            return b""
        try:
            data = self.lowest_socket.recv(limit)
        except BlockingIOError:
            if self._armed_by_poller:
                self.drained = not self._edges & _FINAL_EDGES
            else:
                self.poller.want_read(self)
            return None
        # A short read emptied the socket, unless EOF or an urgent byte came with it (nginx relies on the same). EOF is
        # next when it alone had been reported before the read: the kernel does so when all bytes before it are there.
        if len(data) < limit and self._armed_by_poller:
            if ends := self._edges & _FINAL_EDGES:
                self.finished = ends == PEER_SHUT
            else:
                self.drained = True
        return data

    def lend_nowait(self, limit: int = CHUNK) -> bytes | memoryview | None:
        if self.drained or self.finished:  # see `receive_nowait`
            return None if self.drained else b""
        try:
            size = self.lowest_socket.recv_into(LENT, limit)
        except BlockingIOError:
            if self._armed_by_poller:
                self.drained = not self._edges & _FINAL_EDGES
            else:
                self.poller.want_read(self)
            return None
        if size < limit and self._armed_by_poller:
            ends = self._edges & _FINAL_EDGES
            self.drained = not ends
            self.finished = ends == PEER_SHUT
        return LENT[:size]

    def send_nowait(self, data: bytes | memoryview) -> int:
        try:
            sent = self.lowest_socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.want_write()
        return sent

    def send_last_nowait(self, data: bytes | memoryview) -> int:
        # This saves a packet, and a wake-up of the other side, for each connection that ends with an answer.
        try:
            sent = self.lowest_socket.send(data, _MORE_FOLLOWS)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.want_write()
        return sent

    async def send(self, data: bytes | memoryview) -> None:
        try:  # at once, as nearly always
            sent = self.lowest_socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await super().send(memoryview(data)[sent:])

    def send_apart_nowait(self, data: bytes | memoryview) -> int:
        # A separate send and TCP_NODELAY are not enough: the kernel joins small writes while the network card is busy
        # (tcp_autocorking), and when it retransmits. MSG_EOR forbids that (Linux 4.7).
        try:
            sent = self.lowest_socket.send(data, _NEW_SEGMENT)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.want_write()
        return sent

    def want_write(self) -> None:
        self._awaits_write = True
        if not self._writes_armed:
            self._writes_armed = self._armed_by_poller
            self.poller.want_write(self)

    def pause_reading(self) -> None:
        self.poller.pause_reading(self, writes=self._writes_armed)

    def resume_reading(self) -> None:
        if self._edges & PEER_SHUT:
            self._edges |= URGENT  # an urgent byte may have come in the pause, unreported: then EOF comes after it
        self.poller.resume_reading(self, writes=self._writes_armed)

    def send_eof(self) -> None:
        if not self._eof_sent:
            self._eof_sent = True
            try:  # noqa: SIM105  every tunnel comes here
                self.lowest_socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # not connected any more: the next receive raises the error

    def close(self) -> None:
        if self.lowest_socket.fileno() >= 0:
            self.drained = self.finished = False
            self.poller.close_socket(self.lowest_socket)
            if self._receiver is not None or self._sender is not None:
                self._resume(receiver=True, sender=True)  # no edge will come; their next call raises EBADF

    def abort(self) -> None:
        if self.lowest_socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.lowest_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            self.close()

    def detach(self) -> socket.socket:
        """Returns the socket, unregistered and non-blocking; the caller closes it. The stream is then unusable."""
        self.poller.unregister(self)
        self.drained = self.finished = False
        family, kind = self.lowest_socket.family, self.lowest_socket.type
        sock = socket.socket(family, kind, fileno=self.lowest_socket.detach())
        sock.setblocking(False)  # Python assumes that an adopted descriptor is blocking
        self._resume(receiver=True, sender=True)
        return sock


class WrappedStream(Stream):
    """A stream over `inner`, which it owns from now on. Passes everything on."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Stream) -> None:
        super().__init__(inner.peer)
        self._inner = inner
        inner.notify = self._inner_ready

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return self._inner.plain_socket

    @property
    def lowest_socket(self) -> socket.SocketType:
        return self._inner.lowest_socket

    @property
    def is_shared(self) -> bool:  # type: ignore[override]  # of most streams it is a constant
        return self._inner.is_shared

    def unread_error(self) -> int:
        return self._inner.unread_error()

    def bound_window(self, size: int) -> None:
        self._inner.bound_window(size)

    def give_up_connection(self) -> None:
        self._inner.give_up_connection()

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        return self._inner.receive_nowait(limit)

    def send_nowait(self, data: bytes | memoryview) -> int:
        return self._inner.send_nowait(data)

    def want_write(self) -> None:
        self._inner.want_write()

    @property
    def is_answer_needed(self) -> bool:  # type: ignore[override]  # of the stream below
        return self._inner.is_answer_needed

    def fault_before_answer(self, symptom: Symptom) -> DialError | None:
        return self._inner.fault_before_answer(symptom)

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    def send_eof(self) -> None:
        self._inner.send_eof()

    def close(self) -> None:
        self._inner.close()
        self._resume(receiver=True, sender=True)

    def abort(self) -> None:
        self._inner.abort()
        self._resume(receiver=True, sender=True)

    def _inner_ready(self) -> None:
        self._wake(receiver=True, sender=True)


async def read_with(stream: Stream, reader: Reader, parser: Parser[T]) -> T:
    """Runs a wire parser on the bytes of `stream`, and returns its value. Bytes that the parser leaves stay in
    `reader`. Raises OSError as the stream does, and PeerError as the parser does."""
    try:
        while True:
            if reader or reader.ended:
                next(parser)
            while stream.drained or (data := stream.receive_nowait()) is None:  # `receive`, written out
                await stream.readable()
            reader += data
            reader.ended = not data
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        parser.close()
