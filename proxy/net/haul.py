"""How much does a route bring on one connection? For blocks that let a connection begin and then freeze or slow it.

A measurement of our own: it asks for the first page of the site again and again on one connection until enough bytes
have come, or the server ends it, or the time is over. Nobody's cookies, nobody's paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from proxy.errors import DialError
from proxy.model import Destination, Protocol
from proxy.net.dialer import Dialer
from proxy.net.stream import Stream
from proxy.net.tls import TlsStream, context_trusting

REQUESTS_MAX = 16
"""For one measurement: a site whose first page is small is not worn out for it."""

_QUIET_S = 1.0
"""After so long without a byte the next request is sent: where an answer ends is not worth parsing here."""


async def brings(
    dialer: Dialer, destination: Destination, host: str, protocol: Protocol, *, enough: int, within_s: float
) -> bool:
    """Whether at least `enough` bytes come on one connection to `host`, over TLS or plain HTTP, within `within_s`."""
    stream: Stream | None = None
    try:
        async with asyncio.timeout(within_s):
            stream = await dialer.dial(destination)
            if protocol is Protocol.TLS:
                stream = tls = TlsStream(stream, context_trusting(None), host)
                await tls.handshake()
            return await _haul(stream, host, enough)
    except (TimeoutError, DialError, OSError, ssl.SSLError):
        return False
    finally:
        if stream is not None:
            stream.abort()


async def _haul(stream: Stream, host: str, enough: int) -> bool:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n".encode()
    received = 0
    for _ in range(REQUESTS_MAX):
        await stream.send(request)
        with contextlib.suppress(TimeoutError):
            while received < enough:
                async with asyncio.timeout(_QUIET_S):
                    data = await stream.receive()
                if not data:
                    return False
                received += len(data)
        if received >= enough:
            return True
    return False
