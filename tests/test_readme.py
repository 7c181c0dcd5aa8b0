"""Every `byway` command that README shows works as it is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.byway import Byway

README = (Path(__file__).parents[1] / "README.md").read_text()
RUNS = {"run", "demo"}  # they have tests of their own


def shown() -> list[list[str]]:
    """The arguments of each command, from indented lines and from code within a line, in the order of the page."""
    code = re.findall(r"^ {4,}(\S.*)$|`([^`\n]+)`", README, re.MULTILINE)
    commands = [shlex.split(line or within, comments=True) for line, within in code if "byway" in (line or within)]
    return [words[1:] for words in commands if Path(words[0]).name == "byway" and len(words) > 1]


def rules() -> str:
    return "".join(f"{line}\n" for line in re.findall(r"^ {4}([A-Z-]+,\S+)$", README, re.MULTILINE))


async def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    commands = shown()
    assert {words[0] for words in commands} >= {"run", "demo", "relay", "status", "why", "log", "site", "config"}
    async with Byway(tmp_path) as byway:
        for words in commands:
            if words[0] not in RUNS:
                await byway.command(*words)
        assert "RELAY" in (await byway.command("site", "list")).stdout


async def test_the_rules_of_the_readme_are_taken(tmp_path: Path) -> None:
    assert rules().count("\n") == 5
    async with Byway(tmp_path, config='[[relay]]\nname = "r"\nurl = "127.0.0.1:9"\n', rules=rules()) as byway:
        assert "DOMAIN-SUFFIX,bank.example,DIRECT" in (await byway.command("rule", "test", "www.bank.example")).stdout


async def test_ephemeral_is_an_option_of_run(tmp_path: Path) -> None:
    assert ["run", "--ephemeral"] in shown()
    async with Byway(tmp_path, arguments=["--ephemeral"]) as byway:
        assert (await byway.command("status")).returncode == 0
    assert not list(byway.state.glob("*.sqlite*"))
