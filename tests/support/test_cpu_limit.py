"""Work that is ended costs no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json
from tests.support.cpu_limit import cpu_limit, ended

def spin(note):
    note("spins")
    with cpu_limit(0.05):
        while True:
            pass

def fail(note):
    note("fails")
    raise ValueError("bad")

def well(note):
    note("is well")
    with cpu_limit(5):
        pass

print(json.dumps(ended([well, spin, spin, well, fail, well])))
"""


def test_each_is_told_what_became_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    first, second, third, fourth, failed, last = json.loads(done.stdout)
    assert [first, second, third, fourth, last] == ["", "spins", "spins", "", ""]
    assert failed.startswith("fails: Traceback")
    assert "ValueError: bad" in failed
