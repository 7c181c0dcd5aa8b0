"""The order of test files, in runs with workers of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.scheduling import marks_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

PLUGIN = "from tests.conftest import *\n"


def run(folder: Path, workers: int, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "plugin.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist.plugin", "-p", "plugin"]
    return subprocess.run(
        [*command, "-n", str(workers), "--dist", "loadfile", "--max-worker-restart", "0", *options],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("dies", ["heavy_1", "other"])
def test_a_worker_that_dies_is_reported_and_ends_the_run(tmp_path: Path, dies: str) -> None:
    """This holds also while another worker has been ended, since only heavy files were left."""
    for name in ("heavy_1", "heavy_2", "heavy_3", "other"):
        mark = "import pytest\npytestmark = pytest.mark.alone\n" if name.startswith("heavy") else ""
        body = "import os\ndef test_dies(): os._exit(9)\n" if name == dies else "def test_it(): pass\n"
        (tmp_path / f"test_{name}.py").write_text(mark + body)
    done = run(tmp_path, 2)
    assert done.returncode != 0
    assert f"test_{dies}.py::test_dies" in done.stdout
    assert "crashed" in done.stdout


def test_the_third_worker_runs_what_waits_and_then_the_rest(tmp_path: Path) -> None:
    """Each test notes its worker. The others begin when what waits has ended, so that some are left for that worker.
    Without a cache, a run ends as its tests do."""
    noted = """
import os, pathlib, time
workers = pathlib.Path(__file__).parent / "workers"
def note():
    (workers / pathlib.Path(__file__).stem).write_text(os.environ["PYTEST_XDIST_WORKER"])
"""
    waits = f"import pytest\npytestmark = pytest.mark.waits\n\n{noted}\ndef test_it(): note()\n"
    other = f"""{noted}
def test_it():
    given_up_at = time.monotonic() + 60
    while len([*workers.glob("test_waits_*")]) < 2 and time.monotonic() < given_up_at:
        time.sleep(0.1)
    note()
"""
    (tmp_path / "workers").mkdir()
    for number in range(2):
        (tmp_path / f"test_waits_{number}.py").write_text(waits)
    for number in range(10):
        (tmp_path / f"test_other_{number}.py").write_text(other)
    done = run(tmp_path, 3, "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {file.name: file.read_text() for file in (tmp_path / "workers").iterdir()}
    assert {worker for file, worker in ran.items() if "waits" in file} == {"gw2"}
    assert {worker for file, worker in ran.items() if "other" in file} == {"gw0", "gw1", "gw2"}


def test_what_is_slow_is_left_out_and_counted(tmp_path: Path) -> None:
    """By workers, and without."""
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


def test_a_seed_decides_the_order_of_files_and_of_the_tests_in_each(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"test_{name}.py").write_text("def test_it(): pass\ndef test_more(): pass\ndef test_last(): pass\n")

    def collected(*options: str) -> list[str]:
        lines = run(tmp_path, 0, "--collect-only", *options).stdout.splitlines()
        return [line for line in lines if "::" in line]

    written, first, again, other = (collected(*options) for options in ((), *(("--shuffle", n) for n in "112")))
    assert first == again
    assert sorted(first) == sorted(other) == sorted(written)
    assert first != other
    files, tests = zip(*(name.split("::") for name in first), strict=True)
    assert list(dict.fromkeys(files)) == list(files[::3]) != sorted(files[::3]), "each file is in one piece"
    assert tests != ("test_it", "test_more", "test_last") * 6
