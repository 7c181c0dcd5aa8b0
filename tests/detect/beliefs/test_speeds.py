"""When the speed of direct is compared with that of another route, and what the comparisons teach: a site that is slow
for everybody is never called throttled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.events import ComputerResumed, OpenMeasured, Retested, SpeedNotShown, SpeedsCompared
from proxy.model import Cause, Protocol, Route, SignalId, State
from tests.detect.seen import Seen
from tests.support.outcomes import AWAY, HOME, HOST, TOR, VPS, restrict
from tests.support.rows import each_row

TLSREC, SPLIT = Route(wrap=("tlsrec",)), Route(wrap=("split",))
HOUR, DAY = 3600.0, 86_400.0
FASTER = SpeedsCompared(HOST, "203.0.113.5:443", Protocol.TLS, 130_000.0, TOR, 390_000.0)
ALIKE = replace(FASTER, bytes_s=389_999.0)


FREQUENT = DetectTuning(compared_per_day=100, compared_per_hour=100, retest_per_hour=100)
"""Many comparisons are due."""
ANY_HOST = DetectTuning(compared_per_hour=100)


def compared(seen: Seen, *events: SpeedsCompared, apart_s: float = 61.0) -> None:
    for event in events:
        due(seen.after(apart_s), event.route, host=event.host)
        seen.changes += seen.beliefs.learn(event, network=HOME, now=seen.now)


def due(seen: Seen, *routes: Route, host: str = HOST) -> Route | None:
    return seen.beliefs.speed_check_due(host, routes or (TOR,), network=HOME, now=seen.now)


# -- what they teach ---------------------------------------------------------------------------------------------------


def test_a_relay_that_is_much_faster_twice_is_taken() -> None:
    seen = Seen()
    seen.works(HOST)
    compared(seen, FASTER)
    assert seen.state() is State.WORKS, "one moment shows little"
    compared(seen, FASTER)
    belief = seen.held()
    assert (belief.state, belief.cause, belief.last_good) == (State.SUSPECT, Cause.THROTTLED, "tor")
    assert belief.score == DetectTuning().weights.throttled
    assert belief.why == (
        "direct carried 130 kB/s and tor 390 kB/s, the second time in a row"
        f" ({SignalId.THROTTLED}, weight {belief.score:g})"
    )


INNOCENT: dict[str, Sequence[SpeedsCompared]] = {
    "a slow server": [ALIKE] * 9,
    "a relay that is faster once": [FASTER, ALIKE, FASTER, ALIKE],
    "different relays, once each": [FASTER, replace(FASTER, route=VPS), FASTER, replace(FASTER, route=VPS)],
}


@each_row("events", INNOCENT.values(), ids=INNOCENT)
def test_what_is_no_faster_twice_in_a_row_teaches_nothing(events: Sequence[SpeedsCompared]) -> None:
    seen = Seen(FREQUENT)
    compared(seen, *events)
    assert seen.state() is State.UNKNOWN


def test_the_two_are_a_minute_apart() -> None:
    seen = Seen()
    compared(seen, FASTER)
    compared(seen, FASTER, FASTER, apart_s=29.0)
    assert seen.state() is State.UNKNOWN
    compared(seen, FASTER, apart_s=2.0)
    assert seen.state() is State.SUSPECT


def test_the_two_are_within_a_day() -> None:
    seen = Seen(FREQUENT)
    compared(seen, FASTER, FASTER, apart_s=DAY)
    assert seen.state() is State.UNKNOWN
    compared(seen, FASTER)
    assert seen.state() is State.SUSPECT


def test_one_while_nothing_is_learned_is_none() -> None:
    seen = Seen()
    due(seen)
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    seen.beliefs.learn(FASTER, network=HOME, now=seen.now)
    compared(seen, FASTER)
    assert seen.state() is State.UNKNOWN
    compared(seen, FASTER)
    assert seen.state() is State.SUSPECT


def test_what_was_forgotten_while_it_was_compared_does_not_come_back() -> None:
    seen = Seen()
    compared(seen, FASTER)
    due(seen.after(61))
    seen.beliefs.forget(HOST)
    seen.beliefs.learn(FASTER, network=HOME, now=seen.now)
    seen.beliefs.note(SpeedNotShown(HOST), network=HOME, now=seen.now)
    assert not seen.beliefs._state.speeds


def test_the_two_are_of_one_network() -> None:
    seen = Seen()
    compared(seen, FASTER)
    seen.after(61)
    seen.beliefs.speed_check_due(HOST, (TOR,), network=AWAY, now=seen.now)
    seen.beliefs.learn(FASTER, network=AWAY, now=seen.now)
    assert (seen.state(), seen.held(network=AWAY).state) == (State.UNKNOWN, State.UNKNOWN)


def test_a_strategy_that_is_much_faster_is_taken_and_says_nothing_of_its_prefix() -> None:
    seen = Seen(FREQUENT)
    for number in range(3):
        by_strategy = replace(FASTER, route=TLSREC, host=f"www.site{number}.test")
        compared(seen, by_strategy, by_strategy)
        assert seen.held(by_strategy.host).last_good == "direct|tlsrec"
    assert not seen.beliefs.prefixes


def test_three_throttled_hosts_stand_for_their_prefix() -> None:
    seen = Seen(FREQUENT)
    for number in range(3):
        by_relay = replace(FASTER, host=f"www.site{number}.test")
        compared(seen, by_relay, by_relay)
    assert [key[1] for key in seen.beliefs.prefixes] == ["203.0.113.0/24"]


def test_nothing_is_learned_while_the_network_is_at_fault() -> None:
    seen = Seen()
    restrict(seen.beliefs, now=seen.now)
    compared(seen, FASTER, FASTER)
    assert seen.state() is not State.SUSPECT
    seen = Seen(near=[HOST])
    compared(seen, FASTER, FASTER)
    assert seen.state() is State.UNKNOWN


def test_after_the_second_it_takes_two_more() -> None:
    seen = Seen(FREQUENT)
    compared(seen, FASTER, FASTER)
    seen.beliefs.learn(Retested(HOST, direct_ok=True, other_ok=True), network=HOME, now=seen.now)
    assert seen.state() is State.WORKS
    compared(seen, FASTER)
    assert seen.state() is State.WORKS
    compared(seen, FASTER)
    assert seen.state() is State.SUSPECT


def test_a_measurement_that_opens_it_shows_nothing_of_its_speed() -> None:
    seen = Seen()
    compared(seen, FASTER, FASTER)
    seen.beliefs.learn(OpenMeasured(HOST, Protocol.TLS, "203.0.113.5:443"), network=HOME, now=seen.now)
    assert seen.state() is State.SUSPECT


# -- when they are due -------------------------------------------------------------------------------------------------


def test_two_a_day_and_a_minute_apart() -> None:
    seen = Seen(ANY_HOST)
    assert due(seen) == TOR
    assert due(seen.after(59)) is None
    assert due(seen.after(1)) == TOR
    assert due(seen.after(HOUR)) is None
    assert due(seen, host="other.test") == TOR
    assert due(seen.after(DAY - HOUR - 61)) is None
    assert due(seen.after(1)) == TOR
    assert due(seen.after(60)) == TOR
    assert due(seen.after(60)) is None


def test_the_hosts_of_one_domain_have_two_a_day_together() -> None:
    seen = Seen(ANY_HOST)
    assert [due(seen.after(61), host=f"rr{number}.cdn.test") for number in range(3)] == [TOR, TOR, None]
    assert due(seen, host="www.other.test") == TOR


def test_one_an_hour_besides_the_second_of_a_host() -> None:
    seen = Seen()
    assert [due(seen, host=host) for host in (HOST, "www.one.test", "www.two.test")] == [TOR, None, None]
    seen.beliefs.learn(FASTER, network=HOME, now=seen.now)
    assert due(seen.after(61), host="www.one.test") is None
    assert due(seen) == TOR
    assert due(seen.after(HOUR), host="www.one.test") == TOR


@each_row(("spent", "found"), [(3, TOR), (4, None)])
def test_most_of_the_hourly_budget_is_left_for_re_tests(spent: int, found: Route | None) -> None:
    seen = Seen()
    for number in range(spent):
        assert seen.beliefs.proof_due(f"silent{number}.test", network=HOME, now=seen.now)
    assert due(seen) == found
    left = [seen.beliefs.proof_due(f"other{number}.test", network=HOME, now=seen.now) for number in range(3)]
    assert left == [True, True, False], "and it takes one"
    assert due(seen.after(HOUR)) == TOR


def test_a_domain_whose_page_shows_no_speed_is_left_alone_for_a_day() -> None:
    seen = Seen(FREQUENT)
    assert due(seen) == TOR
    seen.beliefs.note(SpeedNotShown(HOST), network=HOME, now=seen.now)
    assert due(seen.after(DAY - 1), host=f"other.{HOST}") is None
    assert due(seen, host="www.other.test") == TOR
    assert due(seen.after(1), host=f"other.{HOST}") == TOR


def test_none_for_a_host_in_trouble_without_another_route_or_where_nothing_is_learned() -> None:
    seen = Seen(near=["printer.home.arpa"])
    assert seen.beliefs.speed_check_due(HOST, (), network=HOME, now=seen.now) is None
    assert due(seen, host="printer.home.arpa") is None
    seen.rescued()
    assert due(seen) is None
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    assert due(seen, host="other.test") is None


def test_the_route_that_was_faster_is_compared_again_and_then_the_next_one() -> None:
    seen = Seen(FREQUENT)
    routes = (TOR, VPS)

    def next_one() -> Route | None:
        return due(seen.after(61), *routes)

    assert next_one() == TOR
    compared(seen, ALIKE)
    assert next_one() == VPS
    compared(seen, replace(FASTER, route=VPS))
    assert next_one() == VPS, "once more"
    assert due(seen.after(61), TOR) == TOR, "it is no relay any more"
    compared(seen, replace(ALIKE, route=VPS))
    assert next_one() == TOR
    compared(seen, ALIKE)
    assert next_one() == TOR, "all were compared"
