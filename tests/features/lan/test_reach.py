"""What guests may reach: the guard, the dialers under it, and the servers of relays."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.features.lan import reach
from proxy.features.lan.guests import GuestSetups
from proxy.features.lan.reach import GuardedRelay, GuestGuard
from proxy.features.lan.relay_servers import RelayServers
from proxy.model import Destination, IPAddress, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.stream import Stream
from proxy.routing.address_guard import Guard
from proxy.session.setup import Setup
from tests.support.configured import Maker, making
from tests.support.rows import each_row

OWN_PUBLIC = ipaddress.ip_address("45.33.32.9")
OURS = (OWN_PUBLIC, ipaddress.ip_address("2600:3c00::9"))

RELAYS = """
[[relay]]
name = "named"
url = "https://relay.example:443?alt=45.33.32.80:443"
[[relay]]
name = "off"
url = "socks5h://45.33.32.81:1080"
enabled = false
[[relay]]
name = "chain"
url = "named>socks5h://second.example:1080"
"""


class Lookup:
    """Resolves names from a table, and notes them. `known` has the names that a dial has resolved."""

    def __init__(self, table: dict[str, str]) -> None:
        self.table = table
        self.asked: list[str] = []
        self.known: set[str] = set()

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        self.asked.append(host)
        if host not in self.table:
            raise DialError("no answer", stage=Stage.RESOLVE, symptom=Symptom.SKIPPED)
        return (ipaddress.ip_address(self.table[host]),)

    def cached(self, host: str) -> tuple[IPAddress, ...] | None:
        return (ipaddress.ip_address(self.table[host]),) if host in self.known else None


@pytest.fixture
async def maker(tmp_path: Path) -> AsyncIterator[Maker]:
    async with making(tmp_path) as maker:
        yield maker


@pytest.fixture
def setup(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(reach, "source_address_for", lambda address: address if address in OURS else None)
    maker.write(f'[safety]\nallow = ["127.0.0.1:*", "192.168.0.0/16", "relay.example"]\n{RELAYS}')
    return maker.make()


def guard_of(setup: Setup, lookup: Lookup | None = None) -> tuple[GuestGuard, RelayServers]:
    servers = RelayServers(setup, cast(Any, lookup))
    return GuestGuard(setup.guard, servers), servers


REFUSED = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.7.1", "192.168.255.255", "100.64.0.1"),
    *("169.254.1.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "0.1.2.3"),
    *("192.0.2.1", "198.18.0.1", "203.0.113.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "fd00::1", "ff02::1"),
    *("2001:db8::1", "::ffff:127.0.0.1", "::ffff:192.168.7.1", "64:ff9b::192.168.7.1", "64:ff9b::7f00:1"),
    *("2002:c0a8:701::1", "2002:7f00:1::1", "::192.168.7.1", "2001:0:4136:e378:8000:63bf:3f57:f8fe"),
    *("45.33.32.9", "::ffff:45.33.32.9", "64:ff9b::45.33.32.9", "2600:3c00::9"),  # this computer
    *("45.33.32.80", "45.33.32.81", "::ffff:45.33.32.80", "64:ff9b::45.33.32.81", "2002:2d21:2051::1"),  # relays
)


@each_row("address", REFUSED)
@pytest.mark.parametrize("named", [False, True])
def test_no_address_but_a_public_one_is_reached_by_name_or_literal(setup: Setup, named: bool, address: str) -> None:
    guard, _ = guard_of(setup)
    parsed = ipaddress.ip_address(address)
    destination = Destination("site.example" if named else str(parsed), 443)
    assert guard.refuse_address(destination, parsed)
    assert guard.judge_address(destination, parsed)[1] is False  # so it is asked again for each dial
    if not named:
        assert guard.refuse_host(destination)


@each_row("address", ("45.33.32.7", "8.8.8.8", "2600:3c00::7", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"))
def test_public_addresses_are_reached(setup: Setup, address: str) -> None:
    guard, _ = guard_of(setup)
    assert guard.refuse_address(Destination("site.example", 443), ipaddress.ip_address(address)) is None


@each_row(
    "host",
    (
        *("localhost", "a.localhost", "printer", "printer.local", "nas.lan", "nas.home.arpa", "router.internal"),
        *("relay.example", "second.example"),  # servers of relays, also of a later one in a chain
    ),
)
def test_names_of_the_home_and_of_relays_are_refused_on_every_route(setup: Setup, host: str) -> None:
    guard, _ = guard_of(setup)
    assert guard.refuse_host(Destination(host, 443))
    assert guard.refuse_host(Destination("site.example", 443)) is None


async def test_the_address_behind_the_name_of_a_relay_is_learned_and_refused(setup: Setup) -> None:
    lookup = Lookup({"relay.example": "45.33.32.82"})
    guard, servers = guard_of(setup, lookup)
    site, its = Destination("innocent.example", 443), ipaddress.ip_address("45.33.32.82")
    assert guard.refuse_address(site, its) is None
    await servers.learn()
    await servers.learn()  # asked once
    assert lookup.asked == ["relay.example"]
    assert guard.refuse_address(site, its)
    assert guard.refuse_address(site, ipaddress.ip_address("::ffff:45.33.32.82"))


async def test_the_address_with_which_a_relay_was_dialed_is_refused(setup: Setup) -> None:
    lookup = Lookup({})
    guard, servers = guard_of(setup, lookup)
    await servers.learn()  # nobody answers
    lookup.table["relay.example"] = "45.33.32.83"
    lookup.known.add("relay.example")
    assert guard.refuse_address(Destination("innocent.example", 443), ipaddress.ip_address("45.33.32.83"))


# -- through a relay ---------------------------------------------------------------------------------------------------


class Relay:
    """A relay that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Destination] = []

    async def dial(self, destination: Destination) -> Stream:
        self.asked.append(destination)
        return cast(Stream, None)

    def carries(self, destination: Destination) -> bool:
        return True


def guarded(setup: Setup, table: dict[str, str] | None) -> tuple[GuardedRelay, Relay]:
    relay, (guard, _) = Relay(), guard_of(setup)
    if table is None:
        return GuardedRelay(relay, guard.refuse_address, None), relay
    lookup = Lookup(table)
    return GuardedRelay(relay, guard.refuse_address, lambda _dialer: lambda each: lookup.resolve(each.host)), relay


async def test_a_relay_gets_the_address_that_was_checked(setup: Setup) -> None:
    dialer, relay = guarded(setup, {"site.example": "45.33.32.7"})
    await dialer.dial(Destination("site.example", 443))
    await dialer.dial(Destination("45.33.32.7", 80))
    assert relay.asked == [Destination("45.33.32.7", 443), Destination("45.33.32.7", 80)]


@each_row("address", ("127.0.0.1", "192.168.7.1", "::ffff:10.0.0.1", "45.33.32.80", "45.33.32.9", "fe80::1"))
async def test_a_name_leads_nowhere_else_behind_a_relay(setup: Setup, address: str) -> None:
    dialer, relay = guarded(setup, {"site.example": address})
    for host in ("site.example", str(ipaddress.ip_address(address))):
        with pytest.raises(DialError) as refused:
            await dialer.dial(Destination(host, 443))
        assert refused.value.symptom is Symptom.FORBIDDEN
    assert relay.asked == []


async def test_a_name_that_cannot_be_checked_is_not_sent(setup: Setup) -> None:
    for dialer, relay in (guarded(setup, None), guarded(setup, {})):
        with pytest.raises(DialError):
            await dialer.dial(Destination("site.example", 443))
        assert relay.asked == []


async def test_every_route_of_a_setup_is_guarded(setup: Setup) -> None:
    guests = GuestSetups(lambda: setup).get()
    routes = [Route((), wrap) for wrap in ((), ("tlsrec",), ("doh",))]
    for route in (*routes, Route(("named",)), Route(("named",), ("split",))):
        for host in ("192.168.7.1", "127.0.0.1", "45.33.32.80"):
            with pytest.raises(DialError) as refused:
                await guests.registry.dialer(route).dial(Destination(host, 443))
            assert refused.value.symptom in (Symptom.FORBIDDEN, Symptom.SKIPPED), (route, host)
    assert isinstance(setup.guard, Guard)
    assert not isinstance(setup.guard, GuestGuard)  # this computer's own
    assert setup.guard.refuse_address(Destination("192.168.7.1", 80), ipaddress.ip_address("192.168.7.1")) is None


async def test_guests_are_guarded_where_programs_are_named(maker: Maker, setup: Setup) -> None:
    maker.write(f'[listen]\nprograms = ["/bin/cat"]\n{RELAYS}')
    made = maker.make()
    guests = GuestSetups(lambda: made).get()
    assert guests.named is not None
    direct = guests.named.terms(guests.guard).direct
    for host in ("192.168.7.1", "127.0.0.1", "45.33.32.80", "45.33.32.9"):
        with pytest.raises(DialError) as refused:
            await cast(Any, direct).dial(Destination(host, 443))
        assert refused.value.symptom is Symptom.FORBIDDEN


async def test_the_setup_for_guests_follows_the_one_in_use(maker: Maker, setup: Setup) -> None:
    in_use = [setup]
    setups = GuestSetups(lambda: in_use[0])
    first = setups.get()
    assert setups.get() is first
    maker.write("")
    in_use[0] = maker.make()
    assert setups.get() is not first
    assert not setups.servers.names("relay.example")
