"""Captures every packet that crosses a namespace, with a packet socket in it."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

from tests.support.waiting import until

_TCP, _UDP = 6, 17
_SYN, _ACK = 0x02, 0x10
_ARP = 0x0806
_SOL_PACKET, _PACKET_STATISTICS = 263, 6


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet. `port` is its destination port; `opens`: it opens a TCP connection."""

    source: str
    target: str
    protocol: int
    port: int
    opens: bool
    data: bytes


class Capture:
    """Fills `packets` while the event loop runs. A forwarded packet is captured twice, coming and going."""

    PROTOCOL = socket.htons(3)  # ETH_P_ALL
    MARK_PORT = 9  # discard

    def __init__(self, sock: socket.socket) -> None:
        """Takes over a packet socket without link headers (SOCK_DGRAM)."""
        self.packets: list[Packet] = []
        self.strange: list[bytes] = []  # what is neither IPv4 nor ARP
        self._sock = sock
        self._marks = 0
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    async def settle(self, sock: socket.socket, target: str) -> None:
        """Waits until all packets are captured that were sent before this call from the network of the UDP socket: a
        packet of ours takes the same way after them, to MARK_PORT. Fails if a packet was lost on the way to us."""
        self._marks += 1
        mark = b"mark %d" % self._marks
        sock.sendto(mark, (target, self.MARK_PORT))
        await until(lambda: any(packet.data.endswith(mark) for packet in self.packets))
        _, lost = struct.unpack("II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        assert lost == 0, f"{lost} packets went by unseen"

    def begun_by(self, address: str, *, since: int = 0) -> set[tuple[str, int]]:
        """Returns the (address, port) pairs to which `address` opened a TCP connection, or sent anything else, after
        the first `since` packets. Packets of earlier connections do not count."""
        return {
            (packet.target, packet.port)
            for packet in self.packets[since:]
            if packet.source == address
            and (packet.opens or packet.protocol != _TCP)
            and (packet.protocol, packet.port) != (_UDP, self.MARK_PORT)
        }

    def holding(self, data: bytes) -> list[Packet]:
        """Returns the packets that hold these bytes."""
        return [packet for packet in self.packets if data in packet.data]

    def _read(self) -> None:
        for _ in range(256):
            try:
                data, (_, kind, *_) = self._sock.recvfrom(128 * 1024)
            except BlockingIOError:
                return
            if kind == 0x0800:
                self.packets.append(_packet(data))
            elif kind != _ARP:
                self.strange.append(data)


def _packet(data: bytes) -> Packet:
    """Reads an IPv4 packet (RFC 791). Fragments do not occur on these wires."""
    protocol = data[9]
    inner = data[(data[0] & 15) * 4 :]
    port = struct.unpack_from("!H", inner, 2)[0] if protocol in (_TCP, _UDP) else 0
    opens = protocol == _TCP and inner[13] & (_SYN | _ACK) == _SYN
    return Packet(socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]), protocol, port, opens, data)
