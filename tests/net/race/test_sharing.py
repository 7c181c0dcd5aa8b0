"""Several connections of one visit, as races that share what they find: how many ClientHellos a network sees of them.

Under a virtual clock, with dialers whose paths are scripted. All direct routes lead to one address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Attempt, CutHellos, Destination, Protocol, Route, Symptom
from proxy.net.knowledge import NothingKnown
from proxy.net.race.race import Race, Winner
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.race.terms import RaceTerms
from proxy.net.tasks import spawn
from proxy.routing.strategies import fits
from proxy.wire.flight import Flight
from tests.support.clock import run as play
from tests.support.scripted import FakeOracle, Script, ScriptedDialer, ScriptedDirect, ScriptedStream
from tests.wire import hellos

SITE = Destination("blog.example", 443)
HELLO = hellos.real("blog.example")
ANSWER = b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"
TLSREC, SPLIT, DOH, DOH_TLSREC, RELAY = (
    Route(wrap=("tlsrec",)),
    Route(wrap=("split",)),
    Route(wrap=("doh",)),
    Route(wrap=("doh", "tlsrec")),
    Route(("vps",)),
)
LADDER = (DIRECT, DOH, TLSREC, SPLIT, DOH_TLSREC)
RESET = ConnectionResetError(104, "Connection reset by peer")

PASSES: dict[str, object] = {"answer": ANSWER, "connect": 0.02, "after": 0.02}
IS_RESET: dict[str, object] = {"answer": RESET, "connect": 0.02, "after": 0.02}
IS_DROPPED: dict[str, object] = {"answer": None, "connect": 0.02, "acknowledged": False, "retransmits": 2}
IS_SILENT: dict[str, object] = {"answer": None, "connect": 0.02}


class Ladder(NothingKnown):
    def __init__(self, cut_hellos: CutHellos, *, counted: bool, asked: list[bool]) -> None:
        super().__init__()
        self._cut_hellos = cut_hellos
        self._counted = counted
        self._asked = asked

    def hellos_are_counted(self) -> bool:
        self._asked.append(self._counted)
        return self._counted

    def cut_hellos(self, host: str, addresses: Sequence[str]) -> CutHellos:
        assert (host, set(addresses)) == (SITE.host, {"198.51.100.7:443"})
        return self._cut_hellos

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
    ) -> bool:
        return fits(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)


@dataclass
class Network:
    """What each route meets here, and the hellos that left on direct ones."""

    does: dict[Route, dict[str, object]]
    routes: tuple[Route, ...] = LADDER
    addresses: dict[Route, str] = field(default_factory=dict)
    cut_hellos: CutHellos = CutHellos.ALLOWED
    counted: bool = False
    asked: list[bool] = field(default_factory=list)  # each answer whether hellos are counted
    sent: list[tuple[float, str, Route]] = field(default_factory=list)  # when, where to, by which route
    dialed: list[Route] = field(default_factory=list)
    findings: SharedFindings = field(default_factory=lambda: SharedFindings(asyncio.get_running_loop().time))

    def race(self) -> Race:
        return Race(
            SITE,
            self.routes,
            RaceTerms(
                lambda route, *, avoid_residual=True: ScriptedDialer(self._script(route)),
                direct=ScriptedDirect(lambda: self._script(DIRECT)),
                tcp_info=FakeOracle(),
                detect=DetectTuning(),
                knowledge=Ladder(self.cut_hellos, counted=self.counted, asked=self.asked),
                findings=self.findings,
            ),
        )

    def _script(self, route: Route) -> Script:
        self.dialed.append(route)

        def stream(script: Script) -> ScriptedStream:
            return _Stream(script, self, route)

        return Script(**self.does.get(route, IS_RESET), stream=stream)  # type: ignore[arg-type]  # fields by name

    async def visit(self, after_s: float = 0.0, race: Race | None = None) -> tuple[Route | None, float]:
        """By which route a connection of a client was answered, and when; None: by none."""
        await asyncio.sleep(after_s)
        flight = Flight()
        flight.receive_data(HELLO)
        race = race or self.race()
        winner: Winner | None = None
        if await race.connect():
            winner = await race.deliver(flight, lambda: True)
        now = asyncio.get_running_loop().time()
        race.close()
        return (winner.route if winner is not None and winner.valid else None), now - after_s

    def most_within(self, seconds: float) -> int:
        """The most hellos to one address within so long."""
        return max(
            sum(there == to and 0 <= then - at <= seconds for then, there, _ in self.sent) for at, to, _ in self.sent
        )


class _Stream(ScriptedStream):
    def __init__(self, script: Script, network: Network, route: Route) -> None:
        super().__init__(script)
        self.peer = network.addresses.get(route, "198.51.100.7:443")
        self._network, self._route = network, route

    def send_nowait(self, data: bytes | memoryview) -> int:
        if not self.sent and not self._route.relays:
            self._network.sent.append((asyncio.get_running_loop().time(), self.peer, self._route))
        return super().send_nowait(data)


def visits(
    number: int, does: dict[Route, dict[str, object]], **more: object
) -> tuple[Network, list[tuple[Route | None, float]]]:
    made: list[Network] = []

    async def scene() -> list[tuple[Route | None, float]]:
        made.append(Network(does, **more))  # type: ignore[arg-type]  # fields by name
        return await asyncio.gather(*(made[0].visit() for _ in range(number)))

    came = play(scene())
    return made[0], came


HOW: dict[str, tuple[dict[Route, dict[str, object]], Route | None]] = {
    "healthy": ({DIRECT: PASSES}, DIRECT),
    "reset, and a cut record passes": ({TLSREC: PASSES}, TLSREC),
    "reset, and only cut segments pass": ({SPLIT: PASSES}, SPLIT),
    "reset whatever is sent": ({}, None),
    "dropped, and a cut record passes": ({DIRECT: IS_DROPPED, TLSREC: PASSES}, TLSREC),
    "dropped, and only cut segments pass": ({DIRECT: IS_DROPPED, TLSREC: IS_DROPPED, SPLIT: PASSES}, SPLIT),
    "silent, and a cut record passes": ({DIRECT: IS_SILENT, TLSREC: PASSES, DOH: IS_SILENT}, TLSREC),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("number", [1, 2, 3, 6, 30])
def test_within_a_second_there_is_one_hello_more_than_the_client_sends(how: str, number: int) -> None:
    does, route = HOW[how]
    network, came = visits(number, does)
    assert [by for by, _ in came] == [route] * number
    assert network.most_within(1.0 - 1e-6) <= number + 1, network.sent


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("how", HOW)
def test_what_may_be_sent_without_byway_is_no_burst_with_it(how: str, number: int) -> None:
    """More than three, each less than 0.4 s after the one before, and the network punishes."""
    network, _ = visits(number, HOW[how][0])
    burst, longest, before = 0, 0, -1.0
    for at, _, _ in sorted(network.sent):
        burst = burst + 1 if at - before < 0.4 else 1
        longest, before = max(longest, burst), at
    assert longest <= 3, network.sent


def test_a_healthy_site_waits_for_nobody() -> None:
    network, came = visits(30, {DIRECT: PASSES})
    assert {round(at, 3) for _, at in came} == {0.04}
    assert len(network.sent) == 30


def test_one_tries_a_strategy_at_once_and_the_others_have_it_within_a_second() -> None:
    _, came = visits(2, {TLSREC: PASSES})
    assert sorted(round(at, 2) for _, at in came) == [0.08, 1.04]
    _, came = visits(6, {TLSREC: PASSES})
    assert max(at for _, at in came) < 1.1
    assert min(at for _, at in came) < 0.6, "the burst of the six is over after 0.45 s"


def test_what_failed_for_one_is_not_sent_by_the_others() -> None:
    network, _ = visits(6, {SPLIT: PASSES})
    assert [route for _, _, route in network.sent].count(TLSREC) == 1


def test_a_strategy_that_is_tried_hands_over_when_its_client_leaves() -> None:
    async def scene() -> None:
        network = Network({TLSREC: IS_SILENT})
        race = network.race()
        leaving = spawn(network.visit(race=race), name="leaving")
        staying = spawn(network.visit(0.01), name="staying")
        await asyncio.sleep(0.5)
        assert [route for _, _, route in network.sent].count(TLSREC) == 1
        network.does[TLSREC] = PASSES
        leaving.cancel()
        await asyncio.wait({leaving})
        race.close()
        route, at = await staying
        assert (route, at < 1.2) == (TLSREC, True)

    play(scene())


def test_nobody_waits_longer_than_the_hedge_of_the_one_who_tries() -> None:
    _, came = visits(3, {TLSREC: IS_SILENT, SPLIT: PASSES})
    assert {route for route, _ in came} == {SPLIT}
    alone = visits(1, {TLSREC: IS_SILENT, SPLIT: PASSES})[1][0][1]
    assert max(at for _, at in came) <= alone + 1.5


def test_where_a_relay_serves_nobody_waits_at_all() -> None:
    _, came = visits(6, {RELAY: PASSES}, routes=(DIRECT, RELAY))
    assert {(route, round(at, 2)) for route, at in came} == {(RELAY, 0.08)}


@pytest.mark.parametrize("direct", [IS_RESET, IS_SILENT, IS_DROPPED])
def test_the_same_bytes_are_not_sent_to_the_same_address_twice(direct: dict[str, object]) -> None:
    network, came = visits(1, {DIRECT: direct, DOH: direct, TLSREC: PASSES}, routes=(DIRECT, DOH, TLSREC, DOH_TLSREC))
    assert came[0][0] == TLSREC
    assert [route for _, _, route in network.sent] == [DIRECT, TLSREC]
    assert came[0][1] < {id(IS_RESET): 0.2, id(IS_SILENT): 3.3, id(IS_DROPPED): 1.0}[id(direct)]


def test_another_address_is_another_try() -> None:
    network, came = visits(3, {DIRECT: IS_SILENT, DOH: PASSES}, addresses={DOH: "198.51.100.8:443"})
    assert {route for route, _ in came} == {DOH}
    assert [to for _, to, _ in network.sent].count("198.51.100.8:443") == 3


def test_a_visit_soon_after_tries_for_itself() -> None:
    """What failed a moment ago may have been an accident."""

    async def scene() -> None:
        network = Network({})
        assert (await network.visit())[0] is None
        network.does[TLSREC] = PASSES
        assert (await network.visit())[0] == TLSREC

    play(scene())


# -- where cut hellos come last, or never ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [how for how in HOW if not how.startswith("silent")])
@pytest.mark.parametrize("cut_hellos", [CutHellos.LAST, CutHellos.NEVER])
@pytest.mark.parametrize("number", [1, 3, 6])
def test_there_is_no_more_than_one_hello_more_either(how: str, cut_hellos: CutHellos, number: int) -> None:
    """Where a site is silent, and nothing else may be sent, a race waits as long as its client does."""
    does, route = HOW[how]
    network, came = visits(number, does, cut_hellos=cut_hellos)
    assert network.most_within(1.0 - 1e-6) <= number + 1, network.sent
    cut = [by for _, _, by in network.sent if by.wrap and by != DOH]
    if cut_hellos is CutHellos.NEVER:
        assert cut == []
    else:
        assert [by for by, _ in came] == [route] * number, "they come last, and they come"
        assert bool(cut) is (how != "healthy")


@pytest.mark.parametrize("failure", ["reset", "dropped", "EOF"])
@pytest.mark.parametrize("number", [1, 6])
def test_where_they_come_last_the_whole_hello_is_sent_once_more_after_a_second(failure: str, number: int) -> None:
    async def scene() -> tuple[Network, list[tuple[Route | None, float]]]:
        fails = {"reset": IS_RESET, "dropped": IS_DROPPED, "EOF": {**IS_RESET, "answer": b""}}[failure]
        network = Network({DIRECT: fails, TLSREC: PASSES}, cut_hellos=CutHellos.LAST)
        visiting = [spawn(network.visit(), name="visit") for _ in range(number)]
        await asyncio.sleep(0.03)
        network.does[DIRECT] = PASSES
        return network, [await one for one in visiting]

    network, came = play(scene())
    assert {by for by, _ in came} == {DIRECT}
    assert {round(at, 2) for _, at in came} == {1.04}
    assert {by for _, _, by in network.sent} == {*network.dialed} == {DIRECT}
    assert len(network.sent) == 2 * number


def test_a_relay_goes_before_both() -> None:
    routes = (DIRECT, TLSREC, RELAY)
    network, came = visits(1, {RELAY: PASSES}, routes=routes, cut_hellos=CutHellos.LAST)
    assert [by for by, _ in came] == [RELAY]
    assert came[0][1] < 0.2, "it waits for neither"
    assert [by for _, _, by in network.sent] == [DIRECT]


def test_after_a_relay_that_fails_they_come_in_this_order() -> None:
    routes = (DIRECT, TLSREC, RELAY)
    network, came = visits(1, {TLSREC: PASSES}, routes=routes, cut_hellos=CutHellos.LAST)
    assert [by for by, _ in came] == [TLSREC]
    assert [by for _, _, by in network.sent] == [DIRECT, DIRECT, TLSREC]


def test_two_whole_hellos_that_look_dropped_leave_one_to_be_judged() -> None:
    async def scene() -> list[bool]:
        network = Network({DIRECT: IS_DROPPED, TLSREC: PASSES}, cut_hellos=CutHellos.LAST)
        race = network.race()
        flight = Flight()
        flight.receive_data(HELLO)
        assert await race.connect()
        won = await race.deliver(flight, lambda: True)
        assert won is not None
        assert won.route == TLSREC
        late = race.take_overtaken()
        before = [attempt.pending for attempt in race.attempts if attempt.route == DIRECT]
        judged = await late.judge()
        assert (judged.route, judged.symptom) == (DIRECT, Symptom.DROPPED)
        race.close()
        return before

    assert play(scene()) == [False, True]


# -- a network that counts hellos --------------------------------------------------------------------------------------


def gaps(network: Network) -> list[float]:
    times = sorted(at for at, _, _ in network.sent)
    return [later - at for at, later in pairwise(times)]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("number", [1, 6])
def test_where_hellos_are_counted_all_are_kept_apart(how: str, number: int) -> None:
    async def scene() -> tuple[Network, list[tuple[Route | None, float]]]:
        network = Network(HOW[how][0], counted=True)
        network.findings.may_be_counted = True
        return network, await asyncio.gather(*(network.visit() for _ in range(number)))

    network, came = play(scene())
    assert min(gaps(network), default=1.0) > 0.45 - 1e-6, network.sent
    assert [by for by, _ in came] == [HOW[how][1]] * number
    if how == "healthy":
        assert sorted(round(at, 2) for _, at in came) == [round(0.04 + 0.45 * place, 2) for place in range(number)]


@pytest.mark.parametrize(("may_be_counted", "counted"), [(False, True), (True, False)])
def test_where_they_are_not_known_to_be_none_waits(may_be_counted: bool, counted: bool) -> None:
    async def scene() -> list[float]:
        network = Network({DIRECT: PASSES}, counted=counted)
        network.findings.may_be_counted = may_be_counted
        return [at for _, at in await asyncio.gather(*(network.visit() for _ in range(6)))]

    assert {round(at, 3) for at in play(scene())} == {0.04}


def test_after_a_burst_that_failed_it_is_asked_once_a_second_whether_hellos_are_counted() -> None:
    """A slow site may have failed it, and each tunnel would pay for the question."""

    async def scene() -> None:
        network = Network({DIRECT: PASSES})
        await network.visit()
        assert network.asked == []
        network.findings.burst_failed("slow.example")
        for _ in range(6):
            await network.visit()
        assert network.asked == [False]
        network.counted = True
        await asyncio.sleep(1)
        for _ in range(6):
            await network.visit()
        assert network.asked == [False, True, True], "the six take two seconds"
        assert min(gaps(network)[-5:]) > 0.45 - 1e-6

    play(scene())


def test_what_a_lone_hello_shows_after_a_burst_is_heeded_at_once() -> None:
    async def scene() -> None:
        network = Network({DIRECT: PASSES})
        network.findings.burst_failed(SITE.host)
        await network.visit()
        network.counted = True  # as beliefs have learned from it
        for _ in range(3):
            await network.visit()
        assert network.asked == [False, True]
        assert min(gaps(network)) > 0.45 - 1e-6

    play(scene())


@pytest.mark.parametrize(("number", "noted"), [(3, 0), (4, 4), (6, 6)])
def test_a_burst_that_looks_dropped_is_noted_and_so_is_the_next_hello(number: int, noted: int) -> None:
    async def scene() -> tuple[list[int], bool, list[int]]:
        network = Network({DIRECT: IS_DROPPED, RELAY: PASSES}, routes=(DIRECT, RELAY))
        races = [network.race() for _ in range(number)]
        await asyncio.gather(*(network.visit(race=race) for race in races))
        burst = [attempt.evidence.get("hellos", 0) for race in races for attempt in race.attempts[:1]]
        may_be_counted = network.findings.may_be_counted
        await asyncio.sleep(10)
        network.does[DIRECT] = PASSES
        race = network.race()
        await network.visit(race=race)
        return burst, may_be_counted, [attempt.evidence.get("hellos", 0) for attempt in race.attempts]

    burst, may_be_counted, later = play(scene())
    assert (burst, may_be_counted) == ([noted] * number, noted > 0)
    assert later == [1 if noted else 0]


def test_what_is_forgotten_is_that_a_burst_failed() -> None:
    async def scene() -> None:
        findings = SharedFindings(asyncio.get_running_loop().time)
        seen = []
        findings.burst_failed(SITE.host)
        seen.append((findings.may_be_counted, len(findings.failed_bursts)))
        findings.clear_all()
        seen.append((findings.may_be_counted, len(findings.failed_bursts)))
        assert seen == [(True, 1), (False, 0)]

    play(scene())
