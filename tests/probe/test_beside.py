"""Which visits may have a probe beside them, and when its results come too late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.load import Loaded
from proxy.config.schema import Auto, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import Retested
from proxy.model import Action, NetworkId, Outcome, Protocol, State
from proxy.probe.beside import beside
from proxy.session.setup import Setup
from tests.support.outcomes import AWAY, HOME, HOST, TOR, open_uplink, rescued
from tests.support.rows import each_row
from tests.support.services import NO_PAGES, NO_RESOLVER, services

VISIT = rescued(by=TOR)


class Scene:
    def __init__(self, auto: Auto | None = None) -> None:
        unused = cast(Any, None)
        self.settings = Settings(auto=auto or Auto())
        self.network: NetworkId = HOME
        self.now = 1000.0
        self.beliefs = Beliefs(self.settings.detect, near=frozenset({"near.test"}).__contains__)
        router: Any = SimpleNamespace(may_relay=lambda host: host not in self.settings.auto.never_relay)
        self.setup = Setup(Loaded(self.settings), unused, unused, router, unused, NO_RESOLVER, pages=NO_PAGES)
        self.services = services(
            setup=lambda: self.setup,
            beliefs=self.beliefs,
            network=lambda: self.network,
            now=lambda: self.now,
            is_private=frozenset({"private.test"}).__contains__,
        )

    def may(self, visit: Outcome = VISIT, **how: bool) -> bool:
        return beside(self.services, self.setup, HOME, visit, **how) is not None


@each_row(("protocol", "may"), [(Protocol.TLS, True), (Protocol.HTTP, True), (Protocol.NONE, False)])
def test_visits_over_tls_and_plain_http_may_have_one(protocol: Protocol, may: bool) -> None:
    assert Scene().may(replace(VISIT, protocol=protocol)) is may


@each_row("action", [Action.DIRECT, Action.RELAY, Action.PREFER_RELAY])
def test_none_where_a_rule_decides(action: Action) -> None:
    assert not Scene().may(replace(VISIT, plan=replace(VISIT.plan, action=action)))


def test_none_at_home_or_to_hosts_of_log_never_or_without_re_tests() -> None:
    assert not Scene().may(replace(VISIT, plan=replace(VISIT.plan, is_home=True)))
    for host in ("near.test", "private.test"):
        assert not Scene().may(replace(VISIT, host=host))
    assert not Scene(Auto(retest=False)).may()


def test_a_host_that_may_use_no_relay_is_only_re_tested_by_the_routes_of_its_visit() -> None:
    scene = Scene(Auto(never_relay=(HOST,)))
    assert not scene.may()
    assert scene.may(by_its_routes=True), "else its block would never end"


@each_row("what", ["nothing", "network", "setup"])
def test_a_result_counts_on_the_network_and_under_the_setup_of_the_visit(what: str) -> None:
    scene = Scene()
    open_uplink(scene.beliefs, now=scene.now)
    scene.beliefs.learn(replace(VISIT, at=scene.now), network=HOME, now=scene.now)
    frame = beside(scene.services, scene.setup, HOME, VISIT)
    assert frame is not None
    match what:
        case "network":
            scene.network = AWAY
        case "setup":
            scene.setup = replace(scene.setup)
    is_same = what == "nothing"
    assert frame.is_same() is is_same
    assert (beside(scene.services, frame.setup, HOME, VISIT) is not None) is is_same
    assert frame.report(Retested(HOST, direct_ok=True, other_ok=True)) is is_same
    held = scene.beliefs.lookup(HOST, network=HOME, now=scene.now)
    assert held.state is (State.WORKS if is_same else State.SUSPECT)


def test_a_claim_is_released_whatever_happens() -> None:
    scene = Scene()
    open_uplink(scene.beliefs, now=scene.now)
    scene.beliefs.learn(replace(VISIT, at=scene.now), network=HOME, now=scene.now)
    scene.now += 2 * scene.settings.detect.retest_suspect_s
    frame = beside(scene.services, scene.setup, HOME, VISIT)
    assert frame is not None

    def is_due() -> bool:
        return scene.beliefs.retest_due(HOST, network=HOME, now=scene.now)

    assert is_due()
    with pytest.raises(OSError, match="cut short"), frame.releasing(frame.claim()):
        _cut_short(is_due)
    assert is_due()


def _cut_short(is_due: Callable[[], bool]) -> None:
    assert not is_due()
    raise OSError("cut short")
