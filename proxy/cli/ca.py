"""`byway ca`: the local certificate authority of INSPECT rules, and where it is trusted.

Its key is never shown, printed or exported: there is no command for that. What root alone may do is printed as commands
for the user to run; Byway asks for no password and is not to be run with sudo for this.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit, Misused, NotAllowed, NotRunning
from proxy.cli.output import ago, say
from proxy.control.version import VERSION

if TYPE_CHECKING:
    from proxy.intercept.trust import Result

group = typer.Typer(
    help="The certificate authority of INSPECT rules: show, export, trust, rotate, remove.", no_args_is_help=True
)

_ALL = typer.Option("--all", help="Also other authorities of Byway's: of other state folders, or whose file was lost.")


@command(group, "show", example="byway ca show")
def show(call: Invocation) -> Exit | None:
    """Show the authority and where it is trusted. Nothing is made. Exit code 5 when it is there and cannot be used."""
    from proxy.cli import ca_trust

    told = ca_trust.look(call.paths)
    authority, problem = told["authority"], told["problem"]
    if call.output.as_json:
        call.output.document(told)
        return Exit.BAD if problem else None
    rows: list[tuple[str, str, str]] = []
    if authority is not None:
        rows += [
            ("name", authority["name"], ""),
            ("sha256", authority["sha256"], ""),
            ("sha1", authority["sha1"], ""),
            ("valid from", _day(authority["valid_from"]), ago(authority["valid_from"])),
            ("valid until", _day(authority["valid_until"]), ago(authority["valid_until"])),
            ("file", authority["file"], "the certificate alone"),
        ]
    rows += [row for store in told["stores"] for row in _store_rows(store)]
    call.output.table(("what", "value", "detail"), rows)
    if problem:
        say(f"byway: {problem}")
        return Exit.BAD
    if authority is None:
        call.output.hint(
            "There is no authority yet. `byway ca trust` makes one, or the first INSPECT rule that matches."
        )
    _tell_of_others(call, told["stores"])
    return None


@command(group, "export", example="byway ca export byway-ca.crt")
def export(
    call: Invocation,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="PEM (.pem, .crt), DER (.der, .cer), or - for PEM on standard output.")
    ],
) -> Exit | None:
    """Write the authority's certificate, never its key, for another program or a device to trust. It is made first
    when there is none."""
    from proxy.cli import ca_trust

    if file != "-" and Path(file).suffix.lower() not in ca_trust.ENDINGS:
        raise Misused(f"{file} ends in none of {', '.join(ca_trust.ENDINGS)}, so its format is not known")
    certificate = ca_trust.opened(call.paths).certificate
    if file == "-":
        print(ca_trust.encoded(certificate, ".pem").decode(), end="")
        return None
    ca_trust.write(Path(file), ca_trust.encoded(certificate, Path(file).suffix.lower()))
    call.output.hint(f"Written to {file}. Who trusts it trusts whoever holds this computer's key; see certs/README.md.")
    return None


@command(group, "trust", example="byway ca trust --print")
def trust(
    call: Invocation,
    print_only: Annotated[bool, typer.Option("--print", help="Run nothing; print the commands.")] = False,
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="NAME", help="debian (Ubuntu), fedora, arch, macos or windows; no browsers."),
    ] = None,
) -> Exit | None:
    """Have this system and its browsers trust the authority, which is made first when there is none. What needs root is
    printed and left to you: then the exit code is 4."""
    from proxy.cli import ca_trust

    stores, here = ca_trust.chosen(system)
    if not here and not print_only:
        raise Misused(f"this computer is not {system}; `--print` shows the commands for it")
    if not stores:
        raise Misused(
            "this system's store is not known, and no browser's was found; name one with --system and --print"
        )
    authority = ca_trust.opened(call.paths)
    _warn_of_sudo(call)
    if print_only:
        file = str(ca_trust.file_of(call.paths)) if here else "byway-ca.crt"
        steps = [str(step) for store in stores for step in store.trusting(authority.certificate, file)]
        if call.output.as_json:
            call.output.document({"version": VERSION, "commands": steps})
            return None
        for step in steps:
            call.output.line(step)
        if not here:
            call.output.hint("The file comes from `byway ca export byway-ca.crt`.")
        return None
    results = ca_trust.trust_in(stores, authority, call.paths)
    ended = _tell(call, results, {"name": ca_trust.name_of(authority.certificate)})
    call.output.hint("Browsers that are open see it after a restart.")
    if any(result.holds for result in results):
        _have_it_tried_again(call)
    return ended


@command(group, "untrust", example="byway ca untrust")
def untrust(call: Invocation, everything: Annotated[bool, _ALL] = False) -> Exit | None:
    """Take the authority out of this system's store and of its browsers'; its key stays. What needs root is printed and
    left to you: then the exit code is 4."""
    from proxy.cli import ca_trust

    results = ca_trust.untrust_everywhere(call.paths, everything=everything)
    ended = _tell(call, results, {})
    _tell_of_others(call, ca_trust.look(call.paths)["stores"])
    return ended


@command(group, "rotate", example="byway ca rotate")
def rotate(call: Invocation) -> Exit | None:
    """Put a new authority in the place of the old one, which is untrusted first: as long as anything trusts the old one
    it stays. Nothing trusts the new one before `byway ca trust`."""
    from proxy.cli import ca_trust

    _warn_of_sudo(call)
    results = ca_trust.untrust_everywhere(call.paths, everything=False)
    if (ended := _ended(results)) is not None:
        _tell(call, results, {"name": None})
        say("byway: the old authority stays until nothing trusts it; then run `byway ca rotate` again")
        return ended
    name = ca_trust.name_of(ca_trust.replaced(call.paths).certificate)
    _tell(call, results, {"name": name})
    call.output.hint(f"The authority is now {name}. Have it trusted with `byway ca trust`.")
    return None


@command(group, "remove", example="byway ca remove")
def remove(call: Invocation, everything: Annotated[bool, _ALL] = False) -> Exit | None:
    """Take the authority out of everything that trusts it, and delete it and its key. What needs root is printed and
    left to you: then the exit code is 4, and the key is gone all the same."""
    from proxy.cli import ca_trust

    results = ca_trust.untrust_everywhere(call.paths, everything=everything)
    ca_trust.delete(call.paths)
    ended = _tell(call, results, {"deleted": str(call.paths.ca_dir)})
    call.output.hint(f"The authority and its key are deleted: {call.paths.ca_dir}")
    call.output.hint("A rule that says INSPECT makes a new one when it next matches.")
    _tell_of_others(call, ca_trust.look(call.paths)["stores"])
    return ended


def _tell(call: Invocation, results: list[Result], more: dict[str, Any]) -> Exit | None:
    """What became of each store, and what is left to do."""
    pending = [str(step) for result in results for step in result.pending]
    if call.output.as_json:
        stores = [
            {
                "store": result.store.title,
                "place": result.store.place,
                "trusted": result.holds,
                "error": result.error,
                "commands": [str(step) for step in result.pending],
            }
            for result in results
        ]
        call.output.document({"version": VERSION, **more, "stores": stores})
    else:
        rows = [(it.store.title, _WORDS[it.holds], it.error or _left(it) or it.store.place) for it in results]
        call.output.table(("store", "state", "detail"), rows)
    if pending:
        say("What is left needs root. To finish, run:")
        for line in pending:
            say(f"  {line}")
    return _ended(results)


def _ended(results: list[Result]) -> Exit | None:
    if any(result.error for result in results):
        return Exit.FAILED
    return Exit.NOT_ALLOWED if any(result.pending for result in results) else None


def _left(result: Result) -> str:
    return "needs root" if result.pending else ""


_WORDS = {True: "trusted", False: "not trusted", None: "unknown"}


def _store_rows(store: dict[str, Any]) -> list[tuple[str, str, str]]:
    others = [(store["store"], "trusts another", name) for name in store["others"]]
    return [(store["store"], _WORDS[store["trusted"]], store["error"] or store["place"]), *others]


def _tell_of_others(call: Invocation, stores: list[dict[str, Any]]) -> None:
    for store in stores:
        for name in store["others"]:
            call.output.hint(f"{store['store']} trusts another authority of Byway's: {name}")
    if any(store["others"] for store in stores):
        call.output.hint("If no other state folder of yours uses it: `byway ca untrust --all`.")


def _have_it_tried_again(call: Invocation) -> None:
    """A running Byway lets sites pass whose client has refused the certificate; reading the configuration ends that."""
    with contextlib.suppress(NotRunning, NotAllowed):
        call.client().post("/v1/reload", {})


def _warn_of_sudo(call: Invocation) -> None:
    """With sudo it is root's authority that is meant, and root's browsers, and not those of who typed it."""
    import os

    from proxy.intercept.trust import is_root

    if is_root() and os.environ.get("SUDO_USER", "root") != "root":
        call.output.hint(
            "You are root by sudo, so this is root's own authority. Run it as yourself: it prints what needs root."
        )


def _day(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d", time.gmtime(at))
