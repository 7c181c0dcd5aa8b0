"""`byway demo`: a block and the way around it, played on this computer alone."""

from __future__ import annotations

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit


def add_to(app: typer.Typer) -> None:
    command(app, "demo", example="byway demo")(_demo)


def _demo(_call: Invocation) -> Exit:
    """See in a few seconds what Byway does: it needs nothing from outside and changes nothing."""
    from proxy.cli import demo

    return Exit(demo.main())
