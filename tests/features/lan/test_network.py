"""Devices of a home that use Byway, in network namespaces. Each story runs in a process with namespaces of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.features.lan.inside import STORIES
from tests.support import programs

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.namespaces, pytest.mark.needs("ip", "unshare"), pytest.mark.waits]


@pytest.mark.parametrize("story", STORIES)
def test_story(story: str) -> None:
    command = [programs.require("unshare"), "-Urnm", sys.executable, "-m", "tests.features.lan.inside", story]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=230, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
