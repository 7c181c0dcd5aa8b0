from __future__ import annotations

import socket
import struct

import pytest

from tests.lab import packets
from tests.lab.packets import ACK, FIN, PSH, RST, SYN, Packet

FOUR = bytes((192, 0, 2, 10)), bytes((203, 0, 113, 5))
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8:1::10"), socket.inet_pton(socket.AF_INET6, "2001:db8:80::5")


def summed(data: bytes) -> int:
    """Computes RFC 1071 in the slow way: returns 0xFFFF when the checksum within is right."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def transport(packet: Packet) -> bytes:
    """Returns the bytes that the checksum of TCP, UDP and ICMPv6 covers."""
    body = packet.data[packet.start :]
    tail = struct.pack("!HH", packet.protocol, len(body))
    return packet.source_bytes + packet.target_bytes + tail + body


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX])
@pytest.mark.parametrize("payload", [b"", b"x", b"hello", b"\0" * 40, b"\xff" * 39])
def test_what_is_made_reads_as_it_was_meant(source: bytes, target: bytes, payload: bytes) -> None:
    packet = Packet(packets.tcp(source, 4000, target, 443, seq=1 << 32, ack=7, flags=PSH | ACK, payload=payload))
    assert (packet.source_bytes, packet.sport, packet.target_bytes, packet.dport) == (source, 4000, target, 443)
    assert (packet.seq, packet.ack, packet.flags, packet.payload) == (0, 7, PSH | ACK, payload)
    assert summed(transport(packet)) == 0xFFFF
    assert packet.version == 6 or summed(packet.data[:20]) == 0xFFFF
    assert packets.carries(packet.data) == bool(payload)

    packet = Packet(packets.udp(source, 4000, target, 53, payload))
    assert (packet.sport, packet.dport, packet.payload, packet.flags) == (4000, 53, payload, 0)
    assert summed(transport(packet)) == 0xFFFF


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX])
def test_a_reset_is_one_that_its_receiver_believes(source: bytes, target: bytes) -> None:
    data = Packet(packets.tcp(source, 4000, target, 443, seq=100, ack=900, flags=PSH | ACK, payload=b"12345"))
    back = Packet(packets.reset_back(data))
    assert (back.source_bytes, back.sport, back.seq, back.flags) == (target, 443, 900, RST | ACK)
    assert Packet(packets.reset_ahead(data, arrives=True)).seq == 105
    assert Packet(packets.reset_ahead(data, arrives=False)).seq == 100
    syn = Packet(packets.tcp(source, 4000, target, 443, seq=100, ack=0, flags=SYN))
    assert syn.opens
    refused = Packet(packets.reset_back(syn))
    assert (refused.seq, refused.ack) == (0, 101)


def test_a_long_answer_is_cut_and_ends_the_connection() -> None:
    request = Packet(packets.tcp(*FOUR[:1], 4000, FOUR[1], 80, seq=100, ack=900, flags=PSH | ACK, payload=b"GET"))
    segments = [Packet(data) for data in packets.answer_back(request, b"x" * 3000)]
    assert [(one.seq, len(one.payload), one.flags & FIN) for one in segments] == [
        (900, 1200, 0),
        (2100, 1200, 0),
        (3300, 600, FIN),
    ]
    assert all(one.ack == 103 for one in segments)
    assert [Packet(data).flags & FIN for data in packets.answer_back(request, b"")] == [FIN]


@pytest.mark.parametrize(("source", "target", "kind"), [(*FOUR, 3), (*SIX, 1)])
def test_an_icmp_error_holds_what_it_is_about(source: bytes, target: bytes, kind: int) -> None:
    about = Packet(packets.udp(source, 4000, target, 53, b"x" * 1000))
    error = Packet(packets.icmp_error(about, target, kind, 1))
    body = error.data[error.start :]
    assert body[:2] == bytes((kind, 1))
    assert body[8:] == about.data[:548]
    assert summed(body if error.version == 4 else transport(error)) == 0xFFFF
