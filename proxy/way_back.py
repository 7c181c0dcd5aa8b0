"""Does direct work again, and would a local means do? Asked beside the user's own visit, never on a timer and never
with the user's request.

A due re-test is a pair, on connections of its own: direct, and the route that just worked. What direct must bring
depends on what the block prevents; what the pair means is the business of `detect`. Where a relay carried a visit that
a local means may have carried as well, these are tried too, once the censor has calmed down.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

from proxy.beside import answers, answers_as_itself, answers_with_a_page, is_forged
from proxy.config.schema import Dns
from proxy.detect.recovery import retest_needs
from proxy.detect.signals import concerns
from proxy.model import DIRECT, Action, Belief, NetworkId, Outcome, Protocol, Route
from proxy.net.haul import brings
from proxy.net.tasks import spawn
from proxy.routing.ladder import local_means
from proxy.services import Services, Setup
from proxy.wire.flight import Flight

Answers = Callable[[Route], Awaitable[bool]]

_ENOUGH = 64 * 1024
"""Bytes on one connection that a frozen or throttled one does not bring (detection.md, section 4)."""


class WayBack:
    """Looks for the way back after visits that another route than direct carried."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def look(self, setup: Setup, outcome: Outcome, flight: Flight) -> None:
        """Starts what is due; `flight` is what the visit sent, under `setup`."""
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
        held = beliefs.lookup(outcome.host, network=network, now=now)
        if held.cause == "dns" and _hides_names(setup.settings.dns):
            return  # direct by a secure resolver is no detour, and to ask the system's again would name the site
        if DIRECT not in outcome.plan.routes and held.cause != "interception":
            return
        if not _tells(flight.protocol, held):
            return
        if beliefs.retest_due(outcome.host, network=network, now=now):
            measure = self._measure_for(held, setup, outcome, flight)
            pair = self._retest(setup, outcome, outcome.winner, network, measure, held.cause)
            spawn(pair, name=f"re-test {outcome.host}")
        elif outcome.winner.relays and beliefs.rung_due(outcome.host, network=network, now=now):
            spawn(self._try_rungs(setup, outcome, flight, network), name=f"try local means for {outcome.host}")

    def _measure_for(self, held: Belief, setup: Setup, visit: Outcome, flight: Flight) -> Answers:
        """What a route must bring here for the block to be over."""
        oracle, within_s = self._services.oracle, setup.settings.detect.retest_pair_s
        match retest_needs(held):
            case "64k":
                return lambda route: brings(
                    setup.registry.dialer(route), visit.request.destination, visit.host, flight.protocol,
                    enough=_ENOUGH, within_s=within_s,
                )  # fmt: skip
            case "verified":
                return functools.partial(answers_as_itself, setup, self._services.roots, visit)
            case "page":
                return functools.partial(answers_with_a_page, setup, oracle, visit)
        return functools.partial(answers, setup, oracle, visit, flight)

    async def _retest(
        self, setup: Setup, visit: Outcome, learned: Route, network: NetworkId, brings_it: Answers, cause: str
    ) -> None:
        direct_ok, other_ok = await asyncio.gather(brings_it(DIRECT), brings_it(learned))
        failed_alone = other_ok and not direct_ok
        forged = failed_alone and cause == "interception" and await is_forged(setup, visit, DIRECT)
        if self._services.network() == network:
            now = self._services.now()
            self._services.believe(
                self._services.beliefs.retested(
                    visit.host, network=network, now=now, direct_ok=direct_ok, other_ok=other_ok, forged=forged
                )
            )
            if direct_ok:
                self._services.alarms.clear(visit.request.destination.host)
            else:
                self._services.sound()

    async def _try_rungs(self, setup: Setup, visit: Outcome, flight: Flight, network: NetworkId) -> None:
        """One after the other, until one passes."""
        for route in local_means(setup.settings.auto.ladder, flight.protocol):
            ok = await answers(setup, self._services.oracle, visit, flight, route)
            if self._services.network() != network or self._services.setup() is not setup:
                return
            now = self._services.now()
            self._services.believe(
                self._services.beliefs.rung_result(visit.host, route, ok=ok, network=network, now=now)
            )
            if ok:
                return


def _tells(protocol: Protocol, held: Belief) -> bool:
    """Whether what passes in this protocol says anything of the block. Plain HTTP tells nobody's name for certain."""
    return concerns(held.cause, protocol) and (protocol is Protocol.TLS or retest_needs(held) != "verified")


def _hides_names(dns: Dns) -> bool:
    """Whether suspect names are asked of secure servers: else the system's resolver alone can show that it is over."""
    return dns.secure != "never" and bool(dns.servers)
