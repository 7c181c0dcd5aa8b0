"""Measures how many bytes a route delivers on one connection, for blocks that freeze or slow a connection later on.

The probe requests the site's first page again and again on one connection, without cookies or paths of the user, until
enough bytes have come, the server ends it, or the time is over. Where the page is very small, enough never come; then
the bytes that another route delivered of the same page tell whether it was all.
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

REQUESTS_MAX = 100
"""For one measurement: a site whose first page is small is not worn out for it, and Apache ends a connection after so
many (MaxKeepAliveRequests). For 64 KiB an answer of 656 bytes will do, head included."""

_QUIET_S = 1.0
"""After so long without a further byte the next requests are sent: where an answer ends is not worth parsing here.
They go out together (RFC 9112, section 9.3.2): one after the other they take longer than a measurement may."""


async def measure_throughput(
    dialer: Dialer, destination: Destination, host: str, protocol: Protocol, *, enough: int, within_s: float
) -> int:
    """The bytes that come on one connection to `host`, over TLS or plain HTTP, until there are `enough`, or all that
    may be asked for. 0 when it broke off, or brought neither within `within_s`."""
    stream: Stream | None = None
    try:
        with deadline(within_s):
            stream = await dialer.dial(destination)
            if protocol is Protocol.TLS:
                stream = tls = TlsStream(stream, context_trusting(None), host)
                await tls.handshake()
            return await _request_until_enough(stream, host, enough)
    except (TimeoutError, DialError, OSError, ssl.SSLError):
        return 0
    finally:
        if stream is not None:
            stream.abort()


async def _request_until_enough(stream: Stream, host: str, enough: int) -> int:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n".encode()
    received, sent, wanted, ended = 0, 0, 1, False
    while wanted and not ended:
        await stream.send(request * wanted)
        sent += wanted
        came, ended = await _until_quiet(stream, enough - received)
        received += came
        missing = enough - received
        wanted = min(REQUESTS_MAX - sent, math.ceil(missing * sent / received)) if received and missing > 0 else 0
    return received


async def _until_quiet(stream: Stream, enough: int) -> tuple[int, bool]:
    """The bytes that come until there are enough of them, or no more come for a while; and whether the server has
    ended."""
    came = 0
    with contextlib.suppress(TimeoutError):
        while came < enough:
            with deadline(_QUIET_S if came else None):
                data = await stream.receive()
            if not data:
                return came, True
            came += len(data)
    return came, False
