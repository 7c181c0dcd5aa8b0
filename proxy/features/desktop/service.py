"""Byway as a service of the user: it starts at login, and again after a failure.

There are three managers: systemd's user instance, launchd, and the task scheduler of Windows. Each has a definition,
which is made here from the command to run, and its own program, which installs it. None needs an administrator.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import plistlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

from proxy.config.files import shown
from proxy.config.paths import make_folder, write_private
from proxy.model.errors import BywayError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.setup.desktop.programs import DesktopError, ProgramFailed, RunProgram, run_program

NAME = "byway"

RESTART_S = 2
"""Seconds between a failure of the service and its next start."""

_NOT_RESTARTED = (2, 7)
"""Exit codes of wrong arguments and a wrong configuration: another start would only repeat them."""

_ANSWER_S = 60
"""Seconds that a manager may take for one call."""
_run_long: RunProgram = partial(run_program, within_s=_ANSWER_S)


@frozen_dataclass
class ServiceState:
    """The state of the service in its manager."""

    installed: bool
    enabled: bool = False
    """Whether it starts at login."""
    running: bool = False


class ServiceManager(Protocol):
    """The service manager of an operating system, for one service of this user."""

    file: Path
    """The file of the definition."""
    logs: str
    """The command that shows the output of the service."""

    def definition(self, command: Sequence[str]) -> str:
        """Returns the definition of a service that runs `command`: the path of a program, flags, and `run`. Raises
        BywayError for a word that no definition can hold."""
        ...

    def install(self, definition: str) -> None:
        """Writes the definition and starts the service, in place of one that runs. Raises BywayError, and then keeps
        the earlier definition, or none."""
        ...

    def uninstall(self) -> None:
        """Stops the service and removes its definition. Raises BywayError."""
        ...

    def state(self) -> ServiceState:
        """Returns the state of the service. Raises BywayError when the manager does not answer."""
        ...


def find_manager(run: RunProgram = _run_long) -> ServiceManager:
    """Returns the manager of this operating system. Raises BywayError for an unknown system."""
    home = Path.home()
    match sys.platform:
        case "linux":
            given = os.environ.get("XDG_CONFIG_HOME", "")
            return Systemd((Path(given) if given.startswith("/") else home / ".config") / "systemd" / "user", run)
        case "darwin":
            return Launchd(home / "Library" / "LaunchAgents", os.getuid(), run)
        case "win32":
            local = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
            return TaskScheduler(local / NAME, getpass.getuser(), run)
    raise BywayError(f"no service manager is known for {sys.platform}; start `byway run` by your own means")


# -- systemd -----------------------------------------------------------------------------------------------------------

_UNIT = """\
# Written by `byway service install`, and replaced by it.
[Unit]
Description=Byway, a local proxy that goes around blocked sites

[Service]
Type=exec
ExecStart={command}
ExecReload=kill -HUP $MAINPID
ExecStopPost=-{release}
Restart=on-failure
RestartSec={restart_s}
RestartPreventExitStatus={not_restarted}
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""
"""Only options that a user's own manager can enforce everywhere: they need neither capabilities nor namespaces. A
password command with setuid programs (sudo) does not run under NoNewPrivileges, on purpose."""

_WANTED_BY = "default.target.wants"
"""The folder of links to units that start at login, beside the units."""


class Systemd:
    """The user instance of systemd."""

    logs = f"journalctl --user --unit {NAME}"

    def __init__(self, folder: Path, run: RunProgram) -> None:
        self.file = folder / f"{NAME}.service"
        self._run = run

    def definition(self, command: Sequence[str]) -> str:
        def spelled(words: Sequence[str]) -> str:
            return " ".join([_systemd_program(words[0]), *map(_systemd_word, words[1:])])

        return _UNIT.format(
            command=spelled(command),
            release=spelled([*command[:-1], "system", "off", "--if-dead"]),  # a crash leaves no system proxy behind
            restart_s=RESTART_S,
            not_restarted=" ".join(map(str, _NOT_RESTARTED)),
        )

    def install(self, definition: str) -> None:
        is_new = not self.file.exists()
        with _written(self.file, definition):
            self._systemctl("daemon-reload")
            try:
                self._systemctl("enable", NAME)
                self._systemctl("restart", NAME)
            except BywayError:
                if is_new:
                    with contextlib.suppress(BywayError):  # the first error is raised
                        self._systemctl("disable", "--now", NAME)
                raise

    def uninstall(self) -> None:
        if not self._answers():  # then it runs no service: only files are left
            _remove(self.file.parent / _WANTED_BY / self.file.name)
            _remove(self.file)
            return
        self._systemctl("disable", "--now", NAME)
        _remove(self.file)
        self._systemctl("daemon-reload")

    def _answers(self) -> bool:
        """Whether there is a user instance of systemd."""
        try:
            self._systemctl("show", "--property=Version")
        except BywayError:
            return False
        return True

    def state(self) -> ServiceState:
        installed = self.file.exists()
        if not installed:
            return ServiceState(False)
        output = self._systemctl("show", NAME, "--property=ActiveState,UnitFileState")
        values = dict(line.partition("=")[::2] for line in output.splitlines())
        return ServiceState(
            True, enabled=values.get("UnitFileState") == "enabled", running=values.get("ActiveState") == "active"
        )

    def _systemctl(self, *words: str) -> str:
        return _ask(self._run, ("systemctl", "--user", *words), "systemd")


def _systemd_program(path: str) -> str:
    """Quotes the path of the program, in which systemd replaces no variables and allows no quotes. Raises
    BywayError."""
    if re.search(r"""["'\\]""", path):
        raise BywayError(f"systemd starts no program with a quote or a backslash in its path: {path}; move it")
    return _systemd_word(path).replace("$$", "$")


def _systemd_word(word: str) -> str:
    """Quotes a word for ExecStart (systemd.syntax(7)): %, $ and \\ are special, and a line break ends the command."""
    _check_word(word)
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not re.fullmatch(r"[\w@%+=:,./$-]+", escaped, re.ASCII) else escaped


# -- launchd -----------------------------------------------------------------------------------------------------------


class Launchd:
    """launchd of macOS, in the domain of a user who is logged in."""

    def __init__(self, folder: Path, uid: int, run: RunProgram) -> None:
        self.file = folder / f"{NAME}.plist"
        self._log = folder.parent / "Logs" / f"{NAME}.log"
        self.logs = f"tail {self._log}"
        self._domain = f"gui/{uid}"
        self._run = run

    def definition(self, command: Sequence[str]) -> str:
        entries = {
            "Label": NAME,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,  # launchd's minimum
            "ProcessType": "Interactive",  # a browser waits for it
            "Umask": 0o077,
            "StandardErrorPath": str(self._log),
        }
        for word in command:
            _check_word(word)
        try:
            return plistlib.dumps(entries).decode()
        except ValueError as error:
            raise BywayError(f"the command cannot be written: {error}") from None

    def install(self, definition: str) -> None:
        if self.state().running or self.file.exists():
            with contextlib.suppress(ProgramFailed):  # there may be no older one
                self._launchctl("bootout", f"{self._domain}/{NAME}")
        with _written(self.file, definition):
            self._launchctl("bootstrap", self._domain, str(self.file))

    def uninstall(self) -> None:
        if self.state().running:
            self._launchctl("bootout", f"{self._domain}/{NAME}")
        _remove(self.file)

    def state(self) -> ServiceState:
        installed = self.file.exists()
        try:
            printed = self._launchctl("print", f"{self._domain}/{NAME}")
        except ProgramFailed:  # launchd has no such service
            printed = ""
        return ServiceState(installed, enabled=installed, running="state = running" in printed)

    def _launchctl(self, *words: str) -> str:
        return _ask(self._run, ("launchctl", *words), "launchd")


# -- Windows -----------------------------------------------------------------------------------------------------------

_TASK_NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"


class TaskScheduler:
    """The task scheduler of Windows: a task at the logon of one user, with that user's own rights."""

    logs = f"schtasks /Query /TN {NAME} /V /FO LIST"

    def __init__(self, folder: Path, user: str, run: RunProgram) -> None:
        self.file = folder / "task.xml"
        self._user = user
        self._run = run

    def definition(self, command: Sequence[str]) -> str:
        for word in command:
            _check_word(word)
        task = ElementTree.Element("Task", {"version": "1.2", "xmlns": _TASK_NAMESPACE})
        tree = {
            "RegistrationInfo": {"Description": "Byway, a local proxy that goes around blocked sites"},
            "Triggers": {"LogonTrigger": {"Enabled": "true", "UserId": self._user}},
            "Principals": {"Principal": {"UserId": self._user, "LogonType": "InteractiveToken"}},
            "Settings": {
                "MultipleInstancesPolicy": "IgnoreNew",
                "DisallowStartIfOnBatteries": "false",
                "StopIfGoingOnBatteries": "false",
                "ExecutionTimeLimit": "PT0S",  # none
                "RestartOnFailure": {"Interval": "PT1M", "Count": "255"},
            },
            "Actions": {"Exec": {"Command": command[0], "Arguments": subprocess.list2cmdline(command[1:])}},
        }
        _add(task, tree)
        ElementTree.indent(task)
        return ElementTree.tostring(task, "unicode", xml_declaration=True)

    def install(self, definition: str) -> None:
        with _written(self.file, definition):
            self._end()
            self._ask("schtasks", "/Create", "/F", "/TN", NAME, "/XML", str(self.file))
            self._ask("schtasks", "/Run", "/TN", NAME)

    def uninstall(self) -> None:
        self._end()
        self._ask("schtasks", "/Delete", "/F", "/TN", NAME)
        _remove(self.file)

    def state(self) -> ServiceState:
        """See ServiceManager. PowerShell's words are the same in every language; those of schtasks are translated."""
        query = f"(Get-ScheduledTask -TaskName {NAME} -ErrorAction Stop).State"
        try:
            state = self._ask("powershell", "-NoProfile", "-NonInteractive", "-Command", query).strip()
        except ProgramFailed:  # there is no such task
            return ServiceState(False)
        return ServiceState(True, enabled=state != "Disabled", running=state == "Running")

    def _end(self) -> None:
        """Ends the task, if it runs."""
        with contextlib.suppress(ProgramFailed):
            self._ask("schtasks", "/End", "/TN", NAME)

    def _ask(self, *words: str) -> str:
        return _ask(self._run, words, "the task scheduler")


def _add(parent: ElementTree.Element, children: dict[str, object]) -> None:
    for name, content in children.items():
        child = ElementTree.SubElement(parent, name)
        if isinstance(content, dict):
            _add(child, content)
        else:
            child.text = str(content)


_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Control characters, bytes of a path that are not UTF-8, and characters that XML cannot have."""


def _check_word(word: str) -> None:
    """Raises BywayError for a word of the command that no definition can hold."""
    if _UNWRITABLE.search(word):
        raise BywayError(f"{word!a} contains a control character, which no service can be given; rename it")


# -- shared ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _written(file: Path, definition: str) -> Iterator[None]:
    """Writes the definition for the block, which passes it to the manager. When the block raises BywayError, restores
    the earlier definition, or none. Raises BywayError."""
    try:
        make_folder(file.parent)
        before = file.read_text() if file.exists() else None
    except OSError as error:
        raise BywayError(f"{shown(file)} cannot be created: {reason_of(error)}") from None
    write_private(file, definition)
    try:
        yield
    except BywayError:
        if before is None:
            _remove(file)
        else:
            write_private(file, before)
        raise


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise BywayError(f"{shown(file)} cannot be removed: {reason_of(error)}") from None


def _ask(run: RunProgram, words: Sequence[str], manager: str) -> str:
    """Runs a program of the manager and returns its output. Raises ProgramFailed, and DesktopError when the manager
    does not answer."""
    try:
        return run(*words)
    except ProgramFailed:
        raise
    except DesktopError as error:
        raise DesktopError(f"{manager} is not available here: {error}") from None
