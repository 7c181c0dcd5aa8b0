"""Asks the Linux kernel about its routes, links, addresses and neighbours, and hears when they change (rtnetlink).

An ordinary user may ask all of this, nothing is sent to anybody, and the kernel answers while it is being asked. Unlike
/proc/net/route the question "how would you reach this address?" sees what a VPN does with policy rules or with two
halves of the internet in place of a default route. Only the few fields that we need are read: rtnetlink(7), and the
layouts of <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_addr.h> and <linux/neighbour.h>.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

from proxy.model import IPAddress
from proxy.model.frozen_dataclass import frozen_dataclass

AVAILABLE = hasattr(socket, "AF_NETLINK")

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_REQUEST, _DUMP = 0x1, 0x300  # NLM_F_REQUEST, NLM_F_DUMP
_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_RTATTR = struct.Struct("=HH")  # length, type
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, destination length, …, type, flags
_IFINFOMSG = struct.Struct("=BxHiII")  # family, device type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

_EVENT_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
"""RTMGRP_LINK, _NEIGH, and addresses, routes and rules of IPv4 and IPv6."""

_RECEIVE_SIZE = 256 * 1024  # bytes: the kernel makes no message of a dump longer than 32 KiB
_MESSAGES_MAX = 100_000  # of one dump
_TIMEOUT_S = 1.0

SCOPE_LINK = 253
"""RT_SCOPE_LINK: addresses from here on are good on one link at most."""


@frozen_dataclass
class KernelRoute:
    """How the kernel would reach an address."""

    index: int  # of the link
    gateway: IPAddress | None  # None: the address itself is on the link
    source: IPAddress | None  # ours, that packets would come from


@frozen_dataclass
class Link:
    """One network interface."""

    name: str
    kind: str  # of a virtual one: wireguard, tun, veth, …
    has_neighbours: bool  # it finds hardware addresses by asking (ARP, neighbour discovery)


@frozen_dataclass
class OwnAddress:
    """One of our addresses, with its prefix length."""

    index: int
    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    scope: int


class Netlink:
    """A socket to ask with. All questions may raise OSError."""

    def __init__(self) -> None:
        """Raises OSError where the system has no rtnetlink, or does not let us use it."""
        if not AVAILABLE:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # 0: NETLINK_ROUTE
        self._sock.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._sock.close()

    def route_to(self, address: IPAddress) -> KernelRoute | None:
        """None: there is no way there."""
        family = _family(address)
        body = _RTMSG.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute(1, address.packed)
        try:
            answers = self._ask(RTM_GETROUTE, body)
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                return None  # none; or a route that says unreachable, prohibit or blackhole
            raise
        return next((parse_route(answer) for kind, answer in answers if kind == RTM_NEWROUTE), None)

    def link(self, index: int) -> Link | None:
        answers = self._ask(RTM_GETLINK, _IFINFOMSG.pack(0, 0, index, 0, 0))
        return next((parse_link(answer) for kind, answer in answers if kind == RTM_NEWLINK), None)

    def addresses(self) -> list[OwnAddress]:
        """All of ours, on every link."""
        answers = self._ask(RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), dump=True)
        found = (parse_address(answer) for kind, answer in answers if kind == RTM_NEWADDR)
        return [address for address in found if address is not None]

    def hardware_address(self, index: int, address: IPAddress) -> str:
        """The hardware address of a neighbour on a link, in hex; empty while the kernel does not know it."""
        answers = self._ask(RTM_GETNEIGH, _NDMSG.pack(_family(address), 0, 0, 0, 0), dump=True)
        for kind, answer in answers:
            if kind == RTM_NEWNEIGH and len(answer) >= _NDMSG.size and _NDMSG.unpack_from(answer)[1] == index:
                found = attributes(answer, _NDMSG.size)
                if found.get(_NDA_DST) == address.packed:
                    return found.get(_NDA_LLADDR, b"").hex()
        return ""

    def _ask(self, kind: int, body: bytes, *, dump: bool = False) -> list[tuple[int, bytes]]:
        """The answers: type and body each."""
        self._sequence += 1
        flags = _REQUEST | (_DUMP if dump else 0)
        self._sock.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, flags, self._sequence, 0) + body)
        answers: list[tuple[int, bytes]] = []
        while len(answers) < _MESSAGES_MAX:
            for found, sequence, answer in messages(self._sock.recv(_RECEIVE_SIZE)):
                if sequence != self._sequence:
                    continue  # of a question that was given up
                if found == _ERROR:
                    raise _error(answer)
                if found == _DONE:
                    return answers
                answers.append((found, answer))
            if answers and not dump:
                return answers
        raise OSError(errno.EMSGSIZE, "the kernel's answer does not end")


_RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 4, 5, 7, 18
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_IFF_LOOPBACK, _IFF_POINTOPOINT, _IFF_NOARP = 0x8, 0x10, 0x80
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR = 1, 2


def open_event_socket() -> socket.socket:
    """A non-blocking socket that becomes readable when a link, an address, a route, a rule or a neighbour changes.
    Raises OSError."""
    if not AVAILABLE:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        sock.bind((0, _EVENT_GROUPS))
    except OSError:
        sock.close()
        raise
    return sock


def neighbour_of_event(kind: int, body: bytes) -> bytes | None:
    """The packed address of the neighbour that a message is about; None when it is about something else."""
    if kind not in (RTM_NEWNEIGH, RTM_DELNEIGH) or len(body) < _NDMSG.size:
        return None
    return attributes(body, _NDMSG.size).get(_NDA_DST, b"")


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, sequence number and body of each message. What is cut off is left out."""
    at = 0
    while at + _NLMSGHDR.size <= len(data):
        length, kind, _, sequence, _ = _NLMSGHDR.unpack_from(data, at)
        if not _NLMSGHDR.size <= length <= len(data) - at:
            return
        yield kind, sequence, data[at + _NLMSGHDR.size : at + length]
        at += _aligned(length)


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """The attributes behind a message's fixed part, by type. What is cut off is left out."""
    found: dict[int, bytes] = {}
    while at + _RTATTR.size <= len(body):
        length, kind = _RTATTR.unpack_from(body, at)
        if not _RTATTR.size <= length <= len(body) - at:
            break
        found[kind & 0x3FFF] = body[at + _RTATTR.size : at + length]  # without the flags NESTED and NET_BYTEORDER
        at += _aligned(length)
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = _RTATTR.size + len(value)
    return _RTATTR.pack(length, kind) + value + bytes(_aligned(length) - length)


def parse_route(body: bytes) -> KernelRoute | None:
    """An RTM_NEWROUTE. None: it names no link."""
    found = attributes(body, _RTMSG.size)
    if len(body) < _RTMSG.size or len(found.get(_RTA_OIF, b"")) != 4:
        return None
    gateway = found.get(_RTA_GATEWAY) or found.get(_RTA_VIA, b"")[2:]  # of the other family: after its number
    return KernelRoute(
        index=int(struct.unpack("=I", found[_RTA_OIF])[0]),
        gateway=_address(gateway),
        source=_address(found.get(_RTA_PREFSRC, b"")),
    )


def parse_link(body: bytes) -> Link | None:
    """An RTM_NEWLINK."""
    if len(body) < _IFINFOMSG.size:
        return None
    flags = _IFINFOMSG.unpack_from(body)[3]
    found = attributes(body, _IFINFOMSG.size)
    kind = attributes(found.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"")
    asks = not flags & (_IFF_LOOPBACK | _IFF_POINTOPOINT | _IFF_NOARP)
    return Link(_text(found.get(_IFLA_IFNAME, b"")), _text(kind), asks)


def parse_address(body: bytes) -> OwnAddress | None:
    """An RTM_NEWADDR. On a point-to-point link IFA_ADDRESS is the other side's, and IFA_LOCAL ours."""
    if len(body) < _IFADDRMSG.size:
        return None
    _, length, _, scope, index = _IFADDRMSG.unpack_from(body)
    found = attributes(body, _IFADDRMSG.size)
    address = _address(found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b""))
    if address is None or length > address.max_prefixlen:
        return None
    return OwnAddress(index, ipaddress.ip_interface((address, length)), scope)


def _error(body: bytes) -> OSError:
    code = -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else errno.EPROTO
    return OSError(code, os.strerror(code))


def _address(packed: bytes) -> IPAddress | None:
    return ipaddress.ip_address(packed) if len(packed) in (4, 16) else None


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
