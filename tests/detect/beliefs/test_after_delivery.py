"""What is seen apart from an attempt that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.detect.beliefs.events import Carried, Intercepted, OpenMeasured, Retested
from proxy.model import (
    DIRECT,
    ConnectivityResult,
    Evidence,
    NetworkState,
    Protocol,
    Route,
    SignalId,
    Stage,
    State,
    Symptom,
)
from tests.detect.seen import CONTROL, OTHER, Seen
from tests.support.outcomes import HOME, HOST, TOR, delivered, failed, outcome

FINGERPRINT = "ab" * 32


def _flow(seen: Seen, symptom: Symptom, host: str = HOST) -> None:
    """A flow that delivered, and what became of it."""
    first = outcome(delivered(), host=host, at=seen.now)
    seen.learn(first)
    later = replace(failed(symptom, Stage.DONE, elapsed=20.0), error="after 16384 bytes")
    seen.after(20).learn(first.with_attempt(later))


def _carried(seen: Seen, bytes_down: int, route: Route = TOR) -> None:
    seen.changes += seen.beliefs.learn(Carried(HOST, route, count=bytes_down), network=HOME, now=seen.now)


# -- flows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("symptom", "weight"), [(Symptom.FROZEN, 2.0), (Symptom.THROTTLED, 1.5)])
def test_a_flow_that_stops_is_suspect_at_once_and_counts_when_a_relay_carries_more(
    symptom: Symptom, weight: float
) -> None:
    seen = Seen()
    _flow(seen, symptom)
    assert (seen.held().state, seen.held().cause, seen.held().score) == (State.SUSPECT, str(symptom), 0.0)
    assert "16384" in seen.held().why
    seen.after(5).learn(outcome(delivered(TOR), host=HOST, at=seen.now))
    _carried(seen, 65_535)
    assert seen.held().score == 0.0
    _carried(seen, 40_000, DIRECT)
    assert seen.held().score == 0.0

    _carried(seen, 65_536)
    assert (seen.held().score, seen.held().last_good) == (weight, "tor")
    _carried(seen, 100_000)
    assert (seen.held().score, seen.held().episodes) == (weight, 1)


@pytest.mark.parametrize(
    ("symptom", "bytes_s", "counts"),
    [
        (Symptom.THROTTLED, 39_999, False),  # a site that is slow by any route
        (Symptom.THROTTLED, 40_000, True),
        (Symptom.FROZEN, 100, True),
    ],
)
def test_who_was_slowed_down_is_five_times_faster_by_a_relay(symptom: Symptom, bytes_s: float, counts: bool) -> None:
    seen = Seen()
    first = outcome(delivered(DIRECT), host=HOST, at=seen.now)
    seen.learn(first)
    slow = replace(failed(symptom, Stage.DONE, elapsed=20.0), evidence={"bytes_s": 8_000})
    seen.after(20).learn(first.with_attempt(slow))

    def carried(rate: float) -> None:
        seen.changes += seen.beliefs.learn(Carried(HOST, TOR, count=70_000, bytes_s=rate), network=HOME, now=seen.now)

    carried(bytes_s)
    assert (seen.held().score > 0) == counts
    carried(200_000)
    assert seen.held().score > 0, "it may become faster yet"


@pytest.mark.parametrize(("symptom", "counts"), [(Symptom.FROZEN, True), (Symptom.THROTTLED, False)])
def test_what_a_relay_took_proves_that_a_flow_froze_and_not_that_one_was_slow(symptom: Symptom, counts: bool) -> None:
    seen = Seen()
    first = outcome(delivered(DIRECT), host=HOST, at=seen.now)
    seen.learn(first)
    slow = replace(failed(symptom, Stage.DONE, elapsed=20.0), evidence={"bytes_s": 8_000})
    seen.after(20).learn(first.with_attempt(slow))
    seen.beliefs.learn(Carried(HOST, TOR, 100_000, bytes_s=0.0), network=HOME, now=seen.now)
    assert (seen.held().score > 0) is counts


@pytest.mark.parametrize(
    ("froze_after", "count", "is_whole", "counts"),
    [
        (16_384, 32_768, True, True),
        (16_384, 32_768, False, False),
        (16_385, 32_768, True, False),
        (30_000, 60_000, True, True),
        (3_000, 32_767, True, False),  # of a small answer nothing can be told
        (3_000, 32_768, True, True),
        (60_000, 65_536, True, True),
        (None, 60_000, True, False),
    ],
)
def test_a_whole_answer_twice_as_long_is_enough(
    froze_after: int | None, count: int, is_whole: bool, counts: bool
) -> None:
    seen = Seen()
    first = outcome(delivered(), host=HOST, at=seen.now)
    seen.learn(first)
    evidence: Evidence = {} if froze_after is None else {"bytes": froze_after}
    frozen = replace(failed(Symptom.FROZEN, Stage.DONE, elapsed=20.0), evidence=evidence)
    seen.after(20).learn(first.with_attempt(frozen))
    event = Carried(HOST, TOR, count, bytes_s=0.0, is_whole=is_whole)
    seen.beliefs.learn(event, network=HOME, now=seen.now)
    assert (seen.held().score > 0) is counts


def test_what_an_outcome_says_was_carried_counts_too() -> None:
    seen = Seen()
    _flow(seen, Symptom.FROZEN)
    seen.after(5).learn(outcome(delivered(TOR), host=HOST, at=seen.now, bytes_down=70_000))

    assert seen.held().score == 2.0


def test_without_a_relay_that_does_better_it_is_over_in_two_minutes() -> None:
    seen = Seen()
    _flow(seen, Symptom.FROZEN)
    seen.after(121)
    assert seen.state() is State.UNKNOWN
    _carried(seen, 70_000)

    assert seen.state() is State.UNKNOWN


def test_a_name_stays_hidden_for_a_day_after_a_freeze_that_nobody_proved() -> None:
    """As long as after a rescue, which names what got through. Direct that delivers since ends it."""
    seen = Seen()
    _flow(seen, Symptom.FROZEN)
    seen.after(121)
    assert (seen.state(), seen.held().hide_name_from_dns) == (State.UNKNOWN, True)
    seen.after(86_400 - 122)
    assert seen.held().hide_name_from_dns
    seen.after(1)
    assert not seen.held().hide_name_from_dns

    _flow(seen, Symptom.FROZEN)
    seen.after(121).learn(outcome(delivered(), host=HOST, at=seen.now))
    assert (seen.state(), seen.held().hide_name_from_dns) == (State.WORKS, False)


def test_a_second_frozen_flow_blocks() -> None:
    seen = Seen()
    for _ in range(2):
        _flow(seen, Symptom.FROZEN)
        _carried(seen, 70_000)
        seen.after(61)

    assert (seen.held().state, seen.held().cause) == (State.BLOCKED, "frozen")


def test_a_first_byte_does_not_clear_it_and_enough_of_them_do() -> None:
    seen = Seen()
    _flow(seen, Symptom.FROZEN)
    _carried(seen, 70_000)
    seen.after(61).works(HOST)
    _carried(seen, 65_535, DIRECT)
    assert seen.state() is State.SUSPECT
    assert seen.held().score == pytest.approx(2.0, abs=0.01)

    _carried(seen, 65_536, DIRECT)
    assert seen.state() is State.WORKS


@pytest.mark.parametrize("carried_whole", [False, True])
def test_who_visits_once_a_day_finds_it_blocked_unless_direct_has_carried_enough(carried_whole: bool) -> None:
    """The suspicion of a day lapses before the next visit, which begins with a first byte as each did before."""
    seen = Seen()
    for day in range(4):
        assert seen.state() is not State.BLOCKED, day
        _flow(seen, Symptom.FROZEN)
        _carried(seen, 70_000)
        seen.after(86_400)
        if carried_whole and day == 1:
            seen.works(HOST)
            _carried(seen, 70_000, DIRECT)
    assert seen.state() is (State.UNKNOWN if carried_whole else State.BLOCKED)


# -- connections that are cut by time ----------------------------------------------------------------------------------


def _cut(seen: Seen, symptom: Symptom = Symptom.RESET) -> None:
    """A second direct flow that was cut 5 s after its handshake."""
    first = outcome(delivered(), host=HOST, at=seen.now)
    seen.learn(first)
    cut = replace(failed(symptom, Stage.DONE, elapsed=5.0), evidence={"cut_s": 5.0}, error="connections are cut")
    seen.after(5).learn(first.with_attempt(cut))


def _lasted(seen: Seen, lasted_s: float, route: Route = TOR, count: int = 0) -> None:
    event = Carried(HOST, route, count, lasted_s=lasted_s)
    seen.changes += seen.beliefs.learn(event, network=HOME, now=seen.now)


@pytest.mark.parametrize("symptom", [Symptom.RESET, Symptom.FROZEN])
def test_a_cut_by_time_is_suspect_at_once_and_counts_when_a_relay_lasts_twice_as_long(symptom: Symptom) -> None:
    seen = Seen()
    _cut(seen, symptom)
    assert (seen.held().state, seen.held().cause, seen.held().score) == (State.SUSPECT, "frozen", 0.0)
    _lasted(seen.after(10), 9.9)
    assert seen.held().score == 0.0
    _lasted(seen, 10.0)
    assert (seen.held().score, seen.held().last_good) == (2.0, "tor")
    assert "connections are cut" in seen.held().why


@pytest.mark.parametrize(("symptom", "counts"), [(Symptom.RESET, False), (Symptom.FROZEN, True)])
def test_bytes_by_a_relay_prove_a_silence_and_no_reset(symptom: Symptom, counts: bool) -> None:
    """What falls silent as late as the flow before it may have been stopped after as many bytes."""
    seen = Seen()
    _cut(seen, symptom)
    _carried(seen, 65_535)
    assert seen.held().score == 0.0
    _carried(seen, 200_000)
    assert (seen.held().score == 2.0) is counts


@pytest.mark.parametrize(("began_after_s", "counts"), [(120, True), (121, False)])
def test_the_connection_that_lasts_began_while_the_host_was_suspect(began_after_s: float, counts: bool) -> None:
    seen = Seen()
    _cut(seen)
    seen.after(began_after_s + 60)
    _lasted(seen, 60)
    assert (seen.held().score > 0) is counts


def test_for_a_day_no_short_connection_shows_that_cuts_are_over() -> None:
    seen = Seen()
    _cut(seen)
    _lasted(seen.after(10), 10)
    seen.after(600)
    assert not seen.beliefs.retest_due(HOST, network=HOME, now=seen.now), "it would show nothing"
    seen.beliefs.learn(Retested(HOST, direct_ok=True, other_ok=True), network=HOME, now=seen.now)
    seen.beliefs.learn(OpenMeasured(HOST, Protocol.TLS, ""), network=HOME, now=seen.now)
    _lasted(seen, 9.9, DIRECT, 70_000)
    assert seen.state() is State.SUSPECT
    _lasted(seen, 10, DIRECT, 70_000)
    assert seen.state() is State.WORKS


def test_a_day_after_the_last_cut_a_retest_is_due_again() -> None:
    seen = Seen()
    for _ in range(2):
        _cut(seen)
        _lasted(seen.after(61), 10)
    assert seen.state() is State.BLOCKED
    assert not seen.beliefs.retest_due(HOST, network=HOME, now=seen.after(80_000).now)
    assert seen.beliefs.retest_due(HOST, network=HOME, now=seen.after(7_000).now)


def test_one_early_reset_is_how_many_programs_end() -> None:
    seen = Seen()
    _flow(seen, Symptom.RESET)
    assert seen.state() is State.WORKS
    seen.after(60)
    _flow(seen, Symptom.RESET)
    assert seen.state() is State.SUSPECT

    seen.after(5).works(OTHER)
    seen.learn(outcome(delivered(TOR), host=HOST, at=seen.now))
    seen.works(OTHER)
    assert (seen.held().score, seen.held().cause) == (1.0, "sni_reset")


# -- names -------------------------------------------------------------------------------------------------------------


def test_an_answer_over_a_forged_address_is_no_success() -> None:
    seen = Seen()
    seen.learn(outcome(replace(delivered(), evidence={"dns": SignalId.DNS_TWO_ANSWERS}), host=HOST, at=seen.now))
    assert (seen.held().state, seen.held().cause, seen.held().score) == (State.SUSPECT, "dns", 0.0)
    seen.after(5).learn(outcome(delivered(Route((), ("doh",))), host=HOST, at=seen.now))
    seen.works(OTHER)

    assert (seen.held().score, seen.held().last_good) == (5.0, "direct|doh")


# -- certificates ------------------------------------------------------------------------------------------------------


def _intercepted(seen: Seen, *, known: bool = False, trusted: bool = False, host: str = HOST) -> None:
    seen.changes += seen.beliefs.learn(
        Intercepted(host, known=known, fingerprint=FINGERPRINT, trusted=trusted), network=HOME, now=seen.now
    )


def test_a_known_root_blocks_at_once() -> None:
    seen = Seen()
    seen.works(HOST)
    _intercepted(seen, known=True)

    assert (seen.held().state, seen.held().cause) == (State.BLOCKED, "interception")
    assert FINGERPRINT[:16] in seen.held().why
    _intercepted(seen.after(5), known=True)
    assert [change.after for change in seen.changes] == [State.BLOCKED] * 2


@pytest.mark.parametrize(("apart_s", "state"), [(59, State.SUSPECT), (60, State.BLOCKED)])
def test_an_unknown_one_after_two_looks_a_minute_apart(apart_s: float, state: State) -> None:
    seen = Seen()
    for _ in range(2):
        seen.works(OTHER)
        _intercepted(seen)
        seen.after(apart_s)

    assert (seen.held().state, seen.held().cause) == (state, "interception")


def test_and_only_when_the_uplink_is_well() -> None:
    seen = Seen()
    for _ in range(3):
        _intercepted(seen)
        seen.after(61)

    assert seen.held().score == 0.0


def test_a_certificate_seen_by_the_visit_itself_counts_alike() -> None:
    seen = Seen()
    for _ in range(2):
        seen.rescued(symptom=Symptom.CERTIFICATE)
        seen.works(OTHER)
        seen.after(61)

    assert (seen.held().state, seen.held().cause) == (State.BLOCKED, "interception")


def test_while_it_is_intercepted_nothing_else_is_its_cause() -> None:
    seen = Seen()
    _intercepted(seen, known=True)
    seen.after(61).rescued()
    seen.works(OTHER)

    assert seen.held().cause == "interception"


def test_an_office_re_signs_everything_and_no_site_is_blamed() -> None:
    seen = Seen()
    for host in ("a.one.example", "b.one.example", "two.example"):
        _intercepted(seen, trusted=True, host=host)
    assert seen.beliefs.network_state(HOME) is NetworkState.OK
    seen.on_control_answer(ConnectivityResult.RESIGNED, CONTROL, issuer=FINGERPRINT)

    assert seen.beliefs.network_state(HOME) is NetworkState.INSPECTED
    _intercepted(seen, host="three.example")
    assert seen.beliefs.all(now=seen.now) == []


def test_without_a_control_among_them_it_is_no_office() -> None:
    seen = Seen()
    for number in range(9):
        _intercepted(seen, trusted=True, host=f"site{number}.example")

    assert seen.beliefs.network_state(HOME) is NetworkState.OK


# -- refusals ----------------------------------------------------------------------------------------------------------


def _answer(seen: Seen, route: Route, status: int) -> None:
    answer = replace(delivered(route), evidence={"status": status})
    seen.learn(outcome(answer, host=HOST, at=seen.now, protocol=Protocol.HTTP))


@pytest.mark.parametrize("status", [403, 429, 451])
def test_a_route_that_is_not_refused_is_preferred_for_two_hours(status: int) -> None:
    seen = Seen()
    _answer(seen, TOR, 200)
    assert seen.state() is State.UNKNOWN
    _answer(seen, DIRECT, status)
    assert seen.state() is State.WORKS  # it was not known that the relay is let in
    _answer(seen, TOR, 200)
    held = seen.held()
    assert (held.state, held.cause, held.last_good) == (State.SUSPECT, "refused", "tor")
    assert held.score == 0.0

    assert seen.after(7199).state() is State.SUSPECT
    assert seen.after(2).state() is State.UNKNOWN


def test_a_site_that_refuses_and_is_then_blocked_has_a_way_back() -> None:
    seen = Seen()
    _answer(seen, DIRECT, 403)
    _answer(seen, TOR, 200)
    assert (seen.held().cause, seen.held().retest_at) == ("refused", 0.0)

    seen.after(1000).rescued(HOST)
    seen.works(OTHER)
    held = seen.held()
    assert (held.state, held.cause, held.since, held.retest_at) == (
        State.SUSPECT, "sni_reset", seen.now, seen.now + 120,
    )  # fmt: skip


def test_refused_by_every_route_is_the_sites_right() -> None:
    seen = Seen()
    _answer(seen, DIRECT, 403)
    _answer(seen, TOR, 403)
    assert (seen.held().state, seen.held().cause) == (State.REFUSED, "refused")
    assert seen.changes == []

    _answer(seen.after(60), DIRECT, 200)
    assert seen.state() is State.WORKS


def test_a_site_that_refuses_one_page_is_not_taken_to_refuse_direct() -> None:
    seen = Seen()
    for status in (200, 403, 200):
        _answer(seen, DIRECT, status)
    _answer(seen, TOR, 200)
    assert seen.state() is State.WORKS


def test_a_relay_that_is_refused_where_direct_is_not_changes_nothing() -> None:
    seen = Seen()
    _answer(seen, DIRECT, 200)
    _answer(seen, TOR, 403)

    assert seen.state() is State.WORKS
