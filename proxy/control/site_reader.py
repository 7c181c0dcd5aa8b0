"""Reads the stored and current status of sites, and their rows of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeVar, Unpack

from proxy.config.relays import enabled_relays
from proxy.control.kept_sites import KeptSites
from proxy.control.site_states import KnownSite, SiteStates, control_hosts
from proxy.detect.scopes import registrable
from proxy.store import queries
from proxy.store.logged import LoggedConnection

if TYPE_CHECKING:
    from proxy.config.schema import Settings
    from proxy.detect.beliefs.beliefs import Beliefs
    from proxy.detect.relay_groups import RelayGroups
    from proxy.detect.relay_health import Health
    from proxy.detect.relay_ways import RelayObstacle
    from proxy.model import IPAddress, NetworkId, Override, RelayGroup
    from proxy.store.database import Query
    from proxy.store.list_copies import ListCopies
    from proxy.store.relay_tests import RelayTests

_BLOCK = 250
"""The sites between two pauses: about 2 ms, in which connections wait."""

T = TypeVar("T")
S = TypeVar("S")


class ReadableParts(Protocol):
    """The parts from which sites, relays and the log are answered: those of a running Byway (`Dependencies`), or those
    made from its files while none runs (`terminal.stored.Stored`)."""

    @property
    def settings(self) -> Settings: ...
    @property
    def overrides(self) -> Mapping[str, Override]: ...
    @property
    def beliefs(self) -> Beliefs: ...
    @property
    def health(self) -> Health: ...
    @property
    def groups(self) -> RelayGroups: ...
    @property
    def configured_groups(self) -> Sequence[RelayGroup]: ...
    @property
    def relay_tests(self) -> RelayTests: ...
    @property
    def copies(self) -> ListCopies: ...
    def network(self) -> NetworkId: ...
    def addresses(self, host: str) -> Iterable[IPAddress]:
        """Those that a name is known to have."""

    def relay_obstacles(self) -> Mapping[str, RelayObstacle]: ...
    async def flush(self) -> None:
        """Waits until the connections that have ended are in the log, or the disk is too slow."""

    async def read(self, query: Query[T]) -> T:
        """Runs a query on the log."""


class SiteReader:
    """Reads the status of sites on this network."""

    def __init__(self, parts: ReadableParts) -> None:
        self._parts = parts
        self._kept = KeptSites()
        self._renewing = asyncio.Lock()

    def states(self, now: float) -> SiteStates:
        """Returns the states of sites on this network at `now`."""
        parts = self._parts
        return SiteStates(
            parts.beliefs,
            parts.network(),
            parts.health.delivering([relay.name for relay in enabled_relays(parts.settings.relay)]),
            now,
            parts.addresses,
            control_hosts(parts.settings),
        )

    async def known(self, now: float) -> list[KnownSite]:
        """Returns all sites with a stored status, and those that failed within `known_s` on this network, in the order
        of lists: those of this network first, of them those in trouble first, the latest of them first. When only a
        port failed, there is an entry for the port. Pauses regularly, so that connections go on."""
        kept, here = await self.kept(now), self._parts.network()
        networks = sorted(kept.networks(), key=lambda network: (network != here, network))
        return [*chain.from_iterable(map(kept.on_network, networks))]

    async def kept(self, now: float) -> KeptSites:
        """Returns the same sites, with their numbers. They are true until the caller awaits anything."""
        began = time.monotonic()
        async with self._renewing:
            kept = self._kept
            try:
                # Beliefs are asked for the present moment: an earlier one than that of another task would raise every
                # generation, so that all rows were outdated again.
                outdated = [*kept.outdated(self.states(now + time.monotonic() - began))]
                for first in range(0, len(outdated), _BLOCK):
                    states = self.states(now + time.monotonic() - began)
                    for domain in outdated[first : first + _BLOCK]:
                        kept.renew(states, domain)
                    await asyncio.sleep(0)
            except BaseException:
                self.forget()  # some of the outdated rows may be left
                raise
            return kept

    async def of_same_site(self, host: str, now: float) -> list[KnownSite]:
        """Returns the sites on this network with the same registrable domain as `host`, without `host`: see
        `SiteStates.of_same_site`."""
        kept, network = await self.kept(now), self._parts.network()
        return self.states(now).of_same_site(host, kept.of_domain((network, registrable(host))))

    def forget(self) -> None:
        """Forgets all names: the next reading makes all rows anew."""
        self._kept = KeptSites()

    async def rows(self, **selected: Unpack[queries.LogFilter]) -> list[LoggedConnection]:
        """Returns rows of the log, as `store.queries.log`, including connections that have just ended. Raises
        ValueError for an unknown outcome."""
        await self._parts.flush()
        return await self._parts.read(lambda db: queries.log(db, **selected))


async def in_blocks(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Returns the results of a function for all items. Other tasks run after each block of items."""
    results = []
    for count, item in enumerate(items, 1):
        results.append(function(item))
        if count % _BLOCK == 0:
            await asyncio.sleep(0)
    return results
