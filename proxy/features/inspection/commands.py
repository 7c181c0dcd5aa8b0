"""`byway ca`: the local certificate authority of INSPECT rules, and the trust stores that have it.

No command shows, prints or exports its key. Commands that need root are printed for the user to run; Byway asks for no
password and need not be run with sudo.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.languages.amounts import ago
from proxy.model.document_version import VERSION
from proxy.terminal.command import Invocation, command
from proxy.terminal.exit_codes import Exit, Misused, NotAllowed, NotRunning
from proxy.terminal.output import say

if TYPE_CHECKING:
    from proxy.features.inspection.trust_stores import TrustResult

group = typer.Typer(help="The CA for INSPECT rules: show, export, trust, rotate, remove.", no_args_is_help=True)


_ALL = typer.Option("--all", help="Also CAs of other state folders, or whose file was lost.")


@command(group, "show", example="byway ca show")
def show(call: Invocation) -> Exit | None:
    """Show the CA and where it is trusted.

    Exit code 5: there is one, and it cannot be used."""
    from proxy.features.inspection import trust

    answer = trust.ca_document(call.paths)
    authority, problem = answer["authority"], answer["problem"]
    if call.output.as_json:
        call.output.document(answer)
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
    for store in answer["stores"]:
        rows.append((store["store"], _WORDS[store["trusted"]], store["error"] or store["place"]))
        rows += [(store["store"], "trusts another CA", name) for name in store["others"]]
    call.output.table(("what", "value", "detail"), rows)
    if problem:
        say(f"byway: {problem}")
        return Exit.BAD
    if authority is None:
        call.output.hint(
            "There is no CA yet. `byway ca trust` creates one, and so does the first INSPECT rule that matches."
        )
    _hint_at_others(call, answer["stores"])
    return None


@command(group, "export", example="byway ca export byway-ca.crt")
def export(
    call: Invocation,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="PEM (.pem, .crt), DER (.der, .cer), or - for PEM on stdout.")
    ],
) -> None:
    """Export the CA certificate for another program or device to trust.

    The key is never exported. A CA is created first if there is none."""
    from proxy.features.inspection import trust

    if file != "-" and Path(file).suffix.lower() not in trust.ENDINGS:
        raise Misused(f"{file} has an unknown ending; use one of {', '.join(trust.ENDINGS)}")
    certificate = trust.open_or_create(call.paths).certificate
    if file == "-":
        print(certificate.public_bytes(trust.ENDINGS[".pem"]).decode(), end="")
        return
    trust.write_certificate(Path(file), certificate)
    call.output.hint(f"Written to {file}.")
    call.output.hint("Anyone holding this computer's CA key can impersonate any site to a device that trusts it.")


@command(group, "trust", example="byway ca trust --print")
def trust_ca(
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
    from proxy.features.inspection import trust
    from proxy.features.inspection.authority import certificate_file, common_name
    from proxy.features.inspection.trust_stores import trust as add_trust

    stores, here = trust.selected_stores(system)
    if not here and not print_only:
        raise Misused(f"this computer is not {system}; `--print` shows the commands for it")
    if not stores:
        raise Misused("unknown system, and no browser store found; name one with --system and --print")
    authority, file = trust.open_or_create(call.paths), certificate_file(call.paths.ca_dir)
    _warn_of_sudo(call)
    if print_only:
        name = str(file) if here else "byway-ca.crt"
        steps = [str(step) for store in stores for step in store.commands_to_trust(authority.certificate, name)]
        if call.output.as_json:
            call.output.document({"version": VERSION, "commands": steps})
            return None
        for step in steps:
            call.output.line(step)
        if not here:
            call.output.hint("Create the file with `byway ca export byway-ca.crt`.")
        return None
    results = [add_trust(store, authority.certificate, file) for store in stores]
    ended = _show_results(call, results, {"name": common_name(authority.certificate)})
    call.output.hint("Restart open browsers.")
    if any(result.trusted for result in results):
        # A running Byway then inspects again the sites whose clients rejected the certificate.
        with contextlib.suppress(NotRunning, NotAllowed):
            call.client().post("/v1/reload", {})
    return ended


@command(group, "untrust", example="byway ca untrust")
def untrust_ca(call: Invocation, everything: Annotated[bool, _ALL] = False) -> Exit | None:
    """Remove the CA from the trust stores; keep its key.

    Commands that need root are printed for you to run; the exit code is then 4."""
    from proxy.features.inspection import trust

    results = trust.untrust_everywhere(call.paths, everything=everything)
    ended = _show_results(call, results, {})
    _hint_at_others(call, trust.ca_document(call.paths)["stores"])
    return ended


@command(group, "rotate", example="byway ca rotate")
def rotate(call: Invocation) -> Exit | None:
    """Replace the CA.

    The old one is first removed from all trust stores. The new one is trusted after `byway ca trust`."""
    from proxy.features.inspection import trust
    from proxy.features.inspection.authority import common_name

    _warn_of_sudo(call)
    results = trust.untrust_everywhere(call.paths, everything=False)
    if (ended := _ended(results)) is not None:
        _show_results(call, results, {"name": None})
        say("byway: the old CA is kept until no store trusts it; then run `byway ca rotate` again")
        return ended
    name = common_name(trust.replace(call.paths).certificate)
    _show_results(call, results, {"name": name})
    call.output.hint(f"The CA is now {name}. Trust it with `byway ca trust`.")
    return None


@command(group, "remove", example="byway ca remove")
def remove(call: Invocation, everything: Annotated[bool, _ALL] = False) -> Exit | None:
    """Remove the CA from all trust stores, and delete it and its key.

    Commands that need root are printed for you to run; the exit code is then 4, and the key is deleted all the same."""
    from proxy.features.inspection import trust
    from proxy.features.inspection.authority import remove_authority

    results = trust.untrust_everywhere(call.paths, everything=everything)
    remove_authority(call.paths.ca_dir)
    ended = _show_results(call, results, {"deleted": str(call.paths.ca_dir)})
    call.output.hint(f"The CA and its key are deleted: {call.paths.ca_dir}")
    call.output.hint("The next INSPECT rule that matches creates a new one.")
    _hint_at_others(call, trust.ca_document(call.paths)["stores"])
    return ended


def _show_results(call: Invocation, results: list[TrustResult], more: dict[str, Any]) -> Exit | None:
    """Prints the result of each store, and the commands that only root can run."""
    pending = [str(step) for result in results for step in result.pending]
    if call.output.as_json:
        stores = [
            {
                "store": result.store.title,
                "place": result.store.place,
                "trusted": result.trusted,
                "error": result.error,
                "commands": [str(step) for step in result.pending],
            }
            for result in results
        ]
        call.output.document({"version": VERSION, **more, "stores": stores})
    else:
        rows = [
            (it.store.title, _WORDS[it.trusted], it.error or ("needs root" if it.pending else it.store.place))
            for it in results
        ]
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


_WORDS = {True: "trusted", False: "not trusted", None: "unknown"}


def _hint_at_others(call: Invocation, stores: list[dict[str, Any]]) -> None:
    for store in stores:
        for name in store["others"]:
            call.output.hint(f"{store['store']} trusts another CA of Byway: {name}")
    if any(store["others"] for store in stores):
        call.output.hint("If no other state folder uses it: `byway ca untrust --all`.")


def _warn_of_sudo(call: Invocation) -> None:
    """Prints a hint that with sudo these are root's CA and root's browsers, not those of the user."""
    import os

    from proxy.features.inspection.trust_stores import is_root

    if is_root() and os.environ.get("SUDO_USER", "root") != "root":
        call.output.hint(
            "With sudo this is root's own CA. Run it as your own user; commands that need root are printed."
        )


def _day(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d", time.gmtime(at))
