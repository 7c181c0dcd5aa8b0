"""Which destinations belong to the home network, where AUTO asks no relay.

`192.168.1.1`, `nas` and `printer.lan` mean something else on each network: a relay would open the device of its own
owner, and a person would type a password into it. They are known by their text, or because the user's own files (the
hosts file, `[dns.hosts]`) give them a private address. A private answer of a name server for a public name is a sign of
DNS tampering, and that site is rescued; it counts only where encrypted DNS knows no such name, or where the name has a
suffix of the search list.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

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
    zone_names: Container[str] = ()
    """Names that only a network's resolver knows, with a private address: of this network, or of an earlier one."""
    in_zone: Callable[[str], bool] = lambda name: True
    """Whether one of them is such a name on this network. It sends no question."""

    def covers(self, destination: Destination, name: str) -> bool:
        """See Home. A private address is at home whatever name is in the flight."""
        host = destination.host
        if self.guard.is_near(host):
            return True
        if destination.address is None:
            for address in self.in_files(host):
                if self.guard.leads_home(destination, address):
                    return True
            if host in self.zone_names and self.in_zone(host):
                return True
        if name == host:
            return False
        named = Destination(name, destination.port)
        return self.covers(named, named.host)
