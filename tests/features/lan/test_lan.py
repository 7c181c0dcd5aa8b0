"""When devices are served, and when that ends, without a network."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Interface
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.schema import Lan as LanSettings
from proxy.config.schema import Settings
from proxy.features.lan import interface, listener
from proxy.features.lan.admission import GUESTS_MAX, Admission
from proxy.features.lan.interface import Interface, parse_device
from proxy.features.lan.lan import BY_USER, Lan, LanRefused, OnFor
from proxy.model import UNKNOWN_NETWORK, NetworkId
from tests.support.rows import each_row
from tests.support.waiting import until

HOME = Interface("wlan0", 3, IPv4Interface("192.168.7.2/24"))
ID = NetworkId("0123456789abcdef")


class Parts(SimpleNamespace):
    """The parts of a Byway on a network."""

    network_now: NetworkId

    def network(self) -> NetworkId:
        return self.network_now


def parts() -> Parts:
    return Parts(
        settings=Settings(networks={"home": ID, "cafe": "f" * 16}, lan=LanSettings(only_on=("home",))),
        network_now=ID,
        server=SimpleNamespace(fileno=lambda: 5),
    )


class World:
    def __init__(self) -> None:
        self.parts, self.time = parts(), 100.0
        self.lan = Lan(cast(Any, self.parts), lambda *_: None, lambda: self.time)
        self.on = OnFor(HOME, ID, "home", 200.0, cast(Any, None), cast(Any, None))

    async def reason(self, slept_s: float = 0.0) -> str:
        return str(await self.lan._reason_to_end(self.on, slept_s))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(interface, "is_ours", lambda _: True)
    return World()


async def test_it_goes_on_while_nothing_changes(world: World) -> None:
    assert await world.reason() == "None"
    world.time = 199.9
    assert await world.reason(0.5) == "None"


async def test_it_ends_when_its_time_is_over(world: World) -> None:
    world.time = 200.0
    assert "time was over" in await world.reason()


async def test_it_ends_after_a_sleep(world: World) -> None:
    assert "has slept" in await world.reason(3.0)


async def test_it_ends_on_another_network(world: World) -> None:
    for network in (UNKNOWN_NETWORK, NetworkId("f" * 16)):
        world.parts.network_now = network
        assert "has left the network home" in await world.reason()


async def test_it_ends_when_the_configuration_says_otherwise(world: World) -> None:
    for settings in (
        Settings(networks={"home": ID}),
        Settings(networks={"home": "f" * 16, "other": ID}, lan=LanSettings(only_on=("home",))),
    ):
        world.parts.settings = settings
        assert "does not name" in await world.reason()


async def test_it_ends_with_byway_and_with_the_address(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "is_ours", lambda _: False)
    assert "wlan0 has lost its address" in await world.reason()
    world.parts.server = SimpleNamespace(fileno=lambda: -1)
    assert "Byway is ending" in await world.reason()


async def test_a_network_must_be_named_in_the_setting(world: World) -> None:
    world.parts.settings = Settings(networks={"home": ID})
    with pytest.raises(LanRefused, match=r'only_on = \["home"\]'):
        await world.lan.turn_on(60)
    world.parts.settings = Settings(lan=LanSettings(only_on=("home",)))
    with pytest.raises(LanRefused, match="no name"):
        await world.lan.turn_on(60)
    world.parts.network_now = UNKNOWN_NETWORK
    world.parts.settings = Settings(networks={"home": UNKNOWN_NETWORK}, lan=LanSettings(only_on=("home",)))
    with pytest.raises(LanRefused, match="no name"):
        await world.lan.turn_on(60)


async def test_where_the_system_tells_no_neighbours_it_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        def __init__(self) -> None:
            raise OSError("no rtnetlink")

    monkeypatch.setattr(interface, "Netlink", Closed)
    with pytest.raises(LanRefused, match="Linux only"):
        await world.lan.turn_on(60)
    assert interface.neighbours(HOME) == {}


async def test_answers_while_it_is_off_say_what_to_do(world: World) -> None:
    for answer in (world.lan.allow, world.lan.deny, world.lan.remove):
        with pytest.raises(LanRefused, match="byway lan on"):
            answer("192.168.7.10")
    world.lan.turn_off(BY_USER)
    assert world.lan.ended is None


async def test_more_devices_than_may_use_it_are_refused_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "find_interface", lambda _: HOME)
    with pytest.raises(LanRefused, match="16"):
        await world.lan.turn_on(60, "", [f"192.168.7.{number}" for number in range(10, 11 + GUESTS_MAX)])
    assert world.lan.on is None


@each_row(
    "text",
    (
        *("fe80::1%text", "fe80::1%eth0", "::ffff:192.168.7.10", "192.168.7.2", "192.168.7.0", "192.168.7.255"),
        *(
            "192.168.8.10",
            "127.0.0.1",
            "0.0.0.0",
            "8.8.8.8",
            "phone",
            "",
            "192.168.7.10/24",
            "192.168.7.010",
            "1" * 400,
        ),
    ),
)
def test_what_is_no_device_of_the_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_device(text, HOME)


def test_a_device_of_the_network_is_taken() -> None:
    assert parse_device(" 192.168.7.10 ", HOME) == IPv4Address("192.168.7.10")


async def test_a_shortage_of_descriptors_is_waited_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [errno.EMFILE] * 3 + [errno.ECONNABORTED]

    async def short(sock: socket.socket) -> Any:
        if failures:
            raise OSError(failures.pop(0), "no")
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", short)
    monkeypatch.setattr(listener, "_PAUSE_S", 0.001)
    async with listening() as (made, address):
        reader, writer = await asyncio.open_connection(*address)
        await until(lambda: bool(made.admission.waiting))
        assert caplog.text.count("not accepting devices") == 1
        made.admission.deny(IPv4Address("127.0.0.1"))
        made.on_answered()
        assert await reader.read() == b""
        writer.close()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[listener.Listener, Any]]:
    """A listener on loopback, for which 127.0.0.1 is another device. In the end it is closed, and all of its tasks."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        made = listener.Listener(
            sock.dup(),
            Interface("lo", 1, IPv4Interface("127.0.0.2/8")),
            Admission(),
            cast(Any, None),
            neighbours=lambda: {IPv4Address("127.0.0.1"): "02"},
            prepare=cast(Any, None),
        )
        made.start(cast(Any, SimpleNamespace(open_connections=SimpleNamespace(entries={}))))
        yield made, sock.getsockname()
        made.close()
        await until(lambda: not made._serving)


async def test_nobody_waits_longer_than_the_listener_lives() -> None:
    """A connection that waits is closed with the listener, also one whose task has not begun."""
    async with listening() as (made, address):
        clients = [await asyncio.open_connection(*address) for _ in range(6)]
        await until(lambda: len(made._serving) == listener.WAITING_CONNECTIONS_MAX and bool(made.admission.waiting))
    for reader, writer in clients:
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
