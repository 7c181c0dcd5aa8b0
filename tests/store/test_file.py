"""The file itself: private, checked, and set aside when it is not what it should be."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.model import Action, Override, State
from proxy.store import file, queries
from proxy.store.file import Opened, is_damage, open_reader, open_store, set_aside, transaction
from proxy.store.rows import Batch
from tests.support.outcomes import HOME, HOST, rescued

NAME = "byway.sqlite"
LAYOUTS = (4, 5, 6, 7)
"""The older ones that are read: each has its dump, with one row or more in each table, as that version wrote it."""
EARLY_LAYOUTS = (2, 3)
"""Some that are not read any more, with their dumps."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def write(opened: Opened, count: int = 50) -> None:
    batch = Batch()
    for number in range(count):
        batch.add_outcome(number + 1, rescued(host=f"h{number}.example.org"), HOME)
    with transaction(opened.db):
        batch.write(opened.db)


def make(path: Path, count: int = 50) -> bytes:
    """A good log with some rows, closed."""
    opened = open_store(path)
    write(opened, count)
    opened.db.close()
    return path.read_bytes()


def hosts(path: Path) -> int:
    with contextlib.closing(open_reader(path)) as db:
        (count,) = db.execute("SELECT count(*) FROM outcome").fetchone()
        return int(count)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{NAME}.corrupt-*"))


def test_a_fresh_log_is_made_and_opened_again(path: Path) -> None:
    make(path)
    opened = open_store(path)

    assert (opened.is_new, opened.notices) == (False, ())
    assert opened.inode == path.stat().st_ino
    opened.db.close()
    assert hosts(path) == 50


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
@pytest.mark.usefixtures("open_umask")
def test_J1_every_file_is_for_the_user_alone_whatever_the_umask(path: Path, umask: int) -> None:
    os.umask(umask)
    opened = open_store(path)
    write(opened)

    assert {found.name: mode(found) for found in path.parent.iterdir()} == {
        NAME: 0o600,
        f"{NAME}-wal": 0o600,
        f"{NAME}-shm": 0o600,
    }
    opened.db.close()


@pytest.mark.usefixtures("open_umask")
def test_G5_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    make(path)
    path.chmod(0o666)
    opened = open_store(path)
    write_more = opened.db.execute("DELETE FROM outcome")
    write_more.close()

    assert {mode(found) for found in path.parent.iterdir()} == {0o600}
    opened.db.close()


def _truncated(path: Path) -> None:
    data = make(path)
    path.write_bytes(data[: len(data) // 2 + 100])


def _garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(20_000))


def _garbage_header(path: Path) -> None:
    data = make(path)
    path.write_bytes(b"\x00" * 100 + data[100:])


def _newer(path: Path) -> None:
    make(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def _other_application(path: Path) -> None:
    make(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 1")


def _last_page(path: Path) -> None:
    data = make(path, 500)
    path.write_bytes(data[:-4096] + random.Random(2).randbytes(4096))


def _others(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE cookies (host TEXT)")
        db.commit()


def _missing_table(path: Path) -> None:
    make(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE attempt")


def _missing_column(path: Path) -> None:
    make(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE attempt DROP COLUMN evidence")


def _last_id(path: Path) -> None:
    make(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE outcome SET id = 9223372036854775807")
        db.commit()


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "something").write_text("else")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "zero-length": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(b"S"),
    "truncated": _truncated,
    "only its header": lambda path: path.write_bytes(make(path)[:100]),
    "garbage": _garbage,
    "garbage header": _garbage_header,
    "newer schema": _newer,
    "another program's": _others,
    "of our tables but not ours": _other_application,
    "a page deep inside": _last_page,
    "a table is missing": _missing_table,
    "a column is missing": _missing_column,
    "no room to count on": _last_id,
    "a folder": _folder,
    "a FIFO": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to(path.parent / "nowhere"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.usefixtures("open_umask")
def test_H4_what_cannot_be_used_is_set_aside(path: Path, damage: str) -> None:
    DAMAGES[damage](path)
    before = path.read_bytes() if path.is_file() else None

    opened = open_store(path)

    (kept,) = (found for found in aside(path) if not found.name.endswith(("-wal", "-shm", "-journal")))
    assert opened.is_new
    assert len(opened.notices) == 1
    assert kept.name in opened.notices[0]
    assert before is None or kept.read_bytes() == before
    assert kept.is_symlink() or mode(kept) == (0o700 if kept.is_dir() else 0o600)
    write(opened, 3)
    opened.db.close()
    assert hosts(path) == 3
    assert mode(path) == 0o600


def test_H4_a_newer_layout_is_named(path: Path) -> None:
    _newer(path)
    opened = open_store(path)
    opened.db.close()

    assert "newer Byway" in opened.notices[0]


def _older(path: Path, layout: int = file.OLDEST) -> bytes:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(Path(__file__).with_name(f"layout_{layout}.sql").read_text(encoding="utf-8"))
    return path.read_bytes()


def test_every_older_layout_has_its_dump() -> None:
    assert tuple(range(file.OLDEST, file.VERSION)) == LAYOUTS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_older_log_is_brought_up_and_keeps_what_it_holds(path: Path, layout: int) -> None:
    _older(path, layout)

    opened = open_store(path)

    ((belief,), senseless) = queries.beliefs(opened.db)
    assert (opened.is_new, opened.notices, senseless) == (False, (), 0)
    assert (belief.scope, belief.state, belief.exits) == (HOST, State.BLOCKED, (1_699_999_500.0,))
    known = belief.family, belief.rungs_failed, belief.rungs_failed_at
    assert known == (4, ("direct|tlsrec",), 1_700_000_000.0)
    assert belief.began == 1_699_999_000.0, "the ledger has the beginning"
    ((plan,),) = opened.db.execute("SELECT plan FROM outcome").fetchall()
    assert plan is not None
    selections: list[queries.LogFilter] = [{"route": "tor"}, {"route": "direct"}, {"outcome": "rescued"}]
    for selected in selections:
        assert [row.host for row in queries.log(opened.db, **selected)] == [HOST], selected
    assert queries.log(opened.db, route="or") == []
    assert queries.overrides(opened.db) == ({"bank.example": Override(Action.RELAY, "tor")}, 0)
    assert opened.db.execute("PRAGMA user_version").fetchone() == (file.VERSION,)
    opened.db.close()
    assert hosts(path) == 1
    again = open_store(path)
    assert not again.is_new
    again.db.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_older_log_is_read_before_a_byway_has_brought_it_up(path: Path, layout: int) -> None:
    """After an upgrade a command may come before the first start."""
    before = _older(path, layout)

    with contextlib.closing(file.open_log(path)) as db:
        ((belief,), senseless) = queries.beliefs(db)
        overrides = queries.overrides(db)

    assert (belief.scope, belief.state, senseless) == (HOST, State.BLOCKED, 0)
    assert overrides == ({"bank.example": Override(Action.RELAY, "tor")}, 0)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [3, 99])
def test_a_log_in_a_layout_that_is_not_read_here_is_refused_to_readers(path: Path, version: int) -> None:
    _older(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(sqlite3.Error, match="layout"):
        file.open_log(path)


@pytest.mark.parametrize("layout", EARLY_LAYOUTS)
@pytest.mark.usefixtures("open_umask")
def test_a_log_of_an_early_layout_is_set_aside_by_its_name_and_stays(path: Path, layout: int) -> None:
    before = _older(path, layout)
    path.chmod(0o644)

    opened = open_store(path)

    (kept,) = path.parent.glob(f"{NAME}.layout-{layout}-*")
    assert opened.is_new
    assert opened.aside == kept
    (notice,) = opened.notices
    assert notice.startswith(f"The log {NAME} is of an early Byway and cannot be read. It was renamed to {kept.name}, ")
    assert (kept.read_bytes(), mode(kept)) == (before, 0o600)
    assert opened.db.execute("PRAGMA user_version").fetchone() == (file.VERSION,)
    opened.db.close()
    again = open_store(path)
    assert (again.is_new, again.notices) == (False, ())
    again.db.close()
    for _ in range(file.SET_ASIDE_MAX + 1):  # damaged ones take each other's place, and not that of this one
        path.write_text("damaged")
        set_aside(path)
    assert kept.read_bytes() == before
    assert kept in file.files_set_aside(path)


def test_an_older_log_that_is_not_whole_is_set_aside_as_it_was(path: Path) -> None:
    _older(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE attempt DROP COLUMN evidence")
    before = path.read_bytes()

    opened = open_store(path)
    opened.db.close()

    (kept,) = (found for found in aside(path) if not found.name.endswith(("-wal", "-shm", "-journal")))
    assert kept.read_bytes() == before


def test_an_older_log_that_is_locked_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "BUSY_S", 0.01)
    before = _older(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            open_store(path)

    assert aside(path) == []
    assert path.read_bytes() == before


def test_H4_two_hundred_files_with_random_bytes_flipped(path: Path) -> None:
    """Each can be opened and written; most were set aside, and those that were not are whole enough."""
    good = make(path)
    rng = random.Random(4)
    for _ in range(200):
        damaged = bytearray(good)
        for _ in range(rng.choice([1, 3, 30, 300])):
            damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        for old in path.parent.iterdir():
            old.unlink()
        path.write_bytes(damaged)

        opened = open_store(path)
        with contextlib.suppress(sqlite3.DatabaseError), transaction(opened.db):
            opened.db.execute("DELETE FROM outcome")
            batch = Batch()
            batch.add_outcome(1, rescued(), HOME)
            batch.write(opened.db)
        opened.db.close()


def test_H4_each_byte_of_the_header_may_be_wrong(path: Path) -> None:
    good = make(path, 5)
    for place in range(100):
        for value in (0xFF, good[place] ^ 0x04):
            for old in path.parent.iterdir():
                old.unlink()
            path.write_bytes(good[:place] + bytes([value]) + good[place + 1 :])

            opened = open_store(path)
            opened.db.execute("DELETE FROM outcome")
            opened.db.close()


def test_H5_side_files_of_a_file_that_is_gone_are_not_taken_for_ours(path: Path) -> None:
    opened = open_store(path)
    write(opened)
    wal = path.with_name(f"{NAME}-wal").read_bytes()
    opened.db.close()
    path.unlink()
    path.with_name(f"{NAME}-wal").write_bytes(wal)
    path.with_name(f"{NAME}-shm").write_bytes(b"\xff" * 32_768)

    opened = open_store(path)

    assert opened.is_new
    opened.db.close()
    assert hosts(path) == 0


def test_H5_foreign_side_files_do_no_harm(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    opened = open_store(other)
    write(opened, 7)
    make(path)
    shutil.copy(f"{other}-wal", f"{path}-wal")
    shutil.copy(f"{other}-shm", f"{path}-shm")
    opened.db.close()

    opened = open_store(path)
    (found,) = opened.db.execute("PRAGMA integrity_check").fetchone()
    opened.db.close()

    assert found == "ok"


def test_H3_a_locked_file_is_left_where_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "BUSY_S", 0.01)
    make(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
            open_store(path)

    assert not is_damage(caught.value)
    assert aside(path) == []
    opened = open_store(path)
    opened.db.close()
    assert hosts(path) == 50


def test_only_a_few_damaged_files_are_kept(path: Path) -> None:
    for number in range(6):
        path.write_text(f"damaged {number}")
        os.utime(path, (number, number))
        path.with_name(f"{NAME}-wal").write_text("side")
        set_aside(path)

    kept = [found for found in aside(path) if not found.name.endswith("-wal")]
    assert sorted(found.read_text() for found in kept) == ["damaged 3", "damaged 4", "damaged 5"]
    assert len(aside(path)) == 6  # each with its side file


def test_a_folder_that_is_gone_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_store(tmp_path / "gone" / NAME)


def test_strange_folder_names(tmp_path: Path) -> None:
    """G10: spaces, `?` and `#` (which an SQLite address could take for its own), and bytes that are no UTF-8."""
    for name in ("with space", "what?mode=memory#x", "per%20cent", os.fsdecode(b"\xff\xfe")):
        path = tmp_path / name / NAME
        path.parent.mkdir()
        make(path, 3)
        assert path.is_file()
        assert hosts(path) == 3


def test_deleted_rows_are_overwritten(path: Path) -> None:
    opened = open_store(path)
    write(opened)
    opened.db.execute("DELETE FROM outcome")
    opened.db.execute("DELETE FROM attempt")
    opened.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    on_disk = b"".join(found.read_bytes() for found in path.parent.iterdir())
    opened.db.close()

    assert b"example.org" not in on_disk


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    opened = open_store(path)

    def half() -> None:
        with transaction(opened.db):
            opened.db.execute("INSERT INTO override VALUES ('a', 'AUTO', '', 0)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert opened.db.execute("SELECT count(*) FROM override").fetchone() == (0,)
    opened.db.close()


def test_a_log_in_memory_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened = open_store(None)
    write(opened)
    opened.db.close()

    assert list(tmp_path.iterdir()) == []
    assert opened.is_new
