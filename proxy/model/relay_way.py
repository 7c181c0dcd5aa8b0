"""One way to a relay: the address that is dialed, and how the ClientHello leaves.

A relay may have several ways: each address of its name, its alternatives, and for TLS the local strategies. All lead to
the same relay, so a connection may take any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.model.connection import Destination, NetworkId, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class RelayWay:
    """A way to the relay that listens at `endpoint`."""

    endpoint: Destination  # as configured: the one of the relay's URL, or an alternative
    address: str = ""  # the IP address that is dialed; empty: the relay before it in the chain resolves the name
    strategy: str = ""  # the words of a local strategy, such as "tlsrec"; empty: the hello leaves as it is

    @property
    def target(self) -> Destination:
        """The destination to dial."""
        return Destination(self.address, self.endpoint.port) if self.address else self.endpoint

    @property
    def plain(self) -> RelayWay:
        """The same way without a strategy."""
        return RelayWay(self.endpoint, self.address) if self.strategy else self

    def __str__(self) -> str:
        return "|".join(filter(None, (str(self.target), self.strategy)))


@frozen_dataclass
class KnownWay:
    """The history of one way to one relay on one network. Times are in seconds since the epoch; 0: never."""

    network: NetworkId
    relay: Destination
    way: RelayWay
    symptom: Symptom = Symptom.NONE
    failures: int = 0  # in a row; 0: the way does not count as failed
    bytes_down: int = 0  # bytes that had come when a transfer stalled
    worked_at: float = 0.0
    failed_at: float = 0.0
    due_at: float = 0.0
    avoided_until: float = 0.0
    stalled_at: float = 0.0
    carried_at: float = 0.0


@frozen_dataclass
class WayOrder:
    """The ways to try in one dial, in order."""

    first: Sequence[RelayWay]
    last: Sequence[RelayWay] = ()  # only after all of `first` have failed: on these, a page may stop half-way
