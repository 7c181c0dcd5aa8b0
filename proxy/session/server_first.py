"""A server that speaks before its client does, on a connection to a literal address: SSH, SMTP.

The plan for a literal address hangs on the client's first words, which may name a host. What the server says goes on
to the client, while nothing of the client's goes to the server until its words are whole: else one forged byte would
have a name that goes by relays alone sent after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from proxy.net.deadline import deadline
from proxy.net.notify import Notify
from proxy.net.race.race import Winner
from proxy.net.stream import Stream


async def relay_server_greeting(
    opened: Winner, client: Stream, notify: Notify, awaits: Callable[[], bool], *, idle_timeout_s: float
) -> int:
    """Passes on what the server of `opened` says, until `awaits` says that no more of the client's words are waited
    for, the server has finished, or nothing happened for `idle_timeout_s`. Returns the bytes. Takes over who hears of
    either stream."""
    stream = opened.stream
    said = 0
    data: bytes | None = opened.answer
    client.notify = stream.notify = notify.set
    with contextlib.suppress(TimeoutError):
        while True:
            with deadline(idle_timeout_s):
                if data:
                    await client.send(data)
                    said += len(data)
                if not awaits() or data == b"":
                    break
                data = stream.receive_nowait()
                if data is None:
                    await notify.wait(None)
    return said
