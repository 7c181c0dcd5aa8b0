"""What one connection teaches, from its outcome alone. How a record uses it: test_connection_record."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_health import FAIR, Conditions, Health
from proxy.model import DIRECT, Action, Change, Outcome, Symptom
from proxy.session.outcome_observer import OutcomeObserver
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, failed, outcome
from tests.support.services import NoFlows, services

RESCUED = outcome(failed(Symptom.RESET), delivered(TOR), at=999.0)


@pytest.mark.parametrize(
    ("network", "learns", "counts"), [(HOME, True, True), (AWAY, True, False), (HOME, False, False)]
)
def test_it_learns_of_users_connections_on_their_own_network(network: Any, learns: bool, counts: bool) -> None:
    changes: list[Change] = []
    shared = services(network=lambda: network, believe=changes.extend, beliefs=Beliefs(DetectTuning()), learns=learns)
    assert OutcomeObserver(shared, HOME).learn(RESCUED) is RESCUED
    assert bool(changes) is counts


def test_what_addons_made_of_its_signals_is_returned_with_the_direct_attempt() -> None:
    texts = iter(["a: tls_reset weighs 0 in place of 2", "", "b: cause ip"])
    addons: Any = SimpleNamespace(refines=True, wants_attempts=False, take_refinements=lambda _id: next(texts))
    observer = OutcomeObserver(services(addons=addons), HOME)
    first = observer.learn(RESCUED)
    assert RESCUED.attempts[0].evidence.get("addons") is None
    assert observer.learn(first) is first
    assert observer.learn(first).attempts[0].evidence["addons"] == "a: tls_reset weighs 0 in place of 2; b: cause ip"


@pytest.mark.parametrize("action", [Action.AUTO, Action.DIRECT])
def test_a_tunnel_is_watched_where_that_can_change_the_route(action: Action) -> None:
    flows = NoFlows()
    observer = OutcomeObserver(services(flows=flows), HOME)
    tunnel, plan = cast(Any, SimpleNamespace(over=False)), outcome(delivered(), action=action).plan
    watched = observer.watch(tunnel, DIRECT, plan, HOST, cast(Any, None))
    assert (watched is not None) is bool(flows.watched) is (action is Action.AUTO)


class Told(Health):
    """Counts the connections that are reported to it."""

    count = 0

    def learn(self, outcome: Outcome, now: float, conditions: Conditions = FAIR) -> bool:
        self.count += 1
        return super().learn(outcome, now, conditions)


@pytest.mark.parametrize("under_way", [True, False])
def test_no_relay_is_judged_while_visits_wait_for_a_check_of_ours(under_way: bool) -> None:
    health = Told(DetectTuning())
    check: Any = SimpleNamespace(under_way={"vps": "check"} if under_way else {})
    OutcomeObserver(services(health=health, transfer_check=lambda: check), HOME).judge_relays(RESCUED)
    assert health.count == (0 if under_way else 1)
