"""Keeps two commands from editing one file at the same time: one edit would be lost, although both report success.

The lock is on the folder, so it leaves no file behind, and it ends with the process that holds it. Editors do not take
it, so code that saves a file also checks that the file is unchanged since it was read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.config.files import shown
from proxy.model.errors import BywayError

WAIT_S = 20.0
"""Seconds to wait for another edit. An edit that reads lists of a million lines takes two seconds."""

_TRY_AGAIN_S = 0.02


@contextmanager
def edit_lock(folder: Path) -> Iterator[None]:
    """Waits for the lock on a folder, and holds it. There is no lock when the folder is missing, or the system has no
    locks. Raises BywayError after WAIT_S."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # reading or writing a file there reports the reason
        yield
        return
    try:
        until = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise BywayError(f"another edit in {shown(folder)} does not end; try again") from None
                time.sleep(_TRY_AGAIN_S)
            except OSError:  # a filesystem without locks
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)
