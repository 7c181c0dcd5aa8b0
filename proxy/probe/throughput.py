"""Measures how much a route delivers on one connection, how fast, and how long that lasts, for blocks that freeze, slow
or cut a connection later on.

For the bytes, a probe requests the site's first page again and again on one connection, without cookies or paths of
the user, until there are enough bytes, the server ends the connection, or the time is over. A very small page never
brings enough; the caller then compares with the bytes of another route. For the time, it sends a small request every
few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from dataclasses import replace

from proxy.model import DIRECT, Destination, Outcome, Protocol, Route, Symptom
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, context_trusting
from proxy.net.race.hello_ledger import HelloTurn
from proxy.net.stream import Stream
from proxy.probe.target import AGENT
from proxy.session.setup import Setup

REQUESTS_MAX = 100
"""The most requests of one measurement, to spare a site with a small first page. Apache ends a connection after as many
(MaxKeepAliveRequests). For 64 KiB, answers of 656 bytes are enough, head included."""

ENOUGH = 64 * 1024
"""Bytes on one connection that a frozen route does not deliver (docs/detection.md, "Re-tests")."""

_STOPPED = 32 * 1024
"""Bytes after which reported transfers had frozen, at the latest (Runnin4ik/dpi-detector: 14 to 32 KiB)."""

_AS_MUCH = 0.9
"""The share of another route's bytes that is all of a small page: two answers to one request seldom have the same
length."""

_COMPARED_MAX, _PAGE_LEAST = 8, 8 * 1024
"""The same for one route of a comparison of speeds, and the bytes of a first page that is large enough for it. It is
made beside visits to sites that work, too."""

_QUIET_S = 1.0
"""Seconds without a byte after which the next requests are sent, since the end of an answer is not parsed here. They
are pipelined (RFC 9112 section 9.3.2): one after the other they would take longer than a measurement may."""

_DIRECT_BYTES, _OTHER_BYTES = 48 * 1024, 72 * 1024
"""Bytes that tell the speed of direct and of another route. TCP is still slow at the start of a connection (RFC 6928:
10 segments, twice as many each round trip): with round trips of 95 ms the second half of 72 KiB comes at 390 kB/s."""

_WINDOW = 64 * 1024
"""Bytes that may be on their way when such a connection is closed: the receive buffer of its socket does not grow, as
the kernel would let it grow for a fast sender. At first it has about as many (tcp(7), tcp_rmem)."""

_ROUND_TRIPS = 2.5
"""Round trips that the second half takes at least where more than these slow a connection down. At the start of one it
takes one round trip, and two as far as can be seen where each burst is read at once."""

_LATE_S = 0.1
"""Seconds by which the loop may be late in a measurement of speed. What came meanwhile seems to come at once: at
130 kB/s the second half then looks up to 1.6 times as fast."""
_TICK_S = 0.02

_SHORTEST_S = 0.001
"""What comes at once counts as so many seconds: a rate stays finite."""

Arrivals = list[tuple[float, int]]
"""When bytes came, on the loop's clock, and how many in all since a request was sent; first the request itself, with
none."""


@frozen_dataclass
class Received:
    """The bytes of one connection."""

    runs: list[Arrivals]  # without a pause, each after its requests
    handshake_s: float = 0.0  # of TLS: one round trip, or two
    begin: bytes = b""  # the first bytes of the first answer

    @property
    def count(self) -> int:
        return sum(arrivals[-1][1] for arrivals in self.runs)

    @property
    def is_large_page(self) -> bool:
        """Whether the first answer is a page that is large enough to tell a speed."""
        return self.begin[8:12] == b" 200" and self.runs[0][-1][1] >= _PAGE_LEAST

    @property
    def round_trip_s(self) -> float:
        """A round trip at most."""
        first_bytes_s = [arrivals[1][0] - arrivals[0][0] for arrivals in self.runs if len(arrivals) > 1]
        return min([*first_bytes_s, self.handshake_s or math.inf])

    def speed(self, least: int, *, at_least_s: float = 0.0) -> float | None:
        """Returns the bytes a second of the second half of the largest run; None if that has fewer than `least` bytes.
        TCP starts slowly, and a policer lets a first burst pass. If the second half took less than `at_least_s`, the
        speed is infinite."""
        arrivals = max(self.runs, key=lambda arrivals: arrivals[-1][1], default=[(0.0, 0)])
        ended, count = arrivals[-1]
        if count < least:
            return None
        began, before = next((at, came) for at, came in reversed(arrivals) if came <= count / 2)
        took_s = max(ended - began, _SHORTEST_S)
        return (count - before) / took_s if took_s >= at_least_s else math.inf


_NOTHING = Received([])


class _Lateness:
    """Notes by how much the loop was late at most, until it is closed."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._begin()

    def _begin(self) -> None:
        self._due_at = self._loop.time() + _TICK_S
        self._timer = self._loop.call_at(self._due_at, self._tick)

    def _tick(self) -> None:
        self.worst_s = max(self.worst_s, self._loop.time() - self._due_at)
        self._begin()

    def close(self) -> None:
        self._timer.cancel()


def shows_freeze(other: int) -> bool:
    """Whether a route that brought so many bytes shows that one with less was frozen."""
    return other >= _STOPPED


def outlasts_freeze(count: int, other: int) -> bool:
    """Whether a route that brought `count` bytes is not frozen: these are enough, or nearly all of a small page, of
    which another route brought `other`, and more than a frozen one brings."""
    return count >= ENOUGH or (shows_freeze(other) and count >= max(_STOPPED, other * _AS_MUCH))


async def measure_throughput(
    dialer: Dialer,
    destination: Destination,
    host: str,
    protocol: Protocol,
    *,
    enough: int,
    within_s: float,
    request: bytes | None = None,
    trust: ssl.SSLContext | None = None,
) -> int:
    """Returns the number of bytes that one connection to `host` delivers, over TLS or plain HTTP: until there are
    `enough`, or all that `REQUESTS_MAX` requests get. Returns 0 when the connection broke, or delivered neither within
    `within_s`. `request` is for another page than the first; `trust` verifies the certificate (None: with the system's
    roots)."""
    received = await _receive(
        dialer, destination, host, protocol, enough=enough, within_s=within_s, request=request, trust=trust
    )
    return received.count


async def measure_speeds(
    setup: Setup, turn: HelloTurn, visit: Outcome, other: Route
) -> tuple[float | None, float | None] | None:
    """Returns the bytes a second of direct and of another route to the site of `visit`, measured one after the other,
    as they may share a line; None: the site has no first page that is large enough to tell. The speed of a route is
    None if too little came, or not in time, or the loop was late. Direct is infinitely fast if nothing but its round
    trips slowed it down."""

    async def brought_by(route: Route, enough: int) -> Received:
        if route.is_direct and visit.protocol is Protocol.TLS:
            await turn(visit.host)
        dialer, within_s = setup.registry.dialer(route), setup.settings.detect.retest_pair_s
        destination = visit.request.destination
        with contextlib.closing(_Lateness()) as lateness:
            received = await _receive(
                dialer, destination, visit.host, visit.protocol, enough=enough, within_s=within_s, is_compared=True
            )
        return received if lateness.worst_s <= _LATE_S else _NOTHING

    direct = await brought_by(DIRECT, _DIRECT_BYTES)
    if direct.runs and not direct.is_large_page:
        return None
    by_other = await brought_by(other, _OTHER_BYTES)
    at_least_s = _ROUND_TRIPS * direct.round_trip_s
    return direct.speed(_DIRECT_BYTES // 2, at_least_s=at_least_s), by_other.speed(_OTHER_BYTES // 2)


async def _receive(
    dialer: Dialer,
    destination: Destination,
    host: str,
    protocol: Protocol,
    *,
    enough: int,
    within_s: float,
    request: bytes | None = None,
    trust: ssl.SSLContext | None = None,
    is_compared: bool = False,
) -> Received:
    """Returns the bytes of one connection, see `measure_throughput`: none when it broke, or the time was over.
    `is_compared`: it is one of a comparison of speeds, which stops after a first answer that is no large page."""
    stream: Stream | None = None
    loop, handshake_s = asyncio.get_running_loop(), 0.0
    try:
        with deadline(within_s):
            stream = await dialer.dial(destination)
            if is_compared:
                stream.bound_window(_WINDOW)
            if protocol is Protocol.TLS:
                stream = tls = TlsStream(stream, trust or context_trusting(None), host)
                began_at = loop.time()
                await tls.handshake()
                handshake_s = loop.time() - began_at
            received = Received([], handshake_s)
            return await _request_until_enough(
                stream, request or first_page_request(host), enough, received, is_compared=is_compared
            )
    except (TimeoutError, DialError, OSError, ssl.SSLError):
        return _NOTHING
    finally:
        if stream is not None:
            stream.abort()


_EVERY_S = 4.0
"""Seconds between two requests of one connection. Apache ends one that is idle for 5 s (KeepAliveTimeout)."""


async def measure_lifetime(
    dialer: Dialer,
    destination: Destination,
    host: str,
    protocol: Protocol,
    *,
    lasts_s: float,
    answer_s: float,
    request: bytes,
    trust: ssl.SSLContext | None = None,
) -> tuple[float, Symptom]:
    """Sends `request` every few seconds on one connection for `lasts_s`. Returns the seconds from the handshake to the
    end of the connection, or to the first request without an answer within `answer_s`; and how it ended, NONE if it
    lasted. Raises DialError or OSError when there is no handshake within `answer_s`."""
    stream: Stream | None = None
    try:
        with deadline(answer_s):
            stream = await dialer.dial(destination)
            if protocol is Protocol.TLS:
                stream = tls = TlsStream(stream, trust or context_trusting(None), host)
                await tls.handshake()
        return await _request_until_end(stream, request, lasts_s, answer_s)
    finally:
        if stream is not None:
            stream.abort()


async def _request_until_end(stream: Stream, request: bytes, lasts_s: float, answer_s: float) -> tuple[float, Symptom]:
    loop = asyncio.get_running_loop()
    began_at = next_at = loop.time()
    try:
        while next_at < began_at + lasts_s:
            await stream.send(request)
            sent_at, next_at, is_answered = loop.time(), next_at + _EVERY_S, False
            while (left_s := (next_at if is_answered else sent_at + answer_s) - loop.time()) > 0:
                try:
                    with deadline(left_s):
                        data = await stream.receive()
                except TimeoutError:
                    break
                if not data:
                    return loop.time() - began_at, Symptom.EOF
                is_answered = True
            if not is_answered:
                return sent_at - began_at, Symptom.SILENT
    except OSError:
        return loop.time() - began_at, Symptom.RESET
    return loop.time() - began_at, Symptom.NONE


def first_page_request(host: str) -> bytes:
    """Returns a request for the first page of `host`, without anything of the user. The connection stays open."""
    return f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\n\r\n".encode()


async def _request_until_enough(
    stream: Stream, request: bytes, enough: int, nothing: Received, *, is_compared: bool
) -> Received:
    received, requests_max = nothing, _COMPARED_MAX if is_compared else REQUESTS_MAX
    sent, wanted, ended = 0, 1, False
    while wanted and not ended:
        await stream.send(request * wanted)
        sent += wanted
        arrivals, begin, ended = await _receive_until_quiet(stream, enough - received.count)
        received = replace(received, runs=[*received.runs, arrivals], begin=received.begin or begin)
        if is_compared and not received.is_large_page:
            break
        count, missing = received.count, enough - received.count
        wanted = min(requests_max - sent, math.ceil(missing * sent / count)) if count and missing > 0 else 0
    return received


async def _receive_until_quiet(stream: Stream, enough: int) -> tuple[Arrivals, bytes, bool]:
    """Returns the bytes received until there are enough, or none came for `_QUIET_S`; the first of them; and whether
    the server closed."""
    loop, received, begin = asyncio.get_running_loop(), 0, b""
    arrivals: Arrivals = [(loop.time(), 0)]
    with contextlib.suppress(TimeoutError):
        while received < enough:
            with deadline(_QUIET_S if received else None):
                data = await stream.receive()
            if not data:
                return arrivals, begin, True
            begin = begin or data[:16]
            received += len(data)
            arrivals.append((loop.time(), received))
    return arrivals, begin, False
