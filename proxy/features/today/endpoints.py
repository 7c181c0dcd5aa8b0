"""What Byway does now: problems, routes, relays, troubled sites, addons."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time

from proxy import __version__
from proxy.config.relays import lost_overrides
from proxy.control.access import Refused
from proxy.control.answers.mode import ModeJson
from proxy.control.answers.problems import ProblemJson
from proxy.control.answers.sites import overrides_json
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.site_reader import answers
from proxy.features.today.answers import ModeAnswer, RouteSuccessJson, StatusAnswer, StopAnswer, TrafficJson
from proxy.features.today.mode_change import change_mode
from proxy.features.today.problems import StatusSnapshot, present
from proxy.features.today.traffic import WITHIN_S, failing_traffic
from proxy.model import NetworkId, bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.queries import FailedVisit, delivered_at, failed_visits
from proxy.wire.relay_url import redact

_SUCCESS_WINDOW_S = 86_400.0


async def problems(frame: Frame, now: float) -> tuple[ProblemJson, ...]:
    """Returns the problems that are of no other feature."""
    status = frame.one(StatusEndpoints)
    return present(status.answering.get(now) or await status.moment(now))


class StatusEndpoints:
    """Answers with the state of everything."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.answering: dict[float, StatusSnapshot] = {}
        """What `status` has read of the moment about which it is asking for problems. Nothing stays: it names sites."""
        self.parts = frame.parts
        self.sites = frame.sites
        self.relays = frame.relays

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/status", self.status),
        ]

    async def status(self) -> StatusAnswer:
        """Says what is on, what is wrong, which sites are in trouble, and how the routes do."""
        parts, now = self.parts, time.time()
        success = await asyncio.to_thread(parts.store.route_success, now - _SUCCESS_WINDOW_S)
        moment = self.answering[now] = await self.moment(now)
        try:
            problems = await self._frame.problems(now)
        finally:
            self.answering.pop(now, None)
        settings = parts.setup().settings
        listen, live = settings.listen, moment.live
        network = parts.network()
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
            network_state=moment.network,
            mode=ModeJson.of(parts.modes),
            traffic=moment.traffic,
            problems=problems,
            notices=tuple(map(redact, notices)),
            live=live,
            overrides=overrides_json(
                {host: override for host, override in parts.setup().router.overrides.items() if override.until}
            ),
            relays=tuple(moment.relays),
            groups=self.relays.groups(moment.relays, moment.visits, now),
            routes=tuple(RouteSuccessJson(**row) for row in success),
            routes_hours=int(_SUCCESS_WINDOW_S / 3600),
            sites=tuple(moment.troubled),
        )

    async def moment(self, now: float) -> StatusSnapshot:
        """Reads the status of all parts."""
        parts = self.parts
        network = parts.network()
        known = await self.sites.known(now)
        visits = await self.relays.visits(now)
        return StatusSnapshot(
            live=dict(parts.counters()),
            network=parts.beliefs.network_state(network),
            relays=await self.relays.all(now, visits),
            visits=visits,
            troubled=await answers(site for site in known if site.stored.network == network and site.is_trouble),
            log_trouble=parts.store.trouble,
            now=now,
            portal_page=parts.beliefs.portal_page(network),
            clock_s=parts.beliefs.clock_ahead(now),
            traffic=await self._traffic(network, now),
        )

    async def _traffic(self, network: NetworkId, now: float) -> TrafficJson | None:
        """Says how traffic fails as a whole, if it does."""

        def read(db: sqlite3.Connection) -> tuple[list[FailedVisit], float]:
            return failed_visits(db, now - WITHIN_S, network), delivered_at(db, network)

        failed, logged_at = await asyncio.to_thread(self.parts.store.read, read)
        relays_at = self.relays.worked_at()
        return failing_traffic(failed, max(logged_at, relays_at, self.parts.beliefs.delivered_at(network)), now)


@frozen_dataclass
class ModeRequest:
    """Either a mode (auto, direct or relay), or a pause of so many seconds (0: ends one)."""

    mode: str | None = None
    pause_s: float | None = None


@frozen_dataclass
class StopRequest:
    """Whether Byway begins again, and whether open tunnels end at once."""

    restart: bool = False
    at_once: bool = False


class ModeEndpoints:
    """Shows and sets what AUTO does, and ends Byway."""

    def __init__(self, frame: Frame) -> None:
        self.parts = frame.parts
        self.relays = frame.relays

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/v1/stop", self.stop),
            Endpoint("GET", "/v1/mode", self.mode),
            Endpoint("PUT", "/v1/mode", self.set_mode),
        ]

    async def stop(self, asked: StopRequest) -> StopAnswer:
        """Ends Byway, or restarts it."""
        settings = self.parts.setup().settings
        drain_s = 0.0 if asked.at_once else settings.limits.drain_s
        port = int(self.parts.counters().get("port", settings.listen.port))
        if asked.restart and sys.platform == "win32":
            raise Refused(400, "Byway cannot restart itself on Windows: run `byway stop`, then `byway run`")
        self.parts.ending.stop(restart=asked.restart, at_once=asked.at_once)
        return StopAnswer(os.getpid(), port, drain_s)

    async def mode(self) -> ModeAnswer:
        """Shows what AUTO does."""
        return ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled()))

    async def set_mode(self, asked: ModeRequest) -> ModeAnswer:
        """Sets the mode, or begins or ends a pause."""
        try:
            change_mode(self.parts.modes, asked.mode, asked.pause_s)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled()))
