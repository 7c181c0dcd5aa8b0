"""Removes old rows, a few at a time, so that new rows never wait long for the file.

Ages are measured by a clock that cannot be set: a wall clock that jumps ten years, as on a machine without a battery
for its clock, must not empty the log.
"""

from __future__ import annotations

import sqlite3
import time

from proxy.model import Belief, StoredResult
from proxy.store.file import transaction, truncate_wal

ROWS_AT_ONCE = 500
"""Old rows removed in one transaction."""

LAPSED_BELIEF_S = 10 * 86_400.0
"""Age at which a lapsed belief is removed. By then its score has decayed, and its episodes no longer count."""

RESULT_S = 2 * 86_400.0
"""Age at which a result is removed. It has not counted since `known_s`, a day by default."""


class SteadyClock:
    """Seconds since the epoch: the wall time of the start, plus the time since then by a clock that cannot be set."""

    def __init__(self) -> None:
        self._offset_s = time.time() - self._elapsed_s()

    def now(self) -> float:
        return self._offset_s + self._elapsed_s()

    @staticmethod
    def _elapsed_s() -> float:
        if hasattr(time, "CLOCK_BOOTTIME"):  # goes on while the machine sleeps
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()


def remove_old(db: sqlite3.Connection, *, keep_s: float, now: float) -> bool:
    """Removes some of the rows older than `keep_s`, old results, and beliefs that lapsed long ago. Returns True if
    there are more rows to remove. `now` is the time of the SteadyClock. Raises sqlite3.Error."""
    before = now - keep_s
    with transaction(db):
        old = db.execute("SELECT id FROM outcome WHERE at < ? LIMIT ?", (before, ROWS_AT_ONCE)).fetchall()
        db.executemany("DELETE FROM attempt WHERE outcome_id = ?", old)
        db.executemany("DELETE FROM outcome WHERE id = ?", old)
        ledger = db.execute(
            "DELETE FROM change WHERE id IN (SELECT id FROM change WHERE at < ? LIMIT ?)", (before, ROWS_AT_ONCE)
        )
        db.execute("DELETE FROM route_hour WHERE hour < ?", (before,))
        db.execute("DELETE FROM relay_hour WHERE hour < ?", (before,))
        db.execute("DELETE FROM belief WHERE until < ?", (now - LAPSED_BELIEF_S,))
        db.execute("DELETE FROM result WHERE at < ?", (now - min(RESULT_S, keep_s),))
    if max(len(old), ledger.rowcount) >= ROWS_AT_ONCE:
        return True
    truncate_wal(db)
    return False


def has_lapsed(belief: Belief, now: float) -> bool:
    """Whether `remove_old` removes this belief."""
    return belief.until < now - LAPSED_BELIEF_S


def is_old(result: StoredResult, now: float, *, keep_s: float) -> bool:
    """Whether `remove_old` removes this result."""
    return result.at < now - min(RESULT_S, keep_s)


def keep_newest(db: sqlite3.Connection, oldest_id: int) -> None:
    """Removes connections with lower numbers: the number of connections in a log in memory is limited."""
    with transaction(db):
        db.execute("DELETE FROM attempt WHERE outcome_id < ?", (oldest_id,))
        db.execute("DELETE FROM outcome WHERE id < ?", (oldest_id,))
