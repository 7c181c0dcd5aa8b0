"""The parts that all dialers of first relays share: the lookup, and the beliefs about the ways to a relay.

`relay_ways` dials with them. It is imported with the first relay that has several ways, this module at every start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.model import UNKNOWN_NETWORK, Destination, NetworkId, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.relay_way import RelayWay, WayOrder
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.kernel.tcp_info import TcpInfo


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

    def due(self, relay: Destination, ways: Sequence[RelayWay], network: NetworkId, now: float) -> RelayWay | None:
        """Returns a way to test now, beside a dial that went well; None: there is none."""
        return None


class NoWayBeliefs(WayBeliefs):
    """Believes nothing, and keeps the order of the configuration."""


NO_WAY_BELIEFS: WayBeliefs = NoWayBeliefs()


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
