"""Loads files that were written for mitmproxy, unchanged, and separates their options from Byway's.

Such a file may have only functions with the names of mitmproxy's hooks. It declares its options in one of them, `load`,
which is called when the first connection is inspected. Until then the names in `[addons.NAME]` cannot be checked, so
names that are not options for Byway are kept for that call.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.extend.loading.addon import NO_OPTIONS

_IMPORTS = re.compile(r"^(?:from|import)\s+mitmproxy\b", re.MULTILINE)
"""An import at the top of a file. An indented one is for the type checker, or for later."""

_WITH_ALL_HOOKS = ("mitmproxy.eventsequence", "mitmproxy.addonmanager", "mitmproxy.proxy.server", "mitmproxy.log")
"""The modules that declare hooks. `mitmproxy.script.concurrent` accepts only hooks that are declared already."""


def prepare(source: str) -> None:
    """Imports the modules that a file for mitmproxy needs. Call this before the file is run. It does nothing for other
    files, and without mitmproxy: the file's own import then fails, and is reported."""
    if _IMPORTS.search(source):
        with contextlib.suppress(ImportError):
            for name in _WITH_ALL_HOOKS:
                importlib.import_module(name)


def split_options(
    objects: Sequence[object], table: Mapping[str, Any], own_names: Sequence[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Splits the values of `[addons.NAME]` into Byway's and mitmproxy's. `own_names` are the names in the addon's own
    `Options`."""
    if not any(callable(getattr(thing, "load", None)) for thing in objects):
        return table, NO_OPTIONS
    ours = {key: value for key, value in table.items() if key in own_names}
    return ours, {key: value for key, value in table.items() if key not in own_names}
