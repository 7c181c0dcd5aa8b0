"""Reads the stored and current status of sites, plans of requests to them, and their rows of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TypeVar, Unpack

from proxy.config.relays import enabled_relays
from proxy.control.dependencies import Dependencies
from proxy.control.site_states import KnownSite, SiteStates, control_hosts
from proxy.model import Belief, Destination, Inbound, Plan, Request
from proxy.store.logged import LoggedConnection
from proxy.store.queries import LogFilter

FLUSH_S = 1.0
"""Seconds for which an answer waits until recent rows are written. `status` reports a slower disk as a problem."""

NO_REQUEST_ID = 0
"""The id of a request that is only planned."""


_BLOCK = 250
"""The sites between two pauses: about 2 ms, in which connections wait."""

T = TypeVar("T")
S = TypeVar("S")


class SiteReader:
    """Reads the status of sites on this network."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    def states(self, now: float) -> SiteStates:
        """Returns the states of sites on this network at `now`."""
        parts = self._parts
        setup = parts.setup()
        settings = setup.settings
        return SiteStates(
            parts.beliefs,
            parts.network(),
            parts.health.delivering([relay.name for relay in enabled_relays(settings.relay)]),
            now,
            setup.resolver.known,
            control_hosts(settings),
        )

    async def known(self, now: float) -> list[KnownSite]:
        """Returns all sites with a stored status, and those that failed within `known_s` on this network. When only a
        port failed, there is an entry for the port. Pauses regularly, so that connections go on."""
        states = self.states(now)
        return list(chain.from_iterable(await in_blocks(states.rows, states.subjects())))

    def belief(self, host: str, now: float) -> Belief:
        """Returns the belief that sessions use for a host on this network."""
        return self.states(now).belief(host)

    async def plan(self, destination: Destination) -> tuple[Belief, Plan]:
        """Returns the belief about a destination, and the plan for a request to it now."""
        request = Request(NO_REQUEST_ID, destination, Inbound.CONNECT, client="")
        return self.belief(destination.host, time.time()), await self._parts.plan(request)

    async def rows(self, **selected: Unpack[LogFilter]) -> list[LoggedConnection]:
        """Returns rows of the log, as `store.queries.log`, including connections that have just ended. Raises
        ValueError for an unknown outcome."""
        store = self._parts.store

        def read() -> list[LoggedConnection]:
            store.flush(FLUSH_S)
            return store.log(**selected)

        return await asyncio.to_thread(read)


async def in_blocks(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Returns the results of a function for all items. Other tasks run after each block of items."""
    results = []
    for count, item in enumerate(items, 1):
        results.append(function(item))
        if count % _BLOCK == 0:
            await asyncio.sleep(0)
    return results
