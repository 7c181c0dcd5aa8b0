"""Shell completion of interrupted tests."""

from __future__ import annotations

import contextlib

import typer

from proxy.terminal.completion import paths_typed, starting


def complete_surveys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tests that can be continued."""
    names: list[str] = []
    with contextlib.suppress(Exception):
        names += [file.stem for file in sorted((paths_typed(ctx).state_dir / "surveys").glob("*.jsonl"))]
    return starting(names, incomplete)
