"""Matches decide to which traffic a rule applies: the packets at which it begins to act.

`concerns` is called once per flow and rule, and keeps all other flows off the packet path; `hits` is called for every
packet of the flows that concern the rule, until it returns true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from tests.lab.flows import Flow
from tests.lab.messages import question
from tests.lab.packets import ACK, SYN, TCP, UDP, Packet
from tests.lab.views import Names, View, requested_host, server_name

HTTP, HTTPS, DNS = 80, 443, 53
EVERYWHERE = ("0.0.0.0/0", "::/0")
_PROTOCOLS = {"tcp": TCP, "udp": UDP}


class Match:
    """Decides whether a flow, and then a packet of it, matches."""

    def concerns(self, flow: Flow) -> bool:
        raise NotImplementedError

    def hits(self, packet: Packet, flow: Flow) -> bool:
        raise NotImplementedError


class Addresses:
    """Addresses and prefixes of both versions."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self.networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(prefix) for prefix in prefixes)

    def __contains__(self, address: object) -> bool:
        return any(address in network for network in self.networks)

    def __repr__(self) -> str:
        return f"Addresses{tuple(str(network) for network in self.networks)}"


NOWHERE = Addresses(())


@dataclass(frozen=True)
class _ByName(Match):
    """Matches traffic that names one of `names`, as the view sees it. On every port when `ports` is empty."""

    names: Names
    view: View = View.RECORDS
    ports: tuple[int, ...] = ()

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and (not self.ports or flow.server_port in self.ports)

    def hits(self, packet: Packet, flow: Flow) -> bool:
        if not packet.outward or not packet.payload:
            return False
        if self.view is View.STRING:
            return self.names.within(packet.payload)
        return self._named(packet, flow) in self.names

    def _named(self, packet: Packet, flow: Flow) -> str | None:
        raise NotImplementedError


@dataclass(frozen=True)
class BySni(_ByName):
    """A ClientHello."""

    ports: tuple[int, ...] = (HTTPS,)

    def _named(self, packet: Packet, flow: Flow) -> str | None:
        return server_name(self.view, packet, flow.said)


@dataclass(frozen=True)
class ByHost(_ByName):
    """A plain HTTP request."""

    ports: tuple[int, ...] = (HTTP,)

    def _named(self, packet: Packet, flow: Flow) -> str | None:
        return requested_host(self.view, packet, flow.said)


@dataclass(frozen=True)
class ByQuery(Match):
    """A DNS query over UDP for one of `names`; `resolvers` limits it to queries to these."""

    names: Names
    resolvers: Addresses | None = None

    def concerns(self, flow: Flow) -> bool:
        return (
            flow.protocol == UDP
            and flow.server_port == DNS
            and (self.resolvers is None or flow.server in self.resolvers)
        )

    def hits(self, packet: Packet, flow: Flow) -> bool:
        asked = question(packet.payload) if packet.outward else None
        return asked is not None and asked.name in self.names


@dataclass(frozen=True)
class ByAddress(Match):
    """Everything to and from these addresses; with `ports`, only to these, and with a protocol, only that one."""

    addresses: Addresses
    ports: tuple[int, ...] = ()
    protocol: str | None = None  # "tcp" or "udp"

    def concerns(self, flow: Flow) -> bool:
        return (
            flow.server in self.addresses
            and (not self.ports or flow.server_port in self.ports)
            and (self.protocol is None or flow.protocol == _PROTOCOLS[self.protocol])
        )

    def hits(self, packet: Packet, flow: Flow) -> bool:
        return True


@dataclass(frozen=True)
class ByFirstBytes(Match):
    """A connection to these addresses in which the client's first packet begins with one of `begins`."""

    addresses: Addresses
    begins: tuple[bytes, ...]

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and flow.server in self.addresses

    def hits(self, packet: Packet, flow: Flow) -> bool:
        is_first = flow.isn is not None and (packet.seq - flow.isn) % (1 << 32) == 1
        return packet.outward and is_first and packet.payload.startswith(self.begins)


@dataclass(frozen=True)
class Opening(Match):
    """The SYN, or any first datagram, of a flow that another match selects: an established flow does not match."""

    what: Match

    def concerns(self, flow: Flow) -> bool:
        return self.what.concerns(flow)

    def hits(self, packet: Packet, flow: Flow) -> bool:
        return (packet.protocol != TCP or packet.opens) and self.what.hits(packet, flow)


@dataclass(frozen=True)
class Accepting(Match):
    """The SYN-ACK in a flow that another match selects."""

    what: Match

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and self.what.concerns(flow)

    def hits(self, packet: Packet, flow: Flow) -> bool:
        return not packet.outward and packet.flags & (SYN | ACK) == SYN | ACK


@dataclass(frozen=True)
class NotAllowed(Match):
    """Traffic outside of an allow-list: to other addresses, unless TLS or HTTP there asks for one of `names`."""

    addresses: Addresses
    names: Names
    needs_both: bool = False  # TLS and HTTP must also ask for one of the names at an address of the list
    exempt: Addresses = NOWHERE  # no name is needed there
    at_hello: bool = False  # connections open everywhere, and what is not listed is found at their first bytes

    def concerns(self, flow: Flow) -> bool:
        return flow.server not in self.exempt and (self.needs_both or flow.server not in self.addresses)

    def hits(self, packet: Packet, flow: Flow) -> bool:
        is_named = flow.protocol == TCP and flow.server_port in (HTTP, HTTPS) and bool(self.names.names)
        if not is_named or (self.needs_both and flow.server not in self.addresses):
            return not self.at_hello or flow.protocol != TCP or (packet.outward and bool(packet.payload))
        known = flow.said.records or flow.said.host
        return known not in self.names if known else bool(packet.payload) and not flow.said.listening
