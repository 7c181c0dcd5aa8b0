"""A connection to an origin over one route, for one client's plain HTTP requests.

It may serve the client's next request too, if that has the same destination and route. It never serves another client,
and no request that is planned otherwise or made on another network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from proxy.model import Attempt, Destination, NetworkId, Route
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.registry import Registry
from proxy.net.stream import Stream
from proxy.wire.reader import Reader


@frozen_dataclass
class OriginConnection:
    """An open connection. The session that owns it closes its stream."""

    destination: Destination
    route: Route
    registry: Registry
    """The registry that dialed `route`: after a reload, the same name may mean another relay."""
    network: NetworkId
    stream: Stream
    reader: Reader
    """Bytes that were received and not parsed yet."""
    reusable: bool
    """False: the answer came before the request's head was sent whole, so nothing may follow it; or the route changes
    the first request, and only that, to pass a filter."""
    attempt: Attempt
    """That of each request but the first."""

    def serves(self, destination: Destination, routes: Sequence[Route], registry: Registry, network: NetworkId) -> bool:
        """Whether it has the destination and the first route of a plan, and received nothing while idle, nor EOF."""
        fits = (
            self.destination.host == destination.host
            and self.destination.port == destination.port
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
