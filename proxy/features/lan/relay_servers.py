"""The names and addresses of the servers of relays, which guests may not reach.

A relay may admit whoever comes from this computer, and a guest would come from there too. The names stand in the
configuration. An address behind a name is known once the relay was dialed here, or when `learn` has resolved the name,
in the way that a visit through the relay would.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from proxy.config.relays import Relay
from proxy.model import IPAddress, literal
from proxy.model.errors import DialError
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.tasks import spawn
from proxy.routing.address_guard import reached
from proxy.session.setup import Setup
from proxy.wire.relay_url import RelayKind

LEARNED_MAX = 64
"""Names that are resolved at most. Those of larger subscriptions are known once they were dialed."""

ADDRESSES_MAX = 4096

RETRY_S = 60.0
"""Seconds after which a name without an answer is resolved again."""

_LEARN_S = 5.0
_REFRESH_S = 1.0


class RelayServers:
    """The servers of the relays of one Setup, also of disabled ones."""

    def __init__(self, setup: Setup, lookup: AddressLookup | None) -> None:
        """`lookup` resolves the names of first relays. Of a later relay in a chain, the relay before it resolves the
        name, so its address stays unknown here."""
        self._lookup = lookup
        self._names: set[str] = set()
        self._addresses: set[IPAddress] = set()
        first: dict[str, None] = {}
        for relay in _all_relays(setup):
            for place, hop in enumerate(relay.hops):
                if isinstance(hop, str) or hop.kind is RelayKind.ADDON:
                    continue
                for endpoint in hop.endpoints:
                    if (address := literal(endpoint.host)) is not None:
                        self._addresses.update(reached(address))
                        continue
                    self._names.add(endpoint.host)
                    if place == 0:
                        first[endpoint.host] = None
        self._first = tuple(first)
        self._tried_at: dict[str, float] = {}
        self._refreshed_at = float("-inf")
        self._learning: asyncio.Task[None] | None = None

    def names(self, host: str) -> bool:
        """Whether `host` is the name of a relay's server."""
        return host in self._names

    def has(self, address: IPAddress) -> bool:
        """Whether `address`, or an IPv4 address in it, is known to be that of a relay's server."""
        self._refresh()
        return not self._addresses.isdisjoint(reached(address))

    async def learn(self) -> None:
        """Resolves the names of first relays whose addresses are not known, up to LEARNED_MAX. Returns when all have an
        answer, or after five seconds."""
        if self._learning is None or self._learning.done():
            if not self._unknown():
                return
            self._learning = spawn(self._resolve_unknown(), name="resolve relays for guests")
        await asyncio.wait([self._learning], timeout=_LEARN_S)

    def _unknown(self) -> list[str]:
        now = time.monotonic()
        return [
            name
            for name in self._first[:LEARNED_MAX]
            if self._lookup is not None and now - self._tried_at.get(name, float("-inf")) >= RETRY_S
        ]

    async def _resolve_unknown(self) -> None:
        await asyncio.gather(*map(self._resolve, self._unknown()))

    async def _resolve(self, name: str) -> None:
        assert self._lookup is not None
        self._tried_at[name] = time.monotonic()
        try:
            self._add(await self._lookup.resolve(name))
        except DialError:
            return  # the relay cannot be reached by its name either

    def _refresh(self) -> None:
        """Adds the addresses with which relays were dialed since."""
        now = time.monotonic()
        if self._lookup is None or now - self._refreshed_at < _REFRESH_S:
            return
        self._refreshed_at = now
        for name in self._first:
            self._add(self._lookup.cached(name) or ())

    def _add(self, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            if len(self._addresses) < ADDRESSES_MAX:
                self._addresses.update(reached(address))


def _all_relays(setup: Setup) -> Iterator[Relay]:
    relays = setup.loaded.relays
    yield from relays.in_use
    in_use = {relay.name for relay in relays.in_use}
    for config in relays.expanded.relay:
        if config.name not in in_use:
            yield Relay.parse(config.name, config.url, allowed=config.allowed)
