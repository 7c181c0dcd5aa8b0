"""The programs of `[listen] programs`: which files they stand for, and whether a client is one of them.

A program is known by the file that it was started from, by device and inode: its path is text that a program in a mount
namespace of its own can choose. The file, its folders and the links on its path must be such that the user cannot
change them, or any program of the user could take its place. All of this is looked at anew for each client, so a
browser that was updated, or installed later, is known without a reload.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from proxy.config.files import shown
from proxy.config.suggestions import quoted
from proxy.model.frozen_dataclass import frozen_dataclass

_LINKS_LIMIT = 40
"""The most symbolic links that Linux follows in one path."""

_OVERFLOW_ID = 65534
"""The id that the kernel shows for an owner that the user namespace does not map."""

_IN_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/usr/games", "/snap/bin")
"""Where a name is looked for first. Not in $PATH, which may begin with a folder of the user."""

_BESIDE_SCRIPTS = (
    "/usr/lib/{0}/{0}", "/usr/lib/{0}-browser/{0}-browser", "/usr/lib64/{0}/{0}", "/usr/lib64/{0}-browser/{0}-browser",
    "/usr/libexec/{0}", "/usr/share/{0}/{0}", "/opt/{0}/{0}", "/opt/*/{0}/{0}", "/snap/{0}/current/usr/lib/{0}/{0}",
    "/var/lib/flatpak/app/*/current/active/files/lib/{0}/{0}",
)  # fmt: skip
"""Where the program of that name is when the file in those folders is a script that starts it, as for most browsers."""

_INTERPRETER = re.compile(
    r"(python|pypy|perl|ruby|node(js)?|deno|bun|java|php|lua|luajit|tclsh|wish|guile|mono|dotnet|Rscript|gjs|electron"
    r"|wine|wine64|(ba|da|z|fi|k|mk|pdk|tc|c|a)?sh|busybox|toybox|m?awk|gawk|ld(-linux[\w-]*+|-musl-\w++)?|qemu-[\w-]++"
    r"|env|xargs|socat|ssh|nc|ncat|netcat)[\d.]*(\.so[\d.]*)?\Z"
)
"""Programs that run, or pass on, what any other program tells them."""


@frozen_dataclass
class Holder:
    """The program of one process that holds the socket of a client, by the file that it was started from."""

    path: str
    """As the kernel has it, without ` (deleted)`."""
    device: int
    inode: int
    owner: int
    mode: int
    links: int
    is_deleted: bool

    @classmethod
    def of(cls, exe: Path) -> Holder:
        """Reads the link `/proc/PID/exe`. Raises OSError."""
        path, status = os.readlink(exe), os.stat(exe)
        deleted = " (deleted)"
        is_deleted = path.endswith(deleted) and status.st_nlink == 0
        return cls(
            path.removesuffix(deleted) if is_deleted else path,
            status.st_dev,
            status.st_ino,
            status.st_uid,
            status.st_mode,
            status.st_nlink,
            is_deleted,
        )

    @property
    def shown(self) -> str:
        """The path for messages: the program has chosen it."""
        return shown(Path(self.path[:300]))


@frozen_dataclass
class NamedProgram:
    """An entry of `[listen] programs`."""

    text: str
    """The path or the name, as it stands there."""
    path: str
    """The path that it stands for; empty: there is no program of that name."""

    @property
    def is_there(self) -> bool:
        return bool(self.path) and os.path.exists(self.path)

    @property
    def is_interpreter(self) -> bool:
        """Whether it runs what other programs tell it."""
        return bool(_INTERPRETER.match(os.path.basename(os.path.realpath(self.path))))

    def is_of(self, holder: Holder) -> bool:
        """Whether a process was started from the file of this program, which no program of the user could change. An
        update deletes the file of a program that runs: then its path, its device and its owner must be right."""
        if not self.path:
            return False
        try:
            steps = list(_steps(self.path))
            if any(_may_be_changed(place, status) for place, status in steps):
                return False
        except OSError:  # it was removed
            return False
        file = steps[-1][1]
        if not holder.is_deleted:
            return (file.st_dev, file.st_ino) == (holder.device, holder.inode)
        folder = os.stat(os.path.dirname(steps[-1][0]))
        return (
            holder.path == steps[-1][0]
            and holder.device in (file.st_dev, folder.st_dev)
            and not _is_of_user(holder.owner)
            and not holder.mode & (stat.S_IWGRP | stat.S_IWOTH)
        )


def named_program(text: str) -> NamedProgram:
    """Returns the program that a path or a name stands for. Raises ValueError, with a sentence, when the user can
    change it or it is a script, so that it could not be told from others."""
    if "/" in text:
        path = os.path.normpath(text)
        if os.path.exists(path):
            _check(path)
        return NamedProgram(text, path)
    scripts = list[str]()
    for place in (*(f"{folder}/{text}" for folder in _IN_FOLDERS), *_beside_scripts(text)):
        if not (os.path.isfile(place) and os.access(place, os.X_OK)):
            continue
        if _interpreter_of(place):
            scripts.append(place)
            continue
        _check(place)
        return NamedProgram(text, os.path.realpath(place))
    if scripts:
        raise ValueError(
            f"{scripts[0]} is a script; write the path of the program that it starts, which `readlink /proc/PID/exe` "
            "shows while it runs"
        )
    return NamedProgram(text, "")


def _beside_scripts(name: str) -> Iterator[str]:
    for pattern in _BESIDE_SCRIPTS:
        yield from sorted(glob(pattern.format(name)))


def _check(path: str) -> None:
    name = shown(Path(path))
    if (interpreter := _interpreter_of(path)) or not os.path.isfile(path):
        what = f"a script, and what runs is {quoted(interpreter)}" if interpreter else "not a file"
        raise ValueError(f"{name} is {what}; write the path of the program that it starts")
    for place, status in _steps(path):
        if _may_be_changed(place, status):
            what = name if place == path else f"{shown(Path(place))}, on the way to {name},"
            raise ValueError(
                f"{what} can be changed by your user, so any of your programs could take its place; name one that only "
                "root can change, as those that a package of the system installs"
            )


def _interpreter_of(path: str) -> str:
    """Returns the interpreter of a script; empty for another file, and for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            first = file.read(128)
    except OSError:
        return ""
    return first[2:].split(b"\n")[0].strip().decode(errors="replace") if first.startswith(b"#!") else ""


def admits(programs: Sequence[NamedProgram], holders: Sequence[Holder]) -> bool:
    """Whether all that hold the socket of a client are of these programs."""
    return bool(holders) and all(any(program.is_of(holder) for program in programs) for holder in holders)


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yields the folders through which the kernel walks to a file, also those of the links on its path, each with its
    status, and the file last. Raises OSError."""
    way, links = "/", 0
    ahead = [part for part in reversed(path.split("/")) if part]
    yield way, os.stat(way)
    while ahead:
        name = ahead.pop()
        if name in (".", ".."):
            way = way if name == "." else os.path.dirname(way)
            continue
        place = os.path.join(way, name)
        status = os.lstat(place)
        if not stat.S_ISLNK(status.st_mode):
            way = place
            yield place, status
            continue
        links += 1
        if links > _LINKS_LIMIT:
            raise OSError(f"too many symbolic links in {path}")
        target = os.readlink(place)
        ahead += [part for part in reversed(target.split("/")) if part]
        way = "/" if target.startswith("/") else way


def _may_be_changed(place: str, status: os.stat_result) -> bool:
    """Whether the user can change a file or a folder, also by changing its mode first. Byway that runs as root goes by
    the mode: only root may write."""
    if _is_of_user(status.st_uid):
        return True
    if os.geteuid() == 0:
        return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return os.access(place, os.W_OK, effective_ids=True)


def _is_of_user(uid: int) -> bool:
    """Whether an owner is someone who runs programs: this user, or for root anyone else."""
    us = os.geteuid()
    return uid not in (0, _OVERFLOW_ID) if us == 0 else uid == us
