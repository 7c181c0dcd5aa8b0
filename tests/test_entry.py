"""One line of the log: what it gains on the way, what it teaches, and that it is written once, when all is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.entry import Entry
from proxy.errors import DialError
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Change,
    ClosedBy,
    Destination,
    Inbound,
    NetworkId,
    Outcome,
    Plan,
    Protocol,
    Request,
    Stage,
    State,
    Symptom,
)
from proxy.net.pump import Carried
from proxy.net.race import Winner
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, failed, outcome, pending
from tests.support.services import NoFlows, services
from tests.support.waiting import until


@dataclass
class World:
    """What an entry is given, and what it makes of it."""

    network: NetworkId = HOME
    now: float = 1000.0
    written: list[tuple[Outcome, NetworkId]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def entry(self, plan: Plan | None = None) -> Entry:
        request = Request(1, Destination(HOST, 443), Inbound.CONNECT, "127.0.0.1:50000")
        plan = plan or Plan(Action.AUTO, (DIRECT, TOR), "AUTO: nothing is known")
        shared = services(
            network=lambda: self.network,
            now=lambda: self.now,
            believe=self.changes.extend,
            record=lambda outcome, network: self.written.append((outcome, network)),
        )
        return Entry(request, plan, network=HOME, services=shared)

    @property
    def outcome(self) -> Outcome:
        """The one that was written."""
        ((outcome, _),) = self.written
        return outcome

    @property
    def learned(self) -> list[State]:
        return [change.after for change in self.changes]


class Race:
    """A race that is over, with an overtaken direct attempt if `later` will tell of one."""

    def __init__(self, *attempts: Attempt, later: asyncio.Future[Attempt | None] | None = None) -> None:
        self.attempts = attempts
        self.closed = False
        self.has_overtaken = later is not None
        self._later = later

    async def overtaken(self) -> Attempt | None:
        assert self._later is not None
        return await self._later

    def close(self) -> None:
        self.closed = True


def won(entry: Entry, race: Race, *, valid: bool = True) -> None:
    route = race.attempts[-1].route
    entry.won(cast(Any, race), Winner(route, cast(Any, None), b"answer", b"", valid))


def carried(up: int = 10, down: int = 20, by: ClosedBy = ClosedBy.CLIENT, error: str = "") -> Carried:
    return Carried(up, down, by, error)


@pytest.fixture
def world() -> World:
    return World()


async def test_it_is_written_once_when_nothing_more_is_to_come(world: World) -> None:
    entry = world.entry()
    entry.hold()
    entry.hold()
    world.now += 5
    entry.close()
    entry.close()
    assert world.written == []
    entry.close()
    assert world.outcome.duration == 5
    assert world.outcome.at == 1000
    assert world.written[0][1] == HOME


async def test_a_rescue_is_told_and_learned_at_once(world: World) -> None:
    entry = world.entry()
    won(entry, Race(failed(Symptom.RESET), delivered(TOR)))
    assert world.written == []
    assert world.learned == [State.SUSPECT]
    entry.hold()
    entry.close()
    entry.carried(carried())
    assert (world.outcome.winner, world.outcome.bytes_up, world.outcome.bytes_down) == (TOR, 10, 20)
    assert world.outcome.closed_by is ClosedBy.CLIENT


async def test_what_happened_on_another_network_teaches_nothing(world: World) -> None:
    entry = world.entry()
    world.network = AWAY
    won(entry, Race(failed(Symptom.RESET), delivered(TOR)))
    entry.close()
    assert world.changes == []
    assert world.written[0][1] == HOME, "but it is written, and of the network where it began"


async def test_an_overtaken_direct_attempt_is_judged_before_the_entry_is_written(world: World) -> None:
    later: asyncio.Future[Attempt | None] = asyncio.get_running_loop().create_future()
    entry = world.entry()
    won(entry, Race(pending(), delivered(TOR), later=later))
    entry.close()
    assert world.written == []
    later.set_result(failed(Symptom.DROPPED))
    await until(lambda: bool(world.written))
    assert [a.symptom for a in world.outcome.attempts] == [Symptom.DROPPED, Symptom.NONE]
    assert world.learned[-1] is State.SUSPECT


async def test_an_overtaken_attempt_that_cannot_be_judged_does_not_keep_the_entry(world: World) -> None:
    for result in (None, OSError("lost")):
        world.written.clear()
        later: asyncio.Future[Attempt | None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        entry = world.entry()
        won(entry, Race(pending(), delivered(TOR), later=later))
        entry.close()
        if result is None:
            later.set_result(None)
        else:
            later.set_exception(result)
        await until(lambda: bool(world.written))


async def test_a_loss_names_what_was_tried(world: World) -> None:
    entry = world.entry()
    race = Race(failed(Symptom.REFUSED, Stage.CONNECT), failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR, error="no"))
    entry.lost(cast(Any, race))
    entry.close()
    assert race.closed
    assert world.outcome.winner is None
    assert "direct: refused; tor: no" in world.outcome.error
    assert "tor" not in entry.told, "a page may read it"
    assert entry.symptom is Symptom.REFUSED
    assert State.SUSPECT not in world.learned, "no route delivered: nothing lasting is learned"
    assert State.BLOCKED not in world.learned


async def test_a_client_that_left_is_no_loss_of_the_routes(world: World) -> None:
    entry = world.entry()
    entry.lost(cast(Any, Race(pending())), client_left=True)
    entry.close()
    assert world.outcome.closed_by is ClosedBy.CLIENT
    assert world.changes == []


@pytest.mark.parametrize(
    ("plan", "symptom", "words"),
    [
        (Plan(Action.BLOCK, (), "rules.txt:1 MATCH,BLOCK"), Symptom.FORBIDDEN, "rules.txt:1"),
        (Plan(Action.RELAY, (), "no relay works"), Symptom.RELAY_DOWN, "no route"),
    ],
)
async def test_a_plan_without_routes_is_told_as_what_it_is(
    world: World, plan: Plan, symptom: Symptom, words: str
) -> None:
    entry = world.entry(plan)
    entry.lost(cast(Any, Race()))
    entry.close()
    assert entry.symptom is symptom
    assert words in entry.told
    assert plan.why in world.outcome.error


@pytest.mark.parametrize(
    ("came", "attempt", "winner"),
    [
        (carried(down=5), Attempt(DIRECT, Stage.DONE), DIRECT),
        (carried(down=0, by=ClosedBy.SERVER), failed(Symptom.EOF, error="closed without an answer"), None),
        (carried(down=0, by=ClosedBy.SERVER, error="reset"), failed(Symptom.RESET, error="reset"), None),
        (carried(down=0), failed(Symptom.ABANDONED), None),
        (carried(down=0, by=ClosedBy.IDLE), failed(Symptom.ABANDONED), None),
    ],
)
async def test_a_request_that_was_left_to_one_route_is_judged_by_what_came(
    world: World, came: Carried, attempt: Attempt, winner: Any
) -> None:
    entry = world.entry()
    won(entry, Race(pending()), valid=False)
    entry.carried(came)
    (judged,) = world.outcome.attempts
    assert (judged.stage, judged.symptom, judged.error) == (attempt.stage, attempt.symptom, attempt.error)
    assert world.outcome.winner == winner


@pytest.mark.parametrize("symptom", [Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.SILENT])
async def test_a_path_that_broke_has_its_symptom(world: World, symptom: Symptom) -> None:
    error = DialError("broke", stage=Stage.FIRST_BYTE, symptom=symptom)
    entry = world.entry()
    entry.say(attempts=(pending(),), winner=DIRECT)
    entry.broke(error)
    entry.close()
    assert [a.symptom for a in world.outcome.attempts] == [symptom]
    assert world.outcome.winner is None
    assert world.outcome.error.startswith(f"{HOST}:443: ")


async def test_an_answer_on_a_connection_used_before_is_an_attempt_of_its_own(world: World) -> None:
    entry = world.entry()
    entry.delivered(TOR, "192.0.2.1:443")
    entry.close()
    (attempt,) = world.outcome.attempts
    assert (attempt.route, attempt.delivered, dict(attempt.evidence)) == (TOR, True, {"reused": 1})
    assert world.outcome.winner == TOR


async def test_what_an_exchange_moved_and_what_its_tunnel_moved_are_added(world: World) -> None:
    entry = world.entry()
    entry.say(bytes_up=1, bytes_down=2, winner=DIRECT)
    entry.carried(carried(10, 20))
    assert (world.outcome.bytes_up, world.outcome.bytes_down) == (11, 22)


def test_an_outcome_is_the_same_until_something_is_said(world: World) -> None:
    entry = world.entry()
    first = entry.outcome
    assert entry.outcome is first
    entry.say(error="late")
    assert entry.outcome.error == "late"
    assert first.error == ""


@pytest.mark.parametrize(
    ("protocol", "network", "counts"),
    [(Protocol.TLS, HOME, True), (Protocol.HTTP, HOME, False), (Protocol.TLS, AWAY, False)],
)
def test_G1_a_page_that_stays_open_shows_that_the_uplink_is_well(
    protocol: Protocol, network: NetworkId, counts: bool
) -> None:
    flows = Flows()
    shared = services(flows=flows, network=lambda: network)
    beliefs = shared.beliefs
    blocked = outcome(failed(Symptom.RESET), delivered(TOR), host=HOST, at=999.0)
    beliefs.learn(blocked, network=network, now=1000.0)
    request = Request(1, Destination("radio.example.net", 443), Inbound.CONNECT, "127.0.0.1:50000")
    radio = Entry(request, Plan(Action.AUTO, (DIRECT, TOR), ""), network=HOME, services=shared)
    radio.say(protocol=protocol, winner=DIRECT, attempts=(delivered(),))
    radio.watch(cast(Any, SimpleNamespace(over=False)))
    if flows.brings is not None:
        flows.brings(0.5)

    assert (beliefs.lookup(HOST, network=network, now=1000.0).score > 0) == counts


class Flows(NoFlows):
    """Keeps what it is to call when bytes come."""

    brings: Callable[[float], None] | None = None

    def watch(self, *given: Any, **named: Any) -> object:
        self.brings = named["brings"]
        return super().watch(*given, **named)
