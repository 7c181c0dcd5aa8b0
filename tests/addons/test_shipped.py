"""What holds for all of them: short, one or more for each hook, off until named, and each with a test."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from proxy.extend.hooks import HOOKS
from proxy.extend.loading.files import find
from proxy.extend.loading.static_scan import scan
from tests.addons.shipped import FILES, FOLDER
from tests.support.rows import each_row

GUIDE = (FOLDER / "README.md").read_text(encoding="utf-8")
ROOT = FOLDER.parent


def _by_hook() -> dict[str, set[str]]:
    found = defaultdict(set)
    for file in FILES:
        for hook in scan(file).hooks:
            found[hook].add(file.stem)
    return found


@each_row("hook", HOOKS)
def test_each_hook_has_its_documentation_a_shipped_addon_and_tests(hook: str) -> None:
    assert len(HOOKS[hook].doc) > 60
    assert f"\n### {hook}\n" in GUIDE or f"`{hook}(" in GUIDE
    addons = _by_hook()[hook]
    assert addons
    assert all((Path(__file__).parent / f"test_{name}.py").is_file() for name in addons)
    tests = (file for place in ("extend", "e2e") for file in (ROOT / "tests" / place).glob("*.py"))
    assert any(f"def {hook}(" in file.read_text(encoding="utf-8") for file in tests), "and a test of the hook itself"


@each_row("file", FILES, ids=lambda file: str(file.stem))
def test_each_is_short_says_what_it_is_for_and_stands_in_the_guide(file: Path) -> None:
    assert 15 <= len(file.read_text(encoding="utf-8").splitlines()) <= 60
    assert scan(file).about
    assert "Demo of" in file.read_text(encoding="utf-8")
    assert f"[{file.stem}]({file.name})" in GUIDE


def test_they_are_off_until_named(tmp_path: Path) -> None:
    found = find(tmp_path / "none")
    assert [it.name for it in found] == [file.stem for file in FILES]
    assert not any(it.enabled for it in found)
