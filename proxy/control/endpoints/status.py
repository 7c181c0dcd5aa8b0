"""What Byway does now: problems, routes, relays, troubled sites, addons."""

from __future__ import annotations

import asyncio
import os
import time

from aiohttp import web

from proxy import __version__
from proxy.control import lists, serialize
from proxy.control.answers import answer
from proxy.control.dependencies import Dependencies
from proxy.control.problems import StatusSnapshot, problems
from proxy.control.relay_reader import RelayReader
from proxy.control.request_parsing import parse_query
from proxy.control.site_reader import SiteReader
from proxy.model import bracketed
from proxy.wire.relay_url import redact

_SUCCESS_WINDOW_S = 86_400.0


class StatusEndpoints:
    """Answers with the state of everything."""

    def __init__(self, parts: Dependencies, sites: SiteReader, relays: RelayReader) -> None:
        self._parts = parts
        self._sites = sites
        self._relays = relays

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/status", self.status),
            web.get("/v1/addons", self.addons),
        ]

    async def status(self, request: web.Request) -> web.Response:
        parse_query(request)
        parts, now = self._parts, time.time()
        success = await asyncio.to_thread(parts.store.route_success, now - _SUCCESS_WINDOW_S)
        network = parts.network()
        state = parts.beliefs.network_state(network)
        troubled = [site for site in self._sites.all(now) if site["network"] == network and site["is_trouble"]]
        visits = await self._relays.visits(now)
        relays = await self._relays.documents(now, visits)
        in_use = [relay for relay in relays if relay["enabled"]]
        settings = parts.setup().settings
        listen = settings.listen
        live = dict(parts.counters())
        known_lists = await lists.describe(settings.list, parts.setup().router.rules.lists, parts.copies, now)
        return answer(
            pid=os.getpid(),
            byway=__version__,
            now=now,
            listen=f"{bracketed(listen.address)}:{live.get('port', listen.port)}",
            network=network,
            network_name=next((name for name, its in settings.networks.items() if its == network), ""),
            network_state=str(state),
            mode=serialize.mode(self._parts.modes),
            problems=problems(
                StatusSnapshot(live, state, in_use, troubled, parts.addons(), parts.store.trouble, known_lists, now)
            ),
            notices=[
                redact(notice)
                for notice in (
                    *parts.setup().loaded.notices,
                    *self._relays.lost_selections().values(),
                    *parts.store.notices,
                )
            ],
            live=live,
            overrides=[
                serialize.override(host, override)
                for host, override in sorted(parts.setup().router.overrides.items())
                if override.until
            ],
            relays=relays,
            groups=self._relays.groups(relays, visits, now),
            routes=success,
            routes_hours=int(_SUCCESS_WINDOW_S / 3600),
            sites=troubled,
        )

    async def addons(self, request: web.Request) -> web.Response:
        parse_query(request)
        return answer(addons=[serialize.addon(state) for state in self._parts.addons()])
