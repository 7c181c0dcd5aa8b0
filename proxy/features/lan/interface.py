"""Reads the interface on which guests are served, and the devices behind it. Linux only: nothing else tells an ordinary
user the hardware address of a neighbour at once.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from ipaddress import IPv4Address, IPv4Interface

from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.uplink.netlink import SCOPE_LINK, Netlink
from proxy.net.uplink.network_id import read_uplink


class NoInterface(BywayError):
    """No interface can be used. The message is a sentence."""


@frozen_dataclass
class Interface:
    """An interface, and our address on it with its prefix."""

    name: str
    index: int
    own: IPv4Interface

    @property
    def address(self) -> IPv4Address:
        return self.own.ip

    def is_device(self, address: IPv4Address) -> bool:
        """Whether another device of this network may have the address: on the link, and not ours."""
        network = self.own.network
        return (
            address in network
            and address != self.own.ip
            and (network.prefixlen >= 31 or address not in (network.network_address, network.broadcast_address))
        )


def find_interface(name: str = "") -> Interface:
    """Returns the interface of the network that this computer is on. `name` is the one that the user means; empty:
    that of the way to the internet. Raises NoInterface."""
    try:
        with Netlink() as kernel:
            uplink = read_uplink()
            if uplink is None:
                raise NoInterface("this computer is on no network")
            link = kernel.link(uplink.index)
            if link is None:
                raise NoInterface("this computer is on no network")
            if name and name != link.name:
                raise NoInterface(f"{name} is not the interface of this network, which is {link.name}")
            if not link.has_neighbours:
                raise NoInterface(
                    f"the way to the internet is {link.name}, where devices have no hardware address: end the VPN first"
                )
            ours = [
                own.interface
                for own in kernel.addresses()
                if own.index == uplink.index and own.scope < SCOPE_LINK and isinstance(own.interface, IPv4Interface)
            ]
    except OSError:
        raise NoInterface("this system does not tell which device has which address; it works on Linux only") from None
    own = next((each for each in ours if each.ip == uplink.source), ours[0] if ours else None)
    if own is None:
        raise NoInterface(f"{link.name} has no IPv4 address")
    return Interface(link.name, uplink.index, own)


def is_ours(interface: Interface) -> bool:
    """Whether our address is still on the interface, and the interface still there. False when it cannot be read."""
    with contextlib.suppress(OSError), Netlink() as kernel:
        return any(own.index == interface.index and own.interface == interface.own for own in kernel.addresses())
    return False


def neighbours(interface: Interface) -> dict[IPv4Address, str]:
    """Returns the hardware addresses of the devices that the kernel knows on the interface, in hex. Empty when it
    cannot be read."""
    with contextlib.suppress(OSError), Netlink() as kernel:
        known = kernel.neighbours(interface.index, interface.address)
        return {IPv4Address(address): hardware for address, hardware in known.items() if hardware and len(address) == 4}
    return {}


def listen_on(interface: Interface) -> socket.socket:
    """Returns a listening socket on our address and a random port; nobody on another link reaches it. Raises
    OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(PermissionError):  # Linux before 5.7: other links are refused by the client's address
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode())
        sock.bind((str(interface.address), 0))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def parse_device(text: str, interface: Interface) -> IPv4Address:
    """Parses the address of a device of this network. Raises ValueError with a sentence."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not an address, such as 192.168.1.23") from None
    if not isinstance(address, IPv4Address) or not interface.is_device(address):
        raise ValueError(f"{address} is not the address of another device in {interface.own.network}")
    return address


_BACKLOG = 64
