"""Checks for TLS interception beside visits, sparingly, with a ClientHello of its own.

An interceptor delivers, so nothing fails; only the certificate shows it. TLS 1.3 encrypts certificates, so Byway
fetches one itself: for one host a minute that direct has just delivered, each host at most once a day, and soon after a
client closed the connection as clients do that reject a certificate. A certificate that is not the site's counts only
when a relay gets a valid one at the same time, unless its root is known to intercept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.detect.beliefs.belief_table import TROUBLED
from proxy.detect.tls_interception import CertificateKind, ClassifiedChain, classify_chain
from proxy.model import DIRECT, Action, ClosedBy, Destination, NetworkId, NetworkState, Outcome, Protocol, Route
from proxy.model.bounded import Bounded
from proxy.net.tasks import spawn
from proxy.probe.certificate_chain import FetchedChain, fetch_chain
from proxy.session.connection_record import FINISHED_BYTES
from proxy.session.events import Delivered, Learned, SignalWaits, TunnelEnded
from proxy.session.services import Services
from proxy.session.setup import Setup

HUNG_UP_S = 20.0

CHECKED_MAX = 4096


class InterceptionCheck:
    """Checks certificates, one host at a time. Belongs to one loop."""

    def __init__(self, services: Services, ask_control: Callable[[Setup], Awaitable[None]]) -> None:
        """`ask_control` fetches a control page, which shows whether every site is re-signed here."""
        self._services = services
        self._ask_control = ask_control
        self._checked: Bounded[tuple[NetworkId, str], float] = Bounded(CHECKED_MAX)  # → when
        self._last: dict[NetworkId, float] = {}  # of the checks that no rejection caused
        self._under_way = False

    def on_delivered(self, visit: Delivered) -> None:
        """Starts a check of a host that direct just served, at most one in `probe_interval_s`."""
        outcome = visit.record.outcome
        network, now = self._services.network(), self._services.now()
        settings = self._services.setup().settings.detect
        if 0 <= now - self._last.get(network, float("-inf")) < settings.probe_interval_s:
            return
        if self._start(outcome, network, now, not_since_s=settings.known_s):
            self._last[network] = now

    def on_tunnel_ended(self, ended: TunnelEnded) -> None:
        """Starts a check when the client closed the tunnel as clients do that reject a certificate."""
        if _client_rejected(ended.outcome):
            not_since_s = self._services.setup().settings.detect.probe_again_s
            self._start(ended.outcome, self._services.network(), self._services.now(), not_since_s=not_since_s)

    def _start(self, outcome: Outcome, network: NetworkId, now: float, *, not_since_s: float) -> bool:
        """Starts a check unless one is under way or the host was checked within `not_since_s`. Returns whether."""
        key = (network, outcome.host)
        if self._under_way or 0 <= now - self._checked.get(key, float("-inf")) < not_since_s:
            return False
        setup = self._services.setup()
        if not self._is_allowed(setup, outcome, network, now):
            return False
        self._checked[key] = now
        self._under_way = True
        spawn(self._run(setup, outcome.request.destination, network), name=f"certificate of {outcome.host}")
        return True

    def _is_allowed(self, setup: Setup, outcome: Outcome, network: NetworkId, now: float) -> bool:
        """Whether direct served the tunnel, and would serve another one by what is said and held by now."""
        return (
            outcome.winner == DIRECT
            and outcome.protocol is Protocol.TLS
            and outcome.plan.action is Action.AUTO
            and outcome.request.destination.address is None
            and not self._services.is_private(outcome.host)
            and setup.router.may_go_direct(outcome.request.destination)
            and self._services.beliefs.lookup(outcome.host, network=network, now=now).state not in TROUBLED
        )

    async def _run(self, setup: Setup, destination: Destination, network: NetworkId) -> None:
        try:
            host = destination.host
            if not await self._services.may_go_direct(setup, destination):
                return  # an addon keeps it to relays by now
            fetched = await self._probe(setup, DIRECT, destination)
            finding = self._judge(fetched, host)
            if finding.kind is CertificateKind.WRONG_NAME and self._services.network() == network:
                self._services.beliefs.suspect_portal(network)  # a captive portal shows its own for every site
                self._services.events.emit(SignalWaits())
            if not finding.is_foreign:
                return
            if finding.kind is CertificateKind.UNTRUSTED and not await self._relay_brings_better(setup, destination):
                return
            if self._services.network() == network:
                changes = self._services.beliefs.intercepted(
                    host,
                    known=finding.kind is CertificateKind.KNOWN_ROOT,
                    fingerprint=finding.fingerprint,
                    network=network,
                    now=self._services.now(),
                    trusted=finding.kind is CertificateKind.RESIGNED,
                )
                self._services.events.emit(Learned(changes))
            if finding.kind is CertificateKind.RESIGNED and self._network_state(network) is not NetworkState.INSPECTED:
                await self._ask_control(setup)
        finally:
            self._under_way = False

    async def _relay_brings_better(self, setup: Setup, destination: Destination) -> bool:
        """Whether a relay gets a valid certificate: one that the site itself shows everywhere is no interception."""
        for name in self._services.health.order(setup.registry.relay_names, self._services.now()):
            route = Route((name,))
            if setup.registry.carries(route, destination):
                fetched = await self._probe(setup, route, destination)
                if fetched.chain:
                    return self._judge(fetched, destination.host).kind is CertificateKind.SITE
        return False

    def _network_state(self, network: NetworkId) -> NetworkState:
        return self._services.beliefs.network_state(network)

    def _judge(self, fetched: FetchedChain, host: str) -> ClassifiedChain:
        return classify_chain(
            fetched.chain, host, verified=fetched.verified, expired=fetched.expired, roots=self._services.roots
        )

    async def _probe(self, setup: Setup, route: Route, destination: Destination) -> FetchedChain:
        dialer = setup.registry.dialer(route)
        return await fetch_chain(dialer, destination, destination.host, timeout_s=setup.settings.detect.retest_pair_s)


def _client_rejected(outcome: Outcome) -> bool:
    """Whether the client closed the connection as clients do that reject a certificate: soon, with little sent."""
    said_after = outcome.bytes_up - outcome.flight_bytes
    return (
        outcome.closed_by is ClosedBy.CLIENT
        and outcome.duration < HUNG_UP_S
        and outcome.bytes_down > 0
        and outcome.flight_bytes > 0
        and said_after < FINISHED_BYTES
    )
