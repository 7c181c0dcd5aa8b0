"""`byway service`, with a systemctl that does the little of it that the commands need: it starts and stops the unit."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SYSTEMCTL = """#!{python}
import os, pathlib, shlex, signal, subprocess, sys, time

unit, pid_file = pathlib.Path({unit!r}), pathlib.Path({folder!r}, "pid")

def runs():
    try:
        return ") Z " not in pathlib.Path("/proc", pid_file.read_text(), "stat").read_text()
    except FileNotFoundError:
        return False

def stop():
    for _ in range(600):
        if not runs():
            break
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)

match sys.argv[2:]:
    case ["restart", "byway"]:
        stop()
        (line,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        out = open({folder!r} + "/out", "ab")
        started = subprocess.Popen(shlex.split(line.partition("=")[2]), stdout=out, stderr=out, start_new_session=True)
        pid_file.write_text(str(started.pid))
    case ["disable", "--now", "byway"]:
        stop()
    case ["show", *_]:
        print("ActiveState=" + ("active" if runs() else "inactive") + "\\nUnitFileState=enabled")
"""


class Machine:
    """A user whose `byway` and `systemctl` are programs in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unit = folder / "config" / "systemd" / "user" / "byway.service"
        programs = folder / "bin"
        programs.mkdir()
        systemctl = programs / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(python=sys.executable, unit=str(self.unit), folder=str(folder)))
        byway = programs / "byway"
        byway.write_text(f"#!{sys.executable}\nfrom proxy.cli import main\nmain()\n")
        for program in (systemctl, byway):
            program.chmod(0o755)
        self.state = folder / "state folder"
        self.state.mkdir(mode=0o700)
        settings = folder / "config" / "byway" / "config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text("config_version = 1\n[listen]\nport = 0\n[auto]\ncontrols = []\n[dns]\nservers = []\n")
        self._environment: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BYWAY_", "XDG_"))},
            "PATH": f"{programs}:/usr/bin:/bin",
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["byway", "--state", str(self.state), *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made("service", "uninstall")


@pytest.mark.uses("today")
def test_a_service_is_installed_answers_and_is_removed(machine: Machine) -> None:
    nothing = machine("service", "status")
    assert (nothing.returncode, nothing.stdout) == (
        0,
        "The service is not installed. To install it: `byway service install`\n",
    )
    installed = machine("service", "install")
    assert installed.returncode == 0, installed.stderr
    assert "Proxy: 127.0.0.1:" in installed.stdout
    assert machine("status").returncode == 0
    found = machine("service", "status", "--json")
    assert found.returncode == 0
    facts = json.loads(found.stdout)
    assert (facts["installed"], facts["enabled"], facts["running"]) == (True, True, True)
    again = machine("service", "install", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["listen"].startswith("127.0.0.1:")
    removed = machine("service", "uninstall")
    assert (removed.returncode, removed.stdout) == (0, "The service was stopped and removed.\n")
    assert not machine.unit.exists()
    assert machine("status").returncode == 3


def test_a_wrong_configuration_is_not_installed(machine: Machine) -> None:
    settings = machine.folder / "config" / "byway" / "config.toml"
    settings.write_text("config_version = 1\n[listen]\nport = 'eighty'\n")
    ran = machine("service", "install")
    assert ran.returncode == 7
    assert "config.toml:3" in ran.stderr
    assert not machine.unit.exists()


@pytest.mark.slow
def test_one_that_does_not_answer_is_said_to_be_so(machine: Machine) -> None:
    """Another program has its port."""
    settings = machine.folder / "config" / "byway" / "config.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings.write_text(f"config_version = 1\n[listen]\nport = {taken.getsockname()[1]}\n")
        ran = machine("service", "install")
    assert ran.returncode == 1
    assert "does not answer; see `journalctl --user --unit byway`" in ran.stderr


@pytest.mark.slow
@pytest.mark.uses("today")
def test_one_that_runs_in_a_terminal_is_not_replaced(machine: Machine) -> None:
    with subprocess.Popen(
        ["byway", "--state", str(machine.state), "run"],
        env=machine._environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        for _ in range(100):
            if machine("status").returncode == 0:
                break
        ran = machine("service", "install")
        running.terminate()
        running.stdout.read()
    assert ran.returncode == 1
    assert f"a Byway runs already (process {running.pid}), and not as the service" in ran.stderr
    assert not machine.unit.exists()


def test_the_definition_is_shown_without_being_installed(machine: Machine) -> None:
    ran = machine("service", "install", "--print")
    assert f'ExecStart={machine.folder}/bin/byway --state "{machine.state}" run\n' in ran.stdout
    assert json.loads(machine("service", "install", "--print", "--json").stdout)["definition"] == ran.stdout
    assert not machine.unit.exists()


def test_without_a_service_there_is_nothing_to_remove(machine: Machine) -> None:
    ran = machine("service", "uninstall")
    assert (ran.returncode, ran.stdout) == (0, "The service is not installed.\n")
    facts = json.loads(machine("service", "uninstall", "--json").stdout)
    assert (facts["installed"], facts["removed"]) == (False, False)


def test_without_a_user_systemd_nothing_is_left_behind(machine: Machine) -> None:
    """As for a user who came by `su`: systemctl finds no bus."""
    systemctl = machine.folder / "bin" / "systemctl"
    works = systemctl.read_text()
    systemctl.write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
    ran = machine("service", "install")
    assert ran.returncode == 1
    assert "Failed to connect to bus" in ran.stderr
    assert not machine.unit.exists()
    assert machine("service", "uninstall").stdout == "The service is not installed.\n"
    machine.unit.parent.mkdir(parents=True, exist_ok=True)
    machine.unit.write_text("[Service]\n")  # as older versions left it
    ran = machine("service", "uninstall")
    assert (ran.returncode, ran.stdout) == (0, "The service was stopped and removed.\n")
    assert not machine.unit.exists()
    systemctl.write_text(works)
