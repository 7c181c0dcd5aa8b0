"""Recognizes destinations of the home network, for which AUTO uses no relay.

`192.168.1.1`, `nas` and `printer.lan` mean another device on each network: a relay would reach a device on its own
network, and a user might enter a password there. A destination is recognized by its text, or because the user's own
files (the hosts file, `[dns.hosts]`) give its name a private address. If a name server gives a public name a private
address, that is a sign of DNS tampering. It means the home network only if encrypted DNS has no such name, or if the
name has a suffix of the search list.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from proxy.model import Destination, IPAddress
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.address_guard import Guard

Home = Callable[[Destination, str], bool]
"""Returns whether a destination belongs to the home network. The second argument is the name in the flight, or the
destination's host."""


@frozen_dataclass
class HomeNetwork:
    """The home network of one configuration."""

    guard: Guard
    in_files: Callable[[str], Sequence[IPAddress]]
    """Returns the addresses that the user's own files give for a name. It sends no DNS query."""
    zone_names: Container[str] = ()
    """Names that only the resolver of a network has, with a private address: of this network or of an earlier one."""
    in_zone: Callable[[str], bool] = lambda name: True
    """Whether a name of `zone_names` is one on this network. It sends no DNS query."""

    def covers(self, destination: Destination, name: str) -> bool:
        """See Home. A private address belongs to the home network whatever name is in the flight."""
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
