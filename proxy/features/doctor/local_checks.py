"""The steps that need no network: files, port, socket, system proxy, installation. Nothing is sent."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import os
import shutil
import socket
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import proxy
from proxy.config.file_owners import close_to_others, trust_in
from proxy.config.paths import ROOM, NotWritable, Paths, check_own, check_room
from proxy.model.errors import BywayError, reason_of
from proxy.model.phrase import _, ngettext
from proxy.terminal.findings import Finding, Step

_FILES_MAX = 10_000
"""The most files of the state folder that are checked."""


def system_proxy(paths: Paths) -> Iterator[Finding]:
    """Yields a system proxy setting that an ended Byway left."""
    from proxy.setup.desktop.system_proxy import SystemProxy

    system = SystemProxy(paths.system_proxy_file)
    if system.has_saved:
        yield Finding(
            Step.SYSTEM_PROXY,
            _("The system proxy is still Byway, which is not running."),
            "byway system off",
            lambda: void(system.restore()),
        )


def port(address: str, number: int) -> Iterator[Finding]:
    """Yields a port on which another program listens, so that Byway cannot start."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, number))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                text = _(
                    "Another program listens on {address} port {number}, so Byway cannot start there.",
                    address=address,
                    number=str(number),
                )
                yield Finding(Step.PORT, text, f"byway run --port {number + 1}", prevents_start=True)


def file_modes(paths: Paths) -> Iterator[Finding]:
    """Yields files of Byway that other users can read."""
    if os.name != "posix" or not paths.state_dir.is_dir():
        return
    readable = list(_open_files(paths.state_dir))
    if readable:
        text = ngettext(
            "Other users can read {count} file of Byway, such as {path}.",
            "Other users can read {count} files of Byway, such as {path}.",
            len(readable),
            path=str(readable[0]),
        )
        yield Finding(Step.FILE_MODES, text, f"chmod -R go-rwx {paths.state_dir}", lambda: _close(readable))


def _open_files(folder: Path) -> Iterator[Path]:
    """Yields the folder and its content that other users can read, without links. The browser manages its profile
    itself."""
    yield from _if_open(folder)
    count = 0
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(root, name) != folder / "browser"]
        for name in (*folders, *files):
            yield from _if_open(Path(root, name))
            count += 1
            if count >= _FILES_MAX:
                return


def _if_open(path: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):  # a running Byway has just deleted it
        mode = path.lstat().st_mode
        if not (stat.S_ISLNK(mode) or stat.S_ISSOCK(mode)) and stat.S_IMODE(mode) & 0o077:
            yield path


def _close(files: list[Path]) -> None:
    for path in files:
        try:
            path.chmod(0o700 if path.is_dir() else 0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BywayError(f"{path} cannot be closed to other users: {reason_of(error)}") from None


def stale_socket(paths: Paths) -> Iterator[Finding]:
    """Yields run.json and the control socket of a killed Byway."""
    left = [path for path in (paths.run_file, paths.control_socket) if os.path.lexists(path) and not path.is_dir()]
    if left:
        text = _("{file} was left behind by a Byway that was killed.", file=str(left[0]))
        yield Finding(Step.STALE_SOCKET, text, f"rm {' '.join(map(str, left))}", lambda: _remove(left))


def _remove(files: list[Path]) -> None:
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise BywayError(f"{path} cannot be deleted: {reason_of(error)}") from None


def disk(paths: Paths) -> Iterator[Finding]:
    """Yields a state folder that is not writable."""
    if paths.state_dir.is_dir():
        try:
            check_room(paths.state_dir)
        except NotWritable as error:
            text = _("Nothing can be stored: {reason}.", reason=str(error))
            yield Finding(Step.DISK_FULL, text, _how_to_store(paths.state_dir))


def _how_to_store(folder: Path) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = 0
    if free < ROOM:
        return _("free some disk space")
    return _("make {folder} writable, or choose another folder: `byway run --state DIR`", folder=str(folder))


def state_folder(paths: Paths) -> Iterator[Finding]:
    """Yields a state folder with which Byway does not start: it belongs to another user, or has folders in place of its
    files."""
    try:
        if paths.state_dir.exists():
            check_own(paths.state_dir)
        for path in (paths.lock_file, paths.run_file):
            if path.is_dir():
                raise BywayError(f"{path} is a folder, not a file")
    except (BywayError, OSError) as error:
        reason = str(error) if isinstance(error, BywayError) else reason_of(error)
        text = _("The state directory cannot be used: {reason}.", reason=reason)
        yield Finding(Step.STATE_FOLDER, text, "byway run --state DIR", prevents_start=True)


def not_ours(refusal: str) -> Finding:
    """Returns the finding about a Byway of another user, who owns the state folder."""
    return Finding(Step.STATE_FOLDER, refusal, "byway run --state DIR", prevents_start=True)


def open_configuration(paths: Paths) -> Iterator[Finding]:
    """Yields the configuration and files beside it that other users could change: Byway does not use them."""
    for path in (paths.config_file, paths.rules_file, paths.addons_dir, *sorted(paths.addons_dir.glob("*.py"))):
        for problem in trust_in(path).problems:
            sentence, _run, command = problem.rpartition(" Run: ")
            mend = partial(close_to_others, path, paths.config_dir)
            yield Finding(Step.FILE_MODES, sentence, command, mend, prevents_start=True)


def configuration(problems: Sequence[str], notices: Sequence[str]) -> Iterator[Finding]:
    """Yields the problems and notices of a start: of the configuration, the rules and the lists."""
    for problem in problems:
        do = _("correct it, then run `byway doctor` again")
        yield Finding(Step.CONFIGURATION, problem, do, prevents_start=True)
    for notice in notices:
        yield Finding(Step.CONFIGURATION, notice, "byway config check")


def damaged_log(paths: Paths) -> Iterator[Finding]:
    """Yields a log that cannot be read. A running Byway repairs its log itself."""
    from proxy.store.file import open_reader

    file = paths.store_file
    if not file.exists():
        return
    try:
        with contextlib.closing(open_reader(file)) as db:
            (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
            reason = "" if result == "ok" else str(result)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        reason = str(error)
    except OSError as error:
        reason = reason_of(error)
    if reason:
        text = _("The log {file} is damaged ({reason}).", file=str(file), reason=reason)
        yield Finding(Step.DAMAGED_LOG, text, "byway doctor --fix", lambda: _renew_log(file))


def _renew_log(file: Path) -> None:
    """Renews the log as a start of Byway does: sets the damaged file aside, and keeps the overrides that can be read.
    Raises BywayError."""
    from proxy.store.store import Store

    store = Store(file)
    store.start()
    store.close()
    if store.trouble:
        raise BywayError(f"the log cannot be renewed: {store.trouble}")


def proxy_package(distribution: Callable[[str], object] = importlib.metadata.distribution) -> Iterator[Finding]:
    """Yields an installed proxy.py from PyPI, which has a package of the same name."""
    try:
        distribution("proxy.py")
    except importlib.metadata.PackageNotFoundError:
        return
    yield Finding(
        Step.PROXY_PACKAGE,
        _("The package proxy.py is installed beside Byway, and both are named `proxy` in Python."),
        _("install Byway on its own: pipx install byway"),
    )


def old_process(status: dict[str, Any], package: Path = Path(proxy.__file__).parent) -> Iterator[Finding]:
    """Yields a running Byway that started before its files were installed."""
    newest = max(path.stat().st_mtime for path in package.rglob("*.py"))
    started_at = float(status["live"].get("started_at", status["now"]))
    if status["byway"] != proxy.__version__ or started_at < newest:
        text = _(
            "The running Byway {running} is older than the installed files ({installed}).",
            running=status["byway"],
            installed=proxy.__version__,
        )
        yield Finding(Step.OLD_PROCESS, text, "byway restart")


def void(_: object) -> None:
    """Drops a result that nobody needs."""
