"""Detects edits of files by polling them with stat(), which works where inotify does not: through symbolic links and in
network folders."""

from __future__ import annotations

import os
from pathlib import Path


class FileWatch:
    """Detects an edit that is complete: two polls in a row have the same new state.

    An editor empties or removes a file before it writes the new one, and half a file must not take effect. A state is
    any value that changes when the files do.
    """

    def __init__(self, state: object = None) -> None:
        self._in_use = self._last = state

    def reset(self, state: object) -> None:
        """Starts again: `state` is in use, and was the state at the last poll."""
        self._in_use = self._last = state

    def use(self, state: object) -> None:
        """The files were read in this state."""
        self._in_use = state

    def changed(self, state: object) -> bool:
        """Whether `state` differs from the one in use and was the same at the last call. It is in use from then on."""
        settled = state == self._last != self._in_use
        self._last = state
        if settled:
            self._in_use = state
        return settled


def file_stamp(path: Path | str) -> tuple[int, int, int] | None:
    """Returns a value that changes with the file's content; None when there is no file. Symbolic links are followed."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
