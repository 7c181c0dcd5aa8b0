"""An evening of paced streams, from servers that send as fast as a film is shown: nothing is wrong, and little may be
asked about it.

Each server is slower than the sites beside it, so that a comparison of speeds may be due for each. They share the
budget of re-tests with blocked sites.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.model import State
from tests.lab import places
from tests.lab.country import Country, Running, Site
from tests.lab.origins import Conduct
from tests.lab.rules import SniReset
from tests.lab.scenarios import FINE, TROUBLED
from tests.lab.trials import fast_pages, limited
from tests.lab.views import View
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

RATE = 130_000
STREAMS = 6
STREAM_S = 9.0
COMPARED_S = 12.0
"""After the last stream: a comparison begins 2 s later, and takes some seconds."""
DETECT = (
    "throttled_s = 3.0\ncompared_apart_s = 1.0\nretest_suspect_s = 2.0\nretest_jitter = 0.0\n"
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\ncontrol_interval_s = 1.0\n"
)


async def test_streams_leave_the_budget_to_blocked_sites(folder: Path) -> None:
    """Six hosts of six sites: with the usual budget of 6 an hour, a comparison of each would leave nothing."""
    async with (
        Country(folder) as country,
        country.byway(folder / "byway", config=country.config(detect=DETECT)) as byway,
    ):
        await _evening(country, byway)


async def _evening(country: Country, byway: Running) -> None:
    conduct = Conduct(bytes_per_s=RATE, paced="/bytes/", page_bytes=200_000)
    streams = [country.add_site(f"r{number}.film{number}.test", conduct=conduct) for number in range(STREAMS)]
    fast, blocked = country.add_site("fast.test"), country.add_site("blocked.test")
    country.rules.set([SniReset(blocked.name, view=View.RECORDS)])
    visitor = country.visitor(byway)
    async with fast_pages(visitor, fast.url("/big")):
        path = f"/bytes/{round(RATE * STREAM_S)}"
        seen = await asyncio.gather(*(limited(visitor, site.url(path), 4 * STREAM_S) for site in streams))
    assert all(one.genuine for one in seen)
    await asyncio.sleep(COMPARED_S)
    compared = [site for site in streams if asked_beside(country, site)]
    assert len(compared) <= 1, [site.name for site in compared]
    for site in streams:
        assert State((await byway.belief(site.name))["state"]) in FINE

    assert (await limited(visitor, fast.url(), 10)).genuine
    assert (await limited(visitor, blocked.url(), 20)).genuine
    assert State((await byway.belief(blocked.name))["state"]) in TROUBLED
    country.rules.set([])

    async def is_direct_again() -> bool:  # a re-test was made: visits go by the relay until then
        assert (await limited(visitor, blocked.url(), 20)).genuine
        return places.CLIENT in country.origins.peers(blocked.name)

    await until_read(is_direct_again, within_s=30)


def asked_beside(country: Country, site: Site) -> bool:
    """Whether the site's first page was requested, which its visitor never did."""
    return any(one.host == site.name and one.target == "/" for one in country.origins.asked)
