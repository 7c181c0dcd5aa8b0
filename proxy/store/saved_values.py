"""Values that are kept across restarts in a small file of the user's alone, saved whenever they have changed.

Such a file is written as a whole, in a thread, and never waited for but at the end. One that is damaged counts as none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from proxy.config.files import read_own_file
from proxy.config.paths import write_private
from proxy.model.errors import BywayError

log = logging.getLogger(__name__)

T = TypeVar("T")

FILE_LIMIT = 1024 * 1024


class SavedValues(Generic[T]):
    """A small file of values. Only `load` waits for the disk: the others belong to a running loop,
    and a thread writes what they leave to it, one after the other. Of what waits for a slow disk only the last is
    written."""

    def __init__(
        self,
        file: Path | None,
        *,
        encode: Callable[[T], Mapping[str, object]],
        decode: Callable[[Mapping[str, Any]], T],
        most: int,
        what: str,
    ) -> None:
        """`file` None: nothing is kept. `decode` raises KeyError, TypeError or ValueError for what is none. At most
        `most` values are kept, which together take less than FILE_LIMIT. `what` they are stands in warnings."""
        self._file = file
        self._encode = encode
        self._decode = decode
        self._most = most
        self._what = what
        self._waiting: dict[Path, Sequence[T]] = {}
        self._writing: asyncio.Future[None] | None = None

    def load(self) -> Sequence[T]:
        """Returns what was saved; empty when there is none, or the file is damaged."""
        return () if self._file is None else self._read(self._file)

    def keep_in(self, file: Path | None) -> bool:
        """Uses another file; None: none, and the one so far is deleted. Returns whether it is another one, which has to
        be saved."""
        if file == self._file:
            return False
        old, self._file = self._file, file
        if file is None and old is not None:
            self._write(old, ())
        return True

    def save(self, values: Sequence[T]) -> None:
        """Replaces the file; without values it is deleted. What cannot be written is logged."""
        if self._file is not None:
            self._write(self._file, values)

    async def written(self) -> None:
        """Waits until nothing is left to write."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    def _write(self, file: Path, values: Sequence[T]) -> None:
        self._waiting.pop(file, None)  # so that it is the last one
        self._waiting[file] = values
        if self._writing is None:
            self._write_next()

    def _write_next(self, done: asyncio.Future[None] | None = None) -> None:
        """Leaves the next file to a thread. `done`: the one before; what it raised goes to the loop's handler."""
        self._writing = None
        if self._waiting:
            file = next(iter(self._waiting))
            loop, values = asyncio.get_running_loop(), self._waiting.pop(file)
            self._writing = loop.run_in_executor(None, self._replace, file, values)
            self._writing.add_done_callback(self._write_next)
        if done is not None:
            done.result()

    def _replace(self, file: Path, values: Sequence[T]) -> None:
        try:
            if values:
                write_private(file, json.dumps([self._encode(value) for value in values[: self._most]]))
            else:
                with contextlib.suppress(OSError):  # a folder that cannot be written: what is there only gets older
                    file.unlink(missing_ok=True)
        except BywayError as error:
            log.warning("%s is not saved: %s", self._what, error)

    def _read(self, file: Path) -> Sequence[T]:
        try:
            content = json.loads(read_own_file(file, limit=FILE_LIMIT))
            return [self._decode(entry) for entry in content[: self._most]]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.debug("%s cannot be read: %s", os.fspath(file), type(error).__name__)
            return ()


class SavedChanges(Generic[T]):
    """Saves values in `file` whenever they have changed. Belongs to one loop."""

    def __init__(self, file: SavedValues[T], *, version: Callable[[], int], values: Callable[[], Sequence[T]]) -> None:
        """`version` is another number after each change of the `values`, and not negative. What there is now counts as
        saved."""
        self.file = file
        self._version = version
        self._values = values
        self._saved = version()

    def save(self) -> None:
        """Has the values written if they have changed."""
        if self._saved != (version := self._version()):
            self._saved = version
            self.file.save(self._values())

    def keep_in(self, place: Path | None) -> None:
        """Uses another file from now on; None: none, and the one so far is deleted."""
        if self.file.keep_in(place):
            self._saved = -1

    def is_saved(self) -> None:
        """What there is now came from the file."""
        self._saved = self._version()

    async def close(self) -> None:
        """Saves, and waits until all is written."""
        self.save()
        await self.file.written()


def number(value: object) -> int | float:
    """Returns a number of such a file. Raises ValueError for anything else: what a user wrote there is not trusted."""
    if not isinstance(value, int | float) or not 0 <= value < 1e11:  # NaN fails the comparison, too
        raise ValueError("not a number of this file's")
    return value


def text(value: object, limit: int) -> str:
    """The same for a text of at most `limit` characters."""
    if not isinstance(value, str) or len(value) > limit:
        raise ValueError("not a text of this file's")
    return value
