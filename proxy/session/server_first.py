"""A server that speaks before its client does, on a connection to a literal address: SSH, SMTP.

The plan for a literal address depends on the client's first bytes, which may name a host. The greeting goes on to the
client, but no byte of the client goes to the server until its flight is complete. Otherwise one forged server byte
would make Byway send a name directly that a rule sends through relays only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from proxy.model import ClosedBy
from proxy.net.deadline import deadline
from proxy.net.notify import Notify
from proxy.net.race.race import Winner
from proxy.net.stream import Stream


async def relay_server_greeting(
    opened: Winner, client: Stream, notify: Notify, is_incomplete: Callable[[], bool], *, idle_timeout_s: float
) -> tuple[int, ClosedBy]:
    """Relays what the server of `opened` sends, until the client's flight is no longer `is_incomplete`, one side has
    left, or nothing happened for `idle_timeout_s`. Returns the bytes sent to the client, and who ended it. Replaces the
    `notify` of both streams."""
    stream = opened.stream
    relayed = 0
    data: bytes | None = opened.answer
    client.notify = stream.notify = notify.set
    with contextlib.suppress(TimeoutError):
        while True:
            with deadline(idle_timeout_s):
                if data:
                    try:
                        await client.send(data)
                    except OSError:
                        return relayed, ClosedBy.CLIENT
                    relayed += len(data)
                if not is_incomplete():
                    return relayed, ClosedBy.CLIENT
                if data == b"":
                    return relayed, ClosedBy.SERVER
                try:
                    data = stream.receive_nowait()
                except OSError:
                    data = b""
                if data is None:
                    await notify.wait()
    return relayed, ClosedBy.IDLE
