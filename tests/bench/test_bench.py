"""That the scripts still run and count something; what they print is nobody's assertion."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench.lists import COLUMNS
from tests.bench.relays import KINDS
from tests.bench.sessions import ADDONS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "command",
    [("tests.bench.tunnels", "--clients", "2"), ("tests.bench.pump", "--idle", "10")],
    ids=["tunnels", "pump"],
)
def test_script_prints_a_row_for_each_relay(command: tuple[str, ...]) -> None:
    script = [sys.executable, "-m", *command, "--seconds", "0.1", "--rounds", "1"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [name for name, *_ in rows] == list(KINDS)
    assert all(float(rate.replace(",", "")) > 0 for _, rate, *_ in rows)
    assert done.stderr == ""


def test_sessions_prints_a_row_for_each_kind_of_addon() -> None:
    script = [sys.executable, "-m", "tests.bench.sessions", "--seconds", "0.1", "--rounds", "1", "--clients", "1"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split("   ") for line in done.stdout.splitlines()[1:]]
    assert [row[0].strip() for row in rows] == list(ADDONS)
    assert done.stderr == ""


def test_lists_prints_two_rows_for_each_checkout() -> None:
    script = [sys.executable, "-m", "tests.bench.lists", "--domains", "1000", "--rounds", "1", "--old", "."]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [name for name, *_ in rows] == ["now", "to", "old", "to"]
    assert all(len(row) == 1 + len(COLUMNS) and float(row[-1]) > 0 for row in rows)
    assert done.stderr == ""


@pytest.mark.inspection
def test_inspection_prints_a_row_for_each_proxy() -> None:
    script = [sys.executable, "-m", "tests.bench.inspection", "--rounds", "1", "--seconds", "0.2", "--megabytes", "1"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [name for name, *_ in rows] == ["tunnel", "inspect", "mitmdump"]
    assert all(float(number.replace(",", "")) > 0 for row in rows for number in (row[1], row[5], row[7]))
    assert done.stderr == ""
