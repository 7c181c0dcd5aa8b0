"""Which visits bring a re-test, what it sends, and what the pair of answers teaches: over scripted paths, under a
virtual clock, with real beliefs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from proxy.config.load import Loaded
from proxy.config.schema import Auto, Dns, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import Carried, DirectDelivered
from proxy.model import DIRECT, Action, Change, Destination, NetworkId, Outcome, Protocol, Route, Stage, State, Symptom
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.tasks import cancel_all
from proxy.probe.retest import DirectRetest
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.tls import parse_client_hello
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, outcome, rescued, works
from tests.support.rows import each_row
from tests.support.scripted import FakeOracle, Script, ScriptedDialer, ScriptedDirect
from tests.support.services import NO_PAGES, NO_RESOLVER, services, visit_of
from tests.wire import hellos

HELLO = hellos.by_hand(hellos.sni(HOST.encode()), hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE)
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"
OK = b"HTTP/1.1 200 OK\r\n\r\n"
RESET = ConnectionResetError(104, "Connection reset by peer")
DUE_S = 3600.0
"""After the first rescue: a re-test of a suspect host is due after two minutes."""

VISIT = replace(rescued(by=TOR), plan=replace(rescued().plan, routes=(DIRECT, TOR)))


class Scene:
    """A host that became suspect at time 0; the clock of the loop is everybody's."""

    def __init__(
        self,
        *,
        direct: Script,
        relay: Script,
        auto: Auto | None = None,
        dns: Dns | None = None,
        rescue: Outcome | None = None,
    ) -> None:
        self.scripts = {DIRECT: direct, TOR: relay}
        self.network: NetworkId = HOME
        self.private: set[str] = set()
        self.settings = Settings(auto=auto or Auto(), dns=dns or Dns())
        self.beliefs = Beliefs(self.settings.detect)
        self.findings = SharedFindings(asyncio.get_running_loop().time)
        self.changes: list[Change] = []
        self.beliefs.learn(rescue or rescued(by=TOR), network=HOME, now=self.now())
        self.beliefs.learn(
            DirectDelivered("other.test"), network=HOME, now=self.now()
        )  # the uplink is well, so it counts
        unused = cast(Any, None)
        self.setup = Setup(Loaded(self.settings), unused, unused, unused, cast(Any, self), NO_RESOLVER, pages=NO_PAGES)
        self.way_back = DirectRetest(
            services(
                setup=lambda: self.setup,
                beliefs=self.beliefs,
                tcp_info=FakeOracle(),
                network=lambda: self.network,
                now=self.now,
                believe=self.changes.extend,
                is_private=self.private.__contains__,
                findings=self.findings,
            )
        )

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    schedule = None

    @property
    def direct(self) -> ScriptedDirect:
        return ScriptedDirect(lambda: self.scripts[DIRECT])

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        return ScriptedDialer(self.scripts[route])

    @property
    def state(self) -> State:
        return self.beliefs.lookup(HOST, network=HOME, now=self.now()).state

    def sent(self, route: Route) -> list[bytes]:
        return [stream.sent for stream in self.scripts[route].streams]

    async def visit(self, outcome: Outcome = VISIT, flight: Flight | None = None, *, at: float = DUE_S) -> None:
        """A visit at that time, and all that comes of it."""
        await asyncio.sleep(at - self.now())
        self.way_back.on_rescued(visit_of(self.setup, outcome, flight or flight_of(HELLO)))
        self.beliefs.learn(DirectDelivered("other.test"), network=HOME, now=self.now())
        await asyncio.sleep(self.settings.detect.retest_pair_s + 1)
        assert all(stream.closed for script in self.scripts.values() for stream in script.streams)


def flight_of(data: bytes) -> Flight:
    flight = Flight()
    flight.receive_data(data)
    return flight


def answering(answer: bytes | Exception | None = SERVER_HELLO) -> Script:
    return Script(answer=answer)


# -- which visits ------------------------------------------------------------------------------------------------------


def test_a_visit_that_a_relay_carried_brings_a_pair_when_one_is_due() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(), relay=answering())
        await scene.visit(at=60.0)
        assert scene.sent(DIRECT) == []
        await scene.visit()
        assert len(scene.sent(DIRECT)) == len(scene.sent(TOR)) == 1
        assert scene.scripts[DIRECT].dialed == scene.scripts[TOR].dialed == [DUE_S]  # side by side

    play(story())


NO_OCCASION = {
    "direct carried it": works(),
    "nothing carried it": replace(VISIT, winner=None),
    "a rule sent it to a relay": replace(VISIT, plan=replace(VISIT.plan, action=Action.RELAY)),
    "a rule prefers a relay": replace(VISIT, plan=replace(VISIT.plan, action=Action.PREFER_RELAY)),
    "direct was not allowed": replace(VISIT, plan=replace(VISIT.plan, routes=(TOR,))),
    "nothing is held against the host": replace(VISIT, host="other.example"),
}


@each_row("occasion", NO_OCCASION)
def test_other_visits_bring_none(occasion: str) -> None:
    async def story() -> None:
        scene = Scene(direct=answering(), relay=answering())
        await scene.visit(NO_OCCASION[occasion])
        assert scene.sent(DIRECT) == scene.sent(TOR) == []
        await scene.visit()
        assert len(scene.sent(DIRECT)) == 1  # the control

    play(story())


def test_a_flight_of_no_known_protocol_brings_none() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(), relay=answering())
        await scene.visit(flight=flight_of(b"SSH-2.0-client\r\n"))
        assert scene.sent(DIRECT) == []

    play(story())


def test_none_where_the_user_wants_none() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(), relay=answering(), auto=Auto(retest=False))
        await scene.visit()
        assert scene.sent(DIRECT) == []

        scene = Scene(direct=answering(), relay=answering())
        scene.private.add(HOST)
        await scene.visit(at=scene.now() + DUE_S)
        assert scene.sent(DIRECT) == []

    play(story())


@each_row(
    ("dns", "brings"),
    [(Dns(), False), (Dns(secure="always"), False), (Dns(secure="never"), True), (Dns(servers=()), True)],
)
def test_a_name_that_was_lied_about_is_asked_again_only_where_it_is_no_secret(dns: Dns, brings: bool) -> None:
    """Elsewhere a secure resolver leads direct again, and the system's would hear the name once more."""

    async def story() -> None:
        lied = rescued(Symptom.FORGED, Stage.RESOLVE, by=TOR)
        scene = Scene(direct=answering(), relay=answering(), dns=dns, rescue=lied)
        await scene.visit()
        assert bool(scene.sent(DIRECT)) is brings

    play(story())


MET = {  # the rescue → whether what it failed at is shown by TLS, by plain HTTP
    "a name in a hello": (rescued(by=TOR), True, False),
    "a name in a request": (rescued(by=TOR, protocol=Protocol.HTTP), False, True),
    "a page in its place": (rescued(Symptom.BLOCK_PAGE, by=TOR, protocol=Protocol.HTTP), False, True),
    "an address, on port 443": (rescued(Symptom.TIMEOUT, Stage.CONNECT, by=TOR), True, False),
    "an address, on port 80": (rescued(Symptom.TIMEOUT, Stage.CONNECT, by=TOR, protocol=Protocol.HTTP), False, True),
    "the resolver": (rescued(Symptom.FORGED, Stage.RESOLVE, by=TOR), True, True),
}


@each_row("blocked", MET)
@each_row("by_tls", [True, False], ids=["tls", "http"])
def test_only_a_visit_that_would_meet_the_block_brings_one(blocked: str, by_tls: bool) -> None:
    """Nor are local means tried for it: what carries the other protocol says nothing of this one."""

    async def story() -> None:
        rescue, shown_by_tls, shown_by_http = MET[blocked]
        scene = Scene(direct=answering(), relay=answering(), dns=Dns(secure="never"), rescue=rescue)
        cut, split, cased = (Route(wrap=(word,)) for word in ("tlsrec", "split", "hostcase"))
        scene.scripts |= {route: answering() for route in (cut, split, cased)}
        visit = VISIT if by_tls else replace(VISIT, protocol=Protocol.HTTP)
        flight = flight_of(HELLO if by_tls else f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        await scene.visit(visit, flight)
        await scene.visit(visit, flight, at=2 * DUE_S)
        shown = shown_by_tls if by_tls else shown_by_http
        assert bool(scene.sent(DIRECT)) is shown
        assert shown or not any(script.dialed for script in scene.scripts.values())

    play(story())


def test_one_pair_for_many_visits_at_once() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(), relay=answering())
        async with asyncio.TaskGroup() as visits:
            for _ in range(5):
                visits.create_task(scene.visit())
        assert len(scene.sent(DIRECT)) == len(scene.sent(TOR)) == 1

    play(story())


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_a_client_hello_is_the_visits_own_and_new() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(), relay=answering())
        await scene.visit()
        (direct,), (other,) = scene.sent(DIRECT), scene.sent(TOR)
        assert len({HELLO, direct, other}) == 3  # no random is used twice
        assert len(direct) == len(other) == len(HELLO)
        hello = parse_client_hello(direct)
        assert hello is not None
        assert (hello.server_name, hello.alpn, hello.size) == (HOST, ("h2", "http/1.1"), len(direct))

    play(story())


def test_early_data_and_what_came_behind_the_hello_stay_the_users() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(), relay=answering())
        await scene.visit(flight=flight_of(hellos.RESUMING + hellos.record(b"GET /secret", kind=0x17)))
        for sent in (*scene.sent(DIRECT), *scene.sent(TOR)):
            hello = parse_client_hello(sent)
            assert hello is not None
            assert not hello.early_data
            assert hello.size == len(sent)
        assert len(scene.sent(DIRECT)) == 1

    play(story())


@pytest.mark.parametrize(
    ("destination", "host"),
    [
        (Destination(HOST, 80), HOST),
        (Destination(HOST, 8080), f"{HOST}:8080"),
        (Destination("192.0.2.7", 80), HOST),  # a literal, and the name that the flight gave
    ],
)
def test_http_asks_for_no_page_of_the_users(destination: Destination, host: str) -> None:
    async def story() -> None:
        scene = Scene(direct=answering(OK), relay=answering(OK), rescue=rescued(by=TOR, protocol=Protocol.HTTP))
        visit = replace(VISIT, protocol=Protocol.HTTP, request=replace(VISIT.request, destination=destination))
        await scene.visit(visit, flight_of(f"GET /secret?a=1 HTTP/1.1\r\nHost: {host}\r\nCookie: a=b\r\n\r\n".encode()))
        asked = f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        assert scene.sent(DIRECT) == scene.sent(TOR) == [asked]

    play(story())


# -- what it teaches ---------------------------------------------------------------------------------------------------

PAIRS = {  # direct, the relay → the state after it, and whether a re-test is due an hour later
    "direct answers": (answering(), answering(), State.WORKS, False),
    "direct answers and the relay does not": (answering(), answering(RESET), State.WORKS, False),
    "direct is reset": (answering(RESET), answering(), State.BLOCKED, True),
    "direct is silent": (answering(None), answering(), State.BLOCKED, True),
    "direct does not connect": (Script(connect=99.0), answering(), State.BLOCKED, True),
    "direct is answered by an alert": (answering(b"\x15\x03\x03\x00\x02\x02\x70"), answering(), State.BLOCKED, True),
    "direct answers something else": (answering(b"<html>"), answering(), State.BLOCKED, True),
    "neither answers": (answering(RESET), answering(None), State.SUSPECT, True),
}


@each_row("name", PAIRS)
def test_what_a_pair_teaches(name: str) -> None:
    direct, relay, state, due = PAIRS[name]

    async def story() -> None:
        scene = Scene(direct=replace(direct, dialed=[], streams=[]), relay=replace(relay, dialed=[], streams=[]))
        await scene.visit()
        assert scene.state is state
        told = [change.after for change in scene.changes if change.before is not change.after]
        assert told == ([] if state is State.SUSPECT else [state])
        assert scene.beliefs.retest_due(HOST, network=HOME, now=2 * DUE_S) is due

    play(story())


FROZEN = outcome(replace(delivered(), symptom=Symptom.FROZEN), protocol=Protocol.TLS)
BROUGHT = {  # bytes by direct and by the relay → the state of a host that was suspect because it froze
    "enough": (64 * 1024, 64 * 1024, State.WORKS),
    "enough, and the relay failed": (64 * 1024, 0, State.WORKS),
    "all of a small page": (40_000, 40_000, State.WORKS),
    "all of one that is never quite the same": (37_000, 40_000, State.WORKS),
    "less than the relay": (34_000, 40_000, State.BLOCKED),
    "nothing": (0, 40_000, State.BLOCKED),
    "too little to tell": (20_000, 20_000, State.SUSPECT),
    "a small page, and the relay failed": (40_000, 0, State.SUSPECT),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_what_froze_is_over_when_direct_brings_enough_or_all(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    direct, other, state = BROUGHT[name]

    async def story() -> None:
        scene = Scene(direct=Script(), relay=Script(), rescue=FROZEN)
        scene.beliefs.learn(Carried(HOST, TOR, count=40_000), network=HOME, now=scene.now())
        assert (scene.state, scene.beliefs.lookup(HOST, network=HOME, now=scene.now()).score) == (State.SUSPECT, 2.0)

        async def haul(dialer: ScriptedDialer, *_: Any, **__: Any) -> int:
            return direct if dialer._script is scene.scripts[DIRECT] else other

        monkeypatch.setattr("proxy.probe.retest.measure_throughput", haul)
        await scene.visit()
        assert scene.state is state

    play(story())


@pytest.mark.parametrize("answer", [SERVER_HELLO, RESET])
def test_direct_that_works_again_takes_back_an_alarm(answer: bytes | Exception) -> None:
    async def story() -> None:
        scene = Scene(direct=answering(answer), relay=answering())
        await asyncio.sleep(DUE_S)
        scene.findings.mark_down(HOST)
        scene.way_back.on_rescued(visit_of(scene.setup, VISIT, flight_of(HELLO)))
        await asyncio.sleep(1.0)
        assert scene.findings.is_down(HOST) is (answer is RESET)

    play(story())


def test_a_pair_that_ends_on_another_network_teaches_nothing() -> None:
    async def story() -> None:
        scene = Scene(direct=Script(answer=SERVER_HELLO, after=1.0), relay=answering())
        asyncio.get_running_loop().call_later(DUE_S + 0.5, setattr, scene, "network", AWAY)
        await scene.visit()
        assert len(scene.sent(DIRECT)) == 1
        assert scene.changes == []
        assert scene.state is State.SUSPECT

    play(story())


def test_a_pair_that_is_cut_short_leaves_nothing_open() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(None), relay=answering(None))
        await asyncio.sleep(DUE_S)
        scene.way_back.on_rescued(visit_of(scene.setup, VISIT, flight_of(HELLO)))
        await asyncio.sleep(1.0)
        streams = [stream for script in scene.scripts.values() for stream in script.streams]
        assert [stream.closed for stream in streams] == [False, False]
        await cancel_all()
        assert [stream.closed for stream in streams] == [True, True]
        assert scene.changes == []

    play(story())


def _is_due(scene: Scene) -> bool:
    return scene.beliefs.retest_due(HOST, network=HOME, now=scene.now())


def test_a_pair_that_is_not_reported_is_due_again_at_once() -> None:
    """Its network went while it was under way, and is back before its claim would have lapsed."""

    async def story() -> None:
        scene = Scene(direct=Script(answer=SERVER_HELLO, after=1.0), relay=answering())
        asyncio.get_running_loop().call_at(DUE_S + 0.5, setattr, scene, "network", AWAY)
        await asyncio.sleep(DUE_S)
        scene.way_back.on_rescued(visit_of(scene.setup, VISIT, flight_of(HELLO)))
        await asyncio.sleep(0.9)
        assert not _is_due(scene)
        await asyncio.sleep(0.3)
        assert _is_due(scene)

    play(story())


def test_a_pair_that_is_cut_short_is_due_again_at_once() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(None), relay=answering(None))
        await asyncio.sleep(DUE_S)
        scene.way_back.on_rescued(visit_of(scene.setup, VISIT, flight_of(HELLO)))
        await asyncio.sleep(1.0)
        assert not _is_due(scene)
        await cancel_all()
        assert _is_due(scene)

    play(story())


# -- local means -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [False, True], ids=["nothing changes", "the user says something else meanwhile"])
def test_local_means_are_tried_one_by_one_while_the_same_is_said(changes: bool) -> None:
    async def story() -> None:
        scene = Scene(direct=answering(RESET), relay=answering())
        cut, split = (Route(wrap=(word,)) for word in ("tlsrec", "split"))
        scene.scripts |= {cut: Script(answer=RESET, after=1.0), split: answering()}
        await scene.visit()
        assert scene.sent(cut) == []  # it was direct's turn
        if changes:
            asyncio.get_running_loop().call_at(DUE_S + 300.5, lambda: setattr(scene, "setup", replace(scene.setup)))
        await scene.visit(at=DUE_S + 300)  # the censor has calmed down
        assert len(scene.sent(cut)) == 1
        assert len(scene.sent(split)) == (0 if changes else 1)

    play(story())


def test_local_means_that_are_not_reported_are_due_again_at_once() -> None:
    async def story() -> None:
        scene = Scene(direct=answering(RESET), relay=answering())
        scene.scripts |= {Route(wrap=(word,)): Script(answer=RESET, after=1.0) for word in ("tlsrec", "split")}
        await scene.visit()
        asyncio.get_running_loop().call_at(DUE_S + 300.5, setattr, scene, "network", AWAY)
        await scene.visit(at=DUE_S + 300)
        assert scene.beliefs.strategies_due(HOST, network=HOME, now=scene.now())

    play(story())
