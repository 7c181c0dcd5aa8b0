"""The address guard with the facts about this computer that it needs.

The guard itself is pure. Here it gets this computer's names and addresses, and whether another proxy on this computer
answers names with fake addresses. It is asked about every address before a connection to it is opened.
"""

from __future__ import annotations

import contextlib
import socket

from proxy.config.load import Loaded
from proxy.errors import ConfigError
from proxy.model import Destination, IPAddress
from proxy.net.resolver import Resolver
from proxy.net.tcp import GuardAddress
from proxy.routing.guard import Guard
from proxy.wire import names


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


def refusal_by(guard: Guard, resolver: Resolver | None = None) -> GuardAddress:
    """The guard for direct connections. A laptop has several addresses and gets others as it travels, so whether a
    private address is its own is checked at that moment. Where another proxy on this computer answers names with fake
    addresses, as `resolver` knows, a name may resolve to one."""

    def refusal(destination: Destination, address: IPAddress) -> str | None:
        if resolver is not None and destination.address is None and resolver.is_fake(address):
            return None
        is_own = not address.is_global and str(address) == _source_towards(str(address))
        return guard.refuse_address(destination, address, is_own=is_own)

    return refusal


def _own_names() -> tuple[str, ...]:
    """What this computer is called, where that is a host name at all."""
    try:
        return (names.host(socket.gethostname()),)
    except ValueError:
        return ()


def _own_addresses() -> tuple[str, ...]:
    """The addresses that packets to elsewhere leave from: to addresses for documentation (RFC 5737, RFC 3849)."""
    return tuple(filter(None, map(_source_towards, ("192.0.2.1", "2001:db8::1"))))


def _source_towards(address: str) -> str:
    """The address that packets to `address` would leave from: that one, when it is ours. Nothing is sent: connecting a
    UDP socket only asks the routing table. Empty when there is no route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 9))
        return str(sock.getsockname()[0])
    return ""
