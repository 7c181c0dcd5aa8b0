"""What opens paths: everything that can reach a destination is a Dialer.

Plain TCP, a relay, and TLS to a relay differ only in which dialer wraps which; a test's fake is one more. So nothing
that uses a path asks of what kind it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from proxy.model import Destination, Route
from proxy.net.stream import Stream

HANDSHAKE_TIMEOUT_S = 10.0
"""For all bytes of one handshake with a relay together: one that sends one byte a second gains nothing."""


class Dialer(Protocol):
    """Opens paths of one kind."""

    async def dial(self, destination: Destination) -> Stream:
        """A stream whose next bytes go to, and come from, `destination`. The caller closes it.

        Raises DialError with the stage and the symptom. When it fails or is cancelled nothing is left open.
        """
        ...


AskAddon = Callable[[str, Route, Destination], Awaitable[Stream | None]]
"""Asks the addon of that name for a path over this route; None: there is no such addon, or it had a fault. Raises
DialError and OSError."""
