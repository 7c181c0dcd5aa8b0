"""A resolver that lies, beside encrypted DNS that is dead: the default servers, and those in reserve; and the innocent
twin, an office with names of its own that forbids encrypted DNS.

The servers of Byway's defaults stand in the country at their own addresses, with certificates that name these.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.config.schema import RESERVE_DNS_SERVERS, Dns
from proxy.wire import dns_url
from proxy.wire.dns_url import DnsProtocol, SecureServer
from tests.lab import rules
from tests.lab.country import Country, Running, Site
from tests.lab.name_servers import Addresses, NameServer
from tests.lab.origins import Conduct
from tests.lab.rules_dns import Mute
from tests.lab.scenarios_dns import ASK_S, BLACK_HOLE
from tests.support.at_once import AtOnce

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=4)

DEFAULTS, RESERVE = (tuple(map(dns_url.parse, urls)) for urls in (Dns().servers, RESERVE_DNS_SERVERS))
LIE = "198.19.252.7"
QUICK = "secure_timeout_s = 1.0\nsecure_stagger_s = 0.3\n"
DETECT = (
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\nrescue_suspect_s = 3.0\ncontrol_interval_s = 1.0\n"
    "control_timeout_s = 3.0\nsyn_s = 2.0\nsilent_s = 3.0\ngive_up_s = 8.0\nretest_suspect_s = 2.0\n"
)


def addresses(servers: Sequence[SecureServer]) -> list[str]:
    return [server.endpoint.host for server in servers]


@dataclass
class Place:
    country: Country
    byway: Running
    defaults: NameServer
    reserve: NameServer

    def connections(self, servers: Sequence[SecureServer]) -> int:
        """The connections that the computer began to these servers."""
        return sum(self.country.router.events.connections(address) for address in addresses(servers))

    def lie(self, *sites: Site) -> None:
        """The provider's resolver leads these sites to a host that accepts connections and never answers."""
        self.country.provider.lies.update({site.name: Addresses((LIE,)) for site in sites})
        self.country.rules.add(Mute(BLACK_HOLE))


@contextlib.asynccontextmanager
async def place(folder: Path, *, relay: bool, servers: Sequence[str] | None = None) -> AsyncIterator[Place]:
    """Yields a Byway with the default servers, or with `servers` as the user's own."""
    async with Country(folder) as country, contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        hosts = addresses((*DEFAULTS, *RESERVE))
        space = country.router.add_space("secure", ["198.51.100.2/29"], prefixes=[f"{host}/32" for host in hosts])
        stood: list[NameServer] = []
        for group in (DEFAULTS, RESERVE):
            stood.append(await enter(NameServer(space.socket, country.zone.truth)))
            for server in group:
                serve = stood[-1].https if server.kind is DnsProtocol.DOH else stood[-1].tls
                await serve((server.endpoint.host, server.endpoint.port), country.public.server(server.endpoint.host))
        config = country.config(detect=DETECT, dns=QUICK, servers=servers, no_relay=not relay)
        if servers is None:
            config = "".join(line for line in config.splitlines(True) if not line.startswith("servers = "))
        running = country.byway(folder / "byway", config=config)
        running._environment.pop("BYWAY_DNS__SERVERS", None)  # by which other tests have no server
        yield Place(country, await enter(running), *stood)


@at_once
async def test_without_a_relay_the_reserve_brings_the_page_where_the_defaults_are_dead(folder: Path) -> None:
    async with place(folder, relay=False) as here:
        site = here.country.add_site("censored.test")
        here.lie(site)
        here.country.rules.add(rules.DohBlock(addresses=addresses(DEFAULTS)))
        opened = await here.country.visitor(here.byway).visit(site.url())
        (row,) = await here.byway.rows(site.name, 1)
    assert opened.genuine
    assert row["winner"] == "direct|doh"
    assert here.defaults.names() == set()
    assert here.reserve.names() == {site.name}


@at_once
async def test_the_reserve_is_not_asked_while_a_default_server_answers(folder: Path) -> None:
    async with place(folder, relay=False) as here:
        site = here.country.add_site("censored.test")
        here.lie(site)
        here.country.rules.add(rules.DohBlock(addresses=addresses(DEFAULTS[:1])))
        opened = await here.country.visitor(here.byway).visit(site.url())
    assert opened.genuine
    assert here.defaults.names() == {site.name}
    assert here.connections(RESERVE) == 0


@at_once
async def test_with_a_relay_the_page_comes_and_no_further_company_hears_the_name(folder: Path) -> None:
    async with place(folder, relay=True) as here:
        site = here.country.add_site("censored.test")
        here.lie(site)
        here.country.rules.add(rules.DohBlock(addresses=addresses((*DEFAULTS, *RESERVE))))
        opened = await here.country.visitor(here.byway).visit(site.url())
        (row,) = await here.byway.rows(site.name, 1)
    assert opened.genuine
    assert row["winner"] is not None
    assert here.reserve.names() == set()


@at_once
async def test_where_all_are_dead_and_there_is_no_relay_the_words_are_true(folder: Path) -> None:
    async with place(folder, relay=False) as here:
        site, healthy = here.country.add_site("censored.test"), here.country.add_site("healthy.test")
        here.lie(site)
        here.country.rules.add(rules.DohBlock(addresses=addresses((*DEFAULTS, *RESERVE))))
        visitor = here.country.visitor(here.byway)
        assert (await visitor.visit(healthy.url())).genuine
        opened = await visitor.visit(site.url(), limit_s=6)
        told = await here.byway.read("why", site.url(), "--fresh")
    assert not opened.genuine
    verdict = told["verdict"]
    assert (verdict["words"], verdict["confirmed"], verdict["confidence"]) == ("does not open", False, "low")
    assert "blocked, or down: a relay would tell" in verdict["instead"]


@at_once
async def test_servers_that_the_user_has_set_are_not_added_to(folder: Path) -> None:
    """Also when they are the same as the defaults."""
    async with place(folder, relay=False, servers=Dns().servers) as here:
        site = here.country.add_site("censored.test")
        here.lie(site)
        here.country.rules.add(rules.DohBlock(addresses=addresses(DEFAULTS)))
        await here.country.visitor(here.byway).visit(site.url(), limit_s=8)
    assert here.connections(DEFAULTS) > 0
    assert here.connections(RESERVE) == 0


@at_once
async def test_an_office_with_names_of_its_own_that_forbids_encrypted_dns_is_believed(folder: Path) -> None:
    """Its pages are slow, so encrypted DNS is wanted for each of them. All servers refuse: a minute sees two
    connections to those in reserve."""
    async with place(folder, relay=False) as here:
        country = here.country
        sites = [
            country.add_site(f"wiki{number}.office.test", conduct=Conduct(hello_delay_s=1.5)) for number in range(6)
        ]
        for site in sites:
            del country.zone.names[site.name]  # only the office's resolver knows it
            country.provider.lies[site.name] = Addresses((site.address,))
        country.rules.set([rules.SynReset(*(f"{host}/32" for host in addresses((*DEFAULTS, *RESERVE))))])
        visitor = country.visitor(here.byway)
        for first in (0, 3):  # three at once, and three a moment later
            seen = await asyncio.gather(*(visitor.visit(site.url()) for site in sites[first : first + 3]))
            assert all(visit.genuine for visit in seen)
        rows = [row for site in sites for row in await here.byway.rows(site.name, 1)]
        states = {(await here.byway.belief(site.name))["state"] for site in sites}
    assert {row["winner"] for row in rows} == {"direct"}
    assert states == {"works"}
    assert here.connections(DEFAULTS) > 0
    assert here.connections(RESERVE) <= 2


@at_once
async def test_a_slow_site_has_encrypted_dns_asked_once_and_a_known_one_not_at_all(folder: Path) -> None:
    async with Country(folder) as country:
        config = country.config(detect=DETECT)
        async with country.byway(folder / "byway", config=config) as byway:
            site = country.add_site("slow.test", conduct=Conduct(hello_delay_s=1.2))
            visitor = country.visitor(byway)
            seen = await asyncio.gather(*(visitor.visit(site.url()) for _ in range(4)))
            asked = [question for question in country.resolver.asked if question.over != "udp"]
            again = await visitor.visit(site.url())
    assert all(visit.genuine for visit in (*seen, again))
    assert sorted((question.name, question.kind) for question in asked) == [(site.name, "A"), (site.name, "AAAA")]
    assert [q for q in country.resolver.asked if q.over != "udp"] == asked


@at_once
async def test_sites_that_answer_soon_have_nothing_asked(folder: Path) -> None:
    """The control of the test above. On a busy machine some are slow."""
    async with Country(folder) as country, country.byway(folder / "byway", config=country.config()) as byway:
        sites = [country.add_site(f"site{n}.test", conduct=Conduct(hello_delay_s=0.3)) for n in range(12)]
        visitor = country.visitor(byway)
        seen = await asyncio.gather(*(visitor.visit(site.url()) for site in sites))
    assert all(visit.genuine for visit in seen)
    slow = {site.name for site, visit in zip(sites, seen, strict=True) if visit.elapsed_s > ASK_S}
    assert {question.name for question in country.resolver.asked if question.over != "udp"} <= slow
