"""The Dialer: everything that can open a path to a destination.

Plain TCP, a relay, and TLS to a relay differ only in which dialer wraps which; a fake of a test is one more. So the
user of a path does not ask for its kind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from proxy.model import Destination, Route
from proxy.net.stream import Stream

HANDSHAKE_TIMEOUT_S = 10.0
"""Seconds for all bytes of a relay handshake together, so that a relay cannot stretch it byte by byte."""


class Dialer(Protocol):
    """Opens paths of one kind."""

    async def dial(self, destination: Destination) -> Stream:
        """Returns a stream whose next bytes go to, and come from, `destination`. The caller closes it.

        Raises DialError with the stage and the symptom. A dial that fails or is cancelled leaves nothing open.
        """


AskAddon = Callable[[str, Route, Destination], Awaitable[Stream | None]]
"""Asks the addon of that name for a path over this route. Returns None when there is no such addon, or it had a fault.
Raises DialError and OSError."""
