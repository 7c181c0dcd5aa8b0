from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.model import UNKNOWN_NETWORK, IPAddress
from proxy.net.uplink import netlink, network_watch
from proxy.net.uplink.network_id import UplinkFacts, network_id
from proxy.net.uplink.network_watch import (
    NetworkChange,
    NetworkWatch,
    connection_ends,
    is_own_address,
    read_own_addresses,
    source_address_for,
)
from tests.support import programs
from tests.support.clock import Clock
from tests.support.sockets import tcp_pair
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
KEY = b"key"
OURS = ipaddress.ip_address("192.168.1.2")
HOME = UplinkFacts("192.168.1.1", "020000000001", "192.168.1.0/24", source=OURS, index=3)
CAFE = UplinkFacts("192.168.1.1", "020000000002", "192.168.1.0/24", source=OURS, index=3)
VAGUE = UplinkFacts("192.168.1.1", "", "192.168.1.0/24", source=OURS, index=4)
OFFICE = UplinkFacts("10.1.0.1", "020000000003", "10.1.0.0/24", source=ipaddress.ip_address("10.1.0.2"), index=5)


@pytest.mark.namespaces
@pytest.mark.needs("ip", "unshare")
def test_a_computer_is_carried_from_network_to_network(tmp_path: Path) -> None:
    script = [programs.require("unshare"), "-Urnm", sys.executable, "-m", "tests.net.uplink.moving"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# -- what has changed --------------------------------------------------------------------------------------------------


class World:
    """A watch whose readings a test changes, and a kernel that tells what the test makes it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, uplink: UplinkFacts | None = HOME, kernel_tells: bool = True
    ) -> None:
        self._near, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._near.setblocking(False)
        monkeypatch.setattr(netlink, "open_event_socket", (lambda: self._near) if kernel_tells else _refuse)
        self.uplink = uplink
        self.addresses: frozenset[IPAddress] = frozenset({OURS})
        self.moves: list[NetworkChange] = []
        self.watch = NetworkWatch(KEY, read=lambda: self.uplink, own_addresses=lambda _: self.addresses)
        self.watch.on_change(self.moves.append)

    def go(self, uplink: UplinkFacts | None, *addresses: str) -> list[NetworkChange]:
        """What is told of a look after that change."""
        self.moves.clear()
        self.uplink = uplink
        if addresses:
            self.addresses = frozenset(map(ipaddress.ip_address, addresses))
        self.watch.read_now()
        return list(self.moves)

    def tell(self, kind: int, body: bytes) -> None:
        header = netlink._NLMSGHDR.pack(netlink._NLMSGHDR.size + len(body), kind, 0, 0, 0)
        self._kernel.send(header + body)

    def tell_of_neighbour(self, address: str) -> None:
        packed = ipaddress.ip_address(address).packed
        self.tell(netlink.RTM_NEWNEIGH, netlink._NDMSG.pack(socket.AF_INET, 3, 2, 0, 1) + netlink.attribute(1, packed))

    def close(self) -> None:
        self.watch.close()
        self._kernel.close()
        self._near.close()


def _refuse() -> Any:
    raise OSError(errno.EAFNOSUPPORT, "no rtnetlink")


def known(uplink: UplinkFacts) -> str:
    return network_id(uplink, KEY)


async def test_a_change_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.watch.read_now()  # harmless before the start
    await world.watch.start()
    assert world.moves == []
    assert world.watch.current() == known(HOME)
    assert [(m.before, m.after) for m in world.go(OFFICE)] == [(known(HOME), known(OFFICE))]
    assert world.go(OFFICE) == []
    world.close()
    assert world.go(HOME) == []  # nobody looks any more


async def test_ipv6_is_known_by_an_address_that_is_good_beyond_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    seen = [world.watch.has_ipv6]  # nothing is known yet
    await world.watch.start()
    seen.append(world.watch.has_ipv6)
    for addresses in (["::1", "fe80::2"], ["2001:db8::2"], ["fe80::2", "fd00::2"], []):
        world.go(HOME, "192.168.1.2", *addresses)
        seen.append(world.watch.has_ipv6)
    assert seen == [True, False, False, True, True, False]
    world.close()


async def test_an_address_that_goes_is_told_on_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    await world.watch.start()
    world.go(HOME, "192.168.1.2", "10.9.0.2")
    (moved,) = world.go(HOME, "192.168.1.2")
    assert (moved.before, moved.lost_addresses) == (moved.after, frozenset({ipaddress.ip_address("10.9.0.2")}))
    world.close()


@pytest.mark.parametrize(
    ("way", "left"),
    [
        ([CAFE], OURS),
        ([None, CAFE], OURS),
        ([VAGUE, CAFE], OURS),  # a router that says only later who it is
        ([VAGUE, HOME], None),
        ([None, HOME], None),
        ([OFFICE], None),  # the address says it
        ([None], None),
    ],
    ids=["another", "another, after none", "another, vague at first", "vague", "none", "other address", "lost"],
)
async def test_the_same_address_elsewhere(
    monkeypatch: pytest.MonkeyPatch, way: list[UplinkFacts | None], left: IPAddress | None
) -> None:
    world = World(monkeypatch)
    await world.watch.start()
    moves = [moved for uplink in way for moved in world.go(uplink)]
    assert [moved.reused_address for moved in moves if moved.reused_address is not None] == ([left] if left else [])
    world.close()


async def test_a_router_that_the_kernel_forgot_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    await world.watch.start()
    assert world.go(UplinkFacts(HOME.gateway, "", HOME.prefix, source=OURS, index=HOME.index)) == []
    assert world.watch.current() == known(HOME)
    assert world.go(VAGUE) != []  # on another interface
    world.close()


async def test_a_listener_that_fails_keeps_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def fail(_: NetworkChange) -> None:
        raise ValueError("a fault")

    world.watch._listeners.insert(0, fail)
    await world.watch.start()
    assert len(world.go(OFFICE)) == 1
    assert len(faults) == 1
    world.close()


async def test_where_no_kernel_tells_it_looks_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_watch, "_POLL_S", 0.01)
    source = [OURS]
    monkeypatch.setattr(network_watch, "source_address_for", lambda _: source[0])
    world = World(monkeypatch, kernel_tells=False)
    await world.watch.start()
    world.uplink = OFFICE
    source[0] = ipaddress.ip_address("10.1.0.2")
    await until(lambda: world.watch.current() == known(OFFICE))
    world.uplink = HOME  # with the same address: seen when all is read again
    await until(lambda: world.watch.current() == known(HOME))
    monkeypatch.setattr(network_watch, "_POLL_S", 600)
    world.uplink = OFFICE
    world.watch.read_now()
    await until(lambda: world.watch.current() == known(OFFICE))
    world.close()


def test_until_the_start_it_is_read_again_after_two_seconds() -> None:
    clock = Clock()
    uplinks = [HOME]
    watch = NetworkWatch(KEY, read=lambda: uplinks[0], clock=clock)
    assert watch.current() == known(HOME)
    uplinks[0] = OFFICE
    clock.advance(1.9)
    assert watch.current() == known(HOME)
    clock.advance(0.2)
    assert watch.current() == known(OFFICE)
    watch.close()


async def test_without_a_network_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, uplink=None)
    await world.watch.start()
    assert world.watch.current() == UNKNOWN_NETWORK
    world.close()


# -- what the kernel tells ---------------------------------------------------------------------------------------------


async def test_news_make_it_look(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    await world.watch.start()
    world.uplink = OFFICE
    world.tell(netlink.RTM_NEWROUTE, bytes(12))
    await until(lambda: world.watch.current() == known(OFFICE))
    world.close()


async def test_of_neighbours_only_the_router_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    looks = 0

    def read() -> UplinkFacts:
        nonlocal looks
        looks += 1
        return HOME

    monkeypatch.setattr(world.watch, "_read", read)
    await world.watch.start()
    before = looks
    world.tell_of_neighbour("192.168.1.77")
    world.watch._on_kernel_event()
    assert world.watch._timer is None
    world.tell_of_neighbour("192.168.1.1")
    await until(lambda: looks > before)
    world.close()


async def test_more_news_than_there_is_room_for_are_news(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)

    class Full(socket.socket):
        def recv(self, *_: Any) -> bytes:
            raise OSError(errno.ENOBUFS, "No buffer space available")

    with Full() as full:
        monkeypatch.setattr(netlink, "open_event_socket", lambda: full)
        await world.watch.start()
        world.uplink = OFFICE
        world.watch._on_kernel_event()
        await until(lambda: world.watch.current() == known(OFFICE))
        world.close()


async def test_a_router_that_never_says_who_it_is_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[UplinkFacts] = []
    monkeypatch.setattr(network_watch, "_trigger_neighbour_discovery", said.append)
    stranger = UplinkFacts("192.168.1.1", "", "192.168.1.0/24", source=OURS, index=4, router_is_discoverable=True)
    world = World(monkeypatch, uplink=stranger)
    await world.watch.start()
    assert world.watch.current() == known(stranger)
    world.go(stranger)
    assert said == [stranger]  # asked once
    world.close()


# -- which connections are lost ----------------------------------------------------------------------------------------


class Connection(socket.socket):
    """Says that it is between these addresses."""

    def __init__(self, local: str, remote: str) -> None:
        super().__init__()
        self._ends = local, remote

    def getsockname(self) -> tuple[str, int]:
        return (self._ends[0], 1)

    def getpeername(self) -> tuple[str, int]:
        return (self._ends[1], 1)


A, B = network_id(HOME, KEY), network_id(OFFICE, KEY)
CASES: dict[str, tuple[NetworkChange, Connection, str | None, bool]] = {
    # what: (what changed, the connection, whence its packets would now leave, whether it is lost)
    "address gone": (
        NetworkChange(A, A, frozenset({OURS})),
        Connection("192.168.1.2", "203.0.113.1"),
        "192.168.1.2",
        True,
    ),
    "another address gone": (
        NetworkChange(A, A, frozenset({OURS})),
        Connection("10.9.0.2", "203.0.113.1"),
        "10.0.0.1",
        False,
    ),
    "same address elsewhere": (
        NetworkChange(A, B, reused_address=OURS),
        Connection("192.168.1.2", "203.0.113.1"),
        "192.168.1.2",
        True,
    ),
    "another way": (NetworkChange(A, B), Connection("192.168.1.2", "203.0.113.1"), "10.1.0.2", True),
    "the same way": (NetworkChange(A, B), Connection("192.168.1.2", "192.168.1.9"), "192.168.1.2", False),
    "no way for now": (NetworkChange(A, UNKNOWN_NETWORK), Connection("192.168.1.2", "203.0.113.1"), None, False),
    "this computer": (
        NetworkChange(A, B, reused_address=OURS),
        Connection("127.0.0.1", "127.0.0.1"),
        "127.0.0.1",
        False,
    ),
    "IPv6": (NetworkChange(A, B), Connection("2001:db8::2", "2001:db8:9::1"), "2001:db8:1::2", True),
}


@pytest.mark.parametrize(("moved", "connection", "now_from", "lost"), CASES.values(), ids=CASES)
def test_what_is_lost(
    monkeypatch: pytest.MonkeyPatch, moved: NetworkChange, connection: Connection, now_from: str | None, lost: bool
) -> None:
    source = None if now_from is None else ipaddress.ip_address(now_from)
    monkeypatch.setattr(network_watch, "source_address_for", lambda _: source)
    with connection:
        assert moved.orphans(connection) is lost


def test_two_networks_that_cannot_be_told_apart_may_be_two() -> None:
    gone = frozenset({OURS})
    moves = ((A, A), (A, B), (UNKNOWN_NETWORK, UNKNOWN_NETWORK))
    assert [NetworkChange(*ends, gone).is_elsewhere for ends in moves] == [
        False, True, True,
    ]  # fmt: skip


def test_what_is_no_connection_is_not_lost() -> None:
    near, far = tcp_pair()
    assert connection_ends(near) == (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("127.0.0.1"))
    near.close()
    far.close()
    assert connection_ends(near) is None
    assert not NetworkChange(A, B).orphans(near)
    first, second = socket.socketpair()
    with first, second:
        assert connection_ends(first) is None


def test_our_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    local, foreign = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("203.0.113.200")
    assert source_address_for(local) == local
    assert is_own_address(local)
    assert not is_own_address(foreign)
    monkeypatch.setattr(netlink, "Netlink", _refuse)
    found = read_own_addresses(frozenset({local, foreign}))
    assert local in found
    assert foreign not in found


def test_where_there_is_no_way_there_is_no_source() -> None:
    assert source_address_for(ipaddress.ip_address("255.255.255.255")) is None
