"""Browser profiles for a Byway that stores nothing: each is removed when its window closes.

The command that makes a profile and the browser hold its lock, which the kernel releases however they end. The next
start of Byway or of a browser removes the profiles that were left after a kill or a power cut.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from proxy.config.paths import Paths, is_own_folder, make_folder
from proxy.model.errors import BywayError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass

_PREFIX, _LOCK = "byway-browser-", ".lock"
_REMOVALS, _PAUSE_S = 20, 0.1
"""Attempts to remove a profile, and seconds between them."""

_END_S = 5.0
"""How long to wait for the processes of a browser that outlive its first one."""

_LEFT_OVER_MAX = 1000


@frozen_dataclass
class TemporaryProfile:
    """A folder of mode 0700, and the open file whose lock marks it as in use. The browser must inherit the file."""

    folder: Path
    lock: int


def places(runtime_dir: Path | None, home: Path) -> Iterator[Path]:
    """Yields the folders for such profiles: first one in memory, if the system has it, then those of snaps, for their
    own browsers."""
    temporary = os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp"  # noqa: S108  # its owner is checked below
    yield Path(temporary) if runtime_dir is None else runtime_dir
    yield from sorted((home / "snap").glob("*/common/byway"))


@contextlib.contextmanager
def temporary_profile(place: Path) -> Iterator[TemporaryProfile]:
    """Makes a profile in a folder of `places`, and removes it at the end. Raises BywayError."""
    folder = place / f"{_PREFIX}{secrets.token_hex(4)}"
    try:
        make_folder(place)
        lock = os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _take(lock, wait=True)
            folder.mkdir(mode=0o700)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise BywayError(f"the temporary profile {folder} cannot be created: {reason_of(error)}") from None
    _adopt_orphans()
    try:
        yield TemporaryProfile(folder, lock)
    finally:
        os.close(lock)
        try:
            _await_children()
        finally:  # also after Ctrl-C
            _remove(folder)


def remove_left_over(place: Path) -> None:
    """Removes the profiles in this folder that no command and no browser uses. Raises BywayError when that fails."""
    try:
        with os.scandir(place) as entries:
            names = [name for name in (entry.name for entry in entries) if name.startswith(_PREFIX)]
    except OSError:  # then no profile could be made there
        return
    for name in [name for name in names if name.endswith(_LOCK)][:_LEFT_OVER_MAX]:
        folder = place / name.removesuffix(_LOCK)
        try:
            lock = os.open(place / name, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:  # another user's
            continue
        try:
            if _take(lock) and is_own_folder(folder):
                _remove(folder)
        finally:
            os.close(lock)


def _lock_of(folder: Path) -> Path:
    """Returns the file of the lock, beside the profile: it is made before the profile, and removed after it."""
    return folder.with_name(f"{folder.name}{_LOCK}")


if sys.platform == "win32":

    def _take(_: int, *, wait: bool = False) -> bool:
        """Returns False: on Windows a browser inherits no lock, so no profile counts as left over."""
        return False
else:
    import fcntl

    def _take(descriptor: int, *, wait: bool = False) -> bool:
        """Takes the lock. Returns whether it was free; with `wait`, waits until it is."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            return False
        return True


def _adopt_orphans() -> None:
    """Makes the processes of a browser whose first one has ended children of this one. Chromium's make the folder anew
    when it was removed before they ended. Only Linux can."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _await_children() -> None:
    """Returns when this process has no child, at the latest after `_END_S`."""
    until = time.monotonic() + _END_S
    with contextlib.suppress(ChildProcessError):  # there is none
        while sys.platform == "linux" and time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(_PAUSE_S / 10)


def _remove(folder: Path) -> None:
    import shutil  # it loads the modules of bz2 and xz, which no start needs

    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            _lock_of(folder).unlink(missing_ok=True)
            return
        time.sleep(_PAUSE_S)
    raise BywayError(f"the temporary profile {folder} cannot be removed; remove it by hand")


def remove_all_left_over(paths: Paths) -> Iterator[str]:
    """Removes the browser profiles that were left after their window closed. Yields an error for each that cannot be
    removed."""
    for place in places(paths.runtime_dir, Path(os.path.expanduser("~"))):
        try:
            remove_left_over(place)
        except BywayError as error:
            yield str(error)
