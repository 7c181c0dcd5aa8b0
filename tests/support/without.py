"""Copies of Byway without one of its features: without the folder of the feature and its line in the table."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

from proxy.app import feature_check

ROOT = Path(__file__).parents[2]
TABLE = Path("proxy", "features", "table.py")
CHECKED = TABLE.with_name("__pycache__") / f"checked.{sys.implementation.cache_tag}"
"""Byway makes this file when every name in its table can be imported."""


def line_of(table: str, name: str) -> tuple[int, int]:
    """Returns the place of a feature in the text of the table: its first line and the line after its last, from 0."""
    (features,) = (
        node.value.elts
        for node in ast.parse(table).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
    )
    (found,) = (
        each
        for each in features
        if isinstance(each, ast.Call) and isinstance(each.args[0], ast.Constant) and each.args[0].value == name
    )
    assert found.end_lineno is not None
    return found.lineno - 1, found.end_lineno


def copy_of_byway(to: Path) -> Path:
    """Makes a copy of the package, and of the files beside it that it uses in a checkout. Returns `to`, which goes on
    PYTHONPATH. It is not CHECKED.

    The files of `proxy` and of `proxy/features` are copies, and may be changed. The folders in them are links, with
    their compiled modules: to compile all takes 5 s. `own_folder` makes a copy of one."""
    for folder in (Path("proxy"), TABLE.parent):
        (to / folder).mkdir(parents=True)
        for entry in (ROOT / folder).iterdir():
            if entry.is_file():
                shutil.copy2(entry, to / folder)
            elif entry.name != "__pycache__" and entry != ROOT / TABLE.parent:
                (to / folder / entry.name).symlink_to(entry)
    for beside in ("addons", "certs", "pyproject.toml"):
        (to / beside).symlink_to(ROOT / beside)
    return to


def note_checked(at: Path) -> None:
    """Makes the copy CHECKED: a Byway of it does not check it, which takes 0.7 s of a core."""
    (at / CHECKED).parent.mkdir(exist_ok=True)
    (at / CHECKED).write_text(feature_check._version((at / TABLE).parent))


def own_folder(at: Path, name: str) -> Path:
    """Makes a copy of the folder of a feature, which may be changed. Returns it."""
    remove_folder(at, name)
    return Path(shutil.copytree(ROOT / TABLE.parent / name, at / TABLE.parent / name))


def remove_folder(at: Path, name: str) -> None:
    """Removes only the folder; the line stays."""
    folder = at / TABLE.parent / name
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def remove_line(at: Path, name: str) -> None:
    """Removes only the line; the folder stays."""
    table = (at / TABLE).read_text()
    first, end = line_of(table, name)
    lines = table.splitlines(keepends=True)
    (at / TABLE).write_text("".join(lines[:first] + lines[end:]))
