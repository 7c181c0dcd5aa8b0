"""The lock of a state folder: one Byway, or one command that writes there, at a time.

The kernel releases it when the process ends for any reason.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from proxy.config.files import read_own_file
from proxy.config.paths import Paths, private_folder
from proxy.model.errors import BywayError, reason_of

_RUN_FILE_LIMIT = 64 * 1024


class StateLock:
    """The lock of a state folder, while it is held."""

    def __init__(self, paths: Paths) -> None:
        """Takes the lock. Raises BywayError when another process holds it."""
        self._paths = paths
        self._descriptor = _taken(paths)

    def renew(self) -> None:
        """Takes the lock anew when its file was removed with the folder: otherwise another Byway could take it. Raises
        BywayError."""
        if not os.path.lexists(self._paths.lock_file):
            private_folder(self._paths.lock_file.parent)
            removed, self._descriptor = self._descriptor, _taken(self._paths)
            os.close(removed)

    def release(self) -> None:
        os.close(self._descriptor)


@contextlib.contextmanager
def alone(paths: Paths) -> Iterator[StateLock]:
    """Holds the lock of the state folder. Raises BywayError when another process holds it."""
    lock = StateLock(paths)
    try:
        yield lock
    finally:
        lock.release()


def _taken(paths: Paths) -> int:
    """Takes the lock. Returns the descriptor that holds it. Raises BywayError."""
    try:
        descriptor = os.open(paths.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BywayError(f"{paths.lock_file} cannot be opened: {reason_of(error)}") from None
    try:
        _lock(descriptor)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BywayError(_locked(paths)) from None
        raise BywayError(f"{paths.lock_file} cannot be locked: {reason_of(error)}") from None
    return descriptor


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock of this file. Raises BywayError when the file cannot be opened."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BywayError(f"{file} cannot be opened: {reason_of(error)}") from None
    try:
        _lock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(paths: Paths) -> str:
    """Returns a message that names the process that uses the state folder, when its run.json can be read."""
    who = "another Byway"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        running = json.loads(read_own_file(paths.run_file, limit=_RUN_FILE_LIMIT))
        who = f"the Byway with pid {running['pid']} runs on port {running['port']}, and"
    return (
        f"{who} is using {paths.state_dir}. To end it: `byway stop`. To run another one beside it: `byway run --state "
        "DIR --port PORT`"
    )
