"""The manual page byway(1), made from the commands: `byway help --man`.

The wheel contains a copy of it (docs/byway.1); a test compares the two. The format is roff with the macros of man(7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from typer.core import TyperGroup
from typer.main import get_command

from proxy import __version__
from proxy.terminal.exit_codes import Exit
from proxy.terminal.help import COMMON_FLAGS

if TYPE_CHECKING:
    import typer
    from typer import _click as click

_EXIT_CODES: Mapping[Exit, str] = {
    Exit.DONE: "Done.",
    Exit.FAILED: "It cannot run (a port or the state folder is in use), or an unexpected error.",
    Exit.USAGE: "Wrong arguments.",
    Exit.NOT_RUNNING: "No Byway is running.",
    Exit.NOT_ALLOWED: "The running Byway belongs to another user, or an administrator is needed.",
    Exit.BAD: "Checked, and the answer is bad: a site is blocked, a relay fails.",
    Exit.NO_NETWORK: "No network, or a captive portal: it says nothing about sites.",
    Exit.CONFIG: "An error in the configuration, a rule, a list or an addon; file and line are on standard error.",
    Exit.INTERRUPTED: "Interrupted; partial results are kept.",
}

_FILES: Mapping[str, str] = {
    "~/.config/byway/config.toml": "The configuration; every key has a default. Another one: --config, BYWAY_CONFIG.",
    "~/.config/byway/rules.txt": "The rules; the first that matches decides.",
    "~/.config/byway/addons/": "Your addons, in Python.",
    "~/.local/state/byway/": "The log and what Byway learned, for you alone. Another one: --state, BYWAY_STATE.",
}

_ENVIRONMENT: Mapping[str, str] = {
    "BYWAY_CONFIG, BYWAY_STATE": "The configuration file and the state folder.",
    "BYWAY_SECTION__KEY": "A setting, such as BYWAY_LISTEN__PORT; stronger than the file, weaker than a flag.",
    "NO_COLOR": "No colours.",
}


def manual(app: typer.Typer) -> str:
    """Returns the page, which ends with a newline."""
    from typer._click import Context  # with the rest of the parser, which the command has loaded

    root = get_command(app)
    assert isinstance(root, TyperGroup)
    context = Context(root, info_name="byway")
    lines = [
        f'.TH BYWAY 1 "" "byway {__version__}" "User commands"',
        ".nh",
        ".ad l",
        ".SH NAME",
        r"byway \- a local proxy that goes around blocked sites",
        ".SH SYNOPSIS",
        "byway [OPTIONS] COMMAND ...",
        ".SH DESCRIPTION",
        *_text(root.help or ""),
        *_text("The browser is set to it once. Blocked sites go through your own relays, everything else goes direct."),
        *_text(root.epilog or ""),
        ".SH COMMANDS",
        *(line for path, command, inner in _commands(root, context) for line in _command(path, command, inner)),
        ".SH COMMON OPTIONS",
        *_options(root, context, common=True),
    ]
    for title, table in (("FILES", _FILES), ("ENVIRONMENT", _ENVIRONMENT)):
        lines += [f".SH {title}", *(line for item in table.items() for line in _item(*item))]
    lines += [".SH EXIT STATUS", *(line for code in Exit for line in _item(str(int(code)), _EXIT_CODES[code]))]
    return "\n".join(lines) + "\n"


def _commands(group: TyperGroup, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yields each command that can be run: its path, the command and its context."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = type(context)(command, info_name=name, parent=context)
        if not isinstance(command, TyperGroup) or command.invoke_without_command:
            yield inner.command_path, command, inner
        if isinstance(command, TyperGroup):
            yield from _commands(command, inner)


def _command(path: str, command: click.Command, context: click.Context) -> Iterator[str]:
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f'.SS "{_escaped(" ".join([path, *pieces]))}"'
    yield from _text(command.help or "")
    yield from _options(command, context, common=False)
    if command.epilog:
        yield ".PP"
        yield from _text(command.epilog)


def _options(command: click.Command, context: click.Context, *, common: bool) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and (parameter.name in COMMON_FLAGS) is common:
            yield from _item(record[0], record[1].replace("  [required]", ""))


def _item(term: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_escaped(term)}"
    yield from _text(text)


def _text(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.replace("`", "").strip())):
        if number:
            yield ".PP"
        line = _escaped(" ".join(paragraph.split()))
        if line:
            yield rf"\&{line}" if line.startswith((".", "'")) else line


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")
    return "".join(char if char.isascii() else rf"\[u{ord(char):04X}]" for char in text)
