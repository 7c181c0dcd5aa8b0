"""`byway addons`: which there are and whether they run, begin one, check it, try it on what was recorded, and switch it
on. No addon's code runs in this process: a file is tried in one of its own (`proxy.cli.addon_apart`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit, Misused, NotRunning
from proxy.cli.log import moment
from proxy.cli.output import clock
from proxy.errors import BywayError, ConfigError
from proxy.model import Destination

if TYPE_CHECKING:
    from proxy.extend.addon import AddonFile

group = typer.Typer(help="Addons, rules in Python: list, begin, check, replay, switch on.", no_args_is_help=True)

Document = dict[str, Any]

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The addon: its file's name without `.py`.")]


@command(group, "list", example="byway addons list")
def list_addons(call: Invocation) -> Exit | None:
    """List the addons: yours, and those that ship with Byway, which are off until enabled."""
    told = _listed(call)
    if call.output.as_json:
        call.output.document(told)
        return None
    rows = [
        (it["name"], it["state"], "shipped" if it["shipped"] else "yours", _in_short(it), it["about"])
        for it in told["addons"]
    ]
    call.output.table(("addon", "state", "whose", "hooks", "about"), rows)
    for it in told["addons"]:
        for problem in it["problems"]:
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
    file = _own_file(call, name)
    _write_new(file, skeleton(name, kind))
    if call.output.as_json:
        call.output.document({"version": 1, "name": name, "file": str(file), "kind": kind})
        return None
    call.output.line(str(file))
    call.output.hint(f"Edit it; then `byway addons check {name}` says whether it fits, and each save takes effect.")
    return None


@command(group, "check", example="byway addons check")
def check(
    call: Invocation,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|NAME…]", help="Which; all that are on when left out.")
    ] = None,
) -> Exit | None:
    """Load addons in a process apart and check names, parameters and options. Exit code 7 when something is wrong."""
    found, problems = list[Document](), list[str]()
    for file in _meant(call, names or []):
        try:
            found.append({"file": str(file), **_tried(call, file)})
        except ConfigError as error:
            problems += error.problems
    if call.output.as_json:
        call.output.document({"version": 1, "addons": found, "problems": problems})
    elif found or not problems:
        _show_checked(call, found)
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

    (meant,) = _meant(call, [file])
    told = try_apart("replay", meant, call.flags, since=moment(since, now=time.time()))
    if call.output.as_json:
        call.output.document({"version": 1, **told})
        return None
    _show_replayed(call, told)
    return None


@command(group, "enable", example="byway addons enable notify")
def enable(
    call: Invocation,
    which: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="An addon by name; or a file, which is copied to your addons.")
    ],
) -> Exit | None:
    """Switch an addon on, when it fits. A file, of Byway's hooks or mitmproxy's, is copied to your addons first."""
    file = Path(which)
    if which.endswith(".py") or file.parent != Path("."):
        _take(call, file)
        return None
    meant = _by_name(call, which)
    if meant.problem:
        raise ConfigError(meant.problem)
    _tried(call, meant.path)
    _set_enabled(call, which, True)
    _say_switched(call, which, True, meant.path)
    return None


@command(group, "disable", example="byway addons disable notify")
def disable(call: Invocation, name: _Name) -> Exit | None:
    """Switch an addon off. Its file and its options stay."""
    meant = _by_name(call, name)
    _set_enabled(call, name, False)
    _say_switched(call, name, False, meant.path)
    return None


@command(group, "docs", example="byway addons docs plan")
def docs(
    call: Invocation,
    hook: Annotated[str | None, typer.Argument(metavar="[HOOK]", help="Which hook; all when left out.")] = None,
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
        call.output.document({"version": 1, "hooks": told})
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

    shipped = bundled_folder("addons")
    if call.output.as_json:
        told = {"version": 1, "yours": str(call.paths.addons_dir), "shipped": None if shipped is None else str(shipped)}
        call.output.document(told)
        return None
    call.output.line(str(call.paths.addons_dir))
    if shipped is not None:
        call.output.hint(f"Those that ship with Byway, to read and to copy: {shipped}")
    return None


# -- which are meant ---------------------------------------------------------------------------------------------------


def _found(call: Invocation) -> Sequence[AddonFile]:
    from proxy.cli.offline import read_configuration
    from proxy.extend.loader import find

    return find(call.paths.addons_dir, read_configuration(call.paths).settings.addons)


def _by_name(call: Invocation, name: str) -> AddonFile:
    from proxy.config.words import quoted, suggestion

    found = {it.name: it for it in _found(call)}
    if name not in found:
        raise Misused(f"there is no addon {quoted(name)}{suggestion(name, found)}")
    return found[name]


def _meant(call: Invocation, names: Sequence[str]) -> list[Path]:
    """The files to try, all that are on when none is named. Raises ConfigError for those that may not be loaded at all:
    somebody else may have written them. A file that is given by its path is the user's to judge."""
    if not names:
        return _loadable([it for it in _found(call) if it.enabled])
    paths = [Path(name) for name in names if name.endswith(".py")]
    return paths + _loadable([_by_name(call, name) for name in names if not name.endswith(".py")])


def _loadable(found: Sequence[AddonFile]) -> list[Path]:
    if problems := [it.problem for it in found if it.problem]:
        raise ConfigError(dict.fromkeys(problems))
    return [it.path for it in found]


def _tried(call: Invocation, file: Path) -> Document:
    """What it has, found out in a process apart. Raises ConfigError."""
    from proxy.cli.addon_apart import try_apart

    return try_apart("check", file, call.flags)


def _show_checked(call: Invocation, found: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for it in found:
        rows.append((it["name"], _in_short(it), " ".join(option["name"] for option in it["options"]), it["file"]))
        if not (it["hooks"] or it["inspects"]):
            call.output.hint(f"{it['file']}: has no hook, so it does nothing; `byway addons docs` lists them")
    call.output.table(("addon", "hooks", "options", "file"), rows, empty="No addon is on.")


def _in_short(addon: Mapping[str, Any]) -> str:
    """Its hooks; that it starts and stops says nothing of what it does."""
    hooks = [name for name in addon["hooks"] if name not in ("start", "stop")]
    return " ".join([*hooks, *(f"mitmproxy:{name}" for name in addon["inspects"])])


def _show_replayed(call: Invocation, told: Document) -> None:
    rows = [
        (clock(it["at"]), str(Destination(it["host"], it["port"])), _in_words(it["was"]), _in_words(it["would_be"]))
        for kind in ("decisions", "weighings")
        for it in told[kind]
    ]
    call.output.table(("at", "site", "was", "would be"), rows)
    call.output.hint(
        f"{len(told['decisions'])} of {told['connections']} decisions would change, and what"
        f" {len(told['weighings'])} failures count for; {told['signals']} signs of blocking were gone over."
    )
    for sentence in (*told["faults"], *told["notes"], *_not_replayed(told["left_out"])):
        call.output.hint(sentence)


def _in_words(decided: Any) -> str:
    """A plan, or what addons made of signals."""
    if isinstance(decided, list):
        return "; ".join(decided) or "left as it is"
    routes = " → ".join(decided["routes"])
    return " ".join(filter(None, (decided["action"], routes, "INSPECT" if decided["intercept"] else "")))


def _not_replayed(left_out: Document) -> Iterator[str]:
    """What of the time is missing, a sentence each."""
    yield "Not kept: who asked, and what plain HTTP requests asked for; `GET /` stands in."
    sentences = {
        "unnamed": "about {} connections that went direct; `[log] hosts` keeps them as counts only",
        "older": "{} connections that an earlier Byway wrote down without their plan",
        "senseless": "{} lines of the log that are damaged",
        "guarded": "{} requests that the address guard refused; no addon is asked about these",
        "signals": "{} signs whose weight depends on other sites",
    }
    for name, sentence in sentences.items():
        if left_out[name]:
            yield f"Not replayed: {sentence.format(f'{left_out[name]:,}')}."
    if left_out["cut"]:
        yield "Not replayed: the older part of the time; there are too many connections for one replay."


# -- what a list says --------------------------------------------------------------------------------------------------


def _listed(call: Invocation) -> Document:
    """What a running Byway has of each file, else what the files say; and what each says of itself."""
    from proxy.extend.glance import glance

    running = _running(call)
    rows = _offline(call) if running is None else running.get("/v1/addons")["addons"]
    for row in rows:
        seen = glance(Path(row["file"]))
        row |= {"about": seen.about, "hooks": list(row["hooks"] or seen.hooks), "inspects": list(seen.inspects)}
    return {"version": 1, "running": running is not None, "addons": rows}


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
        for it in _found(call)
    ]


# -- changing ----------------------------------------------------------------------------------------------------------


def _own_file(call: Invocation, name: str) -> Path:
    """Where an addon of that name of the user's lies."""
    from proxy.config.words import quoted
    from proxy.extend.loader import NAME

    if not NAME.fullmatch(name):
        raise Misused(f"{quoted(name)} is no name for an addon: letters, digits, _ and -, beginning with a letter")
    return call.paths.addons_dir / f"{name}.py"


def _write_new(file: Path, text: str | bytes) -> None:
    """Never in the place of another. The folder is made for the user alone, since what lies in it is run."""
    import os

    from proxy.config.files import shown
    from proxy.config.paths import make_folder, write_private

    try:
        make_folder(file.parent)
    except OSError as error:
        raise BywayError(f"{shown(file.parent)} cannot be made: {(error.strerror or str(error)).lower()}") from None
    if os.path.lexists(file):
        raise Misused(f"{shown(file)} exists already; choose another name, or edit that one")
    write_private(file, text)


def _take(call: Invocation, file: Path) -> None:
    """Copies a file to the user's addons, when it fits."""
    from proxy.config.files import read_bytes, shown
    from proxy.extend.loader import FILE_LIMIT

    name = file.stem
    kept = _own_file(call, name)
    content = read_bytes(file, limit=FILE_LIMIT)
    _tried(call, file)
    if not (kept.exists() and kept.read_bytes() == content):
        _write_new(kept, content)
    call.output.hint(f"{shown(file)} was copied; edit the copy from now on.")
    _set_enabled(call, name, True)
    _say_switched(call, name, True, kept)


def _set_enabled(call: Invocation, name: str, enabled: bool) -> None:
    """Writes it down where that changes anything, and lets a running Byway know."""
    from proxy.cli.configure import set_addon

    running = _running(call)
    file = call.paths.config_file
    if running is not None and call.flags.config is None and (used := running.get("/v1/config")["path"]) is not None:
        file = Path(used)
    if set_addon(file, name, enabled) and running is not None:
        answer = running.post("/v1/reload", {})
        if answer["problems"]:
            call.output.hint(f"It is written to {file}, but the running byway could not take it:")
            raise ConfigError(answer["problems"])


def _running(call: Invocation) -> Any:
    try:
        return call.client()
    except NotRunning:
        return None


def _say_switched(call: Invocation, name: str, enabled: bool, file: Path) -> None:
    if call.output.as_json:
        call.output.document({"version": 1, "name": name, "enabled": enabled, "file": str(file)})
        return
    call.output.line(f"{name}  {'on' if enabled else 'off'}  {file}")
