"""The order of test files, in runs with workers of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.scheduling import WAITER, marks_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

PLUGIN = "from tests.conftest import *\n"
MARKS = {"heavy": "alone", "waiting": "waits"}
"""First word of a file's name → its mark."""
NOTES = """
import os, time
import pytest

pytestmark = {mark}

def test_it():
    with open("order", "a") as file:
        print(__name__, os.environ["PYTEST_XDIST_WORKER"], time.monotonic(), file=file)
    time.sleep({sleeps})
    with open("order", "a") as file:
        print(__name__, "end", time.monotonic(), file=file)
def test_more(): pass
def test_last(): pass
"""


def run(folder: Path, workers: int, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "plugin.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "plugin"]
    return subprocess.run(
        [*command, "-n", str(workers), "--dist", "loadfile", "--max-worker-restart", "0", *options],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _text(name: str, sleeps: float) -> str:
    mark = MARKS.get(name.split("_")[0])
    return NOTES.format(sleeps=sleeps, mark=f"pytest.mark.{mark}" if mark else "[]")


def order(folder: Path, names: dict[str, float], *, workers: int = 2) -> list[list[str]]:
    """Returns the words of each line that the tests wrote, as they began and ended."""
    for name, sleeps in names.items():
        (folder / f"test_{name}.py").write_text(_text(name, sleeps))
    done = run(folder, workers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{3 * len(names)} passed" in done.stdout
    return [line.split() for line in (folder / "order").read_text().splitlines()]


def test_the_files_that_took_longest_in_the_last_run_begin_first(tmp_path: Path) -> None:
    names = {"a": 0, "b": 0, "slow": 0.3, "z": 0}
    assert order(tmp_path, names, workers=1)[0][0] != "test_slow", "a first run knows nothing"
    (tmp_path / "order").unlink()
    assert order(tmp_path, names, workers=1)[0][0] == "test_slow"


@pytest.mark.parametrize("workers", [2, 3])
def test_heavy_files_never_run_beside_each_other(tmp_path: Path, workers: int) -> None:
    lines = order(
        tmp_path, {"heavy_1": 0.3, "heavy_2": 0.3, "heavy_3": 0.3, "a": 0, "b": 0, "slow": 0.1}, workers=workers
    )
    heavy = [(line[0], line[1] == "end") for line in lines if line[0].startswith("test_heavy")]
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
    """This holds also while another worker has been ended, since only heavy files were left."""
    for name in ("heavy_1", "heavy_2", "heavy_3", "slow"):
        code = "import os\ndef test_dies(): os._exit(9)\n" if name == dies else _text(name, 0)
        (tmp_path / f"test_{name}.py").write_text(code)
    done = run(tmp_path, 2)
    assert done.returncode != 0
    assert f"test_{dies}.py::test_dies" in done.stdout
    assert "crashed" in done.stdout


def test_what_is_slow_is_left_out_and_counted(tmp_path: Path) -> None:
    """By workers, and without."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    slow = "@pytest.mark.slow\n@pytest.mark.parametrize('number', range(3))\ndef test_slow(number): pass\n"
    (tmp_path / "test_a.py").write_text(f"import pytest\n{slow}def test_quick(): pass\n")
    (tmp_path / "test_b.py").write_text("import pytest\n\npytestmark = [pytest.mark.slow]\n\ndef test_slow(): pass\n")
    for workers in (0, 2):
        said = run(tmp_path, workers, "-m", "not slow").stdout
        assert "1 passed" in said
        assert "1 whole files, and 3 tests of others. `make test-all` runs all." in said
        said = run(tmp_path, workers).stdout
        assert "5 passed" in said
        assert "make test-all" not in said


def test_a_mark_of_a_file_is_read_from_its_text(tmp_path: Path) -> None:
    file = tmp_path / "test_a.py"
    file.write_text("""import pytest

pytestmark = [
    pytest.mark.needs("chromium"),
    pytest.mark.waits,
]

@pytest.mark.slow
def test_it(): pass
""")
    assert marks_of(file) == {"needs", "waits"}


def test_a_run_without_a_cache_ends_as_its_tests_do(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_it(): pass\n")
    done = run(tmp_path, 2, "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
