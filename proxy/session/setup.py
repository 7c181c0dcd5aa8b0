"""The Setup: everything that the user configured, ready for use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.config.load import Loaded
from proxy.config.schema import Settings
from proxy.model import Destination, IPAddress, NetworkId, Plan, RelayGroup, Request, Route
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import GuardAddress
from proxy.net.dns.resolver import Resolver
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.notify import Notify
from proxy.net.race.race import Race
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.race.terms import DialerFor, RaceTerms
from proxy.net.uplink.network_watch import source_address_for
from proxy.routing.address_guard import Guard
from proxy.routing.router import Router
from proxy.session.inbound import InboundHandshake

if TYPE_CHECKING:
    from proxy.detect.pages.block_pages import BlockPages
    from proxy.net.named_programs import NamedProgram

_PLANS_KEPT = 4096
"""Destinations whose plan is kept."""


@frozen_dataclass
class KeptPlan:
    """A plan, and the conditions under which it is still valid in its Setup."""

    plan: Plan
    network: NetworkId
    made_at: float
    until: float
    """Seconds since the epoch, as `made_at`. From then on, time alone may change the plan."""
    generation: int
    """That of the host, as beliefs have it."""
    health_version: int


@frozen_dataclass
class NamedOnly:
    """`[listen] programs`: the programs that alone get relays, and the races of all other clients."""

    programs: tuple[NamedProgram, ...]
    terms: Callable[[Guard], RaceTerms]
    """Returns the terms of races in which no relay takes part, for clients under a guard. They share nothing with other
    races: neither lookups of names nor findings."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration, made ready for use. A reload makes a new Setup; running tunnels keep theirs."""

    loaded: Loaded
    inbound: InboundHandshake
    guard: Guard
    router: Router
    registry: Registry
    resolver: Resolver
    """Resolves names for direct routes."""
    pages: Callable[[], BlockPages] = field(kw_only=True)
    """Returns the known block pages; called for each answer of plain HTTP."""
    knowledge: Knowledge = NOTHING_KNOWN
    own_url: str = ""
    """The URL of Byway's own page, for a client of the proxy."""
    port: int = 0
    """The port that Byway listens on."""
    named: NamedOnly | None = None
    """None: all clients may get relays."""
    settings: Settings = field(init=False)
    """The settings of `loaded`, where a chain over a group is replaced by a chain for each member."""
    groups: tuple[RelayGroup, ...] = field(init=False)
    """The groups of relays, with their members in use."""
    kept_plans: Bounded[tuple[str, int], KeptPlan] = field(
        default_factory=lambda: Bounded(_PLANS_KEPT), init=False, compare=False
    )
    race_terms: dict[tuple[TcpInfo, SharedFindings | None], RaceTerms] = field(
        default_factory=dict, init=False, compare=False
    )
    """The terms of sessions, and of probes: probes have no findings, so they mark no host as down."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", self.loaded.relays.expanded)
        object.__setattr__(self, "groups", self.loaded.relays.groups)

    def race(
        self,
        request: Request,
        routes: tuple[Route, ...],
        tcp_info: TcpInfo,
        findings: SharedFindings | None = None,
        notify: Notify | None = None,
        dialer: DialerFor | None = None,
        *,
        direct_waits: bool = False,
    ) -> Race:
        """Returns a race over routes that were planned under this Setup; another Setup may lack their relays. With
        `dialer` None, the race uses the dialers of the registry. `direct_waits`: see Plan."""
        terms = self.race_terms.get((tcp_info, findings)) if dialer is None else None
        if terms is None:
            terms = RaceTerms(
                dialer or self.registry.dialer,
                direct=self.registry.direct,
                tcp_info=tcp_info,
                detect=self.settings.detect,
                knowledge=self.knowledge,
                resolver=self.resolver,
                findings=findings,
                schedule=self.registry.schedule,
            )
            if dialer is None:
                self.race_terms[tcp_info, findings] = terms
        return Race(request.destination, routes, terms, notify, direct_waits=direct_waits)


def refusal_by(guard: Guard, resolver: Resolver | None = None) -> GuardAddress:
    """Returns the check of addresses before they are dialed.

    The check looks up this computer's own addresses each time: a laptop gets new ones as it travels. A name may resolve
    to a fake address of another proxy on this computer, as far as `resolver` knows. An address from the user's own
    hosts files is judged like a literal address, because no website can write such a file."""

    def refusal(destination: Destination, address: IPAddress) -> str | None:
        if resolver is not None and destination.address is None and resolver.is_fake(address):
            return None
        reason, lasts = guard.judge_address(destination, address)
        if reason is not None and resolver is not None and address in resolver.in_files(destination.host):
            reason = guard.refuse_address(Destination(str(address), destination.port), address)
        if reason is not None or lasts:
            return reason
        is_own = source_address_for(address) == address
        return guard.refuse_address(destination, address, is_own=True) if is_own else None

    return refusal
