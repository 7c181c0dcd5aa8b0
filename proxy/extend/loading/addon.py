"""A loaded addon: its objects, their hooks and its options, as one frozen value.

An Addon is one version of one file; an edit makes another. `loader` makes it, and `guard.runner` runs its hooks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

from proxy.model.frozen_dataclass import frozen_dataclass

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

Place = Callable[..., str]
"""Returns the place of a value in the configuration, as `Loaded.place` does; "" when it has none."""


def nowhere(*_path: str | int) -> str:
    """The Place of values that have none."""
    return ""


@frozen_dataclass
class AddonFile:
    """A file in a folder of addons, before it is loaded."""

    name: str
    path: Path
    shipped: bool
    enabled: bool
    problem: str = ""
    """The reason why it may not be loaded, in one sentence with its place; empty when it may."""


@frozen_dataclass
class Addon:
    """One version of one addon."""

    name: str
    file: Path
    version: str
    """The first 12 hex digits of the file's SHA-256."""
    objects: tuple[object, ...]
    """The objects in `addons = […]`, or the module when it has no such list. They may have hooks of mitmproxy too."""
    hooks: Mapping[str, tuple[Callable[..., Any], ...]]
    """The functions of each hook, by its name, in the order of the objects."""
    options: Any
    """An instance of its `Options`; None when it declares none."""
    module: ModuleType
    for_mitmproxy: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    """The user's values of the options that it declares to mitmproxy."""

    def forget(self) -> None:
        """Removes the module from `sys.modules`. Call this when none of its code runs any more."""
        sys.modules.pop(self.module.__name__, None)


def line_of(function: Callable[..., Any]) -> int:
    """Returns the line where a function begins; 0 when it is not written in Python."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code.co_firstlineno if isinstance(code, CodeType) else 0


def line_in(file: Path, error: BaseException) -> int:
    """Returns the innermost line of `file` in an exception's traceback; 0 when there is none."""
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(file):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
