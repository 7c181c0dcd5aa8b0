"""Rows of the log, and connections that are open now."""

from __future__ import annotations

from proxy.model import Action, Inbound
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.session.open_connections import ConnectionState, OpenConnection
from proxy.store.logged import LoggedConnection


@frozen_dataclass
class ConnectionLine(LoggedConnection):
    """A connection that has just ended."""


@frozen_dataclass
class OpenConnectionJson:
    """A connection that is open now. `client` is the address it comes from, `program` the file name of the program
    there: empty when that is not on this computer, null when it is not known, or not yet, in its first second. `route`
    is the one that carries it or is tried now, null when none is."""

    id: int
    opened_at: float
    host: str
    port: int
    client: str
    program: str | None
    inbound: Inbound
    action: Action
    why: str
    route: str | None
    state: ConnectionState
    protocol: str
    bytes_up: int
    bytes_down: int
    network: str

    @classmethod
    def of(cls, value: OpenConnection, program: str | None) -> OpenConnectionJson:
        return cls(
            id=value.request.id,
            opened_at=value.opened_at,
            host=value.host,
            port=value.request.destination.port,
            client=value.request.client,
            program=program,
            inbound=value.request.inbound,
            action=value.action,
            why=value.why,
            route=None if value.route is None else str(value.route),
            state=value.state,
            protocol=str(value.protocol),
            bytes_up=value.bytes_up,
            bytes_down=value.bytes_down,
            network=value.network,
        )


@frozen_dataclass
class OpenConnectionsAnswer:
    """The open connections that are asked for, the newest first. `matching` counts them, also those beyond the limit;
    `open` counts all that are open."""

    connections: tuple[OpenConnectionJson, ...]
    matching: int
    open: int


@frozen_dataclass
class ClosedConnectionAnswer:
    """The connection that was closed, as it was before."""

    closed: OpenConnectionJson


@frozen_dataclass
class LogAnswer:
    """Rows of the log, the newest first. `hosts` is the setting `[log] hosts`: which connections are logged by name."""

    rows: tuple[LoggedConnection, ...]
    hosts: str
