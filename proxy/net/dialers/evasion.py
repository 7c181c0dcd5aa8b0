"""Dialers whose streams send the first flight fragmented, and then only pass bytes on.

A FragmentingStream buffers bytes until the flight is whole, since today's ClientHellos come in several pieces. It then
sends the flight in the pieces that `wire.fragmentation` makes, each in its own segment, and passes all later bytes
straight to the inner stream, whose socket the kernel may splice. In plain HTTP every request names the host, so each
head is fragmented, up to the first request with a body. `send_nowait` counts the bytes that it accepted, not those that
went out.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from proxy.model import Destination, Protocol, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.dialer import Dialer
from proxy.net.stream import Stream, WrappedStream
from proxy.wire import fragmentation as shapes
from proxy.wire.flight import Flight

Shape = Callable[[Flight], tuple[bytes, ...]]
"""Returns the pieces of a whole flight."""

_RECEIVED_TTL = getattr(socket, "IP_RECVTTL", 12) if sys.platform == "linux" else None  # in Python from 3.14 on

_TTL_OPTIONS = {
    int(socket.AF_INET): (socket.IPPROTO_IP, socket.IP_TTL),
    int(socket.AF_INET6): (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}


class FragmentingStream(WrappedStream):
    """A stream that fragments its first flight."""

    __slots__ = ("_eof_due", "_flight", "_pieces", "_shape")

    def __init__(self, inner: Stream, shape: Shape) -> None:
        super().__init__(inner)
        self._shape = shape
        self._flight: Flight | None = Flight()  # buffered until it is whole; None: no further flight is expected
        self._pieces: deque[bytes | memoryview] = deque()  # released, and not yet taken by `inner`
        self._eof_due = False

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return self._inner.plain_socket if self._flight is None and not self._pieces else None

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self._pieces and not self._flush():
            return 0
        if self._flight is None:
            return self._inner.send_nowait(data)
        if data:
            self._flight.receive_data(bytes(data))
        if self._flight.complete:
            self._release(self._flight)
        return len(data)

    def send_eof(self) -> None:
        """Sends the buffered flight, whole or not, before the EOF."""
        self._eof_due = True
        with contextlib.suppress(OSError):  # broken: the next receive raises the error
            if self._flight is not None:
                self._release(self._flight)
            elif self._flush():
                self._inner.send_eof()

    def close(self) -> None:
        self._pieces.clear()
        super().close()

    def abort(self) -> None:
        self._pieces.clear()
        super().abort()

    def _release(self, flight: Flight) -> None:
        again = flight.protocol is Protocol.HTTP and flight.replayable and not self._eof_due
        self._flight = Flight() if again else None
        if flight.data:
            self._pieces.extend(self._shape(flight))
        self._flush()

    def _flush(self) -> bool:
        """Hands pieces, and then a pending EOF, to the inner stream. Returns whether it took all of them."""
        while self._pieces:
            piece = self._pieces[0]
            sent = self._inner.send_nowait(piece) if len(self._pieces) == 1 else self._send_apart(piece)
            if not sent:
                return False
            if sent == len(piece):
                self._pieces.popleft()
            else:
                self._pieces[0] = memoryview(piece)[sent:]
        if self._eof_due:
            self._inner.send_eof()
        return True

    def _send_apart(self, piece: bytes | memoryview) -> int:
        return self._inner.send_apart_nowait(piece)

    def _inner_ready(self) -> None:
        if self._pieces:
            with contextlib.suppress(OSError):  # the owner's next call raises it again
                self._flush()
        super()._inner_ready()


class DisorderedStream(FragmentingStream):
    """Sends the first piece with a TTL of 1: the first router drops it, and TCP retransmits it after the second piece.
    A filter sees the pieces in the wrong order; the server's TCP reorders them."""

    __slots__ = ()

    def __init__(self, inner: Stream) -> None:
        super().__init__(inner, shapes.disorder)

    def _send_apart(self, piece: bytes | memoryview) -> int:
        with _ttl_1(self.lowest_socket):
            return super()._send_apart(piece)


class FragmentingDialer:
    """Dials through `dialer` and fragments the first flight with `shape`."""

    def __init__(self, dialer: Dialer, shape: Shape) -> None:
        self._dialer = dialer
        self._shape = shape

    async def dial(self, destination: Destination) -> Stream:
        return FragmentingStream(await self._dialer.dial(destination), self._shape)

    def __repr__(self) -> str:
        return f"<FragmentingDialer {getattr(self._shape, '__name__', self._shape)} {self._dialer!r}>"


class DisorderDialer:
    """Dials through `dialer`, whose socket leads to the site, and sends the first flight's pieces in disorder. Skips
    the route where the kernel ignores a socket's TTL: the strategy would change nothing."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    async def dial(self, destination: Destination) -> Stream:
        if not honours_ttl():
            text = "disorder skipped: this system ignores the TTL set for a packet"
            raise DialError(text, stage=Stage.CONNECT, symptom=Symptom.SKIPPED)
        return DisorderedStream(await self._dialer.dial(destination))

    def __repr__(self) -> str:
        return f"<DisorderDialer {self._dialer!r}>"


STRATEGY_DIALERS: Mapping[str, Callable[[Dialer], Dialer]] = {
    word: DisorderDialer if strategy.first_piece_dies else functools.partial(FragmentingDialer, shape=strategy.shape)
    for word, strategy in shapes.STRATEGIES.items()
}
"""The dialer of each strategy, by its word in a route, in the order of `STRATEGIES`. It wraps another dialer."""


@functools.cache
def honours_ttl() -> bool:
    """Whether the kernel sends packets with the TTL that a socket sets, measured once over loopback (under 1 ms)."""
    if _RECEIVED_TTL is None:
        return False
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(1.0)
            receiver.setsockopt(socket.IPPROTO_IP, _RECEIVED_TTL, 1)
            with _ttl_1(sender):
                sender.sendto(b"?", receiver.getsockname())
            _, ancillary, _, _ = receiver.recvmsg(1, socket.CMSG_SPACE(4))
    except OSError:  # no loopback, or a sandbox forbids it
        return False
    return any(kind == socket.IP_TTL and int.from_bytes(value, sys.byteorder) == 1 for _, kind, value in ancillary)


@contextlib.contextmanager
def _ttl_1(sock: socket.SocketType) -> Iterator[None]:
    level, option = _TTL_OPTIONS[sock.family]
    usual = sock.getsockopt(level, option)
    sock.setsockopt(level, option, 1)
    try:
        yield
    finally:
        sock.setsockopt(level, option, usual)
