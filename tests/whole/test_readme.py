"""Every `byway` command that README and the guide show works as it is shown, and prints what they show of it. README's
picture: tests/lab/test_picture.py."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.features.desktop.first_steps import FirstSteps
from proxy.model import Destination
from proxy.net.poller import make_poller
from tests.support.byway import Byway
from tests.support.terminal import steady

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = README + (ROOT / "docs" / "guide.md").read_text()
RUNS = {"run", "demo", "browser", "stop"}  # they have tests of their own
ENDS = {
    "why": {0, 6},  # tests have no network
    "log": {0, 2},  # and no connection of that number
    "report --verify": {2},  # nor a report to verify
    "doctor": {0, 5, 6},  # it finds what is wrong with the machine of the test: no network, say
    "open": {0, 1},  # without a graphical display it says so
    "service": {0, 1},  # the Byway of the test is not one, so that none is installed beside it
    "list": {0, 2},  # nor a list to fetch
    "system": {0, 1},  # and no desktop
    "import": {1, 2, 7},  # nor a file to import
    "relay add": {0, 2, 5, 7},  # nor a server for the key, nor a file
    "relay test": {0, 2},  # nor a destination to connect to
    **{f"relay {word}": {0, 2} for word in ("refresh", "rm", "disable", "order")},  # nor a subscription
    "lan": {0, 2},  # nor a network with a name
    "ca": {0} if os.geteuid() == 0 else {0, 4},  # whoever is not root is told what to run as root
}

AND: Mapping[tuple[str, ...], tuple[str, ...]] = {("ca", "trust"): ("--print",)}
"""What a test adds: root's would be trusted by this computer."""

A_KEY = "vless://00000000-0000-4000-8000-000000000001@key.example:443?security=tls&sni=key.example#friend"


def shown() -> list[list[str]]:
    """The arguments of each command, from indented lines and from code within a line, in the order of the page."""
    code = re.findall(r"^ {4,}(?:\$ )?(\S.*)$|`([^`\n]+)`", PAGES, re.MULTILINE)
    commands = [shlex.split(line or within, comments=True) for line, within in code if "byway" in (line or within)]
    return [words[1:] for words in commands if Path(words[0]).name == "byway" and len(words) > 1]


def rules() -> str:
    return "".join(f"{line}\n" for line in re.findall(r"^ {4}([A-Z-]+,\S+)$", PAGES, re.MULTILINE))


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


def test_the_demo_prints_what_the_readme_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "proxy", "demo"], capture_output=True, text=True, timeout=60, check=True
    )
    assert_shown(".venv/bin/byway demo", done.stdout)


async def test_run_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """The first line; the others depend on this computer, and README has those of one with a browser and no proxy."""
    byway = Byway(tmp_path)
    with byway.at_terminal("run", "--port", "0", columns=120) as terminal:
        await terminal.until("Browser: ")
        terminal.process.terminate()
        assert await terminal.ends() == 0
    listens, network, browser, relays = outputs()["make run"]
    assert steady(listens) == steady(terminal.lines[0])
    poller = make_poller(asyncio.get_running_loop())
    steps = FirstSteps(Destination("127.0.0.1", 8119), poller, command=".venv/bin/byway")
    assert network == steps.network_line(True, [])
    assert browser == steps.browser_line(True)
    assert relays == steps.relays_line([])


async def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    commands = shown()
    assert {words[0] for words in commands} >= {"run", "demo", "relay", "status", "why", "log", "site", "config"}
    async with Byway(tmp_path) as byway:
        for words in commands:
            if words[0] not in RUNS and not words[0].startswith("-"):
                filled = [word.replace("vless://…", A_KEY) for word in words]
                ended = await byway.command(*filled, *AND.get(tuple(words), ()), check=False)
                ends = ENDS.get(" ".join(words[:2]), ENDS.get(words[0], {0}))
                assert ended.returncode in ends, (words, ended.stderr)
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
