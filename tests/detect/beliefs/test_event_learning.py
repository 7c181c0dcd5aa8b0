"""What is learned beside connections: each kind of event goes in by one entry, and brings out what has waited."""

from __future__ import annotations

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import (
    Carried,
    ControlAnswered,
    DirectDelivered,
    Event,
    Intercepted,
    Retested,
    StrategyTried,
)
from proxy.model import Belief, Cause, Change, ConnectivityResult, Route, State
from tests.support.outcomes import AWAY, HOME, HOST, TOR, works

NOW = 1_700_000_000.0
TLSREC = Route((), ("tlsrec",))
OTHER = "www.news.example"

EVENTS: tuple[Event, ...] = (
    works(HOST, at=NOW),
    DirectDelivered(HOST),
    Carried(HOST, TOR, bytes_down=10**6),
    ControlAnswered("control.example", ConnectivityResult.WELL, started=NOW),
    Intercepted(HOST, "f", known=False),
    Retested(HOST, direct_ok=True, other_ok=True),
    StrategyTried(HOST, TLSREC, ok=True),
)


def blocked(host: str = HOST, cause: Cause = Cause.SNI_RESET) -> Belief:
    return Belief(host, HOME, State.BLOCKED, cause, score=3.0, since=NOW - 9, until=NOW + 10**6, scored_at=NOW - 9)


def learned(event: Event, *known: Belief) -> list[Change]:
    beliefs = Beliefs(DetectTuning(), known)
    beliefs.learn(DirectDelivered("www.uplink.example"), network=HOME, now=NOW)  # the control gate is open
    return beliefs.learn(event, network=HOME, now=NOW)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_a_clock_that_was_set_has_changed_comes_with_the_next_event(event: Event) -> None:
    """So the store learns of it, whichever kind comes first."""
    beliefs = Beliefs(DetectTuning(), [blocked(OTHER)])
    beliefs.all(now=NOW)
    beliefs.all(now=NOW - 86_400)
    changes = beliefs.learn(event, network=AWAY, now=NOW - 86_400)
    assert [change.scope for change in changes if change.network == HOME] == [OTHER]


def test_a_strategy_that_worked_is_how_the_site_is_reached_next() -> None:
    (change,) = learned(StrategyTried(HOST, TLSREC, ok=True), blocked())
    assert change.belief is not None
    assert (change.after, change.belief.last_good) == (State.BLOCKED, "direct|tlsrec")
    (change,) = learned(StrategyTried(HOST, TLSREC, ok=False), blocked())
    assert change.belief is not None
    assert change.belief.rungs_failed == ("direct|tlsrec",)


def test_of_a_whole_page_direct_must_carry_enough_for_a_frozen_site_to_be_free() -> None:
    whole = DetectTuning().whole_bytes
    frozen = blocked(cause=Cause.FROZEN)
    assert learned(Carried(HOST, Route(), whole - 1), frozen) == []
    (change,) = learned(Carried(HOST, Route(), whole), frozen)
    assert change.belief is not None
    assert change.belief.successes == 1
    assert learned(Carried(HOST, Route(), whole), blocked()) == [], "another cause is not proven by bytes"


def test_a_certificate_of_a_known_root_blocks_at_once() -> None:
    (change,) = learned(Intercepted(HOST, "f" * 64, known=True))
    assert (change.after, change.cause) == (State.BLOCKED, Cause.INTERCEPTION)
