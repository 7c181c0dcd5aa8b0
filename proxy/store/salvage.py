"""Reads the overrides of `byway site set` from a log that is not, or cannot be, opened for writing.

A host that was set to RELAY must not go direct because its log is damaged, locked, of a newer Byway, or not used with
`--ephemeral`. So they are read as far as possible, without locks, and nothing is written: not even SQLite's side files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

from proxy.model import Override
from proxy.store import queries
from proxy.store.file import open_reader

log = logging.getLogger(__name__)


def read_overrides(path: Path) -> dict[str, Override]:
    """Returns the overrides in the log at `path`, by host; empty when there is no file. Logs a warning when they cannot
    be read."""
    if not os.path.lexists(path):
        return {}
    failure, wal_size = "", 0
    with contextlib.suppress(OSError):
        wal_size = os.stat(f"{path}-wal").st_size
    # An immutable reader takes no locks and writes nothing, but does not see the write-ahead log.
    for immutable in (False, True) if wal_size else (True,):
        try:
            with contextlib.closing(open_reader(path, immutable=immutable)) as db:
                overrides, bad = queries.overrides(db)
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: a message of SQLite's that is no UTF-8
            failure = str(error) or type(error).__name__
        else:
            if bad:
                log.warning("%d unreadable overrides in %s were ignored", bad, path.name)
            return overrides
    log.warning(
        "overrides of `byway site set` cannot be read from %s (%s); hosts set to RELAY or BLOCK now follow the rules",
        path.name, failure,
    )  # fmt: skip
    return {}
