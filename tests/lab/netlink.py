"""The part of rtnetlink that the lab needs: links, addresses, routes, rules and neighbours (rtnetlink(7)).

A netlink socket belongs to the network in which it was made, so `Netlink(space.socket(AF_NETLINK, SOCK_RAW))` sets up
that space from any thread, without the program `ip`. Requests are small and answered at once: the calls block.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import time
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type

_NEWLINK, _GETLINK, _NEWADDR, _DELADDR, _GETADDR = 16, 18, 20, 21, 22
_NEWROUTE, _DELROUTE, _NEWNEIGH, _NEWRULE = 24, 25, 28, 32
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _REPLACE, _EXCL, _CREATE = 0x01, 0x04, 0x300, 0x100, 0x200, 0x400
_IFF_UP, _RUNNING = 0x01, 0x40
LINKS = 1
"""The multicast group that receives changes of links (RTMGRP_LINK)."""

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 1, 3, 18, 26, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_INET6_ADDR_GEN_MODE, _GEN_MODE_NONE = 8, b"\x01"
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_PROTO_STATIC = 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_UNICAST, _LOCAL = 1, 2
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE = 3, 6, 15
_NDA_DST, _NDA_LLADDR = 1, 2
_PERMANENT = 0x80

_RUNNING_S = 10.0
_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # ETHTOOL_STXCSUM, STSO, SGSO and SGRO of ethtool.h

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class Netlink:
    """Takes over a NETLINK_ROUTE socket. Each request is done when its method returns; raises OSError."""

    def __init__(self, sock: socket.socket, groups: int = 0) -> None:
        self._sock = sock
        self._sequence = 0
        self._indexes: dict[str, int] = {}
        sock.bind((0, groups))

    def close(self) -> None:
        self._sock.close()

    def index(self, name: str) -> int:
        """Returns the number of the link `name`."""
        if name not in self._indexes:
            answer = self._ask(_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name))
            self._indexes[name] = int(_LINK.unpack_from(answer[0])[2])
        return self._indexes[name]

    def set_up(self, name: str, *, up: bool = True) -> None:
        self._ask(_NEWLINK, _ACK, _LINK.pack(0, 0, self.index(name), _IFF_UP if up else 0, _IFF_UP))

    def wait_running(self, name: str) -> None:
        """Returns as soon as the link passes frames. A link whose far end came up later does so a moment after that,
        and until then loses all frames. Raises TimeoutError. The socket has to be in the group LINKS."""
        deadline = time.monotonic() + _RUNNING_S
        while not _LINK.unpack_from(self._ask(_GETLINK, 0, _LINK.pack(0, 0, self.index(name), 0, 0))[0])[3] & _RUNNING:
            self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            self._sock.recv(1 << 16)  # something about a link has changed
            self._sock.settimeout(None)

    def set_hardware_address(self, name: str, address: bytes) -> None:
        self._ask(_NEWLINK, _ACK, _LINK.pack(0, 0, self.index(name), 0, 0) + _attribute(_IFLA_ADDRESS, address))

    def give_no_link_local(self, name: str) -> None:
        """Prevents an address of IPv6's own, so the link is quiet when no program sends."""
        mode = _attribute(socket.AF_INET6, _attribute(_INET6_ADDR_GEN_MODE, _GEN_MODE_NONE))
        self._ask(_NEWLINK, _ACK, _LINK.pack(0, 0, self.index(name), 0, 0) + _attribute(_IFLA_AF_SPEC, mode))

    def add_veth(self, name: str, peer: str, space_fd: int) -> None:
        """Adds a wire from here to the network of `space_fd`."""
        far = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, peer) + _attribute(_IFLA_NET_NS_FD, _u32(space_fd))
        kind = _text(_IFLA_INFO_KIND, "veth") + _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, far))
        body = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name) + _attribute(_IFLA_LINKINFO, kind)
        self._ask(_NEWLINK, _ACK | _CREATE | _EXCL, body)

    def add_address(self, name: str, address: str) -> None:
        """Adds `address`, given with its prefix length."""
        self._ask(_NEWADDR, _ACK | _CREATE | _REPLACE, self._address(name, ip_interface(address)))

    def remove_addresses(self, name: str) -> None:
        """Removes all addresses of the link, and the routes that they brought."""
        index = self.index(name)
        for family in _families():
            for found in self._ask(_GETADDR, _DUMP, _ADDRESS.pack(family, 0, 0, 0, 0)):
                if _ADDRESS.unpack_from(found)[4] == index:
                    self._ask(_DELADDR, _ACK, found)

    def add_local(self, prefix: str) -> None:
        """Makes every address of `prefix` an address of this host."""
        network = ip_network(prefix)
        body = _ROUTE.pack(
            _family(network), network.prefixlen, 0, 0, _TABLE_LOCAL, _PROTO_STATIC, _SCOPE_HOST, _LOCAL, 0
        )
        body += _attribute(_RTA_DST, network.network_address.packed) + _attribute(_RTA_OIF, _u32(self.index("lo")))
        self._ask(_NEWROUTE, _ACK | _CREATE | _REPLACE, body)

    def add_default(self, gateway: str) -> None:
        self._default(_NEWROUTE, _ACK | _CREATE | _REPLACE, gateway)

    def remove_default(self, gateway: str) -> None:
        self._default(_DELROUTE, _ACK, gateway)

    def add_neighbour(self, name: str, address: str, hardware: bytes) -> None:
        """Sets the host that answers for `address`, for ever: no host asks the link for it."""
        target = ip_address(address)
        family = socket.AF_INET if target.version == 4 else socket.AF_INET6
        body = _NEIGHBOUR.pack(family, self.index(name), _PERMANENT, 0, 0)
        body += _attribute(_NDA_DST, target.packed) + _attribute(_NDA_LLADDR, hardware)
        self._ask(_NEWNEIGH, _ACK | _CREATE | _REPLACE, body)

    def take_all_from(self, name: str, *, table: int = 100) -> None:
        """Delivers all packets that come in over the link to this host, whatever their target address; outgoing packets
        are untouched.

        A listener needs IP_TRANSPARENT to answer under an address that is not its host's."""
        for family in _families():
            route = _ROUTE.pack(family, 0, 0, 0, table, _PROTO_STATIC, _SCOPE_HOST, _LOCAL, 0)
            self._ask(_NEWROUTE, _ACK | _CREATE | _REPLACE, route + _attribute(_RTA_OIF, _u32(self.index("lo"))))
            rule = _ROUTE.pack(family, 0, 0, 0, table, 0, _SCOPE_UNIVERSE, _UNICAST, 0)
            rule += _text(_FRA_IIFNAME, name) + _attribute(_FRA_PRIORITY, _u32(10))
            self._ask(_NEWRULE, _ACK | _CREATE, rule + _attribute(_FRA_TABLE, _u32(table)))

    def _default(self, kind: int, flags: int, gateway: str) -> None:
        via = ip_address(gateway)
        family = socket.AF_INET if via.version == 4 else socket.AF_INET6
        body = _ROUTE.pack(family, 0, 0, 0, _TABLE_MAIN, _PROTO_STATIC, _SCOPE_UNIVERSE, _UNICAST, 0)
        self._ask(kind, flags, body + _attribute(_RTA_GATEWAY, via.packed))

    def _address(self, name: str, address: Interface) -> bytes:
        body = _ADDRESS.pack(_family(address.network), address.network.prefixlen, 0, 0, self.index(name))
        packed = address.ip.packed
        return (
            body
            + _attribute(_IFA_LOCAL, packed)
            + _attribute(_IFA_ADDRESS, packed)
            + _attribute(_IFA_FLAGS, _u32(_NODAD))
        )

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Returns the bodies of the answers."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, self._sequence, 0)
        self._sock.send(header + body)
        found: list[bytes] = []
        while True:
            data = self._sock.recv(1 << 16)
            ended = False
            for answer, sequence, content in _messages(data):
                if sequence != self._sequence:
                    continue  # told to the group
                if answer == _ERROR and (number := -struct.unpack_from("=i", content)[0]):
                    raise OSError(number, f"rtnetlink {kind}: {os.strerror(number)}")
                ended = answer in (_ERROR, _DONE) or not flags & (_ACK | _DUMP)
                if answer not in (_ERROR, _DONE):
                    found.append(content)
            if ended:
                return found


def without_offloads(sock: socket.socket, name: str) -> None:
    """Turns offloads off: packets leave the link as they would leave a card, no larger than its MTU and with their
    checksums. ethtool(8)."""
    for command in _OFFLOADS:
        value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(value)))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:  # this kernel's link never had it
                raise


def has_ipv6() -> bool:
    return os.path.exists("/proc/net/if_inet6")


def _families() -> tuple[int, ...]:
    return (socket.AF_INET, socket.AF_INET6) if has_ipv6() else (socket.AF_INET,)


def _family(network: Network) -> int:
    return socket.AF_INET if network.version == 4 else socket.AF_INET6


def _messages(data: bytes) -> list[tuple[int, int, bytes]]:
    """Returns the type, sequence number and body of each message."""
    found = []
    while data:
        length, kind, _, sequence, _ = _HEADER.unpack_from(data)
        found.append((kind, sequence, data[_HEADER.size : length]))
        data = data[(length + 3) & ~3 :]
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)
