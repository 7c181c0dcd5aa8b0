"""`byway config`: the settings in effect and where each came from, whether the files are right, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit
from proxy.control.version import VERSION

group = typer.Typer(help="Configuration: show, check, and where it lies.", no_args_is_help=True)


@command(group, "show", example="byway config show --plain")
def show(call: Invocation) -> Exit | None:
    """Show every setting as the file and the environment have it. Passwords are never shown."""
    from proxy.cli.offline import read_configuration
    from proxy.control import documents

    loaded = read_configuration(call.paths)
    settings = documents.settings(loaded.settings)
    if call.output.as_json:
        path = None if loaded.path is None else str(loaded.path)
        call.output.document(documents.versioned(path=path, settings=settings, sources=dict(loaded.sources)))
        return None
    rows = [(key, _shown(value), loaded.sources.get(key, "default")) for key, value in _flat(settings)]
    call.output.table(("key", "value", "from"), rows)
    for notice in loaded.notices:
        call.output.hint(notice)
    return None


@command(group, "check", example="byway config check --config ./config.toml")
def check(call: Invocation) -> Exit | None:
    """Check the configuration, its lists and its rules; every fault is shown. Exit code 7 when there are some."""
    from proxy.cli.offline import make_setup

    setup = make_setup(call.paths)
    loaded, rules = setup.loaded, setup.router.rules
    notices = [*loaded.notices, *rules.notices]
    if call.output.as_json:
        path = None if loaded.path is None else str(loaded.path)
        call.output.document({"version": VERSION, "path": path, "rules": len(rules), "notices": notices})
        return None
    for notice in notices:
        call.output.hint(notice)
    if loaded.path is None:
        call.output.line(f"{call.paths.config_file}: there is no such file, so everything has its default")
    else:
        call.output.line(f"{loaded.path}: no fault")
    return None


@command(group, "path", example="byway config path")
def path(call: Invocation) -> Exit | None:
    """Say where the configuration, the rules, the state and the log lie."""
    paths = call.paths
    places = {
        "config": paths.config_file,
        "rules": paths.rules_file,
        "addons": paths.addons_dir,
        "state": paths.state_dir,
        "log": paths.store_file,
        "control": paths.control_socket,
    }
    if call.output.as_json:
        call.output.document({"version": VERSION, **{name: str(place) for name, place in places.items()}})
        return None
    call.output.table(("what", "path"), [(name, str(place)) for name, place in places.items()])
    return None


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted keys, those in arrays of tables by their number."""
    if isinstance(value, Mapping) and (value or not key):
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        for number, part in enumerate(value):
            yield from _flat(part, f"{key}.{number}")
    else:
        yield key, value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value in (None, {}) else str(value)
