"""Leaks: questions to the event log about traffic that should not have got out. Each answers with the leaks, a sentence
for each.

A test hopes for an empty answer, so a test must also give each question a leak, or the answer proves nothing. The
questions concern the traffic on the client's link, which the provider can read: packets by their addresses, names in
queries, hellos and requests, however these were cut, and watched names anywhere in a packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from tests.lab import places
from tests.lab.country import Site
from tests.lab.events import Events, Kind, PacketSeen
from tests.lab.packets import RST, TCP, UDP

CLIENT = "client"
_DNS = 53
_UDP_HEADER = 8
_RELAYS = tuple(ip_network(prefix) for prefix in (places.RELAYS, places.RELAYS6))


def beside_relays(events: Events, site: Site, *, since: float = 0.0) -> list[str]:
    """Returns the packets that the client sent to the site itself, and the places where it named the site to any host
    but a relay. Names are found in whole packets only if `events.watch(site.name)` was called before."""
    return [
        *(f"sent {site.name} {_told(seen)}" for seen in _sent_to(events, site, since)),
        *names_beside_relays(events, site, since=since),
    ]


def names_beside_relays(events: Events, site: Site, *, since: float = 0.0) -> list[str]:
    """Returns the second half of `beside_relays`: the name alone."""
    return [
        *(
            f"named {seen.name} as {seen.kind} to {seen.target}:{seen.port}"
            for seen in events.names_on(CLIENT, sender=CLIENT, since=since, below=site.name)
            if not _is_relay(seen.target)
        ),
        *(
            f"a packet with {site.name} in it: {_told(seen)}"
            for seen in events.holding(site.name, sender=CLIENT, since=since)
            if not _is_relay(seen.packet.target)
        ),
    ]


def in_clear(events: Events, *, since: float = 0.0) -> list[str]:
    """Returns the packets that the client sent to port 53, of any host and over any protocol."""
    return [_told(seen) for seen in events.packets(port=_DNS, since=since)]


def asked_in_clear(events: Events, site: Site, *, since: float = 0.0) -> list[str]:
    """Returns the places where the client asked for the site, or a name below it, in a query that the provider can
    read."""
    return [
        f"asked {seen.target} for {seen.name}"
        for seen in events.names_on(CLIENT, sender=CLIENT, since=since, below=site.name)
        if seen.kind is Kind.DNS
    ]


def said_again(events: Events, site: Site, *, since: float) -> list[str]:
    """Returns the packets that still carry something to the site: on connections that were given up before, their
    hellos again."""
    return [f"said again {_told(seen)}" for seen in _sent_to(events, site, since) if _says(seen)]


def not_broken_off(events: Events, site: Site, *, since: float = 0.0) -> list[str]:
    """Returns the connections to the site that carried something and did not end with a reset from the client."""
    opened: dict[tuple[str, int, int], bool] = {}
    for seen in _sent_to(events, site, since):
        flow = (seen.packet.source, seen.packet.sport, seen.packet.dport)
        if seen.packet.flags & RST:
            opened.pop(flow, None)
        elif _says(seen):
            opened[flow] = True
    return [f"{source}:{sport} → {site.name}:{dport} was not broken off" for source, sport, dport in opened]


def anything(events: Events, *, since: float) -> list[str]:
    """Returns the packets that the client sent to any host. The kernel's own traffic with the link, such as ICMPv6,
    does not come from Byway and does not count."""
    return [_told(seen) for protocol in ("tcp", "udp") for seen in events.packets(since=since, protocol=protocol)]


def _sent_to(events: Events, site: Site, since: float) -> Iterator[PacketSeen]:
    for address in _addresses(site):
        yield from events.packets(address, since=since)


def _addresses(site: Site) -> Iterable[str]:
    return (address for address in (site.address, site.address6) if address)


def _is_relay(address: str) -> bool:
    found = ip_address(address)
    return any(found in network for network in _RELAYS)


def _says(seen: PacketSeen) -> bool:
    """Returns whether it carries a payload of TCP or UDP; only its head is kept."""
    packet = seen.packet
    if packet.protocol == UDP:
        return seen.size > packet.start + _UDP_HEADER
    return packet.protocol == TCP and seen.size > packet.start + (packet.data[packet.start + 12] >> 4) * 4


def _told(seen: PacketSeen) -> str:
    packet = seen.packet
    kind = {TCP: "tcp", UDP: "udp"}.get(packet.protocol, str(packet.protocol))
    return f"{kind} to {packet.target}:{packet.dport}, {seen.size} bytes, at {seen.at:.2f}"
