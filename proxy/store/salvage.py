"""Reads the overrides of `byway site set` from a log that is not, or cannot be, opened for writing.

A host that was set to RELAY must not go direct because its log is damaged, locked, of a newer Byway, or left alone by
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
    """The overrides in the log at `path`; empty when there is no file. Logs a warning when they cannot be read."""
    if not os.path.lexists(path):
        return {}
    failure = ""
    for immutable in (False, True) if _has_more(path) else (True,):  # immutable: past locks and the write-ahead log
        try:
            with contextlib.closing(open_reader(path, immutable=immutable)) as db:
                found, bad = queries.overrides(db)
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: a message of SQLite's that is no UTF-8
            failure = str(error) or type(error).__name__
        else:
            if bad:
                log.warning("%d unreadable overrides in %s were ignored", bad, path.name)
            return found
    log.warning(
        "overrides of `byway site set` cannot be read from %s (%s); hosts set to RELAY or BLOCK now follow the rules",
        path.name, failure,
    )  # fmt: skip
    return {}


def _has_more(path: Path) -> bool:
    """Whether a write-ahead log holds what the file itself does not."""
    with contextlib.suppress(OSError):
        return os.stat(f"{path}-wal").st_size > 0
    return False
