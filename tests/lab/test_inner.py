"""A pytest inside another: each test is reported once, as what it is, and one that ends the process costs no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


PLUGIN = """
import os, pathlib
from tests.lab import conftest
conftest.HERE = pathlib.Path(__file__).parent
conftest.may_make_spaces = lambda: "INSIDE" in os.environ
conftest.may_become_root = lambda: True
conftest.within = lambda command: ["env", "INSIDE=1", *command]
from tests.lab.conftest import pytest_runtest_protocol, pytest_unconfigure
"""
MIXED = """
import os, pytest

@pytest.fixture(scope="module")
def of_the_module():
    yield
    print("torn down")

def test_out_here(of_the_module):
    assert "INSIDE" not in os.environ

@pytest.mark.namespaces
def test_in_there(of_the_module):
    assert "INSIDE" in os.environ

@pytest.mark.namespaces
def test_fails_in_there():
    assert "INSIDE" not in os.environ

@pytest.mark.namespaces
def test_ends_the_process_in_there():
    os._exit(7)

@pytest.mark.namespaces
def test_skipped_in_there():
    pytest.skip("for a reason")
"""


def test_tests_of_one_file_run_out_here_and_in_there(tmp_path: Path) -> None:
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\nmarkers =\n  namespaces: of its own\n")
    tmp_path.joinpath("conftest.py").write_text(PLUGIN)
    tmp_path.joinpath("test_a_mixed.py").write_text(MIXED)
    tmp_path.joinpath("test_b_other.py").write_text("def test_other(): pass\n")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:anyio"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "2 failed, 3 passed, 1 skipped in " in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert "ended with exit code 7" in done.stdout
    assert "for a reason" in done.stdout
