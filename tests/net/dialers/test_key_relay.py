"""Keys without an engine. With one: tests/features/keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import cast

import pytest

from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.key_relay import AnyServer, NoEngineDialer, ServerAddresses
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.stream import Stream
from proxy.net.tasks import spawn


async def test_nothing_goes_direct_in_place_of_a_key() -> None:
    dialer = NoEngineDialer("mine")
    assert dialer.carries(Destination("blocked.test", 443))
    with pytest.raises(DialError, match="relay mine: keys need the feature keys") as caught:
        await dialer.dial(Destination("blocked.test", 443))
    assert caught.value.symptom is Symptom.RELAY_DOWN
    assert relay_fault(caught.value) is RelayFault.ENGINE


FIRST, SECOND = Destination("a.example", 443), Destination("b.example", 8443)


class Servers:
    """Servers of which some are down. Dials wait for `moment`."""

    def __init__(self, *down: Destination) -> None:
        self.down = set(down)
        self.dialed: list[Destination] = []
        self.moment: asyncio.Event | None = None

    async def dial(self, destination: Destination) -> Stream:
        self.dialed.append(destination)
        if self.moment is not None:
            await self.moment.wait()
        if destination in self.down:
            raise DialError(f"{destination} is down", stage=Stage.CONNECT, symptom=Symptom.REFUSED)
        return cast(Stream, destination)


async def test_the_alternative_of_a_key_is_dialed_where_its_server_is_down_and_then_first() -> None:
    servers = Servers(FIRST)
    any_server = AnyServer(servers, (FIRST, SECOND))
    for _ in range(2):
        await any_server.dial(FIRST)
    assert servers.dialed == [FIRST, SECOND, SECOND]
    servers.down = {SECOND}
    await any_server.dial(FIRST)
    assert servers.dialed[-2:] == [SECOND, FIRST]
    servers.down = {FIRST, SECOND}
    with pytest.raises(DialError, match=r"a\.example:443 is down"):
        await any_server.dial(FIRST)


@pytest.mark.parametrize(("waited_s", "then"), [(2.0, SECOND), (1.9, FIRST)])
async def test_a_server_that_took_too_long_is_not_dialed_first_again(
    waited_s: float, then: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose dial was cancelled after a moment is: another way has won that visit."""
    servers = Servers()
    servers.moment = asyncio.Event()
    any_server = AnyServer(servers, (FIRST, SECOND))
    now = 100.0
    monkeypatch.setattr("proxy.net.dialers.key_relay.monotonic", lambda: now)
    dial = spawn(any_server.dial(FIRST), name="dial")
    await asyncio.sleep(0)
    now += waited_s
    dial.cancel()
    await asyncio.wait([dial])
    servers.moment.set()
    await any_server.dial(FIRST)
    assert servers.dialed == [FIRST, then]


async def test_two_dials_at_once_leave_a_server_that_is_down_once() -> None:
    """The second would come back to it, and find no other."""
    servers = Servers(FIRST)
    servers.moment = asyncio.Event()
    any_server = AnyServer(servers, (FIRST, SECOND))
    dials = asyncio.gather(any_server.dial(FIRST), any_server.dial(FIRST))
    await asyncio.sleep(0)
    assert servers.dialed == [FIRST, FIRST]
    servers.moment.set()
    reached: list[object] = [*await dials]
    assert reached == [SECOND, SECOND]
    assert servers.dialed == [FIRST, FIRST, SECOND, SECOND]
    await any_server.dial(FIRST)
    assert servers.dialed[4:] == [SECOND]


class Names(AddressLookup):
    def __init__(self, **addresses: str) -> None:
        self._addresses = {host.replace("_", "."): ip_address(text) for host, text in addresses.items()}

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        if host not in self._addresses:
            raise DialError(f"{host} has no address", stage=Stage.RESOLVE, symptom=Symptom.RESOLVE_FAILED)
        return (self._addresses[host],)


async def test_the_addresses_of_a_key_over_udp_are_those_of_its_server_then_of_its_alternatives() -> None:
    endpoints = (FIRST, Destination("203.0.113.9", 443), Destination("b.example", 443))
    one, two, literal = (ip_address(f"203.0.113.{number}") for number in (1, 2, 9))
    everyone = ServerAddresses(Names(a_example="203.0.113.1", b_example="203.0.113.2"), endpoints)
    assert await everyone.resolve("a.example") == (one, literal, two)
    assert await ServerAddresses(Names(b_example="203.0.113.1"), endpoints).resolve("a.example") == (literal, one)
    with pytest.raises(DialError, match=r"a\.example has no address"):
        await ServerAddresses(Names(), (FIRST, Destination("b.example", 443))).resolve("a.example")
