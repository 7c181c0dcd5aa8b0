"""Measurements of sites, for `byway why`, `test` and `report`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

from proxy.config.suggestions import nearest, one_of, quoted
from proxy.control.access import Refused
from proxy.control.answers.mode import ModeJson
from proxy.control.answers.plans import PlanJson
from proxy.control.answers.relay_faults import RelayFaultJson, RelayObstacleJson
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import parse_field
from proxy.detect.verdict.results import PAGES
from proxy.detect.verdict.site_status import HTTP, HTTPS, PORTS
from proxy.features.sites.advice import advice
from proxy.features.sites.answers import SiteJson
from proxy.features.sites.measurement_answers import (
    BriefMeasurementAnswer,
    KnownSiteAnswer,
    MeasuredSiteLine,
    MeasurementsAnswer,
    StepLine,
)
from proxy.features.sites.measurement_cache import Finished, measurements
from proxy.features.sites.reader import history
from proxy.model import DIRECT, Belief, Destination, Plan, Protocol, Route
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.measure.inputs import measured_routes
from proxy.probe.site_name import scope, site
from proxy.probe.target import ProbeTarget, names_port, page_of

_LAST_CONNECTIONS = 5
_LAST_VISITS = 50
"""Connections in which the last visited page of a host is looked up."""


@frozen_dataclass
class WhyQuery:
    """The site: a host or a URL."""

    host: str


@frozen_dataclass
class MeasurementRequest:
    """The site: a host or a URL. `fresh`: measures it even if a cached measurement is valid."""

    site: str
    fresh: bool = False


@frozen_dataclass
class BriefMeasurementRequest:
    """The site: a host or a URL. `routes`: only these; empty: all."""

    site: str
    routes: tuple[str, ...] = ()


class MeasurementEndpoints:
    """Measures sites, and returns the stored data about a site."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.parts = frame.parts
        self.sites = frame.sites
        self.relays = frame.relays
        self.measured = frame.one(measurements)

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/why", self.why),
            Endpoint("POST", "/v1/why", self.measure),
            Endpoint("POST", "/v1/test", self.test),
            Endpoint("GET", "/v1/measurements/{host}", self.measurements),
        ]

    async def why(self, asked: WhyQuery) -> KnownSiteAnswer:
        """Returns the stored data about a site, without measuring it."""
        destination = parse_field(site, asked.host)
        return await self.known(replace(destination, host=self._meant(asked.host, destination.host)))

    async def measure(self, asked: MeasurementRequest) -> AsyncGenerator[StepLine | MeasuredSiteLine, None]:
        """Measures a site. Streams each step as it is done, then the verdict."""
        page, otherwise = await self._page(asked.site, fold_www=True)
        lines = self.measured.lines(page, self._planned, otherwise=otherwise, skip_cache=asked.fresh)

        async def steps_then_end() -> AsyncGenerator[StepLine | MeasuredSiteLine, None]:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    if isinstance(line, Finished):
                        known = await self.known(line.measured.page.destination)
                        made = line.measured.to_answer()
                        yield MeasuredSiteLine.of(known, made, measured_again=line.measured_again)
                    else:
                        yield line

        return steps_then_end()

    async def test(self, asked: BriefMeasurementRequest) -> BriefMeasurementAnswer:
        """Measures one site of many, briefly."""
        page, _ = await self._page(asked.site)
        routes = tuple(map(self._route, asked.routes)) or None
        end = await self.measured.brief(page, self._planned, routes)
        kept = self.parts.settings.log.hosts != "off" and not self.parts.store.is_private(page.host)
        return BriefMeasurementAnswer.of(
            end.measured.to_answer(),
            page.destination,
            measured_again=end.measured_again,
            kept=kept and self.parts.store.has_file,
        )

    async def _planned(self, destination: Destination) -> tuple[Belief, Plan]:
        """Returns the stored status that sessions use for a destination, and the plan for a request to it now."""
        return self.sites.states(time.time()).belief(destination.host), await self.parts.plan(destination)

    async def planned(self, destination: Destination) -> tuple[PlanJson, str]:
        """Returns the plan for a request to a destination now, and the remedy for its site in one sentence."""
        stored, made = await self._planned(destination)
        state = self.sites.states(time.time()).host(destination.host).state
        return PlanJson.of(made), advice(stored, made, self.relays.enabled(), state.status, state.works_by)

    async def measurements(self, host: str) -> MeasurementsAnswer:
        """Returns the measurements of a site in the last minutes, for reports."""
        host = parse_field(scope, host)
        return MeasurementsAnswer(host, tuple(measured.to_answer() for measured in self.measured.of(host)))

    async def known(self, destination: Destination) -> KnownSiteAnswer:
        """Returns all stored data about a site, and the plan for a request to it now."""
        stored, made = await self._planned(destination)
        network_state = self.parts.beliefs.network_state(self.parts.network())
        rows = await self.sites.rows(site=destination.host, limit=_LAST_CONNECTIONS)
        changes, timeline = await history(self.parts, destination.host)
        current = SiteJson.of_known(self.sites.states(time.time()).host(destination.host))
        return KnownSiteAnswer(
            host=destination.host,
            port=destination.port,
            belief=current,
            relay_faults=tuple(
                RelayFaultJson.of(name, noted, network_allows_few=network_state.is_restricted)
                for name, noted in self.parts.health.faults().items()
            ),
            relay_obstacles=tuple(RelayObstacleJson.of(*each) for each in self.parts.relay_obstacles().items()),
            plan=PlanJson.of(made),
            mode=ModeJson.of(self.parts.modes),
            advice=advice(stored, made, self.relays.enabled(), current.words, current.works_by),
            connections=tuple(row for row in rows if row.host == destination.host),
            timeline=timeline,
            changes=changes,
        )

    def _meant(self, text: str, host: str) -> str:
        """Returns the host that people mean by `text`, which contains `host`: `example.org` may mean
        `www.example.org` if only that is known; a URL means its own host."""
        return host if names_port(text) else self.sites.states(time.time()).meant(host)

    async def _page(self, text: str, *, fold_www: bool = False) -> tuple[ProbeTarget, ProbeTarget | None]:
        """Returns the page that `text` means, and the page to measure when no server listens there. With `fold_www`,
        `text` may mean the name with or without `www.`, if only that is known.

        For a host alone, these are the page last visited, or, without a visit, the https page and then the http page. A
        visit to an unusual port counts only without a visit to a usual one: a closed port is not the site. If direct
        did not deliver the https page, that is measured even if the http page was visited later: an SNI filter lets
        plain HTTP pass."""
        page = parse_field(page_of, text)
        if names_port(text):
            return page, None
        if fold_www:
            page = replace(page, host=self._meant(text, page.host))
        rows = await self.sites.rows(since=0.0, site=page.host, route=None, outcome=None, limit=_LAST_VISITS)
        rows = sorted((row for row in rows if row.host == page.host), key=lambda row: row.at, reverse=True)
        visited = self.parts.beliefs.visited(page.host, network=self.parts.network())
        visits = [(protocol, row.port) for row in rows if (protocol := PAGES.get(Protocol(row.protocol) or row.port))]
        if visited is not None:
            visits.insert(0, (visited.protocol, visited.port))
        if not visits:
            return page, replace(page, protocol=Protocol.HTTP, port=HTTP)
        protocol, port = next((visit for visit in visits if visit[1] in PORTS), visits[0])
        if port == HTTP:
            secure = next((row for row in rows if (row.protocol, row.port) == (Protocol.TLS, HTTPS)), None)
            if secure is not None and secure.winner != str(DIRECT):
                return page, None
        return replace(page, protocol=protocol, port=port), None

    def _route(self, text: str) -> Route:
        routes = {str(route): route for route in measured_routes(self.parts.settings)}
        if text in routes:
            return routes[text]
        similar = nearest(text, routes)
        choices = f"; did you mean {similar}?" if similar is not None else f"; it can be {one_of(routes)}"
        raise Refused(400, f"unknown route {quoted(text)}{choices}")
