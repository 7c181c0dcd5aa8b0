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
from proxy.cli.exit_codes import Exit, Misused, NotAllowed, NotRunning
from proxy.cli.output import ago, say
from proxy.control.version import VERSION

if TYPE_CHECKING:
    from proxy.ca.trust_stores import TrustResult

group = typer.Typer(help="The CA for INSPECT rules: show, export, trust, rotate, remove.", no_args_is_help=True)

_ALL = typer.Option("--all", help="Also CAs of other state folders, or whose file was lost.")


@command(group, "show", example="byway ca show")
def show(call: Invocation) -> Exit | None:
    """Show the CA and where it is trusted.

    Exit code 5: there is one, and it cannot be used."""
    from proxy.cli.ca import trust as ca_trust

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
            ("file", authority["file"], "certificate only"),
        ]
    rows += [row for store in told["stores"] for row in _store_rows(store)]
    call.output.table(("what", "value", "detail"), rows)
    if problem:
        say(f"byway: {problem}")
        return Exit.BAD
    if authority is None:
        call.output.hint(
            "There is no CA yet. `byway ca trust` creates one, and so does the first INSPECT rule that matches."
        )
    _tell_of_others(call, told["stores"])
    return None


@command(group, "export", example="byway ca export byway-ca.crt")
def export(
    call: Invocation,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="PEM (.pem, .crt), DER (.der, .cer), or - for PEM on stdout.")
    ],
) -> Exit | None:
    """Export the CA certificate for another program or device to trust.

    The key is never exported. A CA is created first if there is none."""
    from proxy.cli.ca import trust as ca_trust

    if file != "-" and Path(file).suffix.lower() not in ca_trust.ENDINGS:
        raise Misused(f"{file} has an unknown ending; use one of {', '.join(ca_trust.ENDINGS)}")
    certificate = ca_trust.opened(call.paths).certificate
    if file == "-":
        print(ca_trust.encoded(certificate, ".pem").decode(), end="")
        return None
    ca_trust.write(Path(file), ca_trust.encoded(certificate, Path(file).suffix.lower()))
    call.output.hint(f"Written to {file}.")
    call.output.hint("Anyone holding this computer's CA key can impersonate any site to a device that trusts it.")
    return None


@command(group, "trust", example="byway ca trust --print")
def trust(
    call: Invocation,
    print_only: Annotated[bool, typer.Option("--print", help="Only print the commands.")] = False,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", metavar="NAME", help="Only this store: debian (Ubuntu), fedora, arch, macos or windows."
        ),
    ] = None,
) -> Exit | None:
    """Add the CA to the trust stores of this system and its browsers.

    A CA is created first if there is none. Commands that need root are printed for you to run; the exit code is then 4.
    """
    from proxy.cli.ca import trust as ca_trust

    stores, here = ca_trust.chosen(system)
    if not here and not print_only:
        raise Misused(f"this computer is not {system}; `--print` shows the commands for it")
    if not stores:
        raise Misused("unknown system, and no browser store found; name one with --system and --print")
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
            call.output.hint("Create the file with `byway ca export byway-ca.crt`.")
        return None
    results = ca_trust.trust_in(stores, authority, call.paths)
    ended = _tell(call, results, {"name": ca_trust.name_of(authority.certificate)})
    call.output.hint("Restart open browsers.")
    if any(result.holds for result in results):
        _have_it_tried_again(call)
    return ended


@command(group, "untrust", example="byway ca untrust")
def untrust(call: Invocation, everything: Annotated[bool, _ALL] = False) -> Exit | None:
    """Remove the CA from the trust stores; keep its key.

    Commands that need root are printed for you to run; the exit code is then 4."""
    from proxy.cli.ca import trust as ca_trust

    results = ca_trust.untrust_everywhere(call.paths, everything=everything)
    ended = _tell(call, results, {})
    _tell_of_others(call, ca_trust.look(call.paths)["stores"])
    return ended


@command(group, "rotate", example="byway ca rotate")
def rotate(call: Invocation) -> Exit | None:
    """Replace the CA.

    The old one is first removed from all trust stores. The new one is trusted after `byway ca trust`."""
    from proxy.cli.ca import trust as ca_trust

    _warn_of_sudo(call)
    results = ca_trust.untrust_everywhere(call.paths, everything=False)
    if (ended := _ended(results)) is not None:
        _tell(call, results, {"name": None})
        say("byway: the old CA is kept until no store trusts it; then run `byway ca rotate` again")
        return ended
    name = ca_trust.name_of(ca_trust.replaced(call.paths).certificate)
    _tell(call, results, {"name": name})
    call.output.hint(f"The CA is now {name}. Trust it with `byway ca trust`.")
    return None


@command(group, "remove", example="byway ca remove")
def remove(call: Invocation, everything: Annotated[bool, _ALL] = False) -> Exit | None:
    """Remove the CA from all trust stores, and delete it and its key.

    Commands that need root are printed for you to run; the exit code is then 4, and the key is deleted all the same."""
    from proxy.cli.ca import trust as ca_trust

    results = ca_trust.untrust_everywhere(call.paths, everything=everything)
    ca_trust.delete(call.paths)
    ended = _tell(call, results, {"deleted": str(call.paths.ca_dir)})
    call.output.hint(f"The CA and its key are deleted: {call.paths.ca_dir}")
    call.output.hint("The next INSPECT rule that matches creates a new one.")
    _tell_of_others(call, ca_trust.look(call.paths)["stores"])
    return ended


def _tell(call: Invocation, results: list[TrustResult], more: dict[str, Any]) -> Exit | None:
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
        say("To finish, run these as root:")
        for line in pending:
            say(f"  {line}")
    return _ended(results)


def _ended(results: list[TrustResult]) -> Exit | None:
    if any(result.error for result in results):
        return Exit.FAILED
    return Exit.NOT_ALLOWED if any(result.pending for result in results) else None


def _left(result: TrustResult) -> str:
    return "needs root" if result.pending else ""


_WORDS = {True: "trusted", False: "not trusted", None: "unknown"}


def _store_rows(store: dict[str, Any]) -> list[tuple[str, str, str]]:
    others = [(store["store"], "trusts another CA", name) for name in store["others"]]
    return [(store["store"], _WORDS[store["trusted"]], store["error"] or store["place"]), *others]


def _tell_of_others(call: Invocation, stores: list[dict[str, Any]]) -> None:
    for store in stores:
        for name in store["others"]:
            call.output.hint(f"{store['store']} trusts another CA of Byway: {name}")
    if any(store["others"] for store in stores):
        call.output.hint("If no other state folder uses it: `byway ca untrust --all`.")


def _have_it_tried_again(call: Invocation) -> None:
    """A running Byway lets sites pass whose client has refused the certificate; reading the configuration ends that."""
    with contextlib.suppress(NotRunning, NotAllowed):
        call.client().post("/v1/reload", {})


def _warn_of_sudo(call: Invocation) -> None:
    """With sudo it is root's authority that is meant, and root's browsers, and not those of who typed it."""
    import os

    from proxy.ca.trust_stores import is_root

    if is_root() and os.environ.get("SUDO_USER", "root") != "root":
        call.output.hint(
            "With sudo this is root's own CA. Run it as your own user; commands that need root are printed."
        )


def _day(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d", time.gmtime(at))
