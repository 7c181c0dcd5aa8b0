"""Checks whether another user of this computer can change a file that controls Byway.

A configuration contains commands to run, and rules decide which sites go direct, so a user who can write these files
controls the owner's Byway. A file is used ("obeyed") only when nobody except the user and root can change it, by its
owner and mode and by those of every folder and symbolic link on its path. A folder that no other user can enter (0700)
protects its content. Groups without other members and sticky folders such as /tmp are safe.

Where owners or modes carry no information (vfat, a Windows drive under WSL, an owner that is unknown in a container),
`doubt` says so: such a file is obeyed with a warning, but its commands are not run.
"""

from __future__ import annotations

import os
import shlex
import stat
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from proxy.config.files import decode, decode_pieces, read_bytes, read_file, shown
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass

if os.name == "posix":
    import grp
    import pwd

_LINKS_LIMIT = 40
"""The most symbolic links that Linux follows in one path."""

_MODELESS = frozenset(
    {"9p", "cifs", "drvfs", "exfat", "fuseblk", "msdos", "ntfs", "ntfs3", "prl_fs", "smb3", "vboxsf", "vfat"}
    | {"fuse.grpcfuse", "fuse.osxfs", "fuse.vmhgfs-fuse"}
)
"""File systems whose owners and modes come from the mount or from another system: chmod and chown have no effect."""

_OVERFLOW_ID = 65534
"""The id that the kernel shows for an owner that the user namespace does not map."""

_ROOT = 0
_ACL = "system.posix_acl_access"
_ACL_NAMED = (0x02, 0x08)  # ACL_USER and ACL_GROUP: entries for someone by name (acl(5), linux/posix_acl_xattr.h)


@frozen_dataclass
class Trust:
    """The result of checking one file. It can be obeyed when there are no problems."""

    problems: tuple[str, ...] = ()
    """The reasons why the file is not used: a sentence for each, with the command that repairs it."""
    doubt: str = ""
    """The reason why it is unknown which users can change the file; empty when it is known."""


@frozen_dataclass
class Obeyed:
    """The content of a file that can be obeyed; `doubt` as in Trust."""

    path: Path
    data: bytes
    doubt: str

    @property
    def text(self) -> str:
        """The content as text. Raises ConfigError, with the line, for bytes that are not text."""
        return decode(self.path, self.data)


def read_obeyed(path: Path, *, limit: int) -> Obeyed:
    """Reads a file of at most `limit` bytes. Raises ConfigError as `read_bytes` does, and when another user can change
    the file. It checks the file that was read, even if the path now leads to another one."""
    data, status = read_file(path, limit=limit)
    trust = trust_in(path, opened=status)
    if trust.problems:
        raise ConfigError(trust.problems)
    return Obeyed(path, data, trust.doubt)


class FolderFiles:
    """Reads the files in a folder that another file includes by name. Their sizes together are limited."""

    def __init__(self, folder: Path, *, limit: int, only_obeyed: bool = True, pause_s: float = 0.0) -> None:
        """`limit` is in bytes. Without `only_obeyed` the files may belong to another user. `pause_s` is as in
        `decode_pieces`."""
        self._folder = folder
        self._left = limit
        self._only_obeyed = only_obeyed
        self._pause_s = pause_s

    def __call__(self, name: str) -> tuple[str, Iterator[str]] | None:
        """Returns the file's name in messages, and its text in pieces; None: there is no such file. Raises ConfigError
        as `read_obeyed`."""
        file = self._folder / name
        if not os.path.lexists(file):
            return None
        data = read_obeyed(file, limit=self._left).data if self._only_obeyed else read_bytes(file, limit=self._left)
        self._left -= len(data)
        return shown(file), decode_pieces(file, data, pause_s=self._pause_s)


def check_obeyed(path: Path) -> None:
    """Raises ConfigError when another user can change a file that other code reads. A missing file passes: the code
    that reads it reports that."""
    if problems := trust_in(path).problems:
        raise ConfigError(problems)


def trust_in(path: Path, *, opened: os.stat_result | None = None) -> Trust:
    """Checks the file or folder at `path`. `opened` is the status of the file that was opened there."""
    if os.name != "posix":
        return Trust()
    try:
        faults, last = _follow(path)
    except OSError:  # missing, or a part of the path cannot be read: the code that reads the file reports it
        return Trust()
    if opened is not None and (opened.st_dev, opened.st_ino) != (last.st_dev, last.st_ino):
        return Trust((f"{shown(path)}: not used: it was replaced while it was read; try again",))
    certain = [fault for fault in faults if _is_known(fault.status.st_uid) and not fault.is_modeless]
    if certain:
        return Trust(tuple(dict.fromkeys(f"{shown(path)}: not used: {_sentence(fault, path)}" for fault in certain)))
    return Trust(doubt=_doubt(faults[0], path)) if faults else Trust()


def close_to_others(path: Path, folder: Path) -> None:
    """Removes the write permission of other users from `path` and from `folder`, which is the configuration's, where
    these belong to this user. It does not change the user's home folder. Raises BywayError when others can still change
    `path`: through another folder above it, or as an owner."""
    ours = {path.absolute(), folder.absolute()} - {Path.home()}
    try:
        faults, _ = _follow(path)
        for fault in faults:
            if fault.place in ours and not fault.is_owner and fault.status.st_uid == os.geteuid():
                os.chmod(fault.place, stat.S_IMODE(fault.status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    except OSError as error:
        raise BywayError(f"{shown(path)}: its mode cannot be changed: {reason_of(error)}") from None
    if problems := trust_in(path).problems:
        raise BywayError(problems[0])


# -- permissions -------------------------------------------------------------------------------------------------------


@frozen_dataclass
class _Fault:
    """A file, folder or link on the path that another user owns or may write to."""

    place: Path
    status: os.stat_result
    is_owner: bool

    @property
    def is_modeless(self) -> bool:
        return _filesystem(self.status.st_dev) in _MODELESS


@frozen_dataclass
class _Step:
    """A folder on the path, or the file, and the faults of its entry in the folder above."""

    place: Path
    status: os.stat_result
    faults: tuple[_Fault, ...] = ()


def _follow(path: Path) -> tuple[list[_Fault], os.stat_result]:
    """Walks the path as the kernel does, one name at a time. Returns the faults of the file and of everything on its
    path, and the status of the file. Raises OSError."""
    way = [_Step(Path("/"), os.lstat("/"))]
    ahead = list(reversed(path.absolute().parts[1:]))
    faults: list[_Fault] = []
    links = 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            faults += _faults_on([*way, way[-1]])
            del way[max(1, len(way) - 1) :]
            continue
        place = way[-1].place / name
        status = os.lstat(place)
        step = _Step(place, status, tuple(_faults_of_entry(way[-1], place, status)))
        if not stat.S_ISLNK(status.st_mode):
            way.append(step)
            continue
        links += 1
        if links > _LINKS_LIMIT:
            raise OSError(f"too many symbolic links in {path}")
        faults += _faults_on([*way, step])
        target = Path(os.readlink(place))
        ahead += reversed([part for part in target.parts if part != "/"])
        if target.is_absolute():
            del way[1:]
    last = way[-1]
    return [*faults, *_faults_on([*way, _Step(last.place, last.status, tuple(_faults_of(last)))])], last.status


def _faults_on(way: Sequence[_Step]) -> list[_Fault]:
    """Returns the faults of all steps; none when one step is a folder that no other user can enter. Faults above such a
    folder do not count either: a folder in its place would belong to another user."""
    if any(_is_private(step.status) for step in way[:-1] if stat.S_ISDIR(step.status.st_mode)):
        return []
    return [fault for step in way for fault in step.faults]


def _faults_of_entry(folder: _Step, place: Path, status: os.stat_result) -> Iterator[_Fault]:
    """Yields the faults by which other users can replace this entry of a folder."""
    if not _is_trusted(folder.status.st_uid):
        yield _Fault(folder.place, folder.status, is_owner=True)
    elif _is_writable(folder.place, folder.status):
        if not folder.status.st_mode & stat.S_ISVTX:
            yield _Fault(folder.place, folder.status, is_owner=False)
        elif not _is_trusted(status.st_uid):
            yield _Fault(place, status, is_owner=True)


def _faults_of(step: _Step) -> Iterator[_Fault]:
    if not _is_trusted(step.status.st_uid):
        yield _Fault(step.place, step.status, is_owner=True)
    elif _is_writable(step.place, step.status):
        yield _Fault(step.place, step.status, is_owner=False)


def _is_private(status: os.stat_result) -> bool:
    """Whether no other user can enter the folder."""
    if not _is_trusted(status.st_uid) or status.st_mode & 0o007:
        return False
    return not status.st_mode & 0o070 or not _has_other_members(status.st_gid, os.geteuid())


def _is_trusted(uid: int) -> bool:
    return _is_known(uid) and uid in (_ROOT, os.geteuid())


def _is_writable(place: Path, status: os.stat_result) -> bool:
    """Whether a user other than the owner may write to it."""
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:
        return False
    return _has_other_members(status.st_gid, os.geteuid()) or _names_others(place)


def _names_others(place: Path) -> bool:
    """Whether an access control list lets a named user or group write. Its mask is in the group's mode bits."""
    try:
        entries = os.getxattr(place, _ACL)[4:]
    except (OSError, AttributeError):
        return False
    return any(tag in _ACL_NAMED and permissions & 0o2 for tag, permissions, _ in struct.iter_unpack("<HHI", entries))


@lru_cache(maxsize=64)
def _has_other_members(gid: int, us: int) -> bool:
    """Whether a group has members besides this user and root. True for a group that the system does not list
    completely."""
    accounts = pwd.getpwall()
    ours = {account.pw_name for account in accounts if account.pw_uid in (us, _ROOT)}
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid != os.getegid() or any(a.pw_gid == gid and a.pw_name not in ours for a in accounts)
    if any(member not in ours for member in group.gr_mem):
        return True
    if gid == os.getegid() and us not in (account.pw_uid for account in accounts):
        # A directory service that lists no accounts: only the usual private group, named after its user, is safe.
        try:
            return group.gr_name != pwd.getpwuid(us).pw_name
        except KeyError:
            return True
    return any(account.pw_gid == gid and account.pw_name not in ours for account in accounts)


# -- owners and modes without information ------------------------------------------------------------------------------


def _is_known(uid: int) -> bool:
    """False for the overflow id when it stands for an owner that this user namespace does not map."""
    return uid != _OVERFLOW_ID or _is_mapped(uid)


@lru_cache(maxsize=1)
def _is_mapped(uid: int) -> bool:
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:  # no user namespaces here
        return True
    ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    return any(first <= uid < first + count for first, count in ranges)


def _filesystem(device: int) -> str:
    """Returns the type of the file system with this device number, as in /proc/self/mountinfo; empty when unknown."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        front, _, back = line.partition(" - ")
        if front.split()[2:3] == [number]:
            return back.split()[0]
    return ""


# -- messages ----------------------------------------------------------------------------------------------------------


def _sentence(fault: _Fault, file: Path) -> str:
    itself = fault.place == file.absolute()
    what = "it" if itself else shown(fault.place)
    if fault.is_owner:
        why = f"{what} belongs to {_name(fault.status.st_uid)}, who could change it"
    else:
        why = f"other users can write to {what}"
    return f"{why}. Run: {_command(fault, file)}"


def _command(fault: _Fault, file: Path) -> str:
    """Returns the command that repairs a fault. For a fault above the file's folder it closes that folder, when it is
    this user's: that protects the file."""
    sudo = "" if os.geteuid() == _ROOT else "sudo "
    place = shlex.quote(str(fault.place))
    if fault.status.st_uid != os.geteuid() and fault.place not in (file.absolute(), file.absolute().parent):
        folder = file.absolute().parent
        if folder == file.resolve().parent and folder.stat().st_uid == os.geteuid():
            return f"chmod 700 {shlex.quote(str(folder))}"
    if fault.is_owner:
        return f"{sudo}chown {'-h ' if stat.S_ISLNK(fault.status.st_mode) else ''}{_name(os.geteuid())} {place}"
    if not fault.status.st_mode & stat.S_IWOTH and _names_others(fault.place):
        return f"setfacl -b {place}"
    return f"{sudo if fault.status.st_uid != os.geteuid() else ''}chmod go-w {place}"


def _doubt(fault: _Fault, file: Path) -> str:
    if not _is_known(fault.status.st_uid):
        reason = f"the owner of {shown(fault.place)} is unknown in this container"
    else:
        reason = f"owners and modes mean nothing on {_filesystem(fault.status.st_dev)}"
    folder = file.absolute().parent
    sentence = f"{shown(folder)}: other users may be able to change the files in it: {reason}"
    is_ours = not fault.is_modeless and os.lstat(folder).st_uid == os.geteuid()
    return f"{sentence}. To exclude that, run: chmod 700 {shlex.quote(str(folder))}" if is_ours else sentence


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}" if uid != os.geteuid() else str(uid)
