"""Half a second without a network, in the middle of a visit: a flight that looked dropped and was answered is no
block."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import trials
from tests.lab.country import RELAY, Site
from tests.lab.deeds import PASS, Verdict
from tests.lab.flows import Flow
from tests.lab.packets import TCP, Packet
from tests.lab.rules import Rule
from tests.lab.scenarios import BY_NAME
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
        assert (await attempts(here, site, 0))[-1] == "direct|doh"
        here.country.rules.set([*usual, late])
        assert await attempts(here, site, 1) == ["direct|doh", RELAY], "it looked dropped"
        assert (await here.byway.rows(site.name))[1]["winner"] == "direct|doh"
        here.country.rules.set(usual)
        assert await attempts(here, site, 2) == ["direct|doh"]


async def attempts(here: Stay, site: Site, number: int) -> list[str]:
    """Returns the routes that the visit with this number has tried."""
    seen = await limited(here.country.visitor(here.byway), site.url(), 20)
    assert seen.genuine, seen
    await here.way(site, number)
    return [attempt["route"] for attempt in (await here.byway.rows(site.name))[number]["attempts"]]
