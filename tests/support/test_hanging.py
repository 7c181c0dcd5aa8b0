"""Tests that hang, in a pytest of their own with short limits."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROOT = Path(__file__).parents[2]

PLUGIN = """
import pytest
from tests import conftest
from tests.support.hanging import Hanging
conftest.hanging = Hanging(longest_s=1.5, again_s=0.5)
from tests.conftest import pytest_configure, pytest_runtest_protocol
from tests.conftest import pytest_runtest_setup, pytest_runtest_call, pytest_runtest_teardown
"""

TESTS = """
import asyncio, subprocess, threading, time
import pytest

def test_sleeps():
    time.sleep(600)

def test_waits_for_a_lock():
    threading.Lock().acquire() and threading.Event().wait()

def test_waits_for_a_process():
    subprocess.run(["sleep", "600"])

def test_waits_on_a_loop():
    asyncio.run(asyncio.sleep(600))

def test_catches_it_once():
    try:
        time.sleep(600)
    except BaseException:
        time.sleep(600)

@pytest.fixture
def slow():
    time.sleep(600)

def test_of_which_the_fixture_hangs(slow): pass

@pytest.fixture
def never_ends():
    yield
    time.sleep(600)

def test_after_which_the_fixture_hangs(never_ends): pass

def test_good(): pass
"""


CATCHES_ALL = """
import time
def test_hangs():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
"""


def run(folder: Path, *options: str, **tests: str) -> str:
    """Returns pytest's output for files with these tests."""
    folder.joinpath("pytest.ini").write_text("[pytest]\nmarkers =\n  needs: a program\n  namespaces: of its own\n")
    folder.joinpath("conftest.py").write_text(PLUGIN)
    for name, code in tests.items():
        folder.joinpath(f"{name}.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:anyio", "-rA", *options]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_what_hangs_fails_with_its_place_and_the_others_run(tmp_path: Path) -> None:
    said = run(tmp_path, "-p", "no:xdist", test_it=TESTS)
    assert "5 failed, 2 passed, 2 errors in " in said.splitlines()[-1], said
    assert "test_it.py::test_good" in "".join(re.findall("^PASSED .*", said, re.MULTILINE))
    assert said.count("it has run for 1.5 s and hangs") >= 7
    assert "threading.Event().wait()" in said


def test_a_worker_that_nothing_else_ends_fails_the_run(tmp_path: Path) -> None:
    """pytest runs as in `make test`: it names the test, and ends."""
    line = re.search(r"/pytest (.*) \$\(ARGS\)", (ROOT / "Makefile").read_text())
    assert line is not None
    limits = ("-o", "faulthandler_timeout=4", "-o", "faulthandler_exit_on_timeout=true")
    files = {f"test_{n}": "def test_good(): pass\ndef test_well(): pass\n" for n in range(6)}
    said = run(tmp_path, *shlex.split(line[1]), *limits, test_hangs=CATCHES_ALL, **files)
    assert "crashed while running" in said
    assert "test_hangs.py::test_hangs" in said
    assert "worker restarting disabled" in said
