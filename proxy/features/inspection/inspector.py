"""Implements session's Inspector with mitmproxy: decides which connections are inspected, and passes their clients to
the engine.

Before a client gets "connected", the site must show a valid certificate (`origin_check`); otherwise the connection is
refused and nothing is signed. Not inspected: protocols other than TLS and HTTP, a ClientHello that names another site
than the request, and hosts whose clients rejected our certificate (`passthrough`). The engine, which contains
mitmproxy, is imported in a thread when the first connection needs it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.config.mitmproxy_version import unavailable
from proxy.config.paths import Paths
from proxy.config.schema import Settings
from proxy.detect.tls_interception import KnownRoots
from proxy.extend.dispatch import Addons
from proxy.features.inspection.client_context import InspectedClient, UpstreamPath
from proxy.features.inspection.internal_tunnel import InnerDialer, make_pair, without_log
from proxy.features.inspection.origin_check import CertificateCheck, CertificateStatus, OriginChecks, OriginKey
from proxy.features.inspection.passthrough import Passthrough
from proxy.model import Destination, HttpRequest, Outcome, Protocol, Request, host_and_port
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.probe.certificate_chain import FetchedChain, fetch_chain
from proxy.session.events import Ended, TunnelEnded
from proxy.session.inspector import DO_NOT_INSPECT, InspectedOrigin, InspectionDecision
from proxy.session.services import Services
from proxy.wire.flight import Flight
from proxy.wire.sniff import may_be_http
from proxy.wire.tls import CertificateReply

if TYPE_CHECKING:
    from proxy.features.inspection.engine import Engine
    from proxy.features.inspection.leaf import Leaf, Leaves

log = logging.getLogger(__name__)

_INSPECT = InspectionDecision(inspect=True)
_TARGET_SHOWN = 500
_NAMED = 5  # hosts that `byway status` names
_HTTP_PORT = 80  # the site's certificate is not checked there before the client has sent a ClientHello


class MitmInspector:
    """The inspector of a run; `close` ends all inspected connections."""

    def __init__(
        self,
        services: Callable[[], Services],
        poller: Poller,
        paths: Paths,
        settings: Callable[[], Settings],
        addons: Addons,
        *,
        ephemeral: bool,
        roots: KnownRoots,
    ) -> None:
        """`services` are those of sessions, which have this inspector; `settings` returns the settings in use.
        `ephemeral` writes nothing: a missing CA is created in memory, where no browser trusts it. `roots` are known to
        intercept TLS."""
        self._services = services
        self._poller = poller
        self._paths = paths
        self._ephemeral = ephemeral
        self._settings = settings
        self._addons = addons
        self._origin_checks = OriginChecks(roots)
        self._passthrough = Passthrough()
        self._leaves: Leaves | None = None
        self._engine: Engine | None = None
        self._starting = asyncio.Lock()

    # -- for sessions --------------------------------------------------------------------------------------------

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        host = outcome.host
        # The cheap checks come first, then the start of the engine, then a handshake with the site.
        if self._passthrough.applies(host, time.monotonic()):
            return DO_NOT_INSPECT
        if flight is not None and not _can_inspect(flight, host):
            return DO_NOT_INSPECT
        if flight is None and outcome.request.destination.port == _HTTP_PORT:
            return DO_NOT_INSPECT
        try:
            await self._start()
        except BywayError as error:
            return InspectionDecision(refusal=f"{outcome.request.destination} is not inspected: {error}")
        if flight is not None and flight.protocol is not Protocol.TLS:
            return _INSPECT
        if self._services().is_private(host):  # no probe may be sent to it; the engine verifies its certificate
            return _INSPECT
        check = await self._check_origin(outcome)
        if check.status is CertificateStatus.BAD:
            return InspectionDecision(
                refusal=f"{outcome.request.destination} blocked: its certificate is not valid: {check.reason}"
            )
        return DO_NOT_INSPECT if check.status is CertificateStatus.NO_TLS else _INSPECT

    async def intercept(self, client: SocketStream, received: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        theirs, ours = make_pair(self._poller, client.peer)
        client.notify = None
        inspected = _Client(self, outcome(), self._dialer(outcome().request))
        await self._hand_to_engine(inspected, client.detach(), received, UpstreamPath(theirs, outcome), ours)
        return ours

    async def serve(self, outcome: Outcome) -> InspectedOrigin:
        theirs, ours = make_pair(self._poller, outcome.request.client)
        dialer = self._dialer(outcome.request)
        await self._hand_to_engine(_Client(self, outcome, dialer, is_silent=True), theirs, b"", None, ours)
        return InspectedOrigin(ours, lambda: dialer.latest)

    async def _hand_to_engine(
        self,
        inspected: InspectedClient,
        client: socket.socket,
        received: bytes,
        first: UpstreamPath | None,
        ours: SocketStream,
    ) -> None:
        """Makes the engine serve a client; closes `ours`, the session's end, when it cannot. Raises OSError."""
        assert self._engine is not None  # `decide` has started it
        try:
            await self._engine.serve(inspected, client, received, first)
        except BaseException:
            ours.close()
            raise

    def _dialer(self, request: Request) -> InnerDialer:
        return InnerDialer(self._services(), self._poller, request.inbound, request.client)

    # -- for the application -------------------------------------------------------------------------------------

    def on_addons_changed(self) -> None:
        """Uses the addons that run now, also in open connections."""
        if self._engine is not None:
            self._engine.refresh_addons()

    @property
    def uninspected(self) -> str:
        """The hosts that are not inspected despite an INSPECT rule, the latest ones by name, for `byway status`."""
        hosts = self._passthrough.hosts(time.monotonic())
        others = f" and {len(hosts) - _NAMED} others" if len(hosts) > _NAMED else ""
        return ", ".join(hosts[-_NAMED:]) + others

    def forget_rejections(self) -> None:
        """Inspects all hosts again. After a change by the user, clients may accept our certificate."""
        self._passthrough = Passthrough()

    def forget_hosts(self, meant: Callable[[str], bool]) -> None:
        """Forgets the results and certificates of the hosts for which `meant` returns True, except in open
        connections."""
        self._passthrough.forget(meant)
        self._origin_checks.forget_hosts(meant)
        if self._leaves is not None:
            self._leaves.forget(meant)

    async def close(self) -> None:
        """Ends every inspected connection."""
        if self._engine is not None:
            await self._engine.close()

    # -- starting ------------------------------------------------------------------------------------------------

    async def _start(self) -> Engine:
        """Returns the started engine, with a valid CA. Raises BywayError when it cannot start."""
        async with self._starting:
            if self._engine is None:
                if reason := unavailable():
                    raise BywayError(reason)
                try:
                    module = await asyncio.to_thread(importlib.import_module, "proxy.features.inspection.engine")
                except Exception as error:  # code outside Byway may raise anything
                    raise BywayError(f"mitmproxy cannot be imported: {error}") from error
                self._engine = module.Engine(self._paths.engine_dir, self._settings, self._addons, leaf=self._leaf)
            if self._leaves is None or not self._is_in_force(self._leaves):
                self._leaves = await asyncio.to_thread(self._open_leaves)
            return self._engine

    def _open_leaves(self) -> Leaves:
        from proxy.features.inspection import authority  # with cryptography: 50 ms that most runs never need
        from proxy.features.inspection.leaf import Leaves

        now = time.time()
        if self._ephemeral and not authority.has_key(self._paths.ca_dir):
            return Leaves(authority.make_authority(now=now))
        return Leaves(authority.open_authority(self._paths.ca_dir, now=now))

    def _is_in_force(self, leaves: Leaves) -> bool:
        """Whether the CA is still valid, and neither rotated nor removed."""
        authority = leaves.authority
        return authority.is_valid_at(time.time()) and (self._ephemeral or authority.is_current_in(self._paths.ca_dir))

    def _leaf(self, host: str) -> Leaf:
        assert self._leaves is not None  # `_start` sets it before the engine serves a client
        return self._leaves.leaf(host)

    # -- the check of the origin ---------------------------------------------------------------------------------

    async def _check_origin(self, outcome: Outcome) -> CertificateCheck:
        services = self._services()
        key = OriginKey(outcome.request.destination, outcome.host, outcome.plan.routes, services.network())
        return await self._origin_checks.check(
            key, lambda: self._probe(services, outcome), keep_s=self._settings().inspect.vouched_s
        )

    async def _probe(self, services: Services, outcome: Outcome) -> FetchedChain:
        """Fetches the certificate over the routes of the plan. If it is invalid, TLS may be intercepted: then the end
        of the tunnel is reported, as after a client that closed its connection for that reason."""
        fetched = FetchedChain()

        def ended(tunnel: TunnelEnded) -> None:
            if not fetched.verified and tunnel.outcome.bytes_down:
                services.events.emit(replace(tunnel, reply=CertificateReply.REJECTED))

        request = outcome.request
        dialer = InnerDialer(without_log(services, ended), self._poller, request.inbound, request.client)
        timeout_s = self._settings().inspect.vouch_timeout_s
        fetched = await fetch_chain(dialer, request.destination, outcome.host, timeout_s=timeout_s)
        return fetched


@frozen_dataclass
class _Client:
    """The InspectedClient of an inspector. `outcome` is that of its session at the start of inspection."""

    inspector: MitmInspector
    outcome: Outcome
    dialer: InnerDialer
    is_silent: bool = False

    @property
    def host(self) -> str:
        return self.outcome.host

    @property
    def destination(self) -> Destination:
        return self.outcome.request.destination

    @property
    def address(self) -> tuple[str, int]:
        host, port = host_and_port(self.outcome.request.client)
        return host, int(port)

    async def open(self, destination: Destination) -> UpstreamPath:
        return await self.dialer.open(destination)

    def rejection_reason(self, chain: Sequence[bytes]) -> str:
        return self.inspector._origin_checks.rejection_reason(chain)

    def on_certificate_accepted(self) -> None:
        self.inspector._passthrough.client_accepted(self.host)

    def on_certificate_rejected(self, *, by_alert: bool) -> None:
        """Stops inspecting the host for some hours, if the rejection is certain enough."""
        keep_s = self.inspector._settings().inspect.pass_s
        passthrough = self.inspector._passthrough
        if passthrough.client_rejected(self.host, time.monotonic(), by_alert=by_alert, keep_s=keep_s):
            log.warning(
                "a client rejected Byway's certificate for one site; inspection of it is off for %g hours; "
                "see `byway status`",
                round(keep_s / 3600, 1),
            )
            log.info("not inspecting %s: a client rejected Byway's certificate for it", self.host)

    def on_origin_distrusted(self) -> None:
        """Logs the reason for which the client's connection was closed: TLS cannot send it to the client."""
        self.inspector._origin_checks.forget(self.destination)
        log.info("%s: connection closed; the site's certificate is not valid", self.destination)

    def on_response(self, outcome: Outcome, method: str, target: str, size: int) -> None:
        """Logs one inspected request, if `[inspect] log_requests` is on."""
        if not self.inspector._settings().inspect.log_requests:
            return
        services = self.inspector._services()
        inner = Outcome(
            request=replace(outcome.request, id=next(services.request_ids), http=HttpRequest(method, target)),
            plan=replace(outcome.plan, why=f"{method} {target[:_TARGET_SHOWN]}; inspected; {outcome.plan.why}"),
            winner=outcome.winner,
            protocol=Protocol.HTTP,
            host=outcome.host,
            at=services.now(),
            bytes_down=size,
        )
        services.events.emit(Ended(inner, services.network()))


def _can_inspect(flight: Flight, host: str) -> bool:
    """Whether the flight is HTTP, or TLS for the requested host.

    A client that sends another SNI is not inspected: it may use domain fronting, and the rule is for the requested
    host. Without SNI, it can only mean the requested host."""
    if flight.protocol is Protocol.HTTP:
        return True
    if flight.protocol is Protocol.OTHER:  # an unusual head must not pass without being parsed
        return may_be_http(flight.data) is not False
    if flight.protocol is not Protocol.TLS:
        return False
    if flight.server_name in (None, host):
        return True
    log.info("not inspecting %s: the client's TLS handshake names %s (SNI)", host, flight.server_name)
    return False
