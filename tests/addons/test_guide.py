"""The author's guide: its snippets work as they stand, and it says of each hook what the code says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer import Typer

from proxy.config.load import load as load_configuration
from proxy.extend.guard.time_limit import BUDGET_S, FAULTS_MAX, LIMIT_S, PATIENCE_S
from proxy.extend.hooks import HOOKS
from proxy.extend.loading.signatures import declaration
from proxy.testing import load
from tests.addons.shipped import FOLDER
from tests.support.rows import each_row

GUIDE = (FOLDER / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```python\n# file: (\S+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
TESTS = sorted(name for name in BLOCKS if name.startswith("test_"))
COMMANDS = re.findall(r"^ {4}byway (addons .+)$", GUIDE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The author's, with all files of the guide."""
    folder = tmp_path / "config" / "addons"
    folder.mkdir(parents=True, mode=0o700)
    for name, text in BLOCKS.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    return folder


def test_no_snippet_is_left_out() -> None:
    assert GUIDE.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("name", sorted(BLOCKS.keys() - set(TESTS)))
def test_each_addon_loads(folder: Path, name: str) -> None:
    addon = load(folder / name)
    assert addon.addon.hooks or name == "language.py"


@pytest.mark.parametrize("name", TESTS)
def test_each_test_passes(folder: Path, name: str) -> None:
    module = ModuleType(name)
    exec(compile(BLOCKS[name], name, "exec"), vars(module))
    tests: list[Callable[[], None]] = [made for what, made in vars(module).items() if what.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_configuration_is_taken(folder: Path) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    file = folder.parent / "config.toml"
    file.write_text(toml)
    table: Any = load_configuration(file).settings.addons["quiet"].options
    assert load(folder / "quiet.py", table).addon.options.sites == ("example.org", "example.net")


def test_the_commands_work(folder: Path, tmp_path: Path, commands: Typer, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "config.toml").touch()
    for name in TESTS:
        (folder / name).unlink()
    assert len(COMMANDS) == 6
    for words in map(shlex.split, COMMANDS):
        with pytest.raises(SystemExit) as ended:
            commands(
                ["--config", str(folder.parent / "config.toml"), "--state", str(tmp_path), *words], prog_name="byway"
            )
        said = capsys.readouterr()
        if "replay" in words:
            assert "no log yet" in said.err
        else:
            assert not ended.value.code, said.err


@each_row("hook", HOOKS.values(), ids=list(HOOKS))
def test_it_says_of_each_hook_what_the_code_says(hook: Any) -> None:
    _, _, section = GUIDE.partition(f"\n### {hook.name}\n")
    section = section.partition("\n##")[0]
    assert f"`{declaration(hook)}`" in section
    assert " ".join(hook.doc.split()) in " ".join(section.split())


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"may compute for {BUDGET_S * 1000:.0f} ms" in GUIDE
    assert (LIMIT_S, PATIENCE_S, FAULTS_MAX) == (1, 10, 3)
    assert "After a second" in GUIDE
    assert "wait for ten seconds" in GUIDE
    assert "With three faults" in GUIDE
