"""The inputs of a measurement: the request for it, and its environment."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Sequence
from typing import Protocol

from proxy.config.relays import enabled_relays
from proxy.config.schema import Settings
from proxy.detect.signals import NEEDS_BYTES_PROOF
from proxy.detect.tls_interception import KnownRoots
from proxy.model import DIRECT, TROUBLED, Action, Belief, Destination, DnsFinding, IPAddress, Plan, Route, State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.dialer import Dialer
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import Knowledge
from proxy.probe.target import ProbeTarget
from proxy.routing.strategies import rewrites_flight
from proxy.session.services import Services
from proxy.session.setup import Setup, refusal_by


class ProbeEnvironment(Protocol):
    """The dialers, the resolvers and the permissions of a measurement. See the methods of the same names of Registry,
    Resolver and Services."""

    @property
    def settings(self) -> Settings: ...
    @property
    def tcp_info(self) -> TcpInfo: ...
    @property
    def knowledge(self) -> Knowledge: ...
    @property
    def roots(self) -> KnownRoots: ...
    @property
    def trust(self) -> ssl.SSLContext | None:
        """Verifies certificates; None: with the system's roots."""

    def dialer(self, route: Route, /) -> Dialer: ...
    def carries(self, route: Route, destination: Destination, /) -> bool: ...
    def refuses(self, destination: Destination, address: IPAddress, /) -> str | None:
        """Returns the reason why this address may not be dialed for `destination`; None when it may."""

    def is_private(self, host: str, /) -> bool: ...
    async def may_be_control(self, page: ProbeTarget, /) -> bool:
        """Whether a control page may be requested direct, and its site is not in trouble itself."""

    async def resolve(self, host: str, /) -> Sequence[IPAddress]: ...
    async def secure(self, host: str, /) -> Sequence[IPAddress]: ...
    async def compare(self, host: str, /) -> DnsFinding | None: ...
    async def elsewhere(self, host: str, /) -> IPAddress | None: ...
    def finding(self, host: str, /) -> DnsFinding | None: ...
    def is_local_zone(self, host: str, /) -> bool: ...
    def may_be_local_zone(self, host: str, /) -> bool: ...
    def hello_turn(self, name: str, /) -> Awaitable[None]: ...
    def hello_of(self, host: str, /) -> bytes | None:
        """Returns the ClientHello of the last visit that direct did not deliver; None: none is kept."""


class SetupEnvironment:
    """The environment of a running Byway: a Setup, and the services of the process."""

    trust = None

    def __init__(self, setup: Setup, services: Services) -> None:
        self._setup = setup
        self._services = services
        self.settings = setup.settings
        self.tcp_info = services.tcp_info
        self.knowledge = setup.knowledge
        self.roots = services.roots()
        self.dialer = setup.registry.dialer
        self.carries = setup.registry.carries
        self.refuses = refusal_by(setup.guard, setup.resolver)
        self.is_private = services.is_private
        self.hello_turn = services.hello_turn
        self.hello_of = services.kept_hellos.of
        resolver = setup.resolver
        self.resolve, self.secure, self.compare = resolver.resolve, resolver.secure, resolver.compare
        self.elsewhere, self.finding = resolver.elsewhere, resolver.finding
        self.is_local_zone, self.may_be_local_zone = resolver.is_local_zone, resolver.may_be_local_zone

    async def may_be_control(self, page: ProbeTarget, /) -> bool:
        services, now = self._services, self._services.now()
        belief = services.beliefs.lookup(page.host, network=services.network(), now=now)
        failed_alone = belief.state is State.UNKNOWN and now < belief.until  # just now, and nothing was compared
        if belief.state in (*TROUBLED, State.DOWN) or failed_alone:
            return False
        return await services.may_go_direct(self._setup, page.destination)


@frozen_dataclass
class MeasurementRequest:
    """The page to measure, with the plan and the stored status of the site."""

    page: ProbeTarget
    plan: Plan
    belief: Belief
    routes: tuple[Route, ...]
    """The routes to test: direct, local strategies, relays."""
    thorough: bool = True
    """Whether to test both address families, another SNI at the same address, and encrypted DNS beside the system's."""

    @property
    def destination(self) -> Destination:
        return self.page.destination

    @property
    def must_find_place(self) -> bool:
        """Whether lookups must first show that the site is not on the home network: under AUTO, relays would get the
        name, and direct may look it up."""
        plan, is_name = self.plan, self.destination.address is None
        return plan.action is Action.AUTO and is_name and any(route.is_direct for route in plan.routes)

    @property
    def needs_transfer(self) -> bool:
        """Whether a page of the usual size would show nothing, since by the stored status larger transfers stall or are
        slow."""
        return self.thorough and self.belief.state in TROUBLED and self.belief.cause in NEEDS_BYTES_PROOF


def is_at_home(env: ProbeEnvironment, request: MeasurementRequest) -> bool:
    """Whether the site is on the home network, by its plan or by later lookups."""
    if request.plan.is_home:
        return True
    return request.plan.action in (Action.AUTO, Action.DIRECT) and env.is_local_zone(request.page.host)


def measured_routes(settings: Settings, plan: Plan | None = None) -> tuple[Route, ...]:
    """Returns all routes that a measurement tests under these settings: direct, each local strategy, each relay. The
    first strategy is the one that goes first by the plan of the site: a search may have found it."""
    local = [Route(wrap=tuple(rung.split("|"))) for rung in settings.auto.ladder]
    if plan is not None and plan.routes and plan.routes[0].is_direct and rewrites_flight(plan.routes[0]):
        local = [*dict.fromkeys((plan.routes[0], *local))]
    return (DIRECT, *local, *(Route((relay.name,)) for relay in enabled_relays(settings.relay)))
