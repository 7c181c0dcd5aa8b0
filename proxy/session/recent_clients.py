"""Which browsers used the proxy in the last seconds, in memory only, for the page that says whether this one does.

Of a User-Agent only a keyed hash is kept, for a bounded number of clients. Two browsers with the same User-Agent cannot
be told apart.
"""

from __future__ import annotations

import time
from enum import StrEnum

RECENT_S = 10.0
_KEPT = 64


class RecentClients:
    """The User-Agents of the last requests to the proxy."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: dict[int, float] = {}

    def note(self, user_agent: str) -> None:
        """Notes a request through the proxy. Called for every request that has a User-Agent."""
        noted, key = self._noted, hash(user_agent)  # SipHash with a key of this process
        noted.pop(key, None)
        noted[key] = time.monotonic()
        if len(noted) > _KEPT:
            del noted[next(iter(noted))]

    def has_used(self, user_agent: str) -> bool:
        """Whether a client with this User-Agent used the proxy in the last RECENT_S seconds."""
        return time.monotonic() - self._noted.get(hash(user_agent), float("-inf")) <= RECENT_S


class Use(StrEnum):
    """Whether the browser that opens the page uses the proxy."""

    CONFIRMED = "confirmed"  # its request came through the proxy
    RECENT = "recent"  # one with its User-Agent has just used the proxy
    NOT_SEEN = "not seen"
