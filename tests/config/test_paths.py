"""Where files lie, and that only their owner can look in."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from pathlib import Path

import platformdirs
import pytest

from proxy.config.paths import (
    SOCKET_PATH_LIMIT,
    NotWritable,
    Paths,
    check_room,
    own_folder,
    private_folder,
    write_private,
)
from proxy.model.errors import BywayError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_flags_come_before_the_environment_before_the_platform(tmp_path: Path) -> None:
    env = {"BYWAY_CONFIG": str(tmp_path / "env.toml"), "BYWAY_STATE": str(tmp_path / "env state")}
    by_flag = Paths.locate(env, config=tmp_path / "flag.toml", state=tmp_path / "flag")
    assert (by_flag.config_file, by_flag.state_dir) == (tmp_path / "flag.toml", tmp_path / "flag")
    by_env = Paths.locate(env)
    assert (by_env.config_file, by_env.state_dir) == (tmp_path / "env.toml", tmp_path / "env state")
    assert by_env.config_given
    by_platform = Paths.locate({"BYWAY_STATE": ""})
    assert by_platform.config_file == platformdirs.user_config_path("byway", False) / "config.toml"
    assert by_platform.state_dir == platformdirs.user_state_path("byway", False)
    assert not by_platform.config_given


@pytest.mark.parametrize("home", ["/home/one", "/", "relative", ""])
@pytest.mark.parametrize("given", ["/etc/xdg one", "relative", ""])
def test_the_platforms_folders_are_those_of_platformdirs(
    monkeypatch: pytest.MonkeyPatch, home: str, given: str
) -> None:
    """On Linux the usual case is found without it."""
    monkeypatch.setenv("HOME", home)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, given)
    paths = Paths.locate({})
    assert paths.config_dir == platformdirs.user_config_path("byway", False)
    assert paths.state_dir == platformdirs.user_state_path("byway", False)


def test_rules_and_addons_lie_beside_the_configuration(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "any name.toml", state=tmp_path)
    assert paths.rules_file == tmp_path / "rules.txt"
    assert paths.addons_dir == tmp_path / "addons"


def test_a_configuration_is_read_when_it_is_there_or_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Paths.locate({}, state=tmp_path).config_to_read is None
    file = tmp_path / "byway" / "config.toml"
    file.parent.mkdir()
    file.symlink_to("broken")
    assert Paths.locate({}, state=tmp_path).config_to_read == file  # and loading says that the link is broken
    assert Paths.locate({}, config=tmp_path / "missing", state=tmp_path).config_to_read == tmp_path / "missing"


def test_a_relative_path_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Paths.locate({}, config=Path("c.toml"), state=Path("s")).state_dir == tmp_path / "s"


def test_G10_without_a_home_the_flags_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without an entry in passwd
    with pytest.raises(BywayError, match=r"HOME is not set.*--config"):
        Paths.locate({}, state=tmp_path)
    with pytest.raises(BywayError, match=r"HOME is not set.*--state"):
        Paths.locate({}, config=tmp_path / "c.toml")
    Paths.locate({}, config=tmp_path / "c.toml", state=tmp_path)


# -- the control socket ------------------------------------------------------------------------------------------------


def test_the_socket_lies_in_the_runtime_folder_under_a_name_of_its_own(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="byway-") as runtime:  # a short path: a socket's has 107 bytes at most
        env = {"XDG_RUNTIME_DIR": runtime}
        one = Paths.locate(env, config=tmp_path / "c", state=tmp_path / "one").control_socket
        two = Paths.locate(env, config=tmp_path / "c", state=tmp_path / "two").control_socket
    assert one.parent == two.parent == Path(runtime) / "byway"
    assert one != two


@pytest.mark.parametrize("runtime", ["", "relative", "/nonexistent/byway", "/etc/passwd"])
def test_a_runtime_folder_that_cannot_be_is_passed_over(runtime: str, tmp_path: Path) -> None:
    paths = Paths.locate({"XDG_RUNTIME_DIR": runtime}, config=tmp_path / "c", state=Path("/s"))
    assert paths.control_socket == Path("/s/control.sock")


def test_a_path_that_is_too_long_for_a_socket_is_replaced() -> None:
    deep = Path("/" + "ж" * 60)
    paths = Paths(config_file=Path("/c"), config_given=True, state_dir=deep, runtime_dir=deep)
    assert len(os.fsencode(paths.control_socket)) <= SOCKET_PATH_LIMIT
    other = Paths(config_file=Path("/c"), config_given=True, state_dir=deep / "x", runtime_dir=None)
    assert other.control_socket != paths.control_socket


# -- folders and files of one's own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o177, 0o277])
def test_G5_folders_and_files_are_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        folder = private_folder(tmp_path / "state")
        write_private(folder / "run.json", "{}")
    finally:
        os.umask(before)
    assert (mode(folder), mode(folder / "run.json")) == (0o700, 0o600)


def test_G5_a_folder_that_others_can_read_is_repaired(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    private_folder(tmp_path / "state")
    assert mode(tmp_path / "state") == 0o700


def test_G5_a_folder_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BywayError, match="/tmp is shared with other users"):
        private_folder(Path("/tmp"))
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(BywayError, match="belongs to another user"):
        private_folder(tmp_path)


def test_G10_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/byway"), tmp_path / "a\0b"):
        with pytest.raises(BywayError, match=r"cannot be used: .*; choose another with --state"):
            private_folder(path)


def test_G10_spaces_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    folder = private_folder(Path(os.fsdecode(os.fsencode(tmp_path) + b"/a b\xe9/c")))
    write_private(folder / "f", b"\0")
    assert (folder / "f").read_bytes() == b"\0"


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_a_folder_in_a_shared_place_is_made_for_us_alone(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        own_folder(tmp_path / "ours")
    finally:
        os.umask(before)
    assert mode(tmp_path / "ours") == 0o700
    assert own_folder(tmp_path / "ours") == tmp_path / "ours"


def test_a_folder_in_a_shared_place_that_may_be_anothers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("victim")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o710)
    for name in ("link", "nowhere", "file", "open"):
        with pytest.raises(BywayError, match="is not a private folder;"):
            own_folder(tmp_path / name)
    assert mode(tmp_path / "victim") == 0o755
    (tmp_path / "theirs").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(BywayError, match="another user may have made it"):
        own_folder(tmp_path / "theirs")


def test_a_control_socket_in_the_temporary_folder_is_made_with_care(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    paths = Paths(Path("/c"), True, state_dir=Path("/" + "s" * 120), runtime_dir=None)
    folder = paths.control_socket.parent
    assert folder.parent == tmp_path
    (tmp_path / "victim").mkdir()
    folder.symlink_to("victim")
    with pytest.raises(BywayError, match="is not a private folder;"):
        paths.make_socket_folder()
    folder.unlink()
    paths.make_socket_folder()
    assert mode(folder) == 0o700


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO])
def test_H2_what_cannot_be_written_now_is_told_from_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    check_room(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(NotWritable, match=re.escape(os.strerror(number).lower())):
        check_room(tmp_path)
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(NotWritable):
        private_folder(tmp_path / "state")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_text("old")
    target.chmod(0o644)
    write_private(target, "new")
    assert (target.read_text(), mode(target)) == ("new", 0o600)
    with pytest.raises(BywayError, match="cannot be written"):
        write_private(tmp_path / "missing" / "f", "new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BywayError, match="cannot be written"):
        write_private(tmp_path / "folder", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "folder"]  # nothing half made is left


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / "f").symlink_to("elsewhere")
    write_private(tmp_path / "f", "new")
    assert (tmp_path / "elsewhere").read_text() == "keep"
    assert not (tmp_path / "f").is_symlink()
