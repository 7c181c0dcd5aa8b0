"""The process of a browser that was started by somebody else, known by the lock in its profile."""

from __future__ import annotations

import os
from pathlib import Path


def pid_of(profile: Path) -> int:
    """The process that runs with this profile. Chromium's lock is a link to HOST-PID, Firefox's one to ADDRESS:+PID."""
    if os.path.lexists(profile / "lock"):
        return int(os.readlink(profile / "lock").rpartition("+")[2])
    return int(os.readlink(profile / "SingletonLock").rpartition("-")[2])


def is_running(pid: int) -> bool:
    """Whether a process is there, and has not ended: somebody else may have to take notice of its end."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
