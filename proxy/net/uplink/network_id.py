"""Identifies the network of this computer by the router's hardware address and the on-link prefix.

Both together distinguish networks even where a thousand homes use 192.168.1.1. Only a keyed hash is kept, so that a
stolen state folder does not reveal places visited. The facts come from the kernel (`netlink`) or /proc on Linux, and
from the system's commands on macOS, the BSDs and Windows. Without the router's hardware address (mobile links, IPv6
outside Linux), its IP address is used; without a router, a VPN's name and our address in it. A bare link is an unknown
network, and its beliefs are not kept. IPv6 counts only without IPv4: router advertisements may come seconds later, and
must not make two networks of one.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from proxy.config.files import read_own_file
from proxy.model import UNKNOWN_NETWORK, IPAddress, NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.uplink.netlink import SCOPE_LINK, KernelRoute, Link, Netlink, OwnAddress

OUTSIDE = (ipaddress.ip_address("198.41.0.4"), ipaddress.ip_address("2001:503:ba3e::2:30"))
"""Addresses that only the default route reaches (a.root-servers.net). They are looked up in routing tables; nothing is
sent to them. The ranges for documentation are not used, because they are on the link in many laboratories."""

_KEY_LIMIT = 1024

_UP = 0x0001  # RTF_UP
_REJECT = 0x0200  # RTF_REJECT: the kernel's "no route" entries
_LINES = 4096
_COMMAND_S = 5.0
_ANY = str(ipaddress.IPv4Address(0))
_VPN_KINDS = ("wireguard", "tun", "tap")


@frozen_dataclass
class UplinkFacts:
    """The path to the internet, as far as the system describes it."""

    gateway: str = ""  # the router's address; empty: there is none, and everything is on the link
    hardware: str = ""  # the router's hardware address, hex
    prefix: str = ""  # the on-link prefix around us
    source: IPAddress | None = None  # our address on it
    link: str = ""  # the name of a VPN's link, which may have no router and no prefix
    index: int = 0  # of the interface, where the system numbers them
    router_is_discoverable: bool = False  # a packet to the router makes the kernel ask for its hardware address

    @property
    def identity(self) -> str:
        """The text to hash; empty when nothing distinguishes this network from others."""
        if self.hardware:
            return f"{self.hardware} {self.prefix}"
        if self.gateway or self.prefix:
            return f"{self.gateway} {self.prefix}"
        return f"{self.link} {self.source}" if self.link else ""

    def may_be_same_network(self, other: UplinkFacts) -> bool:
        """Whether both may describe one network, known in more or less detail."""
        if self.hardware and other.hardware and self.hardware != other.hardware:
            return False
        return (self.gateway, self.prefix, self.link) == (other.gateway, other.prefix, other.link)


def network_id(uplink: UplinkFacts | None, key: bytes) -> NetworkId:
    """Returns a hash of the uplink, keyed with this installation's secret `key`; UNKNOWN_NETWORK when there is none."""
    if uplink is None or not uplink.identity:
        return UNKNOWN_NETWORK
    return NetworkId(hmac.new(key, uplink.identity.encode(), hashlib.sha256).hexdigest()[:16])


def network_here(key_file: Path) -> NetworkId:
    """Returns the network of this computer, for a command beside or without a running Byway. UNKNOWN_NETWORK also when
    there is no key yet, since no Byway has identified a network here."""
    try:
        return network_id(read_uplink(), read_own_file(key_file, limit=_KEY_LIMIT))
    except OSError:
        return UNKNOWN_NETWORK


def read_uplink(platform: str = sys.platform) -> UplinkFacts | None:
    """Returns the present path to the internet; None when there is none, or it cannot be read. Takes under a
    millisecond on Linux, tens of milliseconds by commands."""
    if platform == "linux":
        try:
            with Netlink() as netlink:
                return uplink_by_netlink(netlink)
        except OSError:  # a sandbox, or a kernel without rtnetlink
            return uplink_by_proc(Path("/proc/net"))
    if platform == "win32":
        return uplink_of_windows(command_output("route", "print"), command_output("arp", "-a"))
    return _uplink_by_bsd_commands()


# -- Linux -------------------------------------------------------------------------------------------------------------


def uplink_by_netlink(netlink: Netlink) -> UplinkFacts | None:
    """Reads the uplink from the kernel. Raises OSError."""
    for outside in OUTSIDE:
        route = netlink.route_to(outside)
        if route is not None:
            link = netlink.link(route.index)
            hardware = "" if route.gateway is None else netlink.hardware_address(route.index, route.gateway)
            return uplink_of(route, link, netlink.addresses(), hardware)
    return None


def uplink_of(route: KernelRoute, link: Link | None, addresses: Iterable[OwnAddress], hardware: str) -> UplinkFacts:
    """Makes the facts of a route, its link, our addresses, and the router's hardware address."""
    ours = [own.interface for own in addresses if own.index == route.index and own.scope < SCOPE_LINK]
    around = [own for own in ours if route.gateway is not None and route.gateway in own.network]
    around = around or [own for own in ours if own.ip == route.source]
    networks = {own.network for own in around if own.network.prefixlen < own.max_prefixlen}
    return UplinkFacts(
        gateway="" if route.gateway is None else str(route.gateway),
        hardware=hardware,
        prefix=" ".join(sorted(map(str, networks))),
        source=route.source,
        link=link.name if link is not None and link.kind in _VPN_KINDS else "",
        index=route.index,
        router_is_discoverable=link is not None and link.has_neighbours and route.gateway is not None,
    )


def uplink_by_proc(proc_net: Path) -> UplinkFacts | None:
    """Reads the uplink from the tables in /proc/net, where rtnetlink may not be used."""
    uplink = ipv4_uplink(_text(proc_net / "route"), _text(proc_net / "arp"))
    return uplink or ipv6_uplink(_text(proc_net / "ipv6_route"))


def ipv4_uplink(table: str, neighbours: str = "") -> UplinkFacts | None:
    """Returns the uplink of the default route with the lowest metric in /proc/net/route."""
    rows = [row for line in table.splitlines()[1:_LINES] if len(row := line.split()) >= 8 and _is_up(row[3])]
    defaults = [row for row in rows if row[1] == row[7] == "00000000"]
    if not defaults:
        return None
    device, _, gateway_in_hex = min(defaults, key=lambda row: int(row[6]))[:3]
    gateway = _ipv4(gateway_in_hex)
    networks = [_ipv4_network(row) for row in rows if row[0] == device and row[2] == "00000000" != row[1]]
    return UplinkFacts(
        gateway="" if gateway.is_unspecified else str(gateway),
        hardware=_hardware_in_arp(neighbours, str(gateway)),
        prefix=_prefix_around(gateway, networks),
    )


def ipv6_uplink(table: str) -> UplinkFacts | None:
    """Returns the uplink of the default route with the lowest metric in /proc/net/ipv6_route."""
    rows = [row for line in table.splitlines()[:_LINES] if len(row := line.split()) == 10 and _is_up(row[8])]
    nowhere = "0" * 32
    defaults = [row for row in rows if row[0] == nowhere and row[1] == "00" and row[9] != "lo"]
    if not defaults:
        return None
    best = min(defaults, key=lambda row: int(row[5], 16))
    gateway, device = ipaddress.IPv6Address(bytes.fromhex(best[4])), best[9]
    networks = [
        ipaddress.IPv6Network((bytes.fromhex(row[0]), int(row[1], 16)))
        for row in rows
        if row[9] == device and row[4] == nowhere and row[1] not in ("00", "80") and row[0][:2] not in ("fe", "ff")
    ]
    return UplinkFacts(gateway="" if gateway.is_unspecified else str(gateway), prefix=_prefix_around(gateway, networks))


def _prefix_around(gateway: IPAddress, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str:
    """The networks that contain the router, else all of them, as text."""
    around = [network for network in networks if gateway in network] or networks
    return " ".join(sorted(str(network) for network in around if not network.is_link_local))


def _is_up(flags: str) -> bool:
    return int(flags, 16) & (_UP | _REJECT) == _UP


def _ipv4(in_hex: str) -> ipaddress.IPv4Address:
    """Reads an address of /proc/net/route, which prints them in host byte order."""
    return ipaddress.IPv4Address(int(in_hex, 16).to_bytes(4, sys.byteorder))


def _ipv4_network(row: Sequence[str]) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(f"{_ipv4(row[1])}/{_ipv4(row[7])}", strict=False)


def _hardware_in_arp(table: str, gateway: str) -> str:
    for line in table.splitlines()[1:_LINES]:
        row = line.split()
        if len(row) >= 4 and row[0] == gateway and int(row[2], 16) & 0x2:  # ATF_COM: complete
            return hardware(row[3])
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:  # no /proc, or none that we may read: nothing is known
        return ""


# -- macOS, the BSDs and Windows: by commands --------------------------------------------------------------------------


def _uplink_by_bsd_commands() -> UplinkFacts | None:
    route = command_output("route", "-n", "get", "default")
    device, gateway = bsd_field(route, "interface"), bsd_field(route, "gateway")
    if device:
        return uplink_of_bsd(
            route, command_output("ifconfig", device), command_output("arp", "-n", gateway) if gateway else ""
        )
    return uplink_of_bsd(command_output("route", "-n", "get", "-inet6", "default"), "", "")


def uplink_of_bsd(route: str, interface: str, arp: str) -> UplinkFacts | None:
    """Reads the output of `route -n get default`, `ifconfig DEVICE` and `arp -n GATEWAY` on macOS and the BSDs."""
    if not bsd_field(route, "interface"):
        return None
    gateway = bsd_field(route, "gateway").partition("%")[0]
    if gateway.startswith("link#"):  # everything is on the link
        gateway = ""
    entry = re.search(r"\(([\d.]+)\) at ([0-9a-f:]+) ", arp)
    prefixes = re.findall(r"^[ \t]*+inet ([\d.]+) (?:--> [\d.]+ )?netmask (0x[0-9a-f]{8})", interface, re.MULTILINE)
    interfaces = [_interface(address, str(ipaddress.IPv4Address(int(mask, 16)))) for address, mask in prefixes]
    around = [own for own in interfaces if _is_ipv4(gateway) and ipaddress.ip_address(gateway) in own.network]
    around = around or interfaces[:1]
    is_vpn = bsd_field(route, "interface").startswith(("utun", "tun", "wg"))
    return UplinkFacts(
        gateway=gateway,
        hardware=hardware(entry[2]) if entry and entry[1] == gateway else "",
        prefix=" ".join(sorted(str(own.network) for own in around if own.network.prefixlen < 32)),
        source=around[0].ip if around else None,
        link=bsd_field(route, "interface") if is_vpn else "",
    )


def bsd_field(output: str, name: str) -> str:
    """Returns the value of the line `name: value` in a command's output; empty when there is none."""
    match = re.search(rf"^[ \t]*+{name}: (\S++)[ \t\r]*+$", output, re.MULTILINE)
    return match[1] if match else ""


def uplink_of_windows(route: str, arp: str) -> UplinkFacts | None:
    """Reads the output of `route print` and `arp -a`: only the columns of numbers, which need no translation. They are
    used in place of Get-NetRoute, which starts its own shell and takes a second of processor time."""
    rows = [row for line in route.splitlines()[:_LINES] if (row := _windows_row(line)) is not None]
    defaults = [row for row in rows if row[0] == row[1] == _ANY]
    if not defaults:
        return None
    _, _, gateway, source, _ = min(defaults, key=lambda row: int(row[4]))
    own = [
        _interface(source, mask)
        for net, mask, via, ours, _ in rows
        if ours == source
        and not _is_ipv4(via)
        and mask not in ("255.255.255.255", _ANY)
        and not net.startswith(("224.", "169.254."))
    ]
    entry = re.search(rf"^[ \t]*+{re.escape(gateway)}[ \t]++([0-9a-f-]{{17}})\s", arp, re.MULTILINE)
    return UplinkFacts(
        gateway=gateway if _is_ipv4(gateway) else "",
        hardware=hardware(entry[1]) if entry else "",
        prefix=" ".join(sorted({str(interface.network) for interface in own})),
        source=ipaddress.ip_address(source),
    )


_IPV4 = r"(\d+\.\d+\.\d+\.\d+)"


def _windows_row(line: str) -> tuple[str, str, str, str, str] | None:
    """Returns destination, mask, gateway, interface and metric; None when the line is no row. For a route on the link,
    the gateway is words in the system's language."""
    words = line.split()
    if len(words) < 5:
        return None
    first, mask, *gateway, interface, metric = words
    is_row = _is_ipv4(first) and _is_ipv4(mask) and _is_ipv4(interface) and metric.isdecimal()
    return (first, mask, " ".join(gateway), interface, metric) if is_row else None


def _interface(address: str, mask: str) -> ipaddress.IPv4Interface:
    return ipaddress.IPv4Interface(f"{address}/{mask}")


def _is_ipv4(text: str) -> bool:
    return re.fullmatch(_IPV4, text) is not None


def hardware(text: str) -> str:
    """Returns a hardware address in hex, from any system's spelling; empty when it is not valid, all zeros, or the
    broadcast address."""
    digits = "".join(part.zfill(2) for part in re.split("[:-]", text.lower()))
    return "" if digits in ("0" * 12, "f" * 12) or not re.fullmatch("[0-9a-f]{12}", digits) else digits


def command_output(*command: str) -> str:
    """Returns the output of a system command; empty when it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S, check=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # the command is missing, failed or took too long
        return ""
    return done.stdout.decode("ascii", "replace")
