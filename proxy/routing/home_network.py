"""Which destinations belong to the home network, where AUTO asks no relay.

`192.168.1.1`, `nas` and `printer.lan` mean something else on each network: a relay would open the device of its own
owner, and a person would type a password into it. They are known by their text, or because the user's own files (the
hosts file, `[dns.hosts]`) give them a private address. What a name server answers does not count: a private answer for
a public name is a sign of DNS tampering, and that site is rescued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.model import Destination, IPAddress
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.address_guard import Guard

Home = Callable[[Destination, str], bool]
"""Whether a destination belongs to the home network. The second argument is the name in the flight, or the
destination's host."""


@frozen_dataclass
class HomeNetwork:
    """Knows the home network of one configuration."""

    guard: Guard
    in_files: Callable[[str], Sequence[IPAddress]]
    """Returns the addresses that the user's own files give for a name. It sends no question."""

    def covers(self, destination: Destination, name: str) -> bool:
        """See Home. A private address is at home whatever name is in the flight."""
        host = destination.host
        if self.guard.is_near(host):
            return True
        if destination.address is None:
            for address in self.in_files(host):
                if self.guard.leads_home(destination, address):
                    return True
        if name == host:
            return False
        named = Destination(name, destination.port)
        return self.covers(named, named.host)
