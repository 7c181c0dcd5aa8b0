"""The command line: `byway …`, one module for each command group."""

from __future__ import annotations

import gc

_YOUNG_OBJECTS = 20_000
"""Allocations between two collections of the youngest. Imports and connections make many values and hardly a cycle:
this is worth a tenth of a start, and a few per cent of a tunnel's cost (measured)."""


def main() -> None:
    """Runs what the arguments say, and ends the process with the exit code."""
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    from proxy.cli.commands import run

    run()
