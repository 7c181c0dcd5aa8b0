"""When a control page is asked, which one, and what its answer teaches: over scripted paths, under a virtual clock,
with real beliefs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.load import Loaded
from proxy.config.schema import Auto, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ControlAnswered, DirectDelivered, Event, FlowStalled
from proxy.detect.relay_health import Health
from proxy.extend.dispatch import Addons
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.model import DIRECT, Change, ConnectivityResult, Destination, NetworkId, NetworkState, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.stream import Stream
from proxy.probe.connectivity_check import ConnectivityCheck
from proxy.routing.router import Router
from proxy.routing.rule_parser import parse_rules
from proxy.session.events import SignalWaits
from proxy.session.setup import Setup
from tests.extend.making import made
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, HOST, TOR, failed, outcome, rescued, works
from tests.support.scripted import Script, ScriptedDialer, ScriptedStream
from tests.support.services import NO_PAGES, NO_RESOLVER, services

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LOGIN = b"HTTP/1.1 302 Found\r\nLocation: http://login.portal.test/\r\nContent-Length: 0\r\n\r\n"
FOREIGN, OTHER, DOMESTIC = "http://one.test/", "http://two.test/", "http://home.test/"
UNREACHABLE = DialError("no way there", stage=Stage.CONNECT, symptom=Symptom.UNREACHABLE)


class Listening(Beliefs):
    """Beliefs, and of each answer whether it was said to be of a domestic page."""

    def __init__(self, settings: DetectTuning) -> None:
        super().__init__(settings)
        self.domestic: list[bool] = []

    def learn(self, event: Event, *, network: NetworkId, now: float) -> list[Change]:
        if isinstance(event, ControlAnswered):
            self.domestic.append(event.domestic)
        return super().learn(event, network=network, now=now)


class Scene:
    """A network where control pages answer as the script says; the clock of the loop is everybody's."""

    def __init__(
        self, script: Script | None = None, controls: tuple[str, ...] = (FOREIGN,), seed: int = 0, rules: str = "",
        addons: Addons | None = None, relays: Mapping[str, Script] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.script = script or Script(answer=OK)
        self.asked: list[tuple[float, str]] = []
        self.network: NetworkId = HOME
        self.settings = Settings(auto=Auto(controls=controls))
        self.beliefs = Listening(self.settings.detect)
        self.changes: list[Change] = []
        unused = cast(Any, None)
        router = Router(parse_rules(rules, source="rules.txt"), {}, [], self.settings)
        self.setup = Setup(Loaded(self.settings), unused, unused, router, cast(Any, self), NO_RESOLVER, pages=NO_PAGES)
        self.witnesses: list[Stream] = []
        self.expected: list[float] = []  # when somebody was asked who answers whenever the network is there
        self.health = Health(self.settings.detect)
        self.relay_names = tuple(relays)
        self.relays = relays
        self.connectivity = ConnectivityCheck(
            services(
                flows=SimpleNamespace(
                    take_witness=self.witnesses.append, witness_asked=lambda: self.expected.append(self.now())
                ),
                health=self.health,
                setup=lambda: self.setup,
                beliefs=self.beliefs,
                network=lambda: self.network,
                now=self.now,
                believe=self.changes.extend,
                addons=addons or Addons(),
            ),
            rng=random.Random(seed),
        )

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def dialer(self, route: Route) -> Scene:
        assert route == DIRECT
        return self

    async def dial(self, destination: Destination) -> Stream:
        self.asked.append((self.now(), destination.host))
        return await ScriptedDialer(self.script).dial(destination)

    def first_endpoint(self, name: str) -> Destination:
        return Destination(f"{name}.example", 443)

    async def connect(self, name: str) -> Stream:
        """To a relay."""
        self.asked.append((self.now(), name))
        return await ScriptedDialer(self.relays[name]).dial(self.first_endpoint(name))

    def suspects(self, host: str = HOST) -> None:
        """A rescue, whose evidence waits until the uplink is known to be well."""
        self.beliefs.learn(rescued(by=TOR, host=host, at=self.now()), network=self.network, now=self.now())
        self.connectivity.on_signal_waits(SignalWaits())

    def stalls(self, host: str = HOST) -> None:
        """A flow that is alone, and of whose peer nothing is heard."""
        self.beliefs.note(FlowStalled(host), network=self.network, now=self.now())
        self.connectivity.on_signal_waits(SignalWaits())

    def score(self) -> float:
        return self.beliefs.lookup(HOST, network=HOME, now=self.now()).score


def test_a_sign_that_waits_is_counted_once_a_control_is_well() -> None:
    async def story() -> None:
        scene = Scene()
        scene.suspects()
        await asyncio.sleep(0.9)
        assert (scene.asked, scene.score()) == ([], 0)
        await asyncio.sleep(1.0)
        assert scene.asked == [(1.0, "one.test")]
        assert scene.score() == 2
        assert scene.changes
        assert all(stream.closed for stream in scene.script.streams)

    play(story())


def test_the_users_own_traffic_saves_the_question() -> None:
    async def story() -> None:
        scene = Scene()
        scene.suspects()
        await asyncio.sleep(0.5)
        scene.beliefs.learn(DirectDelivered("other.test"), network=HOME, now=scene.now())
        await asyncio.sleep(5.0)
        assert scene.asked == []
        assert scene.score() == 2

    play(story())


def test_a_page_that_a_rule_keeps_to_relays_is_not_asked() -> None:
    async def story() -> None:
        for seed in range(4):
            some = Scene(
                controls=(FOREIGN, OTHER, DOMESTIC), seed=seed, rules="DOMAIN,one.test,RELAY\nDST-PORT,80,AUTO"
            )
            some.suspects()
            await asyncio.sleep(5.0)
            assert {host for _, host in some.asked} <= {"two.test", "home.test"}
            assert len(some.asked) == 1
        none = Scene(rules="MATCH,RELAY")
        none.suspects()
        await asyncio.sleep(5.0)
        await none.connectivity.check_one(none.setup)
        assert none.asked == []

    play(story())


def test_nor_is_one_that_an_addon_keeps_to_relays(tmp_path: Path) -> None:
    addons = Addons()
    hook = "def plan(request, plan):\n    assert request.inbound == 'retest'\n"
    refuses = f"{hook}    return plan.block('no') if request.destination.host == 'one.test' else None\n"
    addons.put(AddonRunner(made(tmp_path / "addons", refuses), TimeLimit()))

    async def story() -> None:
        some = Scene(controls=(FOREIGN, OTHER), addons=addons)
        some.suspects()
        await asyncio.sleep(5.0)
        assert [host for _, host in some.asked] == ["two.test"]
        none = Scene(controls=(FOREIGN,), addons=addons)
        none.suspects()
        await asyncio.sleep(5.0)
        await none.connectivity.check_one(none.setup)
        assert none.asked == []

    play(story())
    assert addons.running[0].faults == 0


@pytest.mark.parametrize("suspect", ["www.one.test", "one.test"])
def test_a_suspect_is_not_asked_about_itself(suspect: str) -> None:
    """Neither a site of its domain, of which a sign waits, nor the page itself later on."""

    async def story(seed: int) -> None:
        scene = Scene(controls=(FOREIGN, OTHER, DOMESTIC), seed=seed)
        scene.suspects(suspect)
        await asyncio.sleep(5.0)
        assert len(scene.asked) == 1
        await asyncio.sleep(60.0)
        scene.suspects("another.test")
        await asyncio.sleep(5.0)
        assert len(scene.asked) == 2
        names = {host for _, host in scene.asked[: None if suspect == "one.test" else 1]}
        assert "one.test" not in names

    for seed in range(6):
        play(story(seed))


def test_a_flow_that_stalls_alone_gets_a_witness_that_stays_open() -> None:
    async def story() -> None:
        scene = Scene()
        for _ in range(20):  # it is told again each second
            scene.stalls()
            await asyncio.sleep(1.0)
        assert scene.asked == [(0.0, "one.test")]
        assert scene.witnesses == scene.script.streams
        assert not scene.script.streams[0].closed

    play(story())


def test_a_stall_that_is_over_calls_for_none() -> None:
    """It was answered, or another flow receives: nothing is told of it any more."""

    async def story() -> None:
        scene = Scene()
        scene.beliefs.note(FlowStalled(HOST), network=HOME, now=scene.now())
        await asyncio.sleep(3.5)
        scene.connectivity.on_signal_waits(SignalWaits())
        await asyncio.sleep(10.0)
        assert scene.asked == []

    play(story())


def test_a_page_that_was_asked_for_another_reason_is_closed() -> None:
    async def story() -> None:
        scene = Scene()
        scene.suspects()
        await asyncio.sleep(5.0)
        assert scene.witnesses == []
        assert all(stream.closed for stream in scene.script.streams)

    play(story())


def test_the_site_that_stalls_is_not_its_own_witness() -> None:
    async def story(seed: int) -> None:
        scene = Scene(controls=(FOREIGN, OTHER, DOMESTIC), seed=seed)
        scene.stalls("www.one.test")
        await asyncio.sleep(5.0)
        ((_, host),) = scene.asked
        assert host != "one.test"
        only = Scene(controls=(FOREIGN,))
        only.stalls("one.test")
        await asyncio.sleep(5.0)
        assert only.asked == []

    for seed in range(6):
        play(story(seed))


@pytest.mark.parametrize(
    "script", [Script(answer=LOGIN), Script(answer=None), Script(connect=UNREACHABLE)], ids=["portal", "silent", "lost"]
)
def test_what_is_no_control_page_is_no_witness(script: Script) -> None:
    async def story() -> None:
        scene = Scene(script)
        scene.stalls()
        await asyncio.sleep(15.0)
        assert len(scene.asked) == 1
        assert scene.witnesses == []
        assert all(stream.closed for stream in script.streams)

    play(story())


def test_where_no_page_may_be_requested_a_relay_that_accepts_is_the_witness() -> None:
    """The stalled flow's own one does not, and a third one is closed again. Nothing is said to any of them."""

    async def story() -> None:
        gone, near, far = Script(connect=UNREACHABLE), Script(connect=0.1), Script(connect=0.5)
        scene = Scene(rules="MATCH,RELAY", relays={"gone": gone, "far": far, "near": near})
        for _ in range(20):
            scene.stalls()
            await asyncio.sleep(1.0)
        assert scene.asked == [(0.0, "gone"), (0.0, "far"), (0.0, "near")]
        (witness,) = cast(list[ScriptedStream], scene.witnesses)
        assert (witness.closed, [stream.closed for stream in (*near.streams, *far.streams)]) == (False, [False, True])
        assert witness is near.streams[0]
        assert not [stream.sent for stream in (*near.streams, *far.streams) if stream.sent]

    play(story())


@pytest.mark.parametrize(
    ("worked", "is_expected"), [((), False), (("one",), False), (("one", "two"), True)], ids=["none", "one", "two"]
)
def test_only_relays_that_work_are_expected_to_accept(worked: tuple[str, ...], is_expected: bool) -> None:
    """Of those that worked, one is the stalled flow's own."""

    async def story() -> None:
        scene = Scene(rules="MATCH,RELAY", relays=dict.fromkeys(("one", "two", "dead"), Script(connect=UNREACHABLE)))
        await asyncio.sleep(10_000.0)
        for name in worked:
            scene.health.worked(name, scene.now())
        scene.stalls()
        await asyncio.sleep(5.0)
        assert len(scene.asked) == 3
        assert scene.expected == ([10_000.0] if is_expected else [])

    play(story())


@pytest.mark.parametrize("is_restricted", [False, True])
def test_a_control_page_is_expected_to_answer_but_on_a_restricted_network(
    is_restricted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        scene = Scene()
        if is_restricted:
            monkeypatch.setattr(scene.beliefs, "network_state", lambda network: NetworkState.RESTRICTED)
        scene.stalls()
        await asyncio.sleep(5.0)
        assert scene.asked == [(0.0, "one.test")]
        assert scene.expected == ([] if is_restricted else [0.0])

    play(story())


def test_a_relay_is_asked_for_no_other_reason_and_never_beside_a_page() -> None:
    async def story() -> None:
        waits = Scene(rules="MATCH,RELAY", relays={"one": Script()})
        waits.suspects()
        paged = Scene(relays={"one": Script()})
        paged.stalls()
        await asyncio.sleep(5.0)
        assert waits.asked == []
        assert paged.asked == [(0.0, "one.test")]

    play(story())


@pytest.mark.parametrize("peer", ["192.168.1.5:1080", "127.0.0.1:9050", "[fd00::2]:443"])
def test_a_relay_on_the_home_network_shows_nothing_of_the_way_out(peer: str) -> None:
    async def story() -> None:
        def at_home(script: Script) -> ScriptedStream:
            stream = ScriptedStream(script)
            stream.peer = peer
            return stream

        script = Script(stream=at_home)
        scene = Scene(rules="MATCH,RELAY", relays={"router": script})
        scene.stalls()
        await asyncio.sleep(5.0)
        assert scene.asked == [(0.0, "router")]
        assert scene.witnesses == []
        assert all(stream.closed for stream in script.streams)

    play(story())


def test_a_witness_of_another_network_is_closed() -> None:
    async def story() -> None:
        scene = Scene(Script(answer=OK, after=1.0))
        scene.stalls()
        await asyncio.sleep(0.5)
        scene.network = AWAY
        await asyncio.sleep(5.0)
        assert scene.witnesses == []
        assert all(stream.closed for stream in scene.script.streams)

    play(story())


@pytest.mark.parametrize("script", [Script(connect=UNREACHABLE), Script(answer=None), Script(answer=b"")])
def test_a_control_that_does_not_come_counts_for_nobody(script: Script) -> None:
    async def story() -> None:
        scene = Scene(script)
        scene.suspects()
        await asyncio.sleep(30.0)
        assert len(scene.asked) == 1
        assert scene.score() == 0
        assert all(stream.closed for stream in script.streams)

    play(story())


def test_a_login_page_is_told_from_a_control() -> None:
    async def story() -> None:
        scene = Scene(Script(answer=LOGIN))
        scene.suspects()
        await asyncio.sleep(2.0)
        assert scene.beliefs.network_state(HOME) is NetworkState.PORTAL
        assert scene.score() == 0

    play(story())


class PlainAnswers(Scene):
    """Control pages over https do not connect; over plain http `plain` answers, and a domestic one is well."""

    def __init__(self, plain: Script, domestic: str = "https://home.test/") -> None:
        super().__init__(controls=("https://one.test/", "https://two.test/", domestic))
        self.plain = plain

    async def dial(self, destination: Destination) -> Stream:
        self.asked.append((self.now(), str(destination)))
        script = Script(answer=OK) if destination.host == "home.test" else self.plain
        return await ScriptedDialer(script if destination.port == 80 else Script(connect=UNREACHABLE)).dial(destination)

    def plain_requests(self) -> list[str]:
        return [asked for _, asked in self.asked if asked.endswith(":80")]


def test_where_https_is_cut_a_plain_page_shows_the_portal_and_its_login_page() -> None:
    """One page of plain http, and only once a control has failed; at most as often as controls."""

    async def story() -> None:
        scene = PlainAnswers(Script(answer=LOGIN))
        scene.suspects()
        await asyncio.sleep(0.9)
        assert scene.asked == []
        await asyncio.sleep(30.0)
        assert scene.beliefs.network_state(HOME) is NetworkState.PORTAL
        assert scene.beliefs.portal_page(HOME) == "http://login.portal.test/"
        assert scene.plain_requests() == ["one.test:80"]
        assert scene.score() == 0
        assert scene.beliefs.all(now=scene.now()) == [], "nothing is learned behind it"
        scene.beliefs.learn(
            ControlAnswered("one.test", ConnectivityResult.WELL, scene.now()), network=HOME, now=scene.now()
        )
        assert scene.beliefs.portal_page(HOME) == ""

    play(story())


@pytest.mark.parametrize(
    "plain", [Script(answer=OK), Script(answer=b""), Script(connect=UNREACHABLE)], ids=["answers", "closes", "lost"]
)
def test_a_plain_page_that_is_no_portals_teaches_nothing(plain: Script) -> None:
    """Anybody on the way may have answered it, so it does not show that internet access works either."""

    async def story() -> None:
        scene = PlainAnswers(plain)
        scene.suspects()
        await asyncio.sleep(30.0)
        assert scene.plain_requests() == ["one.test:80"]
        assert scene.beliefs.network_state(HOME) is NetworkState.OK
        assert scene.score() == 0

    play(story())


@pytest.mark.parametrize(
    ("plain", "state"),
    [(Script(answer=OK), NetworkState.NO_HTTPS), (Script(connect=UNREACHABLE), NetworkState.RESTRICTED)],
    ids=["answers", "lost"],
)
def test_a_network_without_https_is_told_from_one_that_allows_few_sites(plain: Script, state: NetworkState) -> None:
    async def story() -> None:
        scene = PlainAnswers(plain, DOMESTIC)
        for number in range(5):
            scene.suspects(f"a{number}.test")
        await asyncio.sleep(30.0)
        assert scene.plain_requests() == ["home.test:80", "one.test:80"]
        assert scene.beliefs.network_state(HOME) is state

    play(story())


def test_a_control_that_is_well_needs_no_plain_page() -> None:
    async def story() -> None:
        scene = Scene()
        scene.suspects()
        await scene.connectivity.check_one(scene.setup)
        await asyncio.sleep(10.0)
        assert {host for _, host in scene.asked} == {"one.test"}

    play(story())


def test_nobody_is_asked_for_nothing() -> None:
    async def story() -> None:
        scene = Scene()
        scene.connectivity.on_signal_waits(SignalWaits())
        await asyncio.sleep(10.0)
        assert scene.asked == []

        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        none = Scene(controls=())
        none.suspects()
        await none.connectivity.check_one(none.setup)
        await asyncio.sleep(10.0)
        assert none.asked == []
        assert faults == []

    play(story())


def test_one_question_for_a_page_full_of_signs_and_one_a_minute() -> None:
    async def story() -> None:
        scene = Scene(Script(connect=UNREACHABLE))
        for number in range(6):
            scene.suspects(f"a{number}.test")
        await asyncio.sleep(30.0)
        scene.suspects("later.test")
        await asyncio.sleep(15.0)
        assert [at for at, _ in scene.asked] == [1.0]
        await asyncio.sleep(30.0)
        scene.suspects("much-later.test")
        await asyncio.sleep(15.0)
        assert [at for at, _ in scene.asked] == [1.0, 76.0]

    play(story())


def test_an_answer_from_another_network_is_nobodys() -> None:
    async def story() -> None:
        scene = Scene(Script(answer=LOGIN, after=1.0))
        scene.suspects()
        await asyncio.sleep(1.5)
        scene.network = AWAY
        await asyncio.sleep(5.0)
        assert len(scene.asked) == 1
        assert scene.changes == []
        assert {scene.beliefs.network_state(n) for n in (HOME, AWAY)} == {NetworkState.OK}

    play(story())


def test_any_of_them_is_asked_and_the_last_one_is_domestic() -> None:
    """Both foreign ones failing while the domestic one answers is what an allow-list looks like."""

    async def ask(seed: int) -> tuple[str, bool]:
        scene = Scene(Script(answer=OK), (FOREIGN, OTHER, DOMESTIC), seed)
        await scene.connectivity.check_one(scene.setup)
        ((_, host),) = scene.asked
        (domestic,) = scene.beliefs.domestic
        return host, domestic

    found = {play(ask(seed)) for seed in range(20)}
    assert found == {("one.test", False), ("two.test", False), ("home.test", True)}


def test_in_an_outage_the_domestic_one_is_heard_before_the_network_is_called_restricted() -> None:
    async def story(seed: int) -> None:
        scene = Scene(Script(answer=None), (FOREIGN, OTHER, DOMESTIC), seed)
        scene.suspects("a0.test")
        scene.beliefs.learn(DirectDelivered("flaps.test"), network=HOME, now=scene.now())
        for number in range(1, 5):
            scene.suspects(f"a{number}.test")
        await asyncio.sleep(60.0)
        assert [at for at, _ in scene.asked] == [1.0, 4.0, 4.0]
        assert scene.asked[0][1] == "home.test"
        assert scene.beliefs.domestic == [True, False, False]
        assert scene.beliefs.network_state(HOME) is NetworkState.OK

    for seed in range(6):
        play(story(seed))


def test_foreign_ones_that_fail_at_once_are_learned_after_the_silent_domestic_one() -> None:
    """Else they would look like a restriction until it is heard."""

    async def story() -> None:
        scene = Scene(Script(answer=None), (FOREIGN, OTHER, DOMESTIC))
        for number in range(5):
            scene.suspects(f"a{number}.test")
        await asyncio.sleep(2.0)
        scene.script = Script(connect=UNREACHABLE)
        scene.beliefs.learn(DirectDelivered("flaps.test"), network=HOME, now=scene.now())
        await asyncio.sleep(8.9)
        assert ([at for at, _ in scene.asked], scene.beliefs.domestic) == ([1.0, 4.0, 4.0], [])
        await asyncio.sleep(0.2)
        assert scene.beliefs.domestic == [True, False, False]
        assert scene.beliefs.network_state(HOME) is NetworkState.OK

    play(story())


@pytest.mark.parametrize("delivers", [True, False])
def test_the_pages_are_requested_again_soon_once_sites_deliver(delivers: bool) -> None:
    """As on an allow-list in a country of which no control page is."""

    async def story() -> None:
        scene = Scene(Script(connect=UNREACHABLE), (FOREIGN, OTHER, DOMESTIC))
        for number in range(5):
            scene.suspects(f"a{number}.test")
        await asyncio.sleep(7.0)
        assert [at for at, _ in scene.asked] == [1.0] * 3
        for host in ("shop.test", "bank.test") if delivers else ():
            scene.beliefs.learn(DirectDelivered(host), network=HOME, now=scene.now())
        assert scene.beliefs.needs_control(HOME), "so that a visit says so"
        scene.connectivity.on_signal_waits(SignalWaits())
        await asyncio.sleep(30.0)
        assert [at for at, _ in scene.asked[3:]] == [8.0] * (3 if delivers else 0)
        assert scene.beliefs.network_state(HOME) is (NetworkState.RESTRICTED if delivers else NetworkState.OK)

    play(story())


def test_a_single_control_is_not_called_domestic() -> None:
    """An answer of it alone must be able to end a restriction."""

    async def story() -> None:
        scene = Scene()
        await scene.connectivity.check_one(scene.setup)
        assert scene.beliefs.domestic == [False]

    play(story())


@pytest.mark.parametrize("shut", [False, True])
def test_only_a_foreign_control_tells_that_a_restriction_ends(shut: bool) -> None:
    async def story() -> None:
        for seed in range(6):
            scene = Scene(controls=(FOREIGN, OTHER, DOMESTIC), seed=seed)
            learned: dict[str, Any] = {"network": HOME, "now": scene.now()}
            for number in range(5):
                scene.beliefs.learn(rescued(by=TOR, host=f"d{number}.test", at=scene.now()), **learned)
            scene.beliefs.learn(works("home.test", at=scene.now()), **learned)
            for host in ("one.test", "two.test"):
                scene.beliefs.learn(ControlAnswered(host, ConnectivityResult.FAILED, scene.now()), **learned)
            for _ in range(5 if shut else 0):
                dead = outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), at=scene.now())
                scene.beliefs.learn(dead, **learned)
            expected = NetworkState.SHUT if shut else NetworkState.RESTRICTED
            assert scene.beliefs.network_state(HOME) is expected
            await asyncio.sleep(61)
            scene.connectivity.on_signal_waits(SignalWaits())
            await asyncio.sleep(2)
            assert [host for _, host in scene.asked] in (["one.test"], ["two.test"])

    play(story())
