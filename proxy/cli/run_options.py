"""The options of `byway run`, read without typer.

typer and its imports would stay in the memory of a proxy that runs for weeks (4 MiB), and take a tenth of its start.
So options that are written in full are read here, as typer reads them. Everything else is left to typer, which explains
errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.app.run_options import RunOptions

_COMMON = ("--config", "--state")
"""The options with a value that may also stand before `run`."""

_OWN = ("--port", "--listen", "--allow")
_SWITCHES = {"-q": "--quiet", "--quiet": "--quiet", "-v": "--verbose", "--verbose": "--verbose"}


def read_run_options(words: Sequence[str]) -> RunOptions | None:
    """Returns the options of `byway run`; None for a command line that typer must read: another command, or options in
    another form."""
    if "run" not in words:
        return None
    place = words.index("run")
    before = _values(words[:place], _COMMON, _SWITCHES)
    behind = _values(words[place + 1 :], _COMMON + _OWN, _SWITCHES | {"--ephemeral": "--ephemeral"})
    if before is None or behind is None:
        return None
    given = before | behind
    port = given.get("--port", [""])[-1]
    if port and not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        return None
    from proxy.app.run_options import RunOptions

    config, state, listen = (given[name][-1] if name in given else None for name in ("--config", "--state", "--listen"))
    return RunOptions(
        config=None if config is None else Path(config),
        state=None if state is None else Path(state),
        port=int(port) if port else None,
        listen=listen,
        allow=tuple(given.get("--allow", ())),
        ephemeral="--ephemeral" in given,
        verbose=len(given.get("--verbose", ())),
        quiet="--quiet" in given,
    )


def _values(words: Iterable[str], options: Sequence[str], switches: Mapping[str, str]) -> dict[str, list[str]] | None:
    """Returns the values of each option, and an empty one for each use of a switch; None for words that only typer can
    read."""
    values: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in switches:
            values.setdefault(switches[word], []).append("")
        elif name in options and (value := value if equals else next(rest, "")) and not value.startswith("-"):
            values.setdefault(name, []).append(value)
        else:
            return None
    return values
