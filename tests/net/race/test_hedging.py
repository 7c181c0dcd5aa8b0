"""When the next route starts beside one that is under way: by the kernel's word, by the clock, or at once."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Route
from proxy.net.kernel.tcp_info import Reading, Snapshot, TcpInfo
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.hedging import HedgePolicy
from proxy.net.race.shared_findings import SharedFindings

HOST = "blog.example"
RELAY = Route(("vps",))
FLOWN_AT = 100.0


class Kernel:
    """An oracle that says what it was told to."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def since(self, sock: object, snapshot: Snapshot) -> Reading:
        return self.reading


class Path:
    lowest_socket = None
    peer = "198.51.100.7:443"


def dialing(route: Route = DIRECT) -> Candidate:
    return Candidate(route, FLOWN_AT)


def flying(route: Route = DIRECT, *, rtt_s: float = 0.1, told: bool = True, resolved_s: float = 0.0) -> Candidate:
    candidate = Candidate(route, FLOWN_AT - rtt_s - resolved_s)
    candidate.phase = Phase.AWAITING_ANSWER
    candidate.connected_at = candidate.flight_sent_at = FLOWN_AT
    candidate.syn_at = FLOWN_AT - rtt_s if resolved_s else 0.0
    candidate.stream = cast(Any, Path())
    candidate.snapshot = Snapshot(0, 0) if told else None
    return candidate


def hedging(reading: Reading | None = None, findings: SharedFindings | None = None) -> HedgePolicy:
    return HedgePolicy(cast(TcpInfo, Kernel(reading or Reading())), DetectTuning(), findings)


def first_dropped(candidate: Candidate, reading: Reading) -> float:
    """Seconds after the flight, or the start, to a tenth; 99.9: never."""
    with_it = hedging(reading)
    return next((n / 10 for n in range(999) if with_it.hedge_at(candidate, HOST, at := FLOWN_AT + n / 10) <= at), 99.9)


SLOW = Reading(acked=True, rtt_s=0.1)
FAR = Reading(acked=True, rtt_s=1.0)
LOST_ONE = Reading(retransmits=1, unacked=1, rtt_s=0.1)
DROPPED = Reading(retransmits=2, unacked=1, rtt_s=0.1)
RECOVERED = Reading(retransmits=2, unacked=0, rtt_s=0.1)


@pytest.mark.parametrize(
    ("candidate", "reading", "after"),
    [
        (dialing(), SLOW, 1.5),
        (dialing(Route(wrap=("tlsrec",))), SLOW, 1.5),
        (dialing(RELAY), SLOW, 3.0),
        (flying(), SLOW, 3.0),
        (flying(), FAR, 4.0),
        (flying(), LOST_ONE, 3.0),  # the timeout may be long, after a SYN-ACK that came late
        (flying(), DROPPED, 0.2),
        (flying(), RECOVERED, 99.9),
        (flying(told=False), SLOW, 1.4),
        (flying(told=False, resolved_s=1.3), SLOW, 1.4),
        (flying(RELAY, told=False), SLOW, 3.0),
        (flying(RELAY, rtt_s=2.0, told=False), SLOW, 8.0),
    ],
)
def test_how_long_each_is_waited_for(candidate: Candidate, reading: Reading, after: float) -> None:
    assert first_dropped(candidate, reading) == pytest.approx(after, abs=0.11)


WITH_RELAY = (DIRECT, RELAY)


@pytest.mark.parametrize(
    ("last_host", "ago", "others_ago", "reading", "routes", "after"),
    [
        ("other.example", 10.0, math.inf, SLOW, WITH_RELAY, 1.0),
        ("other.example", 10.0, math.inf, FAR, WITH_RELAY, 4.0),  # four round trips
        ("other.example", 10.0, math.inf, LOST_ONE, WITH_RELAY, 3.0),  # not acknowledged: another clock
        (HOST, 10.0, math.inf, SLOW, WITH_RELAY, 3.0),  # it is no other host
        (HOST, 10.0, 20.0, SLOW, WITH_RELAY, 1.0),
        (HOST, 10.0, 3601.0, SLOW, WITH_RELAY, 3.0),
        ("other.example", 3601.0, math.inf, SLOW, WITH_RELAY, 3.0),
        ("other.example", 10.0, math.inf, SLOW, (DIRECT, Route(wrap=("tlsrec",))), 3.0),  # no relay may be next
    ],
)
def test_an_address_that_answers_other_hosts_is_waited_for_less(
    last_host: str, ago: float, others_ago: float, reading: Reading, routes: tuple[Route, ...], after: float
) -> None:
    findings = SharedFindings(lambda: FLOWN_AT)
    findings.answered[Path.peer] = last_host, FLOWN_AT - ago, FLOWN_AT - others_ago
    policy, candidate = hedging(reading, findings), flying()
    times = (n / 10 for n in range(999))
    found = next(n for n in times if policy.hedge_at(candidate, HOST, FLOWN_AT + n, routes) <= FLOWN_AT + n)
    assert found == pytest.approx(after, abs=0.11)


@pytest.mark.parametrize("candidate", [dialing(), flying(), flying(RELAY, told=False)])
def test_time_is_looked_at_when_it_may_change_something(candidate: Candidate) -> None:
    reading = SLOW
    assert FLOWN_AT < hedging(reading).hedge_at(candidate, HOST, FLOWN_AT) <= FLOWN_AT + 3


def test_an_alarm_ends_the_wait_for_direct_alone() -> None:
    findings = SharedFindings(lambda: FLOWN_AT)
    findings.mark_down(HOST)
    told = hedging(SLOW, findings)
    assert told.hedge_at(flying(), HOST, FLOWN_AT) <= FLOWN_AT
    assert told.hedge_at(dialing(), HOST, FLOWN_AT) <= FLOWN_AT
    assert told.hedge_at(flying(Route(wrap=("tlsrec",))), HOST, FLOWN_AT) > FLOWN_AT
    assert told.hedge_at(dialing(RELAY), HOST, FLOWN_AT) > FLOWN_AT


def test_an_answer_that_has_begun_is_waited_for_a_moment_and_no_longer() -> None:
    candidate = flying()
    candidate.answer_due_at = FLOWN_AT + 1 + DetectTuning().page_hold_s
    assert hedging(DROPPED).hedge_at(candidate, HOST, FLOWN_AT + 50) > FLOWN_AT + 50
    assert hedging().hedge_at(candidate, HOST, FLOWN_AT + 1) == FLOWN_AT + 1.5


def test_what_looked_dropped_and_has_recovered_is_waited_for_again() -> None:
    candidate = flying()
    candidate.hedged_at = FLOWN_AT + 1
    assert hedging(DROPPED).hedge_at(candidate, HOST, FLOWN_AT + 1) <= FLOWN_AT + 1
    assert hedging(SLOW).hedge_at(candidate, HOST, FLOWN_AT + 1) > FLOWN_AT + 1


@pytest.mark.parametrize(("rto_s", "after"), [(0.2, 3.0), (1.5, 6.0), (7.2, 7.0)])
def test_a_drop_is_judged_by_the_kernels_own_timeout_and_no_later_than_silence(rto_s: float, after: float) -> None:
    reading = Reading(retransmits=2, unacked=1, rto_s=rto_s)
    assert hedging(reading).dropped_at(flying()) == FLOWN_AT + after
    assert hedging(reading).unacknowledged(flying())
    assert not hedging(RECOVERED).unacknowledged(flying())
    assert not hedging(reading).unacknowledged(flying(told=False))


def test_what_the_kernel_said_is_kept_as_evidence() -> None:
    candidate = flying()
    hedging(DROPPED).hedge_at(candidate, HOST, FLOWN_AT + 1)
    assert candidate.evidence == {"retransmits": 2, "unacked": 1, "acknowledged": 0, "rtt_ms": 100.0}
    candidate = flying()
    hedging(Reading(acked=True, rtt_s=0.1, out_of_order=1)).hedge_at(candidate, HOST, FLOWN_AT + 1)
    assert candidate.evidence["out_of_order"] == 1
