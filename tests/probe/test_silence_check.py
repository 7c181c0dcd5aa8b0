"""Which silences are looked into, which hellos are sent for it (`same_flight.answered_after`), and what their answers
teach: over scripted paths, under a virtual clock, with real beliefs."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.schema import Auto, Settings
from proxy.detect.beliefs.events import DirectDelivered
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Destination,
    IPAddress,
    NetworkId,
    Outcome,
    Route,
    SignalId,
    Stage,
    State,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.net.notify import Notify
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.tasks import cancel_all
from proxy.probe.silence_check import SilenceCheck
from proxy.session.events import Rescued
from proxy.wire.flight import Flight
from proxy.wire.tls import parse_client_hello
from tests.lab.messages import whole_hello
from tests.probe.scene import BesideScene
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, HOST, TOR, outcome
from tests.support.rows import each_row
from tests.support.scripted import Script, ScriptedDirect, ScriptedStream
from tests.support.services import NO_PAGES, NO_RESOLVER
from tests.wire import hellos

HELLO = hellos.by_hand(
    hellos.sni(HOST.encode()), hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE, hellos.PADDING
)
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"
ALERT = b"\x15\x03\x03\x00\x02\x02\x70"
ADDRESS = "198.51.100.9:443"
CONTROL = "control.test"
LATER_S = 17.0
"""After the judgement of the visit: an experiment is over."""

SILENT = Attempt(DIRECT, Stage.FIRST_BYTE, Symptom.SILENT, elapsed=7.1, address=ADDRESS, evidence={"acknowledged": 1})
BY_RELAY = Attempt(TOR, Stage.DONE, started=3.1, elapsed=0.5, evidence={"opened_s": 0.3})


@dataclass
class Answer:
    """How the address answers a hello of one name."""

    data: bytes | Exception | None = SERVER_HELLO
    after: float = 0.1
    connects: bool = True


SILENCE = Answer(None)


class Scene(BesideScene):
    """A visit that a relay delivered while direct was silent. The address answers by name."""

    def __init__(
        self,
        own: Answer = SILENCE,
        neutral: Answer | None = None,
        *,
        auto: Auto | None = None,
        judged: Attempt = SILENT,
        other: Answer = SILENCE,
    ) -> None:
        self.answers = {HOST: own, CONTROL: neutral or Answer()}
        self.other = other  # to a hello for the site in another shape than that of the visit
        self.judged = judged
        self.known: tuple[IPAddress, ...] = ()  # addresses of the site
        self.asked: set[str] = set()  # addresses of hellos
        self.by_relay: set[str] = set()  # hosts that a rule keeps to relays
        resolver = SimpleNamespace(**{**vars(NO_RESOLVER), "known": lambda host: self.known})
        controls = (f"https://{CONTROL}/", f"https://www.{HOST}/")
        super().__init__(Settings(auto=auto or Auto(controls=controls)), resolver=resolver)
        self.hellos: list[tuple[str, float, bytes]] = []
        self.streams: list[ScriptedStream] = []
        self.findings = SharedFindings(self.now)
        self.check = SilenceCheck(self.services(findings=self.findings))

    # -- the router and the registry of its setup

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> Any:
        raise AssertionError(f"{route} is no direct route")

    def may_go_direct(self, destination: Destination, network: NetworkId, now: float) -> bool:
        return destination.host not in self.by_relay

    def may_relay(self, host: str) -> bool:
        return True

    @property
    def direct(self) -> Any:
        return _ByName(self)

    # -- the record of the visit

    @property
    def named(self) -> list[str]:
        return [name for name, _, _ in self.hellos]

    async def visit(self, visit: Outcome | None = None, *, hello: bytes = HELLO, relay: Attempt = BY_RELAY) -> None:
        """The visit, direct's judgement, and all that comes of it."""
        pending = replace(self.judged, stage=Stage.FIRST_BYTE, symptom=Symptom.NONE, elapsed=3.6)
        begun = visit or outcome(pending, relay, at=self.now())
        record = _Record(self, begun)
        flight = Flight()
        flight.receive_data(hello)
        self.check.on_rescued(Rescued(self.setup, cast(Any, record), flight, begun))
        await asyncio.sleep(7)
        if begun.direct_attempt is not None and begun.direct_attempt.pending:
            record.outcome = begun.with_attempt(self.judged)
        self.beliefs.learn(record.outcome, network=HOME, now=self.now())
        self.beliefs.learn(DirectDelivered("other.test"), network=HOME, now=self.now())
        record.is_judged.set()
        await asyncio.sleep(LATER_S)
        assert all(stream.closed for stream in self.streams)
        assert record.retained == 0
        await cancel_all()


class _Record:
    network = HOME

    def __init__(self, scene: Scene, begun: Outcome) -> None:
        self.outcome = begun
        self.is_judged = asyncio.Event()
        self.retained = 0

    async def direct_judged(self) -> None:
        await self.is_judged.wait()

    def retain(self) -> None:
        self.retained += 1

    def release(self) -> None:
        self.retained -= 1


class _ByName:
    """Dials the address of the site, which answers by the name in the hello."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def begin(self, destination: Destination, notify: Notify) -> Any:
        scene = self._scene
        scene.asked.add(str(destination))

        class Stream(ScriptedStream):
            def send_nowait(self, data: bytes | memoryview) -> int:
                hello = parse_client_hello(bytes(data))
                assert hello is not None
                name = hello.server_name or ""
                scene.hellos.append((name, scene.now(), bytes(data)))
                answer = scene.answers[name] if hello.alpn else scene.other
                self.script.answer, self.script.after = answer.data, answer.after
                return super().send_nowait(data)

        script = Script(connect=0.05, stream=Stream)
        script.streams = scene.streams
        if not scene.answers[HOST if not scene.hellos else CONTROL].connects:
            script.connect = DialError("unreachable", stage=Stage.CONNECT, symptom=Symptom.UNREACHABLE)
        return ScriptedDirect(lambda: script).begin(destination, notify)


def test_a_name_whose_answers_are_dropped_is_proven_by_two_hellos() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit()
        assert (scene.held.state, scene.held.cause, scene.held.last_good) == (State.BLOCKED, "sni_drop", "tor")
        assert scene.named == [HOST, CONTROL]
        (_, own_at, own), (_, neutral_at, neutral) = scene.hellos
        assert neutral_at - own_at == pytest.approx(3.5), "while the first is silent"
        assert own != HELLO, "a hello like the user's, and not the user's"
        assert scene.asked == {ADDRESS}
        assert neutral[-len(hellos.PADDING) :] == HELLO[-len(hellos.PADDING) :], "of the same shape"
        assert [(name, is_extra) for _, name, _, is_extra in scene.findings.hellos] == [(HOST, True), (CONTROL, True)]

    play(story())


INNOCENT: dict[str, tuple[Answer, Answer, Sequence[str]]] = {  # own name, neutral name, the hellos that are sent
    "it answers now": (Answer(), Answer(), [HOST]),
    "it answers late": (Answer(after=3.0), Answer(), [HOST]),
    "it answers later still": (Answer(after=6.0), Answer(), [HOST, CONTROL]),
    "it answers as late, and no other name is": (Answer(after=6.0), SILENCE, [HOST, CONTROL]),
    "it refuses with an alert": (Answer(ALERT), Answer(), [HOST]),
    "it answers something else": (Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Answer(), [HOST]),
    "it is reset": (Answer(ConnectionResetError(104, "reset")), Answer(), [HOST]),
    "it is reset later": (Answer(ConnectionResetError(104, "reset"), after=5.0), Answer(), [HOST, CONTROL]),
    "it cannot be reached": (Answer(connects=False), Answer(), []),
    "no name is answered": (SILENCE, SILENCE, [HOST, CONTROL, HOST]),
    "another name is answered late": (SILENCE, Answer(after=4.0), [HOST, CONTROL, HOST]),
    "another name gets an alert, which passes a path that loses full segments": (
        SILENCE,
        Answer(ALERT),
        [HOST, CONTROL],
    ),
    "another name cannot be asked": (SILENCE, Answer(connects=False), [HOST]),
}


@each_row("case", INNOCENT)
def test_what_does_not_fit_proves_nothing(case: str) -> None:
    own, neutral, sent = INNOCENT[case]

    async def story() -> None:
        scene = Scene(own, neutral)
        await scene.visit()
        assert scene.named == sent
        assert scene.held.state is State.SUSPECT

    play(story())


def test_the_hello_of_another_program_follows_where_no_name_is_answered_in_that_of_the_visit() -> None:
    async def story() -> None:
        scene = Scene(neutral=SILENCE, other=Answer())
        await scene.visit()
        assert scene.named == [HOST, CONTROL, HOST]
        (_, began_at, _), _, (_, other_at, _) = scene.hellos
        assert other_at - began_at == pytest.approx(7, abs=0.2), "once both have been silent"
        assert scene.asked == {ADDRESS}
        assert [is_extra for *_, is_extra in scene.findings.hellos] == [True] * 3, "each in its turn"
        assert (scene.held.state, scene.held.cause, scene.held.score) == (State.SUSPECT, "", 0), "by the rescue alone"
        assert "another program's ClientHello" in scene.held.why
        await asyncio.sleep(120)
        assert scene.held.state is State.UNKNOWN, "nothing lasting was learned"

    play(story())


@each_row("other", [Answer(ALERT), Answer(after=4.0), Answer(ConnectionResetError(104, "reset")), SILENCE])
def test_another_programs_hello_tells_only_by_a_server_hello_in_time(other: Answer) -> None:
    async def story() -> None:
        scene = Scene(neutral=SILENCE, other=other)
        await scene.visit()
        assert scene.named == [HOST, CONTROL, HOST]
        assert "another program" not in scene.held.why

    play(story())


TICKET = (hellos.EARLY_DATA, hellos.PRE_SHARED_KEY)
PROGRAMS = {
    "old": (hellos.ALPN,),
    "TLS 1.3": (hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE),
    "long, and padded": (hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.POST_QUANTUM, hellos.PADDING),
    "with GREASE of ECH": (hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE, hellos.ECH),
    "resuming": (hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE, hellos.PSK_MODES, *TICKET),
}


@each_row("program", PROGRAMS)
def test_a_censor_by_fingerprint_cannot_tell_the_two_names_apart(program: str) -> None:
    """Else it could answer the neutral name alone, which would prove a block of the host that there is not. A ticket is
    left out of both."""
    extensions = PROGRAMS[program]

    async def story() -> None:
        scene = Scene(neutral=SILENCE, other=Answer())
        await scene.visit(hello=hellos.by_hand(hellos.sni(HOST.encode()), *extensions))
        own, neutral, other = (fingerprint(sent) for _, _, sent in scene.hellos)
        unresumed = (extension for extension in extensions if extension not in TICKET)
        assert own == neutral == fingerprint(hellos.by_hand(hellos.sni(HOST.encode()), *unresumed))
        assert other != own

    play(story())


def fingerprint(hello: bytes) -> str:
    found = whole_hello(hello)
    assert found is not None
    return found.ja4


@each_row(
    ("known", "asked"),
    [
        (("198.51.100.9", "198.51.100.10", "198.51.100.11"), "198.51.100.10:443"),
        (("198.51.100.10", "198.51.100.9"), "198.51.100.10:443"),
        (("198.51.100.9", "2001:db8::9"), ADDRESS),  # another family may lead nowhere
        (("198.51.100.9",), ADDRESS),
    ],
)
def test_another_server_of_the_site_is_asked_since_one_may_be_broken(known: tuple[str, ...], asked: str) -> None:
    async def story() -> None:
        scene = Scene(Answer())
        scene.known = tuple(map(ipaddress.ip_address, known))
        await scene.visit()
        assert scene.asked == {asked}
        assert scene.held.state is State.SUSPECT

    play(story())


@each_row(
    ("answer", "state"),
    [
        (SERVER_HELLO + bytes(1454), State.BLOCKED),
        (SERVER_HELLO + bytes(1453), State.SUSPECT),
        (SERVER_HELLO, State.SUSPECT),
    ],
    ids=["a full segment", "a byte less", "a ServerHello alone"],
)
def test_where_the_kernel_does_not_tell_the_other_name_needs_a_full_segment(answer: bytes, state: State) -> None:
    async def story() -> None:
        scene = Scene(SILENCE, Answer(answer), judged=replace(SILENT, evidence={}))
        await scene.visit()
        assert scene.named == [HOST, CONTROL]
        assert scene.held.state is state

    play(story())


@each_row(
    "relay",
    [
        replace(BY_RELAY, elapsed=4.0),  # 3.7 s after the path was open
        replace(BY_RELAY, started=31.0),
    ],
)
def test_a_relay_that_waits_as_well_proves_nothing(relay: Attempt) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit(relay=relay)
        assert scene.held.state is not State.BLOCKED

    play(story())


def begun(*attempts: Attempt, **more: Any) -> Outcome:
    return outcome(*attempts, **more)


PENDING = replace(SILENT, symptom=Symptom.NONE)
VISIT = begun(PENDING, BY_RELAY)
NO_OCCASION = {
    "a cut hello delivered": begun(PENDING, Attempt(Route(wrap=("tlsrec",)), Stage.DONE)),
    "direct has failed": begun(replace(SILENT, symptom=Symptom.RESET), BY_RELAY),
    "direct was not tried": begun(BY_RELAY),
    "direct had not connected": begun(replace(PENDING, stage=Stage.CONNECT), BY_RELAY),
    "a rule sends it to a relay": replace(VISIT, plan=replace(VISIT.plan, action=Action.RELAY)),
    "a rule prefers a relay": replace(VISIT, plan=replace(VISIT.plan, action=Action.PREFER_RELAY)),
    "the hello names another host": replace(VISIT, host="inner.example.org"),
}


@each_row("occasion", NO_OCCASION)
def test_other_visits_are_not_looked_into(occasion: str) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit(NO_OCCASION[occasion])
        assert not scene.hellos

    play(story())


JUDGED = {
    "it answers after all": replace(SILENT, stage=Stage.DONE, symptom=Symptom.NONE),
    "its hello was lost": replace(SILENT, symptom=Symptom.DROPPED),
    "its address is forged": replace(SILENT, evidence={"dns": SignalId.DNS_MISMATCH}),
    "the end of an answer came": replace(SILENT, evidence={"acknowledged": 1, "out_of_order": 1}),
}


@each_row("how", JUDGED)
def test_only_silence_is_looked_into(how: str) -> None:
    async def story() -> None:
        scene = Scene(judged=JUDGED[how])
        await scene.visit()
        assert not scene.hellos

    play(story())


@each_row(
    "auto",
    [
        Auto(controls=(f"https://{CONTROL}/",), retest=False),
        Auto(controls=()),
        Auto(controls=(f"https://www.{HOST}/",)),  # of the same domain
        Auto(controls=("https://192.0.2.5/",)),
        Auto(controls=(f"https://www.{HOST}/", f"https://{CONTROL}/")),  # the last of several is domestic
    ],
)
def test_none_where_the_user_wants_none_or_no_other_name_is_known(auto: Auto) -> None:
    async def story() -> None:
        scene = Scene(auto=auto)
        await scene.visit()
        assert not scene.hellos

    play(story())


def test_a_name_that_is_nobodys_business_is_not_sent() -> None:
    async def story() -> None:
        scene = Scene()
        scene.private.add(HOST)
        await scene.visit()
        assert not scene.hellos

    play(story())


def test_a_control_site_that_may_not_go_direct_is_not_named() -> None:
    async def story() -> None:
        scene = Scene()
        scene.by_relay.add(CONTROL)
        await scene.visit()
        assert not scene.hellos

    play(story())


def test_an_experiment_is_made_once_a_day() -> None:
    async def story() -> None:
        scene = Scene(neutral=SILENCE)
        await scene.visit()
        assert len(scene.hellos) == 3
        await scene.visit()
        assert len(scene.hellos) == 3
        await asyncio.sleep(86_400)
        await scene.visit()
        assert len(scene.hellos) == 6

    play(story())


@each_row("what", ["network", "setup"])
def test_what_is_answered_on_another_network_or_under_another_setup_teaches_nothing(what: str) -> None:
    async def story() -> None:
        scene = Scene()
        changed: Any = AWAY if what == "network" else replace(scene.setup, pages=NO_PAGES)
        asyncio.get_running_loop().call_later(9, setattr, scene, what, changed)
        await scene.visit()
        assert len(scene.hellos) == 2
        assert scene.held.state is State.SUSPECT

    play(story())


def test_of_plain_http_nothing_is_explained() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit(hello=f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert not scene.hellos

    play(story())
