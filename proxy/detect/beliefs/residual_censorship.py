"""Residual censorship: addresses at which a name was just reset or dropped.

Some censors break every connection between the same addresses and port for minutes after they have seen a forbidden
name (60 to 180 s in the papers on China's and Iran's). Failures in this window say nothing about another name or
strategy, so they are not counted, and the next attempt uses another address, or a relay.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.detect.scopes import address_of
from proxy.model import IPAddress, NetworkId
from proxy.model.bounded import Bounded

ADDRESSES_MAX = 4096


class ResidualCensorship:
    """The addresses in a residual window. Belongs to one thread."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._since: Bounded[tuple[NetworkId, IPAddress], tuple[float, str]] = Bounded(ADDRESSES_MAX)

    def note(self, address: str | IPAddress, network: NetworkId, now: float, *, host: str = "") -> None:
        """A ClientHello or request that names `host` was reset or dropped at `address`, with or without a port."""
        found = address_of(str(address))
        if found is None:
            return
        if host and self.in_residual_window(found, network, now, host=host):
            return  # it may be residual blocking after another name, whose window does not grow by it
        key = (network, found)
        self._since[key] = (now, host)

    def take_back(self, address: str | IPAddress, network: NetworkId, host: str) -> None:
        """What looked dropped at `address` was answered: the window that `host` began ends, and no other one."""
        found = address_of(str(address))
        if found is not None and self._since.get((network, found), (0.0, None))[1] == host:
            del self._since[network, found]

    def in_residual_window(self, address: str | IPAddress, network: NetworkId, now: float, *, host: str = "") -> bool:
        """Whether a failure at `address` may be residual blocking after a name; with `host`, after another name than
        this one."""
        if not self._since:
            return False
        found = address_of(str(address))
        noted = self._since.get((network, found)) if found is not None else None
        if noted is None:
            return False
        at, name = noted
        return 0 <= now - at < self._lasts_s and not (host and name == host)

    def forget(self, meant: Callable[[tuple[NetworkId, str]], bool]) -> None:
        """Ends the windows that the names which are meant began."""
        for key, (_, host) in list(self._since.items()):
            if meant((key[0], host)):
                del self._since[key]

    def clear(self) -> None:
        """Forgets all: the clock was set."""
        self._since.clear()
