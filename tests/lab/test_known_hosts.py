"""Sites that work, so that Byway knows them and takes the shortest path, and that are then blocked.

The protections of a first visit must apply to the tenth: the verdict, the way and the page are those of the table.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.model import State
from tests.lab import trials
from tests.lab.all_scenarios import BY_NAME
from tests.lab.country import Site
from tests.lab.judging import Summary, Trial, summaries, table
from tests.lab.scenarios import Scenario, Way
from tests.support.waiting import until_read

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROWS = tuple(
    BY_NAME[name] for name in ("sni-drop-records", "sni-reset-records", "http-page", "freeze", "intercept-known")
)
BEFORE = 3
"""Visits to each site at least while nothing is blocked."""


@pytest.fixture(scope="module")
def found() -> Mapping[str, Summary]:
    """Returns the result of each row after its sites were blocked."""

    async def make() -> list[Trial]:
        with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
            async with trials.stay(Path(folder), dict.fromkeys(ROWS, 1), patient=True) as (here, sites):
                here.country.rules.set([])

                async def are_known() -> bool:
                    known = await asyncio.gather(*(is_known(here, row, sites[row][0]) for row in ROWS))
                    here.visits_before += 1
                    return here.visits_before >= BEFORE and all(known)

                await until_read(are_known)
                here.country.rules.set([rule for row in ROWS for rule in row.arrange(here.country, sites[row])])
                made = await asyncio.gather(*(here.trial(row, 0, sites[row][0]) for row in ROWS))
                return await here.ended((trial, sites[row][0]) for row, trial in zip(ROWS, made, strict=True))

    return {summary.scenario.name: summary for summary in summaries(ROWS, asyncio.run(make()))}


async def is_known(here: trials.Stay, row: Scenario, site: Site) -> bool:
    """Visits a site once more. Returns whether Byway knows that it works: one that answers late, on a busy machine, may
    come by the relay too."""
    visit = await trials.limited(here.country.visitor(here.byway), site.url(row.path, secure=row.secure), 20)
    assert visit.genuine, visit
    way = await here.way(site, here.visits_before)
    return way is Way.DIRECT and (await here.byway.belief(site.name))["state"] in (State.WORKS, State.UNKNOWN)


@pytest.mark.namespaces
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_site_that_was_known_to_work_is_judged_as_any_other(found: Mapping[str, Summary], row: Scenario) -> None:
    summary = found[row.name]
    assert not summary.broken(waits=False), table([summary])
