"""`byway config`: shows the settings in effect with their sources, checks and locates the files, sets single settings,
and exports and imports everything."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.model.document_version import VERSION
from proxy.model.errors import BywayError
from proxy.terminal.command import Invocation, command
from proxy.terminal.completion import complete_settings
from proxy.terminal.exit_codes import Misused, as_misuse
from proxy.terminal.in_use import edited_configuration, hint_in_use, hint_saved, take_into_use
from proxy.terminal.terminal import confirm

if TYPE_CHECKING:
    from proxy.config.edit import Value
    from proxy.config.one_setting import OneSetting

group = typer.Typer(help="Configuration: show, set, unset, check, locate, export, import.", no_args_is_help=True)


@command(group, "show", example="byway config show --all")
def show(
    call: Invocation,
    everything: Annotated[bool, typer.Option("--all", help="Show all settings, not only changed ones.")] = False,
) -> None:
    """Show the settings that differ from the defaults.

    They are those of the file and the environment. Passwords are never shown. With --json all settings are shown."""
    from proxy.config.schema import Settings
    from proxy.features.settings.answers import settings_json
    from proxy.model.document import versioned
    from proxy.terminal.offline import read_configuration

    loaded = read_configuration(call.paths)
    settings = settings_json(loaded.settings)
    if call.output.as_json:
        path = None if loaded.path is None else str(loaded.path)
        call.output.document(versioned(path=path, settings=settings, sources=dict(loaded.sources)))
        return
    defaults = dict(_flat(settings_json(Settings())))
    rows = [(key, value, _source(key, loaded.sources)) for key, value in _flat(settings)]
    changed = [(key, value, source) for key, value, source in rows if source and defaults.get(key) != value]
    call.output.table(
        ("key", "value", "from"),
        [(key, _shown(value), source or "default") for key, value, source in (rows if everything else changed)],
        empty="All settings have their defaults.",
    )
    if not everything and call.output.fancy:
        call.output.hint(f"{len(rows) - len(changed)} more settings have their defaults: `byway config show --all`.")
    call.output.hint(*loaded.notices, *loaded.unused(call.features))


Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="Name as `byway config show --all` has it: log.keep_days.", autocompletion=complete_settings
    ),
]


@command(group, "set", example="byway config set log.keep_days 3")
def set_value(
    call: Invocation,
    key: Key,
    values: Annotated[
        list[str], typer.Argument(metavar="VALUE", help="The value; an array takes several: lan corp, or lan,corp.")
    ],
) -> None:
    """Set one setting in the configuration file. A running Byway uses it at once.

    Everything else in the file stays as it is, with its comments."""
    from proxy.config.one_setting import find_setting, read_value

    with as_misuse():
        setting = find_setting(key)
        value = read_value(setting, values)
    _change(call, setting, value)


@command(group, "unset", example="byway config unset log.keep_days")
def unset(call: Invocation, key: Key) -> None:
    """Remove one setting from the configuration file, so that it has its default. A running Byway uses it at once."""
    from proxy.config.one_setting import find_setting

    with as_misuse():
        setting = find_setting(key)
    _change(call, setting, None)


def _change(call: Invocation, setting: OneSetting, value: Value | None) -> None:
    """Sets a setting in the file (None: removes it), reloads the running Byway, and prints the value in effect."""
    from proxy.config.edit import change_settings
    from proxy.features.settings.answers import settings_json
    from proxy.terminal.offline import read_configuration

    paths, client = edited_configuration(call)
    changed = change_settings(paths.config_file, {(setting.table, setting.key): value})
    running = take_into_use(call, client, paths.config_file)
    loaded = read_configuration(paths)
    in_file = _at(settings_json(loaded.settings), setting)
    in_use = _at(client.get("/v1/config")["settings"], setting) if running and client is not None else in_file
    if call.output.answered(
        {"version": VERSION, "key": setting.name, "value": in_use, "changed": changed, "running": running}
    ):
        return
    is_default = value is None and in_use == in_file
    text = "(removed)" if in_file is None else _shown(in_file) or "(empty)"
    call.output.line(f"{setting.name} = {text}{' (default)' if is_default and in_file is not None else ''}")
    if changed:
        hint_saved(call, paths, running=running)
    else:
        call.output.hint(f"Nothing had to change in {paths.config_file}")
    source = loaded.sources.get(setting.name, "")
    if source.startswith("environment"):
        call.output.hint(f"Warning: {source} is stronger than the file.")
    elif in_use != in_file:
        call.output.hint(f"Warning: the running Byway uses {_shown(in_use)}: its command line or environment says so.")
    if changed and running and setting.needs_restart:
        call.output.hint("It takes effect after `byway restart`.")


def _at(settings: Mapping[str, Any], setting: OneSetting) -> Any:
    """Returns the value of a setting in a document; None: it has none."""
    return settings[setting.table].get(setting.key)


@command(group, "check", example="byway config check --config ./config.toml")
def check(call: Invocation) -> None:
    """Check the configuration, its lists and rules.

    Every error is shown with its file and line, and which program a name in listen.programs stands for. Exit code 7:
    there are errors."""
    from proxy.terminal.offline import make_setup

    setup = make_setup(call.paths, call.features)
    loaded, rules = setup.loaded, setup.router.rules
    notices = [*loaded.notices, *rules.notices]
    programs = {each.text: each.path for each in setup.named.programs} if setup.named is not None else {}
    if call.output.as_json:
        path = None if loaded.path is None else str(loaded.path)
        call.output.document(
            {"version": VERSION, "path": path, "rules": len(rules), "programs": programs, "notices": notices}
        )
        return
    call.output.hint(*notices)
    for text, path in programs.items():
        if path and path != text:
            call.output.line(f"listen.programs: {text} is {path}")
    if loaded.path is None:
        call.output.line(f"{call.paths.config_file}: no such file; all settings have their defaults")
    else:
        call.output.line(f"{loaded.path}: no errors")


@command(group, "path", example="byway config path")
def path(call: Invocation) -> None:
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
    if call.output.answered({"version": VERSION, **{name: str(place) for name, place in places.items()}}):
        return
    call.output.table(("what", "path"), [(name, str(place)) for name, place in places.items()])


@command(group, "export", example="byway config export -o byway-config.toml")
def export(
    call: Invocation,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write (default: standard output).")
    ] = None,
    with_passwords: Annotated[
        bool, typer.Option("--with-passwords", help="Include passwords. Needs -o; only you can read the file.")
    ] = False,
) -> None:
    """Export the configuration, rules, lists and overrides as one text file.

    Passwords are left out unless you ask for them, and addons always. `byway config import` reads the file."""
    from proxy.config.paths import write_private
    from proxy.features.settings.config_file import collect, is_other_file
    from proxy.terminal.overrides import overrides_now

    if with_passwords and output is None:
        raise Misused("--with-passwords needs -o FILE: a terminal or a pipe is no place for passwords")
    if output is not None and is_other_file(output):
        raise Misused(f"{output} exists already and is no export: choose another name")
    made, left_out = collect(call.paths, overrides_now(call), passwords=with_passwords)
    note = "WITH PASSWORDS: keep it as you keep them." if with_passwords else "Without passwords."
    text = made.text(note=note)
    if output is not None:
        write_private(output, text)
    if call.output.as_json:
        files = {name: len(content) for name, content in made.files.items()}
        call.output.document(
            {"version": VERSION, "file": None if output is None else str(output), "files": files,
             "overrides": len(made.overrides), "left_out": left_out, "passwords": with_passwords}
        )  # fmt: skip
    elif output is None:
        call.output.line(text.rstrip("\n"))
    else:
        call.output.line(f"Exported to {output}: {', '.join(made.files)}, {len(made.overrides)} overrides")
    for sentence in left_out:
        call.output.hint(f"{sentence[0].upper()}{sentence[1:]}.")
    if with_passwords:
        call.output.hint(f"Warning: {output} has passwords. Only you can read it.")


@command(group, "import", example="byway config import byway-config.toml")
def import_file(
    call: Invocation,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File made by `byway config export`.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    allow_commands: Annotated[
        bool, typer.Option("--allow-commands", help="With --yes: also import commands and addon settings.")
    ] = False,
) -> None:
    """Import a configuration that `byway config export` made. A running Byway uses it at once.

    All of it is checked first, and you are asked before anything changes. What was there is kept beside the
    configuration, as a file that can be imported again. Overrides that the file does not name stay as they are."""
    from proxy.config.files import read_text
    from proxy.features.settings.config_file import FILE_LIMIT, ConfigFile, apply, check
    from proxy.model.errors import ConfigError
    from proxy.terminal.overrides import overrides_now, set_overrides

    text = read_text(file, limit=FILE_LIMIT)
    try:
        given = ConfigFile.parse(text, str(file))
    except ConfigError:
        call.output.hint(f"For the configuration of another program: `byway import {file}`")
        raise
    paths, client = edited_configuration(call)
    before = overrides_now(call)
    made = check(given, paths, before, str(file), call.features)
    if not call.output.as_json:
        call.output.table(("what", "change"), made.changes)
    for sentence in (*made.notices, *made.review, *made.runs):
        call.output.hint(f"{sentence[0].upper()}{sentence[1:]}.")
    if not yes:
        if not (sys.stdin is not None and sys.stdin.isatty()):
            raise Misused("nothing was imported: without a terminal, check the changes shown and use --yes")
        if not confirm("Import this?"):
            call.output.hint("Nothing was imported.")
            return
    elif made.runs and not allow_commands:
        raise Misused(
            "nothing was imported: with it Byway would run what is shown; to allow that, add --allow-commands"
        )
    backup = apply(made, paths, before)
    try:
        running = take_into_use(call, client, paths.config_file)
    except BywayError:
        call.output.hint(f"What was there is kept in {backup}")
        raise
    set_overrides(paths, call.running(), made.overrides)
    if call.output.as_json:
        changes = [{"what": what, "change": change} for what, change in made.changes]
        call.output.document(
            {"version": VERSION, "changes": changes, "review": made.review, "backup": str(backup), "running": running}
        )
    else:
        call.output.line(f"Imported. What was there is kept in {backup}")
        hint_in_use(call, running)


def _source(key: str, sources: Mapping[str, str]) -> str:
    """Returns the source of a setting, or of a table that contains it; empty for a default."""
    while key:
        if key in sources:
            return sources[key]
        key = key.rpartition(".")[0]
    return ""


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields settings by their dotted keys. In arrays of tables, the number of a table is part of the key."""
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
