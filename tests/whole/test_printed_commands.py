"""Every command that Byway prints runs as it is printed: there is such a command, said as it is typed here."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from proxy.cli.commands import app
from proxy.config.command_name import COMMANDS
from tests.support.command_line import Byway, Home

ROOT = Path(__file__).parents[2]
SNAPSHOTS = Path(__file__).parent / "snapshots"
NAMED = re.compile(rf"(?<![\w./-])byway ((?:{'|'.join(COMMANDS)})(?!\w|[.:]\w)[^`\n\"'(){{}}]*)")


def printed() -> Iterator[str]:
    """The commands in the texts of the source, outside of its comments and docstrings, and in the snapshots."""
    for file in (ROOT / "proxy").rglob("*.py"):
        tree = ast.parse(file.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                yield from NAMED.findall(node.value)
    for file in (*SNAPSHOTS.rglob("*.txt"), *(ROOT / "proxy").rglob("*.html")):
        yield from NAMED.findall(file.read_text())


def path_of(words: str) -> tuple[str, ...]:
    """The command and its subcommand, without their arguments."""
    return tuple(re.findall(r"^[a-z-]+", word)[0] for word in words.split()[:2] if re.match(r"[a-z]", word))


def test_every_command_that_a_text_names_is_one_that_there_is() -> None:
    root = get_command(app)
    found = sorted(set(map(path_of, printed())))
    assert len(found) > 40
    for path in found:
        first = root.commands[path[0]]  # type: ignore[attr-defined]
        inner = getattr(first, "commands", {})
        if inner and len(path) > 1:
            assert path[1] in inner, path


@pytest.mark.parametrize(
    "words", [("relay", "list"), ("site", "set", "x.example", "relay"), ("rule", "add", "LIST,x,RELAY"), ("status",),
              ("doctor",), ("list", "show"), ("why", "x.example"), ("service", "status")],
)  # fmt: skip
def test_hints_name_the_program_as_it_was_started(
    byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("proxy.terminal.output.typed_here", lambda: ".venv/bin/byway")
    ran = byway(*words)
    named = re.findall(r"(\S*)byway (?=[a-z-])", ran.out + ran.err)
    assert set(named) <= {".venv/bin/", "`.venv/bin/"}, ran


@pytest.mark.parametrize("folder", ["bin", "by way/bin", "it's"])
def test_a_command_that_was_started_by_its_path_prints_commands_that_run(tmp_path: Path, folder: str) -> None:
    """As `make run` starts it: there is no byway in PATH."""
    program = tmp_path / folder / "byway"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable} -P\nimport sys\nfrom proxy.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "COLUMNS": "60"}

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr

    typed = shlex.quote(f"{folder}/byway")
    (hint,) = re.findall(r"`([^`]*relay add URL)`", run(f"{folder}/byway", "relay", "list"))
    assert hint == f"{typed} relay add URL"
    help_text = run(*shlex.split(hint.removesuffix("URL")), "--help")
    assert f"Usage: {typed} relay add" in help_text
    (example,) = re.findall(r"^ *Example: (.*)$", help_text, re.MULTILINE)
    assert shlex.split(example)[:3] == [f"{folder}/byway", "relay", "add"]
    mistaken = run(f"{folder}/byway", "relay", "add", "--odd")
    (advice,) = re.findall(r"^Try '(.*)' for help\.$", mistaken, re.MULTILINE)
    assert run(*shlex.split(advice)) == help_text
