"""Reads what is known of sites now: the stored status, the current one, the plan of a request, and their rows of the
log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, Unpack
from urllib.parse import urlsplit

from proxy.config.relays import enabled_relays
from proxy.control.answers.connections import ConnectionJson
from proxy.control.answers.sites import ChangeJson, SiteJson, SpellJson
from proxy.control.dependencies import Dependencies
from proxy.control.site import is_of_same_site, with_or_without_www
from proxy.control.timeline import scopes, spells
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.verdict.site_status import LastResult, SiteState, SiteStatus, Source, port_state, site_state
from proxy.model import Belief, Destination, Inbound, NetworkId, NetworkState, Plan, Request
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
    """What is said of a site now, and the stored status that this rests on. `name` is what it is said of: a host, or a
    scope of hosts."""

    name: str
    stored: Belief
    state: SiteState

    @property
    def is_trouble(self) -> bool:
        """Whether the site, or the way to it, is in trouble now."""
        return self.state.status.is_trouble

    def answer(self) -> SiteJson:
        """Returns what the API says of it."""
        return SiteJson.of(self.stored, self.state, self.name)


@frozen_dataclass
class _Reading:
    """What the states of all sites rest on at one moment."""

    beliefs: Beliefs
    network: NetworkId
    network_state: NetworkState
    working_relays: Mapping[str, float]
    now: float

    def site(self, name: str, stored: Belief) -> KnownSite:
        """Returns what is said of a site as a whole."""
        if stored.network != self.network:
            return KnownSite(name, stored, site_state(stored))
        last = self.beliefs.last_result(name, network=self.network, now=self.now)
        own_port = self.beliefs.own_port(name, network=self.network)
        state = site_state(
            stored, last, self.network_state, self.working_relays, own_port, self.beliefs.resolver_fails(self.network)
        )
        return KnownSite(name, stored, state)

    def port(self, host: str, last: LastResult) -> list[KnownSite]:
        """Returns one port of a host with what is said of it, if it is in trouble."""
        site = KnownSite(host, Belief(host, self.network), port_state(last, self.network_state, self.working_relays))
        return [site] if site.is_trouble else []


class SiteReader:
    """Reads the status of sites on this network, as sessions use it."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    async def known(self, now: float) -> list[KnownSite]:
        """Returns all sites with a stored status, and those that failed recently on this network; a port that failed
        alone is one of its own. Connections go on meanwhile."""
        beliefs, here, reading = self._parts.beliefs, self._parts.network(), self._reading(now)
        stored = beliefs.all(now=now)
        sites = await in_blocks(lambda belief: reading.site(belief.scope, belief), stored)
        sites = [site for site in sites if site.state.status is not SiteStatus.NOT_TESTED]  # whose reason is over
        named = {site.name for site in sites if site.stored.network == here}
        controls = {urlsplit(page).hostname for page in self._parts.setup().settings.auto.controls}
        for host, result in beliefs.recent_results(network=here, now=now, within_s=_RECENT_S):
            was_visited = result.source is Source.CONNECTION or beliefs.visited(host, network=here) is not None
            if host in controls and not was_visited:
                continue  # only Byway asked for it
            whole = reading.site(host, self.belief(host, now))
            if not whole.is_trouble:
                sites += reading.port(host, result)
            elif host not in named:
                named.add(host)
                sites.append(whole)
        return sites

    def site(self, stored: Belief, now: float, host: str = "") -> SiteJson:
        """Returns what is said of a site; `host` names it where the stored scope is wider."""
        return self._reading(now).site(host or stored.scope, stored).answer()

    def meant(self, host: str, now: float) -> str:
        """Returns the host that people mean by a name: itself, or with or without `www.` where only that is known."""
        other = with_or_without_www(host)
        if not other or not self._is_unknown(host, now) or self._is_unknown(other, now):
            return host
        return other

    def _is_unknown(self, host: str, now: float) -> bool:
        return self._reading(now).site(host, self.belief(host, now)).state.status is SiteStatus.NOT_TESTED

    async def of_same_site(self, host: str, now: float) -> list[SiteJson]:
        """Returns what is known of the other hosts of a site on this network, those in trouble first."""
        here = self._parts.network()
        sites = [site for site in await self.known(now) if site.stored.network == here]
        found = [site for site in sites if is_of_same_site(site.name, host) and not site.state.port]
        return [site.answer() for site in sorted(found, key=lambda site: (not site.is_trouble, site.name))]

    def ports(self, host: str, now: float) -> list[SiteJson]:
        """Returns the ports of a host that are in trouble while the site as a whole is not."""
        reading = self._reading(now)
        if reading.site(host, self.belief(host, now)).is_trouble:
            return []
        results = self._parts.beliefs.results_by_port(host, network=self._parts.network(), now=now)
        return [site.answer() for result in results for site in reading.port(host, result)]

    def _reading(self, now: float) -> _Reading:
        network = self._parts.network()
        state = self._parts.beliefs.network_state(network)
        return _Reading(self._parts.beliefs, network, state, self._working(now), now)

    def _working(self, now: float) -> Mapping[str, float]:
        """Returns the relays that delivered lately, and when each last did."""
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

    async def history(self, host: str, now: float) -> tuple[tuple[ChangeJson, ...], tuple[SpellJson, ...]]:
        """Returns the changes of status of a host and of the domains above it, the newest first, and the spells that
        they make."""

        def read() -> list[ChangeJson]:
            store = self._parts.store
            store.flush(FLUSH_S)
            changes = [ChangeJson(**row) for scope in scopes(host) for row in store.changes(scope)]
            return sorted(changes, key=lambda change: change.at, reverse=True)

        changes = await asyncio.to_thread(read)
        return tuple(changes), spells(changes, self._parts.beliefs.held(scopes(host), now=now))


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
