"""The order of test files, in runs with workers of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.scheduling import HEAVY, SECONDS, WAITER, WAITING

ROOT = Path(__file__).parents[2]

PLUGIN = """
from tests.support import scheduling
from tests.conftest import pytest_xdist_make_scheduler
scheduling.SECONDS = {"test_slow.py": 20, "test_heavy_2.py": 5}
scheduling.HEAVY = ("test_heavy",)
scheduling.WAITING = ("test_waiting",)
"""
NOTES = """
import os, time
def test_it():
    with open("order", "a") as file:
        print(__name__, os.environ["PYTEST_XDIST_WORKER"], time.monotonic(), file=file)
    time.sleep({sleeps})
    with open("order", "a") as file:
        print(__name__, "end", time.monotonic(), file=file)
def test_more(): pass
def test_last(): pass
"""


def run(folder: Path, workers: int) -> subprocess.CompletedProcess[str]:
    (folder / "plugin.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "-n", str(workers), "--dist", "loadfile", "--max-worker-restart", "0"],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def order(folder: Path, names: dict[str, float], *, workers: int = 2) -> list[list[str]]:
    """The words of each line that the tests wrote, as they began and ended."""
    for name, sleeps in names.items():
        (folder / f"test_{name}.py").write_text(NOTES.format(sleeps=sleeps))
    done = run(folder, workers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{3 * len(names)} passed" in done.stdout
    return [line.split() for line in (folder / "order").read_text().splitlines()]


def test_slow_files_begin_first(tmp_path: Path) -> None:
    lines = order(tmp_path, {"a": 0, "b": 0, "slow": 0, "z": 0}, workers=1)
    assert lines[0][0] == "test_slow"


@pytest.mark.parametrize("workers", [2, 3])
def test_heavy_files_never_run_beside_each_other(tmp_path: Path, workers: int) -> None:
    lines = order(
        tmp_path, {"heavy_1": 0.3, "heavy_2": 0.3, "heavy_3": 0.3, "a": 0, "b": 0, "slow": 0.1}, workers=workers
    )
    heavy = [(line[0], line[1] == "end") for line in lines if line[0].startswith("test_heavy")]
    assert heavy[0] == ("test_heavy_2", False), "the slowest of them"
    assert len(heavy) == 6
    for began, ended in zip(heavy[::2], heavy[1::2], strict=True):
        assert ended == (began[0], True), "each one ends before the next begins"


def test_the_third_worker_runs_only_what_waits(tmp_path: Path) -> None:
    names = {"heavy_1": 0.3, "a": 0.1, "b": 0.1, "c": 0.1, "waiting_1": 0.1, "waiting_2": 0.1, "waiting_3": 0}
    began = [(line[0], line[1]) for line in order(tmp_path, names, workers=3) if line[1] != "end"]
    assert {name.startswith("test_waiting") for name, worker in began if worker == WAITER} == {True}
    assert {name for name, _ in began} == {f"test_{name}" for name in names}


def test_without_a_third_worker_what_waits_is_run_by_the_others(tmp_path: Path) -> None:
    assert len(order(tmp_path, {"a": 0, "waiting_1": 0, "waiting_2": 0})) == 6


def test_where_all_are_heavy_one_worker_runs_them(tmp_path: Path) -> None:
    lines = order(tmp_path, {"heavy_1": 0, "heavy_2": 0, "heavy_3": 0})
    assert len({line[1] for line in lines if line[1] != "end"}) == 1


@pytest.mark.parametrize("dies", ["heavy_1", "slow"])
def test_a_worker_that_dies_is_reported_and_ends_the_run(tmp_path: Path, dies: str) -> None:
    """Also while another worker has been ended, since only heavy files were left."""
    for name in ("heavy_1", "heavy_2", "heavy_3", "slow"):
        code = "import os\ndef test_dies(): os._exit(9)\n" if name == dies else NOTES.format(sleeps=0)
        (tmp_path / f"test_{name}.py").write_text(code)
    done = run(tmp_path, 2)
    assert done.returncode != 0
    assert f"test_{dies}.py::test_dies" in done.stdout
    assert "crashed" in done.stdout


def test_the_files_of_the_table_exist() -> None:
    assert not [name for name in (*SECONDS, *HEAVY, *WAITING) if not (ROOT / name).is_file()]
