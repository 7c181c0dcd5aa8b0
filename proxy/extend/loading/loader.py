"""Finds the files of addons, decides which may be loaded, and loads them.

Addons are the user's own code and run with the user's rights, so a file is loaded only if no other user can change it
or its folder. It is loaded by its path: the folder is never on `sys.path`, and the module has a name in `sys.modules`
that no import statement can name. Every fault names the file and the line.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

from proxy.config.bundled import bundled_folder
from proxy.config.file_owners import trust_in
from proxy.config.files import read_text, shown
from proxy.config.schema import AddonConfig
from proxy.config.suggestions import quoted, suggestion
from proxy.extend.guard.time_limit import BrokenOff
from proxy.extend.loading import mitmproxy_compat, options, signatures
from proxy.extend.loading.addon import Addon, AddonFile, line_in, line_of
from proxy.extend.loading.options import Place
from proxy.model.errors import ConfigError, reason_of

FILE_LIMIT = 1024 * 1024
"""Bytes of one addon, at most."""

FILES_MAX = 256
"""Addons in one folder, at most."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""Valid names of addons: of the file, without `.py`."""

_serial = itertools.count(1)


def _nowhere(*_path: str | int) -> str:
    return ""


# -- finding files ----------------------------------------------------------------------------------------------------


def find(
    user_folder: Path, tables: Mapping[str, AddonConfig] = MappingProxyType({}), *, shipped: Path | None = None
) -> tuple[AddonFile, ...]:
    """Returns all addons, sorted by name, including those that are off or may not be loaded. A file of the user
    replaces a shipped one of the same name. `tables` is `settings.addons`; `shipped` is the folder of the shipped ones,
    for tests. Raises ConfigError when a folder cannot be read."""
    folder = shipped if shipped is not None else bundled_folder("addons")
    found = {} if folder is None else {path.stem: _addon_file(path, tables, shipped=True) for path in _files(folder)}
    for path in _files(user_folder):
        found[path.stem] = _addon_file(path, tables, shipped=False)
    return tuple(found[name] for name in sorted(found))


def missing(found: Sequence[AddonFile], tables: Mapping[str, AddonConfig], place: Place = _nowhere) -> list[str]:
    """Returns a sentence for each `[addons.NAME]` that has no file. Without it, an addon whose name is misspelt there
    would silently be off."""
    names = [file.name for file in found]
    return [
        f"{place('addons', name)}: there is no addon {quoted(name)}{suggestion(name, names)}".removeprefix(": ")
        for name, table in tables.items()
        if name not in names and table.enabled is not False
    ]


def _files(folder: Path) -> list[Path]:
    """Returns the files that may be addons. Those that begin with a dot or an underscore are an editor's or the
    system's."""
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
    elif not shipped:
        problem = _others_may_change(path)
    return AddonFile(name, path, shipped, enabled, problem)


def _others_may_change(path: Path) -> str:
    """Says why an addon is not loaded: other users can, or may be able to, change it; "" when they cannot."""
    trust = trust_in(path)
    return "; ".join(trust.problems) or (f"{shown(path)}: not loaded: {trust.doubt}" if trust.doubt else "")


# -- loading a file ----------------------------------------------------------------------------------------------------


def load(file: Path, name: str, table: Mapping[str, Any] = MappingProxyType({}), *, place: Place = _nowhere) -> Addon:
    """Runs the file and finds its hooks. `table` is `[addons.NAME]` without `enabled`; `place` gives the place of a
    value of it in the configuration. Runs the addon's own code, which may take any time. Raises ConfigError with all
    problems."""
    source = read_text(file, limit=FILE_LIMIT)
    if not source.strip():  # a full disk leaves it so, or an editor that is still writing
        raise ConfigError(f"{shown(file)}: the file is empty")
    module = ModuleType(f"byway addon {name} {next(_serial)}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where dataclasses and type hints look for their module
    try:
        code = _compiled(source, file)
        mitmproxy_compat.prepare(source)
        _run(code, module, file)
        objects = _objects(module, source, file)
        hooks = _hooks(objects, file)
        try:
            own, for_mitmproxy = mitmproxy_compat.split_options(objects, table, options.names(module))
            chosen = options.read(module, name, own, place)
        except TypeError as error:
            raise ConfigError(f"{_at(file, _line_of_name(source, 'Options'))}: {error}") from None
    except BaseException:
        del sys.modules[module.__name__]
        raise
    version = hashlib.sha256(source.encode()).hexdigest()[:12]
    return Addon(name, file, version, objects, hooks, chosen, module, for_mitmproxy)


def _compiled(source: str, file: Path) -> CodeType:
    try:
        return compile(source, str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ConfigError(f"{_at(file, error.lineno or 0)}: not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise ConfigError(f"{shown(file)}: not valid Python: {error or type(error).__name__}") from None


def _run(code: CodeType, module: ModuleType, file: Path) -> None:
    """Runs the file in its module. Whatever that raises, SystemExit too, becomes a ConfigError."""
    try:
        exec(code, vars(module))  # noqa: S102  # an addon is the user's own code
    except BaseException as error:
        raise ConfigError(f"{_at(file, line_in(file, error))}: {_describe(error)}{_import_hint(file, error)}") from None


def _import_hint(file: Path, error: BaseException) -> str:
    """Explains a failed import of another file of the folder; "" for any other exception."""
    if isinstance(error, ImportError) and error.name and file.with_name(f"{error.name}.py").exists():
        return "; an addon is a single file and cannot import other files of its folder"
    return ""


def _describe(error: BaseException) -> str:
    """Describes an exception in one line. Its own `__str__` is the addon's code too, and may fail."""
    try:
        text = " ".join(str(error).split())[:200]
    except BaseException:
        text = ""
    if isinstance(error, BrokenOff):
        return "loading did not finish (endless loop?) and was stopped at this line"
    if isinstance(error, ImportError):
        return f"cannot be imported: {text}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _objects(module: ModuleType, source: str, file: Path) -> tuple[object, ...]:
    if not hasattr(module, "addons"):
        return (module,)
    listed = module.addons
    if not isinstance(listed, list | tuple) or not listed:
        where = _at(file, _line_of_name(source, "addons"))
        raise ConfigError(f"{where}: addons must be a list of objects, as in `addons = [Pin()]`")
    for item in listed:
        if isinstance(item, type):
            where = _at(file, _line_of_name(source, "addons"))
            raise ConfigError(f"{where}: {item.__name__} in addons is a class; write `{item.__name__}()`")
    return tuple(listed)


def _hooks(objects: Sequence[object], file: Path) -> Mapping[str, tuple[Callable[..., Any], ...]]:
    found: dict[str, tuple[Callable[..., Any], ...]] = {}
    problems = []
    for thing in objects:
        try:
            hooks, misfits = signatures.hooks_of(thing)
        except BaseException as error:  # a property of the object may raise
            problems.append(f"{_at(file, line_in(file, error))}: {_describe(error)}")
            continue
        problems += [f"{_at(file, line_of(misfit.function))}: {misfit.sentence}" for misfit in misfits]
        for name, function in hooks.items():
            found[name] = (*found.get(name, ()), function)
    if problems:
        raise ConfigError(problems)
    return MappingProxyType(found)


def _line_of_name(source: str, name: str) -> int:
    """Returns the line of the top-level statement that sets a name; 0 when there is none."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(node, "name", "") == name or any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return getattr(node, "lineno", 0)
    return 0


def _at(file: Path, line: int) -> str:
    return f"{shown(file)}:{line}" if line else shown(file)
