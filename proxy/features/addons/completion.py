"""Shell completion of addons."""

from __future__ import annotations

import contextlib

import typer

from proxy.terminal.completion import paths_typed, starting


def complete_addons(ctx: typer.Context, incomplete: str) -> list[str]:
    """Addons by name: the user's, and those that ship."""
    names: list[str] = []
    with contextlib.suppress(Exception):
        from proxy.config.bundled import bundled_folder

        for folder in (paths_typed(ctx).addons_dir, bundled_folder("addons")):
            if folder is not None:
                names += [file.stem for file in sorted(folder.glob("*.py"))]
    return starting(names, incomplete)


def complete_hooks(incomplete: str) -> list[str]:
    """Hooks of addons."""
    from proxy.extend.hooks import HOOKS

    return starting(HOOKS, incomplete)


def complete_kinds(incomplete: str) -> list[str]:
    """Templates of `byway addons new`."""
    from proxy.features.addons.skeletons import KINDS

    return starting(KINDS, incomplete)
