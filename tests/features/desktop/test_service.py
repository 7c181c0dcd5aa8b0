"""The service: what is written for each system, and what its manager is asked."""

from __future__ import annotations

import plistlib
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from proxy.features.desktop.service import Launchd, ServiceState, Systemd, TaskScheduler, find_manager
from proxy.model.errors import BywayError
from proxy.setup.desktop.programs import DesktopError, ProgramFailed
from tests.support.programs import require

ODD = 'by way "quoted" 50%h $HOME \\n é'
"""Characters that systemd, a shell or XML take for their own."""


class Manager:
    """The program of a service manager: keeps what it was asked, and answers what a test says."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.asked: list[str] = []
        self.answers = answers  # by a word of the question: exit code, and what is printed

    def __call__(self, *words: str) -> str:
        self.asked.append(" ".join(words))
        code, text = next((answer for word, answer in self.answers.items() if word in words), (0, ""))
        if code:
            raise ProgramFailed(words, code, text)
        return text


def missing(*words: str) -> str:
    raise DesktopError(f"{words[0]} is not installed")


# -- systemd -----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("name", ["byway", "by way 50%h $HOME é"])
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = verified(tmp_path, [str(program), "--state", str(tmp_path / ODD), "run"])
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_systemd_would_have_found_one(tmp_path: Path) -> None:
    """The control: of the word that systemd reads, it says that there is no such program."""
    found = verified(tmp_path, [str(tmp_path / "by way 50%h $HOME é"), "run"])
    assert found.returncode != 0
    assert "by way 50%h $HOME é is not executable" in found.stderr


@pytest.mark.parametrize("program", ['/opt/"byway"', "/opt/o'neil/byway", "/opt/by\\way"])
def test_a_program_that_systemd_would_refuse_is_refused_first(program: str) -> None:
    with pytest.raises(BywayError, match="systemd starts no program with a quote or a backslash in its path"):
        Systemd(Path("/nonexistent"), missing).definition([program, "run"])


def verified(folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    unit = folder / "byway.service"
    unit.write_text(Systemd(folder, missing).definition(command))
    return subprocess.run(
        [require("systemd-analyze"), "--user", "verify", "--man=no", str(unit)],
        env={"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_systemd_is_told_to_start_it_now_and_at_login(tmp_path: Path) -> None:
    told = Manager(show=(0, "ActiveState=active\nUnitFileState=enabled\n"))
    manager = Systemd(tmp_path / "systemd" / "user", told)
    assert manager.state() == ServiceState(False)
    manager.install(manager.definition(["/usr/bin/byway", "run"]))
    assert told.asked == [f"systemctl --user {words}" for words in ("daemon-reload", "enable byway", "restart byway")]
    assert "ExecStart=/usr/bin/byway run\n" in manager.file.read_text()
    assert "ExecStopPost=-/usr/bin/byway system off --if-dead\n" in manager.file.read_text()
    assert stat.S_IMODE(manager.file.stat().st_mode) == 0o600
    assert manager.state() == ServiceState(True, enabled=True, running=True)
    told.asked.clear()
    manager.uninstall()
    assert told.asked[1:] == ["systemctl --user disable --now byway", "systemctl --user daemon-reload"]
    assert not manager.file.exists()


def test_what_systemd_says_is_passed_on(tmp_path: Path) -> None:
    manager = Systemd(tmp_path, Manager(restart=(1, "Job for byway.service failed.\nSee more.\n")))
    with pytest.raises(BywayError, match=r"^`systemctl --user restart byway` failed: Job for byway\.service failed\.$"):
        manager.install("")


@pytest.mark.parametrize("fails", ["daemon-reload", "enable", "restart"])
def test_an_install_that_fails_leaves_what_was_there(tmp_path: Path, fails: str) -> None:
    told = Manager(**{fails: (1, "Failed to connect to bus\n")})
    manager = Systemd(tmp_path, told)
    with pytest.raises(BywayError, match="Failed to connect to bus"):
        manager.install("new")
    assert not manager.file.exists()
    assert ("systemctl --user disable --now byway" in told.asked) == (fails != "daemon-reload")
    manager.file.write_text("old")
    with pytest.raises(BywayError, match="Failed to connect to bus"):
        manager.install("new")
    assert manager.file.read_text() == "old"


def test_without_systemd_a_unit_that_was_left_is_removed(tmp_path: Path) -> None:
    manager = Systemd(tmp_path, missing)
    manager.file.write_text("")
    wanted = tmp_path / "default.target.wants" / "byway.service"
    wanted.parent.mkdir()
    wanted.symlink_to(manager.file)
    manager.uninstall()
    assert not manager.file.exists()
    assert not wanted.is_symlink()


@pytest.mark.parametrize("kind", [Launchd, TaskScheduler])
def test_other_managers_leave_nothing_of_an_install_that_fails(tmp_path: Path, kind: type) -> None:
    told = Manager(bootstrap=(1, "no"), **{"/Create": (1, "no")})
    manager = Launchd(tmp_path, 501, told) if kind is Launchd else TaskScheduler(tmp_path, "me", told)
    with pytest.raises(BywayError, match="no"):
        manager.install("new")
    assert not manager.file.exists()


def test_a_unit_that_systemd_does_not_stop_stays(tmp_path: Path) -> None:
    manager = Systemd(tmp_path, Manager(disable=(1, "Failed to connect to bus\n")))
    manager.file.write_text("")
    with pytest.raises(BywayError, match="Failed to connect to bus"):
        manager.uninstall()
    assert manager.file.exists()


@pytest.mark.parametrize(
    "manager", [Systemd(Path("/nonexistent"), missing), Launchd(Path("/nonexistent"), 501, missing)]
)
def test_a_system_without_the_manager_is_named(manager: Systemd | Launchd, tmp_path: Path) -> None:
    manager.file = tmp_path / "there"
    manager.file.write_text("")
    with pytest.raises(BywayError, match=r"(systemd|launchd) is not available here: \w+ is not installed"):
        manager.state()


@pytest.mark.parametrize("word", ["/home/a\nExecStop=b", "/tmp/\x1b[2J"])
def test_no_word_can_add_a_line_to_the_unit(word: str) -> None:
    with pytest.raises(BywayError, match="control character"):
        Systemd(Path("/nonexistent"), missing).definition([word, "run"])


# -- launchd and Windows -----------------------------------------------------------------------------------------------


def test_launchd_reads_its_words_as_they_are(tmp_path: Path) -> None:
    told = Manager(print=(0, "\tstate = running\n"))
    manager = Launchd(tmp_path / "LaunchAgents", 501, told)
    written = plistlib.loads(manager.definition([f"/opt/{ODD}", "run"]).encode())
    assert written["ProgramArguments"] == [f"/opt/{ODD}", "run"]
    assert written["KeepAlive"] == {"SuccessfulExit": False}
    manager.install("")
    manager.uninstall()
    assert [words for words in told.asked if "print" not in words] == [
        "launchctl bootout gui/501/byway",
        f"launchctl bootstrap gui/501 {manager.file}",
        "launchctl bootout gui/501/byway",
    ]
    assert not manager.file.exists()


def test_launchd_without_the_service_says_so(tmp_path: Path) -> None:
    manager = Launchd(tmp_path, 501, Manager(print=(113, "Could not find service")))
    assert manager.state() == ServiceState(False)


def test_the_task_of_windows_names_its_user_and_program(tmp_path: Path) -> None:
    told = Manager(powershell=(0, "Running\r\n"))
    manager = TaskScheduler(tmp_path, "DESKTOP\\aigul", told)
    task = ElementTree.fromstring(manager.definition(["C:\\By & way\\byway.exe", "--state", "C:\\a b", "run"]))
    names = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    assert task.findtext(".//t:Command", namespaces=names) == "C:\\By & way\\byway.exe"
    assert task.findtext(".//t:Arguments", namespaces=names) == '--state "C:\\a b" run'
    assert task.findtext(".//t:Principal/t:UserId", namespaces=names) == "DESKTOP\\aigul"
    assert manager.state() == ServiceState(True, enabled=True, running=True)
    manager.install("<Task/>")
    manager.uninstall()
    assert [words.split()[1] for words in told.asked if words.startswith("schtasks")] == [
        "/End", "/Create", "/Run", "/End", "/Delete",
    ]  # fmt: skip
    told.answers["powershell"] = (1, "No MSFT_ScheduledTask objects found")
    assert manager.state() == ServiceState(False)


@pytest.mark.parametrize("odd", ["\x1b", "\n", "\x00", "\x7f", "\udcff", "\uffff"])
def test_what_no_definition_can_hold_is_refused_with_a_sentence(odd: str, tmp_path: Path) -> None:
    for manager in (
        Systemd(tmp_path, missing),
        Launchd(tmp_path, 501, missing),
        TaskScheduler(tmp_path, "aigul", missing),
    ):
        for command in ([f"/opt/{odd}/byway", "run"], ["/opt/byway", "--state", f"/s{odd}", "run"]):
            with pytest.raises(BywayError, match="contains a control character, which no service") as refused:
                manager.definition(command)
            str(refused.value).encode()


@pytest.mark.parametrize(("platform", "kind"), [("linux", Systemd), ("darwin", Launchd), ("win32", TaskScheduler)])
def test_each_system_has_its_manager(monkeypatch: pytest.MonkeyPatch, platform: str, kind: type) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert isinstance(find_manager(missing), kind)


def test_another_system_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    with pytest.raises(BywayError, match="no service manager is known for freebsd14; start `byway run`"):
        find_manager(missing)
