from __future__ import annotations

from pathlib import Path

import pytest

from proxy.model import UNKNOWN_NETWORK
from proxy.net.network_id import NetworkWatch, ipv4_uplink, ipv6_uplink
from tests.support.clock import Clock

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
HOME = HEAD + (
    "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"  # default via 192.168.1.1
    "wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0\n"  # 192.168.1.0/24
)
DOCKER = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
ZEROCONF = "wlan0\t0000FEA9\t00000000\t0001\t0\t0\t1000\t0000FFFF\t0\t0\t0\n"
WIRED = "eth0\t00000000\t0101000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
BARE_LINK = HEAD + "ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
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


@pytest.fixture
def proc_net(tmp_path: Path) -> Path:
    (tmp_path / "route").write_text(HOME)
    (tmp_path / "ipv6_route").write_text(HOME6)
    return tmp_path


def watch(proc_net: Path, key: bytes = b"key") -> NetworkWatch:
    return NetworkWatch(key, proc_net=proc_net, clock=Clock())


def test_it_is_a_keyed_hash_that_tells_networks_apart(proc_net: Path) -> None:
    home = watch(proc_net).current()
    assert len(home) == 16
    assert int(home, 16) >= 0
    assert watch(proc_net).current() == home
    assert watch(proc_net, b"another key").current() != home
    (proc_net / "route").write_text(HOME.replace("0101A8C0", "FE01A8C0"))
    assert watch(proc_net).current() not in (home, UNKNOWN_NETWORK)


def test_what_comes_and_goes_does_not_make_another_network() -> None:
    assert ipv4_uplink(HOME + DOCKER + ZEROCONF) == ipv4_uplink(HOME) == "4 0101A8C0 0001A8C0/00FFFFFF"


def test_the_lowest_metric_wins() -> None:
    assert ipv4_uplink(HOME + WIRED) == "4 0101000A "


def test_a_bare_link_tells_nothing() -> None:
    assert ipv4_uplink(BARE_LINK) is None


def test_ipv6_counts_where_there_is_no_ipv4(proc_net: Path) -> None:
    with_both = watch(proc_net).current()
    (proc_net / "ipv6_route").write_text("")
    assert watch(proc_net).current() == with_both
    (proc_net / "route").write_text(HEAD)
    assert watch(proc_net).current() == UNKNOWN_NETWORK
    (proc_net / "ipv6_route").write_text(HOME6)
    assert watch(proc_net).current() not in (with_both, UNKNOWN_NETWORK)


def test_ipv6_is_its_gateway_and_on_link_prefix() -> None:
    assert ipv6_uplink(HOME6) == f"6 {GATEWAY6} {PREFIX6}/40"
    assert ipv6_uplink(row6(NOWHERE, ANY, NOWHERE, "ffffffff", "00200200", "lo")) is None
    assert ipv6_uplink(row6(NOWHERE, ANY, NOWHERE, "00000400", "00000001", "tun0")) is None


def test_without_proc_the_network_is_unknown(tmp_path: Path) -> None:
    assert watch(tmp_path).current() == UNKNOWN_NETWORK


def test_it_is_read_again_after_two_seconds(proc_net: Path) -> None:
    clock = Clock()
    watching = NetworkWatch(b"key", proc_net=proc_net, clock=clock)
    home = watching.current()
    (proc_net / "route").write_text(HEAD + WIRED)
    clock.advance(1.9)
    assert watching.current() == home
    clock.advance(0.2)
    assert watching.current() != home


def test_this_machine_can_be_read() -> None:
    assert NetworkWatch(b"key").current()
