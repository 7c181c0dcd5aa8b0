"""Removes visited names from the disk: from the log, and from files beside it that may hold some.

A deleted row is overwritten (`secure_delete`), the file is rebuilt without free pages, and the write-ahead log is
emptied, so no byte of a name stays in them. Logs that were set aside hold names too, but cannot be edited: they are
always deleted.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from proxy.config.files import shown
from proxy.config.paths import Paths, snap_name
from proxy.model.errors import BywayError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.file import files_set_aside, transaction, truncate_wal
from proxy.store.rows import HOUR_S


@frozen_dataclass
class Forgotten:
    """The selection to forget: everything, a host with its subdomains, all since a moment, or all of a network."""

    host: str = ""
    since: float = 0.0
    """Seconds since the epoch; 0: from the beginning."""
    network: str = ""
    """The id of a network; empty: all networks."""

    @property
    def is_all(self) -> bool:
        return not self.host and not self.since and not self.network

    def names(self, host: str) -> bool:
        """Whether to forget a host that is stored without time and network."""
        return not self.host or host == self.host or host.endswith(f".{self.host}")

    def is_named_in(self, text: str) -> bool:
        """Whether a text has the host or one of its subdomains. A longer name that only contains the host does not
        count."""
        host = self.host
        at = text.find(host) if host else -1
        while at >= 0:
            before, after = text[:at][-1:], text[at + len(host) :]
            is_longer = _is_of_label(after[:1]) or (after[:1] == "." and _is_of_label(after[1:2]))
            if not is_longer and not _is_of_label(before):
                return True
            at = text.find(host, at + 1)
        return False

    def covers(self, scope: str, since: float, network: str) -> bool:
        """Whether to forget a belief about `scope` on a network that dates from `since`."""
        if self.host:
            return self.names(scope)
        if self.network:
            return network == self.network
        return since >= self.since


def _is_of_label(character: str) -> bool:
    return character.isalnum() or character in tuple("-_")


def forget_rows(db: sqlite3.Connection, what: Forgotten) -> None:
    """Deletes the selected rows, and all traces of them in the file. Raises sqlite3.Error."""
    values = {"host": what.host, "tail": f".{what.host}", "since": what.since, "hour": what.since - HOUR_S,
              "network": what.network}  # fmt: skip
    if what.host:
        named = "({0} = :host OR substr({0}, -length(:tail)) = :tail)"
        outcome, scope = named.format("host"), named.format("scope")
        conditions = {"change": scope, "belief": scope, "result": outcome}
    elif what.network:
        outcome = "network = :network"
        conditions = dict.fromkeys(("change", "belief", "result", "route_hour", "relay_hour"), outcome)
    else:
        outcome = "at >= :since"
        conditions = {
            "change": outcome, "belief": "since >= :since", "result": outcome,
            "route_hour": "hour > :hour", "relay_hour": "hour > :hour",
        }  # fmt: skip
    with transaction(db):
        db.execute(f"DELETE FROM attempt WHERE outcome_id IN (SELECT id FROM outcome WHERE {outcome})", values)  # noqa: S608
        for table, condition in {"outcome": outcome, **conditions}.items():
            db.execute(f"DELETE FROM {table} WHERE {condition}", values)  # noqa: S608  # from the words above
        if what.host:
            _forget_mentions(db, what)
    truncate_wal(db)
    db.execute("VACUUM")
    truncate_wal(db)


_EXPLAINED = {"outcome": ("why", "error", "plan"), "attempt": ("error",), "belief": ("why",), "change": ("why",),
              "result": ("text",)}  # fmt: skip
"""The columns with reasons, by table. The reason of one site may name another, such as of a domain whose hosts fail."""


def _forget_mentions(db: sqlite3.Connection, what: Forgotten) -> None:
    """Empties texts about other hosts that name the host."""
    db.create_function("is_named_in", 1, lambda text: what.is_named_in(str(text)), deterministic=True)
    try:
        for table, columns in _EXPLAINED.items():
            for column in columns:
                empty = "NULL" if column == "plan" else "''"
                where = f"instr({column}, :host) > 0 AND is_named_in({column})"
                db.execute(f"UPDATE {table} SET {column} = {empty} WHERE {where}", {"host": what.host})  # noqa: S608  # as above
    finally:
        db.create_function("is_named_in", 1, None)  # else the connection would keep the name


def forget_files(paths: Paths, what: Forgotten) -> list[str]:
    """Deletes the files beside the log that may hold visited names. Returns the kinds of deleted files, in words.
    Raises BywayError when one cannot be deleted."""
    folder = paths.state_dir
    gone = []
    if aside := files_set_aside(paths.store_file):
        gone.append("logs that were set aside")
    surveys = [survey for survey in sorted((folder / "surveys").glob("*")) if _is_meant(survey, what)]
    if surveys:
        gone.append("interrupted tests")
    others = []
    if what.is_all:
        profiles = folder / "browser"
        in_snaps = Path(os.path.expanduser("~/snap")).glob(f"*/common/byway/{snap_name(folder)}")
        for words, paths_of_kind in (
            ("the browser profile", [profiles, *_chromium_caches(profiles), *in_snaps]),
            ("data of addons", [folder / "addons"]),
            ("configurations kept by earlier imports", [*paths.backups, paths.import_undo_file]),
            ("what was blocked on the way to relays", [paths.relay_ways_file]),
            ("which relays failed", [paths.relay_health_file]),
            ("sign-ins to the dashboard", [paths.sessions_file]),
        ):
            if existing := [path for path in paths_of_kind if os.path.lexists(path)]:
                others += existing
                gone.append(words)
    for path in (*aside, *surveys, *others):
        _delete(path)
    return gone


def _chromium_caches(profiles: Path) -> Iterator[Path]:
    """Yields the folder of Chromium's cache for profiles in the user's folder of settings, as on macOS: it has the same
    name in the user's folder of caches."""
    if sys.platform == "darwin":
        settings, caches = "~/Library/Application Support", "~/Library/Caches"
    else:
        settings = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with contextlib.suppress(ValueError):  # the profiles are elsewhere, with their cache
        yield Path(os.path.expanduser(caches)) / profiles.relative_to(os.path.expanduser(settings))


def _is_meant(survey: Path, what: Forgotten) -> bool:
    """Whether the file of an interrupted test may hold the selection; True if it cannot be read."""
    try:
        if what.host:
            return what.host.encode() in survey.read_bytes()
        return survey.stat().st_mtime >= what.since
    except OSError:
        return True


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            import shutil  # it imports bz2 and xz, which no start needs

            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    except OSError as error:
        raise BywayError(f"{shown(path)} cannot be deleted: {reason_of(error)}") from None
