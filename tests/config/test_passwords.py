"""Commands that print passwords: each is run once, and never told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.passwords import Passwords
from tests.support.rows import each_row


def test_a_command_is_run_once(tmp_path: Path) -> None:
    asked, passwords = tmp_path / "asked", Passwords()
    command = f"sh -c 'echo x >> {asked}; echo secret; echo more'"
    assert [passwords.ask(command) for _ in range(2)] == ["secret", "secret"]
    assert asked.read_text() == "x\n"


@each_row(
    ("command", "said"),
    [
        ("sh -c 'echo SECRET; exit 3'", "failed with exit code 3"),
        ("true", "printed no password"),
        ("echo", "printed no password"),
        ("printf '\\377'", "not text"),
        ("/nowhere/at/all", "cannot be run"),
        ("echo 'SECRET", "is not a valid command line"),
        ("  ", "is not a valid command line"),
    ],
)
def test_a_command_that_gives_none_is_told_without_its_secret(command: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Passwords().ask(command)
    assert "SECRET" not in str(caught.value), "the command may hold it as well"


def test_a_command_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.config.passwords._TIMEOUT_S", 0.01)
    with pytest.raises(ValueError, match="did not finish within"):
        Passwords().ask("sleep 60")
