"""Dialers whose streams send the first flight fragmented, and then only pass bytes on.

A FragmentingStream buffers bytes until the flight is whole, since today's ClientHellos come in several pieces. It then
sends the flight in the pieces that `wire.fragmentation` makes, each in its own segment, and passes all later bytes
straight to the inner stream, whose socket the kernel may splice. In plain HTTP every request names the host, so each
head is fragmented, up to the first request with a body. `send_nowait` counts the bytes that it accepted, not those that
went out. A PacedStream below it makes the pieces wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from proxy.model import Destination, Protocol, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.strategy import Strategy, StrategyKind, strategies
from proxy.net.dialers.dialer import Dialer
from proxy.net.stream import Stream, WrappedStream
from proxy.wire.flight import Flight
from proxy.wire.fragmentation import pieces

_RECEIVED_TTL = getattr(socket, "IP_RECVTTL", 12) if sys.platform == "linux" else None  # in Python from 3.14 on

_TTL_OPTIONS = {
    int(socket.AF_INET): (socket.IPPROTO_IP, socket.IP_TTL),
    int(socket.AF_INET6): (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}


class FragmentingStream(WrappedStream):
    """A stream that fragments its first flight."""

    __slots__ = ("_eof_due", "_flight", "_pieces", "_strategy")

    def __init__(self, inner: Stream, strategy: Strategy) -> None:
        super().__init__(inner)
        self._strategy = strategy
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
            self._pieces.extend(pieces(self._strategy, flight))
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

    def _send_apart(self, piece: bytes | memoryview) -> int:
        with _ttl_1(self.lowest_socket):
            return super()._send_apart(piece)


class PacedStream(WrappedStream):
    """A stream that takes nothing for `pause_s` after a piece that was to leave apart from the next one. A filter that
    forgets an unfinished message by then does not put it together."""

    __slots__ = ("_pause", "_pause_s")

    def __init__(self, inner: Stream, pause_s: float) -> None:
        super().__init__(inner)
        self._pause_s = pause_s
        self._pause: asyncio.TimerHandle | None = None

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return self._inner.plain_socket if self._pause is None else None

    def send_nowait(self, data: bytes | memoryview) -> int:
        return self._inner.send_nowait(data) if self._pause is None else 0

    def send_apart_nowait(self, data: bytes | memoryview) -> int:
        if self._pause is not None:
            return 0
        sent = self._inner.send_apart_nowait(data)
        if sent == len(data):
            self._pause = asyncio.get_running_loop().call_later(self._pause_s, self._over)
        return sent

    def close(self) -> None:
        self._end_pause()
        super().close()

    def abort(self) -> None:
        self._end_pause()
        super().abort()

    def _over(self) -> None:
        self._pause = None
        self._wake(receiver=False, sender=True)

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None


class FragmentingDialer:
    """Dials through `dialer` and fragments the first flight."""

    def __init__(self, dialer: Dialer, strategy: Strategy) -> None:
        self._dialer = dialer
        self._strategy = strategy

    async def dial(self, destination: Destination) -> Stream:
        return FragmentingStream(await self._dialer.dial(destination), self._strategy)

    def __repr__(self) -> str:
        return f"<FragmentingDialer {self._strategy} {self._dialer!r}>"


class DisorderDialer:
    """Dials through `dialer`, whose socket leads to the site, and sends the first flight's pieces in disorder. Skips
    the route where the kernel ignores a socket's TTL: the strategy would change nothing."""

    def __init__(self, dialer: Dialer, strategy: Strategy) -> None:
        self._dialer = dialer
        self._strategy = strategy

    async def dial(self, destination: Destination) -> Stream:
        if not honours_ttl():
            text = "disorder skipped: this system ignores the TTL set for a packet"
            raise DialError(text, stage=Stage.CONNECT, symptom=Symptom.SKIPPED)
        return DisorderedStream(await self._dialer.dial(destination), self._strategy)

    def __repr__(self) -> str:
        return f"<DisorderDialer {self._dialer!r}>"


class PaceDialer:
    """Dials through `dialer`; the pieces of a flight then leave one after the other."""

    def __init__(self, dialer: Dialer, strategy: Strategy) -> None:
        self._dialer = dialer
        self._pause_s = strategy.number / 1000

    async def dial(self, destination: Destination) -> Stream:
        return PacedStream(await self._dialer.dial(destination), self._pause_s)

    def __repr__(self) -> str:
        return f"<PaceDialer {self._pause_s:g} s {self._dialer!r}>"


_DIALERS: Mapping[StrategyKind, Callable[[Dialer, Strategy], Dialer]] = {
    StrategyKind.DISORDER: DisorderDialer,
    StrategyKind.PACE: PaceDialer,
}


def with_strategies(dialer: Dialer, wrap: Iterable[str]) -> Dialer:
    """Returns a dialer that dials through `dialer` and sends flights as the strategies among these words say."""
    for strategy in reversed(strategies(wrap)):
        dialer = _DIALERS.get(strategy.kind, FragmentingDialer)(dialer, strategy)
    return dialer


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
