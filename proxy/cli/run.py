"""`byway run`: the proxy itself, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.terminal.command import Invocation, root_command
from proxy.terminal.exit_codes import Exit
from proxy.terminal.options import whole


@root_command(example="byway run --port 8119")
def run(
    call: Invocation,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", parser=whole(0, 65535), help="Port (default: 8119; 0: any free port)."),
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="ADDRESS", help="Address to listen on (default: 127.0.0.1).")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="HOST[:PORT]", help="Allow connections to this private host or CIDR."),
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Write nothing to disk.")] = False,
) -> Exit:
    """Run the proxy in the foreground, until Ctrl-C."""
    from proxy.app.process import run
    from proxy.app.run_options import RunOptions
    from proxy.features.table import FEATURES

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
    return Exit(run(options, FEATURES))
