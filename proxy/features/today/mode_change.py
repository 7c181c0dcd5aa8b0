"""Changes the mode of AUTO, for the control API, and for commands while no Byway runs."""

from __future__ import annotations

from proxy.config.suggestions import one_of, quoted
from proxy.model import PAUSE_MAX_S, AutoMode
from proxy.setup.mode_switch import ModeSwitch


def change_mode(modes: ModeSwitch, name: str | None, pause_s: float | None) -> None:
    """Sets the mode with this name, or begins a pause of `pause_s` seconds (0: ends it); exactly one must be given.
    Raises ValueError with a sentence, and BywayError when the change cannot be stored."""
    if (name is None) == (pause_s is None):
        raise ValueError("Either mode or pause_s is needed.")
    if name is not None:
        settable = [mode for mode in AutoMode if mode is not AutoMode.PAUSED]
        if name not in settable:
            raise ValueError(f"unknown mode {quoted(name)}; it can be {one_of(settable)}")
        modes.set_mode(AutoMode(name))
    elif not pause_s:
        modes.resume()
    elif 1 <= pause_s <= PAUSE_MAX_S:
        modes.pause(pause_s)
    else:
        days = PAUSE_MAX_S / 86_400
        raise ValueError(f"A pause lasts 1 s to {days:g} days. To go direct until you change it: `byway mode direct`")
