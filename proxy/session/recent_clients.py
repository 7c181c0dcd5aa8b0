"""Who used the proxy port, in memory only: the User-Agents of the last seconds, for the page that says whether this
browser does, and the programs while `[listen] programs` names those that get relays.

Of a User-Agent only a keyed hash is kept, for a bounded number of clients. Two browsers with the same User-Agent cannot
be told apart. Without that setting no client's program is looked up, and the page of the settings notes those that it
shows.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from proxy.model.bounded import Bounded

if TYPE_CHECKING:
    from proxy.net.named_programs import Holder

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


USERS_MAX = 64
"""The most programs that are kept: a program can make copies of itself without end."""


@dataclass(slots=True)
class PortUser:
    """A program, by its file; None: one that cannot be found out, or another computer (`is_elsewhere`). A form refers
    to it by `id`."""

    program: Holder | None
    is_elsewhere: bool = False
    connections: int = 0
    last_at: float = 0.0
    """Seconds since the epoch."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))


class PortUsers:
    """The programs, the one that used the port last at the end."""

    def __init__(self) -> None:
        self._users: Bounded[object, PortUser] = Bounded(USERS_MAX)

    def note(self, holders: Sequence[Holder] | None, at: float, *, connections: int = 1) -> None:
        """Notes connections of a client, by the programs that hold its socket, as `ClientPrograms.holders` returns
        them."""
        for program in holders or (None,):
            key = holders if program is None else (program.path, program.device, program.inode)
            user = self._users.get(key) or PortUser(program, is_elsewhere=program is None and holders is not None)
            user.connections += connections
            user.last_at = at
            self._users[key] = user

    def newest_first(self) -> Sequence[PortUser]:
        return [*reversed(self._users.values())]

    def find(self, user: str) -> PortUser | None:
        """Returns the program with this id."""
        return next((each for each in self._users.values() if each.id == user), None)

    def clear(self) -> None:
        self._users.clear()
