from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

SAMPLE = """
import pytest

@pytest.mark.needs("microsocks", "tinyproxy")
def test_with_relays():
    pass

def test_without():
    pass
"""


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("ci", "code"),
    [("", 0), pytest.param("true", 1, marks=pytest.mark.inspection)],  # in CI, inspection has to run too
)
def test_a_missing_program_skips_here_and_fails_in_ci(tmp_path: Path, ci: str, code: int, workers: int) -> None:
    sample = tmp_path / "test_sample.py"
    sample.write_text(SAMPLE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:anyio"),
            *("--rootdir", str(tmp_path), "--numprocesses", str(workers)),
            *("-o", "markers=needs: a program", str(sample)),
        ],
        cwd=ROOT,
        env={"PATH": "/nothing/is/here", "CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "apt-get install --no-install-recommends microsocks tinyproxy" in done.stdout
    assert "microsocks: 1 test\n" in done.stdout
    last = done.stdout.rstrip().splitlines()[-1]
    assert "1 passed" in last
    assert ("1 error" if ci else "1 skipped") in last
