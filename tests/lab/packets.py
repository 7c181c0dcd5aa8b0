"""IP packets as bytes: their fields, which are read on demand, and new packets with correct checksums.

RFC 791, 8200, 9293, 768, 792 and 4443. Fragments and IPv6 extension headers are not read: the spaces' hosts send none
within the MTU, and a packet that is neither TCP nor UDP is passed on by its addresses alone.
"""

from __future__ import annotations

import struct
from functools import cached_property
from ipaddress import ip_address
from typing import Final

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

SEGMENT: Final = 1200
"""Payload bytes of a segment that the router makes: it fits every link."""

_TTL = 64
_WINDOW = 65535
_QUOTED = 548  # of the packet that an ICMP error is about: 576 bytes in all (RFC 1812 section 4.3.2.3)
_TCP_HEAD = struct.Struct("!HHIIBBHHH")
_UDP_HEAD = struct.Struct("!HHHH")


class Packet:
    """One packet on its way. `outward`: it comes from the side that opened the flow, or from the client where it takes
    part."""

    def __init__(self, data: bytes, *, outward: bool = True) -> None:
        self.data = data
        self.outward = outward
        self.version = data[0] >> 4
        if self.version == 4:
            self.protocol = data[9]
            self.start = (data[0] & 15) * 4  # where TCP or UDP begins
        else:
            self.protocol = data[6]
            self.start = 40

    def __repr__(self) -> str:
        return f"<Packet {self.source}:{self.sport} → {self.target}:{self.dport} {len(self.payload)} B>"

    @property
    def source_bytes(self) -> bytes:
        return self.data[12:16] if self.version == 4 else self.data[8:24]

    @property
    def target_bytes(self) -> bytes:
        return self.data[16:20] if self.version == 4 else self.data[24:40]

    @property
    def source(self) -> str:
        return str(ip_address(self.source_bytes))

    @property
    def target(self) -> str:
        return str(ip_address(self.target_bytes))

    @property
    def ttl(self) -> int:
        return self.data[8 if self.version == 4 else 7]

    @property
    def sport(self) -> int:
        return int.from_bytes(self.data[self.start : self.start + 2], "big") if self.protocol in (TCP, UDP) else 0

    @property
    def dport(self) -> int:
        return int.from_bytes(self.data[self.start + 2 : self.start + 4], "big") if self.protocol in (TCP, UDP) else 0

    @property
    def seq(self) -> int:
        return int.from_bytes(self.data[self.start + 4 : self.start + 8], "big")

    @property
    def ack(self) -> int:
        return int.from_bytes(self.data[self.start + 8 : self.start + 12], "big")

    @property
    def flags(self) -> int:
        return self.data[self.start + 13] if self.protocol == TCP else 0

    @property
    def opens(self) -> bool:
        """Returns whether it is the SYN that opens a connection."""
        return self.flags & (SYN | ACK) == SYN

    @cached_property
    def payload(self) -> bytes:
        if self.protocol == TCP:
            return self.data[self.start + (self.data[self.start + 12] >> 4) * 4 :]
        return self.data[self.start + 8 :] if self.protocol == UDP else b""

    @property
    def length(self) -> int:
        """The count of sequence numbers that it takes."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)


def carries(data: bytes) -> bool:
    """Returns whether it has a payload of TCP or UDP."""
    start = (data[0] & 15) * 4 if data[0] >> 4 == 4 else 40
    protocol = data[9] if data[0] >> 4 == 4 else data[6]
    if protocol == TCP:
        return len(data) > start + (data[start + 12] >> 4) * 4
    return protocol == UDP


def tcp(
    source: bytes, sport: int, target: bytes, dport: int, *, seq: int, ack: int, flags: int, payload: bytes = b""
) -> bytes:
    """Returns a segment without options."""
    numbers = (sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 << 4, flags, _WINDOW)
    head = _TCP_HEAD.pack(*numbers, 0, 0)
    total = checksum(_pseudo(source, target, TCP, len(head) + len(payload)) + head + payload)
    return ip(source, target, TCP, _TCP_HEAD.pack(*numbers, total, 0) + payload)


def udp(source: bytes, sport: int, target: bytes, dport: int, payload: bytes) -> bytes:
    size = _UDP_HEAD.size + len(payload)
    total = checksum(_pseudo(source, target, UDP, size) + _UDP_HEAD.pack(sport, dport, size, 0) + payload)
    return ip(source, target, UDP, _UDP_HEAD.pack(sport, dport, size, total or 0xFFFF) + payload)


def ip(source: bytes, target: bytes, protocol: int, payload: bytes) -> bytes:
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, _TTL) + source + target + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, _TTL, protocol, 0) + source + target
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def icmp_error(about: Packet, sender: bytes, kind: int, code: int) -> bytes:
    """Returns an error from `sender` to the packet's own sender; `kind` and `code` are those of its IP version."""
    body = struct.pack("!BBHI", kind, code, 0, 0) + about.data[:_QUOTED]
    protocol = ICMP if about.version == 4 else ICMP6
    pseudo = b"" if about.version == 4 else _pseudo(sender, about.source_bytes, ICMP6, len(body))
    total = checksum(pseudo + body).to_bytes(2, "big")
    return ip(sender, about.source_bytes, protocol, body[:2] + total + body[4:])


def reset_back(packet: Packet) -> bytes:
    """Returns a reset to the packet's sender, as if from its target (RFC 9293 section 3.10.7)."""
    known = packet.flags & ACK
    return _answer(packet, seq=packet.ack if known else 0, flags=RST | ACK)


def reset_ahead(packet: Packet, *, arrives: bool) -> bytes:
    """Returns a reset to the packet's target, as if from its sender; `arrives`: whether it comes after the packet
    itself."""
    return tcp(
        packet.source_bytes, packet.sport, packet.target_bytes, packet.dport,
        seq=packet.seq + (packet.length if arrives else 0), ack=packet.ack, flags=RST | ACK,
    )  # fmt: skip


def answer_back(packet: Packet, payload: bytes) -> list[bytes]:
    """Returns segments to the packet's sender that carry `payload` and end the connection, as if from its target."""
    cuts = range(0, max(len(payload), 1), SEGMENT)
    return [
        _answer(
            packet,
            seq=packet.ack + at,
            flags=ACK | PSH | (FIN if at == cuts[-1] else 0),
            payload=payload[at : at + SEGMENT],
        )
        for at in cuts
    ]


def acknowledge_back(packet: Packet) -> bytes:
    """Returns an acknowledgement, as if the target had received the packet."""
    return _answer(packet, seq=packet.ack, flags=ACK)


def udp_back(packet: Packet, payload: bytes) -> bytes:
    return udp(packet.target_bytes, packet.dport, packet.source_bytes, packet.sport, payload)


def checksum(data: bytes) -> int:
    """Returns the Internet checksum (RFC 1071): a sum in ones' complement is a remainder by 0xFFFF, and Python computes
    remainders fast."""
    return 0xFFFF - int.from_bytes(data + b"\0" * (len(data) & 1), "big") % 0xFFFF


def _answer(packet: Packet, *, seq: int, flags: int, payload: bytes = b"") -> bytes:
    return tcp(
        packet.target_bytes, packet.dport, packet.source_bytes, packet.sport,
        seq=seq, ack=packet.seq + packet.length, flags=flags, payload=payload,
    )  # fmt: skip


def _pseudo(source: bytes, target: bytes, protocol: int, size: int) -> bytes:
    tail = struct.pack("!BBH", 0, protocol, size) if len(source) == 4 else struct.pack("!IHBB", size, 0, 0, protocol)
    return source + target + tail
