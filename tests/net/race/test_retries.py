"""When a relay that failed is tried again: by one race, and by all of them together."""

from __future__ import annotations

import random

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Route, Stage, Symptom
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate
from proxy.net.race.retries import Retries, RetrySchedule

RELAY = Route(("vps",))
STEADY = DetectTuning(relay_backoff_jitter=0.0)


def schedule(detect: DetectTuning = STEADY) -> RetrySchedule:
    return RetrySchedule(detect, rng=random.Random(1))


def failed(route: Route = RELAY, symptom: Symptom = Symptom.RELAY_DOWN, stage: Stage = Stage.CONNECT) -> Candidate:
    candidate = Candidate(route, 100.0)
    candidate.failed(stage, symptom, "", 100.0)
    return candidate


@pytest.mark.parametrize(
    ("candidate", "again"),
    [
        (failed(), True),
        (failed(symptom=Symptom.TIMEOUT, stage=Stage.RELAY), True),
        (failed(symptom=Symptom.TIMEOUT, stage=Stage.FIRST_BYTE), False),
        (failed(symptom=Symptom.RELAY_AUTH, stage=Stage.RELAY), False),
        (failed(symptom=Symptom.RELAY_REFUSED, stage=Stage.RELAY), False),
        (failed(symptom=Symptom.RELAY_GARBAGE, stage=Stage.RELAY), False),
        (failed(symptom=Symptom.SKIPPED), False),
        (failed(symptom=Symptom.LOCAL), False),
        (failed(DIRECT, symptom=Symptom.TIMEOUT), False),
    ],
)
async def test_what_failed_on_its_way(candidate: Candidate, again: bool) -> None:
    assert candidate.failed_on_its_way is again
    retries = Retries(schedule(), STEADY, Notify())
    assert (retries.due_at(candidate) is not None) is again


async def test_waits_grow_and_end() -> None:
    retries, candidate, now, waits = Retries(schedule(), STEADY, Notify()), failed(), 100.0, []
    while True:
        retries.failed(RELAY.relays, now)
        due_at = retries.due_at(candidate)
        if due_at is None:
            break
        waits.append(round(due_at - now, 1))
        now = due_at
        retries.started(RELAY.relays, now)
    assert tuple(waits) == STEADY.relay_retry_s


async def test_races_wait_for_each_other() -> None:
    shared = schedule()
    one, two = Retries(shared, STEADY, Notify()), Retries(shared, STEADY, Notify())
    one.failed(RELAY.relays, 100.0)
    two.failed(RELAY.relays, 100.2)
    assert one.due_at(failed()) == two.due_at(failed()) == 101.2
    one.started(RELAY.relays, 101.2)
    assert two.due_at(failed()) == 102.2
    assert shared.due_at(("tor",)) == 0.0, "of another relay nothing is known"


async def test_a_relay_that_is_back_is_free_for_all_who_wait_and_they_hear_of_it() -> None:
    shared, notify, gone = schedule(), Notify(), Notify()
    waiting = Retries(shared, STEADY, notify)
    waiting.failed(RELAY.relays, 100.0)
    left = Retries(shared, STEADY, gone)
    left.failed(RELAY.relays, 100.0)
    shared.waiting.discard(gone)  # as a race does that is over
    shared.opened(RELAY.relays, 0.1)
    assert waiting.due_at(failed()) == 101.0, "a second after its own failure, which is over for all who wait longer"
    assert notify._is_set
    assert not gone._is_set


def test_jitter_makes_waits_longer_never_shorter() -> None:
    shared = schedule(DetectTuning())
    waits = []
    for start in range(0, 50_000, 1000):
        shared.failed(RELAY.relays, float(start))
        waits.append(shared.due_at(RELAY.relays) - start)
    assert min(waits) >= 1.0
    assert 1.2 < max(waits) <= 1.3


def test_a_young_outage_is_waited_out_and_an_old_one_is_not() -> None:
    shared = schedule()
    for second in range(0, 90, 10):
        shared.failed(RELAY.relays, 100.0 + second)
        assert shared.is_recent(RELAY.relays, 100.0 + second) is (second < 30)
    shared.failed(RELAY.relays, 1000.0)
    assert shared.is_recent(RELAY.relays, 1000.0), "after so long another outage has begun"
    shared.opened(RELAY.relays, 0.1)
    assert shared.is_recent(RELAY.relays, 1000.0)


async def test_a_silent_relay_is_tried_again_beside_the_silent_try() -> None:
    retries = Retries(schedule(), STEADY, Notify())
    assert retries.due_at(Candidate(RELAY, 100.0)) == 110.0


def test_as_long_as_none_of_many_relays_has_delivered_those_that_were_tried_come_last() -> None:
    shared = schedule()
    routes = (DIRECT, *(Route((name,)) for name in "abcde"))

    def order() -> str:
        arranged = shared.arranged(routes)
        assert arranged[0] == DIRECT, "others keep their places"
        return "".join(route.relays[0] for route in arranged[1:])

    assert order() == "abcde"
    shared.tried(("b",), 101.0)
    shared.tried(("a",), 102.0)
    assert order() == "cdeba"
    shared.opened(("d",), 0.1)
    assert order() == "cdeba", "an expired key opens too"
    shared.delivered(("d",))
    assert order() == "adceb", "the first one is the group's choice"
    shared.tried(("d",), 103.0)
    shared.tried(("c",), 104.0)
    assert order() == "adebc", "what has delivered keeps its place, and visits go on with the others"
