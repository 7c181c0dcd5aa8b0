"""Answers about rows of the log, and about open connections."""

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
    """An open connection. `client` is the client's address, `program` the file name of its program: empty if that is
    not on this computer, null if it is unknown, or in the first second. `route` is the one that carries it or is being
    tried, null without one."""

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
    """The open connections that match, the newest first. `matching` counts them, also those beyond the limit; `open`
    counts all open ones."""

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
