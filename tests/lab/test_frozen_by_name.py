"""Two sites at one address, of which the transfers of one freeze, or of both.

Where only the name freezes, a cut hello hides it, and the site comes by a local strategy after a while. Where the
address freezes, no strategy would help, and none is tried.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.lab.country import NO_HEDGE, RELAY, Country
from tests.lab.deeds import Deed
from tests.lab.matches import Addresses
from tests.lab.rules import Freeze, When
from tests.lab.rules_2025 import ByCutHello, FreezeByName
from tests.lab.scenarios import NEIGHBOUR, REAL, Way
from tests.lab.trials import DETECT, accompanied, limited
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=2)

HURRIED = NO_HEDGE + "".join(f"{key} = {value}\n" for key, value in DETECT.items())
VISITS, APART_S, PATIENCE_S = 10, 5.0, 15.0


@pytest.mark.parametrize("is_by_name", [True, False], ids=["name", "address"])
@at_once
async def test_a_strategy_is_tried_where_the_address_brings_another_name(folder: Path, *, is_by_name: bool) -> None:
    async with Country(folder) as country:
        country.add_site(NEIGHBOUR)
        site, other = (country.add_site(name, conduct=REAL) for name in ("frozen.test", "beside.test"))
        country.zone.names[other.name] = country.zone.names[site.name]
        cut = When(ByCutHello(Addresses([site.address])), Deed())
        freezes = FreezeByName(site.name) if is_by_name else Freeze(addresses=[site.address])
        async with country.byway(folder / "byway", config=country.config(detect=HURRIED)) as byway:
            visitor = country.visitor(byway)
            async with accompanied(visitor, Way.DIRECT, Way.RELAY):
                country.rules.set([cut, freezes])
                for _ in range(VISITS):
                    for one in (site, other):
                        seen = await limited(visitor, one.url("/big"), PATIENCE_S)
                        assert seen.genuine or (await limited(visitor, one.url("/big"), PATIENCE_S)).genuine
                    await asyncio.sleep(APART_S)
            winners: list[str] = []

            async def are_written() -> bool:
                winners[:] = [row["winner"] for row in await byway.rows(site.name)]
                return len(winners) > VISITS

            await until_read(are_written)
            held = await byway.belief(site.name)
    assert winners[:2] == ["direct", RELAY]
    assert held["cause"] == "frozen"
    assert bool(cut.acts) is is_by_name
    assert winners[-1] == ("direct|tlsrec" if is_by_name else RELAY)
