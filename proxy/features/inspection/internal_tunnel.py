"""Tunnels that Byway opens through itself, so that connections of the engine are planned and raced like any client's.

Each is a pair of sockets. A Session serves one end, as if the other were a client: it plans, races, learns and logs,
but it does not inspect, which would be a loop.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import replace

from proxy.features.inspection.client_context import UpstreamPath
from proxy.model import Destination, Inbound, Outcome, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream, Stream
from proxy.net.tasks import spawn
from proxy.session.events import Ended, TunnelEnded
from proxy.session.inbound import INNER_ACCEPTED, InnerTunnel
from proxy.session.open_connections import OpenConnections
from proxy.session.services import Services
from proxy.session.session import Session


def make_pair(poller: Poller, peer: str) -> tuple[socket.socket, SocketStream]:
    """Returns the two ends: a socket for the engine, and a stream for a session, which logs `peer` as its client. The
    caller closes both. Raises OSError."""
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    ours.setblocking(False)
    try:
        return theirs, SocketStream(ours, poller, peer)
    except BaseException:
        theirs.close()
        ours.close()
        raise


class InnerDialer:
    """Opens inner tunnels for one client. It is a Dialer; `open` returns a socket instead of a stream."""

    def __init__(self, services: Services, poller: Poller, inbound: Inbound, client: str) -> None:
        self._services = services
        self._poller = poller
        self._inbound = inbound
        self._client = client
        self._latest: Session | None = None

    @property
    def latest(self) -> Outcome | None:
        """The present outcome of the tunnel that was opened last; None: no tunnel was opened."""
        record = None if self._latest is None else self._latest.record
        return None if record is None else record.outcome

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer."""
        stream, _ = await self._open(destination)
        return stream

    async def open(self, destination: Destination) -> UpstreamPath:
        """Opens a tunnel; the caller closes its socket. Raises DialError without the reason, which is in the log."""
        stream, outcome = await self._open(destination)
        return UpstreamPath(stream.detach(), outcome)

    async def _open(self, destination: Destination) -> tuple[SocketStream, Callable[[], Outcome]]:
        try:
            theirs, ours = make_pair(self._poller, self._client)
            stream = SocketStream(theirs, self._poller, str(destination))
        except OSError as error:
            raise DialError(str(error), stage=Stage.CONNECT, symptom=Symptom.LOCAL) from error
        session = self._latest = Session(ours, self._services, inspected=True)
        spawn(session.run(InnerTunnel(destination, self._inbound)), name=f"inner tunnel to {destination}")
        try:
            answer = b""
            with contextlib.suppress(OSError):  # the end of the session is a refusal
                answer = await stream.receive(1)
            if answer != INNER_ACCEPTED:
                text = f"{destination} could not be reached. For details: `byway why {destination.host}`"
                raise DialError(text, stage=Stage.CONNECT, symptom=Symptom.UNREACHABLE)
        except BaseException:
            stream.close()
            raise
        record = session.record
        assert record is not None
        return stream, lambda: record.outcome


def without_log(services: Services, tunnel_ended: Callable[[TunnelEnded], None]) -> Services:
    """Returns these services for Byway's own probes: nothing is learned from them, they have no row in the log and are
    not among the open connections. The end of their tunnels is reported to `tunnel_ended` alone."""
    events = services.events.without(Ended, TunnelEnded)
    events.on(TunnelEnded, tunnel_ended)
    return replace(services, events=events, open_connections=OpenConnections(), learns=False)
