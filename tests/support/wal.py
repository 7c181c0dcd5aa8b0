"""SQLite's write-ahead log, moved into the file by a connection beside Byway's."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

GIVEN_UP_S = 30.0


def move_into_file(path: Path) -> None:
    """Changes every row of `outcome`, so that pages in Byway's cache are stale, and moves the write-ahead log into the
    file, so that damage to the file damages the rows. Raises TimeoutError."""
    give_up_at = time.monotonic() + GIVEN_UP_S
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE outcome SET error = 'touched'")
        # A checkpoint beside another one, such as that of a connection that Byway closes, is refused at once: SQLite
        # calls no busy handler there, and the first of the three numbers is 1. The other one takes milliseconds.
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() != (0, 0, 0):
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"the write-ahead log of {path} could not be moved into the file")
