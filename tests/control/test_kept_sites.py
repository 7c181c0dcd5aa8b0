"""What is kept of the rows of sites is what a first reading finds, whatever happened since, and costs what changed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from proxy.control.kept_sites import KeptSites, SiteKind
from proxy.control.site_reader import SiteReader
from proxy.control.site_states import KnownSite, SiteStates
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ResolverMeasured
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Belief, NetworkId, Stage, State, Symptom
from proxy.net.tasks import spawn
from tests.support.control_world import World
from tests.support.outcomes import AWAY, HOME, TOR, VPS, delivered, down, failed, open_uplink, outcome, rescued, works

NOW = 1_790_000_000.0
HOSTS = ("a.one.example", "b.one.example", "one.example", "two.example", "www.two.example", "three.example")
SITES = 1_000


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def known(number: int) -> Belief:
    state = State.BLOCKED if number % 2 else State.SUSPECT
    return Belief(f"www{number}.example", HOME, state, "dns", score=4.0, since=NOW - number, until=NOW + 9e5)


def read(kept: KeptSites, states: SiteStates) -> int:
    """Renews what is outdated. Returns the number of domains."""
    outdated = kept.outdated(states)
    for domain in outdated:
        kept.renew(states, domain)
    return len(outdated)


def told(kept: KeptSites) -> tuple[dict[NetworkId, list[KnownSite]], dict[SiteKind, int]]:
    listed = {network: [*kept.on_network(network)] for network in kept.networks()}
    return listed, dict(kept.counts())


@pytest.mark.parametrize("seed", range(12))
def test_after_any_events_the_kept_rows_are_those_of_a_first_reading(world: World, seed: int) -> None:
    drawn, now, kept = random.Random(seed), NOW, KeptSites()
    relays = {"tor": NOW - 9e9}
    network = HOME
    for _ in range(150):
        host, beliefs = drawn.choice(HOSTS), world.beliefs
        match drawn.randrange(10):
            case 0 | 1 | 2:
                route = drawn.choice((TOR, VPS))
                beliefs.learn(rescued(host=host, by=route, at=now), network=network, now=now)
            case 3:
                beliefs.learn(works(host, at=now), network=network, now=now)
            case 4:
                beliefs.learn(down(host=host), network=network, now=now)
            case 5:
                status = drawn.choice((SiteStatus.RELAYS_FAIL, SiteStatus.SITE_DOWN, SiteStatus.BLOCKED))
                tried = drawn.choice(((), ("tor",)))
                port = drawn.choice((443, 8443))
                result = LastResult(status, now, Source.MEASUREMENT, "dns", relays=tried, port=port)
                beliefs.measured(host, result, network=network)
            case 6:
                closed = outcome(failed(Symptom.REFUSED, Stage.CONNECT), host=host, port=8443, at=now)
                beliefs.learn(closed, network=network, now=now)
            case 7:
                relays["tor"] = drawn.choice((now, NOW - 9e9))
            case 8:
                beliefs.forget(host)
            case _:
                network = drawn.choice((HOME, HOME, AWAY))
                beliefs.note(ResolverMeasured(frozenset(drawn.choice((HOSTS, ())))), network=network, now=now)
        now += drawn.choice((0.5, 30.0, 4_000.0, 90_000.0))
        states = SiteStates(beliefs, network, dict(relays), now)
        read(kept, states)
        first = KeptSites()
        read(first, states)
        assert told(kept) == told(first)


def test_only_what_changed_is_read_again(world: World) -> None:
    world.beliefs = Beliefs(world.settings.detect, [known(number) for number in range(SITES)])
    open_uplink(world.beliefs, now=NOW)
    kept, states = KeptSites(), SiteStates(world.beliefs, HOME, {}, NOW)
    assert read(kept, states) == SITES
    assert read(kept, states) == 0
    world.beliefs.learn(outcome(delivered(TOR), host="www7.example", at=NOW), network=HOME, now=NOW)
    world.beliefs.learn(rescued(host="new.other.example", at=NOW), network=HOME, now=NOW)
    assert read(kept, SiteStates(world.beliefs, HOME, {}, NOW + 1)) <= 3
    assert read(kept, SiteStates(world.beliefs, HOME, {}, NOW + 9.5e5)) >= SITES
    assert kept.on_network(HOME) == ()


def test_lists_have_those_in_trouble_first_and_the_latest_of_them(world: World) -> None:
    beliefs = Beliefs(
        world.settings.detect,
        [*map(known, range(9)), Belief("w.example", HOME, State.WORKS, since=NOW, until=NOW + 9e5)],
    )
    kept = KeptSites()
    read(kept, SiteStates(beliefs, HOME, {}, NOW))
    assert [site.name for site in kept.on_network(HOME)] == [*(f"www{n}.example" for n in range(9)), "w.example"]
    statuses = Counter({kind.status: count for kind, count in kept.counts().items()})
    assert statuses == {"likely blocked": 5, "blocked": 4, "works": 1}
    assert kept.on_network(AWAY) == ()


async def test_a_reading_that_was_broken_off_is_made_again(world: World) -> None:
    world.beliefs = Beliefs(world.settings.detect, [known(number) for number in range(SITES)])
    reader = SiteReader(world.parts)
    task = spawn(reader.known(NOW), name="reading")
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await reader.known(NOW)) == SITES


async def test_forgotten_names_are_not_kept(world: World) -> None:
    world.beliefs = Beliefs(world.settings.detect, [known(1)])
    reader = SiteReader(world.parts)
    assert [site.name for site in await reader.known(NOW)] == ["www1.example"]
    reader.forget()
    assert vars(reader)["_kept"].networks() == []
