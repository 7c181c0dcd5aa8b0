"""Half a second without a network, in the middle of a visit: a flight that looked dropped and was answered is no
block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab import trials
from tests.lab.all_scenarios import BY_NAME
from tests.lab.country import RELAY, Site
from tests.lab.deeds import PASS, Verdict
from tests.lab.flows import Flow
from tests.lab.packets import TCP, Packet
from tests.lab.rules import Rule
from tests.lab.trials import Stay, limited

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROW = BY_NAME["dns-race-poison"]
LATE_S = 0.45
"""A delay that is long enough for two retransmissions of a flight; a relay that starts then is later still."""


class LateFrom(Rule):
    """Delays every packet from the first request to `site` on."""

    def __init__(self, site: Site) -> None:
        self._address = site.address
        self.has_begun = False

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP

    def judge(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if packet.outward and packet.payload and str(flow.server) == self._address:
            self.has_begun = True
        return Verdict(delay_s=LATE_S) if self.has_begun else PASS


@pytest.mark.namespaces
async def test_a_site_that_answered_late_is_visited_by_the_same_way_again(tmp_path: Path) -> None:
    async with trials.stay(tmp_path, {ROW: 1}, patient=True) as (here, sites):
        site = sites[ROW][0]
        usual, late = ROW.arrange(here.country, [site]), LateFrom(site)
        # On a busy machine the relay may be called in the other visits too, and no earlier.
        assert (await visit(here, site, 1))["winner"] == "direct|doh"
        here.country.rules.set([*usual, late])
        row = await visit(here, site, 2)
        assert (routes(row), row["winner"]) == (["direct|doh", RELAY], "direct|doh"), "it looked dropped"
        here.country.rules.set(usual)
        assert routes(await visit(here, site, 3))[0] == "direct|doh"


async def visit(here: Stay, site: Site, number: int) -> dict[str, Any]:
    """Returns the row of the visit with this number, from 1 on."""
    seen = await limited(here.country.visitor(here.byway), site.url(), 20)
    assert seen.genuine, seen
    return (await here.byway.rows(site.name, number))[-1]


def routes(row: Mapping[str, Any]) -> list[str]:
    """Returns the routes that it has tried."""
    return [attempt["route"] for attempt in row["attempts"]]
