"""A pytest inside another: the reports of its tests come one by one, and a test that ends in any way costs no other."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.inner import InnerPytest

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\n")
    return tmp_path


@contextlib.contextmanager
def inner(folder: Path, code: str, *names: str, silent_s: float = 60.0) -> Iterator[InnerPytest]:
    """Yields a pytest for a file with these tests."""
    folder.joinpath("test_it.py").write_text(textwrap.dedent(code))
    running = InnerPytest([f"test_it.py::{name}" for name in names], folder, lambda command: command, silent_s=silent_s)
    try:
        yield running
    finally:
        running.close()


def outcome(found: list[dict[str, Any]] | str) -> str:
    """Returns the outcome of the three phases, or the reason in their place."""
    return found if isinstance(found, str) else " ".join(report["outcome"] for report in found)


def test_each_test_is_reported_as_it_ends(folder: Path) -> None:
    code = """
        import pytest, time
        def test_good(): pass
        def test_bad(): assert 1 == 2
        def test_skipped(): pytest.skip("for a reason")
        def test_slow(): time.sleep(600)
    """
    with inner(folder, code, "test_good", "test_bad", "test_skipped", "test_slow") as running:
        began = time.monotonic()
        assert outcome(running.reports("test_it.py::test_skipped")) == "passed skipped passed"
        assert outcome(running.reports("test_it.py::test_good")) == "passed passed passed"
        assert outcome(running.reports("test_it.py::test_bad")) == "passed failed passed"
        assert time.monotonic() - began < 300, "it was waited for the slow one"


def test_one_that_hangs_is_ended_and_shown_and_the_others_run(folder: Path) -> None:
    code = """
        import time
        def test_before(): pass
        def test_hangs(): time.sleep(600)
        def test_after(): pass
    """
    with inner(folder, code, "test_before", "test_hangs", "test_after", silent_s=10.0) as running:
        assert outcome(running.reports("test_it.py::test_before")) == "passed passed passed"
        hung = outcome(running.reports("test_it.py::test_hangs"))
        assert "reported nothing for 10 s and was ended" in hung
        assert "in test_hangs" in hung, "faulthandler says where it was"
        assert outcome(running.reports("test_it.py::test_after")) == "passed passed passed"


def test_one_that_ends_the_process_costs_no_other(folder: Path) -> None:
    code = """
        import os
        def test_ends(): os._exit(7)
        def test_after(): pass
    """
    with inner(folder, code, "test_ends", "test_after") as running:
        assert outcome(running.reports("test_it.py::test_after")) == "passed passed passed"
        assert "ended with exit code 7" in outcome(running.reports("test_it.py::test_ends"))


def test_a_file_that_cannot_be_read_is_tried_once(folder: Path) -> None:
    with inner(folder, "import no_such_module", "test_one", "test_other") as running:
        text = outcome(running.reports("test_it.py::test_one"))
        assert "no_such_module" in text
        assert outcome(running.reports("test_it.py::test_other")) == text


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
def test_skipped_in_there():
    pytest.skip("for a reason")
"""


def test_tests_of_one_file_run_out_here_and_in_there(folder: Path) -> None:
    folder.joinpath("pytest.ini").write_text("[pytest]\nmarkers =\n  namespaces: of its own\n")
    folder.joinpath("conftest.py").write_text(PLUGIN)
    folder.joinpath("test_a_mixed.py").write_text(MIXED)
    folder.joinpath("test_b_other.py").write_text("def test_other(): pass\n")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:anyio"]
    done = subprocess.run([*command, str(folder)], cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert "3 passed, 1 skipped in " in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert "for a reason" in done.stdout
