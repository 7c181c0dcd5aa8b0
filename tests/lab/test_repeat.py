"""The runner of seeds: every row names tests that exist."""

from __future__ import annotations

import ast
import asyncio
import os
from pathlib import Path

import pytest

from tests.lab.conditions import Conditions, RelayQuality
from tests.lab.repeat import ACCEPTANCE, ROWS, Job, Row, Run, chosen, main, run, summary
from tests.lab.run import chosen as scenarios
from tests.lab.run import chosen_faults, chosen_roads

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_names_tests_and_rows_that_there_are(row: Row) -> None:
    for job in (*row.jobs, *row.twins):
        for what in job.what:
            if job.is_test:
                file, _, name = what.partition("::")
                defined = {getattr(node, "name", "") for node in ast.parse((_TESTS / file).read_text()).body}
                assert not name or name in defined, what
            else:
                assert scenarios([what]) or chosen_faults([what]) or chosen_roads([what]), what


def test_a_test_runs_under_the_conditions_that_its_job_names() -> None:
    job = Job(("lab/test_ech.py",)).also("slow", "0.5")
    slow, half = Conditions(relay=RelayQuality.SLOW), Conditions(scale=0.5)
    assert job.runs_under(Conditions())
    assert job.runs_under(slow)
    assert job.runs_under(half)
    assert not job.runs_under(Conditions(relay=RelayQuality.RESTARTS))
    assert not job.runs_under(Conditions(0.5, tcp_info=False))


def test_each_part_of_the_acceptance_has_rows() -> None:
    assert all(chosen([], part.conditions) for part in ACCEPTANCE)


def test_the_summary_counts_the_seeds_of_which_all_runs_passed() -> None:
    usual, busy, *_ = ACCEPTANCE
    job, twin = Job(("a",)), Job(("b",))
    runs = [Run("one", job, 1, False, 1.0), Run("one", twin, 1, True, 1.0, "it failed"), Run("one", job, 2, False, 1.0)]
    told = summary({usual: [*runs, Run("other", job, 1, False, 1.0)], busy: runs[2:]}).splitlines()
    assert [line.split() for line in told[2:]] == [["one", "1/2", "1/1"], ["other", "1/1", "-"]]


@pytest.mark.parametrize("words", [[], ["--acceptance"], ["--part", "restarts"], ["--relay", "slow", "--seeds", "5"]])
def test_its_command_lists_rows(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--list"]) == 0
    assert "answer-drop" in capsys.readouterr().out


async def test_jobs_that_measure_speeds_run_first_one_for_each_processor() -> None:
    running: list[Job] = []
    most: dict[bool, int] = {True: 0, False: 0}
    beside: list[bool] = []
    usual, slow = Job(("slow-cdn",)), Job(("slow-line",), measures_speed=True)

    async def make(row: Row, job: Job, seed: int) -> Run:
        running.append(job)
        most[job.measures_speed] = max(most[job.measures_speed], len(running))
        await asyncio.sleep(0)
        beside.append(len({one.measures_speed for one in running}) == 1)
        running.remove(job)
        return Run(row.name, job, seed, is_twin=False, took_s=0.0)

    done = await run(
        [Row("one", "", (usual, slow)), Row("two", "", (slow, usual))], 6, at_once=9, make=make, told=print
    )
    assert len(done) == 24
    assert most == {True: min(9, os.cpu_count() or 1), False: 9}
    assert all(beside)
