"""Which visits bring a re-test, what it sends, and what the pair of answers teaches: over scripted paths, under a
virtual clock, with real beliefs."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config.schema import Auto, Dns, Settings
from proxy.detect.beliefs.events import Carried, DirectDelivered
from proxy.model import (
    DIRECT,
    Action,
    Cause,
    Change,
    Destination,
    IPAddress,
    Outcome,
    Protocol,
    Route,
    Stage,
    State,
    Symptom,
)
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.tasks import cancel_all
from proxy.probe.retest import DirectRetest
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.tls import parse_client_hello
from tests.probe.scene import BesideScene
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, open_uplink, outcome, rescued, works
from tests.support.rows import each_row
from tests.support.scripted import Script, ScriptedDialer, ScriptedDirect
from tests.support.services import NO_PAGES, NO_RESOLVER, visit_of
from tests.wire import hellos

HELLO = hellos.by_hand(hellos.sni(HOST.encode()), hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE)
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"
OK = b"HTTP/1.1 200 OK\r\n\r\n"
RESET = ConnectionResetError(104, "Connection reset by peer")
DUE_S = 3600.0
"""After the first rescue: a re-test of a suspect host is due after two minutes."""

VISIT = replace(rescued(by=TOR), plan=replace(rescued().plan, routes=(DIRECT, TOR)))


class Scene(BesideScene):
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
        super().__init__(Settings(auto=auto or Auto(), dns=dns or Dns()))
        self.findings = SharedFindings(asyncio.get_running_loop().time)
        self.changes: list[Change] = []
        self.beliefs.learn(rescue or rescued(by=TOR), network=HOME, now=self.now())
        self.beliefs.learn(
            DirectDelivered("other.test"), network=HOME, now=self.now()
        )  # the uplink is well, so it counts
        self.way_back = DirectRetest(self.services(believe=self.changes.extend, findings=self.findings))

    @property
    def direct(self) -> ScriptedDirect:
        return ScriptedDirect(lambda: self.scripts[DIRECT])

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        return ScriptedDialer(self.scripts[route])

    @property
    def state(self) -> State:
        return self.held.state

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
        await scene.visit(replace(VISIT, protocol=Protocol.NONE), flight_of(b"SSH-2.0-client\r\n"))
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


def page(title: str, length: int = 900, *fields: str) -> Script:
    body = f"<title>{title}</title>".ljust(length).encode()
    lines = ("HTTP/1.1 200 OK", "Content-Type: text/html", f"Content-Length: {length}", *fields)
    return answering("\r\n".join((*lines, "", "")).encode() + body)


UPGRADE = answering(f"HTTP/1.1 301 X\r\nLocation: https://{HOST}/\r\nContent-Length: 0\r\n\r\n".encode())
PAGE_REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
DENIED, SITE = page("Not available"), page("Daily sport of today", 9000)
SHOWN = {  # the pages of direct and of the relay → the state of a host of which a block page was known
    "the site's own again": (SITE, SITE, State.WORKS),
    "the block page": (DENIED, SITE, State.BLOCKED),
    "the block page of a site that upgrades to https": (DENIED, UPGRADE, State.BLOCKED),
    "the site upgrades again": (UPGRADE, UPGRADE, State.WORKS),
    "another language": (page("Sport des Tages", 2000, "X-Site: 1"), page("Daily", 9000, "X-Site: 1"), State.WORKS),
    "about as long": (page("Sport des Tages", 8000), SITE, State.WORKS),
    "direct answers and the relay does not": (SITE, answering(RESET), State.WORKS),
    "neither answers": (answering(RESET), answering(RESET), State.SUSPECT),
}


@each_row("name", SHOWN)
def test_a_block_by_pages_is_over_when_direct_shows_no_other_page_than_the_relay(name: str) -> None:
    direct, relay, state = SHOWN[name]

    async def story() -> None:
        scene = Scene(
            direct=replace(direct, dialed=[], streams=[]),
            relay=replace(relay, dialed=[], streams=[]),
            rescue=rescued(Symptom.BLOCK_PAGE, by=TOR, protocol=Protocol.HTTP),
        )
        await scene.visit(replace(VISIT, protocol=Protocol.HTTP), flight_of(PAGE_REQUEST))
        assert scene.state is state

    play(story())


@each_row("is_page", [False, True], ids=["a ClientHello", "a page"])
def test_a_local_strategy_is_asked_before_direct(is_page: bool) -> None:
    """Direct may begin the residual window of its address."""

    async def story() -> None:
        wrap = "hostcase" if is_page else "split"
        by_strategy, data = Route(wrap=(wrap,)), HELLO
        answer: bytes | Exception | None = SERVER_HELLO
        visit, rescue = replace(VISIT, winner=by_strategy), None
        if is_page:
            visit, data, answer = replace(visit, protocol=Protocol.HTTP), PAGE_REQUEST, SITE.answer
            rescue = rescued(Symptom.BLOCK_PAGE, by=TOR, protocol=Protocol.HTTP)
        scene = Scene(direct=answering(answer), relay=answering(), rescue=rescue)
        scene.scripts[by_strategy] = answering(answer)
        await scene.visit(visit, flight_of(data))
        assert scene.scripts[by_strategy].dialed == [DUE_S]
        (answered_at,) = [stream.flight_sent_at for stream in scene.scripts[by_strategy].streams]
        (dialed_at,) = scene.scripts[DIRECT].dialed
        assert answered_at is not None
        assert dialed_at > answered_at
        assert scene.scripts[TOR].dialed == []

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
        scene.beliefs.learn(Carried(HOST, TOR, count=70_000), network=HOME, now=scene.now())
        assert (scene.state, scene.beliefs.lookup(HOST, network=HOME, now=scene.now()).score) == (State.SUSPECT, 2.0)

        async def haul(dialer: ScriptedDialer, *_: Any, **__: Any) -> int:
            return direct if dialer._script is scene.scripts[DIRECT] else other

        monkeypatch.setattr("proxy.probe.retest.measure_throughput", haul)
        await scene.visit()
        assert scene.state is state

    play(story())


THROTTLED = outcome(replace(delivered(), symptom=Symptom.THROTTLED, evidence={"bytes_s": 8_000}), protocol=Protocol.TLS)
SPEEDS = {  # bytes a second of direct and of the relay → the state of a host that was suspect because it was slow
    "as fast as the relay": (900_000.0, 900_000.0, State.WORKS),
    "a little slower": (301_000.0, 900_000.0, State.WORKS),
    "much slower": (300_000.0, 900_000.0, State.BLOCKED),
    "too slow to tell": (None, 900_000.0, State.BLOCKED),
    "the relay failed": (900_000.0, None, State.SUSPECT),
    "neither can be told": (None, None, State.SUSPECT),
}


@pytest.mark.parametrize("name", SPEEDS)
def test_what_was_slow_is_over_when_direct_is_not_much_slower(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    direct, other, state = SPEEDS[name]

    async def story() -> None:
        scene = Scene(direct=Script(), relay=Script(), rescue=THROTTLED)
        scene.beliefs.learn(Carried(HOST, TOR, count=70_000), network=HOME, now=scene.now())
        scene.beliefs.learn(DirectDelivered("other.test"), network=HOME, now=scene.now())

        async def speeds(setup: Setup, turn: Any, visit: Outcome, route: Route) -> tuple[float | None, float | None]:
            assert (visit.host, route) == (HOST, TOR)
            return direct, other

        monkeypatch.setattr("proxy.probe.retest.measure_speeds", speeds)
        await scene.visit()
        if state is State.BLOCKED:
            await scene.visit(at=2 * DUE_S)
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


@each_row("what", ["network", "setup"])
def test_a_pair_that_ends_on_another_network_or_under_another_setup_teaches_nothing(what: str) -> None:
    async def story() -> None:
        scene = Scene(direct=Script(answer=SERVER_HELLO, after=1.0), relay=answering())
        changed: Any = AWAY if what == "network" else replace(scene.setup, pages=NO_PAGES)
        asyncio.get_running_loop().call_later(DUE_S + 0.5, setattr, scene, what, changed)
        await scene.visit()
        assert len(scene.sent(DIRECT)) == 1
        assert scene.changes == []
        assert scene.state is State.SUSPECT

    play(story())


@each_row(("dns", "successes"), [(Dns(), 0), (Dns(secure="never"), 1)])
def test_a_pair_beside_which_the_resolver_turns_out_to_be_wrong_teaches_nothing(dns: Dns, successes: int) -> None:
    """Direct of that pair went to the address of encrypted DNS."""

    async def story() -> None:
        scene = Scene(direct=Script(answer=SERVER_HELLO, after=1.0), relay=answering(), dns=dns)
        forged = rescued(Symptom.FORGED, Stage.RESOLVE, by=TOR, at=DUE_S + 0.5)

        def learn_forged() -> None:
            scene.beliefs.learn(forged, network=HOME, now=scene.now())
            open_uplink(scene.beliefs, now=scene.now())

        asyncio.get_running_loop().call_at(DUE_S + 0.5, learn_forged)
        await scene.visit()
        assert len(scene.sent(DIRECT)) == 1
        belief = scene.beliefs.lookup(HOST, network=HOME, now=scene.now())
        assert (belief.cause, belief.successes) == (Cause.DNS, successes)

    play(story())


@each_row(
    ("there", "may_go", "state", "carries"),
    [
        (SERVER_HELLO, True, State.WORKS, "tor"),
        (RESET, True, State.BLOCKED, "direct|doh"),
        (RESET, False, State.WORKS, "tor"),  # a rule keeps that address to relays, so nothing is sent there
    ],
)
def test_direct_works_if_it_does_where_the_systems_resolver_leads(
    there: bytes | Exception, may_go: bool, state: State, carries: str
) -> None:
    """The name is resolved by encrypted DNS, which leads elsewhere: direct is asked at both addresses."""

    async def story() -> None:
        scene, forged = Scene(direct=answering(), relay=answering()), ipaddress.ip_address("192.0.2.99")
        there_direct = answering(there)

        async def elsewhere(_host: str) -> IPAddress:
            scene.scripts[DIRECT] = there_direct
            return forged

        resolver: Any = SimpleNamespace(**{**vars(NO_RESOLVER), "elsewhere": elsewhere})
        router: Any = SimpleNamespace(may_go_direct=lambda destination, *_: may_go)
        scene.setup = replace(scene.setup, resolver=resolver, router=router)
        await scene.visit()
        assert len(there_direct.streams) == may_go
        assert scene.state is state
        belief = scene.beliefs.lookup(HOST, network=HOME, now=scene.now())
        assert str(belief.last_good) == carries
        assert not _is_due(scene)

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
