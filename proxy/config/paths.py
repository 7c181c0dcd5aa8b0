"""Where Byway's files lie.

The configuration's folder holds config.toml, rules.txt and addons/; the state folder holds what Byway writes, for the
user's eyes alone. Tests, the demo and a second instance use a state folder of their own and meet nobody.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import platformdirs

from proxy.config.files import shown
from proxy.model.errors import BywayError

SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel's own limit is 108 on Linux and 104 on BSD, with the closing NUL."""

ROOM = 128 * 1024
"""Bytes that have to fit into the state folder at the start: an empty log with its write-ahead log takes about as
many."""

_NOT_NOW = frozenset(
    {errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
)


class NotWritable(BywayError):
    """A folder in which nothing can be written now, and which is no reason not to run."""


@dataclass(frozen=True, slots=True)
class Paths:
    """All places. Nothing is made here: see `private_folder`."""

    config_file: Path
    config_given: bool
    """The user named the file, so it must exist."""
    state_dir: Path
    runtime_dir: Path | None
    """For sockets, gone after logout; None where the system has none."""
    run_dir: Path | None = None
    """Where lock and run.json lie instead of in the state folder, when nothing can be written there."""

    @classmethod
    def locate(cls, env: Mapping[str, str], *, config: Path | None = None, state: Path | None = None) -> Paths:
        """Flags, then BYWAY_CONFIG and BYWAY_STATE, then the platform's folders. Raises BywayError without a home."""
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
        """A file that the configuration names: meant from its folder, wherever we were started."""
        return self.config_dir / Path(text).expanduser()

    @property
    def config_to_read(self) -> Path | None:
        """None: there is no file, and none was asked for."""
        return self.config_file if self.config_given or os.path.lexists(self.config_file) else None

    @property
    def rules_file(self) -> Path:
        return self.config_dir / "rules.txt"

    @property
    def block_pages_file(self) -> Path:
        """Fingerprints that were imported; beside the rules."""
        return self.config_dir / "block_pages.csv"

    @property
    def addons_dir(self) -> Path:
        return self.config_dir / "addons"

    @property
    def fallback_run_dir(self) -> Path:
        """Where the command line looks for run.json when it is not in the state folder: under a name that no other
        state folder has, in the runtime folder, else in the temporary one. See `without_state`."""
        folder = _temporary_folder() if self.runtime_dir is None else self.runtime_dir / "byway"
        return folder / _short_name(self.state_dir)

    @property
    def lock_file(self) -> Path:
        return (self.run_dir or self.state_dir) / "lock"

    @property
    def run_file(self) -> Path:
        """How the command line finds a running Byway."""
        return (self.run_dir or self.state_dir) / "run.json"

    @property
    def store_file(self) -> Path:
        return self.state_dir / "byway.sqlite"

    @property
    def relay_tests_file(self) -> Path:
        """The last test of each relay."""
        return self.state_dir / "relay-tests.json"

    @property
    def network_key_file(self) -> Path:
        return self.state_dir / "network.key"

    @property
    def ca_dir(self) -> Path:
        """The local certificate authority, once something needed one; nothing else lies there."""
        return self.state_dir / "ca"

    @property
    def engine_dir(self) -> Path:
        """What mitmproxy and its addons take for their configuration folder; empty unless an addon writes there."""
        return (self.run_dir or self.state_dir) / "mitmproxy"

    @property
    def control_socket(self) -> Path:
        """In the runtime folder under a name that no other state folder has, else in the state folder, else, when that
        path is too long for a socket, in a folder of ours below the temporary one. See `make_socket_folder`."""
        name = f"{_short_name(self.state_dir)}.sock"
        candidates = [(self.run_dir or self.state_dir) / "control.sock"]
        if self.runtime_dir is not None:
            candidates.insert(0, self.runtime_dir / "byway" / name)
        fallback = _temporary_folder() / name
        return next((path for path in candidates if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT), fallback)

    def make_socket_folder(self) -> None:
        """Raises BywayError."""
        folder = self.control_socket.parent
        if folder == self.state_dir:
            private_folder(folder)
        elif folder != self.run_dir:
            own_folder(folder)

    def without_state(self) -> Paths:
        """These places where the state folder cannot be written, with the folder made. Raises BywayError."""
        own_folder(self.fallback_run_dir.parent)
        return replace(self, run_dir=own_folder(self.fallback_run_dir))


def own_folder(path: Path) -> Path:
    """Makes a folder of ours in a place where others may write, with mkdtemp's care: with mode 0700 at once, and one
    that is there is taken only when it is ours alone. Raises BywayError."""
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # whatever the umask took away
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
    """Whether it is a folder, no link to one, of this user, and closed to all others."""
    try:
        found = path.lstat()
    except OSError:
        return False
    if os.name != "posix":
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def check_room(folder: Path) -> None:
    """Raises NotWritable when there is no room for what Byway keeps in its state folder."""
    probe = folder / f".probe.{secrets.token_hex(4)}"
    try:
        write_private(probe, bytes(ROOM))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def private_folder(path: Path) -> Path:
    """Makes the folder, or takes one of the user's, with mode 0700 whatever the umask. Raises BywayError."""
    try:
        make_folder(path)
        found = path.stat()
        if found.st_mode & stat.S_ISVTX:
            raise BywayError(f"{shown(path)} is shared with other users; choose a folder of your own")
        if os.name == "posix" and found.st_uid != os.getuid():
            raise BywayError(f"{shown(path)} belongs to another user; choose a folder of your own")
        if os.name == "posix" and stat.S_IMODE(found.st_mode) != 0o700:
            path.chmod(0o700)
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None
    return path


def _unusable(path: Path, error: OSError | ValueError) -> BywayError:
    if not isinstance(error, OSError):
        return BywayError(f"the folder {shown(path)} cannot be used: {error}; choose another with --state")
    kind = NotWritable if error.errno in _NOT_NOW else BywayError
    return kind(f"the folder {shown(path)} cannot be used: {_reason(error)}; choose another with --state")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def make_folder(path: Path) -> None:
    """Makes the folder and those above it that are missing, each for the user alone: `parents=True` would leave those
    above to the umask, and who may write to one of them may put another folder in place of ours. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)  # whatever the umask took away: the next folder is made in it


def write_private(path: Path, content: bytes | str) -> None:
    """Writes a file of mode 0600 as a whole: a reader sees the old content or the new. Raises BywayError."""
    data = content.encode() if isinstance(content, str) else content
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.chmod(fresh, 0o600)  # whatever the umask took away
                file.write(data)
            os.replace(fresh, path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        kind = NotWritable if error.errno in _NOT_NOW else BywayError
        raise kind(f"{shown(path)} cannot be written: {_reason(error)}") from None


def _from_env(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]) if env.get(name) else None


def _platform(kind: Literal["config", "state"]) -> Path:
    """Byway's folder of the platform."""
    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    try:
        path = find("byway", False)
    except RuntimeError:  # recent versions refuse, older ones leave the ~ standing
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
    """XDG_RUNTIME_DIR, when it is what it should be: ours, and a full path."""
    path = _from_env(env, "XDG_RUNTIME_DIR")
    if path is None or not path.is_absolute():
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    ours = os.name != "posix" or found.st_uid == os.getuid()
    return path if ours and stat.S_ISDIR(found.st_mode) else None


def _short_name(state_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"byway-{_user()}"


def _user() -> int | str:
    return os.getuid() if os.name == "posix" else "user"
