"""One line of the log: what it gains on the way, what it teaches, and that it is written once, when all is known."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import Carried, ComputerResumed, ControlAnswered, DirectDelivered
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_health import Health
from proxy.extend.dispatch import Addons
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Belief,
    Change,
    ClosedBy,
    ConnectivityResult,
    Destination,
    Evidence,
    HttpRequest,
    Inbound,
    NetworkId,
    NetworkState,
    Outcome,
    PageDoubt,
    Plan,
    Protocol,
    Request,
    Route,
    SignalId,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from proxy.model.errors import DialError
from proxy.net.notify import Notify
from proxy.net.race.race import Winner
from proxy.net.tunnel.pump import TunnelResult
from proxy.net.tunnel.watched_flow import FlowListener, FlowSignal
from proxy.session.connection_record import ConnectionRecord
from proxy.session.events import Delivered, Doubted, Ended, Events, Rescued, TransferSlow, Unserved
from proxy.wire.flight import Flight
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, failed, open_uplink, outcome, pending, works
from tests.support.services import NO_SETUP, NoFlows, services
from tests.support.waiting import until


@dataclass
class World:
    """What an entry is given, and what it makes of it."""

    network: NetworkId = HOME
    now: float = 1000.0
    written: list[tuple[Outcome, NetworkId]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    ended: list[Outcome] = field(default_factory=list)  # tunnels
    addons: Any = field(default_factory=Addons)
    beliefs: Beliefs = field(default_factory=lambda: Beliefs(DetectTuning()))
    health: Health = field(default_factory=lambda: Health(DetectTuning()))
    sounded: list[float] = field(default_factory=list)

    def record(self, plan: Plan | None = None) -> ConnectionRecord:
        request = Request(1, Destination(HOST, 443), Inbound.CONNECT, "127.0.0.1:50000")
        plan = plan or Plan(Action.AUTO, (DIRECT, TOR), "AUTO: nothing is known")
        shared = services(
            beliefs=self.beliefs,
            health=self.health,
            sound=lambda: self.sounded.append(self.now),
            network=lambda: self.network,
            now=lambda: self.now,
            believe=self.changes.extend,
            record=lambda outcome, network: self.written.append((outcome, network)),
            tunnel_ended=self.ended.append,
            addons=self.addons,
        )
        return ConnectionRecord(request, plan, network=HOME, setup=NO_SETUP, services=shared)

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

    def __init__(self, *attempts: Attempt, later: asyncio.Future[Attempt] | None = None) -> None:
        self.attempts = attempts
        self.flight_age = 0.3
        self.leads_home = False
        self.closed = False
        self.overtaken = later
        self._later = later

    def take_overtaken(self) -> Race:
        return self

    async def judge(self) -> Attempt:
        assert self._later is not None
        return await self._later

    def close(self) -> None:
        self.closed = True


def won(record: ConnectionRecord, race: Race, *, valid: bool = True) -> None:
    route = race.attempts[-1].route
    record.on_won(cast(Any, race), Winner(route, cast(Any, None), b"answer", b"", valid))


def carried(up: int = 10, down: int = 20, by: ClosedBy = ClosedBy.CLIENT, error: str = "") -> TunnelResult:
    return TunnelResult(up, down, by, error)


@pytest.fixture
def world() -> World:
    return World()


async def test_it_is_written_once_when_nothing_more_is_to_come(world: World) -> None:
    record = world.record()
    record.retain()
    record.retain()
    world.now += 5
    record.release()
    record.release()
    assert world.written == []
    record.release()
    assert world.outcome.duration == 5
    assert world.outcome.at == 1000
    assert world.written[0][1] == HOME


async def test_the_outcome_of_a_host_that_still_works_is_made_when_somebody_asks_for_it(world: World) -> None:
    events: list[Ended] = []
    for nth in range(3):
        record = world.record()
        record._services.events.on(Ended, events.append)
        won(record, Race(delivered()))
        world.now += 1
        record.release()
        assert (events[-1].routine is not None) is (nth > 0), "the first one made it known"
    assert events[-1].outcome is events[-1].outcome
    assert (events[-1].outcome.winner, events[-1].outcome.at) == (DIRECT, 1002)
    assert world.beliefs.lookup(HOST, network=HOME, now=1003).state is State.WORKS


@pytest.mark.parametrize("what", ["rule", "inspected", "addon", "symptom", "broken", "paused", "learned later"])
async def test_whatever_is_more_than_that_is_told_with_its_outcome(world: World, what: str) -> None:
    world.beliefs.learn(works(), network=HOME, now=world.now)
    plan = Plan(Action.AUTO, (DIRECT,), "AUTO: nothing is known")
    attempt = delivered()
    match what:
        case "rule":
            plan = replace(plan, action=Action.DIRECT)
        case "inspected":
            plan = replace(plan, intercept=True)
        case "addon":
            plan = replace(plan, before=plan)
        case "symptom":
            attempt = replace(attempt, evidence=as_evidence({"elsewhere": "example.net"}))
        case "paused":
            plan = replace(plan, learns=False)
    record = world.record(plan)
    events: list[Ended] = []
    record._services.events.on(Ended, events.append)
    won(record, Race(attempt))
    if what == "broken":
        record.on_broken(DialError("it broke", stage=Stage.FIRST_BYTE, symptom=Symptom.RESET))
    elif what == "learned later":
        record.add_evidence(DIRECT, as_evidence({"seen": 1}))
    record.release()
    assert events[0].routine is None
    assert world.outcome == events[0].outcome


async def test_a_rescue_is_told_and_learned_at_once(world: World) -> None:
    record = world.record()
    won(record, Race(failed(Symptom.RESET), delivered(TOR)))
    assert world.written == []
    assert world.learned == [State.SUSPECT]
    record.retain()
    record.release()
    record.on_tunnel_ended(carried())
    assert (world.outcome.winner, world.outcome.bytes_up, world.outcome.bytes_down) == (TOR, 10, 20)
    assert world.outcome.closed_by is ClosedBy.CLIENT


async def test_that_a_tunnel_has_ended_is_told_with_the_time_that_it_took(world: World) -> None:
    record = world.record()
    record.protocol = Protocol.TLS
    won(record, Race(delivered()))
    world.now += 7200
    record.on_tunnel_ended(carried())
    assert [(tunnel.duration, tunnel.bytes_down) for tunnel in world.ended] == [(7200, 20)]


async def test_all_that_addons_made_of_its_signals_is_written(world: World) -> None:
    said = iter(["a: tls_reset weighs 0 in place of 2", "", "a: dns_denied weighs 1 in place of 3"])
    world.addons = SimpleNamespace(refines=True, wants_attempts=False, take_refinements=lambda _id: next(said))
    record = world.record()
    won(record, Race(failed(Symptom.RESET), delivered(TOR)))
    record.add_evidence(DIRECT, as_evidence({"seen": 1}))
    record.add_evidence(DIRECT, {"dns": SignalId.DNS_DENIED})
    record.release()
    kept = world.outcome.attempts[0].evidence["addons"]
    assert kept == "a: tls_reset weighs 0 in place of 2; a: dns_denied weighs 1 in place of 3"


async def test_what_happened_on_another_network_teaches_nothing(world: World) -> None:
    record = world.record()
    world.network = AWAY
    won(record, Race(failed(Symptom.RESET), delivered(TOR)))
    record.release()
    assert world.changes == []
    assert world.written[0][1] == HOME, "but it is written, and of the network where it began"


async def test_an_overtaken_direct_attempt_is_judged_before_the_entry_is_written(world: World) -> None:
    later: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
    record = world.record()
    won(record, Race(pending(), delivered(TOR), later=later))
    record.release()
    assert world.written == []
    later.set_result(failed(Symptom.DROPPED))
    await until(lambda: bool(world.written))
    assert [a.symptom for a in world.outcome.attempts] == [Symptom.DROPPED, Symptom.NONE]
    assert world.learned[-1] is State.SUSPECT


async def test_an_overtaken_attempt_that_cannot_be_judged_does_not_keep_the_entry(world: World) -> None:
    later: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    record = world.record()
    won(record, Race(pending(), delivered(TOR), later=later))
    record.release()
    later.set_exception(OSError("lost"))
    await until(lambda: bool(world.written))


@pytest.mark.parametrize("leads_home", [True, False])
async def test_a_race_that_found_the_home_network_says_so(world: World, leads_home: bool) -> None:
    record = world.record()
    race = Race(failed(Symptom.TIMEOUT, Stage.CONNECT))
    race.leads_home = leads_home
    record.on_lost(cast(Any, race))
    record.release()
    assert world.outcome.plan.is_home is leads_home
    assert ("is not reachable on this network" in world.outcome.error) is leads_home


async def test_a_loss_names_what_was_tried(world: World) -> None:
    record = world.record()
    race = Race(failed(Symptom.REFUSED, Stage.CONNECT), failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR, error="no"))
    record.on_lost(cast(Any, race))
    record.release()
    assert race.closed
    assert world.outcome.winner is None
    assert "direct: refused; tor: no" in world.outcome.error
    assert "tor" not in record.client_message, "a page may read it"
    assert record.symptom is Symptom.REFUSED
    assert State.SUSPECT not in world.learned, "no route delivered: nothing lasting is learned"
    assert State.BLOCKED not in world.learned


REUSED = Attempt(TOR, Stage.DONE, address="192.0.2.1:443", evidence={"reused": 1})
REFUSES = replace(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), evidence={"relay": "refused"})


async def test_a_relay_that_refuses_is_noted_though_no_route_delivered(world: World) -> None:
    world.record().on_lost(cast(Any, Race(failed(), REFUSES)))
    assert world.health.faults()["tor"].fault is RelayFault.CONNECTION_REFUSED


@pytest.mark.parametrize("by", [ClosedBy.CLIENT, ClosedBy.IDLE, ClosedBy.BYWAY])
async def test_also_when_the_client_has_left(world: World, by: ClosedBy) -> None:
    world.record().on_lost(cast(Any, Race(pending(), REFUSES)), by)
    assert set(world.health.faults()) == {"tor"}


async def test_nothing_is_noted_of_a_relay_on_the_network_that_was_left(world: World) -> None:
    record = world.record()
    world.network = AWAY
    record.on_lost(cast(Any, Race(failed(), REFUSES)))
    assert not world.health.faults()


@pytest.mark.parametrize("state", [NetworkState.OFFLINE, NetworkState.PORTAL])
async def test_offline_or_behind_a_portal_no_relay_is_blamed(world: World, state: NetworkState) -> None:
    if state is NetworkState.PORTAL:
        world.beliefs.learn(
            ControlAnswered("control.test", ConnectivityResult.PORTAL, started=990), network=HOME, now=995
        )
    else:
        offline = outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host="gone.test")
        world.beliefs.learn(offline, network=HOME, now=995)
    assert world.beliefs.network_state(HOME) is state
    world.record().on_lost(cast(Any, Race(failed(), REFUSES)))
    assert not world.health.faults()


async def test_just_after_waking_no_relay_is_blamed(world: World) -> None:
    world.beliefs.note(ComputerResumed(), network=HOME, now=world.now)
    world.record().on_lost(cast(Any, Race(failed(), REFUSES)))
    assert not world.health.faults()


@pytest.mark.parametrize("direct_works", [True, False])
async def test_a_control_shall_tell_whether_it_is_the_network_that_fails(world: World, direct_works: bool) -> None:
    """Under RELAY nothing goes direct that would show a captive portal."""
    if direct_works:
        world.beliefs.learn(DirectDelivered("other.test"), network=HOME, now=world.now - 5)
    world.record(Plan(Action.RELAY, (TOR,), "MATCH,RELAY")).on_lost(cast(Any, Race(REFUSES)))
    assert world.beliefs.control_wanted(HOME, world.now) is not direct_works


async def test_a_relay_that_was_tried_often_is_named_once(world: World) -> None:
    record = world.record()
    tries = [failed(Symptom.RELAY_DOWN, Stage.CONNECT, TOR, error=f"refused {n}") for n in range(3)]
    record.on_lost(cast(Any, Race(failed(Symptom.RESET), *tries)))
    record.release()
    assert "direct: reset; tor: refused 2 (3 tries)" in world.outcome.error
    assert "tor" not in record.client_message


async def test_of_a_route_that_was_tried_again_the_last_try_delivered(world: World) -> None:
    record = world.record()
    won(record, Race(failed(Symptom.RELAY_DOWN, Stage.CONNECT, TOR), Attempt(TOR, Stage.FIRST_BYTE)), valid=False)
    record.on_delivered(REUSED)
    record.release()
    assert [attempt.delivered for attempt in world.outcome.attempts] == [False, True]


async def test_the_attempt_that_was_left_alone_is_judged_and_no_other(world: World) -> None:
    record = world.record()
    won(record, Race(pending(), failed(Symptom.ABANDONED, Stage.CONNECT, TOR)), valid=False)
    record.on_tunnel_ended(carried(down=5))
    assert [(a.route, a.delivered) for a in world.outcome.attempts] == [(DIRECT, True), (TOR, False)]


async def test_a_client_that_left_is_no_loss_of_the_routes(world: World) -> None:
    record = world.record()
    record.on_lost(cast(Any, Race(pending())), ClosedBy.CLIENT)
    record.release()
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
    record = world.record(plan)
    record.on_lost(cast(Any, Race()))
    record.release()
    assert record.symptom is symptom
    assert words in record.client_message
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
    world: World, came: TunnelResult, attempt: Attempt, winner: Any
) -> None:
    record = world.record()
    won(record, Race(pending()), valid=False)
    record.on_tunnel_ended(came)
    (judged,) = world.outcome.attempts
    assert (judged.stage, judged.symptom, judged.error) == (attempt.stage, attempt.symptom, attempt.error)
    assert world.outcome.winner == winner


async def test_one_that_fails_long_after_its_race_has_the_time_of_its_failure(world: World) -> None:
    """That of the signal as well. The client's flight came 40 s after its tunnel had opened."""
    record = world.record()
    world.now += 40.4
    won(record, Race(pending(elapsed=0.4)), valid=False)
    world.now += 25.0
    record.on_tunnel_ended(carried(down=0, by=ClosedBy.SERVER, error="reset"))
    (judged,) = world.outcome.attempts
    assert judged.elapsed == pytest.approx(25.4, abs=0.4)


@pytest.mark.parametrize("symptom", [Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.SILENT])
async def test_a_path_that_broke_has_its_symptom(world: World, symptom: Symptom) -> None:
    error = DialError("broke", stage=Stage.FIRST_BYTE, symptom=symptom)
    record = world.record()
    record.attempts = (pending(),)
    record.winner = DIRECT
    record.on_broken(error)
    record.release()
    assert [a.symptom for a in world.outcome.attempts] == [symptom]
    assert world.outcome.winner is None
    assert world.outcome.error.startswith(f"{HOST}:443: ")


async def test_an_answer_on_a_connection_used_before_is_an_attempt_of_its_own(world: World) -> None:
    record = world.record()
    record.on_delivered(REUSED)
    record.release()
    (attempt,) = world.outcome.attempts
    assert (attempt.route, attempt.delivered, dict(attempt.evidence)) == (TOR, True, {"reused": 1})
    assert world.outcome.winner == TOR


async def test_what_an_exchange_moved_and_what_its_tunnel_moved_are_added(world: World) -> None:
    record = world.record()
    record.bytes_up = 1
    record.bytes_down = 2
    record.winner = DIRECT
    record.on_tunnel_ended(carried(10, 20))
    assert (world.outcome.bytes_up, world.outcome.bytes_down) == (11, 22)


def test_G1_a_tunnel_opened_ahead_of_need_has_its_flight_when_that_came(world: World) -> None:
    """What others did between tells nothing of the uplink in the seconds of its flight."""
    record = world.record()
    world.now += 60
    won(record, Race(failed(Symptom.RESET), delivered(TOR)))
    assert (record.outcome.at, record.outcome.flight_at) == (1000.0, 1059.7)
    (lost := world.record()).on_lost(cast(Any, Race(failed(Symptom.RESET))))
    assert lost.outcome.flight_at == 1059.7


def test_an_outcome_is_a_copy(world: World) -> None:
    record = world.record()
    first = record.outcome
    record.error = "late"
    assert record.outcome.error == "late"
    assert first.error == ""


@pytest.mark.parametrize(
    ("protocol", "network", "counts"),
    [(Protocol.TLS, HOME, True), (Protocol.HTTP, HOME, False), (Protocol.TLS, AWAY, False)],
)
def test_G1_a_page_that_stays_open_shows_that_the_uplink_is_well(
    protocol: Protocol, network: NetworkId, counts: bool
) -> None:
    flows = NoFlows()
    shared = services(flows=flows, network=lambda: network)
    beliefs = shared.beliefs
    blocked = outcome(failed(Symptom.RESET), delivered(TOR), host=HOST, at=999.0)
    beliefs.learn(blocked, network=network, now=1000.0)
    request = Request(1, Destination("radio.example.net", 443), Inbound.CONNECT, "127.0.0.1:50000")
    radio = ConnectionRecord(
        request, Plan(Action.AUTO, (DIRECT, TOR), ""), network=HOME, setup=NO_SETUP, services=shared
    )
    radio.protocol = protocol
    radio.winner = DIRECT
    radio.attempts = (delivered(),)
    radio.keep_open(cast(Any, SimpleNamespace(over=False)))
    for _, _, listener in flows.watched:
        listener.on_direct_bytes(0.5)

    assert (beliefs.lookup(HOST, network=network, now=1000.0).score > 0) == counts


@pytest.mark.parametrize(("there", "told"), [(HOME, 1), (AWAY, 0)])
def test_a_stall_without_a_witness_calls_for_one_unless_the_network_is_another_now(there: NetworkId, told: int) -> None:
    network = HOME
    waits: list[int] = []
    flows = NoFlows()
    shared = services(flows=flows, network=lambda: network, sound=lambda: waits.append(1))
    request = Request(1, Destination(HOST, 443), Inbound.CONNECT, "127.0.0.1:50000")
    record = ConnectionRecord(request, Plan(Action.AUTO, (DIRECT,), ""), network=HOME, setup=NO_SETUP, services=shared)
    record.winner = DIRECT
    record.keep_open(cast(Any, Tunnel()))
    network = there
    ((_, _, listener),) = flows.watched
    listener.on_unwitnessed_stall()
    assert len(waits) == told
    assert shared.beliefs.stall_waits(network=HOME, now=1000.0) is bool(told)


# -- what becomes of a flow that delivered -----------------------------------------------------------------------------


class Watching(NoFlows):
    """What the entry wants to hear of its tunnel."""

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[str, Any] = {}
        self.ends: list[tuple[object, object]] = []

    @property
    def listener(self) -> FlowListener:
        """Whom it tells what was found."""
        return cast(FlowListener, self.watched[-1][2])

    def watch(self, *given: Any, **named: Any) -> object:
        self.named = named
        return super().watch(*given, **named)

    def ended(self, flow: object, carried: object) -> None:
        self.ends.append((flow, carried))


@dataclass
class Tunnel:
    """What the pump gave."""

    over: bool = False
    aborted: list[str] = field(default_factory=list)
    peer: str = "127.0.0.1:9050"
    given_up: int = 0  # how often nothing new was to go over its connection

    @property
    def upstream(self) -> Any:
        return SimpleNamespace(peer=self.peer, give_up_connection=self.give_up)

    def give_up(self) -> None:
        self.given_up += 1

    def abort(self, why: str) -> None:
        self.aborted.append(why)


class VpsRegistry:
    """Knows one relay, which is on another computer."""

    relay_names = ("vps",)

    def first_endpoint(self, name: str) -> Destination:
        return VPS_AT


TLSREC, SPLIT = Route(wrap=("tlsrec",)), Route(wrap=("split",))
VPS, VPS_AT, VPS_PEER = Route(("vps",)), Destination("vps.test", 443), "192.0.2.1:443"


class Watched:
    """An entry whose tunnel is watched, with real beliefs."""

    def __init__(
        self,
        route: Route = DIRECT,
        *,
        cause: str = "",
        action: Action = Action.AUTO,
        near: bool = False,
        peer: str = "127.0.0.1:9050",
        routes: tuple[Route, ...] = (DIRECT, TOR),
    ) -> None:
        self.flows = Watching()
        self.network = HOME
        self.changes: list[Change] = []
        self.written: list[Outcome] = []
        self.shared = services(
            flows=self.flows,
            network=lambda: self.network,
            believe=self.changes.extend,
            record=lambda outcome, _network: self.written.append(outcome),
            beliefs=Beliefs(DetectTuning(), near=lambda host: near),
            setup=lambda: SimpleNamespace(registry=VpsRegistry()),
        )
        self.beliefs = self.shared.beliefs
        if cause:
            held = Belief(HOST, HOME, State.SUSPECT, cause, since=900, until=2000, last_good="tor", last_good_at=900)
            self.beliefs = Beliefs(DetectTuning(), [held])
            self.shared = replace(self.shared, beliefs=self.beliefs)
        request = Request(1, Destination(HOST, 443), Inbound.CONNECT, "127.0.0.1:50000")
        self.record = ConnectionRecord(
            request, Plan(action, routes, ""), network=HOME, setup=NO_SETUP, services=self.shared
        )
        self.record.protocol = Protocol.TLS
        self.record.winner = route
        self.record.attempts = (delivered(route),)
        self.tunnel = Tunnel(peer=peer)

    def watch(self) -> None:
        self.record.keep_open(cast(Any, self.tunnel))
        self.record.release()  # the session has ended

    def finds(self, kind: Symptom, bytes_down: int = 17_000, *, again: int = 0) -> None:
        evidence: Evidence = {"probes": 3, "again": 1} if again else {"probes": 3}
        route = self.record.winner
        assert route is not None
        signal = FlowSignal(kind, bytes_down, evidence, route=route)
        self.flows.listener.on_flow_signal(signal, cast(Any, self.tunnel))

    @property
    def direct(self) -> Attempt:
        (attempt,) = self.record.outcome.attempts
        return attempt

    @property
    def held(self) -> Belief:
        return self.beliefs.lookup(HOST, network=HOME, now=1000.0)


WATCHED = {
    "direct": (Watched(), True),
    "a relay, where direct froze": (Watched(TOR, cause="frozen"), True),
    "a relay, where direct crawled": (Watched(TOR, cause="throttled"), True),
    "a relay, where that proves nothing": (Watched(TOR, cause="sni_reset"), False),
    "a relay, and nothing is held": (Watched(TOR), False),
    "a local strategy": (Watched(TLSREC), True),
    "a local strategy, under a rule": (Watched(TLSREC, action=Action.DIRECT), False),
    "a rule said so": (Watched(action=Action.DIRECT), False),
    "a relay on another computer, whatever is held": (Watched(VPS, peer=VPS_PEER), True),
    "the same, under a rule": (Watched(VPS, action=Action.RELAY, peer=VPS_PEER), True),
    "the same of a host that is near the relay": (Watched(VPS, near=True, peer=VPS_PEER), True),
    "a relay on this computer, under a rule": (Watched(TOR, cause="frozen", action=Action.RELAY), False),
    "a relay on this computer, by IPv6": (Watched(VPS, peer="[::1]:443"), False),
}


@pytest.mark.parametrize("which", WATCHED)
def test_the_flows_that_may_teach_something_are_watched(which: str) -> None:
    scene, watched = WATCHED[which]
    scene.watch()
    assert len(scene.flows.watched) == watched
    if watched:
        assert scene.flows.watched[0][:2] == (scene.tunnel, HOST)
        assert scene.flows.named["route"] == scene.record.outcome.winner
        stalls_count = scene.flows.named.get("stalls_count", False)
        assert stalls_count is (scene.record.outcome.winner == VPS)


def test_a_tunnel_on_our_own_network_is_no_witness_for_what_goes_on_abroad() -> None:
    """It receives bytes through every outage, in which others stall."""
    scene = Watched(near=True)
    scene.watch()
    assert scene.flows.watched == []


@pytest.mark.parametrize("near", [False, True])
def test_nor_is_its_certificate_that_no_login_page_comes(near: bool) -> None:
    scene = Watched(near=near)
    scene.beliefs.learn(
        ControlAnswered("control.example", ConnectivityResult.PORTAL, started=999.0), network=HOME, now=1000.0
    )
    finished = b"\x17\x03\x03\x00\x35" + bytes(11)  # an encrypted record of 53 bytes
    scene.record.on_tunnel_ended(replace(carried(up=9000), head_up=finished))
    assert (scene.beliefs.network_state(HOME) is NetworkState.PORTAL) == near


def test_one_that_its_client_rejects_does_not_show_it() -> None:
    scene = Watched()
    scene.beliefs.learn(
        ControlAnswered("control.example", ConnectivityResult.PORTAL, started=999.0), network=HOME, now=1000.0
    )
    scene.record.on_tunnel_ended(replace(carried(up=7), head_up=b"\x15\x03\x03\x00\x02\x02\x30"))
    assert scene.beliefs.network_state(HOME) is NetworkState.PORTAL


def test_a_tunnel_that_is_over_is_not_watched() -> None:
    scene = Watched()
    scene.tunnel.over = True
    scene.watch()
    assert scene.flows.watched == []
    scene.record.on_tunnel_ended(carried())
    assert scene.flows.ends == []


def test_the_watch_hears_how_a_tunnel_ended() -> None:
    scene = Watched()
    scene.watch()
    ended = carried()
    scene.record.on_tunnel_ended(ended)
    assert [end for _, end in scene.flows.ends] == [ended]
    assert len(scene.written) == 1


FOUND = {
    Symptom.FROZEN: ("froze after 17000 bytes", True),
    Symptom.THROTTLED: ("went on at a crawl after 17000 bytes", False),
    Symptom.RESET: ("was reset after 17000 bytes", False),
}


@pytest.mark.parametrize("kind", FOUND)
def test_what_is_found_of_a_flow_is_told_of_the_attempt(kind: Symptom) -> None:
    """And a frozen one is ended: its client would wait on for what never comes."""
    said, ends = FOUND[kind]
    scene = Watched()
    scene.watch()
    scene.finds(kind)
    assert (scene.direct.stage, scene.direct.symptom, scene.direct.error) == (Stage.DONE, kind, said)
    assert dict(scene.direct.evidence) == {"probes": 3, "bytes": 17_000}
    assert scene.record.outcome.winner == DIRECT, "it had delivered"
    assert scene.tunnel.aborted == ([said] if ends else [])


def test_of_two_attempts_on_direct_the_flow_is_the_one_that_delivered() -> None:
    scene = Watched()
    scene.record.attempts = (failed(), delivered())
    scene.watch()
    scene.finds(Symptom.FROZEN)
    assert [attempt.symptom for attempt in scene.record.attempts] == [Symptom.RESET, Symptom.FROZEN]


def test_connections_that_are_cut_as_late_as_each_other_are_said_so_and_a_relay_that_lasts_proves_it() -> None:
    scene = Watched()
    scene.watch()
    cut = FlowSignal(Symptom.RESET, 40_000, {"again": 0, "cut_s": 5.3})
    scene.flows.listener.on_flow_signal(cut, cast(Any, scene.tunnel))
    assert scene.direct.error == "connections are cut 5 s after the handshake"
    assert (scene.held.state, scene.held.cause, scene.held.score) == (State.SUSPECT, "frozen", 0)
    assert "connections are cut 5 s after the handshake" in scene.held.why

    scene.record.winner = TOR
    scene.flows.listener.on_relay_lasted(10.5)
    assert scene.held.score == 0
    scene.flows.listener.on_relay_lasted(10.6)
    assert (scene.held.score, scene.held.last_good) == (2, "tor")


def test_a_flow_that_froze_makes_its_host_suspect_so_that_the_next_visit_goes_around() -> None:
    scene = Watched()
    scene.record._learn()
    assert scene.held.state is State.WORKS
    scene.watch()
    scene.finds(Symptom.FROZEN)
    assert (scene.held.state, scene.held.cause, scene.held.score) == (State.SUSPECT, "frozen", 0)
    assert [change.after for change in scene.changes][-1] is State.SUSPECT


@pytest.mark.parametrize(
    ("kind", "again", "routes", "left", "fails"),
    [
        (Symptom.FROZEN, 0, (DIRECT, TLSREC, TOR), (TLSREC,), (TLSREC,)),
        (Symptom.FROZEN, 0, (DIRECT, SPLIT, TLSREC, TOR), (TLSREC, SPLIT), (TLSREC, SPLIT)),  # a third would freeze
        (Symptom.THROTTLED, 0, (DIRECT, TLSREC, SPLIT, TOR), (TLSREC, SPLIT), (TLSREC, SPLIT)),
        (Symptom.RESET, 1, (DIRECT, TLSREC, SPLIT, TOR), (TLSREC, SPLIT), (TLSREC,)),
        (Symptom.RESET, 0, (DIRECT, TLSREC, TOR), (), ()),  # many programs end one connection that way
        (Symptom.THROTTLED, 0, (TLSREC, DIRECT, SPLIT), (TLSREC,), (TLSREC,)),  # no relay to compare with
        (Symptom.FROZEN, 0, (DIRECT, TLSREC), (), ()),  # the only way around
        (Symptom.FROZEN, 0, (DIRECT, Route(wrap=("doh",)), TLSREC), (), ()),  # `doh` hides no name
    ],
)
def test_what_stops_a_strategy_counts_against_the_strategy_once_a_relay_carries_more(
    kind: Symptom, again: int, routes: tuple[Route, ...], left: tuple[Route, ...], fails: tuple[Route, ...]
) -> None:
    scene = Watched(TLSREC, cause="sni_reset", routes=routes)
    scene.watch()
    before = scene.held
    scene.finds(kind, again=again)
    assert scene.direct.symptom is kind, "the log has it"
    planned = scene.beliefs.about(HOST, network=HOME, now=1000.0).belief
    assert planned.rungs_failed == tuple(map(str, left)), "the next visit takes the relay"
    if TOR in routes:
        assert scene.held == before, "a Wi-Fi stalls alike"
    assert bool(scene.tunnel.aborted) is (kind is Symptom.FROZEN)
    scene.record.winner = TOR
    scene.flows.listener.on_relay_bytes(70_000, 100_000.0, cast(Any, Tunnel()))
    assert scene.held.rungs_failed == tuple(map(str, fails))
    assert replace(scene.held, rungs_failed=(), rungs_failed_at=0.0) == before


def test_what_is_found_once_the_network_is_another_is_only_written_down() -> None:
    scene = Watched()
    scene.watch()
    scene.network = AWAY
    scene.finds(Symptom.FROZEN)
    assert scene.direct.symptom is Symptom.FROZEN
    assert scene.changes == []
    assert scene.tunnel.aborted != []


@pytest.mark.parametrize("network", [HOME, AWAY])
def test_a_flow_that_was_slower_than_others_calls_for_a_comparison(network: NetworkId) -> None:
    scene = Watched()
    told: list[TransferSlow] = []
    scene.shared.events.on(TransferSlow, told.append)
    scene.watch()
    scene.network = network
    scene.record.on_tunnel_ended(carried())
    scene.flows.listener.on_slow(130_000.0)
    assert told == ([TransferSlow(scene.record.outcome, HOME, 130_000.0)] if network == HOME else [])
    assert scene.direct.symptom is Symptom.NONE, "that is no fault yet"


@pytest.mark.parametrize(("kind", "is_over"), [(Symptom.FROZEN, True), (Symptom.THROTTLED, False)])
def test_a_large_visit_over_direct_ends_a_freeze_and_no_throttling(kind: Symptom, is_over: bool) -> None:
    scene = Watched()
    scene.watch()
    scene.finds(kind)
    held = scene.held
    scene.flows.listener.on_direct_carried(70_000, 3.0)
    assert (scene.held == held) is not is_over
    if is_over:
        assert (held.state, scene.held.state) == (State.SUSPECT, State.WORKS)


@pytest.mark.parametrize("network", [HOME, AWAY])
def test_a_large_visit_over_direct_shows_that_others_freeze_at_its_address_by_name(network: NetworkId) -> None:
    scene = Watched()
    scene.watch()
    spoiled = outcome(replace(delivered(), symptom=Symptom.FROZEN), host="frozen.example", at=990.0)
    for event in (spoiled, Carried("frozen.example", TOR, 70_000)):
        scene.beliefs.learn(event, network=HOME, now=1000.0)
    before = scene.beliefs.generation(HOME, "frozen.example")
    scene.network = network
    scene.flows.listener.on_direct_carried(70_000, 3.0)
    assert (scene.beliefs.generation(HOME, "frozen.example") != before) is (network == HOME)


@pytest.mark.parametrize("what", ["an answer", "a whole answer", "an upload"])
@pytest.mark.parametrize("network", [HOME, AWAY])
def test_a_relay_that_carries_what_direct_did_not_is_the_proof(network: NetworkId, what: str) -> None:
    scene = Watched()
    scene.watch()
    scene.finds(Symptom.FROZEN)
    assert scene.held.score == 0
    again = ConnectionRecord(
        scene.record.outcome.request, scene.record.outcome.plan, network=HOME, setup=NO_SETUP, services=scene.shared
    )
    again.protocol = Protocol.TLS
    again.winner = TOR
    again.attempts = (delivered(TOR),)
    again.keep_open(cast(Any, Tunnel()))
    scene.network = network
    if what == "an answer":
        scene.flows.listener.on_relay_bytes(70_000, 100_000.0, cast(Any, Tunnel()))
    elif what == "a whole answer":
        scene.flows.listener.on_relay_whole(40_000)
    else:
        scene.flows.listener.on_relay_upload(70_000)
    assert (scene.held.score > 0) is (network == HOME)


@pytest.mark.parametrize("network", [HOME, AWAY])
def test_a_relays_connection_that_stalls_is_ended_and_says_nothing_of_the_host(network: NetworkId) -> None:
    scene = Watched(VPS, peer=VPS_PEER)
    scene.watch()
    scene.network = network
    scene.shared.relay_ways.stalled(VPS_AT, VPS_PEER, 16_384, HOME, 990.0)
    scene.flows.listener.on_relay_stalled(17_000, cast(Any, scene.tunnel))
    assert scene.tunnel.aborted == ["the connection to the relay froze after 17000 bytes"]
    assert scene.tunnel.given_up == 1
    assert (scene.shared.relay_ways.obstacle(VPS_AT, HOME, 1000.0) is not None) is (network == HOME)
    order = scene.shared.health.order(["vps", "tor"], 1001.0)
    assert order == (["tor", "vps"] if network == HOME else ["vps", "tor"]), "the client asks again at once"
    assert scene.held.state is State.UNKNOWN
    assert scene.changes == []


def test_a_relay_that_may_be_gone_or_the_network_is_ended_and_blamed_for_nothing() -> None:
    scene = Watched(VPS, peer=VPS_PEER)
    scene.watch()
    scene.flows.listener.on_relay_silent(8.02, cast(Any, scene.tunnel))
    assert scene.tunnel.aborted == ["the relay was silent for 8 s: it or the network is gone"]
    assert scene.tunnel.given_up == 1
    assert scene.shared.relay_ways.obstacle(VPS_AT, HOME, 1000.0) is None
    assert scene.shared.health.faults() == {}
    assert scene.changes == []


@pytest.mark.parametrize(("peer", "is_watched"), [(VPS_PEER, True), ("127.0.0.1:9050", False)])
def test_an_exchange_through_a_remote_relay_is_watched_until_its_end(peer: str, is_watched: bool) -> None:
    scene = Watched(VPS, peer=peer)
    finish = scene.record.watch_exchange(cast(Any, scene.tunnel), VPS)
    result = TunnelResult(30, 500, ClosedBy.SERVER)
    finish(result)
    assert [ended for _, ended in scene.flows.ends] == ([result] if is_watched else [])
    if is_watched:
        assert scene.flows.named == {"route": VPS, "stalls_count": True}
        assert cast(object, scene.flows.listener) is scene.record


def test_an_idle_connection_to_a_relay_is_ended_with_one_that_stalled_and_shows_nothing_more() -> None:
    scene = Watched(VPS, peer=VPS_PEER)
    scene.watch()
    scene.flows.listener.on_way_stalled(cast(Any, scene.tunnel))
    assert scene.tunnel.aborted == ["it was idle, and another connection over the same way to the relay froze"]
    assert scene.shared.relay_ways.obstacle(VPS_AT, HOME, 1000.0) is None
    assert scene.changes == []


def test_what_a_relay_carries_shows_that_its_connections_do_not_stall() -> None:
    scene = Watched(VPS, peer=VPS_PEER)
    scene.watch()
    ways = scene.shared.relay_ways
    for at in (980.0, 990.0):
        ways.stalled(VPS_AT, VPS_PEER, 16_384, HOME, at)
    assert ways.obstacle(VPS_AT, HOME, 1000.0) is not None
    scene.flows.listener.on_relay_bytes(70_000, 100_000.0, cast(Any, scene.tunnel))
    assert ways.obstacle(VPS_AT, HOME, 1000.0) is None
    assert scene.held.score == 0


def test_a_relay_that_is_gone_from_the_configuration_is_not_learned_of() -> None:
    scene = Watched(Route(("gone",)), peer=VPS_PEER)
    scene.watch()
    scene.flows.listener.on_relay_bytes(70_000, 100_000.0, cast(Any, scene.tunnel))
    scene.flows.listener.on_relay_stalled(17_000, cast(Any, scene.tunnel))
    assert scene.tunnel.aborted != []


@pytest.mark.parametrize(
    ("with_alternatives", "private", "is_checked"), [(True, False, True), (False, False, False), (True, True, False)]
)
async def test_transfers_are_checked_where_a_relay_has_alternatives_and_nothing_is_private(
    with_alternatives: bool, private: bool, is_checked: bool
) -> None:
    raced: list[Any] = []
    setup: Any = SimpleNamespace(
        registry=SimpleNamespace(with_alternatives={"vps": VPS_AT} if with_alternatives else {}),
        race=lambda *given, direct_waits: raced.append(given[-1]),
    )
    checked = object()
    check: Any = SimpleNamespace(dialer_for=lambda given: checked if given is setup else None)
    shared = services(transfer_check=lambda: check, is_private=lambda host: private and host == HOST)
    request = Request(1, Destination(HOST, 443), Inbound.CONNECT, "127.0.0.1:50000")
    plan = Plan(Action.RELAY, (VPS,), "")
    ConnectionRecord(request, plan, network=HOME, setup=setup, services=shared).race(Notify())
    assert raced == [checked if is_checked else None]


@pytest.mark.parametrize("direct_waits", [False, True])
async def test_the_plan_says_whether_direct_waits_for_slow_relays(direct_waits: bool) -> None:
    raced: list[bool] = []
    setup: Any = SimpleNamespace(race=lambda *given, direct_waits: raced.append(direct_waits))
    request = Request(1, Destination(HOST, 443), Inbound.CONNECT, "127.0.0.1:50000")
    plan = Plan(Action.AUTO, (VPS, DIRECT), "", direct_waits=direct_waits)
    ConnectionRecord(request, plan, network=HOME, setup=setup, services=services()).race(Notify())
    assert raced == [direct_waits]


def test_evidence_that_is_found_later_is_learned_from() -> None:
    scene = Watched()
    scene.record.attempts = (failed(Symptom.RESET), delivered(TOR))
    scene.record.winner = TOR
    scene.record._learn()
    open_uplink(scene.beliefs, now=1000.0)
    assert scene.held.cause == "sni_reset"
    scene.record.add_evidence(DIRECT, {"dns": SignalId.DNS_DENIED})
    assert scene.record.outcome.attempts[0].evidence["dns"] == "dns_denied"
    assert scene.held.cause == "dns"


# -- addons ------------------------------------------------------------------------------------------------------------


class Listening(Addons):
    """In the place of addons that have every hook."""

    def __init__(self) -> None:
        super().__init__()
        self.wants_attempts = self.refines = self.handles_unreachable = True
        self.heard: list[tuple[str, str, str]] = []
        self.made_of_signals = ""

    def notify_attempt(self, request: Request, attempt: Attempt) -> None:
        self.heard.append((request.destination.host, str(attempt.route), str(attempt.symptom)))

    def take_refinements(self, request_id: int) -> str:
        said, self.made_of_signals = self.made_of_signals, ""
        return said

    async def unreachable(self, request: Request, outcome: Outcome) -> str | None:
        return f"http://mirror.test/{outcome.host}"


def entry_for(
    addons: Addons, *, http: HttpRequest | None = None, action: Action = Action.AUTO, **more: Any
) -> ConnectionRecord:
    request = Request(7, Destination("192.0.2.1", 80), Inbound.HTTP, "127.0.0.1:50000", http)
    record = ConnectionRecord(
        request,
        Plan(action, (DIRECT, TOR), "why"),
        network=HOME,
        setup=NO_SETUP,
        services=services(addons=addons, **more),
    )
    record.host = HOST
    return record


def raced(*attempts: Attempt) -> Any:
    return SimpleNamespace(attempts=attempts, overtaken=None, flight_age=0.3, leads_home=False, close=lambda: None)


def test_each_attempt_is_told_once_it_is_judged_under_the_name() -> None:
    addons = Listening()
    record = entry_for(addons)
    record.on_lost(raced(failed(), replace(pending(), route=TOR), Attempt(TOR, Stage.CONNECT, Symptom.ABANDONED)))
    assert addons.heard == [(HOST, "direct", "reset")]
    record.on_lost(raced(failed(), delivered(TOR)))
    assert addons.heard == [(HOST, "direct", "reset"), (HOST, "tor", "")]


def test_hosts_that_are_never_logged_are_not_told() -> None:
    addons = Listening()
    entry_for(addons, is_private=lambda host: host == HOST).on_lost(raced(failed()))
    assert addons.heard == []


def test_what_addons_made_of_signals_is_kept_with_the_direct_attempt() -> None:
    addons = Listening()
    addons.made_of_signals = "lossy: tls_reset weighs 0 in place of 2"
    record = entry_for(addons)
    record.on_lost(raced(failed(), failed(route=TOR)))
    direct, other = record.outcome.attempts
    assert direct.evidence["addons"] == "lossy: tls_reset weighs 0 in place of 2"
    assert "addons" not in other.evidence


async def test_who_asked_in_plain_http_may_be_sent_elsewhere() -> None:
    got = HttpRequest("GET", "/")
    assert await entry_for(Listening(), http=got).redirect_url() == f"http://mirror.test/{HOST}"
    assert await entry_for(Addons(), http=got).redirect_url() is None
    assert await entry_for(Listening(), http=HttpRequest("POST", "/")).redirect_url() is None
    assert await entry_for(Listening()).redirect_url() is None
    assert await entry_for(Listening(), http=got, action=Action.BLOCK).redirect_url() is None


def test_what_another_line_tells_is_not_written_twice(world: World) -> None:
    record = world.record()
    record.discard()
    record.release()
    assert world.written == []


@pytest.mark.parametrize("teaches", [False, True])
def test_what_we_asked_ourselves_teaches_nothing_and_no_addon_hears_of_it(teaches: bool) -> None:
    addons, sounded = Listening(), []
    record = entry_for(addons, learns=teaches, sound=lambda: sounded.append(1))
    record.on_lost(raced(failed(), delivered(TOR)))
    assert (bool(addons.heard), bool(sounded)) == (teaches, teaches)


@pytest.mark.parametrize("before", [True, False])
async def test_a_silent_relay_is_blamed_once_another_site_works_direct(world: World, before: bool) -> None:
    silent = replace(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), evidence={"relay": "timeout"})
    if before:  # while it was waited for, and on the short way, which nobody tells relays of
        world.beliefs.learn(DirectDelivered("other.test"), network=HOME, now=world.now + 1)
    record = world.record()
    world.now += 2
    record.on_lost(cast(Any, Race(failed(), silent)))
    assert bool(world.health.faults()) is before
    won(world.record(), Race(delivered()))
    assert world.health.faults()["tor"].fault is RelayFault.SILENT


# -- what probes are told ----------------------------------------------------------------------------------------------

GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def told(*attempts: Attempt, flight: Flight, answer: bytes = b"answer") -> list[Delivered]:
    """Returns the events for probes of a visit."""
    events, heard = Events(), list[Delivered]()
    for kind in (Delivered, Doubted, Rescued):
        events.on(kind, heard.append)
    shared = services(events=events, setup=lambda: NO_SETUP, now=lambda: 1000.0)
    plan = Plan(Action.AUTO, (DIRECT, TOR), "AUTO: nothing is known")
    request = Request(1, Destination(HOST, 80), Inbound.HTTP, "127.0.0.1:50000")
    record = ConnectionRecord(request, plan, network=HOME, setup=NO_SETUP, services=shared)
    won(record, Race(*attempts))
    record.report_delivered(flight, answer=answer)
    return heard


@pytest.mark.parametrize(
    ("closed_by", "is_whole", "learns", "is_told"),
    [
        (ClosedBy.BYWAY, True, True, True),
        (ClosedBy.CLIENT, True, True, False),
        (ClosedBy.BYWAY, False, True, False),
        (ClosedBy.BYWAY, True, False, False),
    ],
)
def test_a_flight_that_no_route_delivered_is_told(
    closed_by: ClosedBy, is_whole: bool, learns: bool, is_told: bool
) -> None:
    events, heard = Events(), list[Unserved]()
    events.on(Unserved, heard.append)
    shared = services(events=events, setup=lambda: NO_SETUP, now=lambda: 1000.0, learns=learns)
    plan = Plan(Action.AUTO, (DIRECT,), "AUTO: nothing is known")
    request = Request(1, Destination(HOST, 80), Inbound.HTTP, "127.0.0.1:50000")
    record = ConnectionRecord(request, plan, network=HOME, setup=NO_SETUP, services=shared)
    flight = Flight.of_http(GET, "GET", bodiless=True) if is_whole else None
    record.on_lost(raced(failed()), closed_by, flight)
    assert bool(heard) is is_told
    for event in heard:
        assert (event.outcome.winner, event.outcome.attempts, event.flight) == (None, (failed(),), flight)


def test_a_page_that_is_doubted_is_told_with_its_answer() -> None:
    flight = Flight.of_http(GET, "GET", bodiless=True)
    doubted = replace(delivered(), evidence={"status": 200, "doubt": PageDoubt.SHARED})
    first, second = told(doubted, flight=flight)
    assert type(first) is Delivered
    assert isinstance(second, Doubted)
    assert second.answer == b"answer"
    assert [type(event) for event in told(replace(delivered(), evidence={"status": 200}), flight=flight)] == [Delivered]
    assert [type(event) for event in told(doubted, flight=flight, answer=b"")] == [Delivered], (
        "it was sent on as it came"
    )
    assert [type(event) for event in told(doubted, delivered(TOR), flight=flight)] == [Rescued]
