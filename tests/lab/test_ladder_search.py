"""The search for a local strategy in front of real packets, servers and kernels: censors that nobody has described.

In hurried time: visits are 4 s apart. Where a censor punishes, its window and that of Byway are shorter. Elsewhere all
six are over before that of Byway, which finds out that its searches need not wait for the end.

Without a relay: `test_ladder_search_alone`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.model import Protocol
from tests.lab.censors import CENSORS, PASSED_BY, Censor
from tests.lab.country import Country, Site
from tests.lab.rules_2025 import Unknown
from tests.lab.scenarios import NEIGHBOUR, Way
from tests.lab.trials import DETECT, accompanied, limited
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=6)

HURRIED = {**DETECT, "search_per_hour_host": 2, "search_per_hour": 6}
PUNISHED_S, APART_S, PATIENCE_S = 2.5, 4.0, 15.0
VISITS = 6
WINDOW_S, IDLE_WINDOW_S = 3.0, 30.0
"""Of a censor that punishes, and of another one: the last visit comes after it, since visits do wait."""
HERE = [censor for censor in CENSORS if censor.port == 443]


def url_of(site: Site, censor: Censor) -> str:
    return site.url(":8443/" if censor.port == 8443 else "/", secure=censor.protocol is Protocol.TLS)


@pytest.mark.parametrize("censor", HERE, ids=lambda censor: censor.name)
@at_once
async def test_a_strategy_is_found_within_six_visits_of_three_sites(folder: Path, *, censor: Censor) -> None:
    await find(folder, censor, relay=True)


async def find(folder: Path, censor: Censor, *, relay: bool) -> None:
    """Visits three sites in turn, until a strategy that passes is in use for each. With a relay every page comes."""
    async with Country(folder) as country:
        await country.origins.listen([("0.0.0.0", censor.port)] if censor.port == 8443 else [])
        country.add_site(NEIGHBOUR)
        sites = [country.add_site(f"www.site-{letter}.test") for letter in "abc"]
        window_s = WINDOW_S if censor.residual else IDLE_WINDOW_S
        hurried = {**HURRIED, "residual_s": window_s}
        detect = "".join(f"{key} = {value}\n" for key, value in hurried.items())
        rule = Unknown(*(site.name for site in sites), censor=censor, seconds=PUNISHED_S)
        async with country.byway(folder / "byway", config=country.config(detect=detect, no_relay=not relay)) as byway:
            visitor = country.visitor(byway)
            async with accompanied(visitor, Way.DIRECT):
                country.rules.set([rule])
                for _ in range(VISITS):
                    for site in sites:
                        seen = await limited(visitor, url_of(site, censor), PATIENCE_S)
                        assert seen.genuine or not relay, seen
                        await asyncio.sleep(APART_S / len(sites))
                await asyncio.sleep(window_s + 2 * APART_S)
                for site in sites:
                    assert (await limited(visitor, url_of(site, censor), PATIENCE_S)).genuine
                    winners: list[str] = []

                    async def written(name: str = site.name, winners: list[str] = winners) -> bool:
                        winners[:] = [row["winner"] for row in await byway.rows(name)]
                        return len(winners) > VISITS

                    await until_read(written)
                    assert winners[-1] in {f"direct|{rung}" for rung in PASSED_BY[censor.name]}, winners
                assert not {str(flow.server) for flow in rule.acts} - {site.address for site in sites}
