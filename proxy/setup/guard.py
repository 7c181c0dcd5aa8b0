"""The address guard with the facts about this computer that it needs.

The guard itself is pure. Here it gets this computer's names and addresses, and whether another proxy on this computer
answers names with fake addresses. It is asked about every address before a connection to it is opened.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from proxy.config.load import Loaded
from proxy.model import Destination, IPAddress
from proxy.model.errors import ConfigError
from proxy.net.uplink.network_watch import source_address_for
from proxy.routing.address_guard import Guard
from proxy.wire import hostnames as names

_PUBLIC = tuple(map(ipaddress.ip_address, ("192.0.2.1", "2001:db8::1")))
"""Public addresses, to which nothing is sent: those for documentation (RFC 5737, RFC 3849)."""


def guard_of(loaded: Loaded, *, port: int) -> Guard:
    """The guard for clients' requests, with Byway listening on `port`. Raises ConfigError."""
    safety, dns = loaded.settings.safety, loaded.settings.dns
    try:
        return Guard(safety.allow, dns.local, own_ports=(port,), own_names=_own_names(), own_addresses=_own_addresses())
    except ValueError as error:
        raise ConfigError(f"{loaded.place('safety', 'allow')}: {error}") from None


def guard_of_relays(*, port: int) -> Guard:
    """The guard for relays: a relay may have any address except Byway's own, where every request would loop. What its
    name resolves to is known only when it is dialed."""
    return Guard(("0.0.0.0/0", "::/0"), own_ports=(port,), own_addresses=_own_addresses())


def public_addresses() -> Callable[[IPAddress], bool]:
    """Returns whether an address is beyond the local network, and not this computer's."""
    guard, anywhere = Guard((), own_addresses=_own_addresses()), Destination("relay.invalid", 443)
    return lambda address: guard.refuse_address(anywhere, address) is None


def _own_names() -> tuple[str, ...]:
    """Returns this computer's name, where that is a valid host name."""
    try:
        return (names.host(socket.gethostname()),)
    except ValueError:
        return ()


def _own_addresses() -> tuple[str, ...]:
    """Returns the source addresses of packets to public addresses."""
    return tuple(str(source) for source in map(source_address_for, _PUBLIC) if source is not None)
