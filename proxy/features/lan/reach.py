"""What guests may reach: public addresses, on every route, after the name was resolved.

On direct routes the guard checks each address that a name resolves to. Through a relay, the relay would resolve the
name, in a network of others, where it may lead to the relay's own server or to its neighbours. So the name is resolved
through that relay by encrypted DNS, and the relay gets an address that the guard allows. Nobody else learns the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from proxy.features.lan.relay_servers import RelayServers
from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.registry import Registry, RelayDialer
from proxy.net.dialers.tcp import GuardAddress, TcpDialer
from proxy.net.stream import Stream
from proxy.net.uplink.network_watch import source_address_for
from proxy.routing.address_guard import Guard, is_public, reached

if TYPE_CHECKING:
    from proxy.net.dialers.key_relay import LookupThrough

NOT_PUBLIC = "devices of the network reach public addresses only"


class GuestGuard(Guard):
    """The address guard for guests. It has no exceptions: `[safety] allow` is for this computer."""

    def __init__(self, guard: Guard, servers: RelayServers) -> None:
        """`guard` is the one for this computer; it knows the names of the home network."""
        super().__init__()
        self._of_this_computer = guard
        self._servers = servers

    def refuse_host(self, destination: Destination) -> str | None:
        """See Guard."""
        address, host = destination.address, destination.host
        if address is not None:
            return self.refuse_address(destination, address)
        if self._servers.names(host):
            return f"{host}: {NOT_PUBLIC}, and no relay's server"
        if self._of_this_computer.is_near(host) or super().refuse_host(destination):
            return f"{host} is a name of the home network: {NOT_PUBLIC}"
        return None

    def judge_address(
        self, destination: Destination, address: IPAddress, *, is_own: bool = False
    ) -> tuple[str | None, bool]:
        """See Guard. The answer may always change: this computer and relays get other addresses."""
        if not is_public(address):
            return f"{address}: {NOT_PUBLIC}", False
        inside = reached(address)
        if is_own or any(source_address_for(each) == each for each in inside):
            return f"{address} is this computer: {NOT_PUBLIC}", False
        if self._servers.has(address):
            return f"{address}: {NOT_PUBLIC}, and no relay's server", False
        return None, False


class GuestRegistry(Registry):
    """The dialers of the routes of a Setup, for guests. It shares all connections to relays with the Setup's own."""

    def __init__(self, registry: Registry, guard: GuestGuard) -> None:
        """Copies `registry`: nothing is parsed or checked again."""
        self.__dict__.update(registry.__dict__)
        self._guard: GuardAddress = guard.refuse_address
        self.direct = cast(TcpDialer, registry.direct).guarded_by(self._guard)
        if self._secure is not None:
            self._secure = cast(TcpDialer, self._secure).guarded_by(self._guard)
        self._wrapped, self._by_url = {}, {}
        self._guarded: dict[tuple[str, ...], RelayDialer] = {}

    def _relayed(self, names: tuple[str, ...]) -> RelayDialer:
        dialer = self._guarded.get(names)
        if dialer is None:
            dialer = self._guarded[names] = GuardedRelay(super()._relayed(names), self._guard, self._lookup_through)
        return dialer


class GuardedRelay:
    """Dials through a relay, to addresses that a guard allows. Keeps one lookup through the relay, with its cache."""

    def __init__(self, relay: RelayDialer, guard: GuardAddress, lookup_through: LookupThrough | None) -> None:
        """`lookup_through` is None where no encrypted DNS server is configured: then no name is dialed."""
        self._relay = relay
        self._guard = guard
        self._addresses = None if lookup_through is None else lookup_through(relay)
        self.carries = relay.carries

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer."""
        addresses: Sequence[IPAddress]
        if (address := destination.address) is not None:
            addresses = (address,)
        elif self._addresses is not None:
            addresses = sorted(await self._addresses(destination), key=lambda each: each.version)  # most relays: IPv4
        else:
            raise _refused(f"{destination.host} is not sent to a relay: [dns] servers could not tell where it leads")
        reasons = [self._guard(destination, each) for each in addresses]
        if None not in reasons:
            raise _refused(str(reasons[0]))
        allowed = addresses[reasons.index(None)]
        return await self._relay.dial(Destination(str(allowed), destination.port))


def _refused(reason: str) -> DialError:
    return DialError(reason, stage=Stage.CONNECT, symptom=Symptom.FORBIDDEN)
