"""The manual page: made from the commands, and the same as the one that ships."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from proxy.cli.commands import app
from proxy.cli.manual import _EXIT_CODES, manual
from proxy.terminal.exit_codes import Exit
from tests.support.programs import require
from tests.whole.test_commands import COMMANDS

SHIPPED = Path(__file__).parents[2] / "docs" / "byway.1"


def formatted(page: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("groff"), "-man", "-Tutf8", "-P-cbou", *options],
        input=page, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.needs("groff")
def test_groff_finds_no_fault_in_it() -> None:
    done = formatted(manual(app), "-ww")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs("groff")
def test_groff_would_have_found_one() -> None:
    """The control."""
    assert formatted(manual(app) + ".XX broken\n", "-ww").stderr


@pytest.mark.needs("groff")
def test_it_has_every_command_with_its_example() -> None:
    text = " ".join(formatted(manual(app)).stdout.replace("\N{HYPHEN}", "-").split())
    for command in COMMANDS:
        assert f"Example: byway {command}" in text, command
    assert "'" not in text.split()[:1]


def test_each_exit_code_has_a_sentence() -> None:
    assert set(_EXIT_CODES) == set(Exit)


def test_the_page_that_ships_is_of_these_commands() -> None:
    if os.environ.get("BYWAY_SNAPSHOTS") == "write":
        SHIPPED.write_text(manual(app))
    assert SHIPPED.read_text() == manual(app), "byway help --man > docs/byway.1"
