from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import programs

ROOT = Path(__file__).parents[2]


@pytest.mark.namespaces
@pytest.mark.needs("ip", "unshare")
def test_F85_F86_old_tunnels_are_closed_after_a_move_and_a_sleep(tmp_path: Path) -> None:
    script = [programs.require("unshare"), "-Urnm", sys.executable, "-m", "tests.e2e.travelling", str(tmp_path)]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
