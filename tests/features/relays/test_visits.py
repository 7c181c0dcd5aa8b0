"""What the log says of relays, put together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.config.schema import Log
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.features.relays.visits import RelayVisits, read_visits, together
from proxy.model import Stage, Symptom, as_evidence
from proxy.store.store import Store
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(None, Log(hosts="all"))
    made.start()
    yield made
    made.close()


def test_visits_of_the_last_day_their_handshake_and_the_last_fault_of_any_day(store: Store) -> None:
    now = time.time()
    for age_s, opened_s in ((100_000, 9.0), (50, 0.1), (40, 0.3), (30, 0.2)):
        store.record(outcome(replace(delivered(TOR), evidence={"opened_s": opened_s}), at=now - age_s), network=HOME)
    wrong = replace(failed(Symptom.RELAY_AUTH, Stage.RELAY, VPS, error="407"), evidence=as_evidence({}))
    store.record(outcome(wrong, delivered(TOR), at=now - 90_000), network=HOME)
    assert store.flush()
    visits = store.read(lambda db: read_visits(db, now))
    assert visits["tor"] == RelayVisits(delivered=3, failed=0, handshake_s=0.2)
    noted = NotedFault(RelayFault.CREDENTIALS_REFUSED, now - 90_000, now - 90_000, "407")
    assert visits["vps"] == RelayVisits(last_fault=noted)


def test_a_group_has_the_visits_of_all_its_members() -> None:
    each = [RelayVisits(9, 1, 0.2), RelayVisits(), RelayVisits(1, 4, 0.6), RelayVisits(2, 0, 0.3)]
    assert together(each) == RelayVisits(12, 5, 0.3)
    assert together([]) == RelayVisits()
