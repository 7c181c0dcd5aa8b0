"""Edits of the configuration by commands: the files to edit, and the reload of the running Byway.

A command ends when the running Byway uses its edit, or prints why it does not. Byway notices edits by hand by itself
(`setup/reload.py`).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.model.errors import BywayError, ConfigError
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import NotRunning

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.terminal.client import Client

IN_USE_WITHIN_S = 20.0
"""The longest wait of a command for its edit to be in use. The largest lists take seconds to read."""

STORED = "No Byway is running. The next one uses it."
"""The hint after a change that is kept in the state folder."""


def edited_configuration(call: Invocation) -> tuple[Paths, Client | None]:
    """Returns the paths of the configuration to edit, and the running Byway that uses it; None: none does. The
    configuration of --config or BYWAY_CONFIG is edited even if the running Byway uses another one; then a hint says so.
    Raises NotAllowed."""
    from proxy.config.paths import Paths

    running, named = call.running(), call.paths
    if running is None or not named.config_given:
        return call.for_config_of(running).paths, running
    by_default = {key: value for key, value in os.environ.items() if key != "BYWAY_CONFIG"}
    used = running.get("/v1/config")["path"] or Paths.locate(by_default, state=call.flags.state).config_file
    if os.path.realpath(used) == os.path.realpath(named.config_file):
        return named, running
    call.output.hint(f"The running Byway uses another configuration: {used}")
    return named, None


def take_into_use(call: Invocation, client: Client | None, file: Path) -> bool:
    """Makes the running Byway reload its configuration, after `file` was edited. Returns whether a Byway uses it.

    Raises ConfigError with the problems when Byway refuses the edit, and BywayError when it does not answer."""
    if client is None:
        return False
    from proxy.terminal.client import NoAnswer

    try:
        problems = replace(client, timeout_s=IN_USE_WITHIN_S).post("/v1/reload", {})["problems"]
    except NotRunning:  # it has ended meanwhile
        return False
    except NoAnswer:
        raise BywayError(
            f"{file} is saved, but the running Byway did not use it within {IN_USE_WITHIN_S:g} s; it uses it as soon "
            "as it can. To see whether it does: `byway status`"
        ) from None
    if problems:
        call.output.hint(f"{file} is saved, but the running Byway keeps its previous configuration:")
        raise ConfigError(problems)
    return True


def hint_in_use(call: Invocation, running: bool) -> None:
    """Prints that the running Byway uses an edit, after a line that names the file."""
    if running:
        call.output.hint("The running Byway uses it.")


def hint_saved(call: Invocation, paths: Paths, *, running: bool) -> None:
    """Prints the file of an edit, and whether the running Byway uses it."""
    call.output.hint(f"Saved in {paths.config_file}" + ("; the running Byway uses it." if running else "."))
