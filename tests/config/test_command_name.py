from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy.config.command_name import as_typed, command_name, command_words
from tests.support.rows import each_row


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "byway"
    program.parent.mkdir()
    program.touch(mode=0o755)
    return program


def test_in_path_it_is_the_name_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(installed)
    for started_as in (str(installed), str(tmp_path / "link")):
        assert command_name(started_as, {"PATH": f"/nonexistent:{installed.parent}"}) == "byway"


def test_elsewhere_it_is_what_was_typed(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where PATH has another Byway, which may have other folders."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other" / "byway"
    other.parent.mkdir()
    other.touch(mode=0o755)
    assert command_name("bin/byway", {"PATH": "/nonexistent"}) == "bin/byway"
    assert command_name("bin/byway", {}) == "bin/byway"
    assert command_name("bin/byway", {"PATH": str(other.parent)}) == "bin/byway"


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("/tmp/by way/byway", "'/tmp/by way/byway'"),
        ("/tmp/it's;/byway", "'/tmp/it'\"'\"'s;/byway'"),
        ("a/byway", "a/byway"),
    ],
)
def test_what_a_shell_would_cut_is_quoted(path: str, typed: str) -> None:
    assert command_name(path, {}) == typed
    assert command_words(path, {}) == (path,)
    assert as_typed("`byway status`", typed) == f"`{typed} status`"


def test_in_another_program_it_is_the_name_alone() -> None:
    for started_as in ("/usr/bin/pytest", "/usr/lib/python3/dist-packages/pytest/__main__.py"):
        assert command_name(started_as, {"PATH": ""}) == "byway"


def test_as_a_module_it_is_the_interpreter_and_the_module() -> None:
    assert command_words("/src/proxy/__main__.py", {"PATH": ""}) == (sys.orig_argv[0], "-m", "proxy")


@each_row(
    ("text", "said"),
    [
        ("To add one: `byway relay add URL`.", "To add one: `bin/byway relay add URL`."),
        ("byway why site.example", "bin/byway why site.example"),
        ("start it, then byway relay test tor", "start it, then bin/byway relay test tor"),
        ("`byway run --state DIR`; `byway stop`", "`bin/byway run --state DIR`; `bin/byway stop`"),
        ("`byway --install-completion`", "`bin/byway --install-completion`"),
        ("To undo: byway resume.", "To undo: bin/byway resume."),
        ("byway: an error", "byway: an error"),
        ("Byway is running", "Byway is running"),
        ("/home/me/byway run.txt", "/home/me/byway run.txt"),
        ("journalctl --user --unit byway", "journalctl --user --unit byway"),
        ("byway runs", "byway runs"),
        ("the byway process", "the byway process"),
        (".venv/bin/byway why x", ".venv/bin/byway why x"),
    ],
)
def test_the_commands_in_a_text_are_said_as_they_are_typed(text: str, said: str) -> None:
    assert as_typed(text, "bin/byway") == said
    assert as_typed(text, "byway") == text
