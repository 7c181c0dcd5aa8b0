"""A plan that is kept is the one that would be made anew, and a visit that is not read as a whole would have taught
nothing: whatever beliefs are told, in any order, while time passes and the clock is set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import network_health, outcomes
from proxy.detect.beliefs.generations import Generations
from proxy.detect.beliefs.state import BeliefState
from proxy.detect.beliefs.tables import HostLru
from proxy.model import ConnectivityResult, NetworkState, Protocol, Stage, State, Symptom
from tests.detect.beliefs.history import TUNINGS
from tests.detect.beliefs.machine import Anything, differences, run
from tests.detect.beliefs.told import (
    BACK,
    DAY,
    HOSTS,
    PAGES,
    SMALL,
    Beside,
    Call,
    Told,
    Visit,
    empty,
    events_beside,
    new_beliefs,
    visits,
)
from tests.session.test_plan_properties import Planner
from tests.support.outcomes import HOME, TOR, VPS

SITES = (HOSTS[0], HOSTS[1], HOSTS[3])
"""Two of one domain, and one of another."""
ALL_TUNINGS = {**TUNINGS, "small": SMALL}

RARE: Mapping[str, Callable[[Anything], None]] = {
    "two hosts of a domain fail": lambda world: world.two_hosts_of_a_domain_fail(200.0, TOR, HOME),
    "a prefix fails": lambda world: world.a_prefix_fails(HOME, (Symptom.TIMEOUT, Stage.CONNECT)),
    "the network is restricted": lambda world: world.foreign_sites_fail(HOME, in_vain=False),
    "it blocks HTTPS alone": lambda world: world.foreign_sites_fail(HOME, in_vain=False, plain=True),
    "no relay gets through": lambda world: world.foreign_sites_fail(HOME, in_vain=True),
    "it is offline": lambda world: world.no_way_out(HOME),
    "it is inspected": lambda world: world.certificates_are_resigned(HOME),
    "it is well": lambda world: world.control(PAGES[0], ConnectivityResult.WELL, HOME, ""),
    "a host is forgotten": lambda world: world.told(Call("forget", (SITES[0], HOME))),
    "a network is left": lambda world: world.another_network(),
    "the computer resumes": lambda world: world.resume(),
    "days pass": lambda world: world.sleep(11 * DAY),
}

served = st.builds(
    Visit,
    kind=st.just("relay"),
    host=st.just(""),
    relay=st.sampled_from((TOR, TOR, TOR, VPS)),
    ago=st.sampled_from((1.0, 20.0)),
    protocol=st.sampled_from((Protocol.TLS, Protocol.TLS, Protocol.TLS, Protocol.HTTP)),
    port=st.sampled_from((443, 443, 443, 80)),
)


class Twins(Told):
    """Beliefs beside others that read each visit as a whole."""

    def __init__(self, tuning: DetectTuning) -> None:
        super().__init__(tuning)
        self.twin = new_beliefs(tuning)

    def __call__(self, call: Call) -> Any:
        self.twin._state.settled.clear()
        call(self.twin)
        return super().__call__(call)


class Kept(RuleBasedStateMachine):
    """Beliefs that are told anything. After each step all sites are planned."""

    met: ClassVar[set[object]] = set()
    used: ClassVar[Counter[str]] = Counter()
    """How often a kept plan was used, and a visit was not read as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Anything()

    @initialize(tuning=st.sampled_from([*ALL_TUNINGS]))
    def begin(self, tuning: str) -> None:
        self.told = self.world.told = Twins(ALL_TUNINGS[tuning])
        self.planner = Planner(self.told.beliefs)

    @rule(visit=visits(SITES))
    def visit(self, visit: Visit) -> None:
        self.world.visit(visit, HOME)

    @rule(visit=visits(SITES), seconds=st.sampled_from((1.0, 61.0)))
    def visit_beside_others(self, visit: Visit, seconds: float) -> None:
        self.world.now += seconds
        self.world.visit_beside_others(visit, HOME, opens=True)

    @rule(host=st.sampled_from(SITES), is_troubled=st.booleans(), served=st.lists(served, min_size=3, max_size=6))
    def served_by_a_relay(self, host: str, is_troubled: bool, served: list[Visit]) -> None:
        if is_troubled:
            self.world.visit_beside_others(Visit("rescued", host), HOME, opens=True)
        settled = self.told.beliefs._state.settled
        for visit in served:
            self.world.now += visit.ago
            before = settled.get((HOME, host))
            self.world.visit(replace(visit, host=host), HOME)
            self.used["visits"] += before is not None and before is settled.get((HOME, host))

    @rule(beside=st.sampled_from(SITES).flatmap(events_beside))
    def find_out(self, beside: Beside) -> None:
        self.world.find_out(beside, HOME)

    @precondition(lambda self: self.told.tuning is SMALL)
    @rule(one_domain=st.booleans())
    def many_hosts(self, one_domain: bool) -> None:
        """More than a table may hold."""
        self.world.many_hosts("rescued", (Symptom.RESET, Stage.FIRST_BYTE), one_domain, HOME)

    @rule(what=st.sampled_from([*RARE]))
    def rare(self, what: str) -> None:
        RARE[what](self.world)

    @rule(seconds=st.sampled_from((0.5, 12.0, 61.0, 130.0, 700.0, 3_700.0, 22_000.0, DAY)))
    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    @rule(seconds=st.sampled_from(BACK))
    def clock_back(self, seconds: float) -> None:
        self.world.clock_back(seconds)

    @invariant()
    def kept_plans_are_those_that_would_be_made(self) -> None:
        planner = self.planner
        planner.now = self.world.now
        for host in SITES:
            before = planner.setup.kept_plans.get((host, 443))
            plan = planner.plan(host)
            self.used["plans"] += before is not None and before is planner.setup.kept_plans.get((host, 443))
            assert plan == planner.plan_anew(host), host
            self.met.add(self.told.beliefs.lookup(host, network=HOME, now=planner.now).state)
        self.met.add(self.told.beliefs.network_state(HOME))

    @invariant()
    def visits_that_are_not_read_teach_nothing(self) -> None:
        here, twin, now = self.told.beliefs, self.told.twin, self.world.now
        empty([each for each in differences(here, twin, now) if not _is_of_a_date(each[0])])
        for host in SITES:
            assert here.last_result(host, network=HOME, now=now) == twin.last_result(host, network=HOME, now=now)
            assert here.visited(host, network=HOME) == twin.visited(host, network=HOME)


def _is_of_a_date(name: str) -> bool:
    """Of the last visit to a site in trouble: it is renewed once an hour, or a minute later."""
    return name.endswith((": until", ": last_good_at"))


def test_what_is_kept_is_true() -> None:
    run(Kept, 100, 25)
    assert Kept.used["plans"] > 1000
    assert Kept.used["visits"] > 60
    assert Kept.met >= {*State, *NetworkState} - {NetworkState.PORTAL}, "behind a portal plans are as on any network"


def nothing(*_: object) -> None:
    pass


def no_date(self: BeliefState, until: float, now: float) -> bool:
    return now < until


def put(self: HostLru[Any], *given: Any, is_change: bool = False) -> Any:
    generations, self._generations = self._generations, None
    try:
        return PUT(self, *given, is_change=is_change)
    finally:
        self._generations = generations


def take(self: HostLru[Any], *given: Any) -> Any:
    generations, self._generations = self._generations, None
    try:
        return TAKE(self, *given)
    finally:
        self._generations = generations


def enter(state: BeliefState, record: Any, entered: NetworkState) -> None:
    record.state, record.portal_page = entered, ""


PUT, TAKE = HostLru.put, HostLru._take
PLANTED: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "a belief changes": (Generations, "on_scope_changed", nothing),
    "a belief is set": (HostLru, "put", put),
    "a belief is removed": (HostLru, "_take", take),
    "a network changes": (network_health, "_enter", enter),
    "the clock is set, or a prefix or a network changes": (Generations, "on_all_changed", nothing),
    "a date comes": (BeliefState, "lasts", no_date),
}
"""What each fault forgets."""


@pytest.mark.slow
@pytest.mark.parametrize("what", PLANTED)
def test_a_raise_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The control."""
    monkeypatch.setattr(*PLANTED[what])
    with pytest.raises(AssertionError):
        run(Kept, 100, 40)


@pytest.mark.slow
def test_a_visit_that_is_wrongly_not_read_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "_is_served_again", lambda state, key, *_: key in state.settled)
    with pytest.raises(AssertionError):
        run(Kept, 100, 40)
