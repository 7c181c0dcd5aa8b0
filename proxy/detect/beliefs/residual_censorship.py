"""Where a censor may still be angry: addresses at which a name was just reset or dropped.

Some censors go on breaking every connection between the same two addresses and port for minutes after they have seen a
forbidden name (60 to 180 s in the papers on China's and Iran's). Failures there say nothing about another name and
nothing about another means, so for that time they are not counted, and the next try uses another address, or a relay.
"""

from __future__ import annotations

from proxy.detect.scopes import address_of
from proxy.model import IPAddress, NetworkId
from proxy.model.bounded import Bounded

ADDRESSES_MAX = 4096


class ResidualCensorship:
    """Addresses to be left alone for a while. Belongs to one thread."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._since: Bounded[tuple[NetworkId, IPAddress], tuple[float, str]] = Bounded(ADDRESSES_MAX)

    def note(self, address: str | IPAddress, network: NetworkId, now: float, *, host: str = "") -> None:
        """A hello or a request that names `host` was reset or dropped at `address` (with or without a port)."""
        found = address_of(str(address))
        if found is None:
            return
        if host and self.in_residual_window(found, network, now, host=host):
            return  # it may be the echo of another name, and does not take that one's place
        key = (network, found)
        self._since[key] = (now, host)

    def in_residual_window(self, address: str | IPAddress, network: NetworkId, now: float, *, host: str = "") -> bool:
        """Whether what fails at `address` may be the echo of a name that was seen there. With `host`: of another name
        than this one."""
        if not self._since:
            return False
        found = address_of(str(address))
        noted = self._since.get((network, found)) if found is not None else None
        if noted is None:
            return False
        at, who = noted
        return 0 <= now - at < self._lasts_s and not (host and who == host)

    def clear(self) -> None:
        """Forgets all: the clock was set."""
        self._since.clear()
