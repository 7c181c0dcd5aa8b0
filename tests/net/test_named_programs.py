"""Which program of `[listen] programs` a client is, by the file that it was started from."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.net import named_programs
from proxy.net.named_programs import Holder, NamedProgram, admits, named_program
from tests.support.rows import each_row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLEEP = os.path.realpath(shutil.which("sleep") or "/usr/bin/sleep")
"""A program of a package: only root can change it."""


@contextlib.asynccontextmanager
async def started(program: str | Path, *prefix: str) -> AsyncIterator[Holder]:
    """The holder that a process of this program is; `prefix` are words before it, of a command that becomes it."""
    process = await asyncio.create_subprocess_exec(*prefix, program, "60")
    exe = Path(f"/proc/{process.pid}/exe")
    try:
        for _ in range(2000):
            if os.path.basename(os.readlink(exe)).startswith(os.path.basename(program)):
                break
            await asyncio.sleep(0.005)
        yield Holder.of(exe)
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def unchangeable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the folders of tests, which the user can change, for folders of the system."""
    monkeypatch.setattr(named_programs, "_may_be_changed", lambda place, status: False)
    monkeypatch.setattr(named_programs, "_is_of_user", lambda uid: False)


async def test_a_program_is_told_from_a_copy_of_it_under_its_name(tmp_path: Path) -> None:
    copy = tmp_path / Path(SLEEP).name
    shutil.copy(SLEEP, copy)
    named = NamedProgram(SLEEP, SLEEP)
    async with started(SLEEP) as itself, started(copy) as spy:
        assert named.is_of(itself)
        assert not named.is_of(spy)
        assert admits([named], [itself, itself])
        assert not admits([named], [itself, spy]), "all that hold the socket have to be named"
        assert not admits([named], [])


async def test_a_file_that_the_user_can_change_admits_nobody_also_when_it_became_so_later(tmp_path: Path) -> None:
    program = tmp_path / "browser"
    shutil.copy(SLEEP, program)
    async with started(program) as itself:
        assert not NamedProgram("browser", str(program)).is_of(itself)


async def test_a_link_names_the_program_that_it_leads_to(tmp_path: Path, unchangeable: None) -> None:
    link = tmp_path / "current"
    link.symlink_to(SLEEP)
    async with started(SLEEP) as itself:
        assert NamedProgram(str(link), str(link)).is_of(itself)
        link.unlink()
        assert not NamedProgram(str(link), str(link)).is_of(itself)


async def test_a_browser_that_is_updated_while_it_runs_stays_named(tmp_path: Path, unchangeable: None) -> None:
    program = tmp_path / "browser"
    shutil.copy(SLEEP, program)
    named = NamedProgram("browser", str(program))
    async with started(program) as before:
        assert named.is_of(before)
        process = next(each for each in processes() if _runs(each, str(program)))
        shutil.copy(SLEEP, tmp_path / "new")
        os.rename(tmp_path / "new", program)
        deleted = Holder.of(process / "exe")
        assert deleted.is_deleted
        assert named.is_of(deleted)
        assert not NamedProgram("other", SLEEP).is_of(deleted), "another path"
    async with started(program) as after:
        assert named.is_of(after)
        assert not named.is_of(before), "its file is gone"


def processes() -> list[Path]:
    return list(Path("/proc").iterdir())


def _runs(process: Path, exe: str) -> bool:
    try:
        return os.readlink(process / "exe") == exe
    except OSError:
        return False


@each_row(
    "case, other",
    [
        ("another path", {"path": "/usr/bin/other"}),
        ("on another file system", {"device": -1}),
        ("a file of the user", {"owner": 4711}),
        ("a file that others may write", {"mode": stat.S_IFREG | 0o757}),
    ],
)
def test_of_a_deleted_file_the_path_is_not_enough(case: str, other: dict[str, object]) -> None:
    named = NamedProgram(SLEEP, SLEEP)
    file = os.stat(SLEEP)
    right = {"path": SLEEP, "device": file.st_dev, "owner": 0, "mode": stat.S_IFREG | 0o755}

    def deleted(**fields: object) -> Holder:
        return Holder(inode=1, links=0, is_deleted=True, **{**right, **fields})  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(named_programs, "_is_of_user", lambda uid: uid == 4711)
        assert named.is_of(deleted())
        assert not named.is_of(deleted(**other)), case


async def test_a_file_whose_name_says_that_it_was_deleted_was_not(tmp_path: Path, unchangeable: None) -> None:
    shutil.copy(SLEEP, tmp_path / "browser")
    shutil.copy(SLEEP, tmp_path / "browser (deleted)")
    async with started(tmp_path / "browser (deleted)") as spy:
        assert not spy.is_deleted
        assert not NamedProgram("browser", str(tmp_path / "browser")).is_of(spy)


@pytest.mark.namespaces
async def test_a_path_in_a_mount_namespace_of_its_own_is_not_believed(tmp_path: Path) -> None:
    """The kernel says the path of the named program: another file lies there for the spy alone."""
    spy = tmp_path / Path(SLEEP).name
    shutil.copy(SLEEP, spy)
    entering = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
    script = f'mount --bind "{spy}" "{SLEEP}" && exec "{SLEEP}" 60'
    process = await asyncio.create_subprocess_exec(*entering, "sh", "-c", script)
    exe = Path(f"/proc/{process.pid}/exe")
    try:
        while os.readlink(exe) != SLEEP:
            assert process.returncode is None
            await asyncio.sleep(0.005)
        assert not NamedProgram(SLEEP, SLEEP).is_of(Holder.of(exe))
    finally:
        process.kill()
        await process.wait()


def test_a_name_stands_for_the_program_in_the_folders_of_the_system_and_not_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(SLEEP, tmp_path / "sleep")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert named_program("sleep") == NamedProgram("sleep", SLEEP)
    assert named_program(SLEEP) == NamedProgram(SLEEP, SLEEP)
    assert not named_program("there-is-no-such-program").is_there
    assert not named_program("/usr/bin/there-is-no-such-program").is_there


def test_a_name_stands_for_the_program_that_a_script_of_that_name_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchangeable: None
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib" / "browser").mkdir(parents=True)
    script, program = tmp_path / "bin" / "browser", tmp_path / "lib" / "browser" / "browser"
    script.write_text("#!/bin/sh\nexec /usr/lib/browser/browser\n")
    script.chmod(0o755)
    monkeypatch.setattr(named_programs, "_IN_FOLDERS", (str(tmp_path / "bin"),))
    monkeypatch.setattr(named_programs, "_BESIDE_SCRIPTS", (f"{tmp_path}/lib/{{0}}/{{0}}",))
    with pytest.raises(ValueError, match="browser is a script; write the path of the program that it starts"):
        named_program("browser")
    shutil.copy(SLEEP, program)
    assert named_program("browser").path == str(program)


def test_what_could_not_be_told_from_other_programs_is_refused(tmp_path: Path) -> None:
    program, script = tmp_path / "browser", tmp_path / "script"
    shutil.copy(SLEEP, program)
    script.write_text("#!/usr/bin/env python3\n")
    with pytest.raises(ValueError, match="can be changed by your user"):
        named_program(str(program))
    with pytest.raises(ValueError, match='is a script, and what runs is "/usr/bin/env python3"'):
        named_program(str(script))
    with pytest.raises(ValueError, match="is not a file"):
        named_program("/usr/bin")


@each_row(
    "name, known",
    [
        *((name, True) for name in ("python3.13", "bash", "dash", "node", "nodejs", "perl5.40.1", "java", "busybox")),
        *((name, True) for name in ("ld-linux-x86-64.so.2", "gawk", "ssh", "electron", "php8.2", "ruby", "env")),
        *(
            (name, False)
            for name in ("firefox-esr", "firefox", "chromium", "curl", "envoy", "bashful", "sshfs", "nethogs")
        ),
    ],
)
def test_interpreters_are_known(name: str, known: bool) -> None:
    assert NamedProgram(name, f"/nowhere/{name}").is_interpreter is known


def test_a_writable_folder_on_the_way_is_found_also_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder, link = tmp_path / "open", tmp_path / "link"
    open_folder.mkdir()
    (open_folder / "browser").symlink_to(SLEEP)
    link.symlink_to(open_folder / "browser")
    asked: list[str] = []

    def may_be_changed(place: str, status: os.stat_result) -> bool:
        asked.append(place)
        return place == str(open_folder)

    monkeypatch.setattr(named_programs, "_may_be_changed", may_be_changed)
    with pytest.raises(ValueError, match="on the way to"):
        named_program(str(link))
    assert asked[0] == "/"
    assert str(tmp_path) in asked


def test_the_path_of_a_program_is_shown_without_control_characters() -> None:
    assert "\x1b" not in Holder("/tmp/\x1b[31mfirefox\n", 1, 1, 0, 0, 1, is_deleted=False).shown
