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
from tests.lab.country import Site
from tests.lab.judging import Summary, Trial, summaries, table
from tests.lab.scenarios import BY_NAME, Scenario, Way

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROWS = tuple(
    BY_NAME[name] for name in ("sni-drop-records", "sni-reset-records", "http-page", "freeze", "intercept-known")
)
BEFORE = 3
"""Visits to each site while nothing is blocked."""


@pytest.fixture(scope="module")
def found() -> Mapping[str, Summary]:
    """Returns the result of each row after its sites were blocked."""

    async def make() -> list[Trial]:
        with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
            async with trials.stay(Path(folder), dict.fromkeys(ROWS, 1), patient=True) as (here, sites):
                here.country.rules.set([])
                await asyncio.gather(*(known(here, row, sites[row][0]) for row in ROWS))
                here.visits_before = BEFORE
                here.country.rules.set([rule for row in ROWS for rule in row.arrange(here.country, sites[row])])
                made = await asyncio.gather(*(here.trial(row, 0, sites[row][0]) for row in ROWS))
                return await here.lasting((trial, sites[row][0]) for row, trial in zip(ROWS, made, strict=True))

    return {summary.scenario.name: summary for summary in summaries(ROWS, asyncio.run(make()))}


async def known(here: trials.Stay, row: Scenario, site: Site) -> None:
    """Visits a site until Byway knows that it works."""
    for number in range(BEFORE):
        visit = await trials.limited(here.country.visitor(here.byway), site.url(row.path, secure=row.secure), 20)
        assert visit.genuine, visit
        assert await here.way(site, number) is Way.DIRECT
    assert (await here.byway.belief(site.name))["state"] in (State.WORKS, State.UNKNOWN)


@pytest.mark.namespaces
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_site_that_was_known_to_work_is_judged_as_any_other(found: Mapping[str, Summary], row: Scenario) -> None:
    summary = found[row.name]
    assert not summary.broken(waits=False), table([summary])
