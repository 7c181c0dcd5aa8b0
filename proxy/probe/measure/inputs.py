"""The inputs of a measurement: what is to be measured, and the environment that it is measured in."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Sequence
from typing import Protocol

from proxy.config.relays import enabled_relays
from proxy.config.schema import Settings
from proxy.detect.beliefs.belief_table import TROUBLED
from proxy.detect.signals import NEEDS_BYTES_PROOF
from proxy.detect.tls_interception import KnownRoots
from proxy.model import DIRECT, Action, Belief, Destination, DnsFinding, IPAddress, Plan, Route, State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.dialer import Dialer
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import Knowledge
from proxy.probe.target import ProbeTarget
from proxy.session.services import Services
from proxy.session.setup import Setup, refusal_by


class ProbeEnvironment(Protocol):
    """What a measurement dials with, asks for names, and is allowed to do."""

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
        """Raises BywayError for a strategy that cannot be used here."""

    def carries(self, route: Route, destination: Destination, /) -> bool:
        """Whether the relays of `route` can be asked for `destination`."""

    def refuses(self, destination: Destination, address: IPAddress, /) -> str | None:
        """Why this address may not be dialed for `destination`; None: it may."""

    def is_private(self, host: str, /) -> bool:
        """Whether nothing may be sent to `host` but what the user sends."""

    async def may_be_control(self, page: ProbeTarget, /) -> bool:
        """Whether a control page may be requested direct, and its site is not in trouble itself."""

    async def resolve(self, host: str, /) -> Sequence[IPAddress]:
        """Asks the system's resolver, unencrypted. Raises DialError."""

    async def secure(self, host: str, /) -> Sequence[IPAddress]:
        """Asks encrypted DNS. Raises DialError."""

    async def compare(self, host: str, /) -> DnsFinding | None:
        """What is wrong with the system's answer for `host`, once both resolvers were asked; None: nothing is. Raises
        DialError."""

    def finding(self, host: str, /) -> DnsFinding | None:
        """The same as far as it is known, without asking."""

    def is_local_zone(self, host: str, /) -> bool:
        """Whether the lookups so far found `host` to be a name of the local network's own. Asks nobody."""

    def may_be_local_zone(self, host: str, /) -> bool:
        """Whether `host` may turn out to be such a name, by what the resolvers have said so far. Asks nobody."""

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
    """What is to be measured, with the plan and the stored status of the site."""

    page: ProbeTarget
    plan: Plan
    belief: Belief
    routes: tuple[Route, ...]
    """To be tested: direct, local strategies, relays."""
    thorough: bool = True
    """Whether to test both address families, another SNI at the same address, and encrypted DNS beside the system's."""

    @property
    def destination(self) -> Destination:
        return self.page.destination

    @property
    def must_find_place(self) -> bool:
        """Whether lookups must show first that the site is not on the home network: AUTO sends a name to relays, and
        direct may ask for it."""
        plan, is_name = self.plan, self.destination.address is None
        return plan.action is Action.AUTO and is_name and any(route.is_direct for route in plan.routes)

    @property
    def needs_transfer(self) -> bool:
        """Whether a page of the usual size would show nothing: the stored status says that larger transfers stall, or
        are slow."""
        return self.thorough and self.belief.state in TROUBLED and self.belief.cause in NEEDS_BYTES_PROOF


def is_at_home(env: ProbeEnvironment, request: MeasurementRequest) -> bool:
    """Whether the site is on the home network, by its plan or by what lookups have found since."""
    if request.plan.is_home:
        return True
    return request.plan.action in (Action.AUTO, Action.DIRECT) and env.is_local_zone(request.page.host)


def measured_routes(settings: Settings) -> tuple[Route, ...]:
    """All routes that a measurement tests under these settings: direct, each local strategy, each relay."""
    local = [Route(wrap=tuple(rung.split("|"))) for rung in settings.auto.ladder]
    return (DIRECT, *local, *(Route((relay.name,)) for relay in enabled_relays(settings.relay)))
