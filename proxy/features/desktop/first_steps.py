"""What `byway run` tells a person at a terminal after "listens", one line each: the network, a browser, local relays.

It begins once Byway listens, and delays nothing. It sends nothing to the network: a captive portal is known only when
the desktop's NetworkManager has found it, and relays are looked for on this computer alone. What is found is offered,
never used: the user adds it. With relays configured, only the browser is left to tell.
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
"""Both are values that it holds already: reading them makes it test nothing."""

_PORTAL, _LIMITED, _FULL = "u 2", "u 3", "u 4"  # NMConnectivityState, as busctl prints it
_SHOWN_MAX = 3


class FirstSteps:
    """Prints the lines. `proxy` is where this computer reaches Byway."""

    def __init__(self, proxy: Destination, poller: Poller, *, command: str, run: RunProgram = run_program) -> None:
        """`command` is how the user starts Byway's commands (`config/command_name.py`)."""
        self._proxy = proxy
        self._poller = poller
        self._byway = command
        self._run = run

    @staticmethod
    def print_line(line: str) -> None:
        """The line is lost where the terminal has been closed: Byway goes on."""
        with contextlib.suppress(OSError):
            print(fitted(line, sys.stdout), flush=True)

    async def print_all(self) -> None:
        """Each line as soon as it is known. The last takes some seconds where a program listens and does not answer."""
        has_link = await asyncio.to_thread(read_uplink) is not None
        self.print_line(self.network_line(has_link, await asyncio.to_thread(self._connectivity)))
        self.print_browser()
        found = await find_listeners(known_ports(), self._poller, own=(self._proxy.port,))
        self.print_line(self.relays_line(found))

    def print_browser(self) -> None:
        """The line about a browser alone."""
        self.print_line(self.browser_line(any(installed_browsers(os.environ, sys.platform))))

    def network_line(self, has_link: bool, connectivity: Sequence[str]) -> str:
        """`connectivity`: what NetworkManager holds, and whether it tests at all; empty where there is none."""
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

    def relays_line(self, found: Sequence[Listener]) -> str:
        """`found`: what listens on known ports. A web server, which may be no proxy, is not offered."""
        proxies = [listener for listener in found if listener.is_proxy]
        if not proxies:
            return f"Relays: none found on this computer. `{self._byway} relay add URL` adds one."
        names = [f"port {each.known.port} ({each.words}, usually {each.known.programs})" for each in proxies]
        more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
        shown = ", ".join(names[:_SHOWN_MAX])
        return f"Relays: found on this computer, not used yet: {shown}{more}. `{self._byway} relay scan` adds them."

    def _connectivity(self) -> list[str]:
        if sys.platform != "linux":
            return []
        try:
            return self._run(*_ASK_NETWORK_MANAGER).splitlines()
        except DesktopError:  # no NetworkManager, or no system bus
            return []
