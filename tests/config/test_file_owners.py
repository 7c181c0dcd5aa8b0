"""Which files another user could change, by the rules of the file system: owners, modes, folders, links, groups."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.config import file_owners as trust
from proxy.config.file_owners import check_obeyed, read_obeyed, trust_in
from proxy.model.errors import ConfigError
from tests.support.other_users import STRANGER

IS_ROOT = os.geteuid() == 0
NOBODY = 65_534


@pytest.fixture
def home(open_folder: Path) -> Path:
    return open_folder


@pytest.fixture
def file(home: Path) -> Path:
    return made(home / "config" / "config.toml")


def made(file: Path, mode: int = 0o644) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.parent.chmod(0o755)
    file.write_text("x\n")
    file.chmod(mode)
    return file


@pytest.fixture
def owned_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Says that a path belongs to a user, whom this machine need not have."""
    owners: dict[str, int] = {}
    real = os.lstat

    def lstat(path: str | Path) -> object:
        found = real(path)
        names = ("st_mode", "st_uid", "st_gid", "st_dev", "st_ino")
        told = {name: getattr(found, name) for name in names}
        return SimpleNamespace(**told | {"st_uid": owners.get(str(path), found.st_uid)})

    monkeypatch.setattr("os.lstat", lstat)
    return lambda path, uid: owners.update({str(path): uid})


def problem(path: Path) -> str:
    (found,) = trust_in(path).problems
    return found


def mend(path: Path) -> None:
    """Runs the command that the one problem names."""
    command = problem(path).partition("Run: ")[2]
    assert command, problem(path)
    subprocess.run(shlex.split(command), check=True, timeout=10)


def test_a_file_of_ours_is_obeyed(file: Path) -> None:
    assert trust_in(file) == trust.Trust()
    assert read_obeyed(file, limit=10).text == "x\n"


def test_a_file_of_roots_is_obeyed() -> None:
    assert trust_in(Path("/etc/passwd")) == trust.Trust()


def test_what_is_not_there_is_left_to_who_reads_it(home: Path) -> None:
    assert trust_in(home / "missing") == trust.Trust()
    with pytest.raises(ConfigError, match="no such file"):
        read_obeyed(home / "missing", limit=10)


@pytest.mark.parametrize("mode", [0o602, 0o646, 0o666, 0o777])
def test_a_file_that_others_can_write_is_not(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert problem(file) == f"{file}: not used: other users can write to it. Run: chmod go-w {file}"
    with pytest.raises(ConfigError, match="other users can write to it"):
        read_obeyed(file, limit=10)
    with pytest.raises(ConfigError, match="other users can write to it"):
        check_obeyed(file)
    mend(file)
    assert trust_in(file) == trust.Trust()


@pytest.mark.parametrize("mode", [0o777, 0o757])
@pytest.mark.parametrize("levels", [1, 2])
def test_a_file_in_a_folder_that_others_can_write_is_not(file: Path, mode: int, levels: int) -> None:
    folder = file.parents[levels - 1]
    folder.chmod(mode)
    assert problem(file) == f"{file}: not used: other users can write to {folder}. Run: chmod go-w {folder}"
    mend(file)
    assert trust_in(file) == trust.Trust()


def test_all_causes_are_told_at_once(file: Path) -> None:
    file.chmod(0o666)
    file.parent.chmod(0o777)
    assert [found.partition("Run: ")[2] for found in trust_in(file).problems] == [
        f"chmod go-w {file.parent}",
        f"chmod go-w {file}",
    ]


@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_that_nobody_else_can_enter_decides(file: Path, level: int) -> None:
    file.chmod(0o666)
    file.parent.chmod(0o777)
    file.parents[level].chmod(0o700)
    assert trust_in(file) == trust.Trust()


def test_what_lies_above_a_private_folder_does_not_matter(home: Path) -> None:
    """Another folder in its place would belong to somebody else."""
    (home / "shared").mkdir()
    file = made(home / "shared" / "mine" / "config.toml")
    file.parent.chmod(0o700)
    file.parent.parent.chmod(0o777)
    assert trust_in(file) == trust.Trust()


def test_in_a_sticky_folder_only_what_is_ours_is_obeyed(home: Path, owned_by: Callable[[Path, int], None]) -> None:
    home.chmod(0o1777)
    file = home / "config.toml"
    file.write_text("x")
    file.chmod(0o644)
    assert trust_in(file) == trust.Trust()
    owned_by(file, STRANGER)
    assert re.search(rf"{file} ?belongs to uid {STRANGER}|it belongs to uid {STRANGER}", problem(file))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_belongs_to_somebody_else_is_not_obeyed(
    file: Path, owned_by: Callable[[Path, int], None], what: str
) -> None:
    place = file if what == "file" else file.parent
    owned_by(place, STRANGER)
    me = pwd.getpwuid(os.geteuid()).pw_name
    named = "it" if what == "file" else str(place)
    said = (
        f"{named} belongs to uid {STRANGER}, who could change it. Run: {'' if IS_ROOT else 'sudo '}chown {me} {place}"
    )
    assert problem(file) == f"{file}: not used: {said}"


def test_somebody_elses_folder_further_up_is_shut_out_by_a_private_one(
    file: Path, home: Path, owned_by: Callable[[Path, int], None]
) -> None:
    owned_by(home, STRANGER)
    assert problem(file).endswith(f"Run: chmod 700 {file.parent}")
    mend(file)
    assert trust_in(file) == trust.Trust()


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_link_counts_as_where_it_leads(home: Path, file: Path) -> None:
    link = home / "link.toml"
    link.symlink_to(file)
    assert trust_in(link) == trust.Trust()
    file.chmod(0o666)
    assert f"can write to {file}" in problem(link)
    file.chmod(0o644)
    file.parent.chmod(0o777)
    assert f"can write to {file.parent}" in problem(link)


def test_a_link_in_a_private_folder_does_not_vouch_for_where_it_leads(home: Path, file: Path) -> None:
    private = home / "private"
    private.mkdir(mode=0o700)
    (private / "config.toml").symlink_to(file)
    assert trust_in(private / "config.toml") == trust.Trust()
    file.chmod(0o666)
    assert f"can write to {file}" in problem(private / "config.toml")


def test_a_link_that_others_could_replace_is_not_followed(home: Path, file: Path) -> None:
    """It leads into a private folder today, and to any file of ours tomorrow."""
    file.parent.chmod(0o700)
    open_folder = home / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    for target in (file, Path("..") / "config" / "config.toml"):
        link = open_folder / "config.toml"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert f"can write to {open_folder}" in problem(link)
    open_folder.chmod(0o1777)
    assert trust_in(link) == trust.Trust(), "of a sticky folder nobody else can take it"


def test_a_link_of_somebody_elses_in_a_sticky_folder_is_not_followed(
    home: Path, file: Path, owned_by: Callable[[Path, int], None]
) -> None:
    home.chmod(0o1777)
    link = home / "link.toml"
    link.symlink_to(file)
    owned_by(link, STRANGER)
    assert f"{link} belongs to uid" in problem(link).replace(" it belongs", f" {link} belongs")


def test_a_linked_folder_and_dots_are_followed(home: Path, file: Path) -> None:
    (home / "alias").symlink_to(file.parent, target_is_directory=True)
    assert trust_in(home / "alias" / ".." / "config" / file.name) == trust.Trust()
    file.parent.chmod(0o777)
    assert f"can write to {file.parent}" in problem(home / "alias" / file.name)


def test_links_in_a_circle_end(home: Path) -> None:
    (home / "a").symlink_to(home / "b")
    (home / "b").symlink_to(home / "a")
    assert trust_in(home / "a") == trust.Trust()
    with pytest.raises(ConfigError, match="cannot be opened"):
        read_obeyed(home / "a", limit=10)


def test_another_file_in_its_place_while_it_is_read_is_not_obeyed(file: Path) -> None:
    opened = file.stat()
    fresh = made(file.with_name("fresh"))
    fresh.replace(file)
    (found,) = trust_in(file, opened=opened).problems
    assert found == f"{file}: not used: it was replaced while it was read; try again"


# -- groups ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def group(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Says who is in the group of `file`, which the group may write; the folder too."""
    me = pwd.getpwuid(os.geteuid())
    gid = file.stat().st_gid
    trust._has_other_members.cache_clear()

    def has(*members: str, primary: tuple[str, ...] = (me.pw_name,), name: str = "g", listed: bool = True) -> None:
        trust._has_other_members.cache_clear()
        accounts = [SimpleNamespace(pw_name="root", pw_uid=0, pw_gid=0 if gid else 1)]
        for number, account in enumerate(primary):
            uid = me.pw_uid if account == me.pw_name else 7_000 + number
            accounts.append(SimpleNamespace(pw_name=account, pw_uid=uid, pw_gid=gid))

        def getgrgid(asked: int) -> object:
            if not listed or asked != gid:
                raise KeyError(asked)
            return SimpleNamespace(gr_name=name, gr_mem=list(members))

        monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
        monkeypatch.setattr(grp, "getgrgid", getgrgid)

    file.chmod(0o664)
    file.parent.chmod(0o775)
    yield has
    trust._has_other_members.cache_clear()


def test_a_group_without_other_members_is_no_danger(file: Path, group: Callable[..., None]) -> None:
    """As umask 002 leaves files on systems where every user has a group of their own."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    group()
    assert trust_in(file) == trust.Trust()
    group(me, "root")
    assert trust_in(file) == trust.Trust()
    group(listed=False)
    assert trust_in(file) == trust.Trust(), "a container without /etc/group"


def test_a_group_with_other_members_is(file: Path, group: Callable[..., None]) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    commands = [f"chmod go-w {file.parent}", f"chmod go-w {file}"]
    for members, primary in (("eve",), (me,)), ((), (me, "eve")):
        group(*members, primary=primary)
        assert [found.partition("Run: ")[2] for found in trust_in(file).problems] == commands


def test_a_directory_that_lists_no_accounts_is_not_taken_for_an_empty_group(
    file: Path, group: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getegid", lambda: file.stat().st_gid)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid)
    me = pwd.getpwuid(os.geteuid()).pw_name
    if IS_ROOT:  # whom every directory lists
        monkeypatch.setattr(trust, "_ROOT", -1)
    group(primary=(), name="domain users")
    monkeypatch.setattr(pwd, "getpwall", list)
    assert trust_in(file.parent).problems
    group(primary=(), name=me)
    monkeypatch.setattr(pwd, "getpwall", list)
    assert trust_in(file.parent).problems == () or IS_ROOT


def test_an_access_control_list_that_names_somebody_is_seen(
    file: Path, group: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    group()
    entries = [(0x01, 6, 0), (0x02, 6, STRANGER), (0x04, 4, 0), (0x10, 6, 0), (0x20, 4, 0)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    monkeypatch.setattr(os, "getxattr", lambda path, _: packed if Path(path) == file else _raise(OSError))
    assert problem(file).endswith(f"Run: setfacl -b {file}")


def _raise(error: type[Exception]) -> bytes:
    raise error


# -- where owners and modes mean nothing -------------------------------------------------------------------------------


def test_where_modes_mean_nothing_there_is_a_doubt_and_no_problem(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Windows drive under WSL and a USB stick: everything is 0777, and chmod changes nothing."""
    file.chmod(0o777)
    monkeypatch.setattr(trust, "_filesystem", lambda _: "9p")
    assert trust_in(file).problems == ()
    assert trust_in(file).doubt == (
        f"{file.parent}: other users may be able to change the files in it: owners and modes mean nothing on 9p"
    )
    assert read_obeyed(file, limit=10).doubt == trust_in(file).doubt
    file.chmod(0o644)
    assert trust_in(file) == trust.Trust(), "a mount that gives it to us alone is as good as a mode"


def test_an_owner_whom_the_container_does_not_map_is_a_doubt(
    file: Path, owned_by: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_is_mapped", lambda _: False)
    owned_by(file, NOBODY)
    assert trust_in(file).problems == ()
    said, _, command = trust_in(file).doubt.partition(". To exclude that, run: ")
    assert said.endswith(f"the owner of {file} is unknown in this container")
    subprocess.run(shlex.split(command), check=True, timeout=10)
    assert trust_in(file) == trust.Trust()


def test_an_owner_called_nobody_is_somebody_where_all_are_mapped(
    file: Path, owned_by: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_is_mapped", lambda _: True)
    owned_by(file, NOBODY)
    assert "belongs to" in problem(file)


def test_a_problem_beside_a_doubt_is_a_problem(
    file: Path, owned_by: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_is_mapped", lambda _: False)
    owned_by(file, NOBODY)
    file.parent.chmod(0o777)
    assert f"can write to {file.parent}" in problem(file)


def test_the_kind_of_a_filesystem_is_known_from_its_number() -> None:
    assert trust._filesystem(os.stat("/proc").st_dev) == "proc"
    assert trust._filesystem(os.makedev(4_000, 4_000)) == ""


BECOME = """
import ctypes, os, sys
from pathlib import Path
from proxy.config.file_owners import trust_in

def become(uid):
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)

def enter_container():
    libc, uid, gid = ctypes.CDLL(None, use_errno=True), os.geteuid(), os.getegid()
    libc.prctl(4, 1)  # PR_SET_DUMPABLE: else /proc/self stays root's
    if libc.unshare(0x10000000):  # CLONE_NEWUSER
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")

def tell(path):
    trust = trust_in(Path(path))
    print(len(trust.problems), bool(trust.doubt))
"""
"""For a process that imports us first and then is somebody else."""


def told(script: str, *arguments: Path) -> list[str]:
    command = [sys.executable, "-P", "-c", BECOME + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()


@pytest.mark.namespaces
def test_in_a_container_that_maps_us_alone_what_is_roots_is_a_doubt(home: Path) -> None:
    """As in a rootless container, or a sandbox such as bubblewrap: `/` belongs to 65534 there."""
    file = made(home / "config" / "config.toml", 0o600)
    become = ""
    if IS_ROOT:
        become = f"become({STRANGER})\n"
        for place in (home, file.parent, file):
            os.chown(place, STRANGER, STRANGER)
    script = f"{become}enter_container(); tell(sys.argv[1]); os.chmod(sys.argv[2], 0o700); tell(sys.argv[1])"
    assert told(script, file, file.parent) == ["0 True", "0 False"], "a private folder of ours decides there too"


def test_another_user_finds_our_files_to_be_anothers_and_roots_to_be_roots(home: Path, file: Path) -> None:
    """With a real second user, as root; else we are the only user there is, and see root's files alone."""
    script = "tell(sys.argv[1]); tell(sys.argv[2])"
    system = Path("/etc/passwd")
    if not IS_ROOT:
        assert told(script, file, system) == ["0 False", "0 False"]
        return
    os.chown(home, STRANGER, STRANGER)
    os.chown(file.parent, STRANGER, STRANGER)
    assert told(f"become({STRANGER}); {script}", file, system) == ["0 False", "0 False"]
    os.chown(file, STRANGER + 1, STRANGER + 1)
    assert told(f"become({STRANGER}); {script}", file, system) == ["1 False", "0 False"]
    assert told(script, file, system) == ["3 False", "0 False"], "root does not obey them either"
