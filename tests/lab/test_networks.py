"""The network as a whole: no route leads out, a login page answers for all sites, or only domestic hosts answer; and
then this ends.

A real Byway in the country reports this, blames no site, and notices the end by itself, beside the visits of its user.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.model import NetworkState
from proxy.terminal.exit_codes import Exit
from tests.lab import places, rules
from tests.lab.country import NO_HEDGE, RELAY, Country, Running, Site
from tests.lab.scenarios import portal
from tests.lab.stories import with_byway
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=4)

WITHIN_S = 40.0


HURRIED = (
    f"{NO_HEDGE.replace('hedge_syn_s = 60', 'hedge_syn_s = 1.5')}"
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\nrescue_suspect_s = 2.0\ncontrol_interval_s = 1.0\n"
    "control_timeout_s = 2.0\nsyn_s = 2.0\nprobe_again_s = 0.5\nprobe_interval_s = 0.5\nhello_apart_s = 0.02\n"
)
"""A minute of real time in a second; the waits of a user for a connection are unchanged. A real second is 0.02 then: a
check waits until no hello of the name was sent for `hello_apart_s`, and one site is visited again and again. A late
answer starts no other route: nothing is dropped here once a connection is open."""


async def visit(country: Country, byway: Running, site: Site, *, secure: bool = True) -> Visit:
    return await country.visitor(byway).visit(site.url(secure=secure))


async def until_called(
    country: Country, byway: Running, sites: Sequence[Site], state: NetworkState, *, secure: bool = True
) -> None:
    """Visits the sites until Byway gives the network this state."""

    async def is_called() -> bool:
        for site in sites:
            await visit(country, byway, site, secure=secure)
        return await byway.network_state() == state

    await until_read(is_called, within_s=WITHIN_S)


async def blamed(byway: Running) -> list[str]:
    """Returns the sites that are in trouble here, by `byway status`."""
    return [site["scope"] for site in (await byway.read("status"))["sites"] if site["state"] in ("suspect", "blocked")]


async def winner_of_visit(country: Country, byway: Running, site: Site) -> Any:
    """Makes a visit in which the page comes, and returns its winner, once its row is written."""
    began_at, winners = time.time(), list[Any]()
    assert (await visit(country, byway, site)).genuine

    async def written() -> bool:
        winners[:] = [row["winner"] for row in await byway.rows(site.name) if row["at"] >= began_at]
        return bool(winners)

    await until_read(written)
    return winners[-1]


@at_once
@with_byway(HURRIED)
async def test_where_nothing_leads_out_nothing_is_said_of_sites(country: Country, byway: Running) -> None:
    site = country.add_site("site.test")
    assert (await visit(country, byway, site)).genuine
    country.router.ports["client"].unplug()

    async def status_says_so() -> bool:  # on the network that was left, and then on none
        await until_called(country, byway, [site], NetworkState.OFFLINE)
        return "No network" in (await byway.command("status")).stdout

    async def why_says_so() -> bool:  # and that the network changed, while the one that was left is replaced by none
        return (await byway.command("why", site.name, check=False)).returncode == Exit.NO_NETWORK

    await until_read(status_says_so, within_s=2 * WITHIN_S)  # each look is one that may take WITHIN_S itself
    assert await blamed(byway) == []
    await until_read(why_says_so, within_s=WITHIN_S)

    country.router.ports["client"].plug_in()
    await until_called(country, byway, [site], NetworkState.OK)
    assert await winner_of_visit(country, byway, site) == "direct"


@pytest.mark.slow
@pytest.mark.parametrize("secure", [True, False])
@at_once
@with_byway(HURRIED)
async def test_a_login_page_is_no_block_and_gone_once_the_user_has_logged_in(
    country: Country, byway: Running, *, secure: bool
) -> None:
    sites = [country.add_site(f"site{number}.test") for number in range(3)]
    country.rules.set(portal(country, sites))
    await until_called(country, byway, sites[:1], NetworkState.PORTAL, secure=secure)
    seen = await visit(country, byway, sites[1], secure=False)
    assert seen.status == 302, "the page to log in at is shown"
    assert await blamed(byway) == []
    assert byway.warned("login page") == 1
    told = await byway.command("why", sites[0].url(secure=secure), check=False)
    assert told.returncode == Exit.NO_NETWORK, told.stdout

    country.lift()
    await until_called(country, byway, sites, NetworkState.OK)
    assert await winner_of_visit(country, byway, sites[2]) == "direct"


@pytest.mark.slow
@at_once
@with_byway(HURRIED)
async def test_on_a_domestic_network_relays_go_first_until_foreign_pages_answer(
    country: Country, byway: Running
) -> None:
    foreign = [country.add_site(f"site{number}.test") for number in range(5)]
    home = country.add_site("home.test")
    assert (await visit(country, byway, home)).genuine
    allowed = (places.PROVIDER, places.CONTROLS[places.DOMESTIC], home.address, places.SOCKS_RELAY)
    country.rules.set([rules.AllowList(addresses=allowed)])
    await until_called(country, byway, [*foreign, home], NetworkState.RESTRICTED)
    assert byway.warned("domestic") == 1

    since = await country.caught_up()
    for site in foreign:
        assert await winner_of_visit(country, byway, site) == RELAY
        assert country.router.events.connections(site.address, since=since) == 0, "relays go first"
    assert await winner_of_visit(country, byway, home) == "direct", "it worked within the hour"
    assert await blamed(byway) == []

    country.lift()
    await until_called(country, byway, foreign, NetworkState.OK)
    asked = [seen for seen in country.router.events.names_on("net", since=since) if seen.name in places.CONTROLS]
    assert places.DOMESTIC not in {seen.name for seen in asked}
    assert await winner_of_visit(country, byway, country.add_site("fresh.test")) == "direct"
