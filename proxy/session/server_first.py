"""Relays the greeting of a server that speaks before its client, on a connection to a literal address: SSH, SMTP.

The plan for a literal address depends on the client's flight, which may name a host. So the client gets the greeting,
but no byte of the client goes to the server until the flight is complete. Otherwise one forged server byte would make
Byway send a name over direct that a rule sends through relays only.
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
    """Relays the bytes of the server of `opened` until the client's flight is no longer `is_incomplete`, one side has
    left, or nothing happened for `idle_timeout_s`. Returns the number of bytes sent to the client, and who ended the
    wait. Replaces the `notify` of both streams."""
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
