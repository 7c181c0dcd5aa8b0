"""Open connections in a world, which users of a list can close."""

from __future__ import annotations

from proxy.model import DIRECT, Action, Destination, Inbound, Protocol, Request, Route
from proxy.session.open_connections import ConnectionState, OpenConnection
from tests.support.control_world import World
from tests.support.outcomes import HOME, TOR


class Opened:
    """An open connection. When it is closed, that is noted in `closed`."""

    def __init__(self, world: World, number: int, host: str, route: Route | None, at: float, closed: list[int]) -> None:
        request = Request(number, Destination(host, 443), Inbound.CONNECT, f"127.0.0.1:{50000 + number}")
        state = ConnectionState.CONNECTING if route is None else ConnectionState.OPEN
        self._entries = world.open_connections.entries
        self._closed = closed
        self._entries[number] = self
        self.open_connection = OpenConnection(
            request, host, Action.AUTO, "AUTO: nothing is known", route, state, Protocol.TLS, 100, 2000, at, HOME
        )

    def close_for_user(self) -> None:
        number = self.open_connection.request.id
        del self._entries[number]
        self._closed.append(number)


def open_three(world: World, *, at: float) -> list[int]:
    """Opens connections 1 to 3. Returns the ids of those that are closed."""
    closed: list[int] = []
    world.programs.known |= {"127.0.0.1:50001": "firefox", "127.0.0.1:50002": "curl"}
    rows: list[tuple[str, Route | None]] = [("a.example.org", TOR), ("example.net", DIRECT), ("example.org", None)]
    for number, (host, route) in enumerate(rows, 1):
        Opened(world, number, host, route, at, closed)
    return closed
