"""Loads a file that `files` has found, and finds its hooks.

It is loaded by its path: the folder is never on `sys.path`, and no import statement can name its module in
`sys.modules`. Every fault names the file and the line.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

from proxy.config.files import read_text, shown
from proxy.extend.guard.time_limit import BrokenOff
from proxy.extend.loading import mitmproxy_compat, options, signatures
from proxy.extend.loading.addon import Addon, Place, line_in, line_of, nowhere
from proxy.model.errors import ConfigError

FILE_LIMIT = 1024 * 1024
"""The most bytes of one addon."""

_serial = itertools.count(1)


def load(file: Path, name: str, table: Mapping[str, Any] = MappingProxyType({}), *, place: Place = nowhere) -> Addon:
    """Runs the file, and finds its hooks. `table` is `[addons.NAME]` without `enabled`; `place` returns the place of
    one of its values in the configuration. Runs the addon's own code, which may take any time. Raises ConfigError with
    all problems."""
    source = read_text(file, limit=FILE_LIMIT)
    if not source.strip():  # after a full disk, or while an editor is writing
        raise ConfigError(f"{shown(file)}: the file is empty")
    module = ModuleType(f"byway addon {name} {next(_serial)}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses and type hints look for their module there
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
    """Runs the file in its module. Every exception, SystemExit too, becomes a ConfigError."""
    try:
        exec(code, vars(module))  # noqa: S102  # an addon is the user's own code
    except BaseException as error:
        hint = ""
        if isinstance(error, ImportError) and error.name and file.with_name(f"{error.name}.py").exists():
            hint = "; an addon is a single file and cannot import other files of its folder"
        raise ConfigError(f"{_at(file, line_in(file, error))}: {_describe(error)}{hint}") from None


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
        problem = "addons must be a list of objects, as in `addons = [Pin()]`"
    elif kinds := [item.__name__ for item in listed if isinstance(item, type)]:
        problem = f"{kinds[0]} in addons is a class; write `{kinds[0]}()`"
    else:
        return tuple(listed)
    raise ConfigError(f"{_at(file, _line_of_name(source, 'addons'))}: {problem}")


def _hooks(objects: Sequence[object], file: Path) -> Mapping[str, tuple[Callable[..., Any], ...]]:
    by_name: dict[str, tuple[Callable[..., Any], ...]] = {}
    problems = []
    for thing in objects:
        try:
            hooks, misfits = signatures.hooks_of(thing)
        except BaseException as error:  # a property of the object may raise
            problems.append(f"{_at(file, line_in(file, error))}: {_describe(error)}")
            continue
        problems += [f"{_at(file, line_of(misfit.function))}: {misfit.sentence}" for misfit in misfits]
        for name, function in hooks.items():
            by_name[name] = (*by_name.get(name, ()), function)
    if problems:
        raise ConfigError(problems)
    return MappingProxyType(by_name)


def _line_of_name(source: str, name: str) -> int:
    """Returns the line of the top-level statement that sets a name; 0 when there is none."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(node, "name", "") == name or any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return getattr(node, "lineno", 0)
    return 0


def _at(file: Path, line: int) -> str:
    return f"{shown(file)}:{line}" if line else shown(file)
