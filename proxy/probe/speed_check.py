"""Compares, after a slow visit, the speed of direct with that of another route: is this site slow, or slowed down?

A user's transfer over direct was much slower than those of other hosts at that time. A slow server or one that paces
each connection is so for everybody; some networks slow down a site by its name. So the first page is requested over
direct and, after that, over another route: 120 KiB in all, when the transfer is over, twice a day for a domain at most,
and with a small share of the hourly budget of re-tests, since sites that work are slow as well. Another route is a
relay or, where there is none, a local strategy. `detect` decides what the speeds mean: small pages show none, nor does
a relay that is far away (`throughput`).
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.detect.beliefs.events import SpeedNotShown, SpeedsCompared
from proxy.model import DIRECT, Action, Inbound, NetworkId, Plan, Protocol, Request, Route
from proxy.net.tasks import spawn
from proxy.probe.beside import BesideVisit, beside
from proxy.probe.throughput import measure_speeds
from proxy.routing.strategies import searched_strategies
from proxy.session.events import TransferSlow
from proxy.session.plan import plan_for
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.fragmentation import is_cut


class SpeedCheck:
    """Starts comparisons beside slow visits."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_slow(self, slow: TransferSlow) -> None:
        """Starts a comparison, if one may be due."""
        setup, visit = self._services.setup(), slow.outcome
        if frame := beside(self._services, setup, slow.network, visit):
            spawn(self._run(frame, slow), name=f"compare the speed of {visit.host}")

    async def _run(self, frame: BesideVisit, slow: TransferSlow) -> None:
        services, setup, visit = self._services, frame.setup, slow.outcome
        request = Request(next(services.request_ids), visit.request.destination, Inbound.RETEST, client="")
        plan = await plan_for(request, services, setup, host=visit.host)
        if plan.action is not Action.AUTO or plan.routes[:1] != (DIRECT,) or not frame.is_same():
            return
        routes = self._routes(setup, plan, visit.protocol, frame.network)
        route = services.beliefs.speed_check_due(visit.host, routes, network=frame.network, now=services.now())
        if route is None:
            return
        speeds = await measure_speeds(setup, services.hello_turn, visit, route)
        if speeds is None:
            frame.note(SpeedNotShown(visit.host))
            return
        direct, other = speeds
        if direct is None or other is None:
            return
        attempt = visit.direct_attempt
        compared = SpeedsCompared(
            host=visit.host,
            address="" if attempt is None else attempt.address,
            protocol=visit.protocol,
            direct_bytes_s=max(direct, slow.bytes_s),
            route=route,
            bytes_s=other,
        )
        frame.report(compared)

    def _routes(self, setup: Setup, plan: Plan, protocol: Protocol, network: NetworkId) -> Sequence[Route]:
        """Returns the routes that may be compared: the relays of the plan, or else its local strategies, both those of
        the ladder and those that pass on this network."""
        relays = [route for route in plan.routes if route.relays]
        if relays:
            return relays
        punished = self._services.beliefs.cuts_are_punished(network, self._services.now())
        fitting = searched_strategies(setup.settings.auto.ladder, protocol)
        return [route for route in plan.routes if route in fitting and not (punished and is_cut(route.wrap))]
