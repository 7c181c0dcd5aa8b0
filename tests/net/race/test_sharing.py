"""Several connections of one visit, as races that share what they find: how many ClientHellos a network sees of them.

Under a virtual clock, with dialers whose paths are scripted. All direct routes lead to one address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Attempt, Destination, Protocol, Route
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
    sent: list[tuple[float, str, Route]] = field(default_factory=list)  # when, where to, by which route
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
                knowledge=Ladder(),
                findings=self.findings,
            ),
        )

    def _script(self, route: Route) -> Script:
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
