"""Rules of networks whose resolver leads to a host that accepts connections and never answers."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab import deeds
from tests.lab.flows import Flow
from tests.lab.matches import Addresses, ByAddress, Match
from tests.lab.packets import TCP, Packet
from tests.lab.rules import When


@dataclass(frozen=True)
class Speaking(Match):
    """The first bytes that the client sends in a TCP flow that another match selects."""

    what: Match

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and self.what.concerns(flow)

    def hits(self, packet: Packet, flow: Flow) -> bool:
        return packet.outward and bool(packet.payload)


def Mute(*prefixes: str) -> When:
    """The hosts at these addresses accept connections and acknowledge all bytes, and never answer."""
    return When(Speaking(ByAddress(Addresses(prefixes))), deeds.Silence())
