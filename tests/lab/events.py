"""The traffic that crossed the links, for tests to assert on: names in the clear, packets, and any bytes that are
watched for.

A link has the name of its space. A name is seen on the sender's link when its packet enters the link, and on the
receiver's when the rules let the packet pass: `names_on("net")` is the names that got out, and `names_on("client")`
those that the provider could read. Times are those of the loop's clock. The log is bounded: it forgets the oldest
packets and names.

Packets are indexed by target, port and sender; names by themselves and by the names above them. A question costs as
much as its answer holds, however much else crossed the links. The lab's servers answer on the same loop: during a
question that took a second, nothing would answer.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Generic, NamedTuple, Protocol, TypeVar

from tests.lab.flows import Flow
from tests.lab.messages import hello, host, question
from tests.lab.packets import SYN, TCP, UDP, Packet

KEPT_PACKETS = 100_000
KEPT_NAMES = 20_000

_HEADERS = 60  # bytes that are kept of each packet: IPv6 and TCP without options
_DNS = 53


class Kind(StrEnum):
    """The place of a name in a packet."""

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


class _Timed(Protocol):
    @property
    def at(self) -> float: ...


_Row = TypeVar("_Row", bound=_Timed)


class Log(Generic[_Row]):
    """The last `size` rows, in the order of their times, and the rows of each key that `keys_of` returns."""

    def __init__(self, size: int, keys_of: Callable[[_Row], Iterable[Hashable]]) -> None:
        self.rows: deque[_Row] = deque()
        self._size = size
        self._keys_of = keys_of
        self._by_key: defaultdict[Hashable, deque[_Row]] = defaultdict(deque)

    def append(self, row: _Row) -> None:
        """Appends a row. Drops the oldest row when there are too many: it is the oldest of each of its keys as well."""
        if len(self.rows) >= self._size:
            for key in self._keys_of(self.rows.popleft()):
                self._by_key[key].popleft()
                if not self._by_key[key]:
                    del self._by_key[key]
        self.rows.append(row)
        for key in self._keys_of(row):
            self._by_key[key].append(row)

    def since(self, since: float, *keys: Hashable) -> list[_Row]:
        """Returns the rows from that time on, the oldest first: all without `keys`, else those of the key with the
        fewest rows. The caller filters by the other keys."""
        chosen = min((self._by_key.get(key, deque()) for key in keys), key=len, default=self.rows)
        found = []
        for row in reversed(chosen):
            if row.at < since:
                break
            found.append(row)
        return found[::-1]

    def clear(self) -> None:
        self.rows.clear()
        self._by_key.clear()


class _Crossed(NamedTuple):
    """A packet as it is stored."""

    at: float
    sender: str
    receiver: str
    size: int
    target: bytes
    port: int
    head: bytes

    def seen(self) -> PacketSeen:
        return PacketSeen(self.at, self.sender, self.receiver, self.size, Packet(self.head))


class Events:
    """The router keeps it from its start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._names: Log[NameSeen] = Log(KEPT_NAMES, lambda seen: _parents(seen.name))
        self._packets: Log[_Crossed] = Log(KEPT_PACKETS, lambda row: (row.target, row.port, row.sender))
        self._watched: dict[bytes, str] = {}
        self._holding: defaultdict[str, list[PacketSeen]] = defaultdict(list)

    def clear(self) -> None:
        """Forgets the packets and names that were seen; the watched names stay."""
        self._names.clear()
        self._packets.clear()
        self._holding.clear()

    @property
    def names(self) -> list[NameSeen]:
        """All names that were seen, the oldest first."""
        return list(self._names.rows)

    def names_on(
        self, link: str, *, sender: str | None = None, since: float = 0.0, below: str | None = None
    ) -> list[NameSeen]:
        """Returns the names that crossed the link, the oldest first; with `sender`, only those in its packets; with
        `below`, only that name and its subdomains."""
        return [
            seen
            for seen in self._names.since(since, *([below] if below else []))
            if seen.link == link and (sender is None or seen.sender == sender)
        ]

    def crossed(self, name: str, link: str, *, since: float = 0.0) -> list[NameSeen]:
        """Returns where and when this name crossed the link. A test hopes for an empty answer."""
        return [seen for seen in self.names_on(link, since=since, below=name) if seen.name == name]

    def packets(
        self,
        target: str | None = None,
        port: int | None = None,
        *,
        sender: str | None = "client",
        protocol: str | None = None,
        since: float = 0.0,
    ) -> list[PacketSeen]:
        """Returns the packets that `sender` (any space with None) sent to an address and port, "tcp" or "udp"."""
        number = {None: None, "tcp": TCP, "udp": UDP}[protocol]
        address = None if target is None else ip_address(target).packed
        keys = [key for key in (address, port, sender) if key is not None]
        found = (
            row.seen()
            for row in self._packets.since(since, *keys)
            if (sender is None or row.sender == sender)
            and (address is None or row.target == address)
            and (port is None or row.port == port)
        )
        return [seen for seen in found if number is None or seen.packet.protocol == number]

    def connections(self, target: str | None = None, port: int | None = None, *, since: float = 0.0) -> int:
        """Returns the number of connections that the client began there from then on; SYNs that are sent again do not
        count."""
        begun: dict[tuple[str, int, int, int], float] = {}
        for seen in self.packets(target, port):
            packet = seen.packet
            if packet.flags & SYN:
                begun.setdefault((packet.target, packet.dport, packet.sport, packet.seq), seen.at)
        return sum(at >= since for at in begun.values())

    def watch(self, name: str) -> None:
        """Looks for the name in every later packet that a space sends, written out or as DNS labels."""
        labels = b"".join(bytes([len(label)]) + label for label in name.lower().encode().split(b"."))
        self._watched[name.lower().encode()] = name
        self._watched[labels] = name

    def holding(self, name: str, *, sender: str | None = None, since: float = 0.0) -> list[PacketSeen]:
        """Returns the packets that hold a watched name anywhere."""
        return [
            seen
            for seen in self._holding.get(name, ())
            if seen.at >= since and (sender is None or seen.sender == sender)
        ]

    def record(self, now: float, sender: str, receiver: str, data: bytes) -> None:
        """The router calls it for every packet that a space sends."""
        head = Packet(data[:_HEADERS])
        self._packets.append(_Crossed(now, sender, receiver, len(data), head.target_bytes, head.dport, head.data))
        if self._watched:
            lower = data.lower()
            for name in {name for sought, name in self._watched.items() if sought in lower}:
                self._holding[name].append(PacketSeen(now, sender, receiver, len(data), head))

    def note(self, now: float, link: str, sender: str, heard: list[Heard], packet: Packet) -> None:
        """Notes that the names of one packet crossed a link."""
        for kind, name in heard:
            flow = (packet.source, packet.sport, packet.target, packet.dport)
            self._names.append(NameSeen(now, link, kind, name, sender, *flow, packet.seq))


def _parents(name: str) -> list[str]:
    """Returns the name, and all names above it."""
    labels = name.split(".")
    return [".".join(labels[first:]) for first in range(len(labels))]


def listen(packet: Packet, flow: Flow) -> list[Heard]:
    """Returns the names that an outward packet makes known; feeds the packet to the `said` of its flow.

    It also reads a hello or a request at the start of any packet: within a tunnel to a relay, for one."""
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
