"""A network that punishes a ClientHello in pieces: it drops it, and then for a while all that goes to that address.

A site that works is not made one that does not, and the network is known by two of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lab.conditions import Conditions, scaled
from tests.lab.country import Country, Running, Site
from tests.lab.origins import Conduct
from tests.lab.rules import SniReset, When
from tests.lab.rules_2025 import CutHelloPunished, ResetOnce
from tests.lab.scenarios import Way
from tests.lab.stories import in_country
from tests.lab.test_hello_count import a_moment_later
from tests.lab.trials import accompanied, kind_of, limited
from tests.lab.views import View
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=4)

HURRIED = "syn_s = 2.0\nsilent_s = 3.0\ndropped_s = 1.0\ngive_up_s = 5.0\n"
PATIENCE_S = 15.0
NEIGHBOUR = "healthy-neighbour.test"


@contextlib.asynccontextmanager
async def staying(country: Country, folder: Path, *, relay: bool) -> AsyncIterator[Running]:
    """Yields a Byway in which another person opens a healthy page every moment."""
    country.add_site(NEIGHBOUR)
    config = country.config(detect=HURRIED, no_relay=not relay)
    async with country.byway(folder / "byway", config=config) as byway, accompanied(country.visitor(byway), Way.DIRECT):
        yield byway


async def visit(country: Country, byway: Running, *sites: Site) -> list[Visit]:
    visitor = country.visitor(byway)
    return await asyncio.gather(*(limited(visitor, site.url(), PATIENCE_S) for site in sites))


async def winner(byway: Running, site: Site, number: int) -> Way:
    """Returns the way of the visit with this number."""
    found: list[Way] = []

    async def written() -> bool:
        found[:] = [kind_of(row["winner"]) for row in await byway.rows(site.name)]
        return len(found) > number

    await until_read(written)
    return found[number]


@pytest.mark.parametrize(("relay", "way"), [(True, Way.RELAY), (False, Way.DIRECT)], ids=["relay", "alone"])
@at_once
@in_country
async def test_a_site_that_works_is_not_punished_for_one_reset(
    country: Country, folder: Path, *, relay: bool, way: Way
) -> None:
    site = country.add_site("site.test")
    async with staying(country, folder, relay=relay) as byway:
        assert all(one.genuine for one in await visit(country, byway, site))
        await a_moment_later(country, site)
        cut, reset = CutHelloPunished(), ResetOnce(site.name)
        country.rules.set([cut, reset])
        (seen,) = await visit(country, byway, site)
        assert seen.genuine, seen
        won = await winner(byway, site, 1)
        assert won is way or (won is Way.DIRECT and not Conditions.in_force().is_fair)  # a whole hello, once more
        assert reset.acts
        assert all(one.genuine for one in await visit(country, byway, site))
        assert not cut.acts
        if not relay:
            assert (await byway.belief(site.name))["state"] == "works"


@pytest.mark.parametrize("twin", [False, True], ids=["punishes", "server"])
@at_once
@in_country
async def test_the_network_is_known_by_two_sites_that_it_punished(
    country: Country, folder: Path, *, twin: bool
) -> None:
    """Without a relay. The twin is a server that rejects cut hellos, on a network that does not mind them."""
    conduct = Conduct(cut_hello_fails=twin)
    first = [country.add_site(f"site.{name}.test", conduct=conduct) for name in ("a", "b")]
    third = country.add_site("site.c.test")
    async with staying(country, folder, relay=False) as byway:
        cut = CutHelloPunished(seconds=scaled(8.0))
        rules: list[When] = [ResetOnce(*(site.name for site in first)), *([] if twin else [cut])]
        country.rules.set(rules)
        assert {one.genuine for one in await visit(country, byway, *first)} == {twin}
        if not twin:
            assert len({str(flow.server) for flow in cut.acts}) == 2
            struck = len(cut.acts)
            assert not any(one.genuine for one in await visit(country, byway, *first))
            assert len(cut.acts) > struck, "whole hellos are punished as well"
            await asyncio.sleep(scaled(8.0))
        assert all(one.genuine for one in await visit(country, byway, *first)), "they come back"
        struck = len(cut.acts)
        country.rules.set([*rules, SniReset(third.name, view=View.PACKET)])
        (seen,) = await visit(country, byway, third)
        assert seen.genuine is twin, "a cut hello would pass this censor"
        said = "".join((await byway.read("status"))["notices"])
        assert ("punishes a fragmented ClientHello" in said) is not twin
        assert len(cut.acts) == struck
