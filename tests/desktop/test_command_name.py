from __future__ import annotations

from pathlib import Path

import pytest

from proxy.desktop.command_name import command_name


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


def test_in_another_program_it_is_the_name_alone() -> None:
    assert command_name("/usr/bin/pytest", {"PATH": ""}) == "byway"


def test_as_a_module_it_is_the_interpreter_and_the_module() -> None:
    assert command_name("/src/proxy/__main__.py", {"PATH": ""}).endswith(" -m proxy")
