"""What `byway addons new` writes: each kind is a file that loads, has its hook, and does nothing yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.extend.hooks import HOOKS
from proxy.extend.loading.loader import load
from proxy.features.addons.skeletons import KINDS, skeleton

ROOT = Path(__file__).parents[3]


def test_there_is_one_for_each_hook_that_does_something() -> None:
    assert set(KINDS) == {*HOOKS, "inspect"} - {"start", "stop"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_loads_and_has_its_hook(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(skeleton("mine", kind))
    addon = load(file, "mine")
    assert kind in addon.hooks or (kind == "inspect" and callable(addon.module.request))
    addon.forget()


def test_each_passes_our_own_checks(tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / f"{kind}_addon.py").write_text(skeleton("mine", kind))
    ruff = Path(sys.executable).with_name("ruff")
    for words in (
        ["check", "--isolated", "--line-length", "120", "--select", "E,F,I,W"],
        ["format", "--check", "--isolated", "--line-length", "120"],
    ):
        done = subprocess.run([ruff, *words, tmp_path], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout


def test_above_the_hook_stands_its_documentation() -> None:
    text = skeleton("mine", "classify")
    assert f"# classify: {HOOKS['classify'].doc[:60]}" in text
    assert all(len(line) <= 120 for line in text.split("\n"))
