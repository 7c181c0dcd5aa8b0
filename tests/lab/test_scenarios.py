"""The table in a real Byway, once: each row whose visits are short, and three that have a country of their own.

The sites are visited side by side, as in real use, and a test of its own judges each: by the pages and the beliefs, not
by the waits. `python -m tests.lab.run --seeds 20` repeats it twenty times, with the waits.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping

import pytest

from proxy.model import State
from tests.lab import trials
from tests.lab.all_scenarios import BY_NAME, SCENARIOS
from tests.lab.judging import Seen, Summary, Trial, summaries, table
from tests.lab.run import BROKEN, chosen, main
from tests.lab.scenarios import Kind, Reach, Scenario, Way

pytestmark = pytest.mark.alone

_LONG = 20.0  # seconds that a visitor waits for a page: such rows are left to `lab.run`

TOGETHER = tuple(
    row for row in SCENARIOS if row.reach is Reach.NAMES and row.limit_s < _LONG and not row.detect and row.visits == 3
)
ALONE = (BY_NAME["portal"], BY_NAME["office"], BY_NAME["freeze"])

OF_EACH_KIND = frozenset((
    "dns-race-poison", "dns-replace-page", "dns-nxdomain", "dns-drop", "dns-race-sni-reset", "sni-reset-packet",
    "sni-reset-records", "sni-drop-records", "sni-eof", "sni-silence", "address-drop", "syn-reset", "http-page",
    "http-reset", "http-silence", "intercept-unknown", "freeze", "healthy", "refuses-relays", "refuses-all", "moved",
    "cdn", "hello-count-3", "three-at-once", "two-censors", "slow-hello", "portal",
))  # fmt: skip
"""Rows of `make test`: one for each kind of interference, and innocent sites that look like it. The others are slow."""

# The controls: a blocked site that is said to be healthy, and a healthy one that is said to be blocked.
SAID_HEALTHY = dataclasses.replace(
    BY_NAME["healthy"], name="control-blocked", arrange=BY_NAME["sni-reset-records"].arrange
)
SAID_BLOCKED = dataclasses.replace(
    BY_NAME["sni-reset-records"], name="control-healthy", arrange=BY_NAME["healthy"].arrange
)
CONTROLS = (SAID_HEALTHY, SAID_BLOCKED)


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> Mapping[str, Summary]:
    """Returns the results of the rows that are run."""
    names = {"dns-nxdomain"}  # which has a test of its own
    for item in request.session.items:
        if item.path == request.path and isinstance(item, pytest.Function) and "row" in item.fixturenames:
            row = item.callspec.params["row"]
            assert isinstance(row, Scenario)
            names.add(row.name)

    async def make() -> list[Trial]:
        async with asyncio.TaskGroup() as running:
            rows = [row for row in TOGETHER if row.name in names]
            together = running.create_task(
                trials.run_together((*rows, *CONTROLS), 1, in_flight=48, told=lambda text: None, patient=True)
            )
            alone = [running.create_task(trials.run_alone(row, 0)) for row in ALONE if row.name in names]
        return [trial for made in (together, *alone) for trial in made.result()]

    made = summaries((*SCENARIOS, *CONTROLS), asyncio.run(make()))
    return {summary.scenario.name: summary for summary in made}


@pytest.mark.namespaces
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.name, marks=() if row.name in OF_EACH_KIND else pytest.mark.slow)
        for row in (*TOGETHER, *ALONE)
    ],
)
def test_a_scenario_keeps_its_bounds(found: Mapping[str, Summary], row: Scenario) -> None:
    summary = found[row.name]
    assert not summary.broken(waits=False), table([summary])


@pytest.mark.namespaces
def test_a_row_that_is_wrong_is_found(found: Mapping[str, Summary]) -> None:
    said_healthy, said_blocked = ("".join(found[row.name].broken(waits=False)) for row in (SAID_HEALTHY, SAID_BLOCKED))
    assert "by a way of the table in 0 of 1" in said_healthy
    assert "a day later right in 0 of 1: blocked" in said_healthy
    assert "first decision right in 0 of 1" in said_blocked


@pytest.mark.namespaces
def test_a_suspicion_is_over_a_day_later(found: Mapping[str, Summary]) -> None:
    (trial,) = found["dns-nxdomain"].trials
    assert (trial.lasting, trial.a_day_later) == (State.SUSPECT, State.UNKNOWN)


def test_each_cause_has_a_row_that_is_not_slow() -> None:
    rows = (*TOGETHER, *ALONE)
    quick = [row for row in rows if row.name in OF_EACH_KIND]
    assert len(quick) == len(OF_EACH_KIND)
    assert {row.cause for row in quick} == {row.cause for row in rows}


def test_rows_are_chosen_by_pattern_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen([]) == list(SCENARIOS)
    assert {row.kind for row in chosen(["sni-*"])} == {Kind.BLOCKING}
    assert main(["--list", "sni-drop-*"]) == 0
    assert "dropped in silence" in capsys.readouterr().out
    assert main(["nonsense"]) == 2


@pytest.mark.parametrize(("way", "code"), [(Way.DIRECT, 0), (Way.RELAY, BROKEN)])
def test_a_run_that_breaks_a_bound_says_so_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: Way, code: int
) -> None:
    seen = Seen(genuine=True, way=way, added_s=0.0, state=State.WORKS, cause="")

    async def run(*_: object, **__: object) -> list[Trial]:
        return [Trial("healthy", 0, (seen, seen, seen))]

    monkeypatch.setattr(trials, "run", run)
    assert main(["healthy", "--seeds", "1"]) == code
    assert "healthy" in capsys.readouterr().out
