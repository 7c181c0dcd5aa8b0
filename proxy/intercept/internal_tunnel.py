"""Tunnels that Byway asks of itself: what the engine sends goes the way that everything goes.

Each is a pair of sockets with a Session at one end, which takes the other one for its client. It plans, races, learns
and logs as for any client, but for what would lead back here.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import replace

from proxy.intercept.client_context import UpstreamPath
from proxy.model import Destination, Inbound, Outcome, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream, Stream
from proxy.net.tasks import spawn
from proxy.session.events import Ended, TunnelEnded
from proxy.session.inbound import INNER_ACCEPTED, InnerTunnel
from proxy.session.services import Services
from proxy.session.session import Session


def make_pair(poller: Poller, peer: str) -> tuple[socket.socket, SocketStream]:
    """Two ends: a socket for somebody else, and a stream for a session, whose client is `peer` to the log. Raises
    OSError."""
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
    """Opens inner tunnels for one client; a Dialer, and `open` for who wants the socket."""

    def __init__(self, services: Services, poller: Poller, inbound: Inbound, client: str) -> None:
        self._services = services
        self._poller = poller
        self._inbound = inbound
        self._client = client
        self._latest: Session | None = None

    @property
    def latest(self) -> Outcome | None:
        """How the tunnel goes, or went, that was opened last."""
        record = None if self._latest is None else self._latest.record
        return None if record is None else record.outcome

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer."""
        stream, _ = await self._open(destination)
        return stream

    async def open(self, destination: Destination) -> UpstreamPath:
        """Raises DialError, which says nothing of why: that is in the log."""
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
            with contextlib.suppress(OSError):  # it can only be that the session is gone
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
    """The same for tunnels that ask something for ourselves: they teach nothing, and have no line in the log."""
    events = services.events.without(Ended, TunnelEnded)
    events.on(TunnelEnded, tunnel_ended)
    return replace(services, events=events, learns=False)
