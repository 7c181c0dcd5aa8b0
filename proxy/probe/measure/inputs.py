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
from proxy.session.services import Services
from proxy.session.setup import Setup, refusal_by


class ProbeEnvironment(Protocol):
    """The dialers, the resolvers and the permissions of a measurement."""

    @property
    def settings(self) -> Settings: ...
    @property
    def tcp_info(self) -> TcpInfo: ...
    @property
    def knowledge(self) -> Knowledge:
        """Classifies answers to plain HTTP requests."""

    @property
    def roots(self) -> KnownRoots:
        """The roots that are known to intercept."""

    @property
    def trust(self) -> ssl.SSLContext | None:
        """Verifies certificates; None: with the system's roots."""

    def dialer(self, route: Route, /) -> Dialer:
        """Returns the dialer of a route. Raises BywayError for a strategy that cannot be used here."""

    def carries(self, route: Route, destination: Destination, /) -> bool:
        """Whether the relays of `route` take `destination`."""

    def refuses(self, destination: Destination, address: IPAddress, /) -> str | None:
        """Returns the reason why this address may not be dialed for `destination`; None when it may."""

    def is_private(self, host: str, /) -> bool:
        """Whether Byway may send nothing of its own to `host`."""

    async def may_be_control(self, page: ProbeTarget, /) -> bool:
        """Whether a control page may be requested direct, and its site is not in trouble itself."""

    async def resolve(self, host: str, /) -> Sequence[IPAddress]:
        """Resolves by the system, unencrypted. Raises DialError."""

    async def secure(self, host: str, /) -> Sequence[IPAddress]:
        """Resolves by encrypted DNS. Raises DialError."""

    async def compare(self, host: str, /) -> DnsFinding | None:
        """Compares the answers of both resolvers for `host`. Returns the finding against the system's answer; None when
        there is none. Raises DialError."""

    def finding(self, host: str, /) -> DnsFinding | None:
        """Returns the stored finding for `host`, if there is one. Sends no query."""

    def is_local_zone(self, host: str, /) -> bool:
        """Whether `host` is a name of the local network, by the lookups so far. Sends no query."""

    def may_be_local_zone(self, host: str, /) -> bool:
        """Whether `host` may be a name of the local network, by the lookups so far. Sends no query."""

    def hello_turn(self, name: str, /) -> Awaitable[None]:
        """Waits until a ClientHello with this name may be sent on a direct route, and notes it."""


class SetupEnvironment:
    """The environment of a running Byway: a Setup, and the services of the process."""

    trust = None

    def __init__(self, setup: Setup, services: Services) -> None:
        self._setup = setup
        self._services = services
        self._refuse_address = refusal_by(setup.guard, setup.resolver)
        self.settings = setup.settings
        self.tcp_info = services.tcp_info
        self.knowledge = setup.knowledge
        self.roots = services.roots()

    def dialer(self, route: Route, /) -> Dialer:
        return self._setup.registry.dialer(route)

    def carries(self, route: Route, destination: Destination, /) -> bool:
        return self._setup.registry.carries(route, destination)

    def refuses(self, destination: Destination, address: IPAddress, /) -> str | None:
        return self._refuse_address(destination, address)

    def is_private(self, host: str, /) -> bool:
        return self._services.is_private(host)

    async def may_be_control(self, page: ProbeTarget, /) -> bool:
        services = self._services
        belief = services.beliefs.lookup(page.host, network=services.network(), now=services.now())
        if belief.state in (*TROUBLED, State.DOWN):
            return False
        return await services.may_go_direct(self._setup, page.destination)

    async def resolve(self, host: str, /) -> Sequence[IPAddress]:
        return await self._setup.resolver.resolve(host)

    async def secure(self, host: str, /) -> Sequence[IPAddress]:
        return await self._setup.resolver.secure(host)

    async def compare(self, host: str, /) -> DnsFinding | None:
        return await self._setup.resolver.compare(host)

    def finding(self, host: str, /) -> DnsFinding | None:
        return self._setup.resolver.finding(host)

    def is_local_zone(self, host: str, /) -> bool:
        return self._setup.resolver.is_local_zone(host)

    def may_be_local_zone(self, host: str, /) -> bool:
        return self._setup.resolver.may_be_local_zone(host)

    async def hello_turn(self, name: str, /) -> None:
        await self._services.hello_turn(name)


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


def measured_routes(settings: Settings) -> tuple[Route, ...]:
    """Returns all routes that a measurement tests under these settings: direct, each local strategy, each relay."""
    local = [Route(wrap=tuple(rung.split("|"))) for rung in settings.auto.ladder]
    return (DIRECT, *local, *(Route((relay.name,)) for relay in enabled_relays(settings.relay)))
