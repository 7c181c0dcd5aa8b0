"""`byway pause`, `byway resume` and `byway mode`: what AUTO means at the moment. Rules and overrides hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.completion import complete_words
from proxy.cli.exit_codes import Exit
from proxy.cli.mode_text import MEANINGS, mode_sentences
from proxy.cli.options import length

Document = Mapping[str, Any]

_MODES = ("auto", "direct", "relay")


def add_to(app: typer.Typer) -> None:
    command(app, "pause", example="byway pause 15m")(_pause)
    command(app, "resume", example="byway resume")(_resume)
    command(app, "mode", example="byway mode relay")(_mode)


def _pause(
    call: Invocation,
    duration: Annotated[
        str, typer.Argument(metavar="TIME", help="How long: 30s, 15m, 2h.", show_default=False)
    ] = "15m",
) -> Exit | None:
    """Send AUTO direct for a while (default: 15 min).

    The pause ends by itself, also after a restart. RELAY and BLOCK rules and overrides hold; nothing is learned
    meanwhile."""
    seconds = length(duration)
    return _show(call, call.client().put("/v1/mode", {"pause_s": seconds}))


def _resume(call: Invocation) -> Exit | None:
    """End a pause."""
    return _show(call, call.client().put("/v1/mode", {"pause_s": 0.0}))


def _mode(
    call: Invocation,
    mode: Annotated[
        str | None,
        typer.Argument(
            metavar="MODE", help="auto, direct or relay; without: show it.", autocompletion=complete_words(_MODES)
        ),
    ] = None,
) -> Exit | None:
    """Show or set what AUTO does.

    As usual (auto), direct only (direct) or relays only (relay). A mode stays until it is set again, also after a
    restart. Rules, overrides and [auto] never_relay hold; nothing is learned in direct and relay."""
    client = call.client()
    return _show(call, client.get("/v1/mode") if mode is None else client.put("/v1/mode", {"mode": mode.lower()}))


def _show(call: Invocation, answer: Document) -> Exit | None:
    if call.output.as_json:
        call.output.document(answer)
        return None
    mode = answer["mode"]
    if mode["paused_until"] is None:
        call.output.line(f"Mode {mode['mode']}: {MEANINGS[mode['mode']]}")
    for text, _do in mode_sentences(mode):
        if mode["paused_until"] is not None:
            call.output.line(text)
    if mode["mode"] == "relay" and not answer["relays"]:
        call.output.hint("No relay is configured, so no site under AUTO opens. Add one with `byway relay add URL`.")
    return None
