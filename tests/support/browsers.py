"""Finds the process of a browser that another program started, by the lock in its profile."""

from __future__ import annotations

import os
from pathlib import Path


def pid_of(profile: Path) -> int:
    """Returns the id of the process that runs with this profile. Chromium's lock is a link to HOST-PID, Firefox's to
    ADDRESS:+PID."""
    if os.path.lexists(profile / "lock"):
        return int(os.readlink(profile / "lock").rpartition("+")[2])
    return int(os.readlink(profile / "SingletonLock").rpartition("-")[2])


def is_running(pid: int) -> bool:
    """Whether a process runs. One that has ended, but whose parent has not waited for it, does not count."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
