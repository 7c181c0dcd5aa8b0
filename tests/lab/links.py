"""The links between the spaces and the router: they carry the frames, and each has its own delay, rate and losses.

A wire is the router's end: a TAP device where /dev/net/tun opens, else one end of a veth pair, read by a packet socket
in a space that no other code sees. A lane is one direction of a link, with a delay, a rate and losses. Neither looks at
the contents.
"""

from __future__ import annotations

import asyncio
import fcntl
import heapq
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.lab.luck import luck
from tests.lab.netlink import LINKS, Netlink, without_offloads
from tests.lab.spaces import Space

DEVICE = "eth0"
"""The name of a space's one link within the space."""

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_ETH_P_ALL, _IPV4, _IPV6 = 3, b"\x08\x00", b"\x86\xdd"
_FRAME = 14  # bytes of an Ethernet header
_LONGEST = 1 << 16
_BUFFER = 4 << 20  # bytes of a packet socket: a page of bursts
_OUTGOING = 4  # PACKET_OUTGOING: our own frames, seen again
_QUEUE_S = 1.0
"""A link with a rate drops a packet that would wait longer than this; home routers buffer about as much."""


@dataclass(frozen=True, slots=True)
class Link:
    """The properties of one link, the same both ways: seconds, a share of packets, and bytes per second (None: no
    limit)."""

    delay_s: float = 0.0
    loss: float = 0.0
    rate: float | None = None


PERFECT = Link()


class Lane:
    """One direction of a link. The same seed loses the same packets."""

    def __init__(self, link: Link, seed: str) -> None:
        self._seed = seed
        self.set(link)

    def set(self, link: Link) -> None:
        self.link = link
        self.perfect = link == PERFECT
        self._luck = luck(self._seed)
        self._free_at = 0.0

    def admit(self, now: float, size: int) -> float | None:
        """Returns the seconds after which a packet that enters now comes out; None when it is lost."""
        link = self.link
        if link.loss and self._luck.random() < link.loss:
            return None
        if link.rate is None:
            return link.delay_s
        begins = max(now, self._free_at)
        if begins - now > _QUEUE_S:
            return None
        self._free_at = begins + size / link.rate
        return self._free_at - now + link.delay_s


class Schedule:
    """Calls functions later, in the order of their times and then of their requests, on one timer of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self._asked += 1
        due = self._loop.time() + delay_s
        heapq.heappush(self._heap, (due, self._asked, what))
        if self._heap[0][1] == self._asked:
            self._set_timer()

    def close(self) -> None:
        self._heap.clear()
        if self._timer:
            self._timer.cancel()

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._work) if self._heap else None

    def _work(self) -> None:
        now = self._loop.time() + 0.0005  # the loop's timers have milliseconds: do not wake twice for one
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
        self._set_timer()


class Wire(Protocol):
    """The router's end of a link."""

    def fileno(self) -> int: ...

    def wait_ready(self) -> None:
        """Returns as soon as frames pass, after the setup of the space's end."""

    def read(self) -> bytes | None:
        """Returns the next IP packet from the space; b"" for a frame that holds none, None when there is no more
        now."""

    def write(self, packet: bytes) -> None:
        """Sends one IP packet to the space. A packet for which the kernel has no room is lost, as on any wire."""

    def close(self) -> None: ...


class Tap:
    """A TAP device in the space. Raises OSError where that is not allowed."""

    def __init__(self, space: Space, *, ours: bytes, theirs: bytes) -> None:
        self._fd = space.run(_open_tap)
        self._heads = {4: theirs + ours + _IPV4, 6: theirs + ours + _IPV6}

    def fileno(self) -> int:
        return self._fd

    def wait_ready(self) -> None:
        """Returns at once: a TAP device is ready as soon as it is up."""

    def read(self) -> bytes | None:
        try:
            frame = os.read(self._fd, _LONGEST)
        except BlockingIOError:
            return None
        return frame[_FRAME:] if frame[12:14] in (_IPV4, _IPV6) else b""

    def write(self, packet: bytes) -> None:
        try:
            os.write(self._fd, self._heads[packet[0] >> 4] + packet)
        except OSError:
            return  # the space's end is down, or has no room: lost

    def close(self) -> None:
        os.close(self._fd)


class Veth:
    """A veth pair from the space to `hub`, and a packet socket on its end there."""

    def __init__(self, space: Space, hub: Space, *, ours: bytes, theirs: bytes) -> None:
        near = f"to-{space.name}"[:15]
        self._name = near
        self._setup = Netlink(hub.socket(socket.AF_NETLINK, socket.SOCK_RAW), LINKS)
        self._setup.add_veth(near, DEVICE, space.fd)
        self._setup.give_no_link_local(near)
        self._setup.set_hardware_address(near, ours)
        self._setup.set_up(near)
        for place, name in ((hub, near), (space, DEVICE)):
            with place.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                without_offloads(sock, name)
        self._sock = hub.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._sock.bind((near, _ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._sock.setblocking(False)
        self._heads = {4: theirs + ours + _IPV4, 6: theirs + ours + _IPV6}

    def fileno(self) -> int:
        return self._sock.fileno()

    def wait_ready(self) -> None:
        self._setup.wait_running(self._name)

    def read(self) -> bytes | None:
        try:
            frame, (_, _, direction, *_) = self._sock.recvfrom(_LONGEST)
        except BlockingIOError:
            return None
        return frame[_FRAME:] if direction != _OUTGOING and frame[12:14] in (_IPV4, _IPV6) else b""

    def write(self, packet: bytes) -> None:
        try:
            self._sock.send(self._heads[packet[0] >> 4] + packet)
        except OSError:
            return  # the space's end is down, or has no room: lost

    def close(self) -> None:
        self._sock.close()
        self._setup.close()


def _open_tap() -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TAP | _IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
