"""The services of this process that all sessions share; the application makes them.

A session takes the Setup anew for each request, so a reload takes effect with the next request, never in the middle of
one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import Event
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.detect.relay_ways import RelayWays
from proxy.model import DIRECT, Action, Attempt, Destination, Inbound, NetworkId, Outcome, Plan, Request
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.client_programs import ClientPrograms, PortUsers
from proxy.net.dialers.registry import Registry
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.race.hello_ledger import take_turn
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.race.terms import DialerFor
from proxy.net.stream import SocketStream
from proxy.net.tunnel.flow_monitor import FlowMonitor
from proxy.net.tunnel.pump import Pump
from proxy.session.events import Events, Learned
from proxy.session.inspector import Inspector
from proxy.session.kept_hellos import KeptHellos
from proxy.session.open_connections import OpenConnections
from proxy.session.rule_hits import RuleHits
from proxy.session.setup import Setup

if TYPE_CHECKING:
    from proxy.detect.tls_interception import KnownRoots

_OF_OUR_OWN = Plan(Action.AUTO, (DIRECT,), "Byway itself asks, to tell a block from a network that is not well")


class AddonCalls(Protocol):
    """The calls of a session to the addons."""

    decides: bool
    refines: bool
    handles_unreachable: bool
    wants_attempts: bool
    """Whether an addon has a hook for decisions, signals, unreachable sites, or attempts (in this order). Without one,
    the session makes no call."""

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan: ...
    async def unreachable(self, request: Request, outcome: Outcome) -> str | None: ...
    def take_refinements(self, request_id: int) -> str: ...
    def notify_attempt(self, request: Request, attempt: Attempt) -> None: ...


class TransferChecker(Protocol):
    """Finds out, for a relay that has alternatives, which of its ways carry transfers."""

    @property
    def under_way(self) -> Collection[object]:
        """The checks for which visits wait now."""
        ...

    def dialer_for(self, setup: Setup) -> DialerFor:
        """Returns dialers that check the ways of such a relay beside the first visit through it, and take a way on
        which transfers pass."""
        ...


@frozen_dataclass
class Services:
    """The shared services."""

    setup: Callable[[], Setup]
    beliefs: Beliefs
    health: Health
    groups: RelayGroups
    pump: Pump
    tcp_info: TcpInfo
    network: Callable[[], NetworkId]
    now: Callable[[], float]
    """The wall clock, seconds since the epoch."""
    request_ids: Iterator[int]
    events: Events
    is_private: Callable[[str], bool]
    """Whether a host is in `[log] never`. Such a host is not logged, and Byway sends nothing there of its own
    accord."""
    adopt: Callable[[SocketStream, bytes], None]
    """Hands a client that asked for our own page to the control server, with the bytes received from it."""
    findings: SharedFindings
    flows: FlowMonitor
    roots: Callable[[], KnownRoots]
    """Returns the root certificates that are known to intercept TLS."""
    addons: AddonCalls
    inspector: Inspector
    programs: ClientPrograms
    relay_ways: RelayWays = field(default_factory=lambda: RelayWays(DetectTuning()))
    transfer_check: Callable[[], TransferChecker | None] = lambda: None
    """Returns None when no relay has alternatives."""
    rule_hits: RuleHits = field(default_factory=RuleHits)
    kept_hellos: KeptHellos = field(default_factory=KeptHellos)
    open_connections: OpenConnections = field(default_factory=OpenConnections)
    explains: bool = True
    """False for clients that may not know why a connection failed: a reason may name a relay."""
    port_users: PortUsers = field(default_factory=PortUsers)
    learns: bool = True
    """False for Byway's own probes: nothing is learned from their outcomes."""

    def learn(self, event: Event, network: NetworkId) -> None:
        """Lets the beliefs learn from an event that happened on a network now, and emits their changes."""
        self.events.emit(Learned(self.beliefs.learn(event, network=network, now=self.now())))

    async def hello_turn(self, name: str) -> None:
        """Waits until Byway may send its own ClientHello with this name on a direct route, and notes it as sent."""
        await take_turn(self.findings.hellos, name, self.setup().settings.detect)

    async def may_go_direct(self, setup: Setup, destination: Destination) -> bool:
        """Whether rules and addons allow a direct route there. For Byway's own probes."""
        if not setup.router.may_go_direct(destination, self.network(), self.now()):
            return False
        if not self.addons.decides:
            return True
        request = Request(next(self.request_ids), destination, Inbound.RETEST, client="")
        plan = await self.addons.decide(request, _OF_OUR_OWN, setup.registry)
        return any(route.is_direct for route in plan.routes)
