"""What the API says of sites and of their history."""

from __future__ import annotations

import time

from proxy.control.site_reader import SiteReader
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.features.sites.answers import SiteJson
from proxy.features.sites.reader import history, said
from proxy.model import Belief, State
from tests.support.control_world import World
from tests.support.outcomes import HOME


async def test_to_measure_a_block_again_does_not_begin_it() -> None:
    """On its page, in the list and in the history alike."""
    world, now = World(), time.time()
    held = Belief(
        "www1.example", HOME, State.BLOCKED, "sni_reset", score=4.0, since=now - 60, until=now + 9e5,
        began=now - 9 * 86_400, signal_at=now - 60,
    )  # fmt: skip
    world.beliefs = Beliefs(world.settings.detect, [held])
    reader, host = SiteReader(world.parts), "www1.example"
    before = SiteJson.of_known(reader.states(now).host(host))
    assert (before.since, before.found_at) == (now - 9 * 86_400, now - 60)
    measured = LastResult(SiteStatus.BLOCKED, now, Source.MEASUREMENT, "dns", "DNS tampering", works_by="direct|doh")
    world.beliefs.measured(host, measured, network=HOME)
    after = SiteJson.of_known(reader.states(now).host(host))
    assert (after.since, after.found_at, after.cause, after.works_by) == (before.since, now, "dns", "direct|doh")
    (row,) = await said(await reader.known(now))
    assert row == after
    _, (spell,) = await history(world.parts, host)
    assert (spell.since, spell.until) == (before.since, None)
    world.store.close()
