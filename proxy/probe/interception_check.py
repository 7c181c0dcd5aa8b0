"""Checks for TLS interception beside visits, with Byway's own ClientHello.

An interceptor delivers, so nothing fails; only the certificate shows it. TLS 1.3 encrypts certificates, so Byway
fetches one itself: for one host a minute that direct has just delivered, each host at most once a day, and soon after a
client rejected a certificate. A network may count hellos of one name, so the check waits until none was sent for a
second. A certificate that is not the site's counts only when a relay gets a valid one at the same time, unless its root
is known to intercept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from proxy.detect.beliefs.events import Intercepted, PortalSuspected
from proxy.detect.beliefs.state import NETWORKS_MAX
from proxy.detect.tls_interception import CertificateKind, ClassifiedChain
from proxy.model import (
    DIRECT,
    TROUBLED,
    Action,
    ClosedBy,
    Destination,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    Route,
)
from proxy.model.bounded import Bounded
from proxy.net.race.hello_ledger import no_turn, until_quiet
from proxy.net.tasks import spawn
from proxy.session.events import Delivered, HostsForgotten, SignalWaits, TunnelEnded
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.tls import CertificateReply

HUNG_UP_S = 20.0
"""Seconds within which a client closes that rejects a certificate without an alert."""

QUIET_WITHIN_S = 30.0
"""Seconds of the wait for a second without a hello of the host. After that it is checked at another visit."""

CHECKED_MAX = 4096
"""The number of hosts whose last check is remembered."""

CHECKS_AT_ONCE = 4
"""The most checks at once. A page has several hosts, and an interceptor's certificates are rejected together. Each
check waits a second before its hello, so checks in sequence would be late."""

REJECTED_MAX = 64
"""The most hosts whose check waits for the end of another one."""


class _Check(NamedTuple):
    """The last check of a host on a network."""

    at: float  # the time when it began
    is_sound: bool = False  # a visit caused it, and it got the site's own certificate


class InterceptionCheck:
    """Checks certificates: of one host at a time, or of several whose clients rejected theirs. Belongs to one loop."""

    def __init__(self, services: Services, check_control: Callable[[Setup], Awaitable[None]]) -> None:
        """`check_control` requests a control page, which shows whether every site is re-signed here."""
        self._services = services
        self._check_control = check_control
        self._checked: Bounded[tuple[NetworkId, str], _Check] = Bounded(CHECKED_MAX)
        self._last: Bounded[NetworkId, float] = Bounded(NETWORKS_MAX)  # when the last check without a rejection began
        self._under_way: dict[tuple[NetworkId, str], asyncio.Task[None]] = {}
        self._rejected: Bounded[str, Outcome] = Bounded(REJECTED_MAX)  # by host; these wait for the end of a check

    def on_delivered(self, visit: Delivered) -> None:
        """Starts a check of a host that direct has just served, at most one in `probe_interval_s`."""
        if visit.flight.protocol is not Protocol.TLS:
            return
        network, now = self._services.network(), self._services.now()
        settings = self._services.setup().settings.detect
        if 0 <= now - self._last.get(network, float("-inf")) < settings.probe_interval_s:
            return
        if self._start(visit.record.outcome, network, now, not_since_s=settings.known_s, rejected=False):
            self._last[network] = now

    def on_tunnel_ended(self, ended: TunnelEnded) -> None:
        """Starts a check when the client rejected the certificate, also soon after a check without a finding. A client
        rejects by an alert, or closes without another byte after the certificate, as Python's asyncio does. While
        CHECKS_AT_ONCE checks are under way, or one of the same host, the check waits for the end of one."""
        outcome = ended.outcome
        hung_up = (
            ended.reply is CertificateReply.NOTHING_SENT
            and outcome.closed_by is ClosedBy.CLIENT
            and outcome.bytes_down > 0
            and outcome.duration < HUNG_UP_S
        )
        is_rejected = ended.reply is CertificateReply.REJECTED or hung_up
        if is_rejected and outcome.plan.learns and outcome.protocol is Protocol.TLS:
            self._check_rejected(outcome)

    def on_hosts_forgotten(self, _: HostsForgotten) -> None:
        """Forgets all checked hosts; each may be checked again. Ends the checks under way: they hold names of hosts in
        memory, and would report them again."""
        self._checked.clear()
        self._rejected.clear()
        for task in self._under_way.values():
            task.cancel()
        self._under_way.clear()

    def _check_rejected(self, outcome: Outcome) -> None:
        network, again_s = self._services.network(), self._services.setup().settings.detect.probe_again_s
        if len(self._under_way) >= CHECKS_AT_ONCE or (network, outcome.host) in self._under_way:
            self._rejected[outcome.host] = outcome
            return
        last = self._checked.get((network, outcome.host))
        if last is not None and last.is_sound:
            again_s = 0.0
        self._start(outcome, network, self._services.now(), not_since_s=again_s, rejected=True)

    def _start(self, outcome: Outcome, network: NetworkId, now: float, *, not_since_s: float, rejected: bool) -> bool:
        """Starts a check, unless the host was checked within `not_since_s`, or a check is under way and this one is not
        `rejected`. Returns whether it started."""
        key = (network, outcome.host)
        last = self._checked.get(key)
        if (self._under_way and not rejected) or (last is not None and 0 <= now - last.at < not_since_s):
            return False
        setup = self._services.setup()
        if not self._is_allowed(setup, outcome, network, now):
            return False
        self._checked[key] = _Check(now)
        run = self._run(setup, outcome, network, now, rejected=rejected)
        self._under_way[key] = spawn(run, name=f"certificate of {outcome.host}")
        return True

    def _is_allowed(self, setup: Setup, outcome: Outcome, network: NetworkId, now: float) -> bool:
        """Whether direct served the tunnel, and may serve another one by the present rules and status."""
        return (
            outcome.winner == DIRECT
            and outcome.protocol is Protocol.TLS
            and outcome.plan.action is Action.AUTO
            and outcome.request.destination.address is None
            and not self._services.is_private(outcome.host)
            and setup.router.may_go_direct(outcome.request.destination, network, now)
            and self._services.beliefs.lookup(outcome.host, network=network, now=now).state not in TROUBLED
        )

    async def _run(self, setup: Setup, outcome: Outcome, network: NetworkId, began: float, *, rejected: bool) -> None:
        try:
            destination, hellos = outcome.request.destination, self._services.findings.hellos
            if not await until_quiet(hellos, destination.host, setup.settings.detect, within_s=QUIET_WITHIN_S):
                self._checked.pop((network, outcome.host), None)
                return
            now = self._services.now()
            if self._services.network() != network or not self._is_allowed(setup, outcome, network, now):
                return
            if not await self._services.may_go_direct(setup, destination):
                return  # a rule or an addon allows relays only, by now
            classified = await self._classify(setup, DIRECT, destination)
            if classified.kind is CertificateKind.SITE and not rejected and (network, outcome.host) in self._checked:
                self._checked[network, outcome.host] = _Check(began, is_sound=True)
            if classified.kind is CertificateKind.WRONG_NAME and self._services.network() == network:
                # A captive portal presents its own certificate for every site.
                self._services.beliefs.note(PortalSuspected(), network=network, now=self._services.now())
                self._services.events.emit(SignalWaits())
            if not classified.is_foreign:
                return
            if classified.kind is CertificateKind.UNTRUSTED and not await self._relay_gets_valid(setup, destination):
                return
            if self._services.network() == network and (network, outcome.host) in self._checked:
                event = Intercepted(
                    destination.host,
                    classified.fingerprint,
                    known=classified.kind is CertificateKind.KNOWN_ROOT,
                    trusted=classified.kind is CertificateKind.RESIGNED,
                )
                self._services.learn(event, network)
            is_inspected = self._services.beliefs.network_state(network) is NetworkState.INSPECTED
            if classified.kind is CertificateKind.RESIGNED and not is_inspected:
                await self._check_control(setup)
        finally:
            if self._under_way.get((network, outcome.host)) is asyncio.current_task():  # not a later check of the host
                del self._under_way[network, outcome.host]
            waiting = list(self._rejected.values())
            self._rejected.clear()
            for one in waiting:
                self._check_rejected(one)

    async def _relay_gets_valid(self, setup: Setup, destination: Destination) -> bool:
        """Whether the first relay that gets a certificate gets a valid one. A bad certificate on every route is the
        site's own fault, and no interception."""
        for name in self._services.health.order(setup.registry.relay_names, self._services.now()):
            route = Route((name,))
            if setup.registry.carries(route, destination):
                classified = await self._classify(setup, route, destination)
                if classified.kind is not CertificateKind.NONE:
                    return classified.kind is CertificateKind.SITE
        return False

    async def _classify(self, setup: Setup, route: Route, destination: Destination) -> ClassifiedChain:
        from proxy.probe.certificate_chain import fetch_chain  # with the first site that uses TLS

        dialer, host, detect = setup.registry.dialer(route), destination.host, setup.settings.detect
        timeout_s, turn = detect.retest_pair_s, self._services.hello_turn if route.is_direct else no_turn
        if not route.is_direct:  # a slow relay needs longer for its handshake and one with the site, and nobody waits
            timeout_s = detect.give_up_s
        fetched = await fetch_chain(dialer, destination, host, timeout_s=timeout_s, turn=turn)
        return fetched.classified(host, self._services.roots())
