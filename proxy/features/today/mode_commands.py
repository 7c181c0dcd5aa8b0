"""`byway pause`, `byway resume` and `byway mode`: change the mode of AUTO. Rules and overrides still apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_words
from proxy.terminal.exit_codes import Exit, as_misuse
from proxy.terminal.in_use import STORED
from proxy.terminal.mode_text import MEANINGS, mode_sentences
from proxy.terminal.options import length

if TYPE_CHECKING:
    from proxy.config.paths import Paths

Document = Mapping[str, Any]

_MODES = ("auto", "direct", "relay")


@root_command(example="byway pause 15m")
def pause(
    call: Invocation,
    duration: Annotated[
        str, typer.Argument(metavar="TIME", help="How long: 30s, 15m, 2h.", show_default=False)
    ] = "15m",
) -> Exit | None:
    """Send AUTO direct for a while (default: 15 min).

    The pause ends by itself, also after a restart. RELAY and BLOCK rules and overrides hold; nothing is learned
    meanwhile."""
    return _change(call, {"pause_s": length(duration)})


@root_command(example="byway resume")
def resume(call: Invocation) -> Exit | None:
    """End a pause."""
    return _change(call, {"pause_s": 0.0})


@root_command(example="byway mode relay")
def mode(
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
    return _change(call, {} if mode is None else {"mode": mode.lower()})


def _change(call: Invocation, request: Document) -> Exit | None:
    """Changes the mode, also while no Byway runs, and prints it. An empty request only prints it."""
    from proxy.terminal.usable import relay_warning, relays_now

    client = call.running()
    if client is None:
        answer = _change_stopped(call.paths, request)
    else:
        answer = client.put("/v1/mode", request) if request else client.get("/v1/mode")
    if call.output.as_json:
        call.output.document(answer)
    else:
        _show(call, answer["mode"])
    if answer["mode"]["mode"] == "relay":
        relays = relays_now(call.for_config_of(client).paths, client)
        if warning := relay_warning(relays, then="no site under AUTO opens"):
            call.output.hint(warning)
    if client is None:
        call.output.hint(STORED if request else "No Byway is running. This is what the next one does.")
    return None


def _change_stopped(paths: Paths, request: Document) -> Document:
    """Changes the mode of the next start. Returns the answer of a running Byway. Raises Misused and BywayError."""
    from proxy.config.paths import private_folder
    from proxy.config.state_lock import alone
    from proxy.control.answers.mode import ModeJson
    from proxy.features.today.answers import ModeAnswer
    from proxy.features.today.mode_change import change_mode
    from proxy.model.document import document
    from proxy.setup.mode_switch import ModeSwitch
    from proxy.terminal.offline import read_configuration

    relays = read_configuration(paths).settings.relay
    modes = ModeSwitch(paths.mode_file, lambda _mode: None, stores=True)
    if request:
        private_folder(paths.state_dir)
        with alone(paths), as_misuse():
            modes.load()
            change_mode(modes, request.get("mode"), request.get("pause_s"))
    else:
        modes.load()
    return document(ModeAnswer(ModeJson.of(modes), sum(relay.enabled for relay in relays)))


def _show(call: Invocation, mode: Document) -> None:
    if mode["paused_until"] is None:
        call.output.line(f"Mode {mode['mode']}: {MEANINGS[mode['mode']]}")
    for text, _do in mode_sentences(mode):
        if mode["paused_until"] is not None:
            call.output.line(text)
