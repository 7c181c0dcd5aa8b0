"""Stores outcomes, beliefs, last results and the user's overrides. The event loop never waits for the disk.

Entries go into a bounded queue; one thread writes them in batches, within a quarter of a second. While the disk is
full, or the file locked or missing, browsing goes on: entries wait, then are dropped and counted, and the file is tried
again each second. The log is browsing history, so by default only hosts that needed a decision are stored by name, and
only the user can read the file.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar, Unpack

from proxy.config.schema import Log
from proxy.model import Belief, Change, NetworkId, Outcome, Override, ResultKey, StoredResult
from proxy.model.errors import BywayError
from proxy.store import queries, route_queries
from proxy.store.database import LogDatabase, Query
from proxy.store.file import check_layout, transaction, truncate_wal
from proxy.store.forgetting import Forgotten, forget_rows
from proxy.store.logged import LoggedConnection, StatusChange
from proxy.store.privacy import Kept, LogPrivacy, is_storable
from proxy.store.retention import SteadyClock, keep_newest, remove_old
from proxy.store.route_queries import RelaySuccess, RouteHour, RouteSuccess
from proxy.store.rows import HOUR_S, Batch, DirectSums, to_text
from proxy.store.state_copy import StateCopy

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_S = 0.2
"""Seconds for which rows are collected. With the time to write, a row is on disk within 250 ms. Each batch costs half a
millisecond beside its rows."""

BATCH_ROWS = 5_000
QUEUE_ROWS = 20_000
"""Entries in the queue up to which outcomes are taken. Beliefs, results and overrides are few and matter more: for them
the limit is twice as high."""

RETRY_S = 1.0
HOUSEKEEPING_S = 3600.0
MEMORY_ROWS = 10_000
"""Connections that a log in memory holds at most."""

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

_Recorded = tuple[Outcome, NetworkId]


class _Overridden(NamedTuple):
    host: str
    override: Override | None


class _Result(NamedTuple):
    key: ResultKey
    result: StoredResult | None
    is_troubled: bool = False


class _Counted(NamedTuple):
    """A connection of which only the counts are written."""

    outcome: Outcome
    network: NetworkId


_Item = _Recorded | _Counted | DirectSums | Change | _Overridden | _Result


class Store:
    """The log. `record`, `believe`, `keep_result`, `drop_result`, `set_override` and `clear_override` belong to the
    event loop's thread: they return at once and never raise. `start`, `close` and all methods that read may wait for
    the disk: call them in a thread, or before and after the loop runs."""

    def __init__(self, path: Path | None, settings: Log | None = None) -> None:
        """`path` None: in memory; nothing is written to a disk."""
        self._path = path
        self._queue: deque[_Item] = deque()
        self._unwritten: list[_Item] = []  # taken from the queue and not on disk yet
        self._sums: dict[tuple[int, NetworkId], DirectSums] = {}  # both threads change it, with `_sums_lock`
        self._sums_lock = threading.Lock()
        self._is_awake = False  # the thread will look at the queue again
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._at_once = threading.Event()  # a caller of `flush` or `close` waits, so the batch is written at once
        self._is_closing = False
        self._written = threading.Condition()
        self._thread: threading.Thread | None = None
        self._state = StateCopy()
        self._database = LogDatabase(path, self._state)
        self._overflowed = 0  # counted by the loop's thread
        self._discarded = 0  # counted by the writer's
        self._clock = SteadyClock()
        self._left_out: list[Collection[int]] = []  # ids of requests, which reveal nothing
        self._housekeeping_at = 0.0
        self.configure(settings if settings is not None else Log())

    # -- life ------------------------------------------------------------------------------------------------------

    def configure(self, settings: Log) -> None:
        """Takes the `[log]` settings, at the start and after a reload."""
        self._privacy = LogPrivacy(settings)
        self._keep_s = settings.keep_days * DAY_S

    @property
    def has_file(self) -> bool:
        """Whether the log is on a disk."""
        return self._path is not None

    def is_private(self, host: str) -> bool:
        """Whether `[log] never` names a host: it must not be logged, nor re-tested."""
        return self._privacy.is_private(host)

    def start(self) -> None:
        """Opens the file and starts the thread. A bad file never makes it fail: see `notices`."""
        self._database.start()
        self._thread = threading.Thread(target=self._run, name="byway-store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes the queue and ends the thread. Gives up after five seconds if the disk does not answer."""
        self._is_closing = True
        self._closing.set()
        self._at_once.set()
        self._wake_up()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                log.warning("the log could not be written completely: %d entries were lost", self.waiting_rows)

    # -- writing ---------------------------------------------------------------------------------------------------

    def record(self, outcome: Outcome, *, network: NetworkId) -> None:
        """Queues the outcome of a connection, as far as `[log] hosts` allows."""
        if self._is_closing or len(self._queue) >= QUEUE_ROWS:
            self._overflowed += 1
            return
        kept = self._privacy.kept(outcome)
        if kept is Kept.NOTHING or self._leaves_out(outcome.request.id):
            return
        if kept is Kept.DIRECT_COUNT:
            self._count(network, outcome.at, outcome.bytes_up, outcome.bytes_down)
            return
        self._queue.append((outcome, network))
        if not self._is_awake:
            self._wake_up()

    def count_direct(self, network: NetworkId, request: int, at: float, bytes_up: int, bytes_down: int) -> bool:
        """Counts a connection that began `at`, for which only direct was tried, under AUTO, and delivered. `request` is
        the id of its request. False: it was not counted, since the log may keep more of it, or nothing: call
        `record`."""
        if not self._privacy.counts_direct or self._is_closing or self._leaves_out(request):
            return False
        self._count(network, at, bytes_up, bytes_down)
        return True

    def _count(self, network: NetworkId, at: float, bytes_up: int, bytes_down: int) -> None:
        hour = int(at) // HOUR_S * HOUR_S
        with self._sums_lock:
            sums = self._sums.get((hour, network))
            if sums is None:
                sums = self._sums[hour, network] = DirectSums(hour, network)
            sums.connections += 1
            sums.bytes_up += bytes_up
            sums.bytes_down += bytes_down
        if not self._is_awake:
            self._wake_up()

    def count(self, outcome: Outcome, *, network: NetworkId) -> None:
        """Queues the outcome of a connection that is only counted, in the sums of its routes, whatever its host."""
        if self._is_closing or len(self._queue) >= QUEUE_ROWS:
            self._overflowed += 1
        elif self._privacy.kept(outcome) is not Kept.NOTHING:
            self._append(_Counted(outcome, network))

    def believe(self, changes: Sequence[Change]) -> None:
        """Queues changes of beliefs. A change with the same state before and after is not written to the ledger."""
        for change in changes:
            self._append(change)

    def keep_result(self, result: StoredResult, *, is_troubled: bool = False) -> None:
        """Queues the last result of a site, as far as `[log]` allows. `is_troubled`: a block of it is stored."""
        self._append(_Result(result.key, result, is_troubled))

    def drop_result(self, key: ResultKey) -> None:
        """Queues the removal of a result."""
        self._append(_Result(key, None))

    def set_override(self, host: str, override: Override) -> None:
        """Queues an override of `byway site set`."""
        self._append(_Overridden(host, override))

    def clear_override(self, host: str) -> None:
        """Queues the removal of an override."""
        self._append(_Overridden(host, None))

    def _append(self, item: _Item) -> None:
        if self._is_closing or len(self._queue) >= 2 * QUEUE_ROWS:
            self._overflowed += 1
            return
        self._queue.append(item)
        self._wake_up()

    def _wake_up(self) -> None:
        self._is_awake = True
        self._wake.set()

    @property
    def dropped_rows(self) -> int:
        """Number of entries lost since the start."""
        return self._overflowed + self._discarded

    @property
    def waiting_rows(self) -> int:
        """Number of entries that are not on disk yet."""
        return len(self._queue) + len(self._sums) + len(self._unwritten)

    @property
    def trouble(self) -> str:
        """Why the log cannot be written now; empty: it can."""
        return self._database.trouble

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for the user, such as that a file was set aside. The newest 20."""
        return self._database.notices

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Waits until all queued entries are on disk. Returns False after `timeout_s`."""
        self._at_once.set()
        self._wake_up()
        with self._written:
            return self._written.wait_for(lambda: not self.waiting_rows, timeout_s)

    def leave_out(self, requests: Collection[int]) -> None:
        """Prevents the later recording of open connections that are to be forgotten. `requests` are the ids of their
        requests; a time would not do, since the clock may be set."""
        if requests:
            self._left_out.append(requests)

    def _leaves_out(self, request: int) -> bool:
        return bool(self._left_out) and any(request in requests for requests in self._left_out)

    def forget(self, what: Forgotten) -> None:
        """Removes the selection from all that was recorded until now, without a trace in the file; for connections that
        are still open, see `leave_out`. Waits for the disk. Raises BywayError when it cannot be done now."""
        self.flush()

        def forget(db: sqlite3.Connection) -> None:
            for key, belief in list(self._state.beliefs.items()):
                if what.covers(key[0], belief.since, key[1]):
                    self._state.set_belief(*key, None)
                elif what.is_named_in(belief.why):
                    self._state.set_belief(*key, replace(belief, why=""))
            for of, result in list(self._state.results.items()):
                if what.covers(result.host, result.at, result.network):
                    self._state.set_result(of, None)
                elif what.is_named_in(result.text):
                    self._state.set_result(of, replace(result, text=""))
            forget_rows(db, what)

        if not self._database.run(forget):
            raise BywayError(f"The log could not be wiped: {self._database.trouble}. Try again")

    def rename_relay(self, name: str, new: str) -> None:
        """Gives the half-hourly sums of a relay to another name, without what that one had. Waits for the disk."""
        self.flush()

        def rename(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.execute("DELETE FROM relay_hour WHERE relay = ?", (to_text(new),))
                db.execute("UPDATE relay_hour SET relay = ? WHERE relay = ?", (to_text(new), to_text(name)))

        self._database.run(rename)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, query: Query[T]) -> T:
        """Returns the result of one of `queries`: see `LogDatabase.query`."""
        return self._database.query(query)

    def log(self, **selected: Unpack[queries.LogFilter]) -> list[LoggedConnection]:
        """See `queries.log`."""
        return self.read(lambda db: queries.log(db, **selected))

    def changes(self, scope: str | None = None) -> list[StatusChange]:
        """See `queries.changes`."""
        return self.read(lambda db: queries.changes(db, scope))

    def route_success(self, since: float) -> list[RouteSuccess]:
        """See `route_queries.route_success`."""
        return self.read(lambda db: route_queries.route_success(db, since))

    def extent(self) -> tuple[int, float | None]:
        """Returns the bytes of the log on the disk, and when its oldest connection began; None: it has none. Waits for
        the disk."""
        oldest = self.read(queries.oldest)
        files = () if self._path is None else (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists()), oldest

    def route_hours(self, since: float) -> list[RouteHour]:
        """See `route_queries.route_hours`."""
        return self.read(lambda db: route_queries.route_hours(db, since))

    def relay_success(self, since: float) -> list[RelaySuccess]:
        """See `route_queries.relay_success`."""
        return self.read(lambda db: route_queries.relay_success(db, since))

    def load_beliefs(self) -> list[Belief]:
        """Returns the stored beliefs, as they were when the file was opened."""
        return list(self._state.beliefs.values())

    def load_results(self) -> list[StoredResult]:
        """Returns the stored results, as they were when the file was opened."""
        return list(self._state.results.values())

    def load_overrides(self) -> dict[str, Override]:
        """Returns the overrides of `byway site set`, as they were when the file was opened."""
        return dict(self._state.overrides)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        has_more_to_remove = False
        while not self._closing.is_set():
            due_s = max(0.0, self._housekeeping_at - time.monotonic())
            self._wake.wait(0.0 if has_more_to_remove else due_s)
            self._at_once.wait(BATCH_S)
            self._at_once.clear()
            self._wake.clear()
            self._is_awake = False  # before the queue is read, so that what comes after this wakes the thread again
            try:
                if not self._write_waiting():
                    self._closing.wait(RETRY_S)
                    continue
                if has_more_to_remove or time.monotonic() >= self._housekeeping_at:
                    has_more_to_remove = self._remove_old_rows()
            except Exception as error:
                self._give_up_batch(error)
                has_more_to_remove = False
        self._end()

    def _give_up_batch(self, error: Exception) -> None:
        """Drops the entries that may have caused a fault of Byway, so that the thread goes on."""
        sentence = (
            f"A fault of Byway ({type(error).__name__}) lost log entries: {len(self._unwritten)}. Please report it."
        )
        log.error("%s", sentence, exc_info=error)
        self._database.notice(sentence)
        self._discarded += len(self._unwritten)
        self._unwritten = []
        self._housekeeping_at = time.monotonic() + HOUSEKEEPING_S
        with self._written:
            self._written.notify_all()
        self._closing.wait(RETRY_S)

    def _write_waiting(self) -> bool:
        """Writes all queued entries. Returns False when the file cannot be written now."""
        while self._queue or self._sums or self._unwritten:
            if len(self._unwritten) < BATCH_ROWS:
                with self._sums_lock:
                    self._unwritten += self._sums.values()
                    self._sums = {}
            taken = min(len(self._queue), BATCH_ROWS - len(self._unwritten))
            self._unwritten += islice(self._queue, taken)  # before they leave it, so that waiting_rows misses none
            for _ in range(taken):
                self._queue.popleft()
            if not self._run_on_file(self._write_batch):
                self._wake_up()
                return False
            self._unwritten = []
            with self._written:
                self._written.notify_all()
        return True

    def _run_on_file(self, work: Query[object]) -> bool:
        """As `LogDatabase.run`; also logs when the file can be written again."""
        was_failing = bool(self._database.trouble)
        if not self._database.run(work):
            return False
        if was_failing:
            log.warning("the log can be written again; %d entries were lost", self.dropped_rows)
        return True

    def _remove_old_rows(self) -> bool:
        """Removes a few old rows. Returns True if there are more."""
        now, has_more = self._clock.now(), False

        def remove(db: sqlite3.Connection) -> None:
            nonlocal has_more
            has_more = remove_old(db, keep_s=self._keep_s, now=now)
            self._state.remove_lapsed(now, keep_s=self._keep_s)

        if self._run_on_file(remove):
            if has_more:
                return True
            self._database.verify()
        self._housekeeping_at = time.monotonic() + HOUSEKEEPING_S
        return False

    def _end(self) -> None:
        """Writes the queue for the last time. Entries that cannot be written now are lost."""
        if not self._write_waiting():
            self._discarded += self.waiting_rows
            self._queue.clear()
            self._sums.clear()
            self._unwritten = []
        if self._run_on_file(truncate_wal):
            self._database.verify()
        self._database.close()

    # -- one batch: with the lock of the database ------------------------------------------------------------------

    def _write_batch(self, db: sqlite3.Connection) -> None:
        try:
            with transaction(db):
                self._gather(self._unwritten).write(db)
        except UnicodeDecodeError:  # a ValueError, but of a damaged file, whose content SQLite's message quotes
            raise
        except _BAD_VALUES:
            self._write_one_by_one(db)
        for item in self._unwritten:
            if type(item) is tuple:
                continue  # an outcome, like nearly all items
            if isinstance(item, Change):
                if item.belief is None or self._privacy.may_store(item):
                    self._state.set_belief(item.scope, item.network, item.belief)
            elif isinstance(item, _Result):
                self._state.set_result(item.key, self._kept(item))
            elif isinstance(item, _Overridden):
                self._state.set_override(item.host, item.override)
        if self._path is None:
            keep_newest(db, self._database.next_id - MEMORY_ROWS)

    def _write_one_by_one(self, db: sqlite3.Connection) -> None:
        """Writes each row in its own transaction, so that a bad row costs no other row. Raises Unusable when the file
        itself is bad."""
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
        """Returns the rows for the items that the current settings allow to be written."""
        batch, privacy = Batch(), self._privacy
        for item in items:
            if isinstance(item, _Overridden):
                batch.overrides[item.host] = item.override
            elif isinstance(item, DirectSums):
                batch.add_direct(item)
            elif isinstance(item, _Counted):
                batch.count(*item)
            elif isinstance(item, _Result):
                batch.results[item.key] = self._kept(item)
            elif isinstance(item, Change):
                if privacy.may_list(item):
                    batch.add_change(item, in_ledger=item.before is not item.after, stored=is_storable(item))
            elif (kept := privacy.kept(item[0])) is not Kept.NOTHING:
                outcome, network = item
                batch.count(outcome, network)
                if kept is Kept.ROW:
                    batch.add_outcome(self._database.next_id, outcome, network)
                    self._database.next_id += 1
        return batch

    def _kept(self, item: _Result) -> StoredResult | None:
        """Returns the result to store; None: the stored result is removed."""
        result, may_keep = item.result, self._privacy.may_keep
        return result if result is not None and may_keep(result, is_troubled=item.is_troubled) else None
