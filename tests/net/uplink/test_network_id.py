from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from proxy.model import UNKNOWN_NETWORK
from proxy.net.uplink import network_id
from proxy.net.uplink.netlink import KernelRoute, Link, OwnAddress
from proxy.net.uplink.network_id import (
    UplinkFacts,
    command_output,
    hardware,
    ipv4_uplink,
    ipv6_uplink,
    read_uplink,
    uplink_by_proc,
    uplink_of,
    uplink_of_bsd,
    uplink_of_windows,
)
from tests.support.rows import each_row

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
HOME = HEAD + (
    "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"  # default via 192.168.1.1
    "wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0\n"  # 192.168.1.0/24
)
DOCKER = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
ZEROCONF = "wlan0\t0000FEA9\t00000000\t0001\t0\t0\t1000\t0000FFFF\t0\t0\t0\n"
WIRED = "eth0\t00000000\t0101000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
BARE_LINK = HEAD + "ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
ARP = (
    "IP address       HW type     Flags       HW address            Mask     Device\n"
    "192.168.1.7      0x1         0x2         02:00:00:00:00:07     *        wlan0\n"
    "192.168.1.1      0x1         0x2         02:00:00:00:00:01     *        wlan0\n"
)
NOWHERE, ANY = "0" * 32, "00"
GATEWAY6 = "fe800000000000000000000000000001"
PREFIX6 = "20010db8000000010000000000000000"


def row6(target: str, length: str, gateway: str, metric: str, flags: str, device: str) -> str:
    return f"{target} {length} {NOWHERE} 00 {gateway} {metric} 00000001 00000000 {flags} {device:>8}\n"


HOME6 = (
    row6(PREFIX6, "40", NOWHERE, "00000100", "00000001", "wlan0")
    + row6("fe80" + "0" * 28, "40", NOWHERE, "00000100", "00000001", "wlan0")
    + row6(NOWHERE, ANY, GATEWAY6, "00000400", "00000003", "wlan0")
    + row6("20010db8000000010123456789abcdef", "80", NOWHERE, "00000000", "80200001", "wlan0")
    + row6(NOWHERE, ANY, NOWHERE, "ffffffff", "00200200", "lo")
)

AT_HOME = UplinkFacts("192.168.1.1", "020000000001", "192.168.1.0/24", index=3)


# -- what is a network -------------------------------------------------------------------------------------------------


def test_it_is_a_keyed_hash() -> None:
    home = network_id.network_id(AT_HOME, b"key")
    assert len(home) == 16
    assert int(home, 16) >= 0
    assert network_id.network_id(AT_HOME, b"key") == home
    assert network_id.network_id(AT_HOME, b"another key") != home


PLACES = {
    "home": AT_HOME,
    "another router of the same address": UplinkFacts("192.168.1.1", "020000000002", "192.168.1.0/24"),
    "the guests' network of the same router": UplinkFacts("192.168.9.1", "020000000001", "192.168.9.0/24"),
    "a router whose hardware is not known": UplinkFacts("192.168.1.1", "", "192.168.1.0/24"),
    "a VPN": UplinkFacts(link="wg0", source=ipaddress.ip_address("10.9.0.2")),
    "another VPN": UplinkFacts(link="wg0", source=ipaddress.ip_address("10.9.0.3")),
    "a mobile link with a prefix": UplinkFacts(prefix="100.64.3.0/30"),
}


def test_networks_are_told_apart() -> None:
    assert len({network_id.network_id(place, b"key") for place in PLACES.values()} - {UNKNOWN_NETWORK}) == len(PLACES)


@pytest.mark.parametrize("nothing", [None, UplinkFacts(), UplinkFacts(source=ipaddress.ip_address("10.0.0.1"))])
def test_what_tells_nothing_is_unknown(nothing: UplinkFacts | None) -> None:
    assert network_id.network_id(nothing, b"key") == UNKNOWN_NETWORK


def test_more_known_of_it_makes_no_other_place() -> None:
    vague, other = PLACES["a router whose hardware is not known"], PLACES["another router of the same address"]
    assert AT_HOME.may_be_same_network(vague)
    assert vague.may_be_same_network(other)
    assert not AT_HOME.may_be_same_network(other)


def test_this_machine_can_be_read() -> None:
    uplink = read_uplink()
    assert uplink is None or uplink.identity or uplink.source


# -- rtnetlink ---------------------------------------------------------------------------------------------------------


def own(text: str, index: int = 3, scope: int = 0) -> OwnAddress:
    return OwnAddress(index, ipaddress.ip_interface(text), scope)


def test_the_prefix_is_the_routers() -> None:
    route = KernelRoute(3, ipaddress.ip_address("192.168.1.1"), ipaddress.ip_address("192.168.1.23"))
    addresses = [own("192.168.1.23/24"), own("10.0.0.1/8"), own("192.168.0.1/16", index=7), own("169.254.3.3/16")]
    assert uplink_of(route, Link("wlan0", "", has_neighbours=True), addresses, "020000000001") == UplinkFacts(
        "192.168.1.1",
        "020000000001",
        "192.168.1.0/24",
        source=ipaddress.ip_address("192.168.1.23"),
        index=3,
        router_is_discoverable=True,
    )


def test_behind_a_router_of_its_own_link_the_prefix_is_our_addresss() -> None:
    """IPv6: fe80::1 is in no global prefix, and fe80::/64 says nothing."""
    source = "2001:db8:1:0:8d3c::2"
    route = KernelRoute(3, ipaddress.ip_address("fe80::1"), ipaddress.ip_address(source))
    addresses = [own(f"{source}/64"), own("fe80::2/64", scope=253), own("fd00::2/64"), own("2001:db8:1::2/128")]
    assert uplink_of(route, Link("wlan0", "", has_neighbours=True), addresses, "").prefix == "2001:db8:1::/64"


def test_a_vpn_without_a_prefix_has_its_name_and_our_address() -> None:
    route = KernelRoute(9, None, ipaddress.ip_address("10.9.0.2"))
    found = uplink_of(route, Link("wg0", "wireguard", has_neighbours=False), [own("10.9.0.2/32", index=9)], "")
    assert (found.identity, found.router_is_discoverable) == ("wg0 10.9.0.2", False)
    mobile = uplink_of(route, Link("ppp0", "", has_neighbours=False), [own("10.9.0.2/32", index=9)], "")
    assert mobile.identity == ""


# -- /proc -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def proc_net(tmp_path: Path) -> Path:
    (tmp_path / "route").write_text(HOME)
    (tmp_path / "ipv6_route").write_text(HOME6)
    (tmp_path / "arp").write_text(ARP)
    return tmp_path


def test_what_comes_and_goes_does_not_make_another_network() -> None:
    assert (
        ipv4_uplink(HOME + DOCKER + ZEROCONF) == ipv4_uplink(HOME) == UplinkFacts("192.168.1.1", "", "192.168.1.0/24")
    )


def test_the_lowest_metric_wins() -> None:
    assert ipv4_uplink(HOME + WIRED) == UplinkFacts("10.0.1.1")


def test_a_bare_link_tells_nothing() -> None:
    found = ipv4_uplink(BARE_LINK)
    assert found is not None
    assert found.identity == ""


def test_ipv6_counts_where_there_is_no_ipv4(proc_net: Path) -> None:
    with_both = uplink_by_proc(proc_net)
    assert with_both == UplinkFacts("192.168.1.1", "020000000001", "192.168.1.0/24")
    (proc_net / "ipv6_route").write_text("")
    assert uplink_by_proc(proc_net) == with_both
    (proc_net / "route").write_text(HEAD)
    assert uplink_by_proc(proc_net) is None
    (proc_net / "ipv6_route").write_text(HOME6)
    assert uplink_by_proc(proc_net) == UplinkFacts("fe80::1", "", "2001:db8:0:1::/64")


def test_ipv6_has_to_lead_out() -> None:
    assert ipv6_uplink(row6(NOWHERE, ANY, NOWHERE, "ffffffff", "00200200", "lo")) is None
    tunnel = ipv6_uplink(row6(NOWHERE, ANY, NOWHERE, "00000400", "00000001", "tun0"))
    assert tunnel is not None
    assert tunnel.identity == ""


def test_without_proc_there_is_nothing(tmp_path: Path) -> None:
    assert uplink_by_proc(tmp_path) is None


def test_without_rtnetlink_proc_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(network_id, "Netlink", refuse)
    monkeypatch.setattr(network_id, "uplink_by_proc", lambda _: AT_HOME)
    assert read_uplink("linux") == AT_HOME


# -- what commands print -----------------------------------------------------------------------------------------------

MAC_ROUTE = """\
   route to: default
destination: default
       mask: default
    gateway: 192.168.1.1
  interface: en0
      flags: <UP,GATEWAY,DONE,STATIC,PRCLONING,GLOBAL>
 recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire
       0         0         0         0         0         0      1500         0
"""
MAC_INTERFACE = """\
en0: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST> mtu 1500
\tether 02:00:00:aa:bb:cc
\tinet6 fe80::10c0:2d2c:5f00:1%en0 prefixlen 64 secured scopeid 0x6
\tinet 192.168.1.23 netmask 0xffffff00 broadcast 192.168.1.255
\tmedia: autoselect
\tstatus: active
"""
MAC_ARP = "? (192.168.1.1) at 2:0:0:0:0:1 on en0 ifscope [ethernet]\n"
MAC_VPN_ROUTE = MAC_ROUTE.replace("192.168.1.1", "link#19").replace("en0", "utun4")
MAC_VPN = "utun4: flags=8051<UP,POINTOPOINT> mtu 1420\n\tinet 10.9.0.2 --> 10.9.0.2 netmask 0xffffffff\n"


def test_macos() -> None:
    source = ipaddress.ip_address("192.168.1.23")
    assert uplink_of_bsd(MAC_ROUTE, MAC_INTERFACE, MAC_ARP) == UplinkFacts(
        "192.168.1.1", "020000000001", "192.168.1.0/24", source=source
    )


def test_macos_with_a_vpn_a_router_unheard_of_and_nothing() -> None:
    vpn = uplink_of_bsd(MAC_VPN_ROUTE, MAC_VPN, "")
    assert vpn is not None
    assert vpn.identity == "utun4 10.9.0.2"
    silent = uplink_of_bsd(MAC_ROUTE, MAC_INTERFACE, "? (192.168.1.1) at (incomplete) on en0 ifscope [ethernet]\n")
    assert silent is not None
    assert (silent.hardware, silent.identity) == ("", "192.168.1.1 192.168.1.0/24")
    six = uplink_of_bsd("    gateway: fe80::1%en0\n  interface: en0\n", "", "")
    assert six is not None
    assert six.identity == "fe80::1 "
    assert uplink_of_bsd("route: writing to routing socket: not in table\n", "", "") is None


WINDOWS_ROUTE = """\
===========================================================================
Schnittstellenliste
 12...02 00 00 aa bb cc ......Intel(R) Wi-Fi 6 AX201 160MHz
===========================================================================
IPv4-Routentabelle
===========================================================================
Aktive Routen:
     Netzwerkziel    Netzwerkmaske          Gateway    Schnittstelle Metrik
          0.0.0.0          0.0.0.0      192.168.1.1     192.168.1.23     35
          0.0.0.0          0.0.0.0         10.0.1.1         10.0.1.5    281
        127.0.0.0        255.0.0.0   Auf Verbindung         127.0.0.1    331
      192.168.1.0    255.255.255.0   Auf Verbindung      192.168.1.23    291
     192.168.1.23  255.255.255.255   Auf Verbindung      192.168.1.23    291
        224.0.0.0        240.0.0.0   Auf Verbindung      192.168.1.23    291
===========================================================================
Ständige Routen:
  Keine
"""
WINDOWS_ARP = """\

Schnittstelle: 192.168.1.23 --- 0xc
  Internetadresse       Physische Adresse     Typ
  192.168.1.1           02-00-00-00-00-01     dynamisch
  192.168.1.255         ff-ff-ff-ff-ff-ff     statisch
"""


def test_windows_in_any_language() -> None:
    source = ipaddress.ip_address("192.168.1.23")
    assert uplink_of_windows(WINDOWS_ROUTE, WINDOWS_ARP) == UplinkFacts(
        "192.168.1.1", "020000000001", "192.168.1.0/24", source=source
    )
    assert uplink_of_windows("", WINDOWS_ARP) is None


@each_row(
    ("text", "expected"),
    [
        ("02:00:00:AA:bb:1", "020000aabb01"),
        ("02-00-00-00-00-01", "020000000001"),
        ("00:00:00:00:00:00", ""),
        ("ff:ff:ff:ff:ff:ff", ""),
        ("(incomplete)", ""),
        ("", ""),
    ],
)
def test_hardware_addresses_in_any_spelling(text: str, expected: str) -> None:
    assert hardware(text) == expected


def test_commands_that_are_not_there_or_fail_say_nothing() -> None:
    assert command_output("no-such-command-anywhere") == ""
    assert command_output("false") == ""
    assert command_output("echo", "hello") == "hello\n"


def test_other_systems_ask_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        ("route", "-n", "get", "default"): MAC_ROUTE,
        ("ifconfig", "en0"): MAC_INTERFACE,
        ("arp", "-n", "192.168.1.1"): MAC_ARP,
        ("route", "print"): WINDOWS_ROUTE,
        ("arp", "-a"): WINDOWS_ARP,
    }
    monkeypatch.setattr(network_id, "command_output", lambda *command: said.get(command, ""))
    mac, windows = read_uplink("darwin"), read_uplink("win32")
    assert mac == windows
    assert mac is not None
    assert mac.hardware == "020000000001"
    said[("route", "-n", "get", "default")] = ""
    said[("route", "-n", "get", "-inet6", "default")] = "    gateway: fe80::1%en0\n  interface: en0\n"
    six = read_uplink("darwin")
    assert six is not None
    assert six.gateway == "fe80::1"
