"""The verdict table: the troubles of a site, and the one word for each in every place where a user reads it.

These are `why`, `site show`, `status`, `test`, `report` and the JSON of each. Situations that concern names are side by
side in one Byway; one that concerns relays or the network has a country of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.model import UNKNOWN_NETWORK, NetworkState
from tests.lab import places, rules
from tests.lab.country import Country, Running, Site
from tests.lab.origins import GOOD, Conduct
from tests.lab.portal import BLOCK_PAGE
from tests.lab.rules import Rule
from tests.lab.scenarios import portal
from tests.lab.sockets import listener
from tests.lab.views import View
from tests.support.at_once import AtOnce
from tests.support.streams import Connections
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=3)

DETECT = (
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\nrescue_suspect_s = 3.0\ncontrol_interval_s = 1.0\n"
    "control_timeout_s = 3.0\nsyn_s = 2.0\nsilent_s = 3.0\ngive_up_s = 8.0\n"
    "retest_suspect_s = 2.0\nretest_jitter = 0.0\nretest_per_hour = 100_000\n"
)
"""A minute of real time in a second."""
WITHIN_S = 90.0
BETWEEN_S = 4.0
"""A re-test of a suspect site is due by then, beside the next visit."""
AT_ONCE = 4
HEALTHY = "healthy.test"

Interfere = Callable[[Country, Site], Sequence[Rule]]


def nothing(_: Country, __: Site) -> Sequence[Rule]:
    return ()


@dataclass(frozen=True)
class Situation:
    """One trouble of a site, and the word for it."""

    name: str
    word: str
    cause: str = ""
    conduct: Callable[[Country, str], Conduct] = lambda country, name: GOOD
    interfere: Interfere = nothing
    secure: bool = True
    exists: bool = True
    nobody: bool = False  # its address is nobody's
    learned: bool = False  # visited until it is stored as blocked


def shows(certificate: str) -> Callable[[Country, str], Conduct]:
    def conduct(country: Country, name: str) -> Conduct:
        contexts = {
            "expired": lambda: country.public.server(name, expired=True),
            "self-signed": lambda: country.public.self_signed(name),
            "wrong name": lambda: country.public.server("another.test", itself=True),
            "private CA": lambda: country.office.server(name),
        }
        return Conduct(certificate=contexts[certificate]())

    return conduct


OF_SITES = (
    Situation("blocked-sni-reset", "blocked", "sni_reset", learned=True,
              interfere=lambda country, site: [rules.SniReset(site.name, view=View.TCP)]),
    Situation("blocked-sni-drop", "blocked", "sni_drop", learned=True,
              interfere=lambda country, site: [rules.SniDrop(site.name, view=View.TCP, whole_flow=True)]),
    Situation("blocked-page", "blocked", "block_page", secure=False, learned=True,
              interfere=lambda country, site: [rules.HttpPage(site.name, body=BLOCK_PAGE)]),
    Situation("works", "works"),
    Situation("typo", "no such name", "name", exists=False),
    Situation("expired", "bad certificate", "expired", conduct=shows("expired")),
    Situation("self-signed", "bad certificate", "self_signed", conduct=shows("self-signed")),
    Situation("wrong-name", "bad certificate", "wrong_name", conduct=shows("wrong name")),
    Situation("private-ca", "bad certificate", "untrusted_issuer", conduct=shows("private CA")),
    Situation("down", "site down", "down", nobody=True),
    Situation("geo", "refuses this route", "refused",
              conduct=lambda country, name: Conduct(refuses=451, refuses_direct_only=True)),
    Situation("blocked-dns", "likely blocked", "dns",
              interfere=lambda country, site: [rules.DnsNxdomain(site.name, resolvers=[places.PROVIDER_RESOLVER])]),
    Situation("blocked-ip", "likely blocked", "ip",
              interfere=lambda country, site: [rules.AddressDrop(site.address)]),
)  # fmt: skip


async def words_for(byway: Running, urls: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Returns the word of each place for each of the sites with these URLs, by host."""
    told: dict[str, dict[str, str]] = {host: {} for host in urls}
    room = asyncio.Semaphore(AT_ONCE)

    async def measure(host: str, url: str) -> None:
        async with room:
            answer = await byway.command("why", url, "--json", check=False)
        document = json.loads(answer.stdout)
        told[host]["why --json"] = document["verdict"]["words"]
        told[host]["why --json, stored"] = document["belief"]["words"]

    await asyncio.gather(*(measure(host, url) for host, url in urls.items()))
    await read_all(byway, urls, told)
    survey = json.loads((await byway.command("test", "--jitter", "0", *urls.values(), "--json", check=False)).stdout)
    for row in survey["results"]:
        told[row["host"]]["test --json"] = row["verdict"]["words"]
    status = {site["site"]: site["words"] for site in (await byway.ask("/v1/status"))["sites"]}
    for host, found in told.items():
        found["status, after test"] = status.get(host, "works")
        found["site, after test"] = (await byway.ask(f"/v1/sites/{host}"))["belief"]["words"]
    return told


async def read_all(byway: Running, urls: Mapping[str, str], told: dict[str, dict[str, str]]) -> None:
    """Reads everything that needs no measurement."""
    done = await byway.commands(
        *(("report", *urls, "--format", "json"), ("status", "--json"), ("site", "list", "--json")),
        *(("site", "show", host, "--json") for host in urls),
    )
    report, state, sites, *shown = (json.loads(each.stdout) for each in done)
    for site in report["sites"]:
        told[site["host"]]["report"] = site["belief"]["words"]
        measured = [one for one in site["examinations"] if one["source"] == "measurement"]
        told[site["host"]]["report, measured"] = measured[-1]["words"]
    status = {site["site"]: site["words"] for site in state["sites"]}
    listed = {site["site"]: site["words"] for site in sites["sites"]}
    for host, found in told.items():
        found["status --json"] = status.get(host, "works")
        found["site list --json"] = listed.get(host, "works")
    for host, site in zip(urls, shown, strict=True):
        told[host]["site show --json"] = site["belief"]["words"]


def wrong(expected: str, told: Mapping[str, str]) -> dict[str, str]:
    return {place: word for place, word in told.items() if word != expected}


@contextlib.asynccontextmanager
async def living(folder: Path, *, detect: str = DETECT, **config: Any) -> AsyncIterator[tuple[Country, Running]]:
    async with Country(folder) as country:
        settings = country.config(detect=detect, **config)
        async with country.byway(folder / "byway", config=settings) as byway:
            yield country, byway


def add(country: Country, situation: Situation) -> Site:
    name = f"{situation.name}.{situation.name}-site.test"
    if not situation.exists:
        return Site(name, "")
    return country.add_site(name, conduct=situation.conduct(country, name), nobody=situation.nobody)


async def learn(country: Country, byway: Running, situation: Situation, site: Site) -> None:
    """Visits the site once, or until it is stored as blocked."""

    async def is_stored() -> bool:
        visitor = country.visitor(byway)
        await visitor.visit(site.url(secure=situation.secure))
        if not situation.learned:
            return True
        await visitor.visit(f"https://{HEALTHY}/")  # another site works direct, so that the failure counts
        await asyncio.sleep(BETWEEN_S)
        return bool((await byway.belief(site.name))["state"] == "blocked")

    await until_read(is_stored, within_s=WITHIN_S)


@pytest.mark.slow
@at_once
async def test_one_word_for_each_site_in_every_place(folder: Path) -> None:
    async with living(folder) as (country, byway):
        country.add_site(HEALTHY)
        sites = {situation: add(country, situation) for situation in OF_SITES}
        country.rules.set([rule for situation, site in sites.items() for rule in situation.interfere(country, site)])
        room = asyncio.Semaphore(AT_ONCE)

        async def one(situation: Situation, site: Site) -> None:
            async with room:
                await learn(country, byway, situation, site)

        await asyncio.gather(*(one(situation, site) for situation, site in sites.items()))
        urls = {site.name: site.url(secure=situation.secure) for situation, site in sites.items()}
        told = await words_for(byway, urls)
        causes = {}
        for site in sites.values():
            held = await byway.belief(site.name)
            causes[site.name] = (held["words"], held["cause"], held["glyph"])
    found = {
        situation.name: bad for situation, site in sites.items() if (bad := wrong(situation.word, told[site.name]))
    }
    assert found == {}, causes
    assert {situation.name: causes[site.name][1] for situation, site in sites.items() if situation.cause} == {
        situation.name: situation.cause for situation in OF_SITES if situation.cause
    }
    assert all(len(places_) >= 10 for places_ in told.values()), "every place was asked"


# -- relays ------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def refusing_passwords(country: Country) -> AsyncIterator[str]:
    """Yields the URL of an HTTP relay that demands another password."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    address = (places.HTTPS_RELAY, 3128)
    connections = Connections(serve)
    server = await asyncio.start_server(connections, sock=listener(country.relay_space.socket, address))
    try:
        yield f"http://me:wrong@{address[0]}:{address[1]}"
    finally:
        server.close()
        await connections.stop()


@contextlib.asynccontextmanager
async def closed(_: Country) -> AsyncIterator[str]:
    yield f"socks5h://{places.SOCKS_RELAY}:1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("relay", "fault"), [(closed, "connection refused"), (refusing_passwords, "user or password refused")]
)
@at_once
async def test_where_the_only_relay_fails_nothing_is_said_of_a_site(
    folder: Path, *, relay: Callable[[Country], contextlib.AbstractAsyncContextManager[str]], fault: str
) -> None:
    async with Country(folder) as country, relay(country) as url:
        settings = country.config(detect=DETECT, relays=[("abroad", url)])
        settings = settings.replace(f'url = "{url}"\n', f'url = "{url}"\nallow_plaintext_credentials = true\n')
        site, healthy = country.add_site("reset.test"), country.add_site("healthy.test")
        country.rules.set([rules.SniReset(site.name, view=View.RECORDS)])
        async with country.byway(folder / "byway", config=settings) as byway:
            for one in (site, healthy):
                await country.visitor(byway).visit(one.url())
            told = await words_for(byway, {site.name: site.url(), healthy.name: healthy.url()})
            status = await byway.read("status")
    assert wrong("relays fail", told[site.name]) == {}
    assert wrong("works", told[healthy.name]) == {}
    assert status["problems"][0]["text"] == f"Relay abroad fails: {fault}."


# -- networks ----------------------------------------------------------------------------------------------------------


@at_once
async def test_offline_the_word_is_no_network_and_no_relay_is_blamed(folder: Path) -> None:
    async with living(folder) as (country, byway):
        site = country.add_site("site.test")
        country.router.ports["client"].unplug()

        async def is_noticed() -> bool:
            """A visit before is in the report of the network that was left."""
            return bool((await byway.ask("/v1/status"))["network"] == UNKNOWN_NETWORK)

        async def is_offline() -> bool:
            await country.visitor(byway).visit(site.url())
            return await byway.network_state() == NetworkState.OFFLINE

        await until_read(is_noticed)
        await until_read(is_offline, within_s=WITHIN_S)
        told = await words_for(byway, {site.name: site.url()})
        status = await byway.read("status")
    assert wrong("no network", told[site.name]) == {}
    assert [relay["fault"] for relay in status["relays"]] == [None]


@pytest.mark.slow
@pytest.mark.parametrize("only_relays", [False, True])
@at_once
async def test_behind_a_portal_the_word_is_portal_and_no_relay_is_blamed(folder: Path, *, only_relays: bool) -> None:
    """This holds also for a relay that all traffic goes through, and in whose place the portal answers."""
    async with Country(folder) as country:
        relay = f"http://{places.HTTPS_RELAY}:80"
        rule = "DOMAIN-SUFFIX,site.test,RELAY\n" if only_relays else None
        settings = country.config(detect=DETECT, relays=[("abroad", relay)])
        async with country.byway(folder / "byway", config=settings, rules=rule) as byway:
            sites = [country.add_site(name) for name in ("site.test", "other.test")]
            country.rules.set(portal(country, sites))

            async def is_portal() -> bool:
                for site in sites:
                    await country.visitor(byway).visit(site.url(secure=False))
                return await byway.network_state() == NetworkState.PORTAL

            await until_read(is_portal, within_s=WITHIN_S)
            for site in sites:
                await country.visitor(byway).visit(site.url())
            told = await words_for(byway, {site.name: site.url() for site in sites})
            status = await byway.read("status")
    assert [wrong("portal", told[site.name]) for site in sites] == [{}, {}]
    assert [relay["fault"] for relay in status["relays"]] == [None]
    assert not [problem for problem in status["problems"] if "Relay" in problem["text"]]
