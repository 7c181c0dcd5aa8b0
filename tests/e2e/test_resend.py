"""No flight that may not be sent twice is: counted at relays and at the origin. A thousand times it is
`python -m tests.e2e.resend`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import pytest

from proxy.wire.flight import Flight
from tests.e2e import resend
from tests.e2e.resend import Counts, Kind, Visit

pytestmark = [pytest.mark.waits, pytest.mark.slow]

VISITS = 50
_ROUNDS_MAX = 6
"""On a busy machine the relays open few paths in the time of a visit, and a round may go by in which no GET was sent
again."""

Round = tuple[list[Visit], Counts]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> list[Round]:
    """Rounds of visits, until one has the control in it."""
    rounds: list[Round] = []
    for seed in range(1, _ROUNDS_MAX + 1):
        made = resend.visits(VISITS, random.Random(seed))
        counts = asyncio.run(resend.count(made, seed=seed, folder=tmp_path_factory.mktemp("resend")))
        rounds.append((made, counts))
        if counts.twice([visit for visit in made if not visit.kind.once]):
            break
    return rounds


def test_F90_what_may_be_sent_once_is_sent_once(counted: list[Round]) -> None:
    for made, counts in counted:
        once = [visit for visit in made if visit.kind.once]
        assert counts.twice(once) == [], resend.report(made, counts)
        assert sum(counts.at_relays[visit.host] for visit in once) > 5, "they did come"
        assert any(visit.number in counts.answered for visit in once)


def test_the_control_what_may_be_sent_again_is(counted: list[Round]) -> None:
    made, counts = counted[-1]
    assert counts.twice([visit for visit in made if not visit.kind.once]), resend.report(made, counts)


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_is_what_it_says(kind: Kind) -> None:
    flight = Flight()
    flight.receive_data(Visit(1, kind, direct=False).flight)
    assert flight.replayable is not kind.once


@pytest.mark.parametrize("arrived", [{"at_relays": "visit-1.relayed.test"}, {"at_origin": 1}])
def test_a_flight_that_came_twice_is_counted_wherever_it_came(arrived: Mapping[str, str | int]) -> None:
    visit, counts = Visit(1, Kind.POST, direct=False), Counts()
    ((where, key),) = arrived.items()
    getattr(counts, where)[key] = 1
    assert counts.twice([visit]) == []
    getattr(counts, where)[key] = 2
    assert counts.twice([visit]) == [visit]
