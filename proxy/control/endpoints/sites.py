"""Sites: status, history and overrides."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from proxy.control import serialize
from proxy.control.access import Refused
from proxy.control.answers import answer
from proxy.control.dependencies import Dependencies
from proxy.control.relay_reader import RelayReader
from proxy.control.request_parsing import parse_body, parse_field, parse_query
from proxy.control.site import scope
from proxy.control.site_reader import FLUSH_S, SiteReader
from proxy.control.timeline import spells
from proxy.model import Override
from proxy.routing.rules import parse_action
from proxy.session.events import Learned

OVERRIDE_MAX_S = 366 * 86_400
"""An override that ends lasts a year at most."""


class SiteEndpoints:
    """Lists sites, and sets what is done with one."""

    def __init__(self, parts: Dependencies, sites: SiteReader, relays: RelayReader) -> None:
        self._parts = parts
        self._sites = sites
        self._relays = relays

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/sites", self.sites),
            web.get("/v1/sites/{host}", self.site),
            web.put("/v1/sites/{host}", self.set_site),
            web.delete("/v1/sites/{host}", self.forget_site),
        ]

    async def sites(self, request: web.Request) -> web.Response:
        parse_query(request)
        overrides = self._parts.setup().router.overrides
        return answer(
            network=self._parts.network(),
            sites=self._sites.all(time.time()),
            overrides=[serialize.override(host, override) for host, override in sorted(overrides.items())],
        )

    async def site(self, request: web.Request) -> web.Response:
        parse_query(request)
        host = parse_field(scope, request.match_info["host"])
        now = time.time()
        here = self._sites.belief(host, now)
        elsewhere = [
            belief
            for belief in self._parts.beliefs.all(now=now)
            if belief.scope == host and belief.network != here.network
        ]
        covering = self._override_of(host)
        changes = await self._sites.changes(host)
        return answer(
            host=host,
            belief=self._sites.document(here, now, host),
            elsewhere=[self._sites.document(belief, now) for belief in elsewhere],
            override=None if covering is None else serialize.override(*covering),
            timeline=spells(changes, [here, *elsewhere]),
            changes=changes,
        )

    async def set_site(self, request: web.Request) -> web.Response:
        host = parse_field(scope, request.match_info["host"])
        asked = await parse_body(request, {"action": str, "for_s": int})
        if "action" not in asked:
            raise Refused(400, "action is missing")
        if not 0 < asked.get("for_s", 1) <= OVERRIDE_MAX_S:
            raise Refused(400, f"for_s must be from 1 to {OVERRIDE_MAX_S}")
        action, relay = parse_field(
            lambda text: parse_action(text, relays=self._relays.usable_names()), asked["action"]
        )
        override = Override(action, relay, time.time() + asked["for_s"] if "for_s" in asked else 0.0)
        self._parts.override(host, override)
        await asyncio.to_thread(self._parts.store.flush, FLUSH_S)  # answer only once it is stored
        return answer(host=host, override=serialize.override(host, override))

    async def forget_site(self, request: web.Request) -> web.Response:
        parse_query(request)
        host = parse_field(scope, request.match_info["host"])
        below = [name for name in self._parts.setup().router.overrides if name == host or name.endswith(f".{host}")]
        for name in below:
            self._parts.override(name, None)
        changes = self._parts.beliefs.forget(host)
        self._parts.events.emit(Learned(changes))
        return answer(host=host, forgotten=sorted({change.scope for change in changes}), overrides=sorted(below))

    def _override_of(self, host: str) -> tuple[str, Override] | None:
        """Returns the most specific override that covers the host, with its scope."""
        overrides = self._parts.setup().router.overrides
        while True:
            if host in overrides:
                return host, overrides[host]
            _, dot, host = host.partition(".")
            if not dot:
                return None
