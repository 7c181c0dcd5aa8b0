"""Does direct work again? Asked beside the user's own visit, never on a timer and never with the user's request.

A due re-test is a pair, on connections of its own: direct, and the route that just worked, each with a flight of the
visit's own shape (a censor may tell Python's ClientHello from a browser's). What the pair means is the business of
`detect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from proxy.model import DIRECT, Action, Destination, NetworkId, Outcome, Protocol, Route
from proxy.net.race import Winner
from proxy.net.tasks import spawn
from proxy.services import Services, Setup
from proxy.wire.flight import Flight
from proxy.wire.http1 import host_field
from proxy.wire.tls import RANDOMNESS, parse_client_hello, refreshed


class WayBack:
    """Looks for the way back after visits that a relay carried."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def look(self, setup: Setup, outcome: Outcome, flight: Flight) -> None:
        """Starts a re-test when one is due; `flight` is what the visit sent, under `setup`."""
        network = self._services.network()
        if (
            outcome.winner is not None
            and not outcome.winner.is_direct
            and outcome.plan.action is Action.AUTO
            and DIRECT in outcome.plan.routes
            and flight.protocol in (Protocol.TLS, Protocol.HTTP)
            and setup.settings.auto.retest
            and not self._services.is_private(outcome.host)
            and self._services.beliefs.retest_due(outcome.host, network=network, now=self._services.now())
        ):
            pair = self._retest(setup, outcome, outcome.winner, flight, network)
            spawn(pair, name=f"re-test {outcome.host}")

    async def _retest(self, setup: Setup, outcome: Outcome, learned: Route, flight: Flight, network: NetworkId) -> None:
        direct_ok, other_ok = await asyncio.gather(
            self._answers(setup, outcome, flight, DIRECT), self._answers(setup, outcome, flight, learned)
        )
        if self._services.network() == network:
            now = self._services.now()
            self._services.believe(
                self._services.beliefs.retested(
                    outcome.host, network=network, now=now, direct_ok=direct_ok, other_ok=other_ok
                )
            )

    async def _answers(self, setup: Setup, outcome: Outcome, visit: Flight, route: Route) -> bool:
        """Whether `route` brings a valid server byte."""
        race = setup.race(outcome.request, (route,), self._services.oracle)
        winner: Winner | None = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(setup.settings.detect.retest_pair_s):
                    winner = await race.deliver(_made_fresh(visit, outcome), lambda: True)
        finally:
            race.close()
        if winner is not None:
            winner.stream.abort()
        return winner is not None and winner.valid


def _made_fresh(visit: Flight, outcome: Outcome) -> Flight:
    """A flight that looks like the visit's to a censor, and asks for nothing that the user did not."""
    flight = Flight()
    if visit.protocol is Protocol.TLS:
        flight.receive_data(refreshed(_hello(visit), os.urandom(RANDOMNESS)))
    else:
        host = host_field(Destination(outcome.host, outcome.request.destination.port))
        flight.receive_data(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return flight


def _hello(visit: Flight) -> bytes:
    """The visit's ClientHello without the early data behind it, which is for the user's own connection alone."""
    hello = parse_client_hello(visit.data)
    return visit.data if hello is None else visit.data[: hello.size]
