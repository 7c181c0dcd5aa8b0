"""Censors that block or throttle prefixes of addresses, and their innocent twins."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.model import State
from tests.lab import places, trials
from tests.lab.all_scenarios import BY_NAME
from tests.lab.country import RELAY, Country, Running, Site
from tests.lab.origins import Conduct
from tests.lab.rules import AddressDrop, Throttle
from tests.lab.scenarios import FINE, REAL
from tests.lab.stories import reloaded, with_byway
from tests.lab.trials import Stay, limited
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=4)

SLOW = BY_NAME["throttle-shape"]
CDN = "240.19.7.0/24"
HURRIED = "syn_s = 2.0\nsignal_interval_s = 1.0\nepisode_gap_s = 1.0\ncontrol_interval_s = 1.0\n"


async def opened(country: Country, byway: Running, site: Site) -> Visit:
    return await reloaded(country, lambda: country.visitor(byway).visit(site.url()))


async def routes(byway: Running, site: Site, visits: int = 1) -> list[list[str]]:
    """Returns the routes that each visit tried, the one that won last."""
    return [[attempt["route"] for attempt in row["attempts"]] for row in await byway.rows(site.name, visits)]


async def assert_routes(country: Country, byway: Running, site: Site, wanted: list[str]) -> None:
    """Asserts what the only visit tried; where the relay is not perfect, what the first one tried first and last."""
    tried, *again = await routes(byway, site)
    assert not (again and country.conditions.is_fair)
    if not country.conditions.is_fair:
        tried, wanted = [tried[0], tried[-1]], [wanted[0], wanted[-1]]
    assert tried == wanted


async def until_believed(byway: Running, site: Site, cause: str) -> None:
    """Returns once the failed attempt was judged."""

    async def believed() -> bool:
        held = await byway.belief(site.name)
        return (held["state"], held["cause"]) == (State.SUSPECT, cause)

    await until_read(believed)


# -- a /16 -------------------------------------------------------------------------------------------------------------


async def visit_in_wide(country: Country, byway: Running, dropped: list[Site]) -> None:
    """Opens sites of which nothing is reached direct, each once what failed before it was judged."""
    for site in dropped:
        assert (await opened(country, byway, site)).genuine
        await assert_routes(country, byway, site, ["direct", RELAY])
        await until_believed(byway, site, "ip")


@at_once
@with_byway(HURRIED)
async def test_the_fifth_host_of_a_blocked_16_goes_by_the_relay_at_once(country: Country, byway: Running) -> None:
    outside = country.add_site("fine.test")
    sites = [country.add_site(f"wide-{n}.test", wide=True) for n in range(6)]
    country.rules.set([AddressDrop(places.WIDE)])
    await visit_in_wide(country, byway, sites[:4])
    since = country.router.events.clock()
    for site in sites[4:]:
        assert (await opened(country, byway, site)).genuine
        await assert_routes(country, byway, site, ["direct|ipv6", RELAY])  # it has no IPv6, which is known at once
        if country.conditions.is_fair:  # direct is the last resort while the relay restarts
            assert country.router.events.connections(site.address, since=since) == 0
    assert (await opened(country, byway, outside)).genuine
    assert await routes(byway, outside) == [["direct"]]


@at_once
@with_byway(HURRIED)
async def test_a_16_in_which_one_host_works_is_not_given_up(country: Country, byway: Running) -> None:
    """As where four hosts of one data centre cannot be reached from here for a while."""
    spared = country.add_site("spared.test", wide=True)
    sites = [country.add_site(f"wide-{n}.test", wide=True) for n in range(5)]
    country.rules.set([AddressDrop(*(f"{site.address}/32" for site in sites[:4]))])
    assert (await country.visitor(byway).visit(spared.url())).genuine
    await visit_in_wide(country, byway, sites[:4])
    assert (await country.visitor(byway).visit(sites[4].url())).genuine
    assert await routes(byway, sites[4]) == [["direct"]]
    assert State((await byway.belief(sites[4].name))["state"]) in FINE


# -- a CDN that is slow ------------------------------------------------------------------------------------------------


async def visit_cdn(here: Stay, site: Site) -> Visit:
    """Opens a large page at a crawl."""
    return await limited(here.country.visitor(here.byway), site.url("/big"), SLOW.limit_s)


def on_the_cdn(country: Country, number: int, conduct: Conduct = REAL) -> Site:
    return country.add_site(f"cdn-{number}.test", wide=True, number=7 + 250 * number, conduct=conduct)


@pytest.mark.slow
@at_once
async def test_a_throttled_cdn_is_known_from_its_third_host_on(folder: Path) -> None:
    async with trials.stay(folder, {SLOW: 1}) as (here, _):
        sites = [on_the_cdn(here.country, number) for number in range(4)]
        outside = here.country.add_site("outside.test", wide=True, number=8)
        here.country.rules.set([Throttle(addresses=[CDN], rate=8000, how="shape", each=True)])
        for site in sites[:3]:
            for visits in range(1, SLOW.spoiled + (2 if here.country.conditions.is_fair else 3)):
                seen = await visit_cdn(here, site)
                way = (await routes(here.byway, site, visits))[-1][-1]
                if way == RELAY and seen.genuine:  # a page that a restarting relay breaks off proves nothing
                    break
            assert way == RELAY
        for site, expected in ((sites[3], RELAY), (outside, "direct")):
            assert (await opened(here.country, here.byway, site)).genuine
            await assert_routes(here.country, here.byway, site, [expected])


@pytest.mark.slow
@at_once
async def test_a_cdn_that_is_slow_for_everyone_stays_direct(folder: Path) -> None:
    async with trials.stay(folder, {SLOW: 1}) as (here, _):
        slow = Conduct(page_bytes=2048, bytes_per_s=8000)
        sites = [on_the_cdn(here.country, number, slow) for number in range(4)]
        here.country.rules.set([])
        for site in sites[:3]:
            for _ in range(SLOW.spoiled):
                await visit_cdn(here, site)
        assert (await limited(here.country.visitor(here.byway), sites[3].url(), SLOW.limit_s)).genuine
        assert await routes(here.byway, sites[3]) == [["direct"]]
