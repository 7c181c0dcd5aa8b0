"""The search for a local strategy without a relay: a visit fails until one is found, and nobody can tell a censor from
a site that is down. So the innocent twins are here, too, with the ClientHellos that left for them between visits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.model import State
from proxy.probe.ladder_search import TRIED_MAX
from tests.lab.censors import CENSORS, Censor
from tests.lab.country import Country, Site
from tests.lab.origins import GOOD, Conduct
from tests.lab.rules import SniReset, When
from tests.lab.rules_2025 import AnyHelloDrop
from tests.lab.scenarios import NEIGHBOUR, Way
from tests.lab.test_ladder_search import APART_S, HURRIED, PATIENCE_S, find
from tests.lab.trials import accompanied, limited
from tests.lab.views import View
from tests.support.at_once import AtOnce

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=9)

FAILS_SOON = {**HURRIED, "syn_s": 2.0, "silent_s": 2.0, "dropped_s": 1.0, "give_up_s": 4.0, "residual_s": 2.0}
TWIN_VISITS = 8
CHECKED = 2
"""ClientHellos that show whether a residue is left: plain direct and another name."""
SEARCHED = 2 * (1 + TRIED_MAX + 1)
"""Those of the searches of an hour: another name, strategies, plain direct."""


@dataclass(frozen=True)
class Twin:
    """A site that fails, for everybody or by chance, on a network without a censor."""

    name: str
    conduct: Conduct = GOOD
    rule: Callable[[Site], When] | None = None
    most: int = CHECKED + SEARCHED  # connections between visits
    opens: bool = False  # now and then


def _share(site: Site) -> When:
    return SniReset(site.name, view=View.RECORDS, share=0.3)


RETESTED = CHECKED + SEARCHED + 2 * TWIN_VISITS
"""With re-tests: where a strategy had better luck than plain direct, the site is suspect."""
LEAVES_AFTER_S = 7.0
TWINS = (
    Twin("dead-backend", Conduct(is_dead=True), most=0),  # a visit ends when the visitor leaves: that begins none
    Twin("resets-everybody", rule=lambda site: SniReset(site.name, view=View.RECORDS)),
    Twin("down", rule=lambda site: AnyHelloDrop(site.address), most=CHECKED + 2),
    Twin("reset-share", rule=_share, most=RETESTED, opens=True),
    Twin("rejects-cut-hellos", Conduct(cut_hello_fails=True), _share, most=RETESTED, opens=True),
)


@pytest.mark.parametrize("censor", CENSORS, ids=lambda censor: censor.name)
@at_once
async def test_a_strategy_is_in_use_after_six_visits_to_three_sites(folder: Path, *, censor: Censor) -> None:
    await find(folder, censor, relay=False)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
@at_once
async def test_nothing_lasting_is_learned_of_a_site_that_fails_for_everybody(folder: Path, *, twin: Twin) -> None:
    async with Country(folder) as country:
        country.add_site(NEIGHBOUR)
        site = country.add_site("www.site-a.test", conduct=twin.conduct)
        detect = "".join(f"{key} = {value}\n" for key, value in FAILS_SOON.items())
        config = country.config(detect=detect, no_relay=True)
        async with country.byway(folder / "byway", config=config) as byway:
            visitor, added = country.visitor(byway), 0
            async with accompanied(visitor, Way.DIRECT):
                country.rules.set([twin.rule(site)] if twin.rule is not None else [])
                for _ in range(TWIN_VISITS):
                    seen = await limited(visitor, site.url(), LEAVES_AFTER_S)
                    assert twin.opens or not seen.genuine, seen
                    before = country.router.events.connections(site.address, 443)
                    await asyncio.sleep(2 * APART_S)
                    added += country.router.events.connections(site.address, 443) - before
                assert added <= twin.most
                if not twin.opens:
                    assert (await byway.belief(site.name))["state"] == State.UNKNOWN
                country.rules.set([])
                country.origins.conducts.pop(site.name, None)
                for _ in range(6):
                    assert (await limited(visitor, site.url(), PATIENCE_S)).genuine
                    await asyncio.sleep(APART_S)
                held = await byway.belief(site.name)
                assert held["state"] == State.WORKS, held
