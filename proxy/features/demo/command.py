"""`byway demo`: shows Byway at work, in a few seconds."""

from __future__ import annotations

import typer

from proxy.terminal.command import Invocation, command
from proxy.terminal.exit_codes import Exit


def add_to(app: typer.Typer) -> None:
    command(app, "demo", example="byway demo")(_demo)


def _demo(call: Invocation) -> Exit:
    """Show what Byway does, in a few seconds, on this computer alone."""
    from proxy.features.demo import demo  # it imports TLS, cryptography and asyncio, which no other command needs

    return Exit(demo.main(as_json=call.output.as_json))
