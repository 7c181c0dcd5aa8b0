"""`byway relay`: list and test the relays, and add one to the configuration."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.completion import complete_relays
from proxy.cli.exits import Exit, Misused, NotRunning
from proxy.cli.output import ago, span
from proxy.control.version import VERSION
from proxy.errors import ConfigError

group = typer.Typer(help="Relays: list, test and add.", no_args_is_help=True)


@command(group, "list", example="byway relay list")
def list_relays(call: Invocation) -> Exit | None:
    """List the relays, the preferred first, and how each does."""
    try:
        told = call.reader().get("/v1/relays")
    except NotRunning:
        from proxy.cli.offline import read_configuration
        from proxy.control import documents
        from proxy.detect.health import RelayHealth

        call.output.hint("No byway is running: this is what is configured.")
        relays = read_configuration(call.paths).settings.relay
        told = documents.versioned(relays=[documents.relay(it, RelayHealth(), failing=False) for it in relays])
    if call.output.as_json:
        call.output.document(told)
        return None
    rows = [
        (relay["name"], relay["state"], _usual(relay), _used(call, relay), relay["url"], _trouble(relay))
        for relay in told["relays"]
    ]
    headings = ("relay", "state", "usual", "used", "url", "error")
    call.output.table(headings, rows, empty="There is no relay; add one with `byway relay add URL`.")
    return None


@command(group, "test", example="byway relay test tor --to example.org:443")
def try_relays(
    call: Invocation,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Relays to test (default: all).", autocompletion=complete_relays),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="HOST:PORT", help="Where to go through them; else the first of `[auto] controls`."
        ),
    ] = None,
) -> Exit | None:
    """Open a path through each relay. Without a running byway PySocks is asked too. Exit code 5 when one is bad."""
    try:
        client = call.client()
    except NotRunning:
        from proxy.cli.relay_trial import try_offline

        told = try_offline(call.paths, names or [], to)
    else:
        told = client.post("/v1/relays/test", {"names": names or [], **({} if to is None else {"to": to})})
    if call.output.as_json:
        call.output.document(told)
    else:
        _show_results(call, told)
    return None if all(result["ok"] for result in told["results"]) else Exit.BAD


@command(group, "add", example="byway relay add socks5h://127.0.0.1:9050 --name tor")
def add(
    call: Invocation,
    url: Annotated[str, typer.Argument(metavar="URL", help="socks5h://HOST:PORT, https://USER:PASSWORD@HOST, …")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What rules and the log call it.")] = None,
) -> Exit | None:
    """Add a relay to the configuration; its comments and order are kept. A running byway uses it at once."""
    from proxy.cli.configure import add_relay

    try:
        running = call.client()
    except NotRunning:
        running = None
    file = call.paths.config_file
    if running is not None and call.flags.config is None and (used := running.get("/v1/config")["path"]) is not None:
        file = type(file)(used)
    try:
        added = add_relay(file, url, name)
    except ValueError as error:
        raise Misused(str(error)) from None
    told: dict[str, Any] = {
        "version": VERSION,
        "name": added.name,
        "url": added.shown,
        "config": str(file),
        "running": False,
    }
    if running is not None:
        answer = running.post("/v1/reload", {})
        if answer["problems"]:
            call.output.hint(f"Relay {added.name} is in {file}, but the running byway could not take it:")
            raise ConfigError(answer["problems"])
        told["running"] = True
    if call.output.as_json:
        call.output.document(told)
        return None
    call.output.line(f"{added.name}  {added.shown}")
    call.output.hint(f"Written to {file}" + ("; the running byway uses it." if told["running"] else "."))
    call.output.hint(f"Try it with `byway relay test {added.name}`.")
    return None


def _show_results(call: Invocation, told: dict[str, Any]) -> None:
    rows = [
        (
            result["relay"],
            _yes(result["ok"]),
            _yes(result["reachable"]),
            _yes(result["handshake"]),
            span(result["elapsed_s"]) if call.output.fancy else result["elapsed_s"],
            result["error"],
        )
        for result in told["results"]
    ]
    call.output.hint(f"To {told['to']['host']}:{told['to']['port']} through each relay:")
    headings = ("relay", "ok", "reachable", "handshake", "seconds", "error")
    call.output.table(headings, rows, empty="There is no relay; add one with `byway relay add URL`.")
    for result in told["results"]:
        if result.get("disagreement"):
            call.output.hint(f"{result['relay']}: {result['disagreement']}")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _trouble(relay: dict[str, Any]) -> str:
    """What is wrong with a relay now, else its last error."""
    return str(relay["fault"]["text"] if relay["fault"] is not None else relay["error"])


def _usual(relay: dict[str, Any]) -> str:
    return "" if relay["usual_s"] is None else span(relay["usual_s"])


def _used(call: Invocation, relay: dict[str, Any]) -> str | float | None:
    return ago(relay["worked_at"]) if call.output.fancy else relay["worked_at"]
