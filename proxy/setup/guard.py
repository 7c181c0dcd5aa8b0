"""Makes address guards, with the names and addresses of this computer.

`routing.address_guard` is pure: it gets these facts from here. A guard checks every address before Byway connects.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection

from proxy.config.load import Loaded
from proxy.model import Destination, IPAddress
from proxy.model.errors import ConfigError
from proxy.net.uplink.network_watch import source_address_for
from proxy.routing.address_guard import Guard
from proxy.wire import hostnames as names

_PUBLIC = tuple(map(ipaddress.ip_address, ("192.0.2.1", "2001:db8::1")))
"""Public addresses for documentation (RFC 5737, RFC 3849). Nothing is sent to them."""


def guard_of(loaded: Loaded, *, ports: Collection[int]) -> Guard:
    """Returns the guard for clients' requests. `ports` are those that Byway listens on. Raises ConfigError for an
    invalid `[safety] allow`."""
    safety, dns = loaded.settings.safety, loaded.settings.dns
    try:
        return Guard(safety.allow, dns.local, own_ports=ports, own_names=_own_names(), own_addresses=_own_addresses())
    except ValueError as error:
        raise ConfigError(f"{loaded.place('safety', 'allow')}: {error}") from None


def guard_of_relays(*, ports: Collection[int]) -> Guard:
    """Returns the guard for relays: a relay may have any address except Byway's own, where every request would loop.
    `config.checks` checks relays with an address; a name is resolved when the relay is dialed."""
    return Guard(("0.0.0.0/0", "::/0"), own_ports=ports, own_addresses=_own_addresses())


def public_addresses() -> Callable[[IPAddress], bool]:
    """Returns a function that tells whether an address is public, and not this computer's."""
    guard, anywhere = Guard((), own_addresses=_own_addresses()), Destination("relay.invalid", 443)
    return lambda address: guard.refuse_address(anywhere, address) is None


def _own_names() -> tuple[str, ...]:
    """Returns this computer's name; none when it is not a valid host name."""
    try:
        return (names.host(socket.gethostname()),)
    except ValueError:
        return ()


def _own_addresses() -> tuple[str, ...]:
    """Returns the source addresses of packets to public addresses."""
    return tuple(str(source) for source in map(source_address_for, _PUBLIC) if source is not None)
