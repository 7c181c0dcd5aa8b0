"""Values in a small file with mode 0600, kept across restarts and saved whenever they have changed.

A thread writes the file as a whole. Nothing waits for it, except `close`. A damaged file counts as missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from proxy.config.files import read_own_file
from proxy.config.paths import write_private
from proxy.model.errors import BywayError

log = logging.getLogger(__name__)

T = TypeVar("T")

FILE_LIMIT = 1024 * 1024


class SavedValues(Generic[T]):
    """A small file of values. `load` waits for the disk. The other methods need a running loop; a thread writes for
    them, one file after the other. If several versions of a file wait for a slow disk, only the last is written."""

    def __init__(
        self,
        file: Path | None,
        *,
        encode: Callable[[T], Mapping[str, object]],
        decode: Callable[[Mapping[str, Any]], T],
        most: int,
        what: str,
        loss: str = "",
    ) -> None:
        """`file` None: nothing is saved. `decode` raises KeyError, TypeError or ValueError for an invalid value. At
        most `most` values are saved, which together take less than FILE_LIMIT. `what` names them in warnings.

        With `loss`, the values give access: the file is read only if it is of this user alone, `loss` says in a warning
        what follows when it cannot be read, and a write is synced to the disk, so that a power cut brings no value
        back."""
        self._file = file
        self._encode = encode
        self._decode = decode
        self._most = most
        self._what = what
        self._loss = loss
        self._waiting: dict[Path, Sequence[T]] = {}
        self._writing: asyncio.Future[None] | None = None

    def load(self) -> Sequence[T]:
        """Returns the saved values; empty if there is no file, or it is damaged."""
        return () if self._file is None else self._read(self._file)

    def keep_in(self, file: Path | None) -> bool:
        """Changes the file; None: there is none, and the previous one is deleted. Returns whether the file changed, so
        that the values have to be saved."""
        if file == self._file:
            return False
        old, self._file = self._file, file
        if file is None and old is not None:
            self._write(old, ())
        return True

    def save(self, values: Sequence[T]) -> None:
        """Replaces the file; without values it is deleted. A failure is logged."""
        if self._file is not None:
            self._write(self._file, values)

    async def written(self) -> None:
        """Waits until everything is written."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    def _write(self, file: Path, values: Sequence[T]) -> None:
        self._waiting.pop(file, None)  # moves it to the end
        self._waiting[file] = values
        if self._writing is None:
            self._write_next()

    def _write_next(self, done: asyncio.Future[None] | None = None) -> None:
        """Lets a thread write the next file. `done` is the previous write; its exception goes to the loop's handler."""
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
                write = partial(write_private, durable=True) if self._loss else write_private
                write(file, json.dumps([self._encode(value) for value in values[: self._most]]))
            else:
                if self._loss and file.exists():
                    write_private(file, "[]", durable=True)  # the deletion itself may be lost in a power cut
                with contextlib.suppress(OSError):  # no permission: the values in it only get older
                    file.unlink(missing_ok=True)
        except BywayError as error:
            log.warning("%s is not saved: %s", self._what, error)

    def _read(self, file: Path) -> Sequence[T]:
        try:
            content = json.loads(read_own_file(file, limit=FILE_LIMIT, of_this_user=bool(self._loss)))
            return [self._decode(entry) for entry in content[: self._most]]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            if self._loss:
                log.warning("%s: %s cannot be read (%s).", self._loss, os.fspath(file), type(error).__name__)
            else:
                log.debug("%s cannot be read: %s", os.fspath(file), type(error).__name__)
            return ()


class SavedChanges(Generic[T]):
    """Saves values in `file` when they have changed. Belongs to one loop."""

    def __init__(self, file: SavedValues[T], *, version: Callable[[], int], values: Callable[[], Sequence[T]]) -> None:
        """`version` returns another number after each change of the `values`, never a negative one. The values of now
        count as saved."""
        self.file = file
        self._version = version
        self._values = values
        self._saved = version()

    def save(self) -> None:
        """Starts to write the values if they have changed."""
        if self._saved != (version := self._version()):
            self._saved = version
            self.file.save(self._values())

    def keep_in(self, place: Path | None) -> None:
        """Changes the file; None: there is none, and the previous one is deleted."""
        if self.file.keep_in(place):
            self._saved = -1

    def is_saved(self) -> None:
        """Marks the values as saved: they were loaded from the file."""
        self._saved = self._version()

    async def close(self) -> None:
        """Saves, and waits until everything is written."""
        self.save()
        await self.file.written()


def number(value: object) -> int | float:
    """Returns a number from such a file, from 0 to 1e11. Raises ValueError for anything else: the file is not
    trusted."""
    if not isinstance(value, int | float) or not 0 <= value < 1e11:  # NaN fails the comparison too
        raise ValueError("not a number of this file's")
    return value


def text(value: object, limit: int) -> str:
    """Returns a text from such a file, of at most `limit` characters. Raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > limit:
        raise ValueError("not a text of this file's")
    return value
