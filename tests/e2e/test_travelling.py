from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import programs

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


@pytest.mark.namespaces
@pytest.mark.needs("ip", "unshare")
def test_F85_F86_old_tunnels_are_closed_after_a_move_and_a_sleep(tmp_path: Path) -> None:
    script = [programs.require("unshare"), "-Urnm", sys.executable, "-m", "tests.e2e.travelling", str(tmp_path)]
    with tempfile.TemporaryDirectory(
        prefix="byway-"
    ) as runtime:  # the real root's own is not that of a namespace's root
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        done = subprocess.run(
            script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
