"""Re-tests whether direct works again: beside the user's own visit, never on a timer and never with the user's request.

A re-test is a pair on its own connections: direct, and the route that has just worked. The kind of block decides what
direct must deliver; `detect` decides what the results of the pair mean.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from proxy.detect.beliefs.events import Retested, StrategyTried
from proxy.detect.beliefs.retests import Claim, retest_needs
from proxy.detect.signals import concerns
from proxy.model import DIRECT, DOH, Belief, Cause, Destination, Outcome, Protocol, Route
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.race.hello_ledger import HelloTurn
from proxy.net.tasks import spawn
from proxy.probe.beside import BesideVisit, beside
from proxy.probe.same_flight import get_page, gets_answer, gets_own_certificate, gets_untrusted_certificate
from proxy.probe.throughput import ENOUGH, measure_speeds, measure_throughput, outlasts_freeze, shows_freeze
from proxy.session.events import Rescued, SignalWaits
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.flight import Flight

T = TypeVar("T")


class DirectRetest:
    """Starts re-tests after visits over another route than direct."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_rescued(self, visit: Rescued) -> None:
        """Starts a re-test if one is due."""
        services, setup, outcome, flight = self._services, visit.setup, visit.outcome, visit.flight
        winner, beliefs, now = outcome.winner, services.beliefs, services.now()
        frame = beside(services, setup, visit.record.network, outcome, by_its_routes=True)
        if winner is None or winner == DIRECT or frame is None:
            return
        belief = frame.belief()
        if _only_the_resolver_blocks(frame):
            return
        if DIRECT not in outcome.plan.routes and belief.cause != Cause.INTERCEPTION:
            return
        if concerns(belief, flight.protocol) and beliefs.retest_due(outcome.host, network=frame.network, now=now):
            run = self._retest(frame, frame.claim(), belief, outcome, winner, flight)
            spawn(run, name=f"re-test {outcome.host}")

    async def _retest(
        self,
        frame: BesideVisit,
        claim: Claim | None,
        belief: Belief,
        visit: Outcome,
        other_route: Route,
        flight: Flight,
    ) -> None:
        services = self._services
        with frame.releasing(claim):
            direct_ok, other_ok = await self._pair(frame.setup, belief, visit, other_route, flight)
            failed_alone = other_ok and not direct_ok
            forged = (
                failed_alone
                and belief.cause == Cause.INTERCEPTION
                and await gets_untrusted_certificate(frame.setup, services.hello_turn, visit, DIRECT)
            )
            works = await report_pair(frame, visit, flight, direct_ok=direct_ok, other_ok=other_ok, forged=forged)
        if works is False:
            services.events.emit(SignalWaits())

    async def _pair(
        self, setup: Setup, belief: Belief, visit: Outcome, other_route: Route, flight: Flight
    ) -> tuple[bool, bool]:
        """Makes the re-test that fits the kind of this block. Returns whether direct delivers enough to show its end,
        and whether the other route does."""
        tcp_info, turn = self._services.tcp_info, self._services.hello_turn
        match retest_needs(belief):
            case "64k":
                return await _measure_both(setup, turn, visit, other_route, flight.protocol)
            case "speed":
                return await _compare_speeds(setup, turn, visit, other_route)
            case "verified" if flight.protocol is Protocol.TLS:
                roots, logged = self._services.roots(), belief.cause == Cause.INTERCEPTION
                ask = functools.partial(gets_own_certificate, setup, roots, turn, visit, logged=logged)
                return await _ask_both(ask, other_route)
            case "page" | "verified":  # plain HTTP has no certificate, but a block page may be recognised
                return await _compare_pages(setup, tcp_info, visit, other_route)
        return await _ask_both(functools.partial(gets_answer, setup, tcp_info, turn, visit, flight), other_route)


async def report_pair(
    frame: BesideVisit, visit: Outcome, flight: Flight, *, direct_ok: bool, other_ok: bool, forged: bool = False
) -> bool | None:
    """Reports the results of direct and of another route to a flight like that of `visit`. The name was resolved by
    encrypted DNS; direct works if it does where visits go, which the system's resolver decides. Returns whether it
    works; None: nothing was reported."""
    misled = direct_ok and await _is_misled(frame, visit, flight)
    if _only_the_resolver_blocks(frame) or not frame.report(
        Retested(visit.host, direct_ok and not misled, other_ok, forged)
    ):
        return None
    if misled:
        frame.report(StrategyTried(visit.host, DOH, ok=True))
    elif direct_ok:
        frame.services.findings.clear(visit.request.destination.host)
    return direct_ok and not misled


async def _is_misled(frame: BesideVisit, visit: Outcome, flight: Flight) -> bool:
    """Returns whether direct, which works at an address of encrypted DNS, fails at that of the system's resolver."""
    services, setup, destination = frame.services, frame.setup, visit.request.destination
    address = await setup.resolver.elsewhere(destination.host)
    if address is None:
        return False
    at_address = Destination(str(address), destination.port)
    if not frame.is_same() or not await services.may_go_direct(setup, at_address):
        return False
    there = replace(visit, request=replace(visit.request, destination=at_address))
    if frame.belief().cause == Cause.INTERCEPTION and flight.protocol is Protocol.TLS:
        return not await gets_own_certificate(setup, services.roots(), services.hello_turn, there, DIRECT, logged=True)
    return not await gets_answer(setup, services.tcp_info, services.hello_turn, there, flight, DIRECT)


def _only_the_resolver_blocks(frame: BesideVisit) -> bool:
    """Returns whether a re-test could not show the end of this block: by DNS, while suspect names are resolved by
    encrypted DNS. Direct then reaches the true address, which is no detour; and only the system's resolver, which must
    not see the name, could show the end. Another cause may have turned into this one since the re-test began."""
    dns = frame.setup.settings.dns
    return frame.belief().cause == Cause.DNS and dns.secure != "never" and bool(dns.servers)


async def _ask_both(ask: Callable[[Route], Awaitable[T]], other_route: Route) -> tuple[T, T]:
    """Returns the results of direct and of the other route. A local strategy goes first, since direct may begin the
    residual window of its address."""
    if not other_route.relays:
        other = await ask(other_route)
        return await ask(DIRECT), other
    direct, other = await asyncio.gather(ask(DIRECT), ask(other_route))
    return direct, other


async def _compare_pages(setup: Setup, tcp_info: TcpInfo, visit: Outcome, other_route: Route) -> tuple[bool, bool]:
    """Returns whether direct and the other route get a page that is no block page. A page of direct that has nothing in
    common with the other one is a block page without a fingerprint."""
    direct, other = await _ask_both(functools.partial(get_page, setup, tcp_info, visit), other_route)
    is_unlike = direct is not None and other is not None and direct.is_unlike(other) is True
    return direct is not None and not is_unlike, other is not None


async def _compare_speeds(setup: Setup, turn: HelloTurn, visit: Outcome, other_route: Route) -> tuple[bool, bool]:
    """Returns whether direct is not much slower than the other route, and whether that one brings enough to tell."""
    speeds = await measure_speeds(setup, turn, visit, other_route)
    if speeds is None:
        return False, False
    direct, other = speeds
    if direct is None or other is None:
        return False, other is not None
    return other < direct * setup.settings.detect.compared_faster, True


async def _measure_both(
    setup: Setup, turn: HelloTurn, visit: Outcome, other_route: Route, protocol: Protocol
) -> tuple[bool, bool]:
    """Returns whether direct delivers more than a frozen route, and whether the other one delivers enough to tell."""

    async def bytes_by(route: Route) -> int:
        dialer, destination = setup.registry.dialer(route), visit.request.destination
        if route.is_direct and protocol is Protocol.TLS:
            await turn(visit.host)
        return await measure_throughput(
            dialer, destination, visit.host, protocol, enough=ENOUGH, within_s=setup.settings.detect.retest_pair_s
        )

    direct, other = await asyncio.gather(bytes_by(DIRECT), bytes_by(other_route))
    return outlasts_freeze(direct, other), shows_freeze(other)
