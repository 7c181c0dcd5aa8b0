"""What is learned beside connections: each kind of event goes in by one entry, and brings out what has waited."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import (
    BlockMeasured,
    Carried,
    ComputerResumed,
    ControlAnswered,
    DirectDelivered,
    Event,
    Intercepted,
    OpenMeasured,
    PageCompared,
    Retested,
    RungResult,
    RungTried,
    SilenceExplained,
    SpeedsCompared,
    StrategyBroke,
    StrategyTried,
)
from proxy.model import (
    Belief,
    Cause,
    Change,
    ConnectivityResult,
    NetworkState,
    PageDoubt,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
)
from tests.support.outcomes import AWAY, HOME, HOST, TOR, failed, rescued, works

NOW = 1_700_000_000.0
TLSREC = Route((), ("tlsrec",))
OTHER = "www.news.example"

EVENTS: tuple[Event, ...] = (
    works(HOST, at=NOW),
    DirectDelivered(HOST),
    Carried(HOST, TOR, count=10**6),
    ControlAnswered("control.example", ConnectivityResult.WELL, started=NOW),
    SilenceExplained(HOST, NOW, TOR, 3.1, 0.1, 0.1, math.inf),
    PageCompared(HOST, 7, "203.0.113.5:80", NOW, PageDoubt.SHARED, TOR, is_unlike=True),
    SpeedsCompared(HOST, "203.0.113.5:443", Protocol.TLS, 130_000.0, TOR, 900_000.0),
    BlockMeasured(HOST, Signal(SignalId.SNI_SWAP, 4.0, Cause.SNI_DROP, NOW), TOR, Protocol.TLS, "", "no answer"),
    OpenMeasured(HOST, Protocol.TLS, "203.0.113.5:443"),
    Intercepted(HOST, "f", known=False),
    Retested(HOST, direct_ok=True, other_ok=True),
    StrategyTried(HOST, TLSREC, ok=True),
    StrategyBroke(HOST, failed(Symptom.FROZEN, Stage.DONE, route=TLSREC)),
    RungTried(HOST, TLSREC, RungResult.PASSED),
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


def measured(cause: Cause = Cause.FROZEN, kind: SignalId = SignalId.FROZEN, weight: float = 2.0) -> BlockMeasured:
    return BlockMeasured(
        HOST, Signal(kind, weight, cause, NOW), TOR, Protocol.TLS, "203.0.113.5:443", "stalls after 16 KB"
    )


@pytest.mark.parametrize(
    "event",
    [
        measured(),
        measured(Cause.THROTTLED, SignalId.THROTTLED, 1.5),
        measured(Cause.SNI_DROP, SignalId.SNI_SWAP, 4.0),
        measured(Cause.DNS, SignalId.DNS_TWO_ANSWERS, 5.0),
    ],
    ids=lambda event: event.signal.id,
)
def test_what_a_measurement_proved_counts_at_once(event: BlockMeasured) -> None:
    (change,) = learned(event)
    belief = change.belief
    assert belief is not None
    assert (change.scope, change.after, belief.cause) == (HOST, State.SUSPECT, event.signal.cause), "one may be chance"
    assert (belief.score, belief.episodes, belief.last_good) == (event.signal.weight, 1, "tor")
    assert "stalls after 16 KB; tor delivered" in belief.why


def test_a_measurement_counts_though_a_visit_worked_a_moment_ago() -> None:
    beliefs = Beliefs(DetectTuning())
    beliefs.learn(works(HOST, at=NOW), network=HOME, now=NOW)
    beliefs.learn(measured(), network=HOME, now=NOW + 1)
    assert beliefs.lookup(HOST, network=HOME, now=NOW + 2).state is State.SUSPECT


def test_measurements_in_a_row_are_one_piece_of_evidence_and_a_minute_apart_two() -> None:
    beliefs = Beliefs(DetectTuning())
    for at in (0, 5, 10):
        beliefs.learn(measured(), network=HOME, now=NOW + at)
    assert beliefs.lookup(HOST, network=HOME, now=NOW + 10).episodes == 1
    beliefs.learn(measured(), network=HOME, now=NOW + 80)
    assert beliefs.lookup(HOST, network=HOME, now=NOW + 80).state is State.BLOCKED


OPEN = OpenMeasured(HOST, Protocol.TLS, "203.0.113.5:443")


def suspect(cause: Cause = Cause.SNI_RESET, host: str = HOST) -> Belief:
    return replace(blocked(host, cause), state=State.SUSPECT)


@pytest.mark.parametrize(
    ("cause", "ends"),
    [
        (Cause.NONE, True), (Cause.SNI_RESET, True), (Cause.SNI_DROP, True), (Cause.IP, True), (Cause.DNS, True),
        (Cause.FROZEN, True), (Cause.INTERCEPTION, True),
        (Cause.HTTP_HOST, False), (Cause.BLOCK_PAGE, False),  # met by plain HTTP
        (Cause.ECH, False),  # of the hello of browsers
        (Cause.THROTTLED, False),  # it compares no speeds
    ],
)  # fmt: skip
def test_a_guess_ends_where_a_measurement_opens_the_site_direct(cause: Cause, ends: bool) -> None:
    changes = learned(OPEN, suspect(cause))
    assert [(change.before, change.after) for change in changes] == [(State.SUSPECT, State.WORKS)] * ends
    if ends:
        assert changes[0].why == "direct delivered in a measurement"


@pytest.mark.parametrize(
    ("failed", "ends"),
    [((Protocol.TLS,), False), ((Protocol.HTTP,), True), ((Protocol.TLS, Protocol.HTTP), True), ((), True)],
)
def test_a_measurement_of_plain_http_ends_no_guess_about_the_port_of_https(
    failed: tuple[Protocol, ...], ends: bool
) -> None:
    """Where the port is not known, as for a host that was stored by an earlier Byway, any success ends it."""
    beliefs = Beliefs(DetectTuning(), [] if failed else [suspect(Cause.IP)])
    for number, protocol in enumerate(failed):
        at = NOW + 90 * number
        beliefs.learn(DirectDelivered(OTHER), network=HOME, now=at)
        refused = rescued(at=at, symptom=Symptom.TIMEOUT, stage=Stage.CONNECT)
        beliefs.learn(replace(refused, protocol=protocol), network=HOME, now=at)
    now = NOW + 200
    before = beliefs.lookup(HOST, network=HOME, now=now)
    beliefs.learn(replace(OPEN, protocol=Protocol.HTTP), network=HOME, now=now)
    after = beliefs.lookup(HOST, network=HOME, now=now)
    assert (before.cause, after.state is not before.state) == (Cause.IP, ends)


def test_a_block_ends_by_measurements_as_by_retests() -> None:
    beliefs = Beliefs(DetectTuning(), [blocked()])
    for after_s, state in ((0, State.BLOCKED), (60, State.BLOCKED), (700, State.WORKS)):
        beliefs.learn(OPEN, network=HOME, now=NOW + after_s)
        assert beliefs.lookup(HOST, network=HOME, now=NOW + after_s).state is state


def test_a_host_that_was_measured_works_while_its_domain_stays_suspect() -> None:
    """The trouble was of two other hosts; one of them ends it."""
    beliefs = Beliefs(DetectTuning())
    for number, host in enumerate(("a.example.org", "b.example.org")):
        at = NOW + 20 * number
        beliefs.learn(DirectDelivered("www.uplink.example"), network=HOME, now=at)
        beliefs.learn(rescued(host=host, at=at), network=HOME, now=at)
    assert beliefs.lookup("c.example.org", network=HOME, now=NOW + 21).scope == "*.example.org"
    beliefs.learn(OpenMeasured("c.example.org", Protocol.TLS, ""), network=HOME, now=NOW + 22)
    assert beliefs.lookup("c.example.org", network=HOME, now=NOW + 23).state is State.WORKS
    assert beliefs.lookup("d.example.org", network=HOME, now=NOW + 23).scope == "*.example.org"


def test_where_nothing_is_learned_a_measurement_teaches_nothing_either() -> None:
    near = Beliefs(DetectTuning(), near=lambda host: True)
    assert near.learn(measured(), network=HOME, now=NOW) == near.learn(OPEN, network=HOME, now=NOW) == []
    portal = Beliefs(DetectTuning())
    portal.learn(ControlAnswered("c.example", ConnectivityResult.PORTAL, started=NOW), network=HOME, now=NOW)
    assert portal.network_state(HOME) is NetworkState.PORTAL
    assert portal.learn(measured(), network=HOME, now=NOW) == portal.learn(OPEN, network=HOME, now=NOW) == []
    woken = Beliefs(DetectTuning())
    woken.note(ComputerResumed(), network=HOME, now=NOW)
    assert woken.learn(measured(), network=HOME, now=NOW + 1) == []


def test_a_certificate_of_a_known_root_blocks_at_once() -> None:
    (change,) = learned(Intercepted(HOST, "f" * 64, known=True))
    assert (change.after, change.cause) == (State.BLOCKED, Cause.INTERCEPTION)


def test_a_clock_that_was_set_ahead_moves_the_dates_first() -> None:
    """Here the first that happens after it is a success of another host."""
    beliefs = Beliefs(DetectTuning())
    for at in (0, 61):
        beliefs.learn(DirectDelivered(OTHER), network=HOME, now=NOW + at)
        beliefs.learn(rescued(at=NOW + at), network=HOME, now=NOW + at)
    before = beliefs.lookup(HOST, network=HOME, now=NOW + 61)
    later = NOW + 61 + 40 * 86_400
    beliefs.learn(works(OTHER, at=later), network=HOME, now=later)
    after = beliefs.lookup(HOST, network=HOME, now=later)
    assert (after.state, after.until - later) == (State.BLOCKED, before.until - (NOW + 61))
