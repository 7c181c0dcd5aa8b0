"""Measurements of sites: what `byway why`, `test` and `report` ask for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

from aiohttp import web

from proxy.config.suggestions import nearest, one_of, quoted
from proxy.control import serialize
from proxy.control.access import Refused
from proxy.control.answers import answer
from proxy.control.dependencies import Dependencies
from proxy.control.measurement_cache import Measurements
from proxy.control.relay_reader import RelayReader
from proxy.control.request_parsing import parse_body, parse_field, parse_query
from proxy.control.serialize import Document
from proxy.control.site import scope, site
from proxy.control.site_reader import SiteReader
from proxy.control.streaming import Followers
from proxy.control.timeline import spells
from proxy.model import Destination, Protocol, Route
from proxy.probe.measure.inputs import measured_routes
from proxy.probe.target import ProbeTarget, names_port, page_of

_LAST_CONNECTIONS = 5


class MeasurementEndpoints:
    """Measures sites, and answers with what is known of one."""

    def __init__(
        self, parts: Dependencies, sites: SiteReader, relays: RelayReader, followers: Followers, measured: Measurements
    ) -> None:
        self._parts = parts
        self._sites = sites
        self._relays = relays
        self._followers = followers
        self._measured = measured

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/why", self.why),
            web.post("/v1/why", self.measure),
            web.post("/v1/test", self.test),
            web.get("/v1/measurements/{host}", self.measurements),
        ]

    async def why(self, request: web.Request) -> web.Response:
        asked = parse_query(request, "host")
        if "host" not in asked:
            raise Refused(400, "host is missing")
        return answer(**await self._known(parse_field(site, asked["host"])))

    async def measure(self, request: web.Request) -> web.StreamResponse:
        """Measures a site. Streams one JSON object a line: a `step` for each step as it is done, then the `verdict`."""
        asked = await parse_body(request, {"site": str, "fresh": bool})
        if "site" not in asked:
            raise Refused(400, "site is missing")
        page, otherwise = await self._page(asked["site"])
        lines = self._measured.lines(page, self._sites.plan, otherwise=otherwise, skip_cache=asked.get("fresh", False))

        async def documents() -> AsyncGenerator[Document, None]:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    if "verdict" not in line:
                        yield line
                    else:
                        yield {**await self._known(page_of(line["url"]).destination), **line}

        return await self._followers.answer(request, documents())

    async def test(self, request: web.Request) -> web.Response:
        """Measures one site of many, briefly: see Measurements.brief. `kept`: whether the store keeps the result."""
        asked = await parse_body(request, {"site": str, "routes": list})
        if "site" not in asked:
            raise Refused(400, "site is missing")
        page, _ = await self._page(asked["site"])
        routes = tuple(self._route(text) for text in asked.get("routes", ())) or None
        measured = await self._measured.brief(page, self._sites.plan, routes)
        kept = self._parts.setup().settings.log.hosts != "off" and not self._parts.store.is_private(page.host)
        return answer(**serialize.destination(page.destination), kept=kept and self._parts.store.has_file, **measured)

    async def measurements(self, request: web.Request) -> web.Response:
        """Answers with the measurements of a site in the last minutes, for reports."""
        parse_query(request)
        host = parse_field(scope, request.match_info["host"])
        return answer(host=host, measurements=self._measured.of(host))

    async def _known(self, destination: Destination) -> Document:
        """Returns all that is stored about a site, and the plan for a request to it now."""
        stored, made = await self._sites.plan(destination)
        now = time.time()
        rows = await self._sites.rows(site=destination.host, limit=_LAST_CONNECTIONS)
        changes = await self._sites.changes(destination.host)
        return {
            **serialize.destination(destination),
            "belief": self._sites.document(stored, now, destination.host),
            "relay_faults": [serialize.relay_fault(*noted) for noted in self._parts.health.faults().items()],
            "relay_obstacles": [serialize.relay_obstacle(*found) for found in self._parts.relay_obstacles().items()],
            "plan": serialize.plan(made),
            "mode": serialize.mode(self._parts.modes),
            "advice": serialize.policy(
                stored, made, self._relays.enabled(), self._sites.current(stored, now, destination.host).status
            ),
            "connections": [row for row in rows if row.get("host") == destination.host],
            "timeline": spells(changes, [stored]),
            "changes": changes,
        }

    async def _page(self, text: str) -> tuple[ProbeTarget, ProbeTarget | None]:
        """Returns the page that `text` means, and the one to measure when no server listens there.

        For a host alone these are the page last visited, or, without a visit, the https page and then the http page."""
        page = parse_field(page_of, text)
        if names_port(text):
            return page, None
        visited = self._parts.beliefs.visited(page.host, network=self._parts.network())
        if visited is not None:
            return replace(page, protocol=visited.protocol, port=visited.port), None
        rows = await self._sites.rows(since=0.0, site=page.host, route=None, outcome=None, limit=_LAST_CONNECTIONS)
        for row in sorted(rows, key=lambda row: float(row["at"]), reverse=True):
            if row.get("host") == page.host and row["protocol"] in (Protocol.TLS, Protocol.HTTP):
                return replace(page, protocol=Protocol(row["protocol"]), port=row["port"]), None
        return page, replace(page, protocol=Protocol.HTTP, port=80)

    def _route(self, text: object) -> Route:
        known = measured_routes(self._parts.setup().settings)
        for route in known:
            if str(route) == text:
                return route
        names = [str(route) for route in known]
        meant = nearest(str(text), names)
        choices = f"; did you mean {meant}?" if meant is not None else f"; it can be {one_of(names)}"
        raise Refused(400, f"unknown route {quoted(str(text))}{choices}")
