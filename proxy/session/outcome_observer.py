"""Learns from the outcome of one connection: for beliefs, for the health of relays, and for addons.

A ConnectionRecord gives its outcome to its observer whenever it changes. The observer does not know the record: it
returns an outcome with its additions.
"""

from __future__ import annotations

from proxy.detect.beliefs.events import Carried, CertificateAccepted, DirectDelivered, FlowStalled
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
from proxy.net.tunnel.flow_monitor import FlowListener, WatchedFlow, WatchedTransfer
from proxy.session.events import Learned, SignalWaits
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
        through a relay on another computer is watched under every rule, because its stalls count against the relay."""
        services = self._services
        if tunnel.over or not services.learns or not plan.learns:
            return None
        if winner.relays:
            is_remote = not tunnel.upstream.peer.startswith(_LOOPBACK)
            if is_remote or self._proves(plan, host):
                return services.flows.watch(tunnel, host, listener, direct=False, stalls_count=is_remote)
            return None
        if plan.action is not Action.AUTO or services.beliefs.is_near(host):
            return None
        if winner == DIRECT:
            return services.flows.watch(tunnel, host, listener, direct=True)
        return None

    def _proves(self, plan: Plan, host: str) -> bool:
        """Whether the bytes that a route carries for this host decide the belief about it."""
        services = self._services
        if plan.action is not Action.AUTO or services.beliefs.is_near(host):
            return False
        belief = services.beliefs.lookup(host, network=self._network, now=services.now())
        return belief.cause in NEEDS_BYTES_PROOF

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

    def on_direct_bytes(self, host: str, within_s: float) -> None:
        """A direct flow received bytes within the last `within_s`, so the uplink works. A page that stays open shows
        this as a visit does."""
        services = self._services
        if services.network() != self._network:
            return
        now = services.now()
        event = DirectDelivered(host, since=now - within_s)
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

    def on_relay_upload(self, outcome: Outcome, bytes_up: int) -> None:
        """A relay took `bytes_up`, which direct may not let pass. This shows nothing about the speed of downloads."""
        services, route = self._services, outcome.winner
        if route is not None and services.network() == self._network and self._proves(outcome.plan, outcome.host):
            services.learn(Carried(outcome.host, route, bytes_up, bytes_s=0.0), self._network)

    def on_direct_carried(self, outcome: Outcome, bytes_down: int) -> None:
        """Direct carried `bytes_down`, so a freeze is over. It may have been slow, so this ends no throttling."""
        services = self._services
        if services.network() != self._network or not self._proves(outcome.plan, outcome.host):
            return
        if services.beliefs.lookup(outcome.host, network=self._network, now=services.now()).cause == Cause.FROZEN:
            services.learn(Carried(outcome.host, DIRECT, bytes_down), self._network)

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
