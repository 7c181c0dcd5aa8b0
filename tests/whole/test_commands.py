"""The tree of commands: help, common flags, exit codes, and what happens when the reader of our output leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy import __version__
from proxy.cli import commands
from proxy.config import command_name
from proxy.model.errors import BywayError, ConfigError
from proxy.terminal import exit_codes
from proxy.terminal.command import Flags
from proxy.terminal.exit_codes import Exit, Misused, NotAllowed, NotRunning, translated
from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import rescued
from tests.support.rows import each_row
from tests.support.terminal import BYWAY, on_terminal

COMMANDS = [
    "browser", "open", "stop", "restart",
    "run", "status", "why", "test", "report", "log show", "demo", "pac", "env", "lan on", "lan off",
    "lan status", "lan allow", "lan deny", "lan remove", "relay list", "relay test", "relay add",
    "relay scan", "relay use", "relay rm", "relay order", "relay enable", "relay disable", "rule test", "rule list",
    "rule import", "rule check", "rule add", "rule rm", "list show", "list refresh", "list report", "addons list",
    "addons new", "addons check", "addons replay", "addons enable", "addons disable", "addons docs", "addons path",
    "service install", "service uninstall", "service status", "rule export",
    "site list", "site show", "site set", "site forget", "config show", "config set", "config unset", "config check",
    "config path", "config export", "config import", "import", "relay refresh",
    "doctor", "forget", "mode", "pause", "resume", "system on", "system off", "system show",
    "ca show", "ca export", "ca trust", "ca untrust", "ca rotate", "ca remove", "help", "version",
]  # fmt: skip


@each_row("words", COMMANDS)
def test_every_command_has_help_with_an_example(byway: Byway, words: str) -> None:
    ran = byway(*words.split(), "--help")
    assert ran.code == 0
    assert f"Example: byway {words}" in ran.out
    for flag in ("--config", "--state", "--json", "--plain", "--quiet", "--verbose"):
        assert flag in ran.out


def test_every_command_of_the_tree_is_listed_here() -> None:
    from typer.main import get_command

    def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(path)
        else:
            for name, child in inner.items():
                yield from leaves(child, (*path, name))

    assert sorted(leaves(get_command(commands.app))) == sorted(COMMANDS)


def test_every_command_is_known_to_the_texts() -> None:
    assert sorted({*commands.names(), "help", "version"}) == sorted(command_name.COMMANDS)


@pytest.mark.parametrize("word", ["--version", "version"])
def test_the_version_is_said(byway: Byway, word: str) -> None:
    ran = byway(word)
    assert (ran.code, ran.out) == (0, f"byway {__version__}\n")
    assert byway("version", "--json").json["byway"] == __version__


def test_the_version_is_said_without_the_commands() -> None:
    """Scripts ask for it."""
    script = (
        "import sys\n"
        "from proxy.cli import main\n"
        "sys.argv = ['byway', '--version']\n"
        "try: main()\n"
        "finally: print(*sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0] == f"byway {__version__}"
    assert {"typer", "proxy.features.table"}.isdisjoint(said.split())


def test_commands_are_in_the_order_of_the_help() -> None:
    assert commands.names()[:3] == ["run", "stop", "restart"]
    assert commands.names()[-2:] == ["ca", "service"]


@each_row("words", ["odd", "site", "status --odd", "log --limit 0", "site set x", "run --port 70000"])
def test_wrong_usage_ends_with_2(byway: Byway, words: str) -> None:
    assert byway(*words.split()).code == 2


@pytest.mark.parametrize("words", ["status", "why x.example", "log", "log -f", "site list", "site show x.example"])
def test_without_a_running_byway_it_ends_with_3_and_says_how_to_start_one(byway: Byway, home: Home, words: str) -> None:
    for extra in ((), ("--json",)):
        ran = byway(*words.split(), *extra)
        assert ran.code == 3
        assert ran.out == ""
        assert f"start it with `byway run --state {home.state}`" in ran.err
        assert len(ran.err.splitlines()) == 1


def test_common_flags_may_stand_before_or_behind(byway: Byway, running: Running, tmp_path: Path) -> None:
    assert byway("--json", "status").json == {**byway("status", "--json").json, "now": pytest.approx(0, abs=1e12)}
    assert byway("status", "--state", str(tmp_path)).code == 3  # behind is stronger
    assert Flags(json=True).over(Flags(plain=True, verbose=1)) == Flags(json=True, plain=True, verbose=1)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError(["a.toml:1: one", "a.toml:2: two"]), 7, "a.toml:1: one\na.toml:2: two\n"),
        (NotRunning("none"), 3, "byway: none\n"),
        (NotAllowed("not you"), 4, "byway: not you\n"),
        (Misused("what?"), 2, "byway: what?\n"),
        (BywayError("port busy"), 1, "byway: port busy\n"),
        (BywayError("at https://u:secret@h"), 1, "byway: at https://u:***@h\n"),
        (BywayError("\x1b[2J"), 1, "byway: \\x1b[2J\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_a_sentence_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def body() -> Exit:
        raise error

    assert translated(body) == code
    assert capsys.readouterr() == ("", said)


def test_G12_a_closed_pipe_ends_a_command_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def body() -> Exit:
        raise BrokenPipeError

    monkeypatch.setattr(exit_codes, "leave_stdout", lambda: None)  # it would close the tests' own
    assert translated(body) is Exit.DONE


def test_what_goes_well_ends_with_0() -> None:
    assert translated(lambda: None) is Exit.DONE
    assert translated(lambda: Exit.BAD) is Exit.BAD


def run_shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words", ["config show --all", "config show --json", "--help", "config path"])
def test_G12_a_reader_that_leaves_is_no_error(home: Home, words: str) -> None:
    """`exec 1>&-`-like: the reading end of the pipe is closed before a byte is written."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*BYWAY, *home.flags, *words.split()],
            stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 0


def test_G12_with_head_and_a_long_log(home: Home, running: Running) -> None:
    running.see(*(rescued(host=f"blog{number}.example.net", at=2e9) for number in range(1000)))
    line = " ".join([*BYWAY, *home.flags, "log", "--limit", "10000"])
    done = run_shell(f"{line} | head -2; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_G12_a_closed_standard_output_is_no_error(home: Home) -> None:
    done = run_shell(" ".join([*BYWAY, *home.flags, "config", "path", ">&-"]))
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["config path", "config show --all", "config path --json", "--help", "--version"])
def test_a_full_disk_is_told_in_a_sentence(home: Home, words: str, unbuffered: str) -> None:
    """As with `byway report > FILE`. It is written when the command prints it, or at its end."""
    flags = [] if words == "--version" else home.flags
    done = run_shell(" ".join([f"PYTHONUNBUFFERED={unbuffered}", *BYWAY, *flags, words, ">/dev/full"]))
    assert (done.returncode, done.stderr) == (1, "byway: the output cannot be written: no space left on device\n")


def test_reading_commands_load_neither_aiohttp_nor_the_proxy(home: Home, running: Running) -> None:
    """They are typed often. mitmproxy, cryptography and the like come with the proxy."""
    script = (
        "import sys\n"
        f"sys.argv = ['byway', *{home.flags!r}, 'status']\n"
        "from proxy.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "heavy = {'aiohttp', 'pydantic', 'rich', 'cryptography', 'sqlite3', 'asyncio', 'proxy.app.app'}\n"
        "heavy |= {'proxy.config.schema', 'proxy.features.sites.why_command', 'proxy.features.relays.commands'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_terminal_gets_tables_and_no_color_is_honoured(home: Home, running: Running) -> None:
    running.see(rescued(host="blog.example.net", at=2e9))
    line = [*BYWAY, *home.flags, "status"]
    coloured = on_terminal(line)
    assert "Problem sites on this network" in coloured
    assert "~ likely blocked" in coloured
    assert "\t" not in coloured
    plain = on_terminal(line, NO_COLOR="1")
    assert "Problem sites on this network" in plain
    assert "\x1b[3" not in plain  # no colour; bold is none
    assert "kind\tname" in on_terminal([*line, "--plain"])


def test_watch_repeats_until_interrupted(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    ran = byway("status", "--watch")
    assert ran.code == 130
    assert [row[0] for row in ran.rows].count("kind") == 3


@pytest.mark.parametrize(
    "words",
    [
        ("why",),
        ("test",),
        ("site", "set"),
        ("site", "show"),
        ("site", "forget"),
        ("rule", "test"),
        ("forget", "--host"),
    ],
)
def test_an_unknown_scheme_is_wrong_usage(byway: Byway, running: Running, words: tuple[str, ...]) -> None:
    for scheme, said in (("htp", "did you mean http?"), ("ftp", "it can be http or https")):
        action = ("direct",) if words == ("site", "set") else ()
        ran = byway(*words, f"{scheme}://site.test/", *action)
        assert ran.code == 2, ran
        assert f'unknown scheme "{scheme}"; {said}' in ran.err


@pytest.mark.parametrize("flag", ["--yes", "-y"])
def test_who_says_yes_to_a_command_that_does_not_ask_is_obeyed(byway: Byway, flag: str) -> None:
    assert byway("forget", "--all", flag).code == 0
