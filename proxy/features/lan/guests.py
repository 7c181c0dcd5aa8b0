"""The services of sessions whose clients are guests: other devices of the network.

A guest's session is an ordinary one, under the same rules. What differs is here: it reaches public addresses alone, is
never inspected, teaches Byway nothing, is told no reasons, and leaves nothing in the log but counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from proxy.features.lan.reach import GuestGuard, GuestRegistry
from proxy.features.lan.relay_servers import RelayServers
from proxy.model import Action, Attempt, Outcome, Plan, Request
from proxy.net.client_programs import ClientPrograms
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.race.terms import RaceTerms
from proxy.net.stream import SocketStream
from proxy.session.events import Ended, Events
from proxy.session.inbound import InboundHandshake
from proxy.session.open_connections import OpenConnections
from proxy.session.services import AddonCalls, Services
from proxy.session.setup import NamedOnly, Setup

if TYPE_CHECKING:
    from proxy.net.named_programs import Holder


class GuestSetups:
    """The Setup in use, as guests have it. Belongs to one loop."""

    def __init__(self, in_use: Callable[[], Setup]) -> None:
        self._in_use = in_use
        self._made_of: Setup | None = None
        self._made: Setup
        self.servers: RelayServers
        """The servers of the relays of the Setup in use."""
        self.get()

    def get(self) -> Setup:
        """Returns the Setup for guests; the same one while that of this computer is the same."""
        setup = self._in_use()
        if self._made_of is None or setup is not self._made_of:
            if self._made_of is None or setup.registry is not self._made_of.registry:
                self.servers = RelayServers(setup, setup.registry.relay_lookup)
            guard = GuestGuard(setup.guard, self.servers)
            self._made = replace(
                setup,
                inbound=InboundHandshake(setup.settings.limits, None, lambda _host: False),
                guard=guard,
                registry=GuestRegistry(setup.registry, guard),
                named=None if setup.named is None else _named_for_guests(setup.named, guard),
            )
            self._made_of = setup
        return self._made


def _named_for_guests(named: NamedOnly, guard: GuestGuard) -> NamedOnly:
    """Returns `[listen] programs` for guests, which are none of them: their direct routes have the guard of guests."""
    made = named.terms(guard)
    direct = cast(TcpDialer, made.direct).guarded_by(guard.refuse_address)
    terms = RaceTerms(
        lambda _route, *, avoid_residual=True: direct,
        direct=direct,
        tcp_info=made.tcp_info,
        detect=made.detect,
    )
    return replace(named, terms=lambda _guard: terms)


def guest_services(
    services: Services,
    setups: GuestSetups,
    on_ended: Callable[[Ended], None],
    adopt: Callable[[SocketStream, bytes], None],
) -> Services:
    """Returns the services of guests. `on_ended` gets each connection that has ended, `adopt` is as in Services."""
    events = Events()
    events.on(Ended, on_ended)
    return replace(
        services,
        setup=setups.get,
        adopt=adopt,
        events=events,
        open_connections=OpenConnections(),
        programs=NotOnThisComputer(),
        addons=AddonsForGuests(services.addons, setups),
        transfer_check=lambda: None,
        learns=False,
        explains=False,
    )


class NotOnThisComputer(ClientPrograms):
    """Guests are programs of other computers."""

    def __init__(self) -> None:
        super().__init__(lambda: 0)

    async def of(self, client: str) -> str | None:
        """See ClientPrograms."""
        return ""

    async def of_all(self, clients: Collection[str]) -> Mapping[str, str | None]:
        """See ClientPrograms."""
        return dict.fromkeys(clients, "")

    async def holders(self, client: str) -> tuple[Holder, ...] | None:
        """See ClientPrograms."""
        return ()


class AddonsForGuests:
    """The calls to addons: they decide about guests too, and are told nothing else."""

    decides = True
    refines = False
    wants_attempts = False
    handles_unreachable = False

    def __init__(self, addons: AddonCalls, setups: GuestSetups) -> None:
        self._addons = addons
        self._setups = setups

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan:
        """Returns the plan that addons make, without inspection, and from which nothing is learned. `host` is the name
        in the flight to an address: if it is that of a relay's server, the plan is to refuse."""
        if host and self._setups.servers.names(host):
            return Plan(Action.BLOCK, (), "the name of a relay's server")
        if self._addons.decides:
            plan = await self._addons.decide(request, plan, registry, host=host)
        return replace(plan, intercept=False, learns=False)

    async def unreachable(self, request: Request, outcome: Outcome) -> str | None:
        """See AddonCalls."""
        return None

    def take_refinements(self, request_id: int) -> str:
        """See AddonCalls."""
        return ""

    def notify_attempt(self, request: Request, attempt: Attempt) -> None:
        """See AddonCalls."""
