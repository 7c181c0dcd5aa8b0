"""Byway's address for programs of this computer: that of the running one, otherwise that of the configuration."""

from __future__ import annotations

from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import NotRunning


@frozen_dataclass
class ProxyAddress:
    """An address, and whether a Byway listens on it now."""

    proxy: Destination
    running: bool


def proxy_address(call: Invocation) -> ProxyAddress:
    """Returns the address of the running Byway, otherwise that of the configuration, with a hint. Raises ConfigError,
    NotAllowed, and NotRunning when the port is chosen at each start."""
    try:
        return ProxyAddress(call.client().proxy, running=True)
    except NotRunning:
        from proxy.terminal.offline import read_configuration

        listen = read_configuration(call.paths).settings.listen
        if listen.port == 0:
            raise
        call.output.hint("No Byway is running. This is from its configuration.")
        return ProxyAddress(Destination(listen.address, listen.port).from_here(), running=False)
