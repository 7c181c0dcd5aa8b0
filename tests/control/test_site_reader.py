"""Reading what is known of very many sites while connections go on."""

from __future__ import annotations

import asyncio
import time

from proxy.control.site_reader import SiteReader, answers
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Belief, NetworkId, State
from proxy.net.tasks import spawn
from tests.control.world import World
from tests.support.outcomes import HOME

SITES = 1_000
AWAY = NetworkId("away-0123456789abcdef")


def known(number: int, now: float) -> Belief:
    state = State.BLOCKED if number % 2 else State.SUSPECT
    network = AWAY if number % 10 == 0 else HOME
    return Belief(f"www{number}.example", network, state, "sni_reset", score=4.0, since=now - 60, until=now + 9e5)


async def test_other_tasks_run_while_many_sites_are_read() -> None:
    world, now = World(), time.time()
    world.beliefs = Beliefs(world.settings.detect, [known(number, now) for number in range(SITES)])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = spawn(count(), name="count turns")
    sites = await SiteReader(world.parts).known(now)
    between = turns
    read = await answers(sites)
    counting.cancel()
    assert between >= SITES // 250
    assert turns - between >= SITES // 250
    assert [site.scope for site in read] == [f"www{number}.example" for number in range(SITES)]
    world.store.close()


async def test_each_site_is_read_as_it_is_alone() -> None:
    """On this network with what failed last, on another as it is stored; and one that has only failed."""
    world, now = World(), time.time()
    world.beliefs = Beliefs(world.settings.detect, [known(number, now) for number in range(20)])
    down = LastResult(SiteStatus.SITE_DOWN, now, Source.CONNECTION, text="no route reached it")
    for host in ("only.failed.example", "www1.example"):
        world.beliefs.measured(host, down, network=HOME)
    reader = SiteReader(world.parts)
    sites = await reader.known(now)
    assert [site.answer() for site in sites] == [reader.site(site.stored, now) for site in sites]
    assert {site.stored.network for site in sites} == {HOME, AWAY}
    assert "only.failed.example" in {site.stored.scope for site in sites}
    assert [site.stored.scope for site in sites if site.state.last is down] == ["www1.example", "only.failed.example"]
    world.store.close()
