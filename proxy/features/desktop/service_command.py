"""`byway service`: makes the service manager of this system start Byway at login."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Annotated

import typer

from proxy.model.document_version import VERSION
from proxy.model.errors import BywayError
from proxy.terminal.command import Invocation, command
from proxy.terminal.exit_codes import Exit

group = typer.Typer(help="Service: start Byway at login, and keep it running.", no_args_is_help=True)

_STARTS_WITHIN_S = 15.0
"""The longest wait for a new service. A busy machine needs a few seconds."""

_POLL_S = 0.1


@command(group, "install", example="byway service install")
def install(
    call: Invocation,
    only_print: Annotated[bool, typer.Option("--print", help="Print the definition; install nothing.")] = False,
) -> None:
    """Start Byway now and at every login.

    No administrator is needed. --config and --state apply to the service too. Installing again replaces the service and
    restarts it."""
    from proxy.features.desktop.service import find_manager
    from proxy.terminal.offline import read_configuration

    manager = find_manager()
    definition = manager.definition(_run_command(call))
    if only_print:
        if not call.output.answered({"version": VERSION, "file": str(manager.file), "definition": definition}):
            call.output.line(definition.rstrip("\n"))
        return
    read_configuration(call.paths)  # an error in it would only show in the log of the service
    running = call.running()
    if running is not None and not manager.state().running:
        pid = running.get("/v1/status")["pid"]
        raise BywayError(
            f"a Byway runs already (process {pid}), and not as the service; end it with `byway stop`, then try again"
        )
    manager.install(definition)
    ends_at = time.monotonic() + _STARTS_WITHIN_S
    while (answering := call.running()) is None and manager.state().running and time.monotonic() < ends_at:
        time.sleep(_POLL_S)
    if answering is None:
        raise BywayError(f"the service is installed ({manager.file}), but Byway does not answer; see `{manager.logs}`")
    listen = answering.get("/v1/status")["listen"]
    if not call.output.answered({"version": VERSION, "installed": True, "file": str(manager.file), "listen": listen}):
        call.output.line(f"Byway runs as a service, and starts at every login. Proxy: {listen}")
    call.output.hint(f"Its output: `{manager.logs}`. To remove it: `byway service uninstall`.")


@command(group, "uninstall", example="byway service uninstall")
def uninstall(call: Invocation) -> None:
    """Stop the service and remove it.

    The configuration, the log and what was learned stay."""
    from proxy.features.desktop.service import find_manager

    manager = find_manager()
    was_there = manager.file.exists() or manager.state().installed
    if was_there:
        manager.uninstall()
    if not call.output.answered({"version": VERSION, "installed": False, "removed": was_there}):
        call.output.line("The service was stopped and removed." if was_there else "The service is not installed.")


@command(group, "status", example="byway service status")
def status(call: Invocation) -> Exit | None:
    """Show whether the service is installed, starts at login, and runs.

    Exit code 5: it is installed and does not run."""
    from proxy.features.desktop.service import find_manager

    manager = find_manager()
    state = manager.state()
    if call.output.as_json:
        facts = {"installed": state.installed, "enabled": state.enabled, "running": state.running}
        call.output.document({"version": VERSION, **facts, "file": str(manager.file), "logs": manager.logs})
    elif not state.installed:
        call.output.line("The service is not installed. To install it: `byway service install`")
    else:
        rows = (("starts at login", state.enabled), ("running", state.running))
        call.output.table(("what", "value"), [(name, "yes" if holds else "no") for name, holds in rows])
        call.output.hint(f"Definition: {manager.file}. Output: `{manager.logs}`")
    return Exit.BAD if state.installed and not state.running else None


def _run_command(call: Invocation) -> list[str]:
    """Returns the command of the service: this program, by its full path, with the flags that choose the files."""
    program = shutil.which(sys.argv[0])
    words = [os.path.abspath(program)] if program and not program.endswith(".py") else [sys.executable, "-m", "proxy"]
    for name, path in (("--config", call.flags.config), ("--state", call.flags.state)):
        if path is not None:
            words += [name, str(path.absolute())]
    return [*words, "run"]
