"""Finds the files of addons, and decides which may be loaded.

Addons are the user's own code and run with the user's rights, so a file may be loaded only if no other user can change
it or its folder. This module does not read the files: it runs several times a second, also without addons.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from proxy.config.bundled import bundled_folder
from proxy.config.file_owners import trust_in
from proxy.config.files import shown
from proxy.config.schema import AddonConfig
from proxy.config.suggestions import quoted, suggestion
from proxy.extend.loading.addon import AddonFile, Place, nowhere
from proxy.model.errors import ConfigError, reason_of

FILES_MAX = 256
"""The most addons in one folder."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""Valid names of addons: the name of the file, without `.py`."""


def find(
    user_folder: Path, tables: Mapping[str, AddonConfig] = MappingProxyType({}), *, shipped: Path | None = None
) -> tuple[AddonFile, ...]:
    """Returns all addons, sorted by name, including those that are off or may not be loaded. A file of the user
    replaces a shipped one of the same name. `tables` is `settings.addons`; `shipped` is the folder of the shipped ones,
    for tests. Raises ConfigError when a folder cannot be read."""
    folder = shipped if shipped is not None else bundled_folder("addons")
    addons = {} if folder is None else {path.stem: _addon_file(path, tables, shipped=True) for path in _files(folder)}
    for path in _files(user_folder):
        addons[path.stem] = _addon_file(path, tables, shipped=False)
    return tuple(addons[name] for name in sorted(addons))


def missing(addons: Sequence[AddonFile], tables: Mapping[str, AddonConfig], place: Place = nowhere) -> list[str]:
    """Returns a sentence for each `[addons.NAME]` without a file. An addon whose name is misspelt there would otherwise
    be off silently."""
    names = [file.name for file in addons]
    return [
        f"{place('addons', name)}: there is no addon {quoted(name)}{suggestion(name, names)}".removeprefix(": ")
        for name, table in tables.items()
        if name not in names and table.enabled is not False
    ]


def _files(folder: Path) -> list[Path]:
    """Returns the files that may be addons. A name with a leading dot or underscore belongs to an editor or the
    system."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"{shown(folder)}: cannot be read: {reason_of(error)}") from None
    taken = [name for name in names if name.endswith(".py") and not name.startswith((".", "_"))]
    if len(taken) > FILES_MAX:
        raise ConfigError(f"{shown(folder)}: has {len(taken)} addons; at most {FILES_MAX} are allowed")
    return [folder / name for name in taken]


def _addon_file(path: Path, tables: Mapping[str, AddonConfig], *, shipped: bool) -> AddonFile:
    name = path.stem
    table = tables.get(name)
    enabled = table.enabled if table is not None and table.enabled is not None else not shipped
    problem = ""
    if not NAME.fullmatch(name):
        problem = f"{shown(path)}: the name of an addon starts with a letter and has only letters, digits, _ and -"
    elif not shipped:  # whether other users can, or may be able to, change it
        trust = trust_in(path)
        problem = "; ".join(trust.problems) or (f"{shown(path)}: not loaded: {trust.doubt}" if trust.doubt else "")
    return AddonFile(name, path, shipped, enabled, problem)
