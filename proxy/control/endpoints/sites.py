"""Sites: status, history and overrides."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.sites import (
    ForgottenSiteAnswer,
    OverrideAnswer,
    OverrideJson,
    SiteAnswer,
    SitesAnswer,
    overrides_json,
)
from proxy.control.dependencies import Dependencies
from proxy.control.relay_reader import RelayReader
from proxy.control.request_parsing import parse_body, parse_field, parse_query
from proxy.control.responses import answer
from proxy.control.site import scope
from proxy.control.site_reader import FLUSH_S, SiteReader
from proxy.control.timeline import spells
from proxy.model import Override
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rules import parse_action
from proxy.session.events import Learned

OVERRIDE_MAX_S = 366 * 86_400
"""An override that ends lasts a year at most."""


@frozen_dataclass
class SiteEndpoints:
    """Lists sites, and sets what is done with one."""

    parts: Dependencies
    sites: SiteReader
    relays: RelayReader

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/sites", self.list_sites),
            web.get("/v1/sites/{host}", self.show_site),
            web.put("/v1/sites/{host}", self.set_site),
            web.delete("/v1/sites/{host}", self.forget_site),
        ]

    async def list_sites(self, request: web.Request) -> web.Response:
        parse_query(request)
        return answer(self.read_all())

    def read_all(self) -> SitesAnswer:
        return SitesAnswer(
            network=self.parts.network(),
            sites=tuple(self.sites.all(time.time())),
            overrides=overrides_json(self.parts.setup().router.overrides),
        )

    async def show_site(self, request: web.Request) -> web.Response:
        parse_query(request)
        return answer(await self.read(parse_field(scope, request.match_info["host"])))

    async def read(self, host: str) -> SiteAnswer:
        now = time.time()
        here = self.sites.belief(host, now)
        elsewhere = [
            belief
            for belief in self.parts.beliefs.all(now=now)
            if belief.scope == host and belief.network != here.network
        ]
        covering = self._override_of(host)
        changes = await self.sites.changes(host)
        return SiteAnswer(
            host=host,
            belief=self.sites.site(here, now, host),
            elsewhere=tuple(self.sites.site(belief, now) for belief in elsewhere),
            override=None if covering is None else OverrideJson.of(*covering),
            timeline=spells(changes, [here, *elsewhere]),
            changes=tuple(changes),
        )

    async def set_site(self, request: web.Request) -> web.Response:
        host = parse_field(scope, request.match_info["host"])
        asked = await parse_body(request, {"action": str, "for_s": int})
        if "action" not in asked:
            raise Refused(400, "action is missing")
        if not 0 < asked.get("for_s", 1) <= OVERRIDE_MAX_S:
            raise Refused(400, f"for_s must be from 1 to {OVERRIDE_MAX_S}")
        action, relay = parse_field(lambda text: parse_action(text, relays=self.relays.usable_names()), asked["action"])
        override = Override(action, relay, time.time() + asked["for_s"] if "for_s" in asked else 0.0)
        await self.set_override(host, override)
        return answer(OverrideAnswer(host, OverrideJson.of(host, override)))

    async def set_override(self, host: str, override: Override | None) -> None:
        """Sets an override, or removes it. Returns once that is stored."""
        self.parts.override(host, override)
        await asyncio.to_thread(self.parts.store.flush, FLUSH_S)

    async def forget_site(self, request: web.Request) -> web.Response:
        parse_query(request)
        host = parse_field(scope, request.match_info["host"])
        below = [name for name in self.parts.setup().router.overrides if name == host or name.endswith(f".{host}")]
        for name in below:
            self.parts.override(name, None)
        changes = self.parts.beliefs.forget(host)
        self.parts.events.emit(Learned(changes))
        forgotten = tuple(sorted({change.scope for change in changes}))
        return answer(ForgottenSiteAnswer(host, forgotten, tuple(sorted(below))))

    def _override_of(self, host: str) -> tuple[str, Override] | None:
        """Returns the most specific override that covers the host, with its scope."""
        overrides = self.parts.setup().router.overrides
        while True:
            if host in overrides:
                return host, overrides[host]
            _, dot, host = host.partition(".")
            if not dot:
                return None
