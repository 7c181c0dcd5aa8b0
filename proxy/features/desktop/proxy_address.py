"""Byway's address for programs of this computer: that of the running one, otherwise that of the configuration."""

from __future__ import annotations

from proxy.model import Destination
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import NotRunning


def proxy_address(call: Invocation) -> tuple[Destination, bool]:
    """Returns the address of the running Byway, otherwise that of the configuration, with a hint; and whether one runs.
    Raises ConfigError, NotAllowed, and NotRunning when the port is chosen at each start."""
    try:
        return call.client().proxy, True
    except NotRunning:
        from proxy.terminal.offline import read_configuration

        listen = read_configuration(call.paths).settings.listen
        if listen.port == 0:
            raise
        call.output.hint("No Byway is running. This is from its configuration.")
        return Destination(listen.address, listen.port).from_here(), False
