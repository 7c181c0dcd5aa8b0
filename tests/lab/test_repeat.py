"""The runner of seeds: every row names tests that exist, some run at once, each has a limit, and failures are kept."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
from pathlib import Path

import pytest

from tests.lab import repeat
from tests.lab.luck import SEED, luck
from tests.lab.repeat import ROWS, Job, Row, Run, chosen, process, run, table
from tests.lab.run import chosen as scenarios
from tests.lab.run import chosen_faults, chosen_roads
from tests.support.clock import run as play

pytestmark = [pytest.mark.waits, pytest.mark.slow]

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


def test_some_run_at_once_and_of_a_seed_the_longest_begins_first() -> None:
    quick, slow = Job(("quick.py",), 1), Job(("slow.py",), 20)
    row, begun, at_once = Row("one", "", (quick,), (slow,)), list[tuple[int, Job]](), [0, 0]

    async def make(row: Row, job: Job, seed: int) -> Run:
        begun.append((seed, job))
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(job.about_s)
        at_once[0] -= 1
        return Run(row.name, job, seed, job is slow, job.about_s)

    told = list[str]()
    runs = play(run([row], 3, at_once=2, make=make, told=told.append))
    assert begun == [(seed, job) for seed in (1, 2, 3) for job in (slow, quick)]
    assert (len(runs), at_once[1], told[-1]) == (6, 2, "6 of 6: one 3, 20 s")


def test_a_seed_has_passed_when_all_of_its_runs_have_and_the_first_failure_is_told() -> None:
    job, twin = Job(("one.py",), 1), Job(("twin.py",), 1)
    rows = [Row("one", "", (job, job), (twin,)), Row("other", "", (job,))]
    runs = [
        Run("one", job, 2, is_twin=False, took_s=4.0, failure="assert 2 == 3"),
        *(Run("one", job, seed, is_twin=False, took_s=2.0) for seed in (1, 1, 2, 3, 3)),
        *(Run("one", twin, seed, is_twin=True, took_s=1.0) for seed in (1, 2, 3)),
        Run("other", job, 1, is_twin=False, took_s=1.0),
    ]
    _, _, one, why, other = table(rows, runs).splitlines()
    assert one.split() == ["one", "2/3", "3/3", "4"]
    assert why == "    seed 2: assert 2 == 3"
    assert other.split() == ["other", "1/1", "-", "1"]


TRIALS = {
    "passes": "def test_it(): assert os.environ['BYWAY_LAB_SEED'] == '7'",
    "fails": "def test_it(): assert 1 + 1 == 3",
    "hangs": "def test_it(): time.sleep(600)",
}


@pytest.mark.parametrize(
    ("name", "failure"),
    [("passes", ""), ("fails", "assert (1 + 1) == 3"), ("hangs", "took longer than 5 s")],
)
async def test_a_run_is_a_process_of_its_own_that_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, failure: str
) -> None:
    (tmp_path / f"test_{name}.py").write_text(f"import os, time\n\n{TRIALS[name]}\n")
    job = Job((f"{name}.py",), 1)
    there = ["-c", "/dev/null", "-p", "no:xdist", f"--rootdir={tmp_path}", str(tmp_path / f"test_{name}.py")]
    python = job.command(tmp_path)[0]
    monkeypatch.setattr(Job, "command", lambda self, folder: [python, "-m", "pytest", "-q", "--tb=short", *there])
    made = await process(Row("row", "", (job,)), job, 7, kept=tmp_path, limit_s=5 if name == "hangs" else 60)
    assert made == dataclasses.replace(made, row="row", seed=7, is_twin=False, failure=failure)
    assert _first_lines(tmp_path) == ([f"{name}.py, seed 7: {failure}"] if failure else [])


def _first_lines(kept: Path) -> list[str]:
    return [path.read_text().partition("\n")[0] for path in kept.glob("row-7-*.txt")]


def test_what_is_left_to_chance_is_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(seed: str) -> float:
        monkeypatch.setenv(SEED, seed)
        return luck(0).random()

    assert draw("1") == draw("1")
    assert len({draw(seed) for seed in ("", "1", "2")}) == 3


def test_rows_are_chosen_by_pattern_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen([]) == list(ROWS)
    assert [row.name for row in chosen(["freeze-*"])] == ["freeze-alone-1", "freeze-alone-12"]
    assert repeat.main(["--list", "portal"]) == 0
    assert "captive portals" in capsys.readouterr().out
    assert repeat.main(["nonsense"]) == 2
