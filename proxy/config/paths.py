"""The paths of Byway's files.

The configuration's folder has config.toml, rules.txt and addons/. The state folder, of mode 0700, has the files that
Byway writes. Tests, the demo and a second instance have their own state folders and share nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from proxy.config.files import shown
from proxy.model.errors import BywayError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass

SOCKET_PATH_LIMIT = 100
"""Bytes of a socket's path. The kernel's limit is 108 on Linux and 104 on BSD, with the closing NUL."""

ROOM = 128 * 1024
"""Bytes that must fit into the state folder at the start: about the size of an empty log with its write-ahead log."""

_NOT_NOW = frozenset(
    {errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
)
"""Errors after which Byway runs without writing (`NotWritable`)."""

_BACKUP = re.compile(r"backup-\d{8}T\d{6}\.toml")
"""The name of a backup by `byway config import`. A user's own file, such as backup-home.toml, has another one."""


def is_backup(name: str) -> bool:
    """Whether a file name is that of a backup, in any case: some file systems ignore case."""
    return re.fullmatch(_BACKUP.pattern, name, re.IGNORECASE) is not None


class NotWritable(BywayError):
    """Raised when a folder cannot be written at present. Byway then runs without it."""


class _InState:
    """The path of a file or folder in the state folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, paths: Paths, owner: object) -> Path:
        return paths.state_dir / self._name


@frozen_dataclass
class Paths:
    """All paths. Only the methods that say so create folders."""

    config_file: Path
    config_given: bool
    """Whether the user named the file: then it must exist."""
    state_dir: Path
    runtime_dir: Path | None
    """The folder for sockets, which is removed at logout; None when the system has none."""
    run_dir: Path | None = None
    """The folder of lock and run.json when the state folder is not writable; None: they are in the state folder."""

    store_file = _InState("byway.sqlite")
    relay_tests_file = _InState("relay-tests.json")
    """The last test of each relay."""
    lists_dir = _InState("lists")
    """The folder of the copies of lists that were fetched; created with the first."""
    relay_addresses_file = _InState("relay-addresses.json")
    """The last known addresses of relays that are configured by name."""
    relay_ways_file = _InState("relay-ways.json")
    """The beliefs about the ways to relays."""
    relay_health_file = _InState("relay-health.json")
    """The health of relays."""
    override_clock_file = _InState("override-clock.json")
    """The position of the clock, while overrides with an end are set."""
    relay_selection_file = _InState("relay-selection.json")
    """The relays selected with `byway relay use`, by group."""
    import_undo_file = _InState("import-undo.json")
    """The configuration and the rules before and after the last `byway import`."""
    system_proxy_file = _InState("system-proxy.json")
    """The system proxy before `byway system on`. The file exists while Byway is the system proxy."""
    sessions_file = _InState("sessions.json")
    """The hashes of the dashboard's sessions."""
    mode_file = _InState("mode.json")
    """The mode that `byway mode` and `byway pause` have set."""
    network_key_file = _InState("network.key")
    ca_dir = _InState("ca")
    """The folder of the local certificate authority alone; created on first use."""

    @classmethod
    def locate(cls, env: Mapping[str, str], *, config: Path | None = None, state: Path | None = None) -> Paths:
        """Returns the paths: by the flags, else by BYWAY_CONFIG and BYWAY_STATE, else in the platform's folders. Raises
        BywayError when the home folder is unknown."""
        config = config or _from_env(env, "BYWAY_CONFIG")
        state = state or _from_env(env, "BYWAY_STATE")
        return cls(
            config_file=_absolute(config or _platform("config") / "config.toml", "--config"),
            config_given=config is not None,
            state_dir=_absolute(state or _platform("state"), "--state"),
            runtime_dir=_runtime_dir(env),
        )

    @property
    def config_dir(self) -> Path:
        return self.config_file.parent

    def named(self, text: str) -> Path:
        """Returns the path of a file that the configuration names, relative to the configuration's folder."""
        return self.config_dir / Path(text).expanduser()

    @property
    def config_to_read(self) -> Path | None:
        """The configuration file; None when the default one does not exist."""
        return self.config_file if self.config_given or os.path.lexists(self.config_file) else None

    @property
    def rules_file(self) -> Path:
        return self.config_dir / "rules.txt"

    @property
    def block_pages_file(self) -> Path:
        """The imported block page fingerprints."""
        return self.config_dir / "block_pages.csv"

    @property
    def backups(self) -> list[Path]:
        """The configurations that `byway config import` has replaced, one file for each import, the oldest first."""
        try:
            names = sorted(filter(_BACKUP.fullmatch, os.listdir(self.config_dir)))
        except OSError:
            return []
        return [self.config_dir / name for name in names]

    @property
    def addons_dir(self) -> Path:
        return self.config_dir / "addons"

    @property
    def fallback_run_dir(self) -> Path:
        """The folder where commands look for run.json when it is not in the state folder: in the runtime folder, else
        in the temporary one. Each state folder has another name there. See `without_state`."""
        folder = _temporary_folder() if self.runtime_dir is None else self.runtime_dir / "byway"
        return folder / _short_name(self.state_dir)

    @property
    def lock_file(self) -> Path:
        return (self.run_dir or self.state_dir) / "lock"

    @property
    def run_file(self) -> Path:
        """The file by which commands find a running Byway."""
        return (self.run_dir or self.state_dir) / "run.json"

    @property
    def engine_dir(self) -> Path:
        """The configuration folder of mitmproxy. It is empty unless an addon of mitmproxy writes there."""
        return (self.run_dir or self.state_dir) / "mitmproxy"

    @property
    def keys_dir(self) -> Path:
        """The folder for those of the engine for keys, each of which is deleted when its process ends."""
        return (self.run_dir or self.state_dir) / "keys"

    @property
    def control_socket(self) -> Path:
        """The socket of the control API: in the runtime folder, under a name of this state folder alone; without one in
        the state folder; when that path is too long for a socket, in Byway's folder below the temporary one. See
        `make_socket_folder`."""
        name = f"{_short_name(self.state_dir)}.sock"
        candidates = [(self.run_dir or self.state_dir) / "control.sock"]
        if self.runtime_dir is not None:
            candidates.insert(0, self.runtime_dir / "byway" / name)
        fitting = (path for path in candidates if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT)
        return next(fitting, None) or _temporary_folder() / name

    def make_socket_folder(self) -> None:
        """Creates the folder of the control socket. Raises BywayError."""
        folder = self.control_socket.parent
        if folder == self.state_dir:
            private_folder(folder)
        elif folder != self.run_dir:
            own_folder(folder)

    def without_state(self) -> Paths:
        """Returns the paths for a run without a writable state folder, and creates their folder. Raises BywayError."""
        own_folder(self.fallback_run_dir.parent)
        return replace(self, run_dir=own_folder(self.fallback_run_dir))


def snap_name(state_dir: Path) -> str:
    """Returns the name of the folder that replaces a state folder for a program in a snap, which cannot read hidden
    folders of the user. Each state folder has another name."""
    return state_dir.as_posix().strip("/").replace("/", "-")


def own_folder(path: Path) -> Path:
    """Creates a private folder in a place where other users may write, such as /tmp, and returns it. It has mode 0700
    from the start. An existing folder is accepted only when it belongs to this user alone. Raises BywayError."""
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # also where the umask cleared bits
    except FileExistsError:
        pass
    except OSError as error:
        raise _unusable(path, error) from None
    if not is_own_folder(path):
        raise BywayError(
            f"{shown(path)} is not a private folder; another user may have made it. Remove it, or set "
            "XDG_RUNTIME_DIR to a private folder"
        )
    return path


def is_own_folder(path: Path) -> bool:
    """Whether `path` is a folder (no link to one) that belongs to this user and that no other user can enter."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if os.name != "posix":
        return stat.S_ISDIR(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def check_room(folder: Path) -> None:
    """Raises NotWritable when the folder has no room for Byway's state (ROOM)."""
    probe = folder / f".probe.{secrets.token_hex(4)}"
    try:
        write_private(probe, bytes(ROOM))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def private_folder(path: Path) -> Path:
    """Creates a folder, or takes an existing one of this user. Gives it mode 0700 and returns it. Raises BywayError."""
    try:
        make_folder(path)
        check_own(path)
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) != 0o700:
            path.chmod(0o700)
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None
    return path


def check_own(folder: Path) -> None:
    """Raises BywayError when a folder is shared or another user's, and OSError when its status cannot be read."""
    status = folder.stat()
    if status.st_mode & stat.S_ISVTX:
        raise BywayError(f"{shown(folder)} is shared with other users; choose a folder of your own with --state")
    if os.name == "posix" and status.st_uid != os.getuid():
        raise BywayError(f"{shown(folder)} belongs to another user; choose a folder of your own with --state")


def _unusable(path: Path, error: OSError | ValueError) -> BywayError:
    if not isinstance(error, OSError):
        return BywayError(f"the folder {shown(path)} cannot be used: {error}; choose another with --state")
    kind = NotWritable if error.errno in _NOT_NOW else BywayError
    return kind(f"the folder {shown(path)} cannot be used: {reason_of(error)}; choose another with --state")


def make_folder(path: Path) -> None:
    """Creates a folder and its missing parents, each with mode 0700. With `mkdir(parents=True)` the umask would decide
    the parents' modes, and another user who may write to one could replace our folder. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)  # the umask may have cleared bits, and the next folder is created in this one


def write_private(path: Path, content: bytes | str, *, durable: bool = False) -> None:
    """Replaces a file by one of mode 0600, atomically: a reader sees the old content or the new. With `durable` it is
    synced to the disk, so that it survives a power cut. Raises BywayError; NotWritable when that may be temporary."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.chmod(temporary, 0o600)  # also where the umask cleared bits
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
            if durable and os.name == "posix":
                _sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        kind = NotWritable if error.errno in _NOT_NOW else BywayError
        raise kind(f"{shown(path)} cannot be written: {reason_of(error)}") from None


def _sync_folder(folder: Path) -> None:
    """Syncs the entries of a folder to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _from_env(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]) if env.get(name) else None


def _platform(kind: Literal["config", "state"]) -> Path:
    """Returns Byway's folder for configuration or state on this platform. Raises BywayError when it is unknown."""
    home = os.environ.get("HOME", "")
    if sys.platform == "linux" and home.startswith("/"):
        # The usual case of platformdirs (XDG Base Directory Specification) without its 28 modules and 1.5 MiB.
        variable, default = {"config": ("XDG_CONFIG_HOME", ".config"), "state": ("XDG_STATE_HOME", ".local/state")}[
            kind
        ]
        given = os.environ.get(variable, "")
        return (Path(given) if given.startswith("/") else Path(home, default)) / "byway"
    import platformdirs

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    try:
        path = find("byway", False)
    except RuntimeError:  # recent versions raise it, older ones return a path with ~
        path = Path("~")
    if not path.is_absolute():
        raise BywayError(f"the home folder is unknown (HOME is not set); set the path with --{kind}")
    return path


def _absolute(path: Path, flag: str) -> Path:
    try:
        return path.absolute()
    except FileNotFoundError:  # the current folder has been deleted
        raise BywayError(
            f"{shown(path)} is relative to a folder that no longer exists; give {flag} an absolute path"
        ) from None


def _runtime_dir(env: Mapping[str, str]) -> Path | None:
    """Returns XDG_RUNTIME_DIR when it is the absolute path of a folder of this user; None otherwise."""
    path = _from_env(env, "XDG_RUNTIME_DIR")
    if path is None or not path.is_absolute():
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    ours = os.name != "posix" or status.st_uid == os.getuid()
    return path if ours and stat.S_ISDIR(status.st_mode) else None


def _short_name(state_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]


def _temporary_folder() -> Path:
    import tempfile  # half a MiB, rarely needed

    return Path(tempfile.gettempdir()) / f"byway-{os.getuid() if os.name == 'posix' else 'user'}"
