"""The file that holds the log: created with mode 0600, checked before use, and set aside when it is damaged.

A log that cannot be read must never stop the proxy: a file that is not ours, not whole, or of a newer Byway
is renamed to `….corrupt-…` and a fresh one made in its place. A file that is merely locked or on a full disk is left
alone and tried again later.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

APPLICATION_ID = 0x62797761  # "bywa"
VERSION = 3
BUSY_S = 1.0
SET_ASIDE_MAX = 3
"""Number of damaged files that stay; they hold browsing history too, and only Byway removes them."""

CHECKED_BYTES = 256 * 1024 * 1024
"""A file up to this size is checked page by page when it is opened (about a second); a larger one as it is used."""

LAST_ID = 2**62
"""The highest row number that a sound log can have; beyond it there is no room for new rows."""

_STEPS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        1: (
            "ALTER TABLE belief ADD COLUMN family INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE belief ADD COLUMN rungs_failed TEXT NOT NULL DEFAULT '[]'",
            "ALTER TABLE belief ADD COLUMN rungs_failed_at REAL NOT NULL DEFAULT 0",
        ),
        2: ("ALTER TABLE outcome ADD COLUMN plan TEXT",),
    }
)
"""Migrations: the statements that bring each older layout to the next one. A released step is never changed."""

_MAGIC = b"SQLite format 3\0"
_FORMATS = {1, 2}
"""The read and write versions in the header; SQLite takes a file with a later one for read-only."""

_READ_ERRORS = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
)
"""Error codes of a bad sector. Write errors are not among them: a disk that is full or gone may come back."""

_AGAINST_DAMAGE = ("trusted_schema = OFF", "cell_size_check = ON")

_SIDE_FILES = ("-wal", "-shm", "-journal")
_SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


class Unusable(sqlite3.DatabaseError):
    """Raised for a file that is no log of Byway, or a damaged one; the message says what is wrong."""


class Opened(NamedTuple):
    """An open store."""

    db: sqlite3.Connection
    fresh: bool  # there was none before, or none that could be used
    notices: tuple[str, ...]  # sentences for the user
    inode: int  # which file it is; 0: in memory
    aside: Path | None = None  # where one that could not be used lies now


def open_store(path: Path | None, *, check: bool = True) -> Opened:
    """Opens the log for writing; None: one in memory. `check`: look at every page first.

    Raises sqlite3.Error or OSError when it cannot be opened now and may be later. The connection may be used by any one
    thread at a time.
    """
    if path is None:
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        _configure(db)
        _create(db)
        return Opened(db, True, (), 0)
    try:
        return _open_file(path, check=check)
    except Unusable as error:
        aside = set_aside(path)
        opened = _open_file(path, check=False)
        return opened._replace(notices=(set_aside_notice(path, aside, error), *opened.notices), aside=aside)


def open_reader(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that can only read, for one thread; `immutable`: past all locks, and what stands in the file alone.
    Raises sqlite3.Error and OSError."""
    _check_regular(path)
    uri = _uri(path, "ro") + ("&immutable=1" if immutable else "")
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        db.text_factory = decoded
        for pragma in _AGAINST_DAMAGE:
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def set_aside_notice(path: Path, aside: Path, error: BaseException) -> str:
    """A sentence for the user."""
    return f"The log {path.name} is damaged ({error}). It was renamed to {aside.name}, and a new log was started."


def set_aside(path: Path) -> Path:
    """Renames a file and those beside it out of the way, mode 0600, and forgets the oldest such. Raises OSError."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    names = (path.with_name(f"{path.name}.corrupt-{stamp}{n}") for n in ("", *(f"-{i}" for i in range(1, 1000))))
    aside = next(name for name in names if not os.path.lexists(name))
    os.rename(path, aside)
    _make_private(aside)
    for suffix in _SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
            _make_private(Path(f"{aside}{suffix}"))
    _remove_oldest_set_aside(path)
    return aside


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file itself is bad: its content, or the part of the disk that it lies on."""
    if isinstance(error, Unusable | UnicodeDecodeError):  # SQLite's message quotes what a damaged file holds
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code in _READ_ERRORS or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


def decoded(data: bytes) -> str:
    """Decodes text of a file that may be damaged."""
    return data.decode("utf-8", "replace")


def is_stale(error: BaseException) -> bool:
    """Whether an error says that the file was replaced or its tables were changed: opening it again may help."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Runs the block in one transaction, which is rolled back when it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
            db.execute("ROLLBACK")
        raise


def _open_file(path: Path, *, check: bool) -> Opened:
    fresh = _make_file(path)
    db = sqlite3.connect(_uri(path, "rw"), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _configure(db)
        if not fresh:
            _check(db, path, every_page=check)
        notices: tuple[str, ...] = ()
        if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            notices = (f"The folder of {path.name} does not support SQLite's write-ahead log (a network disk?).",)
        if fresh:
            _create(db)
        return Opened(db, fresh, notices, os.stat(path).st_ino)
    except UnicodeDecodeError:  # SQLite's message quotes what the file holds
        db.close()
        raise Unusable("its text cannot be read") from None
    except sqlite3.Error as error:
        db.close()
        if is_damage(error) or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise Unusable(str(error)) from None
        raise
    except BaseException:
        db.close()
        raise


def _make_file(path: Path) -> bool:
    """Creates an empty file of mode 0600 and returns True, or gives an existing one that mode."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    except FileExistsError:
        _check_file(path)
        return False
    try:
        os.chmod(path, 0o600)  # whatever the umask took away
    finally:
        os.close(descriptor)
    return True


def _check_file(path: Path) -> None:
    """Raises Unusable for a file that SQLite should not even open; gives any other one mode 0600."""
    try:
        _check_regular(path)
    except FileNotFoundError:
        raise Unusable("a link to a file that does not exist") from None
    with path.open("rb") as opened:
        header = opened.read(20)
    if not header.startswith(_MAGIC) or not set(header[18:20]) <= _FORMATS:  # SQLite takes an empty file for a new one
        raise Unusable("not a database")
    _make_private(path)
    for suffix in _SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            _make_private(Path(f"{path}{suffix}"))


def _check_regular(path: Path) -> None:
    """Raises Unusable for a path that is no regular file: SQLite may hang on a FIFO. It uses stat: closing any
    descriptor of a file ends the locks that SQLite holds in this process (POSIX). Raises OSError when there is none."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Unusable("not a regular file")


def _make_private(path: Path) -> None:
    mode = os.lstat(path).st_mode
    if not stat.S_ISLNK(mode):
        os.chmod(path, 0o700 if stat.S_ISDIR(mode) else 0o600)


def _configure(db: sqlite3.Connection) -> None:
    db.text_factory = decoded
    for pragma in (
        *_AGAINST_DAMAGE,
        "secure_delete = ON",  # the log is browsing history: what is deleted is overwritten
        "synchronous = NORMAL",  # with a write-ahead log a crash of ours loses nothing that was committed
        "temp_store = MEMORY",
        f"journal_size_limit = {4 * 1024 * 1024}",
    ):
        db.execute(f"PRAGMA {pragma}")


def _create(db: sqlite3.Connection) -> None:
    db.executescript(
        f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; {_SCHEMA}; COMMIT;"
    )


def _check(db: sqlite3.Connection, path: Path, *, every_page: bool) -> None:
    """Gives an older log today's layout. Raises Unusable for a file that is not our log or not whole."""
    version = _check_version(db)
    if version < VERSION:
        with transaction(db):  # one that fails leaves the file as it was
            _migrate(db)
            _check_tables(db)
    else:
        _check_tables(db)
    if every_page and path.stat().st_size <= CHECKED_BYTES:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise Unusable(str(found))


def check_layout(db: sqlite3.Connection) -> None:
    """Raises Unusable, or another sqlite3.Error, for a connection to what is not a log in today's layout."""
    if _check_version(db) != VERSION:
        raise Unusable("its layout was changed")
    _check_tables(db)


def _check_version(db: sqlite3.Connection) -> int:
    """The layout's number. Raises Unusable for no log of ours, and for a later one."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise Unusable("not a log of Byway's")
    if version > VERSION:
        raise Unusable(f"written by a newer Byway, in layout {version}; this one knows {VERSION}")
    return int(version)


def _migrate(db: sqlite3.Connection) -> None:
    """Gives an older log today's layout. It runs in a transaction, so that other processes
    see all of it or nothing."""
    (version,) = db.execute("PRAGMA user_version").fetchone()  # again: another process may have migrated it
    for older in range(version, VERSION):
        for statement in _STEPS[older]:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _check_tables(db: sqlite3.Connection) -> None:
    """Raises Unusable when they are not those of a log."""
    if _columns(db) != _expected_columns():
        raise Unusable("its tables are not those of a log")
    if db.execute("SELECT 1 FROM sqlite_schema WHERE type NOT IN ('table', 'index')").fetchone() is not None:
        raise Unusable("it has views or triggers, and a log has none")
    (last,) = db.execute("SELECT max(id) FROM outcome").fetchone()
    if not isinstance(last, int | None) or (last or 0) > LAST_ID:
        raise Unusable(f"its last row has the number {last}")


def _columns(db: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {
        table: tuple(name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)))
        for table in tables
        if not table.startswith("sqlite_")
    }


def _expected_columns() -> dict[str, tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(_SCHEMA)
        return _columns(db)


def _remove_oldest_set_aside(path: Path) -> None:
    copies = [
        found
        for found in path.parent.glob(f"{path.name}.corrupt-*")
        if found.is_file() and not found.name.endswith(_SIDE_FILES)
    ]
    for old in sorted(copies, key=lambda found: found.lstat().st_mtime)[:-SET_ASIDE_MAX]:
        for suffix in ("", *_SIDE_FILES):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{old}{suffix}")


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
