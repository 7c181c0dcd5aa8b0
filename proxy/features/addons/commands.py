"""`byway addons`: lists, creates, checks, replays, enables and disables addons.

No addon's code runs in this process: a file is tried in a separate one (`isolated_run`).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated

import typer

from proxy.features.addons.install import copy_and_enable, own_file, print_state, set_enabled, use_addon, write_new
from proxy.features.addons.lookup import (
    by_name,
    check_files,
    check_in_isolation,
    for_running_config,
    list_document,
    select_files,
)
from proxy.features.addons.output import hooks_in_short, show_checked, show_replayed
from proxy.model.document_version import VERSION
from proxy.model.errors import ConfigError
from proxy.terminal.command import Invocation, command
from proxy.terminal.completion import paths_typed, starting
from proxy.terminal.exit_codes import Exit, Misused
from proxy.terminal.in_use import hint_in_use
from proxy.terminal.options import moment, since_option

group = typer.Typer(help="Addons: rules written in Python.", no_args_is_help=True)


def complete_addons(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the names of the user's addons and of the shipped ones."""
    names: list[str] = []
    with contextlib.suppress(Exception):
        from proxy.config.bundled import bundled_folder

        for folder in (paths_typed(ctx).addons_dir, bundled_folder("addons")):
            if folder is not None:
                names += [file.stem for file in sorted(folder.glob("*.py"))]
    return starting(names, incomplete)


def complete_hooks(incomplete: str) -> list[str]:
    from proxy.extend.hooks import HOOKS

    return starting(HOOKS, incomplete)


def complete_kinds(incomplete: str) -> list[str]:
    from proxy.features.addons.skeletons import KINDS

    return starting(KINDS, incomplete)


_Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Addon: its file name without `.py`.", autocompletion=complete_addons),
]


@command(group, "list", example="byway addons list")
def list_addons(call: Invocation) -> Exit | None:
    """List your addons and those that ship with Byway."""
    document = list_document(call)
    if call.output.as_json:
        call.output.document(document)
        return None
    rows = [
        (it["name"], it["state"], "shipped" if it["shipped"] else "yours", hooks_in_short(it), it["about"])
        for it in document["addons"]
    ]
    call.output.table(("addon", "state", "origin", "hooks", "about"), rows, empty="There are no addons.")
    for it in document["addons"]:
        for problem in filter(None, (*it["problems"], it.get("last_fault"))):
            call.output.hint(problem)
    return None


@command(group, "new", example="byway addons new pin --kind plan")
def new(
    call: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new addon.")],
    kind: Annotated[
        str,
        typer.Option("--kind", metavar="KIND", help="A hook, or inspect.", autocompletion=complete_kinds),
    ] = "plan",
) -> Exit | None:
    """Create an addon from a template. A running Byway runs it at once."""
    from proxy.config.suggestions import quoted, suggestion
    from proxy.features.addons.skeletons import KINDS, skeleton

    if kind not in KINDS:
        raise Misused(f"unknown kind {quoted(kind)}{suggestion(kind, KINDS)}")
    call = for_running_config(call)
    file = own_file(call, name)
    write_new(file, skeleton(name, kind))
    running = use_addon(call, name)
    if call.output.as_json:
        call.output.document({"version": VERSION, "name": name, "file": str(file), "kind": kind, "running": running})
        return None
    call.output.line(str(file))
    hint_in_use(call, running)
    call.output.hint(f"Edit it and run `byway addons check {name}`. Each save takes effect.")
    return None


@command(group, "check", example="byway addons check")
def check(
    call: Invocation,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|NAME", help="Addons to check (default: all enabled ones).", autocompletion=complete_addons
        ),
    ] = None,
) -> Exit | None:
    """Check hooks, parameters and options of addons.

    They are loaded in a separate process. Exit code 7: an addon has an error."""
    call = for_running_config(call)
    checked, problems = check_files(call, select_files(call, names or []))
    if call.output.as_json:
        call.output.document({"version": VERSION, "addons": checked, "problems": problems})
    elif checked or not problems:
        show_checked(call, checked)
    if problems:
        raise ConfigError(problems)
    return None


@command(group, "replay", example="byway addons replay pin.py --since 7d")
def replay(
    call: Invocation,
    file: Annotated[str, typer.Argument(metavar="FILE|NAME", help="The edited addon.", autocompletion=complete_addons)],
    since: Annotated[str, since_option("12h, 7d")] = "7d",
) -> Exit | None:
    """Replay the log with an edited addon and show what would change.

    The hooks admit, plan and signal are called again in the order and with the clock of that time; attempt and outcome
    are called with what happened. The other enabled addons take part. Nothing reaches the network.
    """
    from proxy.features.addons.isolated_run import run_isolated

    call = for_running_config(call)
    (chosen,) = select_files(call, [file])
    document = run_isolated("replay", chosen, call.flags, since=moment(since, now=time.time()))
    if call.output.as_json:
        call.output.document({"version": VERSION, **document})
        return None
    show_replayed(call, document)
    return None


@command(group, "enable", example="byway addons enable notify")
def enable(
    call: Invocation,
    which: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="An addon, or a file to copy to your addons.", autocompletion=complete_addons
        ),
    ],
) -> Exit | None:
    """Enable an addon if it passes the check.

    A file with hooks of Byway or mitmproxy is copied to your addons first."""
    call = for_running_config(call)
    file = Path(which)
    if which.endswith(".py") or file.parent != Path("."):
        copy_and_enable(call, file)
        return None
    chosen = by_name(call, which)
    if chosen.problem:
        raise ConfigError(chosen.problem)
    check_in_isolation(call, chosen.path)
    running = set_enabled(call, which, True)
    print_state(call, which, True, chosen.path, running=running)
    return None


@command(group, "disable", example="byway addons disable notify")
def disable(call: Invocation, name: _Name) -> Exit | None:
    """Disable an addon. Its file and options are kept."""
    call = for_running_config(call)
    chosen = by_name(call, name)
    running = set_enabled(call, name, False)
    print_state(call, name, False, chosen.path, running=running)
    return None


@command(group, "docs", example="byway addons docs plan")
def docs(
    call: Invocation,
    hook: Annotated[
        str | None, typer.Argument(metavar="HOOK", help="Default: all hooks.", autocompletion=complete_hooks)
    ] = None,
) -> Exit | None:
    """Show what each hook receives, when it runs and what it may return."""
    from proxy.config.suggestions import quoted, suggestion
    from proxy.extend.hooks import HOOKS

    if hook is not None and hook not in HOOKS:
        raise Misused(f"unknown hook {quoted(hook)}{suggestion(hook, HOOKS)}")
    hooks = [it for name, it in HOOKS.items() if hook in (None, name)]
    if call.output.as_json:
        document = [
            {
                "name": it.name,
                "parameters": list(it.parameters),
                "may_be_async": it.may_be_async,
                "waited_for": it.waited_for,
                "doc": it.doc,
            }
            for it in hooks
        ]
        call.output.document({"version": VERSION, "hooks": document})
        return None
    for number, it in enumerate(hooks):
        call.output.line(f"{chr(10) if number else ''}def {it.name}({', '.join(('self', *it.parameters))})")
        for line in _paragraphs(it.doc) if call.output.fancy else it.doc.split("\n"):
            call.output.line(f"    {line}".rstrip())
    return None


@command(group, "path", example="byway addons path")
def path(call: Invocation) -> Exit | None:
    """Show the folders of your addons and of those that ship with Byway."""
    from proxy.config.bundled import bundled_folder

    call = for_running_config(call)
    shipped = bundled_folder("addons")
    if call.output.as_json:
        document = {
            "version": VERSION,
            "yours": str(call.paths.addons_dir),
            "shipped": None if shipped is None else str(shipped),
        }
        call.output.document(document)
        return None
    call.output.line(str(call.paths.addons_dir))
    if shipped is not None:
        call.output.hint(f"Addons that ship with Byway: {shipped}")
    return None


def _paragraphs(text: str) -> list[str]:
    """Returns a line for each paragraph, so that the width of the terminal decides where it is wrapped, with an empty
    line between two."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(paragraphs).split("\n")
