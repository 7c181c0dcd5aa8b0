"""The rows of `scenarios_2025` and `scenarios_dns` in a real Byway, once: those that `test_scenarios` leaves out,
since they have more visits or a network of their own.

The rows of a group are run at the first test of it: all of them together would take longer than one test may.
`python -m tests.lab.run` repeats them, with the waits, at other scales and under other conditions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest

from tests.lab import scenarios_2025, scenarios_dns, trials
from tests.lab.judging import Summary, summaries, table
from tests.lab.scenarios import Kind, Scenario
from tests.lab.scenarios_2025 import SLOWED
from tests.lab.test_scenarios import TOGETHER

pytestmark = [pytest.mark.alone, pytest.mark.slow]

Group = tuple[Scenario, ...]


_LOST = 2


def for_a_busy_machine(row: Scenario) -> Scenario:
    """Returns a row about speed at half its rate, and a block at a quarter, with _LOST more visits: there the lab's
    relay has to be three times faster to show anything, which it was not always at half (250 kB/s beside 64), and
    Byway believes no comparison in which its own loop was late, but counts it among those of the day."""
    if row not in SLOWED or row.at_scale is None:
        return row
    if row.kind is not Kind.BLOCKING:
        return row.at_scale(0.5)
    slower = row.at_scale(0.25)
    return replace(
        slower,
        visits=slower.visits + _LOST,
        named_by=slower.named_by + _LOST,
        spoiled=slower.spoiled + _LOST,
        detect={**slower.detect, "compared_per_day": slower.visits + _LOST},
    )


LEFT = tuple(for_a_busy_machine(row) for row in (*scenarios_2025.ROWS, *scenarios_dns.ROWS) if row not in TOGETHER)
ABOUT_SPEED = tuple(row for row in LEFT if any(row.name == one.name for one in SLOWED))
OTHERS = tuple(row for row in LEFT if trials.is_alone(row) and row not in ABOUT_SPEED)
GROUPS: tuple[Group, ...] = (
    tuple(row for row in LEFT if not trials.is_alone(row)),
    ABOUT_SPEED[::2],
    ABOUT_SPEED[1::2],
    OTHERS[::2],
    OTHERS[1::2],
)
"""Rows with a country each run beside the others of their group: those about speed need half the machine."""


@cache
def found(group: Group) -> Mapping[str, Summary]:
    made = asyncio.run(trials.run(group, 1, countries=len(group), told=lambda text: None, patient=True))
    return {summary.scenario.name: summary for summary in summaries(group, made)}


@pytest.mark.namespaces
@pytest.mark.parametrize(("group", "row"), [pytest.param(group, row, id=row.name) for group in GROUPS for row in group])
def test_a_scenario_keeps_its_bounds(group: Group, row: Scenario) -> None:
    summary = found(group)[row.name]
    assert not summary.broken(waits=False), table([summary])
