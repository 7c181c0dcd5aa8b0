"""One transfer over a local strategy stops for good while others go on, as where Wi-Fi or a router loses a connection.

Nothing is wrong with the strategy: where no relay has carried more than it did, it is not left, nor are the others, for
this site or for the network. `rung-freezes` of the table is its blocking twin.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from proxy.store import queries
from proxy.store.file import open_reader
from tests.lab.country import NO_HEDGE, Country, Running, Site
from tests.lab.rules import SniAnswer
from tests.lab.rules_2025 import WifiStall
from tests.lab.trials import fast_pages, limited
from tests.lab.views import View

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

PATIENCE_S = 30.0
PAGE = "/bytes/100000"


async def test_a_stall_over_a_strategy_alone_condemns_none(folder: Path) -> None:
    async with Country(folder) as country:
        await _story(country, folder / "byway")


async def _story(country: Country, home: Path) -> None:
    sites = [country.add_site(f"www.site-{letter}.test") for letter in "ab"]
    fast = country.add_site("fast.test")
    closes = SniAnswer(*(site.name for site in sites), view=View.TCP)  # no residual blocking begins with that
    country.rules.set([closes])
    async with country.byway(home, config=country.config(detect=NO_HEDGE)) as byway:
        visitor = country.visitor(byway)
        async with fast_pages(visitor, fast.url("/big")):
            for site in sites:
                assert (await limited(visitor, site.url(), PATIENCE_S)).genuine
                country.rules.set([closes, WifiStall(site.name)])
                stopped = await limited(visitor, site.url(PAGE), PATIENCE_S)
                assert not stopped.genuine
                assert "gave up" not in stopped.error, "Byway ended it"
                assert (await limited(visitor, site.url(), PATIENCE_S)).genuine
                country.rules.set([closes])
        ways = {site: await winners(byway, site) for site in sites}
    for first, second, third in ways.values():
        assert first == second != third, "the next try takes another way, since a filter would stop it again"
        assert first.startswith("direct|")
    with contextlib.closing(open_reader(byway.state / "byway.sqlite")) as db:
        held = {belief.scope: belief.rungs_failed for belief in queries.beliefs(db)[0]}
    assert {site.name: held.get(site.name, ()) for site in sites} == {site.name: () for site in sites}


async def winners(byway: Running, site: Site) -> list[str]:
    return [row["winner"] for row in await byway.rows(site.name, 3)][:3]
