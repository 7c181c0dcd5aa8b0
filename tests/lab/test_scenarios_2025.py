"""The rows of `scenarios_2025` and `scenarios_dns` in a real Byway, once: those that `test_scenarios` leaves out,
since they have more visits or a network of their own.

`python -m tests.lab.run` repeats them, with the waits, at other scales and under other conditions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.lab import scenarios_2025, scenarios_dns, trials
from tests.lab.judging import Summary, summaries, table
from tests.lab.scenarios import Scenario
from tests.lab.test_scenarios import TOGETHER

pytestmark = [pytest.mark.alone, pytest.mark.slow]

LEFT = tuple(row for row in (*scenarios_2025.ROWS, *scenarios_dns.ROWS) if row not in TOGETHER)


@pytest.fixture(scope="module")
def found() -> Mapping[str, Summary]:
    made = asyncio.run(trials.run(LEFT, 1, told=lambda text: None, patient=True))
    return {summary.scenario.name: summary for summary in summaries(LEFT, made)}


@pytest.mark.namespaces
@pytest.mark.parametrize("row", LEFT, ids=lambda row: row.name)
def test_a_scenario_keeps_its_bounds(found: Mapping[str, Summary], row: Scenario) -> None:
    summary = found[row.name]
    assert not summary.broken(waits=False), table([summary])
