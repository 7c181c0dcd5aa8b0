"""Keeps two commands from editing the same file at once: one edit would be lost, although both are reported as done.

The lock is on the folder, so that no file is left behind. It ends with the process that has it. Editors do not know it:
whoever saves also looks whether the file is still the one that was read.
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
"""For another edit to end. One that reads lists of a million lines takes two seconds."""

_TRY_AGAIN_S = 0.02


@contextmanager
def edit_lock(folder: Path) -> Iterator[None]:
    """Holds the lock on a folder, once no other edit has it. Without one where there is no such folder yet, or where
    the system has no locks. Raises BywayError after WAIT_S."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # whoever reads or writes a file there says why
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
