"""Shell completion: relays, sites, addons, actions, formats.

The words come from the running Byway, within a short timeout, otherwise from the files. An error completes nothing and
prints nothing, since the user is typing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from proxy.config.paths import Paths

_ACTIONS = ("auto", "direct", "relay", "prefer-relay", "block")
_TIMEOUT_S = 0.5
_LIMIT = 200


def complete_sites(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes sites with a stored status or an override."""
    names: list[str] = []
    with contextlib.suppress(Exception):
        from proxy.probe.site_name import names_of

        answer = _get(ctx, "/v1/sites")
        names += [override["scope"] for override in answer["overrides"]]
        names += names_of(site["scope"] for site in answer["sites"])
    return starting(names, incomplete)


def complete_relays(ctx: typer.Context, incomplete: str) -> list[str]:
    return starting(_relays(ctx), incomplete)


def complete_lists(ctx: typer.Context, incomplete: str) -> list[str]:
    return starting(_configured_names(ctx, "list"), incomplete)


def complete_selections(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the names of relays and groups."""
    return starting((*_relays(ctx), *_relays(ctx, "group")), incomplete)


def complete_routes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes `direct` and the names of relays."""
    return starting(["direct", *_relays(ctx)], incomplete)


def complete_actions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes actions of `byway site set`; after a colon, the names of relays and groups."""
    action, colon, _ = incomplete.partition(":")
    if colon:
        return starting((f"{action}:{name}" for name in (*_relays(ctx), *_relays(ctx, "group"))), incomplete)
    return starting(_ACTIONS, incomplete)


def complete_settings(incomplete: str) -> list[str]:
    from proxy.config.one_setting import settings_by_name

    return starting(settings_by_name(), incomplete)


def complete_words(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Returns a completer for a fixed set of words."""
    choices = tuple(words)

    def complete(incomplete: str) -> list[str]:
        return starting(choices, incomplete)

    return complete


def _relays(ctx: typer.Context, kind: str = "relay") -> list[str]:
    """Returns the names of relays, or with "group" those of groups."""
    with contextlib.suppress(Exception):
        return [each["name"] for each in _get(ctx, "/v1/relays")[f"{kind}s"]]
    return _configured_names(ctx, kind)


def _configured_names(ctx: typer.Context, section: str) -> list[str]:
    """Returns the names of the tables in one section of the configuration."""
    with contextlib.suppress(Exception):
        import tomllib

        text = paths_typed(ctx).config_file.read_text("utf-8")
        return [str(table["name"]) for table in tomllib.loads(text).get(section, ()) if "name" in table]
    return []


def _get(ctx: typer.Context, path: str) -> dict[str, list[dict[str, str]]]:
    """Returns the answer of the running Byway, or of its log. May raise any exception, which the caller suppresses."""
    from proxy.terminal.client import Client
    from proxy.terminal.exit_codes import NotRunning

    paths = paths_typed(ctx)
    try:
        return replace(Client.find(paths.state_dir), timeout_s=_TIMEOUT_S).get(path)
    except NotRunning:
        from proxy.terminal.command import features_of
        from proxy.terminal.stored import Stored

        return Stored(paths, features_of(ctx)).get(path)


def paths_typed(ctx: typer.Context) -> Paths:
    """Returns the Paths for the flags that were typed so far."""
    from proxy.config.paths import Paths

    given = {name: _given(ctx, name) for name in ("config", "state")}
    return Paths.locate(os.environ, config=given["config"], state=given["state"])


def _given(ctx: typer.Context | None, name: str) -> Path | None:
    """Returns the value of a common flag, which may stand before or after the command's name."""
    while ctx is not None:
        if value := ctx.params.get(name):
            return Path(value)
        ctx = ctx.parent  # type: ignore[assignment]  # typer declares the parent as its base class
    return None


def starting(names: Iterable[str], incomplete: str) -> list[str]:
    """Returns the names that begin with the typed text, each once, at most _LIMIT."""
    unique = dict.fromkeys(name for name in names if name.isprintable() and name.startswith(incomplete))
    return list(unique)[:_LIMIT]
