"""What crossed the links, for tests to assert on: names in the clear, packets, and any bytes that are watched for.

A link is called by its space. A name is seen on the sender's link when its packet enters it, and on the receiver's when
the rules let it pass, so `names_on("net")` is what got out and `names_on("client")` what the provider could read.
Times are of the loop's clock. Bounded: the oldest packets and names are forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tests.lab.flows import Flow
from tests.lab.messages import hello, host, question
from tests.lab.packets import SYN, TCP, UDP, Packet

KEPT_PACKETS = 100_000
KEPT_NAMES = 20_000

_HEADERS = 60  # bytes that are kept of each packet: IPv6 and TCP without options
_DNS = 53


class Kind(StrEnum):
    """Where a name stood."""

    DNS = "dns"  # in a query
    SNI = "sni"
    HOST = "host"  # of a plain HTTP request


class NameSeen(NamedTuple):
    """A name that crossed a link in the clear."""

    at: float
    link: str
    kind: Kind
    name: str
    sender: str  # the space
    source: str
    source_port: int
    target: str
    port: int  # of the target
    seq: int  # of TCP: what is sent again has the same


class Heard(NamedTuple):
    """A name in one packet."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class PacketSeen:
    """A packet that a space sent."""

    at: float
    sender: str  # the space
    receiver: str
    size: int
    packet: Packet  # its first 60 bytes

    @property
    def opens(self) -> bool:
        return self.packet.opens


class Events:
    """Kept by the router from the start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.names: deque[NameSeen] = deque(maxlen=KEPT_NAMES)
        self._packets: deque[tuple[float, str, str, int, bytes]] = deque(maxlen=KEPT_PACKETS)
        self._watched: dict[bytes, str] = {}
        self._holding: list[tuple[str, PacketSeen]] = []

    def clear(self) -> None:
        """Forgets what was seen, not what is watched for."""
        self.names.clear()
        self._packets.clear()
        self._holding.clear()

    def names_on(self, link: str, *, sender: str | None = None, since: float = 0.0) -> list[NameSeen]:
        """The names that crossed the link, the oldest first; those that `sender` said, if it is given."""
        return [
            seen
            for seen in self.names
            if seen.link == link and seen.at >= since and (sender is None or seen.sender == sender)
        ]

    def crossed(self, name: str, link: str, *, since: float = 0.0) -> list[NameSeen]:
        """Where and when this name crossed the link. Empty is what a test hopes for."""
        return [seen for seen in self.names_on(link, since=since) if seen.name == name]

    def packets(
        self,
        target: str | None = None,
        port: int | None = None,
        *,
        sender: str | None = "client",
        protocol: str | None = None,
        since: float = 0.0,
    ) -> list[PacketSeen]:
        """Those that `sender` (any space with None) sent to an address and port, "tcp" or "udp"."""
        number = {None: None, "tcp": TCP, "udp": UDP}[protocol]
        return [
            seen
            for seen in self._all_packets(since)
            if (sender is None or seen.sender == sender)
            and (target is None or seen.packet.target == target)
            and (port is None or seen.packet.dport == port)
            and (number is None or seen.packet.protocol == number)
        ]

    def connections(self, target: str | None = None, port: int | None = None, *, since: float = 0.0) -> int:
        """How many connections the client began there; SYNs sent again are not counted."""
        begun = {
            (seen.packet.target, seen.packet.dport, seen.packet.sport, seen.packet.seq)
            for seen in self.packets(target, port, since=since)
            if seen.packet.flags & SYN
        }
        return len(begun)

    def watch(self, name: str) -> None:
        """From now on looks for the name in every packet that a space sends, written out or as DNS labels."""
        labels = b"".join(bytes([len(label)]) + label for label in name.lower().encode().split(b"."))
        self._watched[name.lower().encode()] = name
        self._watched[labels] = name

    def holding(self, name: str, *, sender: str | None = None, since: float = 0.0) -> list[PacketSeen]:
        """The packets with a watched name anywhere in them."""
        return [
            seen
            for held, seen in self._holding
            if held == name and seen.at >= since and (sender is None or seen.sender == sender)
        ]

    def record(self, now: float, sender: str, receiver: str, data: bytes) -> None:
        """Called for every packet that a space sends."""
        self._packets.append((now, sender, receiver, len(data), data[:_HEADERS]))
        if self._watched:
            lower = data.lower()
            for name in {name for sought, name in self._watched.items() if sought in lower}:
                seen = PacketSeen(now, sender, receiver, len(data), Packet(data[:_HEADERS]))
                self._holding.append((name, seen))

    def note(self, now: float, link: str, sender: str, heard: list[Heard], packet: Packet) -> None:
        """Names of one packet crossed a link."""
        for kind, name in heard:
            flow = (packet.source, packet.sport, packet.target, packet.dport)
            self.names.append(NameSeen(now, link, kind, name, sender, *flow, packet.seq))

    def _all_packets(self, since: float) -> Iterator[PacketSeen]:
        for at, sender, receiver, size, head in self._packets:
            if at >= since:
                yield PacketSeen(at, sender, receiver, size, Packet(head))


def listen(packet: Packet, flow: Flow) -> list[Heard]:
    """The names that an outward packet makes known; feeds what its flow has `said`.

    A hello or a request at the start of any packet is heard too: within a tunnel to a relay, for one."""
    payload = packet.payload
    if packet.protocol == UDP:
        asked = question(payload) if packet.dport == _DNS else None
        return [Heard(Kind.DNS, asked.name)] if asked else []
    if packet.protocol != TCP:
        return []
    if packet.dport == _DNS:  # with its length before it (RFC 1035 section 4.2.2)
        asked = question(payload[2:])
        return [Heard(Kind.DNS, asked.name)] if asked else []
    heard = []
    known = flow.said.records or flow.said.host
    if name := flow.said.feed(packet.seq, payload):
        heard.append(Heard(Kind.SNI if flow.said.records else Kind.HOST, name))
    elif payload[:2] == b"\x16\x03" and (name := hello(payload, records=True).name):
        heard.append(Heard(Kind.SNI, name))
    elif (name := host(payload)) and name != known:
        heard.append(Heard(Kind.HOST, name))
    return heard
