"""Names of a local zone that do not look local: only the network's own resolver knows them, with private addresses.

A search list has their suffix, or encrypted DNS knows no such name. A relay would open the device of its own network
with that name. A name that exists elsewhere differs: there a private answer is a sign of DNS tampering.

Stories with the same resolver share a country. Each has a Byway of its own there, and a relay that nobody else asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.lab import places
from tests.lab.country import RELAY, Country, Running, Site
from tests.lab.name_servers import Addresses, Answer, Said
from tests.lab.relays import Relay
from tests.support.at_once import all_of

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

SEARCHED, ZONE, HOME = "db.office.test", "box.zone.test", "nas.localdomain"
IN_FILES = "mapped.hosts.test"
CENSORED = "censored.test"
SURVEY = ("test", "--jitter", "0", "-c", "11")
"""All sites at once."""
RESOLV = f"nameserver {places.PROVIDER_RESOLVER}\noptions timeout:2 attempts:1\nsearch office.test\n"


NOT_HERE = ("not reachable on this network", "not tested")
"""The words for a device that is not there, of a network that has its name."""

PRIVATE, CARRIER, UNIQUE = Addresses(("192.168.5.5",)), Addresses(("100.70.1.1",)), Addresses((), ("fd00::5",))
ALLOWED_HERE = ("192.168.0.0/16", "10.0.0.0/8", "100.64.0.0/10", "fc00::/7")
AT_HOME: Mapping[str, tuple[Answer | None, Answer | None]] = {
    "device.test": (PRIVATE, PRIVATE),
    "hidden.test": (Said.NO_SUCH_NAME, PRIVATE),
    "empty.test": (Addresses(), PRIVATE),
    "zero.test": (Addresses(("0.0.0.0",)), PRIVATE),
    "refused.test": (Said.REFUSED, PRIVATE),
    "silent.test": (Said.NOTHING, PRIVATE),
    "parent.test": (PRIVATE, Addresses()),
    "carrier.test": (CARRIER, None),
    "unique.test": (UNIQUE, None),
    "translated.test": (Addresses((), ("64:ff9b::a00:5",)), None),
    "host.office.test": (PRIVATE, None),
}
"""The answers of this network's resolver and of encrypted DNS; None: there is no such name. These are devices with a
name that leads to a private address everywhere (also where a router hides that), and names that only this network
has."""


class Network:
    """A network with local names, for several Byways at once."""

    def __init__(self, country: Country) -> None:
        self.country = country
        self.censored: Site = country.add_site(CENSORED)
        self._relays: Iterator[str] = (f"192.0.2.{number}" for number in itertools.count(140))

    @contextlib.asynccontextmanager
    async def byway(self, *, allow: Sequence[str] = ()) -> AsyncIterator[tuple[Running, Relay]]:
        """Yields a new Byway, and its relay."""
        country, address = self.country, next(self._relays)
        relay = Relay(country.relay_space.socket, country.zone.truth, (address, places.SOCKS_PORT), source=address)
        settings = country.config(
            detect="syn_s = 2.0\n",
            extra="[limits]\nconnect_timeout_s = 2.5\n",
            relays=[(RELAY, f"socks5h://{address}:{places.SOCKS_PORT}")],
        )
        arguments = [text for prefix in allow for text in ("--allow", prefix)]
        async with (
            relay,
            country.byway(country.folder / address, config=settings, arguments=arguments) as byway,
        ):
            yield byway, relay


@contextlib.asynccontextmanager
async def network(folder: Path, *, delay_s: float = 0.0) -> AsyncIterator[Network]:
    """Yields one whose resolver answers after so long."""
    async with Country(folder) as country:
        country.provider_resolver.delay_s = delay_s
        for name in (SEARCHED, ZONE, HOME, "www.office.test", CENSORED):
            country.provider.lies[name] = Addresses((places.BOGON,))
        for name, (here, elsewhere) in AT_HOME.items():
            if here is not None:
                country.provider.lies[name] = here
            if elsewhere is not None:
                country.zone.names[name] = elsewhere
        country.client.put_file("/etc/resolv.conf", RESOLV.encode())
        country.client.put_file("/etc/hosts", f"127.0.0.1 localhost\n10.20.30.40 {IN_FILES}\n".encode())
        yield Network(country)


def asked(relay: Relay) -> set[str]:
    """Returns the hosts that the relay was asked for."""
    return {request.rpartition(":")[0] for request in relay.asked}


async def measure(byway: Running, names: Collection[str], *, fresh: bool = False) -> list[str]:
    """Asks what `byway why` asks, for all names at once and without a process for each. Returns the words."""

    async def one(api: aiohttp.ClientSession, name: str) -> str:
        async with api.post("/v1/why", json={"site": name, "fresh": fresh}) as answer:
            assert answer.status == 200, await answer.text()
            return str(json.loads((await answer.read()).splitlines()[-1])["verdict"]["words"])

    async with byway.api() as api:
        return await asyncio.gather(*(one(api, name) for name in names))


# -- visits and measurements -------------------------------------------------------------------------------------------


async def no_relay_hears_of_a_local_zone(here: Network, *, secure: bool) -> None:
    """This holds on the first visit and on later ones, also beside another; then for `why` and `test`."""
    names = (SEARCHED, ZONE, HOME)
    async with here.byway() as (byway, relay):
        visitor, scheme = here.country.visitor(byway), "https" if secure else "http"
        for _ in range(2):
            seen = await asyncio.gather(*(visitor.visit(f"{scheme}://{name}/") for name in names for _ in range(2)))
            assert not any(visit.genuine for visit in seen)
        assert all(await measure(byway, names))
        surveyed = await byway.command(*SURVEY, *names, check=False)
        assert "3 of 3 sites" in surveyed.stderr
        told = await byway.read("site", "list")
        opened = await visitor.visit(here.censored.url(secure=secure))
    assert asked(relay).isdisjoint(names), relay.asked
    assert opened.genuine, "the control: a private answer for a public name is rescued"
    assert {row["words"] for row in told["sites"]} <= {*NOT_HERE}, told


async def no_relay_hears_of_a_name_with_a_private_address(
    here: Network, way: str, *, allow: Sequence[str] = ()
) -> None:
    """This holds for the first visit and the first measurement too."""
    async with here.byway(allow=allow) as (byway, relay):
        visitor = here.country.visitor(byway)
        for _ in range(2):
            if way == "visit":
                await asyncio.gather(*(visitor.visit(f"https://{name}/") for name in AT_HOME))
            elif way == "why":
                assert all(await measure(byway, AT_HOME))
            else:
                surveyed = await byway.command(*SURVEY, *AT_HOME, check=False)
                assert "11 of 11 sites" in surveyed.stderr
        told = await byway.read("site", "list")
        opened = await visitor.visit(here.censored.url())
    assert asked(relay).isdisjoint(AT_HOME), relay.asked
    assert opened.genuine, "the control: a private answer for a public name is rescued"
    assert {row["words"] for row in told["sites"]} <= {*NOT_HERE}, told


async def test_no_relay_hears_of_the_names_of_a_network(folder: Path) -> None:
    """Also where the user permits private addresses."""
    async with network(folder) as here:
        await all_of(
            {
                "a local zone, by https": no_relay_hears_of_a_local_zone(here, secure=True),
                "a local zone, by http": no_relay_hears_of_a_local_zone(here, secure=False),
                "visits": no_relay_hears_of_a_name_with_a_private_address(here, "visit"),
                "visits, permitted": no_relay_hears_of_a_name_with_a_private_address(here, "visit", allow=ALLOWED_HERE),
                "why, permitted": no_relay_hears_of_a_name_with_a_private_address(here, "why", allow=ALLOWED_HERE),
                "test": no_relay_hears_of_a_name_with_a_private_address(here, "test"),  # it measures as why does
            }
        )


async def test_nor_where_the_resolver_answers_after_another_route_is_due(folder: Path) -> None:
    async with network(folder, delay_s=2.0) as here:
        await all_of({way: no_relay_hears_of_a_name_with_a_private_address(here, way) for way in ("visit", "why")})


WAYS = {
    "why": ("why",),
    "fresh": ("why", "--fresh"),
    "test": SURVEY,
    "relay": (*SURVEY, "--routes", RELAY),
}
"""The commands that measure a site."""


async def a_measurement_asks_the_network_first(here: Network, way: str) -> None:
    names = (SEARCHED, ZONE, "www.office.test", IN_FILES)
    async with here.byway() as (byway, relay):
        first = await asyncio.gather(*(byway.command(*WAYS[way], name, check=False) for name in names))
        rescued = await byway.command(*WAYS[way], here.censored.url(), check=False)
        told = await measure(byway, names, fresh=True)
    assert asked(relay) == {CENSORED}, "the control: a private answer for a public name, which a relay brings"
    assert "blocked" in rescued.stdout or way == "relay", rescued.stdout
    assert set(told) <= {*NOT_HERE}, told
    if way != "relay":
        assert not any("blocked" in done.stdout for done in first), first


async def test_a_measurement_before_any_visit_asks_the_network_first(folder: Path) -> None:
    """The network's resolver answers late; a relay would long have received a request by then."""
    async with network(folder, delay_s=0.5) as here:
        await all_of({way: a_measurement_asks_the_network_first(here, way) for way in WAYS})
