"""After which slow visits speeds are compared, with which route, and what is told of it: with real beliefs. How they
are measured is in test_throughput."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.schema import Auto, Settings
from proxy.model import DIRECT, DOH, Action, Outcome, Plan, Protocol, Request, Route, State
from proxy.net.tasks import cancel_all
from proxy.probe.speed_check import SpeedCheck
from proxy.session.events import TransferSlow
from proxy.session.setup import Setup
from tests.probe.scene import BesideScene
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, HOST, TOR, VPS, works

TLSREC, SPLIT, HOSTCASE = (Route(wrap=(word,)) for word in ("tlsrec", "split", "hostcase"))
SLOW = 130_000.0
FAST = 900_000.0


class Scene(BesideScene):
    """Slow visits, and what a measurement of both routes finds then."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *routes: Route,
        found: tuple[float | None, float | None] | None = (SLOW, FAST),
        auto: Auto | None = None,
        action: Action = Action.AUTO,
        is_punished: bool = False,
    ) -> None:
        super().__init__(Settings(auto=auto or Auto(), detect=DetectTuning(compared_per_hour=100)))
        self.found = found
        self.plan = Plan(action, routes or (DIRECT, TOR), "")
        self.compared: list[Route] = []
        self.meanwhile: Callable[[], object] = lambda: None
        if is_punished:
            monkeypatch.setattr(self.beliefs, "cuts_are_punished", lambda network, now: True)
        self.check = SpeedCheck(self.services())
        monkeypatch.setattr("proxy.probe.speed_check.plan_for", self._plan_for)
        monkeypatch.setattr("proxy.probe.speed_check.measure_speeds", self._measure)

    def may_relay(self, host: str) -> bool:
        return host not in self.settings.auto.never_relay

    async def _plan_for(self, request: Request, services: object, setup: Setup, *, host: str) -> Plan:
        assert (request.destination.host, host, request.client) == (HOST, HOST, "")
        return self.plan

    async def _measure(
        self, setup: Setup, turn: object, visit: Outcome, route: Route
    ) -> tuple[float | None, float | None] | None:
        self.compared.append(route)
        self.meanwhile()
        return self.found

    async def slow(self, bytes_s: float = SLOW, protocol: Protocol = Protocol.TLS) -> None:
        """A slow visit, a minute after the last."""
        await asyncio.sleep(61)
        visit = replace(works(at=asyncio.get_running_loop().time()), protocol=protocol)
        self.check.on_slow(TransferSlow(visit, HOME, bytes_s))
        await asyncio.sleep(1)
        await cancel_all()

    @property
    def state(self) -> State:
        return self.held.state


def test_two_slow_visits_name_a_throttled_site(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch)
        await scene.slow()
        assert (scene.compared, scene.state) == ([TOR], State.UNKNOWN)
        await scene.slow()
        assert (scene.compared, scene.state) == ([TOR, TOR], State.SUSPECT)
        held = scene.beliefs.lookup(HOST, network=HOME, now=asyncio.get_running_loop().time())
        assert (held.cause, held.last_good) == ("throttled", "tor")

    play(story())


@pytest.mark.parametrize(
    ("found", "visit"),
    [
        ((SLOW, SLOW), SLOW),  # a slow server
        ((FAST, FAST), SLOW),  # one that slows down large files alone
        ((SLOW, FAST), 310_000.0),  # the visit was faster than the comparison
        ((None, FAST), SLOW),
        ((SLOW, None), SLOW),
    ],
)
def test_a_site_that_is_slow_for_everybody_is_not_named(
    monkeypatch: pytest.MonkeyPatch, found: tuple[float | None, float | None], visit: float
) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch, found=found)
        for _ in range(2):
            await scene.slow(visit)
        assert (scene.compared, scene.state) == ([TOR, TOR], State.UNKNOWN)

    play(story())


ROUTES: dict[str, tuple[tuple[Route, ...], list[Route]]] = {  # those of a plan → those that are compared, in turn
    "relays before strategies": ((DIRECT, DOH, TLSREC, VPS, TOR), [VPS, TOR]),
    "strategies where there is no relay": ((DIRECT, DOH, TLSREC, HOSTCASE, SPLIT), [TLSREC, SPLIT]),
    "none is there": ((DIRECT,), []),
    "a way around is known": ((TOR, DIRECT), []),
    "no way is allowed": ((), []),
}


@pytest.mark.parametrize("name", ROUTES)
def test_routes_are_compared_in_turn(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    routes, compared = ROUTES[name]

    async def story() -> None:
        scene = Scene(monkeypatch, found=(SLOW, SLOW))
        scene.plan = replace(scene.plan, routes=routes)
        for _ in range(2):
            await scene.slow()
        assert scene.compared == compared

    play(story())


def test_no_cut_hello_is_sent_where_they_are_punished(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch, DIRECT, TLSREC, SPLIT, is_punished=True)
        await scene.slow()
        assert scene.compared == []

    play(story())


def test_a_site_whose_first_page_shows_no_speed_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch, found=None)
        for _ in range(2):
            await scene.slow()
        assert (scene.compared, scene.state) == ([TOR], State.UNKNOWN)

    play(story())


@pytest.mark.parametrize("why", ["retest", "private", "never_relay", "rule", "protocol", "network"])
def test_nothing_is_sent_where_the_user_wants_nothing_or_it_would_show_nothing(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    async def story() -> None:
        scene = Scene(
            monkeypatch,
            *((DIRECT, TLSREC) if why == "never_relay" else ()),
            auto=Auto(retest=why != "retest", never_relay=(HOST,) if why == "never_relay" else ()),
            action=Action.PREFER_RELAY if why == "rule" else Action.AUTO,
        )
        if why == "private":
            scene.private.add(HOST)
        if why == "network":
            scene.network = AWAY
        await scene.slow(protocol=Protocol.NONE if why == "protocol" else Protocol.TLS)
        assert scene.compared == []

    play(story())


@pytest.mark.parametrize("what", ["network", "setup"])
def test_what_ends_on_another_network_or_under_another_setup_teaches_nothing(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch)
        await scene.slow()
        scene.meanwhile = {
            "network": lambda: setattr(scene, "network", AWAY),
            "setup": lambda: setattr(scene, "setup", replace(scene.setup)),
        }[what]
        await scene.slow()
        assert (len(scene.compared), scene.state) == (2, State.UNKNOWN)

    play(story())
