"""Reads what is known of sites now: the stored status, the current one, the plan of a request, and their rows of the
log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TypeVar, Unpack

from proxy.config.relays import enabled_relays
from proxy.control.answers.connections import ConnectionJson
from proxy.control.answers.sites import ChangeJson, SiteJson
from proxy.control.dependencies import Dependencies
from proxy.control.timeline import scopes
from proxy.detect.verdict.site_status import SiteState, site_state
from proxy.model import Belief, Destination, Inbound, Plan, Request
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.queries import LogFilter

_RECENT_S = 3600.0
"""A site that failed within this time is listed even if nothing is stored about it."""

FLUSH_S = 1.0
"""How long an answer waits for rows that were just recorded. A disk that takes longer is reported as a problem."""

NO_REQUEST_ID = 0
"""The id of a request that no client made: only its plan is of interest."""


_BLOCK = 250
"""Sites that are looked at without a pause: about 2 ms, in which no connection goes on."""

T = TypeVar("T")
S = TypeVar("S")


@frozen_dataclass
class KnownSite:
    """A site with its stored and its current status."""

    stored: Belief
    state: SiteState

    @property
    def is_trouble(self) -> bool:
        """Whether the site, or the way to it, is in trouble now."""
        return self.state.status.is_trouble

    @property
    def found_at(self) -> float:
        """When its current status was found, in seconds since the epoch; 0: not known."""
        return self.state.at or self.stored.since

    def answer(self) -> SiteJson:
        """Returns what the API says of it."""
        return SiteJson.of(self.stored, self.state)


class SiteReader:
    """Reads the status of sites on this network, as sessions use it."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    async def known(self, now: float) -> list[KnownSite]:
        """Returns all sites with a stored status, and those that failed recently on this network. Connections go on
        meanwhile."""
        beliefs, here = self._parts.beliefs, self._parts.network()
        state, working = beliefs.network_state(here), self._working(now)

        def read(stored: Belief) -> KnownSite:
            if stored.network != here:
                return KnownSite(stored, site_state(stored))
            last = beliefs.last_result(stored.scope, network=here, now=now)
            return KnownSite(stored, site_state(stored, last, state, working))

        stored = beliefs.all(now=now)
        scopes_here = {belief.scope for belief in stored if belief.network == here}
        recent = beliefs.recent_results(network=here, now=now, within_s=_RECENT_S)
        failing = [host for host, result in recent if host not in scopes_here and result.status.is_trouble]
        return await in_blocks(read, stored + [Belief(host, here) for host in failing])

    def site(self, stored: Belief, now: float, host: str = "") -> SiteJson:
        """Returns the stored and the current status of a site; `host` names it where the stored scope is wider."""
        beliefs = self._parts.beliefs
        if stored.network != self._parts.network():
            return SiteJson.of(stored, site_state(stored))
        last = beliefs.last_result(host or stored.scope, network=stored.network, now=now)
        state = beliefs.network_state(stored.network)
        return SiteJson.of(stored, site_state(stored, last, state, self._working(now)))

    def _working(self, now: float) -> frozenset[str]:
        """Returns the names of the relays that delivered lately."""
        return self._parts.health.working([r.name for r in enabled_relays(self._parts.setup().settings.relay)], now)

    def belief(self, host: str, now: float) -> Belief:
        """Returns the belief that sessions use for a host here. The known addresses of its name count, too."""
        known = self._parts.setup().resolver.known(host)
        return self._parts.beliefs.lookup(host, network=self._parts.network(), now=now, addresses=known)

    async def plan(self, destination: Destination) -> tuple[Belief, Plan]:
        """Returns the belief about a destination, and the plan for a request to it now."""
        request = Request(NO_REQUEST_ID, destination, Inbound.CONNECT, client="")
        return self.belief(destination.host, time.time()), await self._parts.plan(request)

    async def rows(self, **selected: Unpack[LogFilter]) -> list[ConnectionJson]:
        """Returns rows of the log, with all connections that have ended until now. Raises ValueError for an unknown
        outcome."""
        store = self._parts.store

        def read() -> list[ConnectionJson]:
            store.flush(FLUSH_S)
            return list(map(ConnectionJson.of_row, store.log(**selected)))

        return await asyncio.to_thread(read)

    async def recent_changes(self, since: float) -> list[ChangeJson]:
        """Returns the changes of status of all sites since then, the newest first; of very many, the newest."""

        def read() -> list[ChangeJson]:
            store = self._parts.store
            store.flush(FLUSH_S)
            return [change for row in store.changes() if (change := ChangeJson(**row)).at >= since]

        return await asyncio.to_thread(read)

    async def changes(self, host: str) -> list[ChangeJson]:
        """Returns the changes of status of a host and of the domains above it, the newest first."""

        def read() -> list[ChangeJson]:
            store = self._parts.store
            store.flush(FLUSH_S)
            changes = [ChangeJson(**row) for scope in scopes(host) for row in store.changes(scope)]
            return sorted(changes, key=lambda change: change.at, reverse=True)

        return await asyncio.to_thread(read)


async def answers(sites: Iterable[KnownSite]) -> tuple[SiteJson, ...]:
    """Returns what the API says of sites. Connections go on meanwhile."""
    return tuple(await in_blocks(KnownSite.answer, sites))


async def in_blocks(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Returns what a function makes of each of the items. Other tasks run between two blocks of them."""
    made = []
    for count, item in enumerate(items, 1):
        made.append(function(item))
        if count % _BLOCK == 0:
            await asyncio.sleep(0)
    return made
