"""The variables of a shell: run in the shells that are here, and by hand-written expectation in the others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.features.desktop.shell_env import Shell, script, shell_of, variables
from proxy.model import Destination
from tests.support import programs
from tests.support.rows import each_row

VALUES = variables(Destination("::1", 8119))
ODD = {"x_proxy": r"""it's "odd" $HOME `id` \n !x"""}

READ = {
    "bash": ("-c", "{script}\nenv -0"),
    "zsh": ("-f", "-c", "{script}\nenv -0"),
    "fish": ("--no-config", "-c", "{script}\nenv -0"),
}


def environment_of(shell: str, text: str, home: Path) -> Mapping[str, str]:
    """The variables of a process that the shell starts after `text`."""
    words = [word.replace("{script}", text) for word in READ[shell]]
    done = subprocess.run(
        [programs.require(shell), *words],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)


def undoing(text: str) -> str:
    """The commands of the comment that says how to undo it."""
    return "\n".join(line.split(" To undo it: ")[1] for line in text.splitlines() if " To undo it: " in line)


@pytest.mark.parametrize("values", [VALUES, ODD])
@pytest.mark.parametrize(
    "shell", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("bash", "zsh", "fish")]
)
def test_a_shell_sets_and_unsets_them(shell: str, values: dict[str, str], tmp_path: Path) -> None:
    text = script(Shell(shell), values)
    after = environment_of(shell, text, tmp_path)
    assert {name: after.get(name) for name in values} == values
    undone = environment_of(shell, f"{text}\n{undoing(text)}", tmp_path)
    assert not set(values) & set(undone)


@pytest.mark.parametrize(
    ("shell", "line", "undo"),
    [
        (Shell.PWSH, "$env:x_proxy = 'it''s \"odd\" $HOME `id` \\n !x'", "Remove-Item Env:x_proxy -ErrorAction Ignore"),
        (Shell.NU, '$env.x_proxy = "it\'s \\"odd\\" $HOME `id` \\\\n !x"', "hide-env x_proxy"),
        (Shell.CMD, 'set "x_proxy=it\'s "odd" $HOME `id` \\n !x"', 'set "x_proxy="'),
    ],
)
def test_the_syntax_of_other_shells(shell: Shell, line: str, undo: str) -> None:
    text = script(shell, ODD)
    assert text.splitlines()[0] == line
    assert undoing(text) == undo


@each_row("shell", Shell)
def test_the_command_to_use_it_can_be_copied(shell: Shell) -> None:
    (use,) = [line for line in script(shell, VALUES, command=[".venv/bin/byway"]).splitlines() if "To use it:" in line]
    assert ".venv/bin/byway env" in use
    assert use.replace(".venv/bin/byway", "byway") in script(shell, VALUES).splitlines()


@each_row(
    ("shell", "use"),
    [
        (Shell.BASH, """eval "$('/tmp/by way/byway' env)\""""),
        (Shell.FISH, "'/tmp/by way/byway' env --shell fish | source"),
        (Shell.PWSH, "& '/tmp/by way/byway' env --shell pwsh | Out-String | Invoke-Expression"),
        (Shell.NU, "^'/tmp/by way/byway' env --shell nu | save -f byway.nu; then: source byway.nu"),
        (Shell.CMD, """for /f "delims=" %i in ('"/tmp/by way/byway" env --shell cmd') do %i"""),
    ],
)
def test_a_command_in_a_folder_with_a_space_is_quoted(shell: Shell, use: str) -> None:
    assert f" To use it: {use}\n" in script(shell, VALUES, command=["/tmp/by way/byway"])


@pytest.mark.parametrize(
    "shell", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("bash", "zsh", "fish")]
)
def test_the_line_to_use_it_runs_in_a_folder_with_a_space(shell: str, tmp_path: Path) -> None:
    program = tmp_path / "by way" / "byway"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho export ran=yes\n")
    program.chmod(0o755)
    (use,) = [line for line in script(Shell(shell), VALUES, command=[str(program)]).splitlines() if "To use" in line]
    assert environment_of(shell, use.partition("To use it: ")[2], tmp_path)["ran"] == "yes"


HOSTILE = (
    "/tmp/a\ntouch ran\n/byway", "/tmp/a\rtouch ran\r/byway", "/tmp/a\n$(touch ran)/byway", "/tmp/a\x0btouch ran",
    "/tmp/a\u2028touch ran", "/tmp/$(touch ran)/byway", "/tmp/`touch ran`/byway", "/tmp/a;touch ran",
    "/tmp/a&touch ran", "/tmp/a|touch ran", "/tmp/%PATH%/byway", "/tmp/a\udcff/byway", "/tmp/a'b/byway",
    "/tmp/#>x/byway", "/tmp/a\x1b[31m",
)  # fmt: skip


@each_row("shell", Shell)
@each_row("command", HOSTILE)
def test_no_path_ends_a_comment(shell: Shell, command: str) -> None:
    assert script(shell, VALUES, command=[command]) == script(shell, VALUES)


@pytest.mark.parametrize("command", HOSTILE[:6])
@pytest.mark.parametrize(
    "shell", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("bash", "zsh", "fish")]
)
def test_no_path_runs_anything(shell: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment_of(shell, script(Shell(shell), VALUES, command=[command]), tmp_path)
    assert not Path("ran").exists()


@each_row("shell", Shell)
def test_the_proxy_is_named_as_http_and_never_as_socks(shell: Shell) -> None:
    text = script(shell, VALUES)
    assert "http://[::1]:8119" in text
    assert "socks" not in text.lower()
    assert "all_proxy" not in text.lower()
    commands = [line for line in text.splitlines() if not line.startswith(("#", "rem "))]
    assert len(commands) == (3 if shell is Shell.CMD else 6)
    assert max(len(line) for line in commands if "no_proxy" not in line.lower()) <= 80


@each_row(
    ("env", "windows", "shell"),
    [
        ({"SHELL": "/bin/bash"}, False, "bash"),
        ({"SHELL": "/usr/bin/zsh"}, False, "zsh"),
        ({"SHELL": "/usr/bin/fish"}, False, "fish"),
        ({"SHELL": "/opt/microsoft/powershell/7/pwsh"}, False, "pwsh"),
        ({"SHELL": "/usr/bin/nu"}, False, "nu"),
        ({"SHELL": "/bin/dash"}, False, "bash"),
        ({}, False, "bash"),
        ({"PSModulePath": "C:\\x"}, True, "pwsh"),
        ({}, True, "cmd"),
        ({"SHELL": "C:\\Git\\bin\\bash.exe"}, True, "bash"),
    ],
)
def test_the_shell_of_a_user(env: dict[str, str], windows: bool, shell: str) -> None:
    assert shell_of(env, windows=windows) == shell
