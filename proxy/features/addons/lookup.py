"""Finds the addons that a command names, and their state.

The running Byway is asked first: addons lie beside its configuration, and it knows which of them run. Without one, the
files are read. No code of an addon runs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.model.document_version import VERSION
from proxy.model.errors import ConfigError
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import Misused

if TYPE_CHECKING:
    from proxy.extend.loading.addon import AddonFile

Document = dict[str, Any]


def for_running_config(call: Invocation) -> Invocation:
    """Returns the command for the configuration of the running Byway, beside which its addons lie; with --config,
    unchanged."""
    return call if call.flags.config is not None else call.for_config_of(call.running())


def _find_addons(call: Invocation) -> Sequence[AddonFile]:
    from proxy.extend.loading.files import find
    from proxy.terminal.offline import read_configuration

    return find(call.paths.addons_dir, read_configuration(call.paths).settings.addons)


def by_name(call: Invocation, name: str) -> AddonFile:
    """Returns the addon with this name. Raises Misused when there is none."""
    from proxy.config.suggestions import quoted, suggestion

    addons = {addon.name: addon for addon in _find_addons(call)}
    if name not in addons:
        raise Misused(f"unknown addon {quoted(name)}{suggestion(name, addons)}")
    return addons[name]


def select_files(call: Invocation, names: Sequence[str]) -> list[Path]:
    """Returns the files of the named addons; without names, of all enabled ones. Raises ConfigError for files that
    another user could have written, and for an addon of the configuration without a file. A file that is named by its
    path is not checked for that."""
    if not names:
        addons = _find_addons(call)
        return _loadable([it for it in addons if it.enabled], problems=_missing(call, addons))
    paths = [Path(name) for name in names if name.endswith(".py")]
    return paths + _loadable([by_name(call, name) for name in names if not name.endswith(".py")])


def _missing(call: Invocation, addons: Sequence[AddonFile]) -> list[str]:
    """Returns the error of `byway run` for each `[addons.NAME]` without a file."""
    from proxy.extend.loading.files import missing
    from proxy.terminal.offline import read_configuration

    loaded = read_configuration(call.paths)
    return missing(addons, loaded.settings.addons, loaded.place)


def _loadable(addons: Sequence[AddonFile], *, problems: Sequence[str] = ()) -> list[Path]:
    if problems := [*problems, *(it.problem for it in addons if it.problem)]:
        raise ConfigError(dict.fromkeys(problems))
    return [it.path for it in addons]


def check_in_isolation(call: Invocation, file: Path) -> Document:
    """Returns the hooks and options of a file, which a separate process loads. Raises ConfigError."""
    from proxy.features.addons.isolated_run import run_isolated

    return run_isolated("check", file, call.flags)


def check_files(call: Invocation, files: Sequence[Path]) -> tuple[list[Document], list[str]]:
    """Checks addons, each in a separate process. Returns the results of those that load, and the problems of the
    others, each with its file and line."""
    checked, problems = list[Document](), list[str]()
    for file in files:
        try:
            checked.append({"file": str(file), **check_in_isolation(call, file)})
        except ConfigError as error:
            problems += error.problems
    return checked, problems


def list_document(call: Invocation) -> Document:
    """Returns the JSON of `byway addons list`: from the running Byway, else from the files, without running them."""
    from proxy.extend.loading.static_scan import scan

    running = call.running()
    rows = _offline(call) if running is None else running.get("/v1/addons")["addons"]
    for row in rows:
        scanned = scan(Path(row["file"]))
        row |= {
            "about": scanned.about,
            "hooks": list(row["hooks"] or scanned.hooks),
            "inspects": list(scanned.inspects),
        }
    return {"version": VERSION, "running": running is not None, "addons": rows}


def _offline(call: Invocation) -> list[Document]:
    return [
        {
            "name": it.name,
            "file": str(it.path),
            "shipped": it.shipped,
            "enabled": it.enabled,
            "state": "off" if not it.enabled else "refused" if it.problem else "on",
            "hooks": [],
            "problems": [it.problem] if it.problem and it.enabled else [],
        }
        for it in _find_addons(call)
    ]
