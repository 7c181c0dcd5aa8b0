"""Reads what is known of sites now: the stored status, the current one, the plan of a request, and their rows of the
log."""

from __future__ import annotations

import asyncio
import time
from typing import Unpack

from proxy.config.relays import enabled_relays
from proxy.control.answers.connections import ConnectionJson
from proxy.control.answers.sites import ChangeJson, SiteJson
from proxy.control.dependencies import Dependencies
from proxy.control.timeline import scopes
from proxy.detect.verdict.site_status import SiteState, site_state
from proxy.model import Belief, Destination, Inbound, Plan, Request
from proxy.store.queries import LogFilter

_RECENT_S = 3600.0
"""A site that failed within this time is listed even if nothing is stored about it."""

FLUSH_S = 1.0
"""How long an answer waits for rows that were just recorded. A disk that takes longer is reported as a problem."""

NO_REQUEST_ID = 0
"""The id of a request that no client made: only its plan is of interest."""


class SiteReader:
    """Reads the status of sites on this network, as sessions use it."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    def all(self, now: float) -> list[SiteJson]:
        """Returns all sites with a stored status, and those that failed recently on this network."""
        parts, here = self._parts, self._parts.network()
        stored = parts.beliefs.all(now=now)
        known = {belief.scope for belief in stored if belief.network == here}
        recent = parts.beliefs.recent_results(network=here, now=now, within_s=_RECENT_S)
        stored += [Belief(host, here) for host, result in recent if host not in known and result.status.is_trouble]
        return [self.site(belief, now) for belief in stored]

    def site(self, stored: Belief, now: float, host: str = "") -> SiteJson:
        """Returns the stored and the current status of a site; `host` names it where the stored scope is wider."""
        return SiteJson.of(stored, self.current(stored, now, host))

    def current(self, stored: Belief, now: float, host: str = "") -> SiteState:
        """Returns the current status of a site."""
        parts = self._parts
        if stored.network != parts.network():
            return site_state(stored)
        last = parts.beliefs.last_result(host or stored.scope, network=stored.network, now=now)
        working = parts.health.working([relay.name for relay in enabled_relays(parts.setup().settings.relay)], now)
        return site_state(stored, last, parts.beliefs.network_state(stored.network), working)

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
            return [change for row in store.changes() if (change := ChangeJson.of_row(row)).at >= since]

        return await asyncio.to_thread(read)

    async def changes(self, host: str) -> list[ChangeJson]:
        """Returns the changes of status of a host and of the domains above it, the newest first."""

        def read() -> list[ChangeJson]:
            store = self._parts.store
            store.flush(FLUSH_S)
            changes = [ChangeJson.of_row(row) for scope in scopes(host) for row in store.changes(scope)]
            return sorted(changes, key=lambda change: change.at, reverse=True)

        return await asyncio.to_thread(read)
