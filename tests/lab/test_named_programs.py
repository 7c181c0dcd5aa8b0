"""The port for named programs alone, in a capture: what a program that is not named can make Byway send.

curl is named, and the spy is a copy of it under the same name. Every packet of the computer is seen. What is
nothing for the spy is asked of curl as well, by the same visits, and has to be there.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.lab import leaks, places, rules
from tests.lab.country import Country, Running, Site
from tests.lab.events import PacketSeen
from tests.lab.router import DISCARD
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.alone, pytest.mark.slow, pytest.mark.needs("curl")]

at_once = AtOnce(most=2)
NAMED = '[listen]\nprograms = ["curl"]\n[limits]\nresolve_keep_s = 1.0\n'
"""Names are resolved again and again, so that there are queries to see."""
RULES = "DOMAIN-SUFFIX,sealed.test,RELAY\nDOMAIN-SUFFIX,shut.test,BLOCK\nMATCH,AUTO\n"
STRICT = "MATCH,RELAY\n"
LIMIT_S = 20
_RELAYS = tuple(ip_network(prefix) for prefix in (places.RELAYS, places.RELAYS6))
DOORS = {
    "https by CONNECT": ("https", "--proxy", "http://"),
    "http": ("http", "--proxy", "http://"),
    "http by CONNECT": ("http", "--proxytunnel", "--proxy", "http://"),
    "https by SOCKS5": ("https", "--proxy", "socks5h://"),
    "https by SOCKS4a": ("https", "--proxy", "socks4a://"),
}


@dataclass(frozen=True)
class Program:
    """A curl at the computer of the person."""

    country: Country
    byway: Running
    path: str

    async def open(self, site: Site, door: str) -> bool:
        """Returns whether the site itself answered."""
        scheme, *options, by = DOORS[door]
        page = await self.run("--noproxy", "", *options, f"{by}127.0.0.1:{self.byway.port}", f"{scheme}://{site.name}/")
        return f"{site.name} says hello".encode() in page

    async def run(self, *arguments: str) -> bytes:
        """Returns what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(*self.country.client.entering, self.path, "--silent", "--disable"),
            *("--max-time", str(LIMIT_S), "--cacert", str(self.country.trust_file()), *arguments),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        out, _ = await process.communicate()
        return out

    async def open_all(self, sites: Iterable[Site], doors: Iterable[str] = DOORS) -> dict[tuple[str, str], bool]:
        """Opens each site by each door, at once."""
        asked = [(site, door) for site in sites for door in doors]
        came = await asyncio.gather(*(self.open(site, door) for site, door in asked))
        return {(site.name, door): it for (site, door), it in zip(asked, came, strict=True)}


def to_relays(country: Country, since: float) -> list[PacketSeen]:
    """Returns the packets that the computer sent to any relay."""
    return [
        seen
        for seen in country.router.events.packets(since=since)
        if any(ip_address(seen.packet.target) in network for network in _RELAYS)
    ]


def anything(country: Country, since: float) -> list[PacketSeen]:
    """Returns all packets of the computer but those of `caught_up`."""
    packets = [seen for kind in ("tcp", "udp") for seen in country.router.events.packets(protocol=kind, since=since)]
    return [seen for seen in packets if (seen.packet.target, seen.packet.dport) != (places.PORTAL, DISCARD)]


def about(country: Country, sites: Iterable[Site], since: float) -> list[str]:
    """Returns everything about these sites that left the computer, also towards relays."""
    events, found = country.router.events, list[str]()
    for site in sites:
        found += leaks.beside_relays(events, site, since=since)
        found += [
            f"named {seen.name} to {seen.target}" for seen in events.names_on("client", since=since, below=site.name)
        ]
        found += [f"a packet with {site.name}" for _ in events.holding(site.name, sender="client", since=since)]
    return found


@asynccontextmanager
async def inhabited(
    country: Country, folder: Path, ruled: str, config: str
) -> AsyncIterator[tuple[Running, Program, Program]]:
    """A Byway, curl, and its copy under the same name."""
    spy = folder / "bin" / "curl"
    spy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(shutil.which("curl") or "", spy)
    async with country.byway(folder / "byway", config=config, rules=ruled) as byway:
        yield byway, Program(country, byway, "curl"), Program(country, byway, str(spy))


def settled(country: Country, *names: str) -> Sequence[Site]:
    sites = [country.add_site(name) for name in names]
    for site in sites:
        country.router.events.watch(site.name)
    return sites


@at_once
async def test_what_rules_and_modes_keep_from_direct_sends_nothing_for_a_program_that_is_not_named(
    folder: Path,
) -> None:
    async with Country(folder) as country:
        free, sealed, shut = settled(country, "free.test", "a.sealed.test", "a.shut.test")
        async with inhabited(country, folder, RULES, country.config(extra=NAMED)) as (byway, curl, spy):
            since = await country.caught_up()
            assert set((await spy.open_all([free])).values()) == {True}, "AUTO, free"
            assert set((await spy.open_all([sealed, shut])).values()) == {False}, "RELAY and BLOCK"
            await byway.command("mode", "relay")
            asked = await country.caught_up()
            assert set((await spy.open_all([free, sealed, shut])).values()) == {False}, "mode relay"
            until = await country.caught_up()
            assert about(country, [sealed, shut], since) == []
            assert about(country, [free], asked) == []
            assert to_relays(country, since) == []
            assert anything(country, asked) == []
            assert about(country, [free], since) != [], "the control: AUTO goes direct, and is seen"

            # The twin: the same visits by the program that is named.
            assert set((await curl.open_all([free, sealed])).values()) == {True}
            assert leaks.beside_relays(country.router.events, free, since=until) == [], "by the relay"
            assert to_relays(country, until) != []
            await byway.command("mode", "auto")
            assert set((await curl.open_all([free, sealed])).values()) == {True}
            assert set((await curl.open_all([shut])).values()) == {False}
            assert leaks.beside_relays(country.router.events, sealed) == []


@at_once
async def test_a_strict_configuration_sends_nothing_at_all_for_it(folder: Path) -> None:
    """By what /strict.pac says, as a browser has it: no direct route."""
    async with Country(folder) as country:
        (site,) = settled(country, "free.test")
        async with inhabited(country, folder, STRICT, country.config(extra=NAMED)) as (byway, curl, spy):
            pac = (await spy.run(f"http://127.0.0.1:{byway.port}/strict.pac")).decode()
            assert f': "PROXY 127.0.0.1:{byway.port}";' in pac, "and no direct route after it"
            since = await country.caught_up()
            assert set((await spy.open_all([site])).values()) == {False}
            until = await country.caught_up()
            assert anything(country, since) == []
            assert set((await curl.open_all([site])).values()) == {True}
            assert to_relays(country, until) != []
            assert leaks.beside_relays(country.router.events, site) == []


@at_once
async def test_a_blocked_site_is_tried_direct_alone_and_nothing_is_learned_or_looked_up_through_a_relay(
    folder: Path,
) -> None:
    """Encrypted DNS is blocked by address, so that all queries of the named program go through the relay."""
    async with Country(folder) as country:
        blocked, fresh = settled(country, "blocked.test", "fresh.test")
        filters = [
            rules.SniReset(blocked.name, fresh.name),
            rules.HttpReset(blocked.name, fresh.name),
            rules.AddressDrop(f"{places.DOH}/32", f"{places.DOT}/32"),
        ]
        country.rules.set(filters)
        doors = ("https by CONNECT", "http", "https by SOCKS5")
        for secure in ("on-suspicion", "always"):
            config = country.config(extra=NAMED, dns=f'secure = "{secure}"\nsecure_timeout_s = 1\n')
            async with inhabited(country, folder / secure, RULES, config) as (byway, curl, spy):
                since = await country.caught_up()
                for _ in range(3):
                    assert set((await spy.open_all([blocked, fresh], doors)).values()) == {False}
                until = await country.caught_up()
                assert to_relays(country, since) == []
                if secure == "always":
                    assert leaks.in_clear(country.router.events, since=since) == []
                assert (await byway.read("site", "list", "--all"))["sites"] == [], "nothing is learned"

                async def is_known(curl: Program = curl, byway: Running = byway) -> bool:
                    assert await curl.open(blocked, "https by CONNECT")
                    sites = (await byway.read("site", "list"))["sites"]
                    return any(blocked.name in str(site) for site in sites)

                await until_read(is_known)
                assert to_relays(country, until) != []
            # Again, where it is known as blocked, and a local strategy or a relay would open it.
            async with inhabited(country, folder / secure, RULES, config) as (byway, curl, spy):
                since = await country.caught_up()
                assert set((await spy.open_all([blocked], doors)).values()) == {False}
                assert to_relays(country, since) == []
                assert set((await curl.open_all([blocked], doors)).values()) == {True}
