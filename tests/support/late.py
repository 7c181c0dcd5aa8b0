"""A loop that is late, without the wait: its clock moves on in the middle of one of its passes."""

from __future__ import annotations

import asyncio
import ssl

TLS_LATE_S = 40.0
"""A loop so late misses most deadlines, but not that of asyncio's own TLS servers, which is 60 s."""


def stall(seconds: float) -> None:
    """As if the callback that calls this took so long. Every deadline of the time falls due in the loop's next pass,
    which is also the first to see what came on sockets."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]


def stalling(context: ssl.SSLContext, seconds: float) -> ssl.SSLContext:
    """A server's context, with which the loop is late just before it answers a ClientHello."""
    choose = context.sni_callback

    def late(answering: ssl.SSLObject, name: str, used: ssl.SSLContext) -> int | None:
        stall(seconds)
        return choose(answering, name, used) if choose is not None else None

    context.sni_callback = late
    return context
