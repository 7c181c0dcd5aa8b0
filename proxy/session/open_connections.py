"""The list of the connections that are open now.

A session adds its connection to `entries` and removes it at the end. The state of a connection is read only when the
list is shown. Each plain HTTP request is a connection in this list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Protocol

from proxy.model import Action, NetworkId, Request, Route
from proxy.model import Protocol as FlightProtocol
from proxy.model.frozen_dataclass import frozen_dataclass


class ConnectionState(StrEnum):
    """The progress of an open connection."""

    CONNECTING = "connecting"  # no route has delivered
    OPEN = "open"
    HALF_CLOSED = "half-closed"  # one side has finished sending


@frozen_dataclass
class OpenConnection:
    """One open connection. `route` carries it, or is tried now; None when there is none. `opened_at` is in seconds
    since the epoch."""

    request: Request
    host: str
    action: Action
    why: str
    route: Route | None
    state: ConnectionState
    protocol: FlightProtocol
    bytes_up: int
    bytes_down: int
    opened_at: float
    network: NetworkId


class Transfer(Protocol):
    """A tunnel, or the exchange of a plain HTTP request: it carries the bytes of a connection."""

    @property
    def bytes_moved(self) -> tuple[int, int]:
        """Up and down, so far."""
        ...

    @property
    def is_half_closed(self) -> bool: ...


class Entry(Protocol):
    """An open connection, as its session has it."""

    @property
    def open_connection(self) -> OpenConnection:
        """Its state now."""
        ...

    def close_for_user(self) -> None:
        """Closes both sides. The log says that the user did it."""


class Programs(Protocol):
    """Finds out which programs clients are."""

    async def of_all(self, clients: Collection[str]) -> Mapping[str, str | None]: ...


class OpenConnections:
    """All open connections, in the order in which they were opened."""

    __slots__ = ("_programs", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        """The open connections, by the id of the request."""
        self._programs: dict[int, str | None] = {}

    def newest_first(self) -> Iterator[OpenConnection]:
        """Yields the connections that are open at the call. The state of each is read when it is taken (3 µs)."""
        return (entry.open_connection for entry in reversed([*self.entries.values()]))

    def close(self, request_id: int) -> OpenConnection | None:
        """Closes a connection. Returns its last state; None when there is none with this id."""
        entry = self.entries.get(request_id)
        if entry is None:
            return None
        closed = entry.open_connection
        entry.close_for_user()
        return closed

    async def programs(self, connections: Collection[OpenConnection], programs: Programs) -> Mapping[int, str | None]:
        """Returns the client program of each connection, by the id of its request: empty when the client is not on this
        computer, None when the program cannot be found out. Each connection is looked up once."""
        ids = self.entries.keys() | {each.request.id for each in connections}
        by_id = {id_: name for id_, name in self._programs.items() if id_ in ids}
        clients = {each.request.id: each.request.client for each in connections if each.request.id not in by_id}
        names = await programs.of_all({*filter(None, clients.values())}) if clients else {}
        self._programs = by_id | {id_: names.get(client, "") for id_, client in clients.items()}
        return self._programs

    def __repr__(self) -> str:
        return f"<OpenConnections {len(self.entries)}>"
