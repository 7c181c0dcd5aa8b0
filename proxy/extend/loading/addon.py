"""An addon that has been loaded: its objects, their hooks and its options, as one frozen value.

Loading is the business of `loader`, running of `running`. An Addon is one version of one file; an edit makes another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AddonFile:
    """A file that may be an addon, as it was found."""

    name: str
    path: Path
    shipped: bool
    enabled: bool
    problem: str = ""
    """One sentence with its place: why it may not be loaded."""


@dataclass(frozen=True, slots=True)
class Addon:
    """One version of one addon."""

    name: str
    file: Path
    version: str
    """The beginning of the file's SHA-256: tells one version from another."""
    objects: tuple[object, ...]
    """What `addons = […]` lists, else the module. They may have hooks of mitmproxy's as well."""
    hooks: Mapping[str, tuple[Callable[..., Any], ...]]
    """By the name of the hook, in the order of the objects."""
    options: Any
    """An instance of its `Options`; None when it declares none."""
    module: ModuleType
    for_mitmproxy: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    """Options that it declares to mitmproxy, with what the user set."""

    def forget(self) -> None:
        """Lets the module go, once nothing of it runs any more."""
        sys.modules.pop(self.module.__name__, None)


def line_of(function: Callable[..., Any]) -> int:
    """Where a function begins, 0 when it is not written in Python."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code.co_firstlineno if isinstance(code, CodeType) else 0


def line_in(file: Path, error: BaseException) -> int:
    """The line of `file` that an exception came through last, 0 when it came through none."""
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(file):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
