"""Every `byway` command that README shows works as it is shown, and prints what README shows of it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.cli.demo import byway_process as instance
from proxy.cli.demo import demo
from proxy.cli.demo.demo_world import DemoWorld
from tests.support.byway import Byway
from tests.support.terminal import steady

README = (Path(__file__).parents[1] / "README.md").read_text()
RUNS = {"run", "demo", "browser"}  # they have tests of their own
ENDS = {
    "why": {0, 6},  # tests have no network
    "log": {0, 2},  # and no connection of that number
    "doctor": {0, 5, 6},  # it finds what is wrong with the machine of the test: no network, say
    "service": {0, 1},  # the Byway of the test is not one, so that none is installed beside it
    "list": {0, 2},  # nor a list to fetch
    "system": {0, 1},  # and no desktop
    "ca": {0} if os.geteuid() == 0 else {0, 4},  # whoever is not root is told what to run as root
}


def shown() -> list[list[str]]:
    """The arguments of each command, from indented lines and from code within a line, in the order of the page."""
    code = re.findall(r"^ {4,}(?:\$ )?(\S.*)$|`([^`\n]+)`", README, re.MULTILINE)
    commands = [shlex.split(line or within, comments=True) for line, within in code if "byway" in (line or within)]
    return [words[1:] for words in commands if Path(words[0]).name == "byway" and len(words) > 1]


def rules() -> str:
    return "".join(f"{line}\n" for line in re.findall(r"^ {4}([A-Z-]+,\S+)$", README, re.MULTILINE))


def outputs() -> dict[str, list[str]]:
    """What README shows below each `$ command`, up to the next one."""
    found: dict[str, list[str]] = {}
    for block in re.findall(r"(?:^(?: {4}.*)?\n)+", README, re.MULTILINE):
        command = ""
        for line in block.splitlines():
            if line.startswith("    $ "):
                command = line[6:].partition("  #")[0].strip()
            elif command and line.strip():
                found.setdefault(command, []).append(line[4:])
    return found


def assert_shown(command: str, printed: str) -> None:
    lines = {steady(line) for line in printed.splitlines()}
    missing = [line for line in outputs()[command] if steady(line) not in lines]
    assert missing == [], printed


def on_terminal(words: Sequence[str]) -> str:
    """What a command prints on a terminal of 80 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    env = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    env.pop("COLUMNS", None)
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=env)
    os.close(slave)
    printed = b""
    try:
        while chunk := os.read(master, 65536):
            printed += chunk
    except OSError:
        pass  # EIO: the other side has ended
    finally:
        os.close(master)
        process.wait(60)
    return printed.decode().replace("\r\n", "\n")


def test_the_demo_prints_what_the_readme_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "proxy", "demo"], capture_output=True, text=True, timeout=60, check=True
    )
    assert_shown(".venv/bin/byway demo", done.stdout)


async def test_the_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    """Beside the demo's world, after its first visit."""
    async with (
        DemoWorld(tmp_path, demo.OPEN, demo.BLOCKED) as stage,
        instance.start(tmp_path, demo._config(stage), trust=stage.certificate) as byway,
    ):
        await demo._visit(demo._Story(quiet=True), stage, byway, visit=1, cuts=1, how="")
        commands = [
            command for command in outputs() if command.startswith(".venv/bin/byway ") and "demo" not in command
        ]
        assert len(commands) == 3
        for command in commands:
            words = re.sub(r":\d+/", f":{stage.censor_port}/", command).split()[1:]
            assert_shown(command, await asyncio.to_thread(on_terminal, instance.command(*words, *byway._arguments)))


async def test_run_prints_what_the_readme_shows(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        await byway.stop()
    assert_shown("make run", byway.said.read_text())


async def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    commands = shown()
    assert {words[0] for words in commands} >= {"run", "demo", "relay", "status", "why", "log", "site", "config"}
    async with Byway(tmp_path) as byway:
        for words in commands:
            if words[0] not in RUNS and not words[0].startswith("-"):
                ended = await byway.command(*words, check=False)
                assert ended.returncode in ENDS.get(words[0], {0}), (words, ended.stderr)
        assert "RELAY" in (await byway.command("site", "list")).stdout


@pytest.mark.inspection
async def test_the_rules_of_the_readme_are_taken(tmp_path: Path) -> None:
    assert rules().count("\n") == 5
    async with Byway(tmp_path, config='[[relay]]\nname = "r"\nurl = "127.0.0.1:9"\n', rules=rules()) as byway:
        assert "DOMAIN-SUFFIX,bank.example,DIRECT" in (await byway.command("rule", "test", "www.bank.example")).stdout


async def test_ephemeral_is_an_option_of_run(tmp_path: Path) -> None:
    assert ["run", "--ephemeral"] in shown()
    async with Byway(tmp_path, arguments=["--ephemeral"]) as byway:
        assert (await byway.command("status")).returncode == 0
    assert not list(byway.state.glob("*.sqlite*"))
