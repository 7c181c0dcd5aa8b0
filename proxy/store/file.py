"""The file of the log: created with mode 0600, checked before use, and set aside when it is damaged.

A log that cannot be read never stops the proxy: a file that is not Byway's, damaged, or of a newer Byway is renamed to
`….corrupt-…`, one in a layout before OLDEST to `….layout-N-…`, and a new one is created in its place. A file that is
only locked or on a full disk is not renamed; the caller tries to open it again later.
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

APPLICATION_ID = 0x62797761
"""The id in the header of the file that marks a database of Byway: "bywa"."""

VERSION = 8
OLDEST = 4
"""The oldest layout that is brought up to today's. A file in an older one is set aside, and keeps its name for good."""

BUSY_S = 1.0
"""Seconds for which SQLite's busy handler waits for a lock of another process, such as `byway log`."""

SET_ASIDE_MAX = 3
"""Damaged files that are kept. They hold browsing history too, and only Byway removes them."""

CHECKED_BYTES = 256 * 1024 * 1024
"""A file up to this size is checked page by page when it is opened (about a second); a larger one only as it is
used."""

LAST_ID = 2**62
"""The highest row number of a sound log. Above it there is no room for new rows."""

_STEPS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        4: (
            "ALTER TABLE belief ADD COLUMN began REAL NOT NULL DEFAULT 0",
            # The ledger has the beginning: the first change for the worse after the last one that took it back.
            "UPDATE belief SET began = coalesce((SELECT min(at) FROM change WHERE change.scope = belief.scope"
            " AND change.network = belief.network AND after IN ('suspect', 'blocked') AND at > coalesce((SELECT max(at)"
            " FROM change AS back WHERE back.scope = belief.scope AND back.network = belief.network"
            " AND back.after NOT IN ('suspect', 'blocked')), 0)), since) WHERE state IN ('suspect', 'blocked')",
        ),
        5: (
            "CREATE TABLE result (network TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,"
            " status TEXT NOT NULL, at REAL NOT NULL, source TEXT NOT NULL, cause TEXT NOT NULL, text TEXT NOT NULL,"
            " relays TEXT NOT NULL, otherwise TEXT NOT NULL, since REAL NOT NULL, works_by TEXT NOT NULL,"
            " PRIMARY KEY (network, host, port)) WITHOUT ROWID",
        ),
        6: ("ALTER TABLE belief ADD COLUMN protocol TEXT NOT NULL DEFAULT ''",),
        7: (
            "ALTER TABLE outcome ADD COLUMN tried TEXT NOT NULL DEFAULT ''",
            "UPDATE outcome SET tried = coalesce((SELECT group_concat(char(10) || CASE stage WHEN 'done' THEN '+'"
            " ELSE '-' END || route || char(10), '') FROM attempt WHERE outcome_id = outcome.id), '')",
            "DROP INDEX IF EXISTS outcome_at",
            "CREATE INDEX outcome_listed ON outcome (at, host, winner, network, tried)",
        ),
    }
)
"""Migrations: the statements that bring each layout from OLDEST on to the next one. A released step is never
changed."""

_MAGIC = b"SQLite format 3\0"
_FORMATS = {1, 2}
"""The write and read versions in the header (1: rollback journal, 2: write-ahead log). SQLite opens a file with a later
write version read-only."""

_READ_ERRORS = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
)
"""Error codes of a bad sector. Write errors do not count: a disk that is full or gone may come back."""

_AGAINST_DAMAGE = ("trusted_schema = OFF", "cell_size_check = ON")
"""Pragmas for a file that another program may have written: its schema may call no functions, and the form of each page
is checked when it is read (sqlite.org/security.html)."""

_SIDE_FILES = ("-wal", "-shm", "-journal")
"""Endings of SQLite's files beside a database: the write-ahead log, its index in shared memory, and the rollback
journal. They hold content too, so they get the same mode and are renamed together."""

_SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


class Unusable(sqlite3.DatabaseError):
    """The file is not a log of Byway, or is damaged. The message has the fault."""

    mark = "corrupt"
    """The mark in the new name of the file when it is set aside."""


class OldLayout(Unusable):
    """The file is a log in a layout before OLDEST."""

    def __init__(self, layout: int) -> None:
        super().__init__(f"layout {layout} of an early Byway is not read any more")
        self.mark = f"layout-{layout}"


class Opened(NamedTuple):
    """The result of opening the log for writing. The caller closes `db`."""

    db: sqlite3.Connection
    is_new: bool  # there was no usable file before
    notices: tuple[str, ...]  # sentences for the user
    inode: int  # of the open file; 0: in memory
    aside: Path | None = None  # the new name of a file that could not be used


def open_store(path: Path | None, *, check: bool = True) -> Opened:
    """Opens the log for writing; None: a log in memory. `check`: checks every page first.

    Raises sqlite3.Error or OSError when it cannot be opened now, but may be later. Any thread may use the connection,
    one at a time.
    """
    if path is None:
        # isolation_level=None: Python's sqlite3 begins no transactions of its own, `transaction` does.
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        _configure(db)
        _create(db)
        return Opened(db, True, (), 0)
    try:
        return _open_file(path, check=check)
    except Unusable as error:
        aside = set_aside(path, error)
        opened = _open_file(path, check=False)
        return opened._replace(notices=(set_aside_notice(path, aside, error), *opened.notices), aside=aside)


def open_reader(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Opens a read-only connection for one thread. The caller closes it. Raises sqlite3.Error and OSError.

    `immutable`: without locks and without the write-ahead log, so rows are missing until a checkpoint moves them into
    the file. A reader needs it in a folder that it cannot write: even to read, SQLite creates the `-shm` file."""
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


def open_log(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Opens a log in today's layout to read it; the rest is as in `open_reader`. One in an older layout is copied into
    memory and brought up there, since the file is changed only by a Byway that runs: that takes as much memory as the
    file has bytes, between an upgrade and the first start. Raises sqlite3.Error, also for a layout that is not read
    here, and OSError."""
    db = open_reader(path, immutable=immutable)
    try:
        if _check_version(db) == VERSION:
            return db
        copy = sqlite3.connect(":memory:", isolation_level=None)
        copy.text_factory = decoded
        try:
            db.backup(copy)
            _migrate(copy)
        except BaseException:
            copy.close()
            raise
    except BaseException:
        db.close()
        raise
    db.close()
    return copy


def set_aside_notice(path: Path, aside: Path, error: BaseException) -> str:
    """Returns the sentence for the user about a file that was set aside."""
    if isinstance(error, OldLayout):
        return (
            f"The log {path.name} is of an early Byway and cannot be read. It was renamed to {aside.name}, and a new "
            "log was started, with the overrides of the old one. `byway forget --all` deletes the old one."
        )
    return f"The log {path.name} is damaged ({error}). It was renamed to {aside.name}, and a new log was started."


def files_set_aside(path: Path) -> list[Path]:
    """Returns the files beside a log that were set aside, with SQLite's files beside them, by name."""
    return sorted(file for mark in ("corrupt", "layout") for file in path.parent.glob(f"{path.name}.{mark}-*"))


def set_aside(path: Path, error: BaseException | None = None) -> Path:
    """Renames a file with SQLite's files beside it, gives them mode 0600, and deletes the oldest damaged ones beyond
    SET_ASIDE_MAX. Returns the new name. Raises OSError."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    mark = error.mark if isinstance(error, Unusable) else Unusable.mark
    names = (path.with_name(f"{path.name}.{mark}-{stamp}{n}") for n in ("", *(f"-{i}" for i in range(1, 1000))))
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
    """Whether an error shows that the file itself is bad: its content, or its part of the disk."""
    if isinstance(error, Unusable | UnicodeDecodeError):  # SQLite's message quotes the content of a damaged file
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    primary = code & 0xFF  # SQLite's extended codes have the primary one in their low byte
    return code in _READ_ERRORS or primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def decoded(data: bytes) -> str:
    """Decodes text of a file that may be damaged."""
    return data.decode("utf-8", "replace")


def is_stale(error: BaseException) -> bool:
    """Whether an error shows that the file was replaced, or its tables changed: then it helps to open it again."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Runs the block in one transaction, which is rolled back when it raises."""
    # IMMEDIATE takes the write lock now. A transaction that begins as a reader and upgrades later may fail with
    # SQLITE_BUSY at once: SQLite does not call the busy handler if waiting would be a deadlock.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
            db.execute("ROLLBACK")
        raise


def truncate_wal(db: sqlite3.Connection) -> None:
    """Moves the content of the write-ahead log into the file, and empties it: deleted rows would remain there. Raises
    sqlite3.Error."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _open_file(path: Path, *, check: bool) -> Opened:
    is_new = _make_file(path)
    # mode=rw: SQLite never creates the file, which would then have the umask's mode.
    db = sqlite3.connect(_uri(path, "rw"), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _configure(db)
        if not is_new:
            _check(db, path, every_page=check)
        notices: tuple[str, ...] = ()
        # The write-ahead log needs shared memory, which network file systems lack. There SQLite keeps the rollback
        # journal, so readers and the writer wait for each other.
        if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            notices = (f"The folder of {path.name} does not support SQLite's write-ahead log (a network disk?).",)
        if is_new:
            _create(db)
        return Opened(db, is_new, notices, os.stat(path).st_ino)
    except UnicodeDecodeError:  # SQLite's message quotes the content of the file
        db.close()
        raise Unusable("its text cannot be read") from None
    except sqlite3.Error as error:
        db.close()
        if isinstance(error, Unusable):
            raise
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
        os.chmod(path, 0o600)  # also where the umask cleared bits
    finally:
        os.close(descriptor)
    return True


def _check_file(path: Path) -> None:
    """Raises Unusable for a file that SQLite should not open; gives any other file mode 0600."""
    try:
        _check_regular(path)
    except FileNotFoundError:
        raise Unusable("a link to a file that does not exist") from None
    with path.open("rb") as opened:
        header = opened.read(20)
    # An empty file is refused too: SQLite would take it for a new database.
    if not header.startswith(_MAGIC) or not set(header[18:20]) <= _FORMATS:
        raise Unusable("not a database")
    _make_private(path)
    for suffix in _SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            _make_private(Path(f"{path}{suffix}"))


def _check_regular(path: Path) -> None:
    """Raises Unusable for a path that is not a regular file: SQLite may hang on a FIFO. Raises OSError when there is no
    file."""
    # stat without open: closing any descriptor of a file ends the locks that SQLite has on it in this process (POSIX).
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
        "secure_delete = ON",  # the log is browsing history, so deleted rows are overwritten
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
    """Migrates an older log to today's layout. Raises Unusable for a file that is no log of Byway, or is damaged."""
    if _check_version(db) < VERSION:
        _migrate(db)
    else:
        _check_tables(db)
    if every_page and path.stat().st_size <= CHECKED_BYTES:
        # quick_check reads each page; integrity_check also compares indexes with tables and takes many times as long.
        (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise Unusable(str(result))


def _migrate(db: sqlite3.Connection) -> None:
    with transaction(db):  # one that fails leaves the file as it was; other processes see all of it or nothing
        (version,) = db.execute("PRAGMA user_version").fetchone()  # again: another process may have migrated it
        for older in range(version, VERSION):
            for statement in _STEPS[older]:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        _check_tables(db)


def check_layout(db: sqlite3.Connection) -> None:
    """Raises Unusable, or another sqlite3.Error, if a connection is not to a log in today's layout."""
    if _check_version(db) != VERSION:
        raise Unusable("its layout was changed")
    _check_tables(db)


def _check_version(db: sqlite3.Connection) -> int:
    """Returns the number of the file's layout. Raises Unusable for no log of Byway, and for a layout that is not read
    here."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise Unusable("not a log of Byway's")
    if version > VERSION:
        raise Unusable(f"written by a newer Byway, in layout {version}; this one knows {VERSION}")
    if version < OLDEST:
        raise OldLayout(version)
    return int(version)


def _check_tables(db: sqlite3.Connection) -> None:
    """Raises Unusable if the tables are not those of a log."""
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
        copy
        for copy in path.parent.glob(f"{path.name}.corrupt-*")
        if copy.is_file() and not copy.name.endswith(_SIDE_FILES)
    ]
    for old in sorted(copies, key=lambda copy: copy.lstat().st_mtime)[:-SET_ASIDE_MAX]:
        for suffix in ("", *_SIDE_FILES):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{old}{suffix}")


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
