"""Block pages of plain HTTP that no fingerprint knows, and innocent pages that look like them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from proxy.model import State
from tests.lab import places
from tests.lab.country import RELAY, Country, Running, Site
from tests.lab.matches import EVERYWHERE
from tests.lab.name_servers import Addresses
from tests.lab.origins import Conduct
from tests.lab.rules import AddressDrop, HttpPage, HttpReset
from tests.lab.scenarios import FINE, TROUBLED
from tests.lab.stories import with_byway
from tests.lab.views import View
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

UNKNOWN = b"<html><head><title>Not available</title></head><body>".ljust(600) + b"</body></html>"
PARKED = b"<html><head><title>Buy this domain</title></head><body>".ljust(900) + b"</body></html>"
CHALLENGE = b"<html><head><title>Checking your browser</title></head><body>".ljust(4000) + b"</body></html>"
GERMAN = b"<html><head><title>Sport des Tages</title></head><body>".ljust(9000) + b"</body></html>"
ENGLISH = b"<html><head><title>Daily news</title></head><body>".ljust(3000) + b"</body></html>"
FRONT = ("X-Front: 1",)


HURRIED = "signal_interval_s = 1.0\nepisode_gap_s = 1.0\ncontrol_interval_s = 1.0\npage_hold_s = 2.0\n"
DETECT = HURRIED + "retest_suspect_s = 3600.0\n"

COMPARED_S = 5.0
"""A page that has just come is compared by then."""

at_once = AtOnce(most=4)


async def opened(country: Country, byway: Running, site: Site, path: str = "/") -> Visit:
    return await country.visitor(byway).visit(site.url(path, secure=False))


async def until_troubled(byway: Running, site: Site) -> None:
    """Returns once the page was compared."""

    async def troubled() -> bool:
        held = await byway.belief(site.name)
        return (State(held["state"]) in TROUBLED, held["cause"]) == (True, "block_page")

    await until_read(troubled)


async def winners(byway: Running, site: Site, visits: int) -> list[str]:
    return [row["winner"] for row in await byway.rows(site.name, visits)]


@at_once
@with_byway(DETECT)
async def test_an_unknown_page_comes_right_on_the_second_visit_of_any_second_site(
    country: Country, byway: Running
) -> None:
    sites = [country.add_site(f"blocked-{number}.test") for number in range(4)]
    country.rules.set([HttpPage(*(site.name for site in sites), body=UNKNOWN)])
    first, *others = sites
    assert (await opened(country, byway, first)).body == UNKNOWN
    for site in others:
        assert (await opened(country, byway, site, "/page?id=7")).body == UNKNOWN, "nobody can know yet"
        await until_troubled(byway, site)
        assert (await opened(country, byway, site)).genuine
        assert await winners(byway, site, 2) == ["direct", RELAY]
        asked = [(one.target, one.method) for one in country.origins.asked if one.host == site.name]
        assert asked == [("/page", "GET"), ("/", "GET")], "the check of the relay, and the second visit"
    assert (await opened(country, byway, first)).body == UNKNOWN
    await until_troubled(byway, first)
    assert (await opened(country, byway, first)).genuine


@at_once
@with_byway(DETECT)
async def test_a_strategy_is_taken_where_it_brings_what_the_relay_brings(country: Country, byway: Running) -> None:
    sites = [country.add_site(f"blocked-{number}.test") for number in range(2)]
    country.rules.set([HttpPage(*(site.name for site in sites), body=UNKNOWN, view=View.PACKET)])
    for site in sites:
        assert (await opened(country, byway, site)).body == UNKNOWN
    await until_troubled(byway, sites[1])
    assert (await opened(country, byway, sites[1])).genuine
    assert await winners(byway, sites[1], 2) == ["direct", "direct|hostcase"]


@at_once
@with_byway(DETECT)
async def test_a_relay_that_restarts_meanwhile_is_waited_for(country: Country, byway: Running) -> None:
    sites = [country.add_site(f"blocked-{number}.test") for number in range(2)]
    country.rules.set([HttpPage(*(site.name for site in sites), body=UNKNOWN)])
    assert (await opened(country, byway, sites[0])).body == UNKNOWN
    await country.relay.stop()
    events, since = country.router.events, country.router.events.clock()
    assert (await opened(country, byway, sites[1])).body == UNKNOWN
    await until(lambda: events.connections(places.SOCKS_RELAY, since=since) > 0)  # and it was refused
    await country.relay.revive()
    await until_troubled(byway, sites[1])
    assert (await opened(country, byway, sites[1])).genuine


@at_once
@with_byway(DETECT)
async def test_so_does_the_page_of_an_address_to_which_lies_lead(country: Country, byway: Running) -> None:
    """A visit over https has shown that the address is a lie; the page of plain HTTP is then doubted for another
    site, though no other has shown it."""
    country.block_page.page = UNKNOWN
    sites = [country.add_site(f"blocked-{number}.test") for number in range(2)]
    country.provider.lies.update({site.name: Addresses((places.BLOCK_PAGE,)) for site in sites})
    assert (await country.visitor(byway).visit(sites[0].url())).genuine
    await until_read(lambda: _is_blamed_on_dns(byway, sites[0]))
    assert (await opened(country, byway, sites[1])).body == UNKNOWN
    await until_troubled(byway, sites[1])
    assert (await opened(country, byway, sites[1])).genuine


async def _is_blamed_on_dns(byway: Running, site: Site) -> bool:
    held = await byway.belief(site.name)
    return (State(held["state"]) in TROUBLED, held["cause"]) == (True, "dns")


@at_once
@with_byway(DETECT)
async def test_what_why_finds_to_differ_comes_right_on_the_second_visit(country: Country, byway: Running) -> None:
    site = country.add_site("blocked.test")
    country.rules.set([HttpPage(site.name, body=UNKNOWN)])
    await byway.read("why", site.url(secure=False))
    assert (await opened(country, byway, site)).body == UNKNOWN
    await until_troubled(byway, site)
    assert (await opened(country, byway, site)).genuine


# -- innocent twins ----------------------------------------------------------------------------------------------------


INNOCENT: dict[str, tuple[Conduct, Sequence[Conduct]]] = {  # of the first site, and of the others
    "the default page of a server": (Conduct(page=UNKNOWN), [Conduct(page=UNKNOWN)] * 2),
    "parked domains": (Conduct(page=PARKED), [Conduct(page=PARKED)] * 2),
    "another language by relay": (
        Conduct(page=ENGLISH, page_for_relays=GERMAN, fields=FRONT),
        [Conduct(page=ENGLISH, page_for_relays=GERMAN, fields=FRONT)] * 2,
    ),
    "an A/B test": (
        Conduct(page=ENGLISH),
        [Conduct(page=ENGLISH, page_for_relays=ENGLISH.ljust(9000)), Conduct(page=ENGLISH)],
    ),
    "a relay that is greeted by a challenge": (
        Conduct(page=UNKNOWN),
        [Conduct(page=UNKNOWN, refuses=403, refuses_relays_only=True)] * 2,
    ),
    "a relay that is greeted by a challenge with status 200": (
        Conduct(page=UNKNOWN, fields=FRONT),
        [Conduct(page=UNKNOWN, page_for_relays=CHALLENGE, fields=FRONT)] * 2,
    ),
}


@pytest.mark.parametrize("case", INNOCENT)
@at_once
@with_byway(DETECT)
async def test_innocent_pages_stay_direct(country: Country, byway: Running, *, case: str) -> None:
    first, others = INNOCENT[case]
    sites = [
        country.add_site(f"site-{number}.test", conduct=conduct) for number, conduct in enumerate((first, *others))
    ]
    for _ in range(3):
        for site in sites:
            assert (await opened(country, byway, site)).body == first.page
            assert State((await byway.belief(site.name))["state"]) in FINE
    await until_read(lambda: _is_compared(country, sites))
    for site in sites:
        assert State((await byway.belief(site.name))["state"]) in FINE
        assert (await opened(country, byway, site)).body == first.page
        assert await winners(byway, site, 4) == ["direct"] * 4
    extra = Counter(one.host for one in country.origins.asked) - Counter({site.name: 4 for site in sites})
    assert max(extra.values()) <= 2, "one direct request, and one by the relay"


EMPTY = b"<html><body></body></html>"


@at_once
@with_byway(DETECT)
async def test_trackers_that_answer_queries_alike_stay_direct(country: Country, byway: Running) -> None:
    """Their page for a request without its query is another one, by whichever route."""
    sites = [
        country.add_site(f"tracker-{number}.test", conduct=Conduct(page_for_queries=EMPTY, page=PARKED))
        for number in range(3)
    ]
    for visit in range(3):
        for site in sites:
            assert (await opened(country, byway, site, f"/px?id={visit}")).body == EMPTY
    await _stay_direct(byway, sites, visits=3)


@at_once
@with_byway(DETECT)
async def test_a_server_that_reads_host_by_case_shows_its_visitors_their_site(country: Country, byway: Running) -> None:
    """For `hOSt` in place of `host` it shows its first site."""
    sites = [
        country.add_site(f"site-{number}.test", conduct=Conduct(page=PARKED, page_for_other_case=GERMAN))
        for number in range(3)
    ]
    for _ in range(3):
        for site in sites:
            assert (await opened(country, byway, site)).body == PARKED
    await _stay_direct(byway, sites, visits=3)


async def _stay_direct(byway: Running, sites: Sequence[Site], *, visits: int) -> None:
    """Waits for as long as a comparison takes. None of these sites may be blamed, nor go another way."""
    await asyncio.sleep(COMPARED_S)
    for site in sites:
        assert State((await byway.belief(site.name))["state"]) in FINE
        assert await winners(byway, site, visits) == ["direct"] * visits


async def _is_compared(country: Country, sites: Sequence[Site]) -> bool:
    """Whether each site has had its request by a relay."""
    return all(set(country.origins.peers(site.name)) - {places.CLIENT} for site in sites)


@at_once
@with_byway(DETECT)
async def test_a_site_that_is_reset_does_not_make_a_page_a_doubted_one(country: Country, byway: Running) -> None:
    reset, site = country.add_site("reset.test"), country.add_site("plain.test")
    country.rules.set([HttpReset(reset.name, in_path=True)])
    for _ in range(2):
        assert (await opened(country, byway, reset)).genuine
        assert (await opened(country, byway, site)).genuine
    assert country.origins.peers(site.name) == [places.CLIENT] * 2


@pytest.mark.slow
@at_once
@with_byway(DETECT)
async def test_ordinary_sites_are_asked_once_each(country: Country, byway: Running) -> None:
    """200 sites of a healthy network: not a request more than those of the visitor."""
    sites = [country.add_site(f"ordinary-{number}.test") for number in range(200)]
    for site in sites:
        assert (await opened(country, byway, site, "/?q=1")).genuine
    asked = [one for one in country.origins.asked if one.host.startswith("ordinary-")]
    assert Counter((one.host, one.target, one.method, one.peer) for one in asked) == Counter(
        {(site.name, "/?q=1", "GET", places.CLIENT): 1 for site in sites}
    )
    assert not any(one.secure for one in asked)


PORTAL = b"<html><head><title>Guest network</title></head><body>Please sign in".ljust(700) + b"</body></html>"


@at_once
async def test_a_portal_that_lets_its_guest_in_meanwhile_leaves_nothing(folder: Path) -> None:
    """It shows one page for all sites of plain HTTP, and lets nothing else pass. Its guest signs in a moment after the
    page, so that the comparison finds another one. A re-test sees that this is over."""
    async with Country(folder) as country:
        config = country.config(detect=HURRIED + "retest_suspect_s = 2.0\nretest_jitter = 0.0\n")
        async with country.byway(folder / "byway", config=config) as byway:
            sites = [country.add_site(f"site-{number}.test") for number in range(3)]
            closed = AddressDrop(*EVERYWHERE, ports=(443, 853, places.SOCKS_PORT))
            country.rules.set([HttpPage("*", body=PORTAL), closed])
            for site in sites:
                assert (await opened(country, byway, site)).body == PORTAL
            country.rules.set([])

            async def is_fine(site: Site) -> bool:
                assert (await opened(country, byway, site)).genuine
                held = await byway.belief(site.name)
                return State(held["state"]) in FINE and (await winners(byway, site, 1))[-1] == "direct"

            for site in sites:
                await until_read(partial(is_fine, site))
