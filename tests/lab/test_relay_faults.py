"""Each fault of a relay in a real Byway, once: the page comes, by the way in the table. `python -m tests.lab.run
'relay-*' --seeds 20` measures the waits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping

import pytest

from tests.lab import relay_faults
from tests.lab.relay_faults import ROWS, Row, Trial, broken, table
from tests.lab.run import chosen_faults
from tests.lab.scenarios import Way

pytestmark = [pytest.mark.waits, pytest.mark.slow]

AT_ONCE = 8

# The control: no strategy passes a censor who puts records together, so with a relay that is gone no page comes.
NO_WAY = dataclasses.replace(
    next(row for row in ROWS if row.name == "relay-gone-reset"), name="control", censor=relay_faults.resets
)


@pytest.fixture(scope="module")
def trials() -> Mapping[str, list[Trial]]:
    made = asyncio.run(relay_faults.run((*ROWS, NO_WAY), 1, countries=AT_ONCE, told=lambda text: None))
    return {row.name: [trial for trial in made if trial.row == row.name] for row in (*ROWS, NO_WAY)}


@pytest.mark.namespaces
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_page_that_can_come_comes(trials: Mapping[str, list[Trial]], row: Row) -> None:
    assert not broken(row, trials[row.name], waits=False), trials[row.name]


@pytest.mark.namespaces
def test_a_page_that_cannot_come_does_not(trials: Mapping[str, list[Trial]]) -> None:
    assert "pages came in 0 of 1" in broken(NO_WAY, trials[NO_WAY.name], waits=False)[0]


def test_a_bound_that_is_not_kept_is_told() -> None:
    row = ROWS[0]
    late, lost = Trial(row.name, 0, True, Way.RELAY, row.wait_s + 1, "200"), Trial(row.name, 1, False, Way.NONE, 9, "?")
    elsewhere = Trial(row.name, 2, True, Way.DIRECT, 0.0, "200")
    assert broken(row, [late]) == [
        f"an added wait of {row.wait_s + 1:.2f} s, bound {row.wait_s:g} s and 0.2 s of slack"
    ]
    assert broken(row, [late], waits=False) == []
    assert broken(row, [lost, late], waits=False) == ["pages came in 1 of 2: ?"]
    assert broken(row, [elsewhere]) == ["by direct in 1 of 1, not by relay"]
    assert "pages came in 1 of 2" in table([row], [lost, late])


def test_faults_are_chosen_by_pattern() -> None:
    assert chosen_faults([]) == list(ROWS)
    assert {row.name for row in chosen_faults(["relay-gone-*"])} == {"relay-gone-drop", "relay-gone-reset"}
