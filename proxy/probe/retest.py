"""Re-tests whether direct works again, and whether a local strategy works: beside the user's own visit, never on a
timer and never with the user's request.

A re-test is a pair on its own connections: direct, and the route that has just worked. The kind of block decides what
direct must deliver; `detect` decides what the results of the pair mean. If a relay carried a visit that a local
strategy might have carried, the strategies are probed too, after the end of the residual blocking.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

from proxy.detect.beliefs.events import Retested, StrategyTried
from proxy.detect.beliefs.retests import retest_needs
from proxy.detect.signals import concerns
from proxy.model import DIRECT, Action, Belief, Cause, NetworkId, Outcome, Protocol, Route
from proxy.net.race.hello_ledger import HelloTurn
from proxy.net.tasks import spawn
from proxy.probe.same_flight import gets_answer, gets_own_certificate, gets_page, gets_untrusted_certificate
from proxy.probe.throughput import measure_throughput
from proxy.routing.strategies import flight_strategies
from proxy.session.events import Rescued, SignalWaits
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.flight import Flight

Pair = Callable[[], Awaitable[tuple[bool, bool]]]
"""Returns whether direct delivers enough to show the end of the block, and whether the other route does."""

_ENOUGH = 64 * 1024
"""Bytes on one connection that a frozen or throttled route does not deliver (docs/detection.md, "Re-tests")."""

_AS_MUCH = 0.9
"""The share of the other route's bytes that direct must deliver: two answers to one request seldom have the same
length."""


class DirectRetest:
    """Starts re-tests after visits over another route than direct."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_rescued(self, visit: Rescued) -> None:
        """Starts a re-test, or probes of strategies, if one is due."""
        setup, outcome, flight = visit.setup, visit.outcome, visit.flight
        if (
            outcome.winner in (None, DIRECT)
            or outcome.plan.action is not Action.AUTO
            or flight.protocol not in (Protocol.TLS, Protocol.HTTP)
            or not setup.settings.auto.retest
            or self._services.is_private(outcome.host)
        ):
            return
        assert outcome.winner is not None
        network, now = self._services.network(), self._services.now()
        beliefs = self._services.beliefs
        belief = beliefs.lookup(outcome.host, network=network, now=now)
        dns = setup.settings.dns
        if belief.cause == Cause.DNS and dns.secure != "never" and dns.servers:
            # Direct with encrypted DNS is no detour, and a re-test would send the name to the system's resolver. Where
            # suspect names are not resolved by encrypted DNS, only that resolver can show the end of a block by DNS.
            return
        if DIRECT not in outcome.plan.routes and belief.cause != Cause.INTERCEPTION:
            return
        if not concerns(belief, flight.protocol):
            return
        if beliefs.retest_due(outcome.host, network=network, now=now):
            pair = self._pair_for(belief, setup, outcome, outcome.winner, flight)
            spawn(self._retest(setup, outcome, network, pair, belief.cause), name=f"re-test {outcome.host}")
        elif outcome.winner.relays and beliefs.strategies_due(outcome.host, network=network, now=now):
            spawn(
                self._try_strategies(setup, outcome, flight, network), name=f"try local strategies for {outcome.host}"
            )

    def _pair_for(self, belief: Belief, setup: Setup, visit: Outcome, other_route: Route, flight: Flight) -> Pair:
        """Returns the re-test that fits the kind of this block."""
        tcp_info, turn = self._services.tcp_info, self._services.hello_turn
        route_works: Callable[[Route], Awaitable[bool]]
        match retest_needs(belief):
            case "64k":
                return functools.partial(_measure_both, setup, turn, visit, other_route, flight.protocol)
            case "verified" if flight.protocol is Protocol.TLS:
                logged = belief.cause == Cause.INTERCEPTION
                route_works = functools.partial(
                    gets_own_certificate, setup, self._services.roots(), turn, visit, logged=logged
                )
            case "page" | "verified":  # plain HTTP has no certificate, but a block page may be recognised
                route_works = functools.partial(gets_page, setup, tcp_info, visit)
            case _:
                route_works = functools.partial(gets_answer, setup, tcp_info, turn, visit, flight)
        return functools.partial(_ask_both, route_works, other_route)

    async def _retest(self, setup: Setup, visit: Outcome, network: NetworkId, pair: Pair, cause: str) -> None:
        services, reported = self._services, False
        try:
            direct_ok, other_ok = await pair()
            failed_alone = other_ok and not direct_ok
            forged = (
                failed_alone
                and cause == Cause.INTERCEPTION
                and await gets_untrusted_certificate(setup, services.hello_turn, visit, DIRECT)
            )
            if services.network() != network:
                return
            services.learn(Retested(visit.host, direct_ok, other_ok, forged), network)
            reported = True
        finally:
            if not reported:
                services.beliefs.retest_unreported(visit.host, network=network, now=services.now())
        if direct_ok:
            services.findings.clear(visit.request.destination.host)
        else:
            services.events.emit(SignalWaits())

    async def _try_strategies(self, setup: Setup, visit: Outcome, flight: Flight, network: NetworkId) -> None:
        """Probes one strategy after the other, until one works."""
        services, reported = self._services, False
        try:
            for route in flight_strategies(setup.settings.auto.ladder, flight.protocol):
                ok = await gets_answer(setup, services.tcp_info, services.hello_turn, visit, flight, route)
                if services.network() != network or services.setup() is not setup:
                    return
                services.learn(StrategyTried(visit.host, route, ok), network)
                reported = True
                if ok:
                    return
        finally:
            if not reported:
                services.beliefs.retest_unreported(visit.host, network=network, now=services.now())


async def _ask_both(route_works: Callable[[Route], Awaitable[bool]], other_route: Route) -> tuple[bool, bool]:
    direct_ok, other_ok = await asyncio.gather(route_works(DIRECT), route_works(other_route))
    return direct_ok, other_ok


async def _measure_both(
    setup: Setup, turn: HelloTurn, visit: Outcome, other_route: Route, protocol: Protocol
) -> tuple[bool, bool]:
    """Returns whether direct delivers _ENOUGH bytes, or all of a small page; and whether the other route delivers
    `proof_bytes`. All of a small page is nearly as much as the other route, and at least `proof_bytes`."""
    detect = setup.settings.detect

    async def bytes_by(route: Route) -> int:
        dialer, destination = setup.registry.dialer(route), visit.request.destination
        if route.is_direct and protocol is Protocol.TLS:
            await turn(visit.host)
        return await measure_throughput(
            dialer, destination, visit.host, protocol, enough=_ENOUGH, within_s=detect.retest_pair_s
        )

    direct, other = await asyncio.gather(bytes_by(DIRECT), bytes_by(other_route))
    other_ok = other >= detect.proof_bytes
    as_much = other_ok and direct >= max(detect.proof_bytes, other * _AS_MUCH)
    return direct >= _ENOUGH or as_much, other_ok
