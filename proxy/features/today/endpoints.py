"""What Byway does now: problems, routes, relays, troubled sites, addons."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time

from proxy import __version__
from proxy.config.relays import lost_overrides
from proxy.control.answers.sites import overrides_json
from proxy.control.answers.switches import ModeJson
from proxy.control.dependencies import Dependencies
from proxy.control.endpoint import Endpoint
from proxy.control.relay_reader import RelayReader
from proxy.control.site_reader import SiteReader, answers
from proxy.features.rules import lists
from proxy.features.today.answers import AddonJson, AddonsAnswer, RouteSuccessJson, StatusAnswer, TrafficJson
from proxy.features.today.problems import StatusSnapshot, problems
from proxy.features.today.traffic import WITHIN_S, failing_traffic
from proxy.model import NetworkId, bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.queries import FailedVisit, delivered_at, failed_visits
from proxy.wire.relay_url import redact

_SUCCESS_WINDOW_S = 86_400.0


@frozen_dataclass
class StatusEndpoints:
    """Answers with the state of everything."""

    parts: Dependencies
    sites: SiteReader
    relays: RelayReader

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/status", self.status),
            Endpoint("GET", "/v1/addons", self.addons),
        ]

    async def status(self) -> StatusAnswer:
        """Says what is on, what is wrong, which sites are in trouble, and how the routes do."""
        parts, now = self.parts, time.time()
        success = await asyncio.to_thread(parts.store.route_success, now - _SUCCESS_WINDOW_S)
        network = parts.network()
        state = parts.beliefs.network_state(network)
        known = await self.sites.known(now)
        troubled = await answers(site for site in known if site.stored.network == network and site.is_trouble)
        traffic = await self._traffic(network, now)
        visits = await self.relays.visits(now)
        relays = await self.relays.all(now, visits)
        in_use = [relay for relay in relays if relay.enabled]
        settings = parts.setup().settings
        listen = settings.listen
        live = dict(parts.counters())
        known_lists = await lists.describe(settings.list, parts.setup().router.rules.lists, parts.copies, now)
        notices = (
            *parts.setup().loaded.notices,
            *self.relays.lost_selections().values(),
            *lost_overrides(parts.setup().loaded.settings, parts.setup().router.overrides),
            *parts.store.notices,
        )
        return StatusAnswer(
            pid=os.getpid(),
            byway=__version__,
            now=now,
            listen=f"{bracketed(listen.address)}:{live.get('port', listen.port)}",
            network=network,
            network_name=next((name for name, its in settings.networks.items() if its == network), ""),
            network_state=state,
            mode=ModeJson.of(parts.modes),
            traffic=traffic,
            problems=problems(
                StatusSnapshot(
                    live,
                    state,
                    in_use,
                    troubled,
                    parts.addons(),
                    parts.store.trouble,
                    known_lists,
                    now,
                    parts.beliefs.portal_page(network),
                    parts.beliefs.clock_ahead(now),
                    traffic,
                )
            ),
            notices=tuple(map(redact, notices)),
            live=live,
            overrides=overrides_json(
                {host: override for host, override in parts.setup().router.overrides.items() if override.until}
            ),
            relays=relays,
            groups=self.relays.groups(relays, visits, now),
            routes=tuple(RouteSuccessJson(**row) for row in success),
            routes_hours=int(_SUCCESS_WINDOW_S / 3600),
            sites=troubled,
        )

    async def _traffic(self, network: NetworkId, now: float) -> TrafficJson | None:
        """Says how traffic fails as a whole, if it does."""

        def read(db: sqlite3.Connection) -> tuple[list[FailedVisit], float]:
            return failed_visits(db, now - WITHIN_S, network), delivered_at(db, network)

        failed, logged_at = await asyncio.to_thread(self.parts.store.read, read)
        relays_at = self.relays.worked_at()
        return failing_traffic(failed, max(logged_at, relays_at, self.parts.beliefs.delivered_at(network)), now)

    async def addons(self) -> AddonsAnswer:
        """Lists the addons."""
        return AddonsAnswer(tuple(map(AddonJson.of, self.parts.addons())))
