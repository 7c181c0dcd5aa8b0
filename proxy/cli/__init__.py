"""The command line: `byway …`, one module for each command group."""

from __future__ import annotations


def main() -> None:
    """Runs what the arguments say, and ends the process with the exit code."""
    from proxy.cli.commands import run

    run()
