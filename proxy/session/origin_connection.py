"""A connection to an origin over one route, for one client's plain HTTP requests.

It may serve the client's next request too, if that has the same destination, the same route and is made on the same
network. It never serves another client.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from proxy.model import REUSED, Attempt, Destination, NetworkId, Route, Stage
from proxy.net.dialers.registry import Registry
from proxy.net.stream import Stream
from proxy.wire.reader import Reader


class OriginConnection:
    """An open connection. The session that owns it closes its stream."""

    __slots__ = ("_reused", "destination", "network", "reader", "registry", "reusable", "route", "stream")

    def __init__(
        self,
        destination: Destination,
        route: Route,
        registry: Registry,
        network: NetworkId,
        stream: Stream,
        reader: Reader,
        *,
        reusable: bool,
    ) -> None:
        """`registry` dialed `route`: after a reload, the same name may mean another relay. `reader` holds bytes that
        were received and not parsed yet. `reusable` is False when the answer came before the whole head was sent, and
        when the route changes only the first request to pass a filter."""
        self.destination = destination
        self.route = route
        self.registry = registry
        self.network = network
        self.stream = stream
        self.reader = reader
        self.reusable = reusable
        self._reused: Attempt | None = None

    @property
    def reused(self) -> Attempt:
        """The attempt of each request but the first."""
        if self._reused is None:
            self._reused = Attempt(self.route, Stage.DONE, address=self.stream.peer, evidence=REUSED)
        return self._reused

    def serves(self, destination: Destination, routes: Sequence[Route], registry: Registry, network: NetworkId) -> bool:
        """Whether it has this destination and the first of these routes, and received no byte and no EOF while idle."""
        fits = (
            (self.destination is destination or self.destination == destination)
            and bool(routes)
            and routes[0] == self.route
            and self.registry is registry
            and self.network == network
        )
        if not fits or self.stream.drained:
            return fits
        with contextlib.suppress(OSError):
            return self.stream.receive_nowait() is None
        return False
