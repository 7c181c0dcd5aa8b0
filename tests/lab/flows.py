"""The flows that cross the router: who speaks with whom, and what rules have noted about it.

One look-up per packet finds a flow by the bytes of its addresses and ports. The table is bounded and forgets the oldest
flow first.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from tests.lab.packets import ACK, SYN, TCP, UDP, Packet
from tests.lab.views import Said

if TYPE_CHECKING:
    from tests.lab.rules import Rule

KEPT = 16384

_HALF = 1 << 31


class Flow:
    """One flow. `client` opened it, unless the lab's client takes part: then `client` is the lab's client."""

    __slots__ = (
        "_down_base",
        "border",
        "client",
        "client_port",
        "down",
        "generation",
        "isn",
        "marks",
        "protocol",
        "rules",
        "said",
        "server",
        "server_port",
        "version",
    )

    def __init__(self, packet: Packet, *, border: bool) -> None:
        near, far = (packet.source_bytes, packet.sport), (packet.target_bytes, packet.dport)
        if not packet.outward:
            near, far = far, near
        self.version, self.protocol = packet.version, packet.protocol
        self.client: IPv4Address | IPv6Address = ip_address(near[0])
        self.server: IPv4Address | IPv6Address = ip_address(far[0])
        self.client_port, self.server_port = near[1], far[1]
        self.border = border  # whether the lab's client takes part, so that rules apply
        self.isn = packet.seq if packet.protocol == TCP and packet.opens else None
        self.said = Said()
        if self.isn is not None:
            self.said.begin((self.isn + 1) % (1 << 32))
        self.down = 0  # bytes that the server has sent, each counted once
        self._down_base: int | None = None
        self.rules: tuple[Rule, ...] = ()  # those that may have to do with it, as of `generation`
        self.generation = -1
        self.marks: dict[object, Any] = {}  # what a rule or a deed remembers about it

    def __repr__(self) -> str:
        return f"<Flow {self.client}:{self.client_port} → {self.server}:{self.server_port} {self.protocol}>"

    def count_down(self, packet: Packet) -> None:
        """Counts the payload that the server sent in `packet`."""
        if packet.protocol != TCP:
            self.down += len(packet.payload)
            return
        if self._down_base is None:
            self._down_base = packet.seq + bool(packet.flags & SYN)
        reached = (packet.seq + packet.length - self._down_base) % (1 << 32)
        if self.down < reached < _HALF:
            self.down = reached


class Flows:
    """The table of flows. The router calls `find` for every packet."""

    def __init__(self) -> None:
        self._table: dict[bytes, tuple[Flow, bool]] = {}

    def __len__(self) -> int:
        return len(self._table) // 2

    def find(self, data: bytes, *, from_client: bool, to_client: bool) -> tuple[Flow, bool]:
        """Returns the packet's flow, a new one if need be, and whether the packet goes outward in it."""
        if data[0] == 0x45:
            key = data[9:10] + (data[12:24] if data[9] in (TCP, UDP) else data[12:20])
            opens = data[9] == TCP and data[33] & (SYN | ACK) == SYN
        elif data[0] >> 4 == 4:  # with options: by its addresses alone
            key, opens = data[9:10] + data[12:20], False
        else:
            key = data[6:7] + (data[8:44] if data[6] in (TCP, UDP) else data[8:40])
            opens = data[6] == TCP and data[53] & (SYN | ACK) == SYN
        found = self._table.get(key)
        if found is not None and (not opens or found[0].isn == Packet(data).seq):
            return found
        return self._add(key, Packet(data, outward=not to_client), border=from_client or to_client)

    def _add(self, key: bytes, packet: Packet, *, border: bool) -> tuple[Flow, bool]:
        if len(self._table) >= 2 * KEPT:
            for old in list(self._table)[:KEPT]:
                del self._table[old]
        width = 4 if packet.version == 4 else 16
        near, far, ports = key[1 : 1 + width], key[1 + width : 1 + 2 * width], key[1 + 2 * width :]
        back = key[:1] + far + near + ports[2:] + ports[:2]
        flow = Flow(packet, border=border)
        self._table[back] = flow, not packet.outward
        self._table[key] = flow, packet.outward
        return flow, packet.outward
