"""Measures the bytes that a route delivers on one connection, for blocks that freeze or slow a connection later on.

The probe requests the site's first page again and again on one connection, without cookies or paths of the user, until
there are enough bytes, the server ends the connection, or the time is over. A very small page never brings enough; the
caller then compares with the bytes of another route.
"""

from __future__ import annotations

import contextlib
import math
import ssl

from proxy.model import Destination, Protocol
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, context_trusting
from proxy.net.stream import Stream
from proxy.probe.target import AGENT

REQUESTS_MAX = 100
"""The most requests of one measurement, to spare a site with a small first page. Apache ends a connection after as many
(MaxKeepAliveRequests). For 64 KiB, answers of 656 bytes are enough, head included."""

_QUIET_S = 1.0
"""Seconds without a byte after which the next requests are sent, since the end of an answer is not parsed here. They
are pipelined (RFC 9112 section 9.3.2): one after the other they would take longer than a measurement may."""


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
    stream: Stream | None = None
    try:
        with deadline(within_s):
            stream = await dialer.dial(destination)
            if protocol is Protocol.TLS:
                stream = tls = TlsStream(stream, trust or context_trusting(None), host)
                await tls.handshake()
            return await _request_until_enough(stream, request or first_page_request(host), enough)
    except (TimeoutError, DialError, OSError, ssl.SSLError):
        return 0
    finally:
        if stream is not None:
            stream.abort()


def first_page_request(host: str) -> bytes:
    """Returns a request for the first page of `host`, without anything of the user. The connection stays open."""
    return f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\n\r\n".encode()


async def _request_until_enough(stream: Stream, request: bytes, enough: int) -> int:
    received, sent, wanted, ended = 0, 0, 1, False
    while wanted and not ended:
        await stream.send(request * wanted)
        sent += wanted
        more, ended = await _receive_until_quiet(stream, enough - received)
        received += more
        missing = enough - received
        wanted = min(REQUESTS_MAX - sent, math.ceil(missing * sent / received)) if received and missing > 0 else 0
    return received


async def _receive_until_quiet(stream: Stream, enough: int) -> tuple[int, bool]:
    """Returns the number of bytes received until there are enough, or none came for `_QUIET_S`; and whether the server
    closed."""
    received = 0
    with contextlib.suppress(TimeoutError):
        while received < enough:
            with deadline(_QUIET_S if received else None):
                data = await stream.receive()
            if not data:
                return received, True
            received += len(data)
    return received, False
