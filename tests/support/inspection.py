"""Tests of inspection need mitmproxy, and a Python version that it supports. Elsewhere they are skipped and listed.

A file that imports mitmproxy at the top, directly or through our modules, cannot even be collected there. A single test
in another file is marked `inspection`.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from proxy.config.mitmproxy_version import unavailable

ROOT = Path(__file__).parents[2]


@functools.cache
def missing() -> str:
    """Returns why inspection cannot be tested here, in a sentence; empty: it can."""
    return unavailable()


def files() -> list[Path]:
    """Returns every test file that cannot be collected without mitmproxy."""
    return sorted(path for path in (ROOT / "tests").rglob("test_*.py") if imports_mitmproxy(path))


@functools.cache
def imports_mitmproxy(path: Path) -> bool:
    """Whether a module imports mitmproxy at import time. Imports within functions do not count."""
    return any(
        module.split(".")[0] == "mitmproxy" or ((file := _file(module)) is not None and imports_mitmproxy(file))
        for module in _imports(path)
    )


def _imports(path: Path) -> Iterator[str]:
    """Yields the modules that a module imports at the top; for `from a import b` both `a` and `a.b`, since `b` may be a
    module."""
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.Import):
            yield from (name.name for name in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module is not None:
            yield statement.module
            yield from (f"{statement.module}.{name.name}" for name in statement.names)


def _file(module: str) -> Path | None:
    if module.split(".")[0] not in ("proxy", "tests"):
        return None
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
