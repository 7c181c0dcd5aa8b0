"""Racing as a table of scenarios under a virtual clock, with dialers whose paths are scripted."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_health import Health
from proxy.model import DIRECT, Attempt, Destination, Evidence, PageDoubt, Protocol, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers import relay_handshake
from proxy.net.kernel.tcp_info import SplitTcpDetector
from proxy.net.knowledge import NOTHING_KNOWN, ClassifiedAnswer, Knowledge, NothingKnown
from proxy.net.notify import Notify
from proxy.net.race.race import OpenPath, Race, Winner
from proxy.net.race.retries import RetrySchedule
from proxy.net.race.shared_findings import MARKS_MAX, SharedFindings
from proxy.net.race.terms import RaceTerms
from proxy.net.tasks import spawn
from proxy.routing.strategies import fits
from proxy.wire.flight import Flight
from proxy.wire.tls import Verdict
from tests.support.clock import Clock
from tests.support.clock import run as play
from tests.support.scripted import FakeOracle, Script, ScriptedDialer, ScriptedDirect, ScriptedStream
from tests.wire import hellos

GET = b"GET / HTTP/1.1\r\nHost: blog.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: blog.example\r\nContent-Length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\n\r\n"
HERE = Destination("blog.example", 80)
RELAY = Route(("vps",))
OTHER = Route(("tor",))

RESET = ConnectionResetError(104, "Connection reset by peer")


class Known(NothingKnown):
    """The layers above a race, for one scenario."""

    def __init__(
        self,
        *,
        strategies: bool = False,
        pages: bool = False,
        portal: bool = False,
        may_be_portal: bool = False,
        failing: bool = False,
    ) -> None:
        super().__init__()
        self._strategies = strategies  # may_help is that of routing
        self._pages = pages  # answers are classified as below
        self._portal = portal
        self._may_be_portal = may_be_portal
        self._failing = failing
        self.broken_flights: list[tuple[str, str]] = []
        self.answered_flights: list[tuple[str, str]] = []

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
    ) -> bool:
        return not self._strategies or fits(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        assert host == HERE.host
        if self._pages and b"\r\n\r\n" not in answer and not complete:
            return ClassifiedAnswer(Verdict.MORE)
        if self._pages and b"Location" in answer:
            fingerprint = "elsewhere warning.example"
            return ClassifiedAnswer(Verdict.GARBAGE, Symptom.REDIRECTED, answer_fingerprint=fingerprint)
        if self._pages and b"forbidden" in answer:
            return ClassifiedAnswer(Verdict.GARBAGE, Symptom.BLOCK_PAGE, {"page": "xx-1"})
        return ClassifiedAnswer(Verdict.VALID, evidence={"status": 200} if self._pages else {})

    def is_portal(self) -> bool:
        return self._portal

    def may_be_portal(self) -> bool:
        return self._may_be_portal

    def is_failing(self, route: Route) -> bool:
        return self._failing

    def report_broken_flight(self, address: str, host: str) -> None:
        self.broken_flights.append((address, host))

    def report_answered_flight(self, address: str, host: str) -> None:
        self.answered_flights.append((address, host))


class Scene:
    def __init__(
        self,
        scripts: dict[Route, Script],
        *,
        tcp_info: bool = True,
        knowledge: Knowledge = NOTHING_KNOWN,
        findings: SharedFindings | None = None,
        destination: Destination = HERE,
        schedule: RetrySchedule | None = None,
        resolver: Any = None,
        direct_waits: bool = False,
    ) -> None:
        self.scripts = scripts
        self.tcp_info = FakeOracle(tcp_info)
        self.noted = self.tcp_info.noted
        self.avoided: list[tuple[Route, bool]] = []
        terms = RaceTerms(
            self._dialer,
            direct=ScriptedDirect(lambda: self.scripts[DIRECT]),
            tcp_info=self.tcp_info,
            detect=DetectTuning(),
            knowledge=knowledge,
            resolver=resolver,
            findings=findings,
            schedule=schedule,
        )
        self.race = Race(destination, tuple(scripts), terms, direct_waits=direct_waits)

    def _dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        self.avoided.append((route, avoid_residual))
        return ScriptedDialer(self.scripts[route])

    async def deliver(self, data: bytes = GET, pull: Callable[[], bool] = lambda: True) -> Winner | None:
        flight = Flight()
        flight.receive_data(data)
        if not await self.race.connect():
            return None
        return await self.race.deliver(flight, pull)


def refused() -> DialError:
    return DialError("connection refused", stage=Stage.CONNECT, symptom=Symptom.REFUSED)


# what direct does → which route wins, when the relay is dialed, direct's symptom at the win, and after its deadline
SCENARIOS = {
    "works": (Script(answer=OK), DIRECT, None, Symptom.NONE, None),
    "slow but acknowledged": (Script(answer=OK, after=2.5), DIRECT, None, Symptom.NONE, None),
    "one segment lost": (Script(answer=OK, after=1.0, acknowledged=False, retransmits=1), DIRECT, None, "", None),
    "refused": (Script(connect=refused()), RELAY, 0.0, Symptom.REFUSED, None),
    "reset after the flight": (Script(answer=RESET), RELAY, 0.2, Symptom.RESET, None),
    "closed after the flight": (Script(answer=b""), RELAY, 0.2, Symptom.EOF, None),
    "garbage": (Script(answer=b"<html>"), RELAY, 0.2, Symptom.GARBAGE, None),
    "SYN dropped": (Script(connect=99.0), RELAY, 1.5, Symptom.NONE, Symptom.TIMEOUT),
    "connects late": (Script(connect=3.0), RELAY, 1.5, Symptom.NONE, Symptom.ABANDONED),
    "flight dropped": (Script(acknowledged=False, retransmits=2), RELAY, 0.6, Symptom.NONE, Symptom.DROPPED),
    "flight dropped, until the kernel gave up": (
        Script(answer=TimeoutError("timed out"), after=2.5, acknowledged=False, retransmits=2),
        RELAY, 0.6, Symptom.NONE, Symptom.DROPPED,
    ),
    "flight dropped, then not": (
        Script(answer=OK, after=2.0, acknowledged=False, retransmits=2), RELAY, 0.6, Symptom.NONE, "answered",
    ),
    "acknowledged, then silence": (Script(), RELAY, 3.1, Symptom.NONE, Symptom.SILENT),
    "answers after the hedge": (Script(answer=OK, after=5.0), RELAY, 3.1, Symptom.NONE, "answered"),
    "answers while the relay is dialed": (Script(answer=OK, after=3.05), DIRECT, 3.1, Symptom.NONE, None),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_of_direct_and_a_relay(name: str) -> None:
    direct, winner, relay_dialed_at, symptom, late = SCENARIOS[name]

    async def scene() -> None:
        relay = Script(answer=OK)
        stage = Scene({DIRECT: direct, RELAY: relay})
        won = await stage.deliver()
        assert won is not None
        assert won.route == winner
        assert won.valid
        assert won.answer == OK
        if relay_dialed_at is None:
            assert relay.dialed == []
        else:
            assert relay.dialed[0] == pytest.approx(relay_dialed_at, abs=0.06)
        if winner == RELAY:
            assert relay.streams[0].sent == GET
        assert stage.race.attempts[0].symptom == symptom
        assert (stage.race.overtaken is not None) == (late is not None)
        if late is not None:
            judged = await stage.race.take_overtaken().judge()
            assert judged.delivered == (late == "answered")
            assert judged.symptom == ("" if late == "answered" else late)
        assert all(stream.closed for script in (direct, relay) for stream in script.streams if stream is not won.stream)

    play(scene())


def test_dropped_is_judged_at_three_seconds_and_silence_at_seven() -> None:
    async def judged_at(direct: Script) -> float:
        stage = Scene({DIRECT: direct, RELAY: Script(answer=OK)})
        await stage.deliver()
        await stage.race.take_overtaken().judge()
        return asyncio.get_running_loop().time()

    assert play(judged_at(Script(acknowledged=False, retransmits=3))) == pytest.approx(3.1, abs=0.01)
    assert play(judged_at(Script())) == pytest.approx(7.1, abs=0.01)


def test_without_tcp_info_a_timer_hedges_by_the_round_trip() -> None:
    async def scene() -> None:
        relay = Script(answer=OK)
        stage = Scene({DIRECT: Script(connect=0.1), RELAY: relay}, tcp_info=False)
        won = await stage.deliver()
        assert won is not None
        assert won.route == RELAY
        assert relay.dialed[0] == pytest.approx(0.1 + 1.2 + 2 * 0.1, abs=0.01)

    play(scene())


@pytest.mark.parametrize("direct", [Script(answer=OK, after=3.05), Script(connect=1.55, answer=OK)])
def test_what_came_while_the_loop_stood_still_is_looked_at_before_the_next_route_starts(direct: Script) -> None:
    """The client said something as well, so the race is woken before the sockets are polled again."""

    async def scene() -> None:
        loop, relay, findings = asyncio.get_running_loop(), Script(answer=OK), SharedFindings(lambda: 0.0)
        stage = Scene({DIRECT: direct, RELAY: relay}, findings=findings)

        def stand_still() -> None:
            stage.race.notify.set()
            clock.advance(0.7)

        loop.call_at(2.98 if direct.after > 1 else 1.4, stand_still)
        won = await stage.deliver()
        assert won is not None
        assert (won.route, relay.dialed) == (DIRECT, [])

    clock = Clock(0.0)
    play(scene(), clock)


def test_the_third_route_comes_when_the_second_is_silent_too() -> None:
    async def scene() -> None:
        last = Script(answer=OK)
        stage = Scene({DIRECT: Script(connect=refused()), RELAY: Script(connect=1.0), OTHER: last})
        won = await stage.deliver()
        assert won is not None
        assert won.route == OTHER
        assert last.dialed[0] == pytest.approx(1.0 + 4 * 1.0, abs=0.01)

    play(scene())


def test_a_relay_that_does_not_connect_is_overtaken_after_three_seconds() -> None:
    async def scene() -> None:
        last = Script(answer=OK)
        stage = Scene({RELAY: Script(connect=99.0), OTHER: last})
        won = await stage.deliver()
        assert won is not None
        assert last.dialed[0] == pytest.approx(3.0, abs=0.01)
        assert stage.race.overtaken is None

    play(scene())


@pytest.mark.parametrize(("opens_after_s", "is_told"), [(99.0, True), (2.9, False)])
def test_that_the_network_drops_its_handshake_is_told_of_a_relay_that_another_overtook(
    monkeypatch: pytest.MonkeyPatch, opens_after_s: float, is_told: bool
) -> None:
    dropped: Evidence = {"greeting": 1, "unacked": 2}
    monkeypatch.setattr(relay_handshake, "HandshakeDialer", ScriptedDialer)
    monkeypatch.setattr(ScriptedDialer, "dropped", lambda self, destination: dropped, raising=False)

    async def scene() -> None:
        stage = Scene({RELAY: Script(connect=opens_after_s), OTHER: Script(answer=OK)})
        won = await stage.deliver()
        assert won is not None
        assert won.route == OTHER
        overtaken, _ = stage.race.attempts
        assert overtaken.symptom is Symptom.ABANDONED
        assert (overtaken.evidence.get("unacked") == 2) is is_told

    play(scene())


DEAD = DialError("connection refused", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN)


@pytest.mark.parametrize(
    ("direct_waits", "relays", "failing", "winner", "direct_dialed_at"),
    [
        (False, [Script(connect=8.0, answer=OK)], False, DIRECT, 3.0),
        (True, [Script(connect=8.0, answer=OK)], False, RELAY, None),
        (True, [Script(connect=14.5, answer=OK)], False, RELAY, None),
        (True, [Script(connect=99.0)], False, DIRECT, 15.0),
        (True, [Script(connect=99.0), Script(connect=8.0, answer=OK)], False, OTHER, None),
        (True, [Script(connect=99.0)] * 2, False, DIRECT, 18.0),
        (True, [Script(connect=99.0)], True, DIRECT, 3.0),
        (True, [Script(connect=DEAD, fails_after=5.0)], False, DIRECT, 5.0),
        (True, [Script(connect=1.0)], False, DIRECT, 1.0 + 4 * 1.0),  # it is open, and nothing answers
    ],
)  # fmt: skip
def test_direct_that_would_stop_after_a_first_byte_overtakes_no_relay_that_is_only_slow(
    direct_waits: bool, relays: Sequence[Script], failing: bool, winner: Route, direct_dialed_at: float | None
) -> None:
    async def scene() -> None:
        direct = Script(answer=OK)
        scripts = {**dict(zip((RELAY, OTHER), relays, strict=False)), DIRECT: direct}
        stage = Scene(scripts, knowledge=Known(failing=failing), direct_waits=direct_waits)
        won = await stage.deliver()
        assert won is not None
        assert won.route == winner
        assert direct.dialed == ([] if direct_dialed_at is None else [pytest.approx(direct_dialed_at, abs=0.11)])

    play(scene())


@pytest.mark.parametrize(
    ("opened_s", "retry_opens_s", "winner", "direct_dialed_at"),
    [(8.0, 9.0, RELAY, None), (8.0, 99.0, DIRECT, 25.0), (0.1, 9.0, DIRECT, 15.0)],
)
def test_direct_that_would_stop_waits_for_a_second_try_of_a_relay_that_is_known_to_be_slow(
    opened_s: float, retry_opens_s: float, winner: Route, direct_dialed_at: float | None
) -> None:
    """The first try is lost: it is silent for 10 s, and then it is tried once more beside that."""

    async def scene() -> None:
        direct, schedule = Script(answer=OK), RetrySchedule(DetectTuning(), rng=random.Random(1))
        schedule.opened(RELAY.relays, opened_s)
        relay = Script(connect=lambda now: 99.0 if now < 9.9 else retry_opens_s, answer=OK)
        won = await Scene({RELAY: relay, DIRECT: direct}, schedule=schedule, direct_waits=True).deliver()
        assert won is not None
        assert won.route == winner
        assert relay.dialed[:2] == [0.0, pytest.approx(10.0, abs=0.01)]
        assert direct.dialed == ([] if direct_dialed_at is None else [pytest.approx(direct_dialed_at, abs=0.11)])

    play(scene())


def breaks_off(paths: int, how: bytes | Exception) -> Script:
    """A relay whose first paths end so before an answer."""

    def path(script: Script) -> ScriptedStream:
        return ScriptedStream(replace(script, answer=how if len(script.dialed) <= paths else OK))

    return Script(stream=path)


def back_after(seconds: float) -> Script:
    return Script(connect=lambda now: DEAD if now < seconds else 0.1, answer=OK)


@pytest.mark.parametrize(
    ("direct_waits", "relay", "winner", "direct_dialed_at"),
    [
        (False, back_after(0.9), DIRECT, 0.0),
        (True, back_after(0.9), RELAY, None),
        (True, back_after(2.1), RELAY, None),  # by the second retry
        (True, back_after(99.0), DIRECT, 3.0),
        (True, Script(connect=lambda now: DEAD if now < 0.9 else 99.0), DIRECT, 4.15),  # 3 s after its retry
        (True, Script(connect=DialError("no", stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH)), DIRECT, 0.0),
        (True, breaks_off(1, b""), RELAY, None),
        (True, breaks_off(1, RESET), RELAY, None),
        (True, breaks_off(2, b""), DIRECT, 1.3),  # the site itself ends it
        (True, breaks_off(1, b"<html>"), DIRECT, 0.2),
        (False, breaks_off(1, b""), DIRECT, 0.2),
    ],
)
def test_direct_that_would_stop_waits_a_moment_for_a_relay_that_restarts(
    direct_waits: bool, relay: Script, winner: Route, direct_dialed_at: float | None
) -> None:
    async def scene(seed: int) -> None:
        direct, schedule = Script(answer=OK), RetrySchedule(DetectTuning(), rng=random.Random(seed))
        relay.dialed.clear()
        won = await Scene({RELAY: relay, DIRECT: direct}, schedule=schedule, direct_waits=direct_waits).deliver()
        assert won is not None
        assert won.route == winner
        assert direct.dialed == ([] if direct_dialed_at is None else [pytest.approx(direct_dialed_at, abs=0.16)])

    for seed in range(10):  # of the jitter
        play(scene(seed))


def test_direct_that_would_stop_waits_for_no_relay_that_has_been_down_for_long() -> None:
    async def scene() -> None:
        loop, schedule, waits = asyncio.get_running_loop(), RetrySchedule(DetectTuning()), list[float]()
        while loop.time() < 40:
            began, direct = loop.time(), Script(answer=OK)
            scene = Scene({RELAY: Script(connect=DEAD), DIRECT: direct}, schedule=schedule, direct_waits=True)
            won = await scene.deliver()
            assert won is not None
            assert won.route == DIRECT
            waits.append(direct.dialed[0] - began)
            await asyncio.sleep(8)
        assert waits == [pytest.approx(wait, abs=0.11) for wait in (3.0, 3.0, 3.0, 0.0)]

    play(scene())


@pytest.mark.parametrize("direct_waits", [False, True])
def test_the_name_in_the_flight_may_show_that_direct_would_stop(direct_waits: bool) -> None:
    async def scene() -> None:
        stage = Scene({RELAY: Script(connect=8.0, answer=OK), DIRECT: Script(answer=OK)}, direct_waits=not direct_waits)
        stage.race.restrict_to((RELAY, DIRECT), direct_waits=direct_waits)
        won = await stage.deliver()
        assert won is not None
        assert won.route == (RELAY if direct_waits else DIRECT)

    play(scene())


def test_the_last_route_is_waited_for_as_long_as_the_client_waits() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=OK, after=100.0)})
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT

    play(scene())


def test_a_silent_direct_still_wins_when_every_relay_fails() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=OK, after=20.0), RELAY: Script(connect=refused())})
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT

    play(scene())


@pytest.mark.parametrize("answer", [RESET, b""])
def test_when_all_routes_fail_nothing_is_delivered(answer: bytes | Exception) -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=answer), RELAY: Script(answer=answer)})
        assert await stage.deliver() is None
        assert [attempt.pending for attempt in stage.race.attempts] == [False, False]

    play(scene())


def test_when_no_route_answers_validly_the_client_sees_what_direct_said() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=b"SSH-2.0"), RELAY: Script(answer=b"")})
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT
        assert won.answer == b"SSH-2.0"
        assert not won.valid

    play(scene())


def test_nothing_connects() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(connect=refused()), RELAY: Script(connect=refused())})
        assert not await stage.race.connect()

    play(scene())


def test_F90_a_post_goes_out_once_and_is_left_to_its_route() -> None:
    async def scene() -> None:
        direct, relay = Script(answer=RESET), Script(answer=OK)
        stage = Scene({DIRECT: direct, RELAY: relay})
        won = await stage.deliver(POST)
        assert won is not None
        assert won.route == DIRECT
        assert not won.valid
        assert won.unsent == b""
        assert direct.streams[0].sent == POST
        assert relay.dialed == []

    play(scene())


def test_bytes_that_come_later_flow_on_and_end_the_replaying() -> None:
    async def scene() -> None:
        direct, relay = Script(answer=RESET, after=2.0), Script(answer=OK)
        stage = Scene({DIRECT: direct, RELAY: relay})
        flight = Flight()
        flight.receive_data(GET)
        await stage.race.connect()
        asyncio.get_running_loop().call_later(1.0, flight.receive_data, b"POST / HTTP/1.1\r\n")
        asyncio.get_running_loop().call_later(1.0, stage.race.notify.set)
        won = await stage.race.deliver(flight, lambda: True)
        assert won is not None
        assert won.route == DIRECT
        assert not won.valid
        assert direct.streams[0].sent == GET + b"POST / HTTP/1.1\r\n"
        assert relay.dialed == []

    play(scene())


@pytest.mark.parametrize(("direct", "kept"), [(Script(), RELAY), (Script(answer=b"HTTP/1.1 2", after=3.5), DIRECT)])
def test_F90_a_post_behind_a_flight_that_two_routes_have_goes_to_one_of_them(direct: Script, kept: Route) -> None:
    """To the one that has begun to answer, or else that does not look dropped."""

    async def scene() -> None:
        relay = Script()
        stage = Scene({DIRECT: direct, RELAY: relay}, knowledge=Known(pages=True))
        flight = Flight()
        flight.receive_data(GET)
        await stage.race.connect()
        asyncio.get_running_loop().call_later(3.7, flight.receive_data, POST)
        asyncio.get_running_loop().call_later(3.7, stage.race.notify.set)
        won = await stage.race.deliver(flight, lambda: True)
        assert won is not None
        assert (won.route, won.valid, won.unsent) == (kept, False, b"")
        sent = {DIRECT: direct.streams[0].sent, RELAY: relay.streams[0].sent}
        assert sent == {DIRECT: GET, RELAY: GET} | {kept: GET + POST}
        assert [stream.closed for script in (direct, relay) for stream in script.streams].count(False) == 1

    play(scene())


def test_F90_a_post_that_a_broken_route_has_begun_to_get_goes_to_no_other() -> None:
    """Not even to direct, whose answer to the GET before it would do for want of a better one."""

    class TakesPart(ScriptedStream):
        def send_nowait(self, data: bytes | memoryview) -> int:
            room = {b"": len(GET), GET: 9}.get(self.sent, 0)
            return super().send_nowait(data[:room])

    async def scene() -> None:
        relay = Script(stream=TakesPart)
        stage = Scene({DIRECT: Script(answer=MOVED), RELAY: relay}, knowledge=Known(pages=True))
        flight = Flight()
        flight.receive_data(GET)
        await stage.race.connect()
        asyncio.get_running_loop().call_later(1.0, flight.receive_data, POST)
        asyncio.get_running_loop().call_later(1.0, stage.race.notify.set)
        asyncio.get_running_loop().call_later(1.2, lambda: relay.streams[0]._arrive(RESET))
        assert await stage.race.deliver(flight, lambda: True) is None
        assert relay.streams[0].sent == GET + POST[:9]

    play(scene())


def test_the_client_leaves() -> None:
    async def scene() -> None:
        direct = Script()
        stage = Scene({DIRECT: direct, RELAY: Script(answer=OK)})
        here = [True]

        def leave() -> None:
            here[0] = False
            stage.race.notify.set()

        asyncio.get_running_loop().call_later(1.0, leave)
        assert await stage.deliver(pull=lambda: here[0]) is None
        stage.race.close()
        assert [attempt.symptom for attempt in stage.race.attempts] == [Symptom.ABANDONED]
        assert direct.streams[0].closed

    play(scene())


class ResetBefore(ScriptedStream):
    """A path that was reset before the flight: as Linux does, writing tells it once, and reading then finds an end."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        self._arrive(b"")
        raise RESET


def test_a_reset_that_writing_tells_is_no_end() -> None:
    async def scene() -> None:
        relay = Script(answer=OK)
        stage = Scene({DIRECT: Script(stream=ResetBefore), RELAY: relay})
        won = await stage.deliver()
        assert won is not None
        assert won.route == RELAY
        assert stage.race.attempts[0].symptom is Symptom.RESET

    play(scene())


def test_a_server_that_speaks_first_is_noticed_and_taken() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(greeting=b"SSH-2.0-x\r\n", after=0.5)})
        await stage.race.connect()
        assert stage.race.poll_open_path() is OpenPath.QUIET
        await stage.race.notify.wait()
        assert stage.race.poll_open_path() is OpenPath.SERVER_FIRST
        flight = Flight()
        flight.receive_data(b"SSH-2.0-client\r\n")
        won = stage.race.take_opened(flight)
        assert won.answer == b"SSH-2.0-x\r\n"
        assert won.unsent == b"SSH-2.0-client\r\n"
        assert stage.race.flight_age == 0.0
        assert stage.race.attempts[0].delivered
        assert stage.race.attempts[0].elapsed == pytest.approx(0.6)

    play(scene())


def test_a_path_that_closes_before_the_flight_teaches_nothing() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(greeting=b"", after=0.5)})
        await stage.race.connect()
        await stage.race.notify.wait()
        assert stage.race.poll_open_path() is OpenPath.CLOSED
        assert stage.race.attempts == ()

    play(scene())


async def wait_for_a_flight(race: Race, seconds: float) -> OpenPath:
    """As a session does, whose client says nothing for so long; returns when the server speaks."""
    loop = asyncio.get_running_loop()
    ends_at, path = loop.time() + seconds, race.poll_open_path()
    while path is not OpenPath.SERVER_FIRST and loop.time() < ends_at:
        await race.notify.wait(ends_at)
        path = race.poll_open_path()
    return path


def test_direct_that_connects_late_and_is_closed_before_the_flight_teaches_nothing() -> None:
    """A relay's path had opened before. A server that closes an idle connection does not break off a flight."""

    async def scene() -> None:
        direct, relay = Script(connect=3.0, greeting=b"", after=5.0), Script(answer=OK)
        stage = Scene({DIRECT: direct, RELAY: relay}, knowledge=Known())
        assert await stage.race.connect()
        assert await wait_for_a_flight(stage.race, 20) is OpenPath.QUIET
        flight = Flight()
        flight.receive_data(GET)
        won = await stage.race.deliver(flight, lambda: True)
        assert won is not None
        assert won.route == RELAY
        assert [attempt.route for attempt in stage.race.attempts] == [RELAY]
        assert (direct.streams[0].sent, direct.streams[0].closed) == (b"", True)

    play(scene())


@pytest.mark.parametrize("taken", [True, False])
def test_direct_that_a_greeting_overtook_is_closed_by_who_has_it(taken: bool) -> None:
    """Most races hand it out; one whose client leaves with the greeting does not."""

    async def scene() -> None:
        direct = Script(connect=0.1)
        stage = Scene({RELAY: Script(connect=3.05, greeting=b"SSH-2.0-x\r\n", after=1.0), DIRECT: direct})
        assert await stage.race.connect()
        direct.connect = 99.0
        assert await wait_for_a_flight(stage.race, 20) is OpenPath.SERVER_FIRST
        stage.race.take_opened()
        late = stage.race.take_overtaken() if taken else None
        stage.race.close()
        assert direct.streams[0].closed is (late is None)
        if late is not None:
            assert (await late.judge()).symptom is Symptom.ABANDONED
            assert direct.streams[0].closed

    play(scene())


def test_the_path_on_which_the_server_speaks_is_taken() -> None:
    async def scene() -> None:
        relay = Script(greeting=b"SSH-2.0-x\r\n", after=2.0)
        stage = Scene({DIRECT: Script(connect=3.0), RELAY: relay})
        assert await stage.race.connect()
        assert await wait_for_a_flight(stage.race, 20) is OpenPath.SERVER_FIRST
        won = stage.race.take_opened()
        assert (won.route, won.answer) == (RELAY, b"SSH-2.0-x\r\n")

    play(scene())


def test_the_wait_for_a_late_flight_is_nobodys() -> None:
    """Browsers open tunnels ahead of need: what the log says of a route is what the route took."""

    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=RESET), RELAY: Script(answer=OK)})
        flight = Flight()
        assert await stage.race.connect()
        await asyncio.sleep(20)
        assert [a.elapsed for a in stage.race.attempts] == [pytest.approx(0.1)]
        assert stage.race.flight_age == pytest.approx(20.1), "there is none yet"
        flight.receive_data(GET)
        assert await stage.race.deliver(flight, lambda: True) is not None
        assert stage.race.flight_age == pytest.approx(0.3)
        assert [a.started for a in stage.race.attempts] == pytest.approx([0, 0.2])
        assert [a.elapsed for a in stage.race.attempts] == pytest.approx([0.2, 0.2])

    play(scene())


def test_narrowing_leaves_a_path_that_the_name_forbids_before_a_byte_goes_out() -> None:
    async def scene() -> None:
        direct, relay = Script(answer=OK), Script(answer=OK)
        stage = Scene({DIRECT: direct, RELAY: relay})
        await stage.race.connect()
        stage.race.restrict_to((RELAY,))
        flight = Flight()
        flight.receive_data(GET)
        won = await stage.race.deliver(flight, lambda: True)
        assert won is not None
        assert won.route == RELAY
        assert direct.streams[0].closed
        assert direct.streams[0].sent == b""

    play(scene())


def test_narrowing_to_nothing_delivers_nothing() -> None:
    async def scene() -> None:
        direct = Script(answer=OK)
        stage = Scene({DIRECT: direct})
        await stage.race.connect()
        stage.race.restrict_to(())
        flight = Flight()
        flight.receive_data(GET)
        assert await stage.race.deliver(flight, lambda: True) is None
        assert direct.streams[0].sent == b""

    play(scene())


# -- what it is advised ------------------------------------------------------------------------------------------------

CUT = Route(wrap=("tlsrec",))
HELLO = hellos.real(HERE.host)
SERVER_HELLO = bytes.fromhex("16030300020200")
ALERT = bytes.fromhex("15030300020270")
MOVED = b"HTTP/1.1 302 Found\r\nLocation: http://warning.example/\r\n\r\n"


def test_a_route_that_cannot_help_is_passed_over_until_it_can() -> None:
    seen: list[tuple[Symptom, Protocol]] = []

    class Recording(NothingKnown):
        def may_help(
            self, route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
        ) -> bool:
            seen.append((attempts[-1].symptom, protocol))
            return route != CUT or protocol is Protocol.TLS

    async def scene(data: bytes) -> tuple[Route, int]:
        scripts = {DIRECT: Script(answer=RESET), CUT: Script(answer=SERVER_HELLO), RELAY: Script(answer=OK)}
        stage = Scene(scripts, knowledge=Recording())
        won = await stage.deliver(data)
        assert won is not None
        return won.route, len(scripts[CUT].dialed)

    assert play(scene(HELLO)) == (CUT, 1)
    assert play(scene(GET)) == (RELAY, 0)
    assert seen[0] == (Symptom.RESET, Protocol.TLS)


@pytest.mark.parametrize("cut_helps", [True, False])
def test_without_a_relay_what_answers_the_sign_goes_before_what_may_help(cut_helps: bool) -> None:
    doh = Route(wrap=("doh",))

    async def story() -> None:
        cut = Script(answer=SERVER_HELLO if cut_helps else RESET)
        scripts = {DIRECT: Script(answer=RESET), doh: Script(answer=SERVER_HELLO), CUT: cut}
        stage = Scene(scripts, knowledge=Known(strategies=True))
        won = await stage.deliver(HELLO)
        assert won is not None
        assert won.route == (CUT if cut_helps else doh)
        assert [a.route for a in stage.race.attempts] == [DIRECT, CUT, *([] if cut_helps else [doh])]

    play(story())


def test_the_advice_sees_an_overdue_attempt_as_what_it_looks_like() -> None:
    seen: list[Symptom] = []

    class Recording(NothingKnown):
        def may_help(
            self, route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
        ) -> bool:
            seen.append(attempts[0].symptom)
            return True

    async def scene(direct: Script) -> None:
        assert await Scene({DIRECT: direct, RELAY: Script(answer=OK)}, knowledge=Recording()).deliver() is not None

    play(scene(Script(connect=99.0)))
    play(scene(Script(acknowledged=False, retransmits=2)))
    play(scene(Script()))
    assert seen == [Symptom.TIMEOUT, Symptom.DROPPED, Symptom.SILENT]


@pytest.mark.parametrize(
    ("answers", "winner", "symptoms"),
    [
        ({DIRECT: ALERT, RELAY: SERVER_HELLO}, RELAY, ["alert", ""]),
        ({DIRECT: ALERT, RELAY: ALERT}, DIRECT, ["", "alert"]),  # the site's own, then
        (
            {DIRECT: ALERT, CUT: ALERT, RELAY: SERVER_HELLO},
            RELAY,
            ["alert", "alert", ""],
        ),  # who sees both may send both
        ({DIRECT: ALERT, CUT: ALERT}, DIRECT, ["", "alert"]),  # nothing contradicts it
    ],
)
def test_an_alert_is_the_sites_own_when_another_way_gets_it_too(
    answers: dict[Route, bytes], winner: Route, symptoms: list[str]
) -> None:
    async def scene() -> None:
        stage = Scene({route: Script(answer=answer) for route, answer in answers.items()})
        won = await stage.deliver(HELLO)
        assert won is not None
        assert (won.route, won.valid, won.answer) == (winner, True, answers[winner])
        assert [attempt.symptom for attempt in stage.race.attempts] == symptoms
        assert stage.race.attempts[list(answers).index(winner)].delivered

    play(scene())


PAGE = b"HTTP/1.1 200 OK\r\n\r\nforbidden"


@pytest.mark.parametrize(
    ("direct", "relay", "winner", "symptom", "valid"),
    [
        (OK, OK, DIRECT, "", True),
        (PAGE, OK, RELAY, "block_page", True),
        (PAGE, PAGE, DIRECT, "block_page", False),  # shown, since there is nothing better
        (MOVED, OK, RELAY, "elsewhere", True),
        (MOVED, MOVED, DIRECT, "", True),  # the site has moved
        (MOVED, b"", DIRECT, "", True),  # nothing contradicts it
        (b"HTTP/1.1 200 O", OK, DIRECT, "", True),  # no more comes: it is not kept back for ever
    ],
)
def test_pages_are_judged_by_what_the_other_route_gets(
    direct: bytes, relay: bytes, winner: Route, symptom: str, valid: bool
) -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=direct), RELAY: Script(answer=relay)}, knowledge=Known(pages=True))
        won = await stage.deliver()
        assert won is not None
        assert (won.route, won.valid) == (winner, valid)
        assert stage.race.attempts[0].symptom == symptom
        if direct == OK:
            assert stage.race.attempts[0].evidence == {"status": 200}

    play(scene())


def test_pages_are_judged_also_when_only_the_name_brings_another_route() -> None:
    """A rule sends the literal address direct, and none its name."""

    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=PAGE)}, knowledge=Known(pages=True))
        stage.scripts[RELAY] = Script(answer=OK)
        await stage.race.connect()
        stage.race.restrict_to((DIRECT, RELAY))
        flight = Flight()
        flight.receive_data(GET)
        won = await stage.race.deliver(flight, lambda: True)
        assert won is not None
        assert won.route == RELAY
        assert stage.race.attempts[0].symptom == "block_page"

    play(scene())


@pytest.mark.parametrize(("request_head", "waits"), [(GET, True), (GET.replace(b"GET", b"HEAD"), False)])
def test_no_page_is_waited_for_after_head(request_head: bytes, waits: bool) -> None:
    async def scene() -> None:
        asked = []

        class Recording(NothingKnown):
            def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
                asked.append(complete)
                return ClassifiedAnswer(Verdict.VALID if complete else Verdict.MORE)

        stage = Scene({DIRECT: Script(answer=OK), RELAY: Script(answer=OK)}, knowledge=Recording())
        won = await stage.deliver(request_head)
        assert won is not None
        assert won.route == DIRECT
        assert (asked[0] is False) is waits

    play(scene())


@pytest.mark.parametrize(
    ("relay", "failing", "winner", "ended_at"),
    [
        (Script(connect=1.0, answer=OK), False, RELAY, 1.3),
        (Script(connect=10.0, answer=OK), False, RELAY, 10.3),  # it is only slow
        (Script(connect=14.0, answer=OK, after=10.0), False, RELAY, 24.2),
        (Script(connect=99.0), False, DIRECT, 15.2),
        (Script(connect=10.0, answer=OK), True, DIRECT, 2.2),
        (Script(connect=DEAD, fails_after=5.0), False, DIRECT, 5.2),
        (Script(), False, DIRECT, 3.3),  # it is open, and nothing answers
        (Script(connect=14.0), False, DIRECT, 30.1),  # four times as long as it took to open is more than that
    ],
)  # fmt: skip
def test_a_redirect_in_hand_waits_for_a_relay_that_is_only_slow(
    relay: Script, failing: bool, winner: Route, ended_at: float
) -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=MOVED), RELAY: relay}, knowledge=Known(pages=True, failing=failing))
        won = await stage.deliver()
        assert won is not None
        assert (won.route, won.answer, won.valid) == (winner, MOVED if winner == DIRECT else OK, True)
        assert asyncio.get_running_loop().time() == pytest.approx(ended_at, abs=0.01)
        assert stage.race.attempts[0].symptom == ("elsewhere" if winner == RELAY else "")

    play(scene())


class Doubting(NothingKnown):
    """Doubts each page of direct that has a mark."""

    def __init__(self, mark: int) -> None:
        super().__init__()
        self._mark = mark
        self.asked: list[tuple[str, int, str]] = []

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        return ClassifiedAnswer(Verdict.VALID, evidence={"status": 200}, page_mark=self._mark)

    def page_doubt(self, host: str, mark: int, address: str) -> PageDoubt | None:
        self.asked.append((host, mark, address))
        return PageDoubt.SHARED


@pytest.mark.parametrize(("direct", "mark"), [(True, 7), (True, 0), (False, 7)])
def test_a_page_of_direct_is_delivered_and_doubted(direct: bool, mark: int) -> None:
    async def scene() -> None:
        known = Doubting(mark)
        path = Script(answer=OK) if direct else Script(connect=refused())
        stage = Scene({DIRECT: path, RELAY: Script(answer=OK)}, knowledge=known)
        won = await stage.deliver()
        assert won is not None
        assert won.route == (DIRECT if direct else RELAY)
        is_doubted = direct and bool(mark)
        assert known.asked == ([(HERE.host, 7, "198.51.100.7:80")] if is_doubted else [])
        assert stage.race.attempts[-1].evidence.get("doubt") == (PageDoubt.SHARED if is_doubted else None)

    play(scene())


@pytest.mark.parametrize("may_be_portal", [False, True])
def test_a_redirect_that_may_lead_to_a_login_page_waits_for_no_slow_relay(may_be_portal: bool) -> None:
    async def scene() -> None:
        known = Known(pages=True, may_be_portal=may_be_portal)
        stage = Scene({DIRECT: Script(answer=MOVED), RELAY: Script(connect=99.0)}, knowledge=known)
        assert await stage.deliver() is not None
        assert asyncio.get_running_loop().time() == pytest.approx(2.2 if may_be_portal else 15.2, abs=0.01)

    play(scene())


def test_a_redirect_is_not_questioned_where_every_site_leads_to_a_login_page() -> None:
    async def scene() -> None:
        known = Known(pages=True, portal=True)
        stage = Scene({DIRECT: Script(answer=MOVED), RELAY: Script(answer=OK)}, knowledge=known)
        won = await stage.deliver()
        assert won is not None
        assert (won.route, won.answer, won.valid) == (DIRECT, MOVED, True)
        assert len(stage.race.attempts) == 1

    play(scene())


def test_a_redirect_is_not_questioned_where_there_is_nobody_to_ask() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=MOVED), CUT: Script(answer=OK)}, knowledge=Known(pages=True))
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT
        assert won.valid

    play(scene())


def test_one_connection_finds_out_for_all() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        findings = SharedFindings(loop.time)
        first = Scene({DIRECT: Script(acknowledged=False, retransmits=2), RELAY: Script(answer=OK)}, findings=findings)
        later_relay = Script(answer=OK)
        later = Scene({DIRECT: Script(acknowledged=False), RELAY: later_relay}, findings=findings)

        async def begin_later() -> Winner | None:
            await asyncio.sleep(0.4)
            return await later.deliver()

        won = await asyncio.gather(first.deliver(), begin_later())
        assert [w.route for w in won if w is not None] == [RELAY, RELAY]
        assert later_relay.dialed[0] == pytest.approx(0.6, abs=0.06), "the other had found out"
        after = Script(answer=OK)
        await Scene({DIRECT: Script(acknowledged=False), RELAY: after}, findings=findings).deliver()
        assert after.dialed[0] - loop.time() == pytest.approx(-0.2, abs=0.06), "not even the SYN is waited for"

    play(scene())


def test_direct_that_answers_takes_the_alarm_back() -> None:
    async def scene() -> None:
        findings = SharedFindings(asyncio.get_running_loop().time)
        findings.mark_down(HERE.host)
        won = await Scene({DIRECT: Script(answer=OK), RELAY: Script(connect=99.0)}, findings=findings).deliver()
        assert won is not None
        assert won.route == DIRECT
        assert not findings.is_down(HERE.host)

    play(scene())


@pytest.mark.parametrize("late", [OK, None])
def test_direct_that_answers_late_takes_it_back_too(late: bytes | None) -> None:
    async def scene() -> None:
        findings = SharedFindings(asyncio.get_running_loop().time)
        stage = Scene({DIRECT: Script(answer=late, after=5.0), RELAY: Script(answer=OK)}, findings=findings)
        won = await stage.deliver()
        assert won is not None
        assert won.route == RELAY
        assert findings.is_down(HERE.host)
        await stage.race.take_overtaken().judge()
        assert findings.is_down(HERE.host) is (late is None)

    play(scene())


@pytest.mark.parametrize("routes", [(DIRECT, RELAY), (RELAY, DIRECT)])
def test_of_two_answers_at_once_one_is_delivered_and_the_other_closed(routes: tuple[Route, Route]) -> None:
    """As after the loop stood still: both came meanwhile. Direct shows that it is not down, whichever is delivered."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        scripts, known, findings = {route: Script() for route in routes}, Known(), SharedFindings(loop.time)
        stage = Scene(scripts, knowledge=known, findings=findings)

        def answer() -> None:
            for script in scripts.values():
                script.streams[0].inbox.append(OK)
            stage.race.notify.set()

        loop.call_later(6.5, answer)  # both look dropped by now
        won = await stage.deliver()
        stage.race.close()
        assert won is not None
        assert won.route == routes[0]
        kept, other = (scripts[route].streams[0] for route in routes)
        assert (kept.closed, other.closed, other.notify) == (False, True, None)
        assert [attempt.delivered for attempt in stage.race.attempts] == [True, True]
        assert known.answered_flights == [("198.51.100.7", HERE.host)]
        assert not known.broken_flights, "it was acknowledged, so nothing was dropped"
        assert not findings.is_down(HERE.host)

    play(scene())


def test_the_address_where_a_flight_was_broken_off_is_told() -> None:
    known = Known()

    async def scene(direct: Script) -> None:
        scripts = {DIRECT: direct, RELAY: Script(answer=RESET), OTHER: Script(answer=OK)}
        await Scene(scripts, knowledge=known).deliver()

    play(scene(Script(answer=RESET)))
    play(scene(Script(acknowledged=False, retransmits=2)))
    assert known.broken_flights == [("198.51.100.7", HERE.host)] * 2
    play(scene(Script(answer=b"")))
    play(scene(Script(connect=refused())))
    assert len(known.broken_flights) == 2


@pytest.mark.parametrize("censored", [Script(answer=RESET), Script(acknowledged=False, retransmits=2)])
def test_the_address_where_a_local_means_was_broken_off_is_told_too(censored: Script) -> None:
    known = Known()

    async def scene() -> None:
        scripts = {DIRECT: Script(connect=refused()), CUT: censored, RELAY: Script(answer=OK)}
        await Scene(scripts, knowledge=known).deliver()

    play(scene())
    assert known.broken_flights == [("198.51.100.7", HERE.host)]


@pytest.mark.parametrize("first", [DIRECT, CUT])
@pytest.mark.parametrize(("relay", "winner"), [(Script(connect=99.0), None), (Script(answer=OK), RELAY)])
def test_a_flight_that_looked_dropped_and_was_answered_is_taken_back(
    first: Route, relay: Script, winner: Route | None
) -> None:
    """Whether it wins for that, or answers when a relay has won: a local means is not watched any longer then."""
    known = Known()

    async def scene() -> None:
        stalled = Script(acknowledged=False, retransmits=2, answer=OK, after=2.0)
        stage = Scene({first: stalled, RELAY: relay}, knowledge=known)
        won = await stage.deliver()
        assert won is not None
        assert won.route == (winner or first)
        if stage.race.overtaken is not None:
            await stage.race.take_overtaken().judge()

    play(scene())
    here = [("198.51.100.7", HERE.host)]
    assert known.broken_flights == here
    assert known.answered_flights == ([] if (first, winner) == (CUT, RELAY) else here)


def test_one_that_a_page_of_a_censor_answers_is_not_taken_back() -> None:
    known = Known(pages=True)

    async def scene() -> None:
        blocked = Script(acknowledged=False, retransmits=2, answer=PAGE, after=2.0)
        await Scene({DIRECT: blocked, RELAY: Script(connect=3.0, answer=OK)}, knowledge=known).deliver()

    play(scene())
    assert known.broken_flights
    assert not known.answered_flights


def test_one_that_never_looked_dropped_has_nothing_to_take_back() -> None:
    known = Known()

    async def scene() -> None:
        await Scene({DIRECT: Script(answer=OK), RELAY: Script(answer=OK)}, knowledge=known).deliver()

    play(scene())
    assert not known.answered_flights


# -- addresses that answer ---------------------------------------------------------------------------------------------


def test_silence_where_another_name_was_answered_is_hedged_sooner() -> None:
    async def scene(before: str) -> float:
        loop = asyncio.get_running_loop()
        findings, relay = SharedFindings(loop.time), Script(answer=SERVER_HELLO)
        direct = Script(answer=SERVER_HELLO)
        first = Scene({DIRECT: direct, RELAY: Script()}, findings=findings, destination=Destination(before, 443))
        await first.deliver(HELLO)
        began_at = loop.time()
        won = await Scene({DIRECT: Script(), RELAY: relay}, findings=findings).deliver(HELLO)
        assert won is not None
        assert won.route == RELAY
        return relay.dialed[0] - began_at - 0.1  # its flight was sent 0.1 s after it began to connect

    assert play(scene("other.example")) == pytest.approx(1.0, abs=0.06)
    assert play(scene(HERE.host)) == pytest.approx(3.0, abs=0.06)


def test_an_address_keeps_its_last_answer_and_the_last_one_for_another_host() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        findings = SharedFindings(loop.time)
        times = []
        for host in ("a.example", "b.example", "b.example"):
            stage = Scene(
                {DIRECT: Script(answer=SERVER_HELLO), RELAY: Script()},
                findings=findings,
                destination=Destination(host, 443),
            )
            await stage.deliver(HELLO)
            times.append(loop.time())
        assert findings.answered == {"198.51.100.7:80": ("b.example", times[2], times[0])}
        plain = Scene({DIRECT: Script(answer=OK), RELAY: Script()}, findings=findings)
        await plain.deliver()
        by_relay = Scene({RELAY: Script(answer=SERVER_HELLO), OTHER: Script()}, findings=findings)
        await by_relay.deliver(HELLO)
        assert findings.answered["198.51.100.7:80"][0] == "b.example", "only direct answers to a ClientHello count"
        findings.clear_all()
        assert not findings.answered

    play(scene())


def test_the_addresses_that_answered_are_bounded() -> None:
    async def scene() -> None:
        findings = SharedFindings(asyncio.get_running_loop().time)
        findings.answered |= {f"192.0.2.{number}:443": ("a.example", 0.0, 0.0) for number in range(MARKS_MAX)}
        await Scene({DIRECT: Script(answer=SERVER_HELLO), RELAY: Script()}, findings=findings).deliver(HELLO)
        assert len(findings.answered) == MARKS_MAX
        assert "198.51.100.7:80" in findings.answered
        assert "192.0.2.0:443" not in findings.answered

    play(scene())


# -- what is noted beside a failure ------------------------------------------------------------------------------------


def stands_in_the_way(stage: Scene) -> SplitTcpDetector:
    """Makes a middlebox known to the scene's oracle."""
    middlebox = stage.tcp_info.split_tcp
    for number in range(4):
        middlebox.note(f"site-{number}.example", 0.001, 0.3)
    assert middlebox.detected
    return middlebox


def test_where_a_middlebox_ends_tcp_the_kernel_is_not_believed() -> None:
    async def scene() -> None:
        relay = Script(answer=OK)
        stage = Scene({DIRECT: Script(), RELAY: relay})
        stands_in_the_way(stage)
        won = await stage.deliver()
        assert won is not None
        assert won.route == RELAY
        assert relay.dialed[0] == pytest.approx(0.1 + 1.2 + 2 * 0.1, abs=0.01), "by the clock: not by `acknowledged`"
        judged = await stage.race.take_overtaken().judge()
        assert judged.symptom is Symptom.SILENT
        assert judged.evidence == {"middlebox": 1}

    play(scene())


@pytest.mark.parametrize("route", [DIRECT, RELAY])
@pytest.mark.parametrize("hello", [True, False])
def test_direct_tls_that_works_tells_whether_a_middlebox_stands_there(route: Route, hello: bool) -> None:
    async def scene() -> None:
        answer = SERVER_HELLO if hello else OK
        stage = Scene({route: Script(answer=answer, after=0.6), OTHER: Script()})
        await stage.deliver(HELLO if hello else GET)
        assert len(stage.noted) == (hello and route == DIRECT)
        for host, syn_s, first_byte_s in stage.noted:
            assert (host, syn_s) == ("blog.example", 0.1)
            assert first_byte_s == pytest.approx(0.6)

    play(scene())


def test_a_first_byte_that_looks_late_is_timed_by_the_kernel() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(answer=SERVER_HELLO, after=0.6), RELAY: Script()})
        stage.tcp_info.answered = 0.02
        await stage.deliver(HELLO)
        assert stage.noted == [("blog.example", 0.1, 0.02)]

    play(scene())


def test_the_time_for_which_byway_held_back_a_path_is_not_the_routes() -> None:
    class Held(ScriptedStream):
        def __init__(self, script: Script) -> None:
            super().__init__(script)
            self.held_s = 2.0

    async def scene() -> None:
        stage = Scene({RELAY: Script(connect=2.5, answer=SERVER_HELLO, stream=Held)})
        await stage.deliver(HELLO)
        (attempt,) = stage.race.attempts
        assert attempt.elapsed == pytest.approx(0.6)
        assert attempt.evidence["opened_s"] == pytest.approx(0.5)
        assert attempt.evidence["held_s"] == 2.0

    play(scene())


def test_the_time_for_which_byway_held_back_a_path_is_no_round_trip() -> None:
    """A relay is waited for by the time that its connect took."""

    class Held(ScriptedStream):
        def __init__(self, script: Script) -> None:
            super().__init__(script)
            self.syn_at, self.held_s = 0.1, 2.4

    async def scene() -> None:
        other = Script(answer=SERVER_HELLO)
        stage = Scene({RELAY: Script(connect=2.6, stream=Held), OTHER: other})
        assert await stage.deliver(HELLO) is not None
        assert other.dialed == [pytest.approx(2.6 + 3)]

    play(scene())


@pytest.mark.parametrize(
    ("destination", "outer", "is_ech", "stored_under"),
    [
        (HERE, "cover.example", True, "blog.example"),
        (HERE, "blog.example", False, "blog.example"),  # what browsers send always
        (Destination("198.51.100.7", 443), "cover.example", False, "cover.example"),  # nobody knows what was meant
    ],
)
def test_an_encrypted_hello_is_noted_with_direct_that_failed(
    destination: Destination, outer: str, is_ech: bool, stored_under: str
) -> None:
    """What it broke off at the address is reported under the host of the visit: its own signal is no echo."""
    known = Known()

    async def scene() -> None:
        routes = {DIRECT: Script(answer=RESET), RELAY: Script(answer=SERVER_HELLO)}
        stage = Scene(routes, destination=destination, knowledge=known)
        shown = (hellos.sni(outer.encode()), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE, hellos.ECH)
        await stage.deliver(hellos.by_hand(*shown))
        direct, relayed = stage.race.attempts
        assert direct.symptom is Symptom.RESET
        assert direct.evidence == ({"ech": 1} if is_ech else {})
        assert set(relayed.evidence) == {"opened_s"}

    play(scene())
    assert known.broken_flights == [("198.51.100.7", stored_under)]


def test_an_encrypted_hello_is_noted_also_when_the_other_route_was_started_before_it() -> None:
    """Direct connected late, so the relay's path was open when the hello was dropped: no route was to be chosen."""

    async def scene() -> None:
        direct = Script(connect=2.0, acknowledged=False, retransmits=2)
        stage = Scene({DIRECT: direct, RELAY: Script(connect=1.0, answer=SERVER_HELLO)})
        shown = (hellos.sni(b"cover.example"), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE, hellos.ECH)
        won = await stage.deliver(hellos.by_hand(*shown))
        assert won is not None
        assert won.route == RELAY
        judged = await stage.race.take_overtaken().judge()
        assert (judged.symptom, judged.evidence.get("ech")) == (Symptom.DROPPED, 1)

    play(scene())


def test_the_addresses_that_direct_tries_are_noted_when_it_looks_lost_and_again_when_it_is() -> None:
    tried = ["192.0.2.1"]

    async def scene() -> None:
        stage = Scene({DIRECT: Script(connect=99.0, tried=tried), RELAY: Script(answer=OK)})
        await stage.deliver()
        assert stage.race.attempts[0].evidence == {"addresses": "192.0.2.1"}
        tried.append("192.0.2.2")
        judged = await stage.race.take_overtaken().judge()
        assert (judged.stage, judged.symptom) == (Stage.CONNECT, Symptom.TIMEOUT)
        assert judged.evidence == {"addresses": "192.0.2.1 192.0.2.2"}

    play(scene())


def test_a_name_that_is_still_being_resolved_has_no_addresses() -> None:
    async def scene() -> None:
        stage = Scene({DIRECT: Script(lookup=99.0, tried=["192.0.2.1"]), RELAY: Script(answer=OK)})
        await stage.deliver()
        judged = await stage.race.take_overtaken().judge()
        assert (judged.stage, judged.symptom, judged.evidence) == (Stage.RESOLVE, Symptom.TIMEOUT, {})

    play(scene())


def test_a_name_is_blamed_for_its_lookup_and_an_address_for_the_connect() -> None:
    """Also when the lookup ended after another route was started, and when direct itself was started late."""

    async def judged(scripts: dict[Route, Script]) -> tuple[Stage, Symptom, str]:
        stage = Scene(scripts)
        await stage.deliver()
        attempt = await stage.race.take_overtaken().judge()
        return attempt.stage, attempt.symptom, attempt.evidence.get("addresses", "")

    async def story() -> None:
        late = Script(lookup=2.0, connect=99.0, tried=["192.0.2.1"])
        connect = await judged({DIRECT: late, RELAY: Script(answer=OK)})
        assert connect == (Stage.CONNECT, Symptom.TIMEOUT, "192.0.2.1")
        lookup = await judged({RELAY: Script(connect=4.0, answer=OK), DIRECT: Script(lookup=99.0)})
        assert lookup == (Stage.RESOLVE, Symptom.TIMEOUT, "")

    play(story())


def test_what_the_resolver_says_of_its_silence_is_waited_for() -> None:
    """That of encrypted DNS is no evidence about the name. It has 5 s, as a connect has, and a moment to look again."""
    silent = DialError("no answer", stage=Stage.RESOLVE, symptom=Symptom.SKIPPED)

    async def scene() -> None:
        stage = Scene({DIRECT: Script(lookup=5.01, connect=silent), RELAY: Script(answer=OK)})
        await stage.deliver()
        judged = await stage.race.take_overtaken().judge()
        assert (judged.stage, judged.symptom) == (Stage.RESOLVE, Symptom.SKIPPED)

    play(scene())


def test_a_late_connection_is_closed_when_it_comes() -> None:
    """What it would have answered is not known, and nothing is sent to find out."""

    class Connected(ScriptedStream):
        def __init__(self, script: Script) -> None:
            super().__init__(script)
            self.syn_at = script.dialed[0]

    async def scene() -> None:
        direct = Script(lookup=2.0, connect=1.0, stream=Connected)
        stage = Scene({DIRECT: direct, RELAY: Script(answer=OK)})
        await stage.deliver()
        judged = await stage.race.take_overtaken().judge()
        assert (judged.symptom, judged.elapsed) == (Symptom.ABANDONED, 3.0)
        assert (direct.streams[0].sent, direct.streams[0].closed) == (b"", True)

    play(scene())


def test_patience_with_a_connect_begins_when_the_name_is_resolved() -> None:
    """A lookup that took long is no lost SYN, and its time is not the host's."""

    async def scene(connect_s: float) -> tuple[list[float], Scene]:
        started_at = asyncio.get_running_loop().time()
        relay = Script(answer=OK)
        stage = Scene({DIRECT: Script(lookup=1.3, connect=connect_s, answer=OK), RELAY: relay})
        await stage.deliver()
        return [round(at - started_at, 2) for at in relay.dialed], stage

    async def story() -> None:
        assert (await scene(0.25))[0] == []
        dialed, stage = await scene(99.0)
        assert dialed == [1.3 + 1.5]
        judged = await stage.race.take_overtaken().judge()
        assert judged.symptom is Symptom.TIMEOUT
        assert judged.elapsed == pytest.approx(1.3 + 5)

    play(story())


def test_a_request_begins_with_the_first_route_that_is_for_its_kind() -> None:
    cut, cut_too, cased = (Route(wrap=wrap) for wrap in (("tlsrec",), ("doh", "tlsrec"), ("hostcase",)))

    async def first(*routes: Route) -> Route:
        stage = Scene({route: Script(answer=OK) for route in routes}, knowledge=Known(strategies=True))
        request = Flight()
        request.receive_data(GET)
        won = await stage.race.deliver(request, lambda: True)
        assert won is not None
        assert len(stage.race.attempts) == 1
        return won.route

    async def story() -> None:
        assert await first(cut, cased) == cased
        assert await first(cut, cut_too) == cut, "there is none for it, and a plan has its reasons"

    play(story())


# -- a page that can come, comes ---------------------------------------------------------------------------------------


def dropped() -> Script:
    return Script(acknowledged=False, retransmits=2)


def down(symptom: Symptom = Symptom.RELAY_DOWN, stage: Stage = Stage.CONNECT) -> DialError:
    return DialError("relay vps cannot be reached", stage=stage, symptom=symptom)


def until_back(seconds: float, failure: DialError | float, opens: float = 0.1) -> Callable[[float], float | DialError]:
    """A relay that fails so, or opens a path only after so long, when it is dialed in its first seconds."""
    return lambda now: failure if now < seconds else opens


# what the relay does → seconds after which the page must have come
OUTAGES = {
    "refuses for 4 s": (Script(connect=until_back(4, down()), answer=OK), 7),
    "refuses for 6 s": (Script(connect=until_back(6, down()), answer=OK), 9),
    "closes in its greeting for 5 s": (Script(connect=until_back(5, down(stage=Stage.RELAY)), answer=OK), 9),
    "does not answer its greeting for 12 s": (
        Script(connect=until_back(12, down(stage=Stage.RELAY)), fails_after=10, answer=OK), 25,
    ),
    "takes requests and does not answer for 12 s": (Script(connect=until_back(12, 99.0), answer=OK), 25),
    "opens every path 11 s late": (Script(connect=11.0, answer=OK), 20),
}  # fmt: skip


@pytest.mark.parametrize("direct", [dropped(), Script(answer=RESET), Script(connect=refused()), None])
@pytest.mark.parametrize("name", OUTAGES)
def test_a_relay_that_comes_back_brings_the_page_while_the_client_waits(name: str, direct: Script | None) -> None:
    relay, bound_s = OUTAGES[name]

    async def story(seed: int) -> None:
        relay.dialed.clear()
        schedule = RetrySchedule(DetectTuning(), rng=random.Random(seed))
        stage = Scene({RELAY: relay} if direct is None else {DIRECT: direct, RELAY: relay}, schedule=schedule)
        won = await stage.deliver()
        assert won is not None
        assert (won.route, won.answer) == (RELAY, OK)
        assert asyncio.get_running_loop().time() <= bound_s
        tries = [attempt for attempt in stage.race.attempts if attempt.route == RELAY]
        assert len(tries) == len(relay.dialed) <= 7, "each try is an attempt of its own"
        assert sum(attempt.delivered for attempt in tries) == 1
        assert all(later - former >= 1 for former, later in itertools.pairwise(relay.dialed))

    for seed in range(40):  # of the jitter
        play(story(seed))


@pytest.mark.parametrize("direct", [Script(acknowledged=False, retransmits=2), Script(answer=RESET)])
def test_a_relay_that_is_preferred_is_tried_again_behind_direct(direct: Script) -> None:
    async def story() -> None:
        direct.dialed.clear()
        relay = Script(connect=until_back(5, down()), answer=OK)
        stage = Scene({RELAY: relay, DIRECT: direct})
        won = await stage.deliver()
        assert won is not None
        assert won.route == RELAY
        assert len(direct.dialed) == 1
        assert [attempt.route for attempt in stage.race.attempts][:3] == [RELAY, DIRECT, RELAY]

    play(story())


LAST_WORDS = {
    "a refused password": down(Symptom.RELAY_AUTH, Stage.RELAY),
    "a destination that the relay refuses": down(Symptom.RELAY_REFUSED, Stage.RELAY),
    "another protocol": down(Symptom.RELAY_GARBAGE, Stage.RELAY),
    "a name that it does not carry": down(Symptom.SKIPPED, Stage.RELAY),
    "an address that is forbidden": down(Symptom.FORBIDDEN),
    "no network here": down(Symptom.OFFLINE),
}


@pytest.mark.parametrize("word", LAST_WORDS)
def test_a_relay_is_not_asked_again_after_its_last_word(word: str) -> None:
    async def story() -> None:
        relay = Script(connect=LAST_WORDS[word])
        assert await Scene({DIRECT: Script(answer=RESET), RELAY: relay}).deliver() is None
        assert len(relay.dialed) == 1
        assert asyncio.get_running_loop().time() < 1

    play(story())


def test_the_next_relay_is_tried_first() -> None:
    async def story() -> None:
        one, two = Script(connect=down()), Script(connect=until_back(2, down()), answer=OK)
        stage = Scene({DIRECT: Script(answer=RESET), RELAY: one, OTHER: two})
        won = await stage.deliver()
        assert won is not None
        assert won.route == OTHER
        order = [attempt.route for attempt in stage.race.attempts]
        assert order[:3] == [DIRECT, RELAY, OTHER]
        assert set(order[3:5]) == {RELAY, OTHER}, "neither twice before the other"

    play(story())


def test_E32_all_races_share_one_schedule_and_follow_when_one_gets_through() -> None:
    """Twenty tabs wait for a relay that refuses: it is tried once a second, and when it is back all of them go on."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        schedule = RetrySchedule(DetectTuning(), rng=random.Random(1))
        relay = Script(connect=until_back(8, down()), answer=OK)
        scenes = [Scene({DIRECT: dropped(), RELAY: relay}, schedule=schedule) for _ in range(20)]
        won = await asyncio.gather(*(stage.deliver() for stage in scenes))
        assert [w.route for w in won if w is not None] == [RELAY] * 20
        firsts, further = relay.dialed[:20], [at for at in relay.dialed[20:] if at < 8]
        assert max(firsts) < 1
        assert len(further) <= 8
        assert all(later - former >= 1 for former, later in itertools.pairwise(further))
        assert loop.time() < 10

    play(story())


def test_a_visit_tries_a_relay_again_six_times_at_most_and_then_says_why() -> None:
    async def story() -> None:
        relay = Script(connect=down())
        stage = Scene({DIRECT: dropped(), RELAY: relay})
        assert await stage.deliver() is None
        assert len(relay.dialed) == 7
        assert asyncio.get_running_loop().time() == pytest.approx(30.1, abs=0.1), "give_up_s after the flight"
        direct = stage.race.attempts[0]
        assert (direct.symptom, direct.error) == (Symptom.DROPPED, "the request was never acknowledged")

    play(story())


@pytest.mark.parametrize(
    ("direct", "relay", "symptoms"),
    [
        (Script(connect=99.0), Script(connect=99.0), {"timeout"}),
        (dropped(), Script(connect=99.0), {"dropped", "timeout"}),
    ],
)
def test_who_waits_for_nothing_is_told_after_half_a_minute(direct: Script, relay: Script, symptoms: set[str]) -> None:
    async def story() -> None:
        stage = Scene({DIRECT: direct, RELAY: relay})
        assert await stage.deliver() is None
        assert 30 <= asyncio.get_running_loop().time() <= 31
        assert {attempt.symptom for attempt in stage.race.attempts} == symptoms

    play(story())


def test_a_flight_that_arrived_keeps_its_time() -> None:
    async def story() -> None:
        stage = Scene({DIRECT: Script(answer=OK, after=100.0), RELAY: Script(connect=down())})
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT

    play(story())


def test_for_a_relay_that_has_been_down_for_long_nobody_waits_who_has_nothing_else() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        schedule, relay = RetrySchedule(DetectTuning(), rng=random.Random(1)), Script(connect=down())
        waits = []
        for _ in range(6):
            began = loop.time()
            assert await Scene({DIRECT: Script(answer=RESET), RELAY: relay}, schedule=schedule).deliver() is None
            waits.append(loop.time() - began)
        assert waits[0] > 13
        assert waits[-1] < 1
        relay.connect, relay.answer = 0.1, OK
        won = await Scene({DIRECT: Script(answer=RESET), RELAY: relay}, schedule=schedule).deliver()
        assert won is not None, "its first try is everybody's"

    play(story())


def test_F90_once_a_byte_of_a_post_has_left_no_relay_is_tried_again() -> None:
    async def story() -> None:
        direct, relay = dropped(), Script(connect=down(), answer=OK)
        stage = Scene({RELAY: relay, DIRECT: direct})
        won = await stage.deliver(POST)
        assert won is not None
        assert (won.route, won.valid) == (DIRECT, False)
        assert len(relay.dialed) == 1

    play(story())


def test_before_a_byte_has_left_a_post_waits_for_its_relay() -> None:
    async def story() -> None:
        relay = Script(connect=until_back(5, down()), answer=OK)
        stage = Scene({RELAY: relay})
        won = await stage.deliver(POST)
        assert won is not None
        assert relay.streams[0].sent == POST
        assert len(relay.streams) == 1

    play(story())


def test_a_client_that_left_is_waited_for_no_more() -> None:
    async def story() -> None:
        relay = Script(connect=down())
        stage = Scene({RELAY: relay})
        assert not await stage.race.connect(lambda: asyncio.get_running_loop().time() < 3)
        assert asyncio.get_running_loop().time() < 6
        assert len(relay.dialed) <= 4

    play(story())


# -- local strategies that were skipped for the sake of a relay --------------------------------------------------------


class Spared(DialError):
    """What a registry says of a rung at addresses where a name was just blocked."""

    def __init__(self) -> None:
        super().__init__("direct|tlsrec skipped", stage=Stage.CONNECT, symptom=Symptom.SKIPPED)


class Residual(Scene):
    """A scene in which the rung is skipped as long as a relay may serve."""

    def _dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        super()._dialer(route, avoid_residual=avoid_residual)
        return ScriptedDialer(Script(connect=Spared()) if route == CUT and avoid_residual else self.scripts[route])


@pytest.mark.parametrize("direct", [dropped(), Script(answer=RESET)])
@pytest.mark.parametrize(
    ("relay", "bound_s"), [(Script(connect=down()), 1.0), (Script(connect=99.0), 4.5), (Script(connect=11.0), 4.5)]
)
def test_a_strategy_comes_back_when_no_relay_serves(direct: Script, relay: Script, bound_s: float) -> None:
    async def story() -> None:
        stage = Residual(
            {DIRECT: direct, CUT: Script(answer=SERVER_HELLO), RELAY: relay}, knowledge=Known(strategies=True)
        )
        won = await stage.deliver(HELLO)
        assert won is not None
        assert won.route == CUT
        assert asyncio.get_running_loop().time() <= bound_s
        assert [attempt.route for attempt in stage.race.attempts] == [DIRECT, CUT, RELAY, CUT]

    play(story())


def test_a_relay_that_serves_goes_before_a_strategy_that_a_censor_may_spoil() -> None:
    async def story() -> None:
        stage = Residual(
            {DIRECT: Script(answer=RESET), CUT: Script(answer=SERVER_HELLO), RELAY: Script(answer=SERVER_HELLO)},
            knowledge=Known(strategies=True),
        )
        won = await stage.deliver(HELLO)
        assert won is not None
        assert won.route == RELAY

    play(story())


@pytest.mark.parametrize("relays", [{}, {RELAY: Script(connect=99.0)}])
def test_a_strategy_is_not_skipped_for_a_relay_that_is_known_to_fail(relays: dict[Route, Script]) -> None:
    async def story() -> None:
        stage = Residual(
            {DIRECT: Script(answer=RESET), CUT: Script(answer=SERVER_HELLO), **relays},
            knowledge=Known(strategies=True, failing=True),
        )
        won = await stage.deliver(HELLO)
        assert won is not None
        assert won.route == CUT
        assert [attempt.route for attempt in stage.race.attempts] == [DIRECT, CUT]

    play(story())


# -- a hedge is bounded in time ----------------------------------------------------------------------------------------


def test_a_syn_ack_that_came_late_once_delays_no_hedge() -> None:
    """It came after 3 s, so the kernel waits for 9 s before it sends anything again; the relay's path opened at 4.5."""

    async def story() -> None:
        direct, relay = Script(connect=3.0, acknowledged=False), Script(connect=3.0, answer=OK)
        stage = Scene({DIRECT: direct, RELAY: relay})
        won = await stage.deliver()
        assert won is not None
        assert won.route == RELAY
        assert relay.dialed == [1.5]
        assert asyncio.get_running_loop().time() == pytest.approx(5.6, abs=0.1)

    play(story())


def test_an_open_path_in_reserve_is_not_queued_behind_guesses() -> None:
    """The relay opened its path after the guess had begun, which is acknowledged and silent: three seconds of it."""

    async def story() -> None:
        scripts = {
            DIRECT: dropped(),
            RELAY: Script(connect=4.0, answer=SERVER_HELLO),
            CUT: Script(),
        }
        stage = Scene(scripts)
        won = await stage.deliver(HELLO)
        assert won is not None
        assert won.route == RELAY
        opened_at = scripts[RELAY].dialed[0] + 4.0
        assert scripts[CUT].dialed[0] < opened_at
        assert asyncio.get_running_loop().time() <= opened_at + 1.2

    play(story())


def test_a_route_that_is_through_at_once_after_another_has_failed_is_not_waited_for() -> None:
    """No event tells of it: as of a site on this computer, whose relay has gone."""
    scripts = {RELAY: Script(connect=refused()), DIRECT: Script(answer=OK)}

    class AtOnce(ScriptedDirect):
        def begin(self, destination: Destination, notify: Notify) -> Any:
            stream = ScriptedStream(scripts[DIRECT])
            return SimpleNamespace(poll=lambda: stream, began_at=0.0, next_check_at=math.inf, is_through=True)

    async def scene() -> None:
        stage = Scene(scripts)
        stage.race._terms.direct = AtOnce(lambda: scripts[DIRECT])
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT
        assert asyncio.get_running_loop().time() < 1.0

    play(scene())


# -- names that do not exist -------------------------------------------------------------------------------------------

DENIED = DialError("it does not exist", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)
DOH_DEAD = DialError(
    "all servers failed", stage=Stage.RESOLVE, symptom=Symptom.SKIPPED, evidence={"doh": "doh_down"}
)  # fmt: skip
DEAD = DialError("refused", stage=Stage.CONNECT, symptom=Symptom.RELAY_DOWN, evidence={"relay": "refused"})
NOT_THERE = DialError("host unreachable", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
CLOSED = DialError("closed", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED, evidence={"relay": Symptom.EOF})
BY_DOH = Route(wrap=("doh",))


@pytest.mark.parametrize(
    ("scripts", "took_s", "tries"),
    [
        pytest.param({DIRECT: DENIED, BY_DOH: DENIED, RELAY: DEAD}, 0.0, [DIRECT, BY_DOH], id="both resolvers"),
        pytest.param({DIRECT: DENIED, BY_DOH: DENIED, RELAY: 30.0}, 0.0, [DIRECT, BY_DOH], id="a silent relay"),
        pytest.param(
            {DIRECT: DENIED, BY_DOH: DOH_DEAD, OTHER: NOT_THERE, RELAY: DEAD}, 0.0, [DIRECT, BY_DOH, OTHER, RELAY],
            id="the system and a relay: the other one is asked, and not again",
        ),
        pytest.param(
            {RELAY: DEAD, DIRECT: DENIED, BY_DOH: DENIED}, 0.0, [RELAY, DIRECT, BY_DOH], id="a dead relay goes first"
        ),
    ],
)  # fmt: skip
def test_a_name_that_two_deny_ends_the_race(
    scripts: dict[Route, DialError | float], took_s: float, tries: list[Route]
) -> None:
    async def scene() -> tuple[bool, float, list[Route]]:
        stage = Scene({route: Script(connect=word) for route, word in scripts.items()})
        opened = await stage.race.connect()
        return opened, asyncio.get_running_loop().time(), [attempt.route for attempt in stage.race.attempts]

    opened, at, tried = play(scene())
    assert (opened, tried) == (False, tries)
    assert at == pytest.approx(took_s, abs=0.01)


def test_a_relay_that_is_under_way_when_both_resolvers_deny_is_left() -> None:
    """Encrypted DNS answered late, so a relay was started beside it."""

    async def scene() -> tuple[bool, float, Symptom]:
        late = Script(connect=DENIED, fails_after=5.0)
        stage = Scene({DIRECT: Script(connect=DENIED), BY_DOH: late, RELAY: Script(connect=30.0)})
        opened = await stage.race.connect()
        return opened, asyncio.get_running_loop().time(), stage.race.attempts[-1].symptom

    opened, at, symptom = play(scene())
    assert (opened, symptom) == (False, Symptom.ABANDONED)
    assert at == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param({DIRECT: DENIED, BY_DOH: DOH_DEAD}, id="one forged denial, encrypted DNS is dead"),
        pytest.param({DIRECT: DENIED}, id="one forged denial"),
        pytest.param({DIRECT: DENIED, BY_DOH: DOH_DEAD, OTHER: NOT_THERE}, id="another relay does not reach it"),
        pytest.param({DIRECT: DENIED, BY_DOH: DOH_DEAD, OTHER: CLOSED}, id="another relay closes"),
        pytest.param({OTHER: DEAD, DIRECT: DENIED}, id="a dead relay goes first"),
    ],
)
def test_a_name_that_one_denies_is_asked_of_the_relays(before: dict[Route, DialError]) -> None:
    async def scene() -> Route | None:
        scripts = {route: Script(connect=error) for route, error in before.items()}
        won = await Scene({**scripts, RELAY: Script(answer=OK)}).deliver()
        return won.route if won is not None else None

    assert play(scene()) == RELAY


def test_a_relay_that_goes_first_may_know_names_of_its_own_network() -> None:
    """Both resolvers deny the name while it opens its path."""

    async def scene() -> Route | None:
        relay = Script(connect=6.0, answer=OK)
        won = await Scene({RELAY: relay, DIRECT: Script(connect=DENIED), BY_DOH: Script(connect=DENIED)}).deliver()
        return won.route if won is not None else None

    assert play(scene()) == RELAY


# -- a second opinion on the name --------------------------------------------------------------------------------------


class Opinions:
    """A resolver that has found nothing, and asks encrypted DNS for 0.1 s whether the name leads elsewhere."""

    def __init__(self, elsewhere: bool = True) -> None:
        self._elsewhere = elsewhere
        self.asked: list[float] = []

    def finding(self, host: str) -> None:
        pass

    def is_local_zone(self, host: str) -> bool:
        return False

    def may_be_local_zone(self, host: str) -> bool:
        return False

    def second_opinion(self, host: str) -> asyncio.Task[bool]:
        assert host == HERE.host
        self.asked.append(asyncio.get_running_loop().time())
        return spawn(self._answer(), name="second opinion")

    async def _answer(self) -> bool:
        await asyncio.sleep(0.1)
        return self._elsewhere


class KnownToWork(Known):
    def wants_second_opinion(self, host: str) -> bool:
        return False


BLACK_HOLES = {  # when it connects → when encrypted DNS is asked, and when a relay starts if that does not help
    "no answer to the SYN": (99.0, 0.7, 1.5),
    "no answer to the flight": (0.1, 0.8, 3.1),
}


@pytest.mark.parametrize("hole", BLACK_HOLES)
@pytest.mark.parametrize("has_relay", [True, False])
def test_a_forged_address_that_stays_silent_costs_a_second(hole: str, has_relay: bool) -> None:
    connect_s, asked_at, _ = BLACK_HOLES[hole]

    async def scene() -> None:
        await asyncio.sleep(1)
        resolver, doh, relay = Opinions(), Script(answer=OK), Script(answer=OK)
        scripts = {DIRECT: Script(connect=connect_s), BY_DOH: doh, **({RELAY: relay} if has_relay else {})}
        stage = Scene(scripts, knowledge=Known(strategies=True), resolver=resolver)
        won = await stage.deliver()
        assert won is not None
        assert won.route == BY_DOH
        assert resolver.asked == [pytest.approx(1 + asked_at, abs=0.01)]
        assert doh.dialed == [pytest.approx(1 + asked_at + 0.1, abs=0.01)]
        assert asyncio.get_running_loop().time() <= 1 + 1.2
        assert relay.dialed == []
        assert stage.race.attempts[0].pending, "direct is judged beside"
        late = await stage.race.take_overtaken().judge()
        assert late.symptom in (Symptom.TIMEOUT, Symptom.SILENT)

    play(scene())


@pytest.mark.parametrize("hole", BLACK_HOLES)
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_second_opinion_that_does_not_help_delays_no_other_route(hole: str, elsewhere: bool) -> None:
    connect_s, _, relay_at = BLACK_HOLES[hole]

    async def scene() -> None:
        await asyncio.sleep(1)
        doh, relay = Script(connect=99.0), Script(answer=OK)
        scripts = {DIRECT: Script(connect=connect_s), BY_DOH: doh, RELAY: relay}
        stage = Scene(scripts, knowledge=Known(strategies=True), resolver=Opinions(elsewhere))
        won = await stage.deliver()
        assert won is not None
        assert won.route == RELAY
        assert relay.dialed == [pytest.approx(1 + relay_at, abs=0.06)]
        assert len(doh.dialed) == elsewhere

    play(scene())


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_slow_site_that_answers_first_wins(elsewhere: bool) -> None:
    """A CDN gives other addresses to other resolvers, and they are as slow."""

    async def scene() -> None:
        await asyncio.sleep(1)
        doh, relay, resolver = Script(answer=OK, after=1.5), Script(answer=OK), Opinions(elsewhere)
        scripts = {DIRECT: Script(answer=OK, after=1.5), BY_DOH: doh, RELAY: relay}
        stage = Scene(scripts, knowledge=Known(strategies=True), resolver=resolver)
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT
        assert asyncio.get_running_loop().time() == pytest.approx(1 + 1.6, abs=0.01)
        assert len(resolver.asked) == 1
        assert [len(script.dialed) for script in (doh, relay)] == [elsewhere, 0]
        assert all(stream.closed for stream in doh.streams)

    play(scene())


def test_direct_that_fails_beside_a_second_opinion_is_followed_at_once() -> None:
    async def scene() -> None:
        await asyncio.sleep(1)
        doh, relay = Script(connect=99.0), Script(answer=OK)
        scripts = {DIRECT: Script(answer=RESET, after=1.0), BY_DOH: doh, RELAY: relay}
        won = await Scene(scripts, knowledge=Known(strategies=True), resolver=Opinions()).deliver()
        assert won is not None
        assert won.route == RELAY
        assert relay.dialed == [pytest.approx(1 + 1.1, abs=0.01)]
        assert len(doh.dialed) == 1

    play(scene())


@pytest.mark.parametrize(
    ("direct", "routes", "knowledge", "destination"),
    [
        pytest.param(Script(answer=OK, after=0.6), (BY_DOH,), Known(), HERE, id="it answers soon enough"),
        pytest.param(Script(answer=OK, after=2.0), (BY_DOH,), KnownToWork(), HERE, id="the host is known to work"),
        pytest.param(Script(answer=OK, after=2.0), (RELAY,), Known(), HERE, id="encrypted DNS is no route"),
        pytest.param(Script(answer=OK, after=2.0), (), Known(), HERE, id="direct alone"),
        pytest.param(
            Script(answer=OK, after=2.0), (BY_DOH,), NOTHING_KNOWN, Destination("192.0.2.7", 80), id="there is no name"
        ),
        pytest.param(Script(lookup=1.2, answer=OK), (BY_DOH,), Known(), HERE, id="the resolver is slow"),
    ],
)
def test_no_second_opinion_is_asked_when(
    direct: Script, routes: tuple[Route, ...], knowledge: Knowledge, destination: Destination
) -> None:
    async def scene() -> None:
        await asyncio.sleep(1)
        resolver = Opinions()
        scripts = {DIRECT: direct, **{route: Script(answer=OK) for route in routes}}
        stage = Scene(scripts, knowledge=knowledge, resolver=resolver, destination=destination)
        won = await stage.deliver()
        assert won is not None
        assert won.route == DIRECT
        assert resolver.asked == []

    play(scene())


def test_F90_a_post_to_a_host_that_does_not_accept_goes_once_to_the_address_of_the_second_opinion() -> None:
    async def scene() -> None:
        await asyncio.sleep(1)
        direct, doh = Script(connect=1.0, answer=OK), Script(answer=OK, after=2.0)
        stage = Scene({DIRECT: direct, BY_DOH: doh}, knowledge=Known(strategies=True), resolver=Opinions())
        won = await stage.deliver(POST)
        assert won is not None
        assert won.route == BY_DOH
        assert doh.streams[0].sent == POST
        assert [stream.sent for stream in direct.streams] in ([], [b""])

    play(scene())


def test_a_post_that_direct_has_is_sent_to_no_other_address() -> None:
    async def scene() -> None:
        await asyncio.sleep(1)
        resolver, doh = Opinions(), Script(answer=OK)
        stage = Scene({DIRECT: Script(), BY_DOH: doh}, knowledge=Known(strategies=True), resolver=resolver)
        won = await stage.deliver(POST)
        assert won is not None
        assert (won.route, won.valid) == (DIRECT, False)
        assert doh.dialed == []

    play(scene())


class KeyedStream(ScriptedStream):
    """A stream through a key: a failure before its first byte is its relay's."""

    def fault_before_answer(self, symptom: Symptom) -> DialError | None:
        text = f"relay vps: its server closed ({symptom})"
        return DialError(text, stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_DOWN, evidence={"relay": "key_closed"})


@pytest.mark.parametrize(
    ("answer", "symptom", "error"),
    [
        (b"", Symptom.RELAY_DOWN, "relay vps: its server closed (eof)"),
        (RESET, Symptom.RELAY_DOWN, "relay vps: its server closed (reset)"),
        (b"<html>", Symptom.GARBAGE, "answered b'<html>'"),
    ],
)
def test_a_stream_may_say_that_a_failure_before_the_first_byte_is_its_relays(
    answer: bytes | Exception | None, symptom: Symptom, error: str
) -> None:
    """So no site is blamed for a key that does not work. Once a byte has come, the failure is what it looks like."""

    async def scene() -> None:
        stage = Scene({RELAY: Script(answer=answer, stream=KeyedStream), OTHER: Script(answer=OK, after=9.0)})
        won = await stage.deliver()
        assert won is not None
        assert won.route == OTHER
        failed = stage.race.attempts[0]
        assert (failed.symptom, failed.error) == (symptom, error)
        assert failed.evidence.get("relay") == ("key_closed" if symptom is Symptom.RELAY_DOWN else None)

    play(scene())


def test_a_silent_stream_that_was_overtaken_came_no_further_than_its_relay() -> None:
    """So the health of relays counts it: the next visit does not wait for this relay first."""

    async def scene() -> None:
        health, route = Health(DetectTuning()), {RELAY: Script(stream=KeyedStream), OTHER: Script(answer=OK)}
        for _ in range(3):
            stage = Scene(dict(route))
            won = await stage.deliver()
            assert won is not None
            first, second = stage.race.attempts
            assert (first.stage, first.symptom, second.delivered) == (Stage.RELAY, Symptom.ABANDONED, True)
            outcome = SimpleNamespace(attempts=(first, second), winner=OTHER, at=0.0)
            health.learn(cast(Any, outcome), 1.0)
        assert health.is_open("vps", 2.0)
        assert not health.is_open("tor", 2.0)

    play(scene())


# -- many relays, most of them dead ------------------------------------------------------------------------------------


class Search(Scene):
    """A race over many relays. It counts those that are being opened."""

    def __init__(self, scripts: dict[Route, Script], schedule: RetrySchedule) -> None:
        self.opening: list[str] = []
        self.most = 0
        self.overlaps: set[str] = set()  # servers with two openings at once
        super().__init__(scripts, schedule=schedule)

    def _dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        dialer, server = super()._dialer(route), route.relays[0].partition("-")[0]
        dial = dialer.dial

        async def counted(destination: Destination) -> Any:
            await asyncio.sleep(0)  # one that was given up ends in this pass of the loop
            self.overlaps |= {server} & set(self.opening)
            self.opening.append(server)
            self.most = max(self.most, len(self.opening))
            try:
                return await dial(destination)
            finally:
                self.opening.remove(server)

        dialer.dial = counted  # type: ignore[method-assign]
        return dialer

    @property
    def tried(self) -> list[str]:
        return [attempt.route.relays[0] for attempt in self.race.attempts]


def many(
    count: int, *, good: int = -1, dead: Callable[[], Script] = lambda: Script(connect=99.0)
) -> dict[Route, Script]:
    return {Route((f"r{n}",)): Script(answer=OK) if n == good else dead() for n in range(count)}


def by_server() -> RetrySchedule:
    return RetrySchedule(DetectTuning(), server_of=lambda relays: relays[0].partition("-")[0])


def test_of_many_silent_relays_four_are_opened_at_once_and_within_a_minute_the_visit_ends() -> None:
    async def scene() -> None:
        stage = Search(many(2000), by_server())
        began = asyncio.get_running_loop().time()
        assert not await stage.race.connect()
        assert asyncio.get_running_loop().time() - began <= 60.1
        assert stage.most == 4
        assert stage.tried == [f"r{n}" for n in range(20)], "one each 3 s"
        stage.race.close()
        await asyncio.sleep(0.01)
        assert stage.opening == []

    play(scene())


def test_the_next_visit_goes_on_with_the_relays_that_were_not_tried() -> None:
    async def scene() -> None:
        schedule, scripts = by_server(), many(50, good=30)
        first = Search(scripts, schedule)
        assert not await first.race.connect()
        first.race.close()
        second = Search(scripts, schedule)
        won = await second.deliver()
        assert won is not None
        assert won.route == Route(("r30",))
        assert second.tried == [f"r{n}" for n in range(20, 31)]
        third = Search(scripts, schedule)
        began = asyncio.get_running_loop().time()
        won = await third.deliver()
        assert won is not None
        assert won.route == Route(("r30",))
        assert third.tried == ["r0", "r30"], "what has opened comes right behind the first"
        assert asyncio.get_running_loop().time() - began < 3.5

    play(scene())


def test_no_two_of_many_relays_are_opened_at_one_server_at_once() -> None:
    async def scene() -> None:
        scripts = {Route((f"{server}-{port}",)): Script(connect=9.0 + port) for server in "abc" for port in range(3)}
        stage = Search(scripts, by_server())
        assert await stage.race.connect()
        assert stage.tried[:3] == ["a-0", "b-0", "c-0"]
        assert stage.overlaps == set()
        stage.race.close()

    play(scene())


def test_relays_that_refuse_are_tried_at_once_and_not_without_end() -> None:
    async def scene() -> None:
        stage = Search(many(2000, dead=lambda: Script(connect=refused(), fails_after=0.05)), by_server())
        began = asyncio.get_running_loop().time()
        assert not await stage.race.connect()
        assert asyncio.get_running_loop().time() - began <= 60
        assert len(set(stage.tried)) == DetectTuning().relay_search_max
        assert stage.most == 1

    play(scene())


def test_a_few_relays_are_tried_for_as_long_as_ever() -> None:
    async def scene() -> None:
        scripts = many(4, dead=lambda: Script(connect=20.0))
        stage = Search(scripts, by_server())
        assert await stage.race.connect()
        assert asyncio.get_running_loop().time() == pytest.approx(20.0, abs=0.1), "none is given up for another"
        stage.race.close()

    play(scene())


def test_the_wait_for_the_clients_flight_takes_nothing_from_the_search() -> None:
    async def scene() -> None:
        scripts = {Route(("closes",)): Script(answer=b""), **many(20, good=3)}
        stage = Search(scripts, by_server())
        assert await stage.race.connect()
        await asyncio.sleep(300)
        flight = Flight()
        flight.receive_data(GET)
        won = await stage.race.deliver(flight, lambda: True)
        assert won is not None
        assert won.route == Route(("r3",))

    play(scene())
