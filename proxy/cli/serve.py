"""`byway run`: the proxy itself, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit


def add_to(app: typer.Typer) -> None:
    command(app, "run", example="byway run --port 8119")(_run)


def _run(
    call: Invocation,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 for any free one.", show_default="8119")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="ADDRESS", help="Address.", show_default="127.0.0.1")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="HOST[:PORT]", help="Let this host or prefix past the guard; repeatable."),
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Write nothing down.")] = False,
) -> Exit:
    """Run the proxy in the foreground, until Ctrl-C."""
    from proxy.app import RunOptions
    from proxy.process import run

    options = RunOptions(
        config=call.flags.config,
        state=call.flags.state,
        port=port,
        listen=listen,
        allow=tuple(allow or ()),
        ephemeral=ephemeral,
        verbose=call.flags.verbose,
        quiet=call.flags.quiet,
    )
    return Exit(run(options))
