"""`byway env`: the environment variables that make programs of a terminal use Byway."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from proxy.terminal.command import Invocation, root_command
from proxy.terminal.options import choice_option

_SHELLS = ("bash", "zsh", "fish", "pwsh", "nu", "cmd")


@root_command(example="byway env --shell fish")
def env(
    call: Invocation,
    shell: Annotated[
        str | None, choice_option("--shell", "SHELL", _SHELLS, "bash, zsh, fish, pwsh, nu or cmd. Default: $SHELL.")
    ] = None,
) -> None:
    """Print the variables that make a terminal's programs use Byway.

    The last lines, comments, show how to use and to unset them."""
    from proxy.config.command_name import words_here
    from proxy.features.desktop.proxy_address import proxy_address
    from proxy.features.desktop.shell_env import Shell, script, shell_of, variables
    from proxy.model.document_version import VERSION

    proxy, _ = proxy_address(call)
    values = variables(proxy)
    chosen = Shell(shell) if shell else shell_of(os.environ, windows=sys.platform == "win32")
    if not call.output.answered({"version": VERSION, "shell": str(chosen), "variables": values}):
        call.output.now(script(chosen, values, command=words_here()))
