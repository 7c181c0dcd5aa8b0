from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.time_to_rescue import PATIENCE_S, Waited, charts, table

pytestmark = pytest.mark.slow

_FOUND = [
    Waited("sni-drop-records", 0.8, math.inf),
    Waited("sni-drop-records", 0.5, math.inf),
    Waited("syn-reset", 0.02, 0.02),
    Waited("syn-reset", math.inf, 0.03),
]


def test_a_fixed_timeout_waits_for_it_or_for_the_failure() -> None:
    assert [waited.by_timeout(3) for waited in _FOUND] == [3, 3, 0.02, 0.03]


def test_the_table_counts_what_was_rescued() -> None:
    _, _, dropped, reset = table(_FOUND).splitlines()
    assert dropped == "| sni-drop-records | 2 | 2 | 0.50 | 0.80 | 0.80 | 0.80 | over 20 | 3.00 | 5.00 | 15.00 |"
    assert reset == "| syn-reset | 2 | 1 | 0.02 | over 20 | over 20 | over 20 | 0.03 | 0.03 | 0.03 | 0.03 |"


def test_a_distribution_rises_to_the_share_that_was_rescued() -> None:
    lines = {line.name: line.points for chart in charts(_FOUND).values() for line in chart.lines}
    assert lines["sni-drop-records"] == [(0.01, 0), (0.5, 50), (0.8, 100), (0.8, 100), (PATIENCE_S, 100)]
    assert lines["Byway"][-1][1] == 75
    assert not lines["a browser alone: never"]


@pytest.mark.namespaces
def test_hosts_are_rescued_in_the_lab(tmp_path: Path) -> None:
    script = [sys.executable, "-m", "tests.bench.time_to_rescue", "sni-reset-tcp", "--hosts", "2"]
    done = subprocess.run([*script, "--out", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "rescue.json").read_text())
    assert [waited["way"] for waited in found] == ["sni-reset-tcp"] * 2
    assert all(waited["added"] is not None and waited["direct_failed"] is not None for waited in found)
    assert (tmp_path / "rescue.md").read_text() == done.stdout
    for name in ("rescue-ways", "rescue-all"):
        ElementTree.fromstring((tmp_path / f"{name}.svg").read_text())
