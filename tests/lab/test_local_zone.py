"""Names of a local zone that do not look local: only the network's own resolver knows them, with private addresses.

A search list has their suffix, or encrypted DNS knows no such name. A relay would open the device of its own network
with that name. A name that exists elsewhere differs: there a private answer is a sign of DNS tampering.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.lab import places
from tests.lab.country import RELAY, Country, Running
from tests.lab.name_servers import Addresses, Answer, Said

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

SEARCHED, ZONE, HOME = "db.office.test", "box.zone.test", "nas.localdomain"
IN_FILES = "mapped.hosts.test"
CENSORED = "censored.test"
SURVEY = ("test", "--jitter", "0", "-c", "11")
"""All sites at once."""
RESOLV = f"nameserver {places.PROVIDER_RESOLVER}\noptions timeout:2 attempts:1\nsearch office.test\n"


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
async def test_no_relay_hears_of_a_local_zone(folder: Path, secure: bool) -> None:
    """This holds on the first visit and on later ones, also beside another; then for `why` and `test`."""
    async with Country(folder) as country:
        for name in (SEARCHED, ZONE, HOME, CENSORED):
            country.provider.lies[name] = Addresses((places.BOGON,))
        site = country.add_site(CENSORED)
        country.client.put_file("/etc/resolv.conf", RESOLV.encode())
        settings = country.config(detect="syn_s = 2.0\n").replace("[auto]", "[limits]\nconnect_timeout_s = 2.5\n[auto]")
        async with country.byway(folder / "byway", config=settings) as byway:
            visitor, scheme = country.visitor(byway), "https" if secure else "http"
            for _ in range(2):
                seen = await asyncio.gather(
                    *(visitor.visit(f"{scheme}://{name}/") for name in (SEARCHED, ZONE, HOME) for _ in range(2))
                )
                assert not any(visit.genuine for visit in seen)
            await measure(byway, (SEARCHED, ZONE, HOME))
            surveyed = await byway.command(*SURVEY, SEARCHED, ZONE, HOME, check=False)
            assert "3 of 3 sites" in surveyed.stderr
            told = await byway.read("site", "list")
            opened = await visitor.visit(site.url(secure=secure))
    hosts = {asked.rpartition(":")[0] for asked in country.relay.asked}
    assert hosts.isdisjoint({SEARCHED, ZONE, HOME}), hosts
    assert opened.genuine, "the control: a private answer for a public name is rescued"
    assert {row["words"] for row in told["sites"]} <= {"not reachable on this network", "not tested"}


async def measure(byway: Running, names: Collection[str]) -> None:
    """Asks what `byway why` asks, for all names at once and without a process for each."""

    async def one(api: aiohttp.ClientSession, name: str) -> None:
        async with api.post("/v1/why", json={"site": name, "fresh": False}) as answer:
            assert answer.status == 200, await answer.text()
            assert json.loads((await answer.read()).splitlines()[-1])["verdict"]["words"]

    async with byway.api() as api:
        await asyncio.gather(*(one(api, name) for name in names))


WAYS = {
    "why": ("why",),
    "fresh": ("why", "--fresh"),
    "test": SURVEY,
    "relay": (*SURVEY, "--routes", RELAY),
}
"""The commands that measure a site."""


@pytest.mark.parametrize("way", WAYS)
async def test_a_measurement_before_any_visit_asks_the_network_first(folder: Path, way: str) -> None:
    """The network's resolver answers late; a relay would long have received a request by then."""
    here = {SEARCHED, ZONE, "www.office.test", IN_FILES}
    async with Country(folder) as country:
        country.provider_resolver.delay_s = 0.5
        site = country.add_site(CENSORED)
        for name in (SEARCHED, ZONE, "www.office.test", CENSORED):
            country.provider.lies[name] = Addresses((places.BOGON,))
        country.client.put_file("/etc/resolv.conf", RESOLV.encode())
        country.client.put_file("/etc/hosts", f"127.0.0.1 localhost\n10.20.30.40 {IN_FILES}\n".encode())
        settings = country.config(detect="syn_s = 2.0\n").replace("[auto]", "[limits]\nconnect_timeout_s = 2.5\n[auto]")
        async with country.byway(folder / "byway", config=settings) as byway:

            async def each(*words: str) -> dict[str, subprocess.CompletedProcess[str]]:
                done = await asyncio.gather(*(byway.command(*words, name, check=False) for name in here))
                return dict(zip(here, done, strict=True))

            first = await each(*WAYS[way])
            rescued = await byway.command(*WAYS[way], site.url(), check=False)
            told = await each("why", "--fresh")
    hosts = {asked.rpartition(":")[0] for asked in country.relay.asked}
    assert hosts == {CENSORED}, "the control: a private answer for a public name, which a relay brings"
    assert "blocked" in rescued.stdout or way == "relay", rescued.stdout
    for name in here:
        said = (first[name].stdout if way != "relay" else "") + told[name].stdout
        assert "blocked" not in said, said
        assert "not reachable on this network" in said or "not tested" in said, said


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


@pytest.mark.parametrize(
    ("way", "allow", "delay_s"),
    [
        ("visit", (), 0.0), ("visit", ALLOWED_HERE, 0.0), ("visit", (), 2.0),
        ("why", ALLOWED_HERE, 0.0), ("why", (), 2.0), ("test", (), 0.0),  # these two measure alike
    ],
)  # fmt: skip
async def test_no_relay_hears_of_a_name_with_a_private_address(
    folder: Path, way: str, allow: Sequence[str], delay_s: float
) -> None:
    """This holds for the first visit and the first measurement too, also where the user permits such addresses, and
    where the network's resolver answers after another route is due."""
    async with Country(folder) as country:
        country.provider_resolver.delay_s = delay_s
        for name, (here, elsewhere) in AT_HOME.items():
            if here is not None:
                country.provider.lies[name] = here
            if elsewhere is not None:
                country.zone.names[name] = elsewhere
        site = country.add_site(CENSORED)
        country.provider.lies[CENSORED] = Addresses((places.BOGON,))
        country.client.put_file("/etc/resolv.conf", RESOLV.encode())
        settings = country.config(detect="syn_s = 2.0\n").replace("[auto]", "[limits]\nconnect_timeout_s = 2.5\n[auto]")
        arguments = [text for prefix in allow for text in ("--allow", prefix)]
        async with country.byway(folder / "byway", config=settings, arguments=arguments) as byway:
            visitor = country.visitor(byway)
            for _ in range(2):
                if way == "visit":
                    await asyncio.gather(*(visitor.visit(f"https://{name}/") for name in AT_HOME))
                elif way == "why":
                    await measure(byway, AT_HOME)
                else:
                    surveyed = await byway.command(*SURVEY, *AT_HOME, check=False)
                    assert "11 of 11 sites" in surveyed.stderr
            told = await byway.read("site", "list")
            opened = await visitor.visit(site.url())
    hosts = {asked.rpartition(":")[0] for asked in country.relay.asked}
    assert hosts.isdisjoint(AT_HOME), hosts
    assert opened.genuine, "the control: a private answer for a public name is rescued"
    assert {row["words"] for row in told["sites"]} <= {"not reachable on this network", "not tested"}, told
