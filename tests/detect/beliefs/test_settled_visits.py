"""Visits that a relay serves as it did before are not read as a whole: they teach nothing. Each thing because of which
the next one might teach something, alone, has it read.

That they teach nothing in any history is in `tests/session/test_kept_plans.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.transitions import RENEW_S
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Attempt, Outcome, Protocol, State, Symptom, as_evidence
from tests.detect.beliefs.history import T0
from tests.support.outcomes import (
    HOME,
    HOST,
    TOR,
    VPS,
    delivered,
    failed,
    open_uplink,
    outcome,
    pending,
    rescued,
    restrict,
)
from tests.support.rows import each_row

PROOF_BYTES = DetectTuning().proof_bytes


class Visits:
    """Visits to one host, and how many of them were read as a whole."""

    def __init__(self) -> None:
        self.beliefs = Beliefs(DetectTuning())
        open_uplink(self.beliefs, now=T0 - 60.0)  # something is known of the network
        self.now = T0
        self.read = 0
        results = self.beliefs._state.results
        learning = results.learn

        def learn(seen: Outcome, *given: Any, **named: Any) -> None:
            self.read += seen.host == HOST
            learning(seen, *given, **named)

        results.learn = learn  # type: ignore[method-assign, assignment]

    def is_read(self, seen: Outcome) -> bool:
        """Whether this visit, now, was read as a whole."""
        before = self.read
        self.learn(seen)
        return self.read > before

    def learn(self, seen: Outcome) -> None:
        self.beliefs.learn(replace(seen, at=self.now - 0.2), network=HOME, now=self.now)


def relayed(attempt: Attempt | None = None, **more: Any) -> Outcome:
    return outcome(attempt or delivered(TOR), **more)


def said(**evidence: float) -> Attempt:
    return replace(delivered(TOR), evidence=as_evidence(evidence))


def on_restricted_network(visits: Visits) -> None:
    restrict(visits.beliefs, now=visits.now)


def measure(visits: Visits) -> None:
    """A bad certificate, which a delivered tunnel does not contradict."""
    found = LastResult(SiteStatus.BAD_CERTIFICATE, visits.now, Source.MEASUREMENT)
    visits.beliefs.measured(HOST, found, network=HOME)


def later(seconds: float) -> Callable[[Visits], None]:
    def pass_time(visits: Visits) -> None:
        visits.now += seconds

    return pass_time


def nothing(visits: Visits) -> None:
    pass


def test_only_the_first_of_equal_visits_is_read() -> None:
    visits = Visits()
    assert visits.is_read(relayed())
    for seconds in (0.0, 5.0, RENEW_S - 6.0):
        visits.now += seconds
        assert not visits.is_read(relayed())
        assert not visits.is_read(relayed(said(opened_s=0.1)))


@each_row(
    ("between", "seen"),
    [
        pytest.param(later(RENEW_S), relayed(), id="a minute later"),
        pytest.param(
            lambda visits: restrict(visits.beliefs, now=visits.now),
            relayed(),
            id="what is believed of its network has changed",
        ),
        pytest.param(
            lambda visits: visits.learn(rescued(host="www.other.example")), relayed(), id="the signal of a site waits"
        ),
        pytest.param(nothing, relayed(delivered(VPS)), id="by another relay"),
        pytest.param(nothing, relayed(protocol=Protocol.HTTP), id="of another protocol"),
        pytest.param(nothing, relayed(port=8443), id="at another port"),
        pytest.param(nothing, relayed(bytes_down=PROOF_BYTES), id="its bytes prove that relays carry more"),
        pytest.param(nothing, relayed(said(status=451)), id="it is refused"),
        pytest.param(nothing, relayed(said(opened_s=0.1, status=200)), id="its status is known"),
        pytest.param(nothing, relayed(pending(TOR), winner=TOR), id="nothing has come back yet"),
        pytest.param(nothing, relayed(replace(delivered(TOR), symptom=Symptom.RESET)), id="it broke off"),
        pytest.param(
            nothing, outcome(failed(Symptom.SILENT, route=VPS), delivered(TOR)), id="another relay was tried before"
        ),
        pytest.param(
            lambda visits: visits.learn(relayed(bytes_down=PROOF_BYTES)), relayed(), id="another one came between"
        ),
    ],
)
def test_the_next_one_is_read(between: Callable[[Visits], None], seen: Outcome) -> None:
    visits = Visits()
    visits.learn(relayed())
    assert not visits.is_read(relayed())
    between(visits)
    assert visits.is_read(seen)


@each_row(
    ("before", "first"),
    [
        pytest.param(on_restricted_network, relayed(), id="on a network that is restricted"),
        pytest.param(lambda visits: visits.learn(relayed(said(status=451))), relayed(), id="it was refused before"),
        pytest.param(measure, relayed(), id="it was measured"),
        pytest.param(nothing, relayed(bytes_down=PROOF_BYTES), id="its bytes proved something"),
        pytest.param(nothing, relayed(replace(delivered(TOR), symptom=Symptom.RESET)), id="it broke off"),
        pytest.param(nothing, outcome(failed(Symptom.SILENT, route=VPS), delivered(TOR)), id="two relays were tried"),
        pytest.param(
            nothing, outcome(delivered(TOR), failed(Symptom.ABANDONED, route=VPS)), id="another one was tried beside it"
        ),
    ],
)
def test_one_like_it_is_read_where_the_first_taught_something(before: Callable[[Visits], None], first: Outcome) -> None:
    visits = Visits()
    before(visits)
    visits.learn(first)
    assert visits.is_read(relayed())


def test_it_is_read_once_a_suspicion_is_over() -> None:
    visits = Visits()
    open_uplink(visits.beliefs, now=visits.now)
    visits.learn(rescued(Symptom.SILENT))
    until = visits.beliefs.lookup(HOST, network=HOME, now=visits.now).until
    visits.now = until - 1.0
    assert visits.beliefs.lookup(HOST, network=HOME, now=visits.now).state is State.SUSPECT
    visits.learn(relayed())
    assert not visits.is_read(relayed())
    visits.now = until + 0.5
    assert visits.is_read(relayed())
