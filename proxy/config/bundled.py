"""Finds the files that ship with Byway: in the wheel below `proxy/_bundled`, in a checkout beside the package."""

from __future__ import annotations

from pathlib import Path

from proxy.model.errors import BywayError

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled(name: str, *, package: Path = _PACKAGE) -> Path:
    """Returns the file of that name, such as `certs/known_roots.json`. Raises BywayError when it was not installed."""
    for path in (package / "_bundled" / name, package.parent / name):
        if path.is_file():
            return path
    raise BywayError(f"{name} is missing from this installation; install Byway again")


def bundled_folder(name: str, *, package: Path = _PACKAGE) -> Path | None:
    """Returns the folder of that name, such as `addons`; None when it was not installed. A folder beside the package
    counts only in a checkout: beside an installed package it is not Byway's."""
    installed, beside = package / "_bundled" / name, package.parent / name
    if installed.is_dir():
        return installed
    return beside if beside.is_dir() and (package.parent / "pyproject.toml").is_file() else None
