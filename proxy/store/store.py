"""Stores outcomes, beliefs and the user's overrides; no caller ever waits for the disk.

What is recorded goes into a bounded queue; one thread writes it in batches of at most a quarter of a second. When the
disk is full, the file locked or gone, browsing goes on: what cannot be written waits, then is dropped and counted, and
the file is tried again each second. The log is browsing history, so by default only hosts that needed a decision are
stored by name, and only the user can read the file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, Unpack

from proxy.config.schema import Log
from proxy.model import Belief, Change, NetworkId, Outcome, Override
from proxy.store import queries
from proxy.store.file import (
    check_layout,
    is_damage,
    is_stale,
    open_reader,
    open_store,
    set_aside,
    set_aside_notice,
    transaction,
)
from proxy.store.privacy import LogPrivacy, is_storable
from proxy.store.retention import SteadyClock, has_lapsed, keep_newest, remove_old
from proxy.store.rows import Batch, Document
from proxy.store.salvage import read_overrides

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_S = 0.1
"""How long rows are gathered. With the writing itself a row is on disk within 250 ms."""

BATCH_ROWS = 5_000
QUEUE_ROWS = 20_000
"""Outcomes that may wait. Beliefs and overrides are few and matter more: they may wait in twice as many."""

RETRY_S = 1.0
HOUSEKEEPING_S = 3600.0
MEMORY_ROWS = 10_000
"""Connections kept by a log in memory."""

DAY_S = 86_400.0
CLOSE_S = 5.0

_BAD_VALUES = (
    OverflowError,
    ValueError,
    TypeError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""Errors of one row that cannot be stored; the file is sound."""

_FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError, MemoryError)
"""Errors of a file that is damaged or cannot be used now. UnicodeDecodeError: SQLite's message quotes the damaged file.
MemoryError: a damaged file states an absurd size."""


class _Recorded(NamedTuple):
    outcome: Outcome
    network: NetworkId


class _Overridden(NamedTuple):
    host: str
    override: Override | None


_Item = _Recorded | Change | _Overridden


class Store:
    """The log. `record`, `believe`, `set_override` and `clear_override` belong to the event loop's thread: they return
    at once and never raise. `start`, `close` and everything that reads may wait for the disk: they are called in a
    thread, or before and after the loop serves."""

    def __init__(self, path: Path | None, settings: Log | None = None) -> None:
        """`path` None: in memory, and nothing is ever written to a disk."""
        self._path = path
        self._queue: deque[_Item] = deque()
        self._unwritten: list[_Item] = []  # taken from the queue and not on disk yet
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._written = threading.Condition()
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None
        self._db_lock = threading.Lock()
        self._inode = 0
        self._next_id = 1
        self._overflowed = 0  # counted by the loop's thread
        self._discarded = 0  # counted by the writer's
        self._trouble = ""
        self._is_loaded = False  # `_beliefs` and `_overrides` have all that was in the file
        self._opened_before = False
        self._is_aside = False  # the file was set aside, and no new one begun yet
        self._notices: list[str] = []
        self._beliefs: dict[tuple[str, NetworkId], Belief] = {}  # what is on disk: for a file that has to be begun anew
        self._overrides: dict[str, Override] = {}
        self._clock = SteadyClock()
        self._housekeeping_at = 0.0
        self.configure(settings if settings is not None else Log())

    # -- life ------------------------------------------------------------------------------------------------------

    def configure(self, settings: Log) -> None:
        """Takes the `[log]` settings, at the start and after a reload."""
        self._privacy = LogPrivacy(settings)
        self._keep_s = settings.keep_days * DAY_S

    @property
    def keeps(self) -> bool:
        """Whether anything is written to a file at all."""
        return self._path is not None

    def is_private(self, host: str) -> bool:
        """Whether `[log] never` names it: it is not written down, and not to be re-tested either."""
        return self._privacy.is_private(host)

    def start(self) -> None:
        """Opens the file and starts writing. Never fails for the file's sake: see `notices`."""
        with self._db_lock:
            self._open(check=True)
            if self._db is None and self._path is not None:
                self._overrides |= read_overrides(self._path)
        self._thread = threading.Thread(target=self._run, name="byway-store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what waits, and ends; after at most five seconds it leaves a disk that does not answer."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                log.warning("the log could not be written completely: %d entries were lost", self.waiting_rows)

    # -- writing ---------------------------------------------------------------------------------------------------

    def record(self, outcome: Outcome, *, network: NetworkId) -> None:
        """Queues the outcome of a connection to be stored, as far as `[log] hosts` allows."""
        if len(self._queue) >= QUEUE_ROWS or self._closing.is_set():
            self._overflowed += 1
            return
        self._queue.append(_Recorded(outcome, network))
        if not self._wake.is_set():
            self._wake.set()

    def believe(self, changes: Sequence[Change]) -> None:
        """Queues changes of belief. One whose state stays the same is stored but does not enter the ledger."""
        for change in changes:
            self._append(change)

    def set_override(self, host: str, override: Override) -> None:
        """Queues an override of `byway site set`."""
        self._append(_Overridden(host, override))

    def clear_override(self, host: str) -> None:
        """Queues the removal of an override."""
        self._append(_Overridden(host, None))

    def _append(self, item: _Item) -> None:
        if len(self._queue) >= 2 * QUEUE_ROWS or self._closing.is_set():
            self._overflowed += 1
            return
        self._queue.append(item)
        self._wake.set()

    @property
    def dropped_rows(self) -> int:
        """Number of entries lost since the start."""
        return self._overflowed + self._discarded

    @property
    def waiting_rows(self) -> int:
        """Number of entries that are not on disk yet."""
        return len(self._queue) + len(self._unwritten)

    @property
    def trouble(self) -> str:
        """Why the log cannot be written at the moment; empty when it can."""
        return self._trouble

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for the user, such as that a file was set aside. The newest 20."""
        return tuple(self._notices)

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Waits until all that was recorded before is on disk; False after `timeout_s`."""
        self._wake.set()
        with self._written:
            return self._written.wait_for(lambda: not self.waiting_rows, timeout_s)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Runs one of `queries` on a connection of its own. A damaged log is set aside and the query runs on the new
        one; when none can be read, the result is that of an empty log, and `trouble` says why."""
        if self._path is None:
            with self._db_lock:
                return _query_empty_log(query) if self._db is None else query(self._db)
        try:
            return _query(self._path, query)
        except _FAULTS:
            with self._db_lock:
                return self._query_after_repair(self._path, query)

    def _query_after_repair(self, path: Path, query: Callable[[sqlite3.Connection], T]) -> T:
        """Asks the file, which another thread may have set aside meanwhile. One that cannot be read is opened anew with
        a check of every page; if that does not help, it is set aside. With the lock."""
        for mend in (self._open_anew, self._fail, self._cannot_read):
            try:
                return _query(path, query)
            except _FAULTS as error:
                mend(error)
                if self._db is None:
                    self._open(check=False)
        return _query_empty_log(query)

    def log(self, **selected: Unpack[queries.LogFilter]) -> list[Document]:
        """See `queries.log`."""
        return self.read(lambda db: queries.log(db, **selected))

    def changes(self, scope: str | None = None) -> list[Document]:
        """See `queries.changes`."""
        return self.read(lambda db: queries.changes(db, scope))

    def route_success(self, since: float) -> list[Document]:
        """See `queries.route_success`."""
        return self.read(lambda db: queries.route_success(db, since))

    def relay_success(self, since: float) -> list[Document]:
        """See `queries.relay_success`."""
        return self.read(lambda db: queries.relay_success(db, since))

    def load_beliefs(self) -> list[Belief]:
        """Returns the stored beliefs, as they were when the file was opened."""
        return list(self._beliefs.values())

    def load_overrides(self) -> dict[str, Override]:
        """Returns the overrides of `byway site set`, as they were when the file was opened."""
        return dict(self._overrides)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        more_to_retire = False
        while not self._closing.is_set():
            due_s = max(0.0, self._housekeeping_at - time.monotonic())
            self._wake.wait(0.0 if more_to_retire else due_s)
            self._closing.wait(BATCH_S)
            self._wake.clear()
            if not self._write_waiting():
                self._closing.wait(RETRY_S)
                continue
            if more_to_retire or time.monotonic() >= self._housekeeping_at:
                more_to_retire = self._retire()
        self._end()

    def _write_waiting(self) -> bool:
        """Writes all queued entries; False when the file cannot be written now."""
        while self._queue or self._unwritten:
            while self._queue and len(self._unwritten) < BATCH_ROWS:
                self._unwritten.append(self._queue[0])  # before popleft, so that waiting_rows never misses it
                self._queue.popleft()
            with self._db_lock:
                if not self._try(self._write_batch):
                    self._wake.set()
                    return False
            self._unwritten = []
            with self._written:
                self._written.notify_all()
        return True

    def _try(self, work: Callable[[sqlite3.Connection], None]) -> bool:
        """Runs `work` on the file, or on a new file when it is damaged; False when neither is possible now."""
        for is_last in (False, True):
            try:
                db = self._usable()
                if db is None:
                    return False
                work(db)
                break
            except _FAULTS as error:
                if is_stale(error) and not is_last:
                    self._shut()
                elif not self._fail(error):
                    return False
        else:
            return False
        if self._trouble:
            log.warning("the log can be written again; %d entries were lost", self.dropped_rows)
            self._trouble = ""
        return True

    def _usable(self) -> sqlite3.Connection | None:
        """Returns the open file, and opens it again when another file lies at its path. None: it cannot be opened."""
        if self._db is not None and self._path is not None:
            try:
                moved = os.stat(self._path).st_ino != self._inode
            except FileNotFoundError:
                moved = True
            if moved:
                self._shut()
        if self._db is None:
            self._open(check=False)
        return self._db

    def _open(self, *, check: bool) -> None:
        """Opens the file and sets `_db`, or logs why it cannot."""
        try:
            opened = open_store(self._path, check=check)
            self._db, self._inode = opened.db, opened.inode
            (last,) = self._db.execute("SELECT max(id) FROM outcome").fetchone()
            self._next_id = (last or 0) + 1
            if opened.fresh:
                if self._path is not None and opened.aside is None and self._opened_before and not self._is_aside:
                    self._notice(f"The log {self._path.name} was moved or deleted. A new log was started.")
                self._salvage(opened.aside)
                self._refill(self._db)
            elif not self._is_loaded:
                self._load(self._db)
            self._opened_before, self._is_aside = True, False
        except (*_FAULTS, OverflowError, TypeError) as error:
            self._fail(error)
            return
        for notice in opened.notices:
            self._notice(notice)

    def _open_anew(self, _error: BaseException) -> None:
        self._shut()
        self._open(check=True)

    def _salvage(self, aside: Path | None) -> None:
        """Reads the overrides of a file that was set aside, unless memory is known to have all of them."""
        if aside is not None and not self._is_loaded:
            self._overrides = read_overrides(aside) | self._overrides
        self._is_loaded = True

    def _refill(self, db: sqlite3.Connection) -> None:
        """Replaces the beliefs and overrides in a file by those in memory, so that damage costs only history."""
        batch = Batch(beliefs=dict(self._beliefs), overrides=dict(self._overrides))
        with transaction(db):
            db.execute("DELETE FROM belief")
            db.execute("DELETE FROM override")
            batch.write(db)

    def _load(self, db: sqlite3.Connection) -> None:
        """Reads beliefs and overrides into memory. Entries recorded since the start are newer and win."""
        beliefs, bad_beliefs = queries.beliefs(db)
        overrides, bad_overrides = queries.overrides(db)
        self._beliefs = {(belief.scope, belief.network): belief for belief in beliefs} | self._beliefs
        self._overrides = overrides | self._overrides
        self._is_loaded = True
        if bad := bad_beliefs + bad_overrides:
            self._notice(f"Unreadable rows in the log: {bad}. They were left out.")

    def _fail(self, error: BaseException) -> bool:
        """Closes the file, to be opened again later. True: it was damaged and is set aside, so a new one may be created
        at once."""
        self._shut()
        if is_damage(error) and self._path is not None:
            with contextlib.suppress(OSError):
                aside = set_aside(self._path)
                self._is_aside = True
                self._salvage(aside)
                self._notice(set_aside_notice(self._path, aside, error))
                return True
        self._report_trouble("written", error)
        return False

    def _cannot_read(self, error: BaseException) -> None:
        self._report_trouble("read", error)

    def _report_trouble(self, verb: str, error: BaseException) -> None:
        """Sets `trouble`, and logs a reason when it is not the one logged before."""
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        if reason != self._trouble:
            self._trouble = reason
            log.warning("the log cannot be %s: %s; retrying", verb, reason)

    def _shut(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _notice(self, sentence: str) -> None:
        log.warning("%s", sentence)
        self._notices.append(sentence)
        del self._notices[:-20]

    # -- one batch -------------------------------------------------------------------------------------------------

    def _write_batch(self, db: sqlite3.Connection) -> None:
        try:
            with transaction(db):
                self._gather(self._unwritten).write(db)
        except UnicodeDecodeError:
            raise
        except _BAD_VALUES:
            self._write_one_by_one(db)
        for item in self._unwritten:
            self._remember(item)
        if self._path is None:
            keep_newest(db, self._next_id - MEMORY_ROWS)

    def _write_one_by_one(self, db: sqlite3.Connection) -> None:
        """Writes each row in a transaction of its own, so that one bad row costs no other. Raises Unusable when the
        file itself is at fault."""
        check_layout(db)
        for item in tuple(self._unwritten):
            try:
                with transaction(db):
                    self._gather([item]).write(db)
            except _BAD_VALUES as error:
                self._unwritten.remove(item)
                self._discarded += 1
                log.warning("a log entry could not be stored: %s", type(error).__name__)

    def _gather(self, items: Iterable[_Item]) -> Batch:
        """Returns the rows for those items that the current settings allow to be written."""
        batch, privacy = Batch(), self._privacy
        for item in items:
            if isinstance(item, _Overridden):
                batch.overrides[item.host] = item.override
            elif isinstance(item, Change):
                if privacy.may_list(item):
                    batch.add_change(item, in_ledger=item.before is not item.after, stored=is_storable(item))
            elif privacy.may_count(item.outcome):
                batch.count(item.outcome, item.network)
                if privacy.may_name(item.outcome):
                    batch.add_outcome(self._next_id, item.outcome, item.network)
                    self._next_id += 1
        return batch

    def _remember(self, item: _Item) -> None:
        match item:
            case Change(scope=scope, network=network, belief=belief):
                if belief is None:
                    self._beliefs.pop((scope, network), None)
                elif self._privacy.may_store(item):
                    self._beliefs[scope, network] = belief
            case _Overridden(host, None):
                self._overrides.pop(host, None)
            case _Overridden(host, Override() as override):
                self._overrides[host] = override

    # -- housekeeping ----------------------------------------------------------------------------------------------

    def _retire(self) -> bool:
        """Removes a few old rows; True when there are more."""
        now, more = self._clock.now(), False

        def work(db: sqlite3.Connection) -> None:
            nonlocal more
            more = remove_old(db, keep_s=self._keep_s, now=now)
            for key in [key for key, belief in self._beliefs.items() if has_lapsed(belief, now)]:
                del self._beliefs[key]

        with self._db_lock:
            done = self._try(work)
            if done and not more:
                self._verify_file()
        if done and more:
            return True
        self._housekeeping_at = time.monotonic() + HOUSEKEEPING_S
        return False

    def _end(self) -> None:
        """Writes what is queued for the last time; what cannot be written now is lost."""
        if not self._write_waiting():
            self._discarded += self.waiting_rows
            self._queue.clear()
            self._unwritten = []
        with self._db_lock:
            if self._try(_checkpoint):
                self._verify_file()
            self._shut()

    def _verify_file(self) -> None:
        """Checks that the file holds the beliefs and overrides that memory holds, and rewrites them if not. They are
        read only at the start, so damage to them would not show before. The caller holds the lock."""

        def is_same(db: sqlite3.Connection) -> bool:
            check_layout(db)
            beliefs, bad = queries.beliefs(db)
            return (
                queries.overrides(db) == (self._overrides, 0)
                and not bad
                and {(belief.scope, belief.network): belief for belief in beliefs} == self._beliefs
            )

        if self._path is not None and not self._query_after_repair(self._path, is_same):
            self._try(self._refill)


def _query(path: Path, query: Callable[[sqlite3.Connection], T]) -> T:
    """Runs a query on a fresh connection, which sees the file and not the writer's cache. Raises one of _FAULTS."""
    with contextlib.closing(open_reader(path)) as db:
        return query(db)


def _checkpoint(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _query_empty_log(query: Callable[[sqlite3.Connection], T]) -> T:
    with contextlib.closing(open_store(None).db) as db:
        return query(db)
