"""A site that only freezes: from the first page that stops until direct works again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.model import State
from tests.lab import trials
from tests.lab.all_scenarios import BY_NAME
from tests.lab.country import RELAY, Site
from tests.lab.scenarios import TROUBLED
from tests.lab.trials import Stay, limited
from tests.support.waiting import until_read

pytestmark = pytest.mark.waits

PAGE = "/big"
# A visit that is late on a busy machine is not given to the relay as well, which would bring the page.
HEDGES = ("hedge_syn_s", "hedge_retransmits", "hedge_unacked_s", "hedge_silent_s")
ROW = replace(BY_NAME["freeze"], detect=dict.fromkeys(HEDGES, 1000))


@pytest.mark.namespaces
async def test_a_frozen_flow_is_ended_and_its_site_is_left_and_found_again(tmp_path: Path) -> None:
    async with trials.stay(tmp_path, {ROW: 1}) as (here, sites):
        site, rows = sites[ROW][0], list[dict[str, Any]]()

        async def visit() -> bool:
            """Returns whether the site's own page came whole, once the visit has its row."""
            seen = await limited(here.country.visitor(here.byway), site.url(PAGE), 30)
            rows[:] = await here.byway.rows(site.name, len(rows) + 1)
            return seen.genuine

        assert not await visit()
        assert rows[0]["winner"] == "direct"
        assert "froze after" in str(rows[0]["attempts"]), "it was ended, and not by the visitor"
        await until_read(lambda: is_suspect(here, site))

        assert await visit(), "the next visit goes by the relay at once"
        assert rows[1]["winner"] == RELAY

        here.country.rules.set([])

        async def is_left_no_more() -> bool:
            assert await visit()  # each may bring a re-test, two seconds after the last
            return State((await here.byway.belief(site.name))["state"]) not in TROUBLED

        await until_read(is_left_no_more)
        assert await visit()
        assert rows[-1]["winner"] == "direct"


async def is_suspect(here: Stay, site: Site) -> bool:
    held = await here.byway.belief(site.name)
    return (held["state"], held["cause"]) == (State.SUSPECT, "frozen")
