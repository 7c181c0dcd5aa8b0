"""A connection to an origin over one route, for one client's plain HTTP requests.

It may serve the next request too, when that one goes the same way: never another client's, and never one whose plan, or
whose network, is another by now.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.model import Destination, NetworkId, Route
from proxy.net.dialers.registry import Registry
from proxy.net.stream import Stream
from proxy.wire.reader import Reader


@dataclass(frozen=True, slots=True)
class OriginConnection:
    """The session that holds it closes its stream."""

    destination: Destination
    route: Route
    registry: Registry
    """The registry that dialed `route`: after a reload, the same name may mean another relay."""
    network: NetworkId
    stream: Stream
    reader: Reader
    """Bytes of answers that were received and not read yet."""
    reusable: bool
    """False: the answer came before the request's head had gone out whole, so nothing may follow it; or only the first
    request has a shape that gets through."""

    def serves(self, destination: Destination, routes: Sequence[Route], registry: Registry, network: NetworkId) -> bool:
        """Whether it goes where the plan goes first, and nothing came on it while it was idle: not even its end."""
        fits = (
            self.destination == destination
            and tuple(routes[:1]) == (self.route,)
            and self.registry is registry
            and self.network == network
        )
        with contextlib.suppress(OSError):
            return fits and self.stream.receive_nowait() is None
        return False
