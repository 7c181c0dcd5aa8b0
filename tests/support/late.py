"""Makes a loop late without waiting: its clock moves on in the middle of a pass."""

from __future__ import annotations

import asyncio
import ssl

TLS_LATE_S = 40.0
"""Seconds by which the loop misses most deadlines, but not that of asyncio's own TLS servers, which is 60 s."""


def stall(seconds: float) -> None:
    """Acts as if the calling callback took `seconds`. All deadlines within that time are due in the loop's next pass,
    which is also the first one to see data on sockets."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]


def stalling(context: ssl.SSLContext, seconds: float) -> ssl.SSLContext:
    """Returns a server's context that makes the loop late just before it answers a ClientHello."""
    choose = context.sni_callback

    def late(answering: ssl.SSLObject, name: str, used: ssl.SSLContext) -> int | None:
        stall(seconds)
        return choose(answering, name, used) if choose is not None else None

    context.sni_callback = late
    return context
