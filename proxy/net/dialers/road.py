"""The parts that all dialers of first relays share: the lookup, and the beliefs about the ways to a relay.

`relay_ways` dials with them. It is imported with the first relay that has several ways, this module at every start.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet, WeakValueDictionary

from proxy.config.detect_tuning import DetectTuning
from proxy.model import UNKNOWN_NETWORK, Destination, NetworkId, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.relay_way import RelayWay, WayOrder
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.kernel.tcp_info import TcpInfo

if TYPE_CHECKING:
    from proxy.net.dialers.http2_connect import RelayConnections
    from proxy.net.dialers.http2_connection import Http2Connection


class WayBeliefs(Protocol):
    """The beliefs about ways, by network; here, none. `relay` is the endpoint of its URL, `now` seconds since the
    epoch."""

    def order(
        self,
        relay: Destination,
        ways: Sequence[RelayWay],
        network: NetworkId,
        now: float,
        *,
        filtered: Sequence[RelayWay],
    ) -> WayOrder:
        """Returns the ways to try; see `detect.relay_ways`. The hello was just filtered on `filtered`."""
        return WayOrder([way for way in ways if not way.strategy or way.plain in filtered])

    def used(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """Notes that a dial used the way, and reached the relay."""
        return

    def worked(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """The way led to the relay, and nothing went over it."""
        return

    def failed(self, relay: Destination, way: RelayWay, symptom: Symptom, network: NetworkId, now: float) -> None:
        """The way failed, and another way led to the relay."""
        return

    def overtaken(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """The way looks dropped, and another way led to the relay: its verdict is to come."""
        return

    def avoid(self, relay: Destination, peer: str, network: NetworkId, now: float) -> None:
        """The relay did not complete its handshake on the way to `peer`."""
        return

    def has_left(self, relay: Destination, peer: str, network: NetworkId, since: float) -> bool:
        """Whether a way to `peer` ("address:port") failed, stalled or was avoided later than `since`, so that no
        further tunnel should go over a connection that was opened on it before."""
        return False

    def due(self, relay: Destination, ways: Sequence[RelayWay], network: NetworkId, now: float) -> RelayWay | None:
        """Returns a way to test now, beside a dial that went well; None: there is none."""
        return None


class NoWayBeliefs(WayBeliefs):
    """Believes nothing, and keeps the order of the configuration."""


NO_WAY_BELIEFS: WayBeliefs = NoWayBeliefs()


class SharedRelays:
    """The HTTP/2 connections to relays, of all Setups of one process: a reload keeps those to a relay whose URL stays.
    Dialers keep what they share alive; the connections of a relay that was removed are closed with their last tunnel.
    Belongs to one loop."""

    def __init__(self) -> None:
        self._relays: WeakValueDictionary[Hashable, RelayConnections] = WeakValueDictionary()
        self._connections: WeakSet[Http2Connection] = WeakSet()

    def of(self, path: Hashable) -> RelayConnections:
        """Returns the connections over a path: the URLs of all its hops, with their credentials."""
        from proxy.net.dialers.http2_connect import RelayConnections  # with the first https relay

        relay = self._relays.get(path)
        if relay is None:
            relay = self._relays[path] = RelayConnections(self._connections)
        return relay

    def network_changed(self, is_lost: Callable[[socket.SocketType], bool]) -> None:
        """Breaks off the connections whose socket `is_lost`, and forgets what is known of the way of the others."""
        for relay in tuple(self._relays.values()):
            relay.forget_losses()
        for connection in tuple(self._connections):
            if is_lost(connection.stream.lowest_socket):
                connection.abort()

    def retire_all(self) -> None:
        """Lets open tunnels go on. Later ones get other connections."""
        for connection in tuple(self._connections):
            connection.retire()


@frozen_dataclass
class RoadToRelays:
    """The parts that all dialers of first relays share."""

    lookup: AddressLookup | None = None  # None: the dialer below resolves names
    beliefs: WayBeliefs = NO_WAY_BELIEFS
    network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK
    tcp_info: TcpInfo = field(default_factory=TcpInfo)
    detect: DetectTuning = field(default_factory=DetectTuning)
    strategies: tuple[str, ...] = ()  # for TLS, such as "tlsrec"
    retests: bool = True  # whether failed ways are tried again beside dials that went well

    def here(self) -> tuple[NetworkId, float]:
        """Returns the current network and time: beliefs about ways depend on both."""
        return self.network(), time.time()
