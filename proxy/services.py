"""What sessions share: the Setup in force, and the services of this process.

Values that the application makes and hands down. A session asks for the Setup anew with each request, so that a reload
takes effect with the next one and never in the middle of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.config.load import Loaded
from proxy.config.schema import Settings
from proxy.detect.beliefs import Beliefs
from proxy.detect.health import Health
from proxy.detect.interception import KnownRoots
from proxy.extend.addons import Addons
from proxy.model import (
    DIRECT,
    Action,
    Change,
    Destination,
    Inbound,
    IPAddress,
    NetworkId,
    Outcome,
    Plan,
    Request,
    Route,
)
from proxy.net.advice import UNADVISED, Advice
from proxy.net.alarms import Alarms
from proxy.net.flow_watch import FlowWatch
from proxy.net.front import Front
from proxy.net.oracle import Oracle
from proxy.net.pump import Pump
from proxy.net.race import Race
from proxy.net.registry import Registry
from proxy.net.resolver import Resolver
from proxy.net.stream import SocketStream
from proxy.routing.guard import Guard
from proxy.routing.router import Router
from proxy.wire.flight import Flight

_OF_OUR_OWN = Plan(Action.AUTO, (DIRECT,), "Byway itself asks, to tell a block from a network that is not well")


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that the user configured, ready for use. A reload replaces it whole; running tunnels keep theirs."""

    loaded: Loaded
    front: Front
    guard: Guard
    router: Router
    registry: Registry
    resolver: Resolver
    """The one for direct routes."""
    advice: Advice = UNADVISED

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    def race(self, request: Request, routes: Sequence[Route], oracle: Oracle, alarms: Alarms | None = None) -> Race:
        """A race over routes that were planned under this setup: a later one may not know their relays any more."""
        return Race(
            request.destination,
            routes,
            self.registry.dialer,
            oracle=oracle,
            detect=self.settings.detect,
            advice=self.advice if len(routes) > 1 else UNADVISED,
            alarms=alarms,
            schedule=self.registry.schedule,
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What an inspector makes of a connection. Neither: it goes on as if no rule had said INSPECT."""

    inspect: bool = False
    refusal: str = ""
    """One sentence: why nothing of it may go on."""


UNTOUCHED = Look()


@dataclass(frozen=True, slots=True)
class Stead:
    """What stands in for an origin, for one plain HTTP request."""

    stream: SocketStream
    """It ends without a word where no answer came."""
    inside: Callable[[], Outcome | None]
    """How it went on from there; None: it did not."""


class Inspector(Protocol):
    """Looks into what a rule INSPECTs. `intercept` has it; here is what a session asks of it."""

    async def look(self, outcome: Outcome, flight: Flight | None) -> Look:
        """What becomes of a connection: first before its client is told "connected", without a `flight`, then with."""

    async def stand_between(self, client: SocketStream, said: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        """Takes over a client that has `said` its first words. On what is returned the inspector speaks as the client
        of the session; `outcome` tells what has become of that. Raises OSError."""

    async def serve(self, outcome: Outcome) -> Stead:
        """Takes the place of an origin, for one plain HTTP request and its answer. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Services:
    """What sessions share."""

    setup: Callable[[], Setup]
    beliefs: Beliefs
    health: Health
    pump: Pump
    oracle: Oracle
    network: Callable[[], NetworkId]
    now: Callable[[], float]
    """The wall clock, seconds since the epoch."""
    request_ids: Iterator[int]
    believe: Callable[[Sequence[Change]], None]
    """Keeps what has been learned."""
    record: Callable[[Outcome, NetworkId], None]
    """Writes the last word on a connection."""
    is_private: Callable[[str], bool]
    """Whether a host is one of `[log] never`: it is not logged, and nothing is sent there but what the user sends."""
    adopt: Callable[[SocketStream, bytes], None]
    """Gives a client that asked for our own pages to the control server, with what it has sent."""
    alarms: Alarms
    known_addresses: Callable[[str], Sequence[IPAddress]]
    """What a name was last resolved to, as far as that is kept; nobody is asked."""
    sound: Callable[[], None]
    """Something was learned, and a sign may wait for a control."""
    flows: FlowWatch
    roots: KnownRoots
    """Those that are known to intercept."""
    visit_won: Callable[[Outcome], None]
    """A route has delivered; whose certificate it brings may be worth a look."""
    tunnel_ended: Callable[[Outcome], None]
    """A tunnel has ended; its client may have hung up on the certificate."""
    addons: Addons
    inspector: Inspector
    teaches: bool = True
    """False: nothing is learned of what happens, since it was we who asked, and perhaps what no client would."""

    async def may_go_direct(self, setup: Setup, destination: Destination) -> bool:
        """Whether rules and addons let anything go there but through relays. For what we ask of our own accord."""
        if not setup.router.may_go_direct(destination):
            return False
        if not self.addons.decides:
            return True
        request = Request(next(self.request_ids), destination, Inbound.RETEST, client="")
        plan = await self.addons.decide(request, _OF_OUR_OWN, setup.registry)
        return any(route.is_direct for route in plan.routes)
