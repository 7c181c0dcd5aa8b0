"""Learns from the outcome of one connection: for beliefs, for the health of relays, and for addons.

A ConnectionRecord gives its outcome to its observer whenever it changes. The observer does not know the record: it
returns an outcome with its additions.
"""

from __future__ import annotations

from proxy.detect.beliefs.events import (
    Carried,
    CertificateAccepted,
    DirectDelivered,
    FlowStalled,
    StrategyBroke,
    StrategyTried,
)
from proxy.detect.relay_health import FAIR, NEAR, relay_name
from proxy.detect.signals import NEEDS_BYTES_PROOF
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Cause,
    Change,
    Destination,
    Evidence,
    NetworkId,
    Outcome,
    Plan,
    Route,
    Stage,
    Symptom,
)
from proxy.net.tunnel.watched_flow import FlowListener, WatchedFlow, WatchedTransfer
from proxy.routing.strategies import rewrites_flight
from proxy.session.events import Learned, SignalWaits, TransferSlow
from proxy.session.services import Services
from proxy.wire.tls import CertificateReply

_LOOPBACK = ("127.", "[::1]")


class OutcomeObserver:
    """Learns from the outcome of one connection."""

    __slots__ = ("_network", "_reported_attempts", "_services")

    def __init__(self, services: Services, network: NetworkId) -> None:
        """`network` is the one on which the connection began. Once the network is another one, nothing is learned."""
        self._services = services
        self._network = network
        self._reported_attempts: tuple[tuple[Route, Stage, Symptom], ...] = ()

    def learn(self, outcome: Outcome) -> Outcome:
        """Learns from the outcome so far. Returns it with a note of the addons' changes to its signals."""
        services = self._services
        if not services.learns:
            return outcome
        if services.addons.wants_attempts:
            self._report_attempts(outcome)
        if services.network() != self._network or not outcome.plan.learns:
            return outcome
        changes = services.beliefs.learn(outcome, network=self._network, now=services.now())
        if services.addons.refines and (refined := services.addons.take_refinements(outcome.request.id)):
            outcome = _with_refinements(outcome, refined)
        if (
            changes
            or (outcome.winner != DIRECT and not _delivered_at_once(outcome))
            or services.beliefs.needs_control(self._network)
        ):
            self._tell(changes)
        return outcome

    def works_again(self, plan: Plan, host: str, attempt: Attempt) -> bool:
        """Learns from a connection whose only attempt was direct and delivered. Returns True when it shows only that
        its host still works, and no addon wants it, as for most connections. Returns False when `learn` has to be
        called with its outcome."""
        services = self._services
        if (
            not plan.learns
            or not services.learns
            or services.addons.wants_attempts
            or services.addons.refines
            or services.network() != self._network
        ):
            return False
        changes = services.beliefs.works_again(host, attempt, network=self._network, now=services.now())
        if changes is None:
            return False
        if changes or services.beliefs.needs_control(self._network):
            self._tell(changes)
        return True

    def _tell(self, changes: list[Change]) -> None:
        """Emits the changes of beliefs, and SignalWaits, since a signal may wait for a control."""
        if changes:
            self._services.events.emit(Learned(changes))
        self._services.events.emit(SignalWaits())

    def judge_relays(self, outcome: Outcome) -> None:
        """Updates the health of relays from the attempts of a race."""
        services = self._services
        if not outcome.plan.learns:
            return
        for attempt in outcome.attempts:
            if attempt.route.relays:
                break
        else:
            if not services.health.unconfirmed:
                return  # most connections
        if (check := services.transfer_check()) is not None and check.under_way:
            return  # the check holds visits back, so a relay may only look silent
        if services.network() == self._network:
            now = services.now()
            if _delivered_at_once(outcome):  # no relay is to blame for anything
                conditions = NEAR if services.beliefs.is_near(outcome.host) else FAIR
            else:
                conditions = services.beliefs.relay_conditions(outcome.host, network=self._network, now=now)
            failed = services.health.learn(outcome, now, conditions)
            if services.groups.in_use:
                services.groups.learn(outcome, network=self._network, now=now)
            if failed and services.beliefs.suspect_portal_if_quiet(self._network, now):
                services.events.emit(SignalWaits())

    def watch(
        self, tunnel: WatchedTransfer, winner: Route, plan: Plan, host: str, listener: FlowListener
    ) -> WatchedFlow | None:
        """Watches a tunnel for stalls, throttling and early resets, if that can teach something. Returns None when the
        tunnel is not watched.

        A direct tunnel to a host on our own network is not watched: it survives an outage of the uplink. A tunnel
        through a relay on another computer is watched under every rule, because its stalls count against the relay.
        What stops one over a local strategy counts against the strategy, once a relay has carried more."""
        services = self._services
        if tunnel.over or not services.learns or not plan.learns:
            return None
        if winner.relays:
            is_remote = not tunnel.upstream.peer.startswith(_LOOPBACK)
            if is_remote or self._proves(plan, host):
                return services.flows.watch(tunnel, host, listener, route=winner, stalls_count=is_remote)
            return None
        if plan.action is not Action.AUTO or services.beliefs.is_near(host):
            return None
        return services.flows.watch(tunnel, host, listener, route=winner)

    def _proves(self, plan: Plan, host: str) -> bool:
        """Whether the bytes that a route carries for this host decide the belief about it."""
        services = self._services
        if plan.action is not Action.AUTO or services.beliefs.is_near(host):
            return False
        belief = services.beliefs.lookup(host, network=self._network, now=services.now())
        return belief.cause in NEEDS_BYTES_PROOF or services.beliefs.awaits_proof((self._network, host)) is not None

    def on_tunnel_ended(self, outcome: Outcome, reply: CertificateReply) -> None:
        """A tunnel with TLS ended. If the client accepted a certificate over direct, no captive portal answers. This
        does not hold for a host on our own network, which is reached in front of the portal."""
        services = self._services
        if (
            reply is CertificateReply.ACCEPTED
            and outcome.plan.learns
            and outcome.winner == DIRECT
            and services.network() == self._network
            and not services.beliefs.is_near(outcome.host)
        ):
            services.beliefs.note(CertificateAccepted(), network=self._network, now=services.now())

    def on_unwitnessed_stall(self, host: str) -> None:
        """A flow of `host` stalled, and nothing shows that the network works. A control page may show it."""
        services = self._services
        if services.network() == self._network:
            services.beliefs.note(FlowStalled(host), network=self._network, now=services.now())
            services.events.emit(SignalWaits())

    def on_slow(self, outcome: Outcome, bytes_s: float) -> None:
        """A direct transfer was much slower than those of other hosts. A comparison shows whether another route does
        better."""
        if self._services.network() == self._network:
            self._services.events.emit(TransferSlow(outcome, self._network, bytes_s))

    def on_direct_bytes(self, host: str, address: str, within_s: float) -> None:
        """A direct flow received bytes from `address` within the last `within_s`, so the uplink works. A page that
        stays open shows this as a visit does."""
        services = self._services
        if services.network() != self._network:
            return
        now = services.now()
        event = DirectDelivered(host, now - within_s, address)
        if changes := services.beliefs.learn(event, network=self._network, now=now):
            services.events.emit(Learned(changes))

    def on_relay_bytes(self, outcome: Outcome, tunnel: WatchedTransfer, bytes_down: int, bytes_s: float) -> None:
        """A relay carried `bytes_down`, which direct, or another way to this relay, may not carry."""
        services, route = self._services, outcome.winner
        if route is None or services.network() != self._network:
            return
        now = services.now()
        if (relay := self._first_relay(route)) is not None:
            services.relay_ways.carried(relay, tunnel.upstream.peer, self._network, now)
        if self._proves(outcome.plan, outcome.host):
            services.learn(Carried(outcome.host, route, bytes_down, bytes_s), self._network)

    def on_relay_whole(self, outcome: Outcome, bytes_down: int) -> None:
        """A relay's connection has ended, and nothing is missing. This shows nothing about speeds."""
        services, route = self._services, outcome.winner
        if route is not None and services.network() == self._network and self._proves(outcome.plan, outcome.host):
            services.learn(Carried(outcome.host, route, bytes_down, bytes_s=0.0, is_whole=True), self._network)

    def on_relay_upload(self, outcome: Outcome, bytes_up: int) -> None:
        """A relay took `bytes_up`, which direct may not let pass. This shows nothing about the speed of downloads."""
        services, route = self._services, outcome.winner
        if route is not None and services.network() == self._network and self._proves(outcome.plan, outcome.host):
            services.learn(Carried(outcome.host, route, bytes_up, bytes_s=0.0), self._network)

    def on_strategy_broke(self, outcome: Outcome, attempt: Attempt, *, again: bool) -> None:
        """The transfer of an attempt over a local strategy froze, was throttled or was reset. Where there is a relay,
        it has to carry more before that says anything, since a Wi-Fi stalls alike. Without one the strategy counts as
        one that fails for the host, unless it is the only way around. One reset shows nothing, since many programs end
        that way: the second after as many bytes, or as late, does (`again`)."""
        services, routes = self._services, outcome.plan.routes
        others = tuple(
            route for route in routes if route.is_direct and rewrites_flight(route) and route != attempt.route
        )
        if (attempt.symptom is Symptom.RESET and not again) or services.network() != self._network:
            return
        if any(route.relays for route in routes):
            services.learn(StrategyBroke(outcome.host, attempt, others), self._network)
        elif others:
            services.learn(StrategyTried(outcome.host, attempt.route, ok=False), self._network)

    def on_relay_lasted(self, outcome: Outcome, lasted_s: float) -> None:
        """A relay's connection receives longer than direct ones of its host do, which are cut."""
        services, route = self._services, outcome.winner
        if route is not None and services.network() == self._network and outcome.plan.action is Action.AUTO:
            services.learn(Carried(outcome.host, route, 0, lasted_s=lasted_s), self._network)

    def on_direct_carried(self, outcome: Outcome, bytes_down: int, lasted_s: float) -> None:
        """Direct carried `bytes_down`, the last of them after `lasted_s`, so a freeze is over, or never was one of the
        whole address. It may have been slow, so this ends no throttling."""
        services, direct = self._services, outcome.direct_attempt
        if services.network() != self._network or direct is None:
            return
        if services.beliefs.lookup(outcome.host, network=self._network, now=services.now()).cause != Cause.THROTTLED:
            carried = Carried(outcome.host, DIRECT, bytes_down, lasted_s=lasted_s, address=direct.address)
            services.learn(carried, self._network)

    def on_relay_stalled(self, outcome: Outcome, tunnel: WatchedTransfer, bytes_down: int) -> None:
        """The connection to a relay stopped for good. This shows nothing about the host behind the relay."""
        services, route = self._services, outcome.winner
        if route is None or services.network() != self._network:
            return
        now = services.now()
        if (relay := self._first_relay(route)) is not None:
            services.relay_ways.stalled(relay, tunnel.upstream.peer, bytes_down, self._network, now)
            if services.beliefs.may_blame_relays(self._network, now):
                services.health.stalled(relay_name(route), now, error=f"a transfer stopped after {bytes_down} bytes")

    def _first_relay(self, route: Route) -> Destination | None:
        """The address of the first relay of a route; None when the relay is no longer configured."""
        registry = self._services.setup().registry
        return registry.first_endpoint(route.relays[0]) if route.relays[0] in registry.relay_names else None

    def _report_attempts(self, outcome: Outcome) -> None:
        """Notifies addons of each attempt when it is judged, and again when its stage or symptom changes."""
        if self._services.is_private(outcome.host):
            return
        for attempt in outcome.attempts:
            judged = (attempt.route, attempt.stage, attempt.symptom)
            if attempt.pending or attempt.symptom is Symptom.ABANDONED or judged in self._reported_attempts:
                continue
            self._reported_attempts = (*self._reported_attempts, judged)
            self._services.addons.notify_attempt(outcome.request.with_host(outcome.host), attempt)


def _delivered_at_once(outcome: Outcome) -> bool:
    """Whether only one route was tried, and delivered. Such an outcome has no signal."""
    return len(outcome.attempts) == 1 and outcome.attempts[0].stage is Stage.DONE


def _with_refinements(outcome: Outcome, refined: str) -> Outcome:
    """Appends the changes of addons to the weights of signals, for a replay to compare."""
    direct = outcome.direct_attempt
    before = "" if direct is None else direct.evidence.get("addons", "")
    evidence: Evidence = {"addons": f"{before}; {refined}" if before else refined}
    return outcome.with_evidence(DIRECT, evidence)
