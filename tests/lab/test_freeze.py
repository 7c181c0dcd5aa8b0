"""A site that only freezes: from the first page that stops until direct works again."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.model import State
from tests.lab import trials
from tests.lab.country import RELAY, Site
from tests.lab.scenarios import BY_NAME, TROUBLED
from tests.lab.trials import Stay, limited

pytestmark = pytest.mark.waits

PAGE = "/big"
ROW = BY_NAME["freeze"]
VISITS_MAX = 20


@pytest.mark.namespaces
async def test_a_frozen_flow_is_ended_and_its_site_is_left_and_found_again(tmp_path: Path) -> None:
    async with trials.stay(tmp_path, {ROW: 1}) as (here, sites):
        site = sites[ROW][0]
        assert not await visit(here, site)
        held = await here.byway.belief(site.name)
        assert (held["state"], held["cause"]) == (State.SUSPECT, "frozen")
        frozen = (await here.byway.rows(site.name))[0]
        assert frozen["winner"] == "direct"
        assert "froze after" in str(frozen["attempts"]), "it was ended, and not by the visitor"

        assert await visit(here, site), "the next visit goes by the relay at once"
        assert (await here.byway.rows(site.name))[1]["winner"] == RELAY

        here.country.rules.set([])
        for _ in range(VISITS_MAX):  # each may bring a re-test, two seconds after the last
            assert await visit(here, site)
            if State((await here.byway.belief(site.name))["state"]) not in TROUBLED:
                break
        assert await visit(here, site)
        assert (await here.byway.rows(site.name))[-1]["winner"] == "direct"


async def visit(here: Stay, site: Site) -> bool:
    """Returns whether the site's own page came whole, within the time in which Byway recognises a frozen flow."""
    seen = await limited(here.country.visitor(here.byway), site.url(PAGE), 20)
    return seen.genuine
