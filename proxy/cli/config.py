"""`byway config`: the settings in effect and where each came from, whether the files are right, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exit_codes import Exit
from proxy.cli.help import Group
from proxy.control.version import VERSION

group = typer.Typer(help="Configuration: show, check, locate.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="config", cls=Group)


@command(group, "show", example="byway config show --all")
def show(
    call: Invocation,
    everything: Annotated[bool, typer.Option("--all", help="Show all settings, not only changed ones.")] = False,
) -> Exit | None:
    """Show the settings that differ from the defaults.

    They are those of the file and the environment. Passwords are never shown. With --json all settings are shown."""
    from proxy.cli.offline import read_configuration
    from proxy.config.schema import Settings
    from proxy.control import serialize

    loaded = read_configuration(call.paths)
    settings = serialize.settings(loaded.settings)
    if call.output.as_json:
        path = None if loaded.path is None else str(loaded.path)
        call.output.document(serialize.versioned(path=path, settings=settings, sources=dict(loaded.sources)))
        return None
    defaults = dict(_flat(serialize.settings(Settings())))
    rows = [(key, value, _source(key, loaded.sources)) for key, value in _flat(settings)]
    changed = [(key, value, source) for key, value, source in rows if source and defaults.get(key) != value]
    shown = rows if everything else changed
    call.output.table(
        ("key", "value", "from"),
        [(key, _shown(value), source or "default") for key, value, source in shown],
        empty="All settings have their defaults.",
    )
    if not everything and call.output.fancy:
        call.output.hint(f"{len(rows) - len(changed)} more settings have their defaults: `byway config show --all`.")
    for notice in loaded.notices:
        call.output.hint(notice)
    return None


@command(group, "check", example="byway config check --config ./config.toml")
def check(call: Invocation) -> Exit | None:
    """Check the configuration, its lists and rules.

    Every error is shown with its file and line. Exit code 7: there are errors."""
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
        call.output.line(f"{call.paths.config_file}: no such file; all settings have their defaults")
    else:
        call.output.line(f"{loaded.path}: no errors")
    return None


@command(group, "path", example="byway config path")
def path(call: Invocation) -> Exit | None:
    """Show the paths of the configuration, rules, state and log."""
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


def _source(key: str, sources: Mapping[str, str]) -> str:
    """Where a setting, or the table that it stands in, came from; empty for a default."""
    while key:
        if key in sources:
            return sources[key]
        key = key.rpartition(".")[0]
    return ""


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
        return ", ".join(map(_shown, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value in (None, {}) else str(value)
