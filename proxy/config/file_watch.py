"""Detects edits of files by polling them with stat(), which also works through symbolic links and in network folders,
where inotify does not."""

from __future__ import annotations

import os
from pathlib import Path


class FileWatch:
    """Detects an edit that is complete: two polls in a row have the same new state.

    Many editors empty or remove a file before they write the new one, and half a file must not take effect. A state is
    any value that changes with the files.
    """

    def __init__(self, state: object = None) -> None:
        self._in_use = self._last = state

    def reset(self, state: object) -> None:
        """Starts anew: `state` is the one in use and that of the last poll."""
        self._in_use = self._last = state

    def use(self, state: object) -> None:
        """Notes that the files were read in this state."""
        self._in_use = state

    def changed(self, state: object) -> bool:
        """Whether `state` differs from the one in use and equals that of the last call. If so, it becomes the one in
        use."""
        settled = state == self._last != self._in_use
        self._last = state
        if settled:
            self._in_use = state
        return settled


def file_stamp(path: Path | str) -> tuple[int, int, int] | None:
    """Returns a value that changes with the file's content; None for a missing file. Follows symbolic links."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
