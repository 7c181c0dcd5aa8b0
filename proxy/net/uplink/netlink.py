"""Reads routes, links, addresses and neighbours from the Linux kernel, and reports their changes (rtnetlink).

An ordinary user may read all of this, no packet is sent, and the kernel answers at once. The query for the route to an
address sees more than /proc/net/route: policy rules of a VPN, and two halves of the internet in place of a default
route. Only the few fields that we need are read: rtnetlink(7), and the layouts of <linux/netlink.h>,
<linux/rtnetlink.h>, <linux/if_addr.h> and <linux/neighbour.h>.
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

_RECEIVE_SIZE = 256 * 1024  # bytes; a message of a dump has 32 KiB at most
_MESSAGES_MAX = 100_000  # of one dump
_TIMEOUT_S = 1.0

SCOPE_LINK = 253
"""RT_SCOPE_LINK: addresses with this scope or above are valid on one link at most."""


@frozen_dataclass
class KernelRoute:
    index: int  # of the link
    gateway: IPAddress | None  # None: the address itself is on the link
    source: IPAddress | None  # our address in the packets


@frozen_dataclass
class Link:
    name: str
    kind: str  # of a virtual interface: wireguard, tun, veth, …
    has_neighbours: bool  # it uses ARP or neighbour discovery


@frozen_dataclass
class OwnAddress:
    """One of our addresses, with its prefix length."""

    index: int
    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    scope: int


class Netlink:
    """A socket for queries. All queries may raise OSError."""

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
        """Returns the route to an address; None when there is none."""
        family = _family(address)
        body = _RTMSG.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute(1, address.packed)
        try:
            answers = self._ask(RTM_GETROUTE, body)
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                return None  # no route; or one of type unreachable, prohibit or blackhole
            raise
        return next((parse_route(answer) for kind, answer in answers if kind == RTM_NEWROUTE), None)

    def link(self, index: int) -> Link | None:
        answers = self._ask(RTM_GETLINK, _IFINFOMSG.pack(0, 0, index, 0, 0))
        return next((parse_link(answer) for kind, answer in answers if kind == RTM_NEWLINK), None)

    def addresses(self) -> list[OwnAddress]:
        """Returns all addresses of this computer, on every link."""
        answers = self._ask(RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), dump=True)
        parsed = (parse_address(answer) for kind, answer in answers if kind == RTM_NEWADDR)
        return [address for address in parsed if address is not None]

    def hardware_address(self, index: int, address: IPAddress) -> str:
        """Returns the hardware address of a neighbour on a link, in hex; empty while the kernel does not know it."""
        return self.neighbours(index, address).get(address.packed, "")

    def neighbours(self, index: int, address: IPAddress) -> dict[bytes, str]:
        """Returns the hardware addresses of the neighbours on a link, in hex, by their packed addresses of the same
        family as `address`; empty while the kernel does not know one."""
        answers = self._ask(RTM_GETNEIGH, _NDMSG.pack(_family(address), 0, 0, 0, 0), dump=True)
        found: dict[bytes, str] = {}
        for kind, answer in answers:
            if kind == RTM_NEWNEIGH and len(answer) >= _NDMSG.size and _NDMSG.unpack_from(answer)[1] == index:
                by_type = attributes(answer, _NDMSG.size)
                found[by_type.get(_NDA_DST, b"")] = by_type.get(_NDA_LLADDR, b"").hex()
        return found

    def _ask(self, kind: int, body: bytes, *, dump: bool = False) -> list[tuple[int, bytes]]:
        """Sends a query, and returns the answers: type and body of each."""
        self._sequence += 1
        flags = _REQUEST | (_DUMP if dump else 0)
        self._sock.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, flags, self._sequence, 0) + body)
        answers: list[tuple[int, bytes]] = []
        while len(answers) < _MESSAGES_MAX:
            for answer_kind, sequence, answer in messages(self._sock.recv(_RECEIVE_SIZE)):
                if sequence != self._sequence:
                    continue  # an answer to a query that was given up
                if answer_kind == _ERROR:
                    code = -int(struct.unpack_from("=i", answer)[0]) if len(answer) >= 4 else errno.EPROTO
                    raise OSError(code, os.strerror(code))
                if answer_kind == _DONE:
                    return answers
                answers.append((answer_kind, answer))
            if answers and not dump:
                return answers
        raise OSError(errno.EMSGSIZE, "the kernel's answer does not end")


_RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 4, 5, 7, 18
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_IFF_LOOPBACK, _IFF_POINTOPOINT, _IFF_NOARP = 0x8, 0x10, 0x80
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR = 1, 2


def open_event_socket() -> socket.socket:
    """Returns a non-blocking socket that becomes readable when a link, an address, a route, a rule or a neighbour
    changes. Raises OSError."""
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
    """Returns the packed address of the neighbour in a message; None when the message is about something else."""
    if kind not in (RTM_NEWNEIGH, RTM_DELNEIGH) or len(body) < _NDMSG.size:
        return None
    return attributes(body, _NDMSG.size).get(_NDA_DST, b"")


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields type, sequence number and body of each message. A message that is cut off is left out."""
    at = 0
    while at + _NLMSGHDR.size <= len(data):
        length, kind, _, sequence, _ = _NLMSGHDR.unpack_from(data, at)
        if not _NLMSGHDR.size <= length <= len(data) - at:
            return
        yield kind, sequence, data[at + _NLMSGHDR.size : at + length]
        at += _aligned(length)


def attributes(body: bytes, at: int) -> dict[int, bytes]:
    """Returns the attributes of a message, which begin at `at`, by type. An attribute that is cut off is left out."""
    by_type: dict[int, bytes] = {}
    while at + _RTATTR.size <= len(body):
        length, kind = _RTATTR.unpack_from(body, at)
        if not _RTATTR.size <= length <= len(body) - at:
            break
        by_type[kind & 0x3FFF] = body[at + _RTATTR.size : at + length]  # without the flags NESTED and NET_BYTEORDER
        at += _aligned(length)
    return by_type


def attribute(kind: int, value: bytes) -> bytes:
    """Returns one attribute, padded."""
    length = _RTATTR.size + len(value)
    return _RTATTR.pack(length, kind) + value + bytes(_aligned(length) - length)


def parse_route(body: bytes) -> KernelRoute | None:
    """Parses an RTM_NEWROUTE. Returns None when it names no link."""
    by_type = attributes(body, _RTMSG.size)
    if len(body) < _RTMSG.size or len(by_type.get(_RTA_OIF, b"")) != 4:
        return None
    gateway = by_type.get(_RTA_GATEWAY) or by_type.get(_RTA_VIA, b"")[2:]  # VIA: of the other family, after its number
    return KernelRoute(
        index=int(struct.unpack("=I", by_type[_RTA_OIF])[0]),
        gateway=_address(gateway),
        source=_address(by_type.get(_RTA_PREFSRC, b"")),
    )


def parse_link(body: bytes) -> Link | None:
    """Parses an RTM_NEWLINK. Returns None when it is cut off."""
    if len(body) < _IFINFOMSG.size:
        return None
    flags = _IFINFOMSG.unpack_from(body)[3]
    by_type = attributes(body, _IFINFOMSG.size)
    kind = attributes(by_type.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"")
    asks = not flags & (_IFF_LOOPBACK | _IFF_POINTOPOINT | _IFF_NOARP)
    return Link(_text(by_type.get(_IFLA_IFNAME, b"")), _text(kind), asks)


def parse_address(body: bytes) -> OwnAddress | None:
    """Parses an RTM_NEWADDR. On a point-to-point link IFA_ADDRESS is the other side's, and IFA_LOCAL ours. Returns None
    when it is cut off or holds no valid address."""
    if len(body) < _IFADDRMSG.size:
        return None
    _, length, _, scope, index = _IFADDRMSG.unpack_from(body)
    by_type = attributes(body, _IFADDRMSG.size)
    address = _address(by_type.get(_IFA_LOCAL) or by_type.get(_IFA_ADDRESS, b""))
    if address is None or length > address.max_prefixlen:
        return None
    return OwnAddress(index, ipaddress.ip_interface((address, length)), scope)


def _address(packed: bytes) -> IPAddress | None:
    return ipaddress.ip_address(packed) if len(packed) in (4, 16) else None


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
