"""The present state of Byway, its mode, and its end."""

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
from proxy.control.answers.overrides import overrides_json
from proxy.control.answers.problems import Problem
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame, Moment
from proxy.detect.verdict.labels import hello_limits
from proxy.detect.verdict.site_status import Source
from proxy.features.today.answers import ModeAnswer, StatusAnswer, StopAnswer, TrafficJson
from proxy.features.today.mode_change import change_mode
from proxy.features.today.problems import StatusSnapshot, present
from proxy.features.today.traffic import WITHIN_S, failing_traffic
from proxy.model import bracketed
from proxy.model.feature import Role
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.queries import FailedVisit, delivered_at, failed_visits
from proxy.wire.relay_url import redact

_SUCCESS_WINDOW_S = 86_400.0


async def problems(moment: Moment) -> tuple[Problem, ...]:
    """Returns the problems that belong to no other feature."""
    return present(await moment.once(_snapshot))


async def _snapshot(moment: Moment) -> StatusSnapshot:
    parts = moment.frame.parts
    network = parts.network()
    return StatusSnapshot(
        live=dict(parts.counters()),
        network=parts.beliefs.network_state(network),
        log_trouble=parts.store.trouble,
        portal_page=parts.beliefs.portal_page(network),
        clock_s=parts.beliefs.clock_ahead(moment.now),
        traffic=await _traffic(moment),
    )


async def _traffic(moment: Moment) -> TrafficJson | None:
    """Returns the failure of traffic as a whole; None: it does not fail."""
    parts, now = moment.frame.parts, moment.now
    network = parts.network()

    def read(db: sqlite3.Connection) -> tuple[list[FailedVisit], float]:
        return failed_visits(db, now - WITHIN_S, network), delivered_at(db, network)

    failed, logged_at = await asyncio.to_thread(parts.store.read, read)
    if parts.settings.log.hosts == "off":  # no visit is logged by name: the last one to each site must do
        results = parts.beliefs.recent_results(network=network, now=now)
        failed = [FailedVisit(result.at, host) for host, result in results if result.source is Source.CONNECTION]
    relays_at = moment.frame.relays.worked_at()
    return failing_traffic(failed, max(logged_at, relays_at, parts.beliefs.delivered_at(network)), now)


class StatusEndpoints:
    """Returns the status of the running Byway."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.parts = frame.parts
        self.relays = frame.relays

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/status", self.status),
        ]

    async def status(self) -> StatusAnswer:
        """Returns the present state, the problems, the sites in trouble, and the success of routes."""
        return await self.of(Moment(self._frame, time.time()))

    async def of(self, moment: Moment) -> StatusAnswer:
        """As `status`, at this moment."""
        parts, frame = self.parts, self._frame
        success = await asyncio.to_thread(parts.store.route_success, moment.now - _SUCCESS_WINDOW_S)
        snapshot = await moment.once(_snapshot)
        problems = await frame.problems(moment)
        relays_answer, sites_json = frame.provided(Role.RELAYS), frame.provided(Role.SITES)
        relays = None if relays_answer is None else await relays_answer(parts, moment.now)
        sites = () if sites_json is None else await sites_json(await moment.troubled())
        settings = parts.settings
        listen, live = settings.listen, snapshot.live
        network = parts.network()
        lan = None if frame.lan is None else frame.lan()
        notices = (
            *parts.setup().loaded.notices,
            *self.relays.lost_selections().values(),
            *lost_overrides(parts.setup().loaded.settings, parts.overrides),
            *parts.store.notices,
            *hello_limits(
                counted=parts.beliefs.hellos_are_counted(network, moment.now),
                cuts_punished=parts.beliefs.cuts_are_punished(network, moment.now),
            ),
        )
        return StatusAnswer(
            pid=os.getpid(),
            byway=__version__,
            now=moment.now,
            listen=f"{bracketed(listen.address)}:{live.get('port', listen.port)}",
            network=network,
            network_name=next((name for name, its in settings.networks.items() if its == network), ""),
            network_state=snapshot.network,
            mode=ModeJson.of(parts.modes),
            traffic=snapshot.traffic,
            problems=tuple(problem.said for problem in problems),
            notices=tuple(map(redact, notices)),
            live=live,
            overrides=overrides_json({host: override for host, override in parts.overrides.items() if override.until}),
            relays=() if relays is None else relays.relays,
            groups=() if relays is None else relays.groups,
            routes=tuple(success),
            routes_hours=int(_SUCCESS_WINDOW_S / 3600),
            sites=sites,
            lan=lan if lan is not None and lan.is_on else None,
        )


@frozen_dataclass
class ModeRequest:
    """Either a mode (auto, direct or relay), or a pause in seconds (0: ends it)."""

    mode: str | None = None
    pause_s: float | None = None


@frozen_dataclass
class StopRequest:
    """Whether Byway restarts, and whether open tunnels end at once."""

    restart: bool = False
    at_once: bool = False


class ModeEndpoints:
    """Shows and sets the mode of AUTO, and ends Byway."""

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
        settings = self.parts.settings
        drain_s = 0.0 if asked.at_once else settings.limits.drain_s
        port = int(self.parts.counters().get("port", settings.listen.port))
        if asked.restart and sys.platform == "win32":
            raise Refused(400, "Byway cannot restart itself on Windows: run `byway stop`, then `byway run`")
        self.parts.ending.stop(restart=asked.restart, at_once=asked.at_once)
        return StopAnswer(os.getpid(), port, drain_s)

    async def mode(self) -> ModeAnswer:
        """Returns the mode of AUTO."""
        return ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled()))

    async def set_mode(self, asked: ModeRequest) -> ModeAnswer:
        """Sets the mode, or begins or ends a pause."""
        try:
            change_mode(self.parts.modes, asked.mode, asked.pause_s)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled()))
