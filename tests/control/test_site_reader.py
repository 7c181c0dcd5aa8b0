"""Reading what is known of very many sites while connections go on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from proxy.config.schema import Auto
from proxy.control.site_reader import SiteReader, in_blocks
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Belief, NetworkId, Stage, State, StoredResult, Symptom
from proxy.net.tasks import spawn
from tests.support.control_world import World
from tests.support.outcomes import HOME, delivered, failed, outcome

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
    read = await in_blocks(lambda site: site.stored.scope, sites)
    counting.cancel()
    assert between >= SITES // 250
    assert turns - between >= SITES // 250
    assert sorted(read) == sorted(f"www{number}.example" for number in range(SITES))
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
    states = reader.states(now)
    alone = [states.host(site.name) if site.stored.network == HOME else states.stored(site.stored) for site in sites]
    assert sites == alone
    assert {site.stored.network for site in sites} == {HOME, AWAY}
    assert "only.failed.example" in {site.name for site in sites}
    assert [site.name for site in sites if site.state.status is SiteStatus.SITE_DOWN] == [
        "only.failed.example", "www1.example",
    ]  # fmt: skip
    world.store.close()


CLOSED = failed(Symptom.REFUSED, Stage.CONNECT)


async def test_a_closed_port_is_a_row_of_its_own_and_not_the_site() -> None:
    world, now = World(), time.time()
    world.see(outcome(delivered(), host="okaysite.com", at=now))
    world.see(outcome(CLOSED, host="okaysite.com", port=8443, at=now))
    reader = SiteReader(world.parts)
    (row,) = await reader.known(time.time())
    assert (row.name_and_port, row.stored.scope, row.state.port) == ("okaysite.com:8443", "okaysite.com", 8443)
    assert row.state.status == "site down"
    states = reader.states(time.time())
    whole = states.host("okaysite.com")
    assert (whole.name_and_port, whole.state.status) == ("okaysite.com", "works")
    assert states.ports("okaysite.com") == [row]
    assert states.ports("other.example") == []
    world.store.close()


class Controlled(World):
    """With one control page."""

    def __post_init__(self) -> None:
        self.settings = replace(self.settings, auto=Auto(controls=("https://control.example/",)))
        super().__post_init__()


async def test_control_pages_that_nobody_visited_are_no_sites() -> None:
    world, now = Controlled(), time.time()
    down = LastResult(SiteStatus.NO_SUCH_NAME, now, Source.MEASUREMENT, "name")
    for host in ("control.example", "asked.example"):
        world.beliefs.measured(host, down, network=HOME)
    reader = SiteReader(world.parts)
    assert [site.name for site in await reader.known(now)] == ["asked.example"]
    world.see(outcome(delivered(), host="other.test", at=now), outcome(CLOSED, host="control.example", at=now))
    assert {site.name for site in await reader.known(time.time())} == {"asked.example", "control.example"}
    world.store.close()


async def test_a_control_page_that_somebody_visited_is_a_site_also_after_a_restart() -> None:
    """Only the result of the visit is known then."""
    world, now = Controlled(), time.time()
    visited = StoredResult(HOME, "control.example", 443, "site down", now, "connection", "down", otherwise="not tested")
    world.beliefs = Beliefs(world.settings.detect, results=[visited])
    assert [site.name for site in await SiteReader(world.parts).known(now)] == ["control.example"]
    world.store.close()
