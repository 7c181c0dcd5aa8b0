"""Which addons a command means, and what is known of them.

A Byway that runs knows best: its configuration is the one beside which addons lie, and it knows which of them run.
Without one their files are read, and no code of theirs is run here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.cli.command import Invocation
from proxy.cli.exit_codes import Misused, NotRunning
from proxy.control.version import VERSION
from proxy.model.errors import ConfigError

if TYPE_CHECKING:
    from proxy.extend.loading.addon import AddonFile

Document = dict[str, Any]


def for_running_config(call: Invocation) -> Invocation:
    """The command as for the configuration of the Byway that runs, beside which its addons lie; unless another one is
    named."""
    running = running_byway(call) if call.flags.config is None else None
    used = None if running is None else running.get("/v1/config")["path"]
    return call if used is None else replace(call, flags=replace(call.flags, config=Path(used)))


def running_byway(call: Invocation) -> Any:
    """The client of the running Byway; None when none runs."""
    try:
        return call.client()
    except NotRunning:
        return None


def _find_addons(call: Invocation) -> Sequence[AddonFile]:
    from proxy.cli.offline import read_configuration
    from proxy.extend.loading.loader import find

    return find(call.paths.addons_dir, read_configuration(call.paths).settings.addons)


def by_name(call: Invocation, name: str) -> AddonFile:
    from proxy.config.suggestions import quoted, suggestion

    found = {it.name: it for it in _find_addons(call)}
    if name not in found:
        raise Misused(f"unknown addon {quoted(name)}{suggestion(name, found)}")
    return found[name]


def select_files(call: Invocation, names: Sequence[str]) -> list[Path]:
    """The files of the named addons; of all enabled ones without a name. Raises ConfigError for files that another
    user could have written; a file that is given by its path is not checked for that."""
    if not names:
        return _loadable([it for it in _find_addons(call) if it.enabled])
    paths = [Path(name) for name in names if name.endswith(".py")]
    return paths + _loadable([by_name(call, name) for name in names if not name.endswith(".py")])


def _loadable(found: Sequence[AddonFile]) -> list[Path]:
    if problems := [it.problem for it in found if it.problem]:
        raise ConfigError(dict.fromkeys(problems))
    return [it.path for it in found]


def check_in_isolation(call: Invocation, file: Path) -> Document:
    """The hooks and options of a file, found in a separate process. Raises ConfigError."""
    from proxy.cli.addons.isolated_run import run_isolated

    return run_isolated("check", file, call.flags)


def list_document(call: Invocation) -> Document:
    """The JSON of `byway addons list`: from the running Byway, else from the files without running them."""
    from proxy.extend.loading.static_scan import scan

    running = running_byway(call)
    rows = _offline(call) if running is None else running.get("/v1/addons")["addons"]
    for row in rows:
        found = scan(Path(row["file"]))
        row |= {
            "about": found.about,
            "hooks": list(row["hooks"] or found.hooks),
            "inspects": list(found.inspects),
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
