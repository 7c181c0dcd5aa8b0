"""`byway addons`: which there are and whether they run, begin one, check it, try it on what was recorded, and switch it
on. No addon's code runs in this process: a file is tried in one of its own (`proxy.cli.addon_apart`)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.addon_choice import Document, by_name, files_meant, in_use, listed, tried
from proxy.cli.addon_switch import own_file, say_switched, set_enabled, take, write_new
from proxy.cli.addon_told import in_short, show_checked, show_replayed
from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit, Misused
from proxy.cli.log import moment
from proxy.control.version import VERSION
from proxy.errors import ConfigError

group = typer.Typer(help="Addons, rules in Python: list, begin, check, replay, switch on.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The addon: its file's name without `.py`.")]


@command(group, "list", example="byway addons list")
def list_addons(call: Invocation) -> Exit | None:
    """List the addons: yours, and those that ship with Byway, which are off until enabled."""
    told = listed(call)
    if call.output.as_json:
        call.output.document(told)
        return None
    rows = [
        (it["name"], it["state"], "shipped" if it["shipped"] else "yours", in_short(it), it["about"])
        for it in told["addons"]
    ]
    call.output.table(("addon", "state", "whose", "hooks", "about"), rows)
    for it in told["addons"]:
        for problem in filter(None, (*it["problems"], it.get("last_fault"))):
            call.output.hint(problem)
    return None


@command(group, "new", example="byway addons new pin --kind plan")
def new(
    call: Invocation,
    name: _Name,
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="A hook to begin with, or inspect.")] = "plan",
) -> Exit | None:
    """Begin an addon of yours: a small file with comments, which works as it is. A running Byway takes it at once."""
    from proxy.cli.addon_skeletons import KINDS, skeleton
    from proxy.config.words import quoted, suggestion

    if kind not in KINDS:
        raise Misused(f"there is no kind {quoted(kind)}{suggestion(kind, KINDS)}")
    call = in_use(call)
    file = own_file(call, name)
    write_new(file, skeleton(name, kind))
    if call.output.as_json:
        call.output.document({"version": VERSION, "name": name, "file": str(file), "kind": kind})
        return None
    call.output.line(str(file))
    call.output.hint(f"Edit it; then `byway addons check {name}` says whether it fits, and each save takes effect.")
    return None


@command(group, "check", example="byway addons check")
def check(
    call: Invocation,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="FILE|NAME", help="Which; all that are on when left out.")
    ] = None,
) -> Exit | None:
    """Load addons in a process apart and check names, parameters and options. Exit code 7 when something is wrong."""
    call = in_use(call)
    found, problems = list[Document](), list[str]()
    for file in files_meant(call, names or []):
        try:
            found.append({"file": str(file), **tried(call, file)})
        except ConfigError as error:
            problems += error.problems
    if call.output.as_json:
        call.output.document({"version": VERSION, "addons": found, "problems": problems})
    elif found or not problems:
        show_checked(call, found)
    if problems:
        raise ConfigError(problems)
    return None


@command(group, "replay", example="byway addons replay pin.py --since 7d")
def replay(
    call: Invocation,
    file: Annotated[str, typer.Argument(metavar="FILE|NAME", help="The addon, edited; the file has its name.")],
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="What was recorded since then: 12h, 7d or a date.")
    ] = "7d",
) -> Exit | None:
    """Try an edited addon on what the log holds, and show which decisions would change.

    Its admit, plan and signal are asked again, in the order and with the clock of that time, and attempt and outcome
    are told. The other addons that are on take part. Nothing reaches the network.
    """
    from proxy.cli.addon_apart import try_apart

    call = in_use(call)
    (meant,) = files_meant(call, [file])
    told = try_apart("replay", meant, call.flags, since=moment(since, now=time.time()))
    if call.output.as_json:
        call.output.document({"version": VERSION, **told})
        return None
    show_replayed(call, told)
    return None


@command(group, "enable", example="byway addons enable notify")
def enable(
    call: Invocation,
    which: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="An addon by name; or a file, which is copied to your addons.")
    ],
) -> Exit | None:
    """Switch an addon on, when it fits. A file, of Byway's hooks or mitmproxy's, is copied to your addons first."""
    call = in_use(call)
    file = Path(which)
    if which.endswith(".py") or file.parent != Path("."):
        take(call, file)
        return None
    meant = by_name(call, which)
    if meant.problem:
        raise ConfigError(meant.problem)
    tried(call, meant.path)
    set_enabled(call, which, True)
    say_switched(call, which, True, meant.path)
    return None


@command(group, "disable", example="byway addons disable notify")
def disable(call: Invocation, name: _Name) -> Exit | None:
    """Switch an addon off. Its file and its options stay."""
    call = in_use(call)
    meant = by_name(call, name)
    set_enabled(call, name, False)
    say_switched(call, name, False, meant.path)
    return None


@command(group, "docs", example="byway addons docs plan")
def docs(
    call: Invocation,
    hook: Annotated[str | None, typer.Argument(metavar="HOOK", help="Which hook; all when left out.")] = None,
) -> Exit | None:
    """Say what each hook gets, when it runs, and what it may answer."""
    from proxy.config.words import quoted, suggestion
    from proxy.extend.hooks import HOOKS

    if hook is not None and hook not in HOOKS:
        raise Misused(f"there is no hook {quoted(hook)}{suggestion(hook, HOOKS)}")
    shown = [it for name, it in HOOKS.items() if hook in (None, name)]
    if call.output.as_json:
        told = [
            {
                "name": it.name,
                "parameters": list(it.parameters),
                "may_be_async": it.may_be_async,
                "waited_for": it.waited_for,
                "doc": it.doc,
            }
            for it in shown
        ]
        call.output.document({"version": VERSION, "hooks": told})
        return None
    for number, it in enumerate(shown):
        call.output.line(f"{chr(10) if number else ''}def {it.name}({', '.join(('self', *it.parameters))})")
        for line in it.doc.split("\n"):
            call.output.line(f"    {line}")
    return None


@command(group, "path", example="byway addons path")
def path(call: Invocation) -> Exit | None:
    """Say where your addons lie, and where those that ship with Byway do."""
    from proxy.config.bundled import bundled_folder

    call = in_use(call)
    shipped = bundled_folder("addons")
    if call.output.as_json:
        told = {
            "version": VERSION,
            "yours": str(call.paths.addons_dir),
            "shipped": None if shipped is None else str(shipped),
        }
        call.output.document(told)
        return None
    call.output.line(str(call.paths.addons_dir))
    if shipped is not None:
        call.output.hint(f"Those that ship with Byway, to read and to copy: {shipped}")
    return None
