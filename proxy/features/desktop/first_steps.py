"""The lines that `byway run` prints at a terminal after "listens": about the network, a browser, and local relays.

They come once Byway listens, and delay nothing. Nothing is sent to the network: a captive portal is known only from the
desktop's NetworkManager, and relays are searched on this computer alone. They are offered, never used: the user adds
them. If relays are configured, only the line about a browser is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence

from proxy.features.desktop.browsers import installed_browsers
from proxy.model import Destination
from proxy.net.poller import Poller
from proxy.net.uplink.network_id import read_uplink
from proxy.probe.local_proxies import Listener, find_listeners, known_ports
from proxy.setup.desktop.programs import DesktopError, RunProgram, run_program
from proxy.terminal.lines import fitted

_NETWORK_MANAGER = "org.freedesktop.NetworkManager"
_ASK_NETWORK_MANAGER = (
    "busctl", "--system", "--timeout=2", "get-property", _NETWORK_MANAGER, "/org/freedesktop/NetworkManager",
    _NETWORK_MANAGER, "Connectivity", "ConnectivityCheckEnabled",
)  # fmt: skip
"""NetworkManager has both values already: to read them starts no test."""

_PORTAL, _LIMITED, _FULL = "u 2", "u 3", "u 4"  # NMConnectivityState, as busctl prints it
_SHOWN_MAX = 3


class FirstSteps:
    """Prints the lines. `proxy` is Byway's address for this computer."""

    def __init__(self, proxy: Destination, poller: Poller, *, command: str, run: RunProgram = run_program) -> None:
        """`command` is the command with which the user starts Byway (`config/command_name.py`)."""
        self._proxy = proxy
        self._poller = poller
        self._byway = command
        self._run = run

    @staticmethod
    def print_line(line: str) -> None:
        """Prints a line. If the terminal is closed, the line is lost and Byway goes on."""
        with contextlib.suppress(OSError):
            print(fitted(line, sys.stdout), flush=True)

    async def print_all(self) -> None:
        """Prints each line as soon as it is known. The last takes some seconds when a program listens and does not
        answer."""
        has_link = await asyncio.to_thread(read_uplink) is not None
        self.print_line(self.network_line(has_link, await asyncio.to_thread(self._connectivity)))
        self.print_browser()
        listeners = await find_listeners(known_ports(), self._poller, own=(self._proxy.port,))
        self.print_line(self.relays_line(listeners))

    def print_browser(self) -> None:
        """Prints the line about a browser alone."""
        self.print_line(self.browser_line(any(installed_browsers(os.environ, sys.platform))))

    def network_line(self, has_link: bool, connectivity: Sequence[str]) -> str:
        """`connectivity`: the state in NetworkManager, and whether it tests at all; empty without NetworkManager."""
        match [has_link, *connectivity]:
            case [False, *_]:
                return "Network: this computer has no network connection. Connect to a network; Byway need not restart."
            case [_, state, "b true"] if state == _PORTAL:
                return "Network: captive portal. Open any page in a browser and log in to the network."
            case [_, state, "b true"] if state == _LIMITED:
                return (
                    f"Network: connected, but NetworkManager's check failed. `{self._byway} doctor` finds the reason."
                )
            case [_, state, "b true"] if state == _FULL:
                return "Network: internet access works (NetworkManager's check)."
        return f"Network: connected, not tested yet. `{self._byway} doctor` tests it."

    def browser_line(self, is_installed: bool) -> str:
        """`is_installed`: whether there is a browser that Byway can open."""
        page = f"http://{self._proxy}/"
        if not is_installed:
            return f"Browser: set {self._proxy} as its HTTP proxy; {page} shows how."
        return f"Browser: `{self._byway} browser`, in a second terminal. To set up your own: {page}"

    def relays_line(self, listeners: Sequence[Listener]) -> str:
        """`listeners` are those on known ports. A web server, which may be no proxy, is not offered."""
        proxies = [listener for listener in listeners if listener.is_proxy]
        if not proxies:
            return f"Relays: none found on this computer. `{self._byway} relay add URL` adds one."
        names = [f"port {each.known.port} ({each.words}, usually {each.known.programs})" for each in proxies]
        more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
        listed = ", ".join(names[:_SHOWN_MAX])
        return f"Relays: found on this computer, not used yet: {listed}{more}. `{self._byway} relay scan` adds them."

    def _connectivity(self) -> list[str]:
        if sys.platform != "linux":
            return []
        try:
            return self._run(*_ASK_NETWORK_MANAGER).splitlines()
        except DesktopError:  # no NetworkManager, or no system bus
            return []
