"""Notices edits of files by polling them: a stat() sees through the symbolic links and network folders that change
notices do not reach."""

from __future__ import annotations

from pathlib import Path


class FileWatch:
    """Tells an edit that has come to rest: two polls in a row see the same new state.

    An editor empties or removes a file before it writes the new one, and half of a file must not act. A state is any
    value that changes when the files do.
    """

    def __init__(self, state: object = None) -> None:
        self._in_use = self._last = state

    def reset(self, state: object) -> None:
        """Begins anew: `state` is in use."""
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


def file_stamp(path: Path) -> tuple[int, int, int] | None:
    """A value that changes when the file's content does; None when there is no file. Symbolic links are followed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
