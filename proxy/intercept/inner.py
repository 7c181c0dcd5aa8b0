"""Tunnels that Byway asks of itself: what the engine sends goes the way that everything goes.

Each is a pair of sockets with a Session at one end, which takes the other one for its client. It plans, races, learns
and logs as for any client, but for what would lead back here.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import replace

from proxy.errors import DialError
from proxy.intercept.meeting import Way
from proxy.model import Destination, Inbound, Outcome, Stage, Symptom
from proxy.net.front import INNER_ACCEPTED, InnerTunnel
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream, Stream
from proxy.net.tasks import spawn
from proxy.services import Services
from proxy.session import Session


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
        entry = None if self._latest is None else self._latest.entry
        return None if entry is None else entry.outcome

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer."""
        stream, _ = await self._open(destination)
        return stream

    async def open(self, destination: Destination) -> Way:
        """Raises DialError, which says nothing of why: that is in the log."""
        stream, outcome = await self._open(destination)
        return Way(stream.detach(), outcome)

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
        entry = session.entry
        assert entry is not None
        return stream, lambda: entry.outcome


def unheard(services: Services, tunnel_ended: Callable[[Outcome], None]) -> Services:
    """The same for tunnels that ask something for ourselves: they teach nothing, and have no line in the log."""
    return replace(services, record=lambda _outcome, _network: None, tunnel_ended=tunnel_ended, teaches=False)
