"""Groups of relays that die, are silent, slow down and come back, in the lab: each visit comes through the right relay.
`python -m tests.lab.relay_groups` runs the rows that take minutes as well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.lab import relay_groups
from tests.lab.relay_groups import ROWS, Row, Trial

pytestmark = [pytest.mark.waits, pytest.mark.slow]

QUICK = [row for row in ROWS if not row.takes_minutes]


@pytest.fixture(scope="module")
def trials() -> Mapping[str, Trial]:
    return {trial.row: trial for trial in asyncio.run(relay_groups.run(QUICK))}


@pytest.mark.namespaces
@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.name)
def test_visits_come_through_the_relay_that_the_policy_says(trials: Mapping[str, Trial], row: Row) -> None:
    assert trials[row.name].broken(row) == []


def test_what_is_not_kept_is_told() -> None:
    row = ROWS[0]
    assert Trial(row.name, (("a", "a"), ("b", "b")), "ab").broken(row) == []
    assert Trial(row.name, (("a", "a"), ("b", "")), "acb").broken(row) == [
        "page 2 came through none, not b",
        "a c b led, not a b",
    ]
