"""What a Setup asks of the running Byway: the network, what is believed at the moment, and the addons.

A Setup is frozen and is replaced by each reload; what it asks here changes with every connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_health import Health
from proxy.detect.relay_ways import RelayWays
from proxy.extend.dispatch import Addons
from proxy.model import Destination, DnsFinding, IPAddress, NetworkId, NetworkState, Route, Symptom
from proxy.model.relay_way import RelayWay, WayOrder
from proxy.net.dialers.road import NoWayBeliefs, WayBeliefs
from proxy.net.dns.policy import NetworkOnly, ResolverPolicy
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.stream import Stream
from proxy.net.uplink.network_watch import NetworkWatch
from proxy.session.setup import Setup

if TYPE_CHECKING:
    from proxy.detect.pages.page_classifier import Classify


class Runtime(ResolverPolicy, Protocol):
    """The part of a running Byway that a Setup uses. All methods but `dial_by_addon` answer at once."""

    def in_residual_window(self, address: IPAddress) -> bool:
        """Whether a flight to `address` was reset so recently that a filter may still drop everything sent there."""
        ...

    def report_broken_flight(self, address: str, host: str) -> None:
        """Begins the residual window of `address`: a flight to `host` was reset there, or looks dropped."""
        ...

    def report_answered_flight(self, address: str, host: str) -> None:
        """Ends it again: the flight that looked dropped was answered after all."""
        ...

    def is_portal(self) -> bool:
        """Whether a captive portal answers for every site."""
        ...

    def is_failing(self, relay: str) -> bool:
        """Whether a relay or a chain, given by its name, is tried last because it failed."""
        ...

    def page_classifier(self) -> Classify | None:
        """The addons' classifier of pages; None when no addon has one."""
        ...

    @property
    def relay_ways(self) -> WayBeliefs:
        """What is believed of the ways to relays on this network."""
        ...

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        """Opens a path with an addon's `dial` hook; None when there is no such addon, or it failed. The caller closes
        the stream. Raises DialError and OSError."""
        ...


_NO_WAY_BELIEFS: WayBeliefs = NoWayBeliefs()


class NoRuntime(NetworkOnly):
    """For commands, which build a Setup while no Byway runs: nothing is believed, and no addon runs."""

    def in_residual_window(self, address: IPAddress) -> bool:
        return False

    def report_broken_flight(self, address: str, host: str) -> None:
        pass

    def report_answered_flight(self, address: str, host: str) -> None:
        pass

    def is_portal(self) -> bool:
        return False

    def is_failing(self, relay: str) -> bool:
        return False

    def page_classifier(self) -> Classify | None:
        return None

    @property
    def relay_ways(self) -> WayBeliefs:
        return _NO_WAY_BELIEFS

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        return None


NO_RUNTIME: Runtime = NoRuntime()


class WaysHere:
    """The beliefs about ways to relays, of the current network and now. See WayBeliefs."""

    def __init__(self, ways: RelayWays, network: Callable[[], NetworkId], now: Callable[[], float] = time.time) -> None:
        self._ways = ways
        self._network = network
        self._now = now

    def order(self, relay: Destination, ways: Sequence[RelayWay], filtered: Sequence[RelayWay]) -> WayOrder:
        return self._ways.order(relay, ways, self._network(), self._now(), filtered=filtered)

    def used(self, relay: Destination, way: RelayWay) -> None:
        self._ways.used(relay, way, self._network(), self._now())

    def worked(self, relay: Destination, way: RelayWay) -> None:
        self._ways.worked(relay, way, self._network(), self._now())

    def failed(self, relay: Destination, way: RelayWay, symptom: Symptom) -> None:
        self._ways.failed(relay, way, symptom, self._network(), self._now())

    def overtaken(self, relay: Destination, way: RelayWay) -> None:
        self._ways.overtaken(relay, way, self._network(), self._now())

    def avoid(self, relay: Destination, peer: str) -> None:
        self._ways.avoid(relay, peer, self._network(), self._now())

    def due(self, relay: Destination, ways: Sequence[RelayWay]) -> RelayWay | None:
        return self._ways.due(relay, ways, self._network(), self._now())


class AppRuntime:
    """The Runtime of an App."""

    def __init__(
        self,
        setup: Callable[[], Setup],
        network: NetworkWatch,
        beliefs: Beliefs,
        findings: SharedFindings,
        health: Health,
        relay_ways: RelayWays,
        addons: Addons,
    ) -> None:
        """`setup` returns the Setup in use, which a reload replaces."""
        self._setup = setup
        self.network: Callable[[], NetworkId] = network.current  # asked a dozen times for each lookup
        self._network_watch = network
        self._beliefs = beliefs
        self._findings = findings
        self._health = health
        self._addons = addons
        self.relay_ways: WayBeliefs = WaysHere(relay_ways, network.current)

    # -- for resolvers (ResolverPolicy) ----------------------------------------------------------------------------

    def has_ipv6(self) -> bool:
        return self._network_watch.has_ipv6

    def is_suspect(self, host: str) -> bool:
        router, network, now = self._setup().router, self.network(), time.time()
        return (
            router.rules.is_listed(host)
            or self._beliefs.lookup(host, network=network, now=now).hide_name_from_dns
            or not router.may_go_direct(Destination(host, 443), network, now)
        )

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        """A race that waits for a direct route to `host` starts the next one."""
        self._findings.mark_down(host)

    # -- for dialers and races -------------------------------------------------------------------------------------

    def in_residual_window(self, address: IPAddress) -> bool:
        return self._beliefs.residual.in_residual_window(address, self.network(), time.time())

    def report_broken_flight(self, address: str, host: str) -> None:
        self._beliefs.residual.note(address, self.network(), time.time(), host=host)

    def report_answered_flight(self, address: str, host: str) -> None:
        self._beliefs.residual.take_back(address, self.network(), host)

    def is_portal(self) -> bool:
        return self._beliefs.network_state(self.network()) is NetworkState.PORTAL

    def is_failing(self, relay: str) -> bool:
        return self._health.is_open(relay, time.time())

    # -- by addons -------------------------------------------------------------------------------------------------

    def page_classifier(self) -> Classify | None:
        return self._addons.classify if self._addons.classifies else None

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        return await self._addons.dial(addon, route, destination)
