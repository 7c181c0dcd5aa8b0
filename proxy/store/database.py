"""The log's database while Byway runs: opened when it is needed, reopened when its file was replaced, begun anew when
it is damaged.

`file` opens, checks and sets aside a file; this module decides when. Browsing never stops for the log: the next call
retries after a fault, and `trouble` has the reason until then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from proxy.store.file import check_layout, is_damage, is_stale, open_reader, open_store, set_aside, set_aside_notice
from proxy.store.salvage import read_overrides
from proxy.store.state_copy import StateCopy

log = logging.getLogger(__name__)

T = TypeVar("T")

Query = Callable[[sqlite3.Connection], T]
"""Reads or writes on a connection that it is given and does not close."""

NOTICES_MAX = 20

_FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError, MemoryError)
"""Errors of a file that is damaged or cannot be used now. UnicodeDecodeError: SQLite's message quotes the damaged file.
MemoryError: a damaged file states an absurd size."""


class LogDatabase:
    """One connection to the log's file, for the writer; readers get connections of their own. Any thread may call it:
    a lock lets one at a time use the writer's connection. No method raises for the file's sake."""

    def __init__(self, path: Path | None, state: StateCopy) -> None:
        """`path` None: a database in memory. `state` is read from the file when it is opened, and written to a new one
        that has to take its place."""
        self.next_id = 1
        """The number of the next connection in the log. Opening sets it; the `work` of `run` may read and increase
        it."""
        self.trouble = ""
        """Why the file cannot be used at the moment; empty when it can."""
        self._path = path
        self._state = state
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._opened_before = False
        self._is_set_aside = False  # the file was set aside, and no new one begun yet
        self._notices: list[str] = []

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for the user, such as that a file was set aside. The newest NOTICES_MAX."""
        return tuple(self._notices)

    def start(self) -> None:
        """Opens the file and checks every page. Where it cannot be opened now, its overrides are read all the same, as
        far as possible."""
        with self._lock:
            self._open(check=True)
            if self._db is None and self._path is not None:
                self._state.overrides |= read_overrides(self._path)

    def run(self, work: Query[object]) -> bool:
        """Runs `work` on the file, or on a new one when it is damaged. Returns False when neither is possible now.
        Raises the errors of `work` that are about a value, and not about the file."""
        with self._lock:
            return self._run(work)

    def query(self, query: Query[T]) -> T:
        """Runs `query` on a connection of its own, without waiting for the writer. A damaged file is set aside and the
        new one asked; when none can be read, the result is that of an empty log, and `trouble` says why."""
        if self._path is None:  # a database in memory has no second connection
            with self._lock:
                return _query_empty_log(query) if self._db is None else query(self._db)
        try:
            return _query_file(self._path, query)
        except _FAULTS:
            with self._lock:
                return self._query_after_repair(self._path, query)

    def verify(self) -> None:
        """Checks that the file holds the beliefs and overrides that the copy in memory holds, and writes them again if
        not. They are read only at the start, so damage to them would not show before the next one."""

        def is_same(db: sqlite3.Connection) -> bool:
            check_layout(db)
            return self._state.equals(db)

        with self._lock:
            if self._path is not None and not self._query_after_repair(self._path, is_same):
                self._run(self._state.write_to)

    def close(self) -> None:
        """Closes the connection. A later call opens the file again."""
        with self._lock:
            self._close()

    # -- with the lock -------------------------------------------------------------------------------------------------

    def _run(self, work: Query[object]) -> bool:
        for attempt in (1, 2):
            try:
                db = self._usable()
                if db is None:
                    return False
                work(db)
            except _FAULTS as error:
                if attempt == 1 and is_stale(error):
                    self._close()
                elif not self._fail(error):
                    return False
            else:
                self.trouble = ""
                return True
        return False

    def _query_after_repair(self, path: Path, query: Query[T]) -> T:
        """Asks the file, which another thread may have set aside meanwhile. One that cannot be read is opened again
        with a check of every page; if that does not help, it is set aside."""
        for attempt in (1, 2, 3):
            try:
                return _query_file(path, query)
            except _FAULTS as error:
                if attempt == 1:
                    self._close()
                    self._open(check=True)
                elif attempt == 2:
                    self._fail(error)
                else:
                    self._report_trouble("read", error)
                if self._db is None:
                    self._open(check=False)
        return _query_empty_log(query)

    def _usable(self) -> sqlite3.Connection | None:
        """Returns the open file, and opens it again when another file lies at its path. None: it cannot be opened."""
        if self._db is not None and self._path is not None:
            # SQLite goes on writing to a file that was deleted or renamed, and no error shows it.
            try:
                was_replaced = os.stat(self._path).st_ino != self._inode
            except FileNotFoundError:
                was_replaced = True
            if was_replaced:
                self._close()
        if self._db is None:
            self._open(check=False)
        return self._db

    def _open(self, *, check: bool) -> None:
        """Opens the file and sets `_db`, or reports why it cannot."""
        try:
            opened = open_store(self._path, check=check)
            self._db, self._inode = opened.db, opened.inode
            (last,) = self._db.execute("SELECT max(id) FROM outcome").fetchone()
            self.next_id = (last or 0) + 1
            if opened.is_new:
                if self._path is not None and opened.aside is None and self._opened_before and not self._is_set_aside:
                    self.notice(f"The log {self._path.name} was moved or deleted. A new log was started.")
                self._state.salvage(opened.aside)
                self._state.write_to(self._db)
            elif not self._state.is_complete and (unreadable := self._state.load(self._db)):
                self.notice(f"Unreadable rows in the log: {unreadable}. They were left out.")
            self._opened_before, self._is_set_aside = True, False
        except (*_FAULTS, OverflowError, TypeError) as error:  # the last two: a last row number that is no number
            self._fail(error)
            return
        for notice in opened.notices:
            self.notice(notice)

    def _fail(self, error: BaseException) -> bool:
        """Closes the file, to be opened again later. Returns True when it was damaged and is set aside, so that a new
        one can be created at once."""
        self._close()
        if is_damage(error) and self._path is not None:
            with contextlib.suppress(OSError):
                aside = set_aside(self._path, error)
                self._is_set_aside = True
                self._state.salvage(aside)
                self.notice(set_aside_notice(self._path, aside, error))
                return True
        self._report_trouble("written", error)
        return False

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):  # closing checkpoints the write-ahead log, which may fail
                db.close()

    def _report_trouble(self, verb: str, error: BaseException) -> None:
        """Sets `trouble`, and logs a reason when it is not the one logged before."""
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        if reason != self.trouble:
            self.trouble = reason
            log.warning("the log cannot be %s: %s; retrying", verb, reason)

    def notice(self, sentence: str) -> None:
        log.warning("%s", sentence)
        self._notices.append(sentence)
        del self._notices[:-NOTICES_MAX]


def _query_file(path: Path, query: Query[T]) -> T:
    """Runs a query on a new connection: it reads the file, where the writer's would read its own cache of pages and not
    notice damage. Raises one of _FAULTS."""
    with contextlib.closing(open_reader(path)) as db:
        return query(db)


def _query_empty_log(query: Query[T]) -> T:
    with contextlib.closing(open_store(None).db) as db:
        return query(db)
