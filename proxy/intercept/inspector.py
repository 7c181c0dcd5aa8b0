"""The inspector that sessions know: it decides what is looked into, and brings client and engine together.

Before a client is told "connected", the site has to show a certificate that is good (`vouching`); one that is not is
refused and never signed for. What is not TLS or HTTP, what names another site than the one asked for, and hosts whose
clients do not take our certificate (`passing`) go on untouched. The engine, with mitmproxy in it, is imported in a
thread when the first connection needs it and not before; nothing here imports it at the top.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.mitmproxy_version import unavailable
from proxy.config.schema import Settings
from proxy.detect.tls_interception import KnownRoots
from proxy.intercept.client_context import AddonHooks, InspectedClient, UpstreamPath
from proxy.intercept.internal_tunnel import InnerDialer, make_pair, without_log
from proxy.intercept.origin_check import CertificateCheck, CertificateStatus, OriginChecks, OriginKey
from proxy.intercept.passthrough import Passthrough
from proxy.model import Destination, HttpRequest, Outcome, Protocol, Request
from proxy.model.errors import BywayError
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.probe.certificate_chain import FetchedChain, fetch_chain
from proxy.session.events import Ended, TunnelEnded
from proxy.session.inspector import DO_NOT_INSPECT, InspectedOrigin, InspectionDecision
from proxy.session.services import Services
from proxy.wire.flight import Flight

if TYPE_CHECKING:
    from proxy.ca.leaf import Leaf, Leaves
    from proxy.intercept.engine import Engine

log = logging.getLogger(__name__)

_INSPECT = InspectionDecision(inspect=True)
_TARGET_SHOWN = 500
_NAMED = 5
_HTTP_PORT = 80  # nobody is asked for a certificate there before it is seen that a client speaks TLS to it


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the authority lies, and what addons of mitmproxy's may take for its configuration."""

    ca: Path
    engine: Path
    ephemeral: bool = False
    """Nothing is written: an authority that is not there is made in memory, and nobody trusts it."""


class MitmInspector:
    """See the module's docstring. `close` ends what it carries."""

    def __init__(
        self,
        services: Callable[[], Services],
        poller: Poller,
        folders: Folders,
        settings: Callable[[], Settings],
        *,
        roots: KnownRoots,
        user_addons: Callable[[], Sequence[AddonHooks]],
    ) -> None:
        self._services = services
        self._poller = poller
        self._folders = folders
        self._settings = settings
        self._user_addons = user_addons
        self._origin_checks = OriginChecks(roots)
        self._passthrough = Passthrough()
        self._leaves: Leaves | None = None
        self._engine: Engine | None = None
        self._starting = asyncio.Lock()

    # -- what sessions ask -----------------------------------------------------------------------------------------

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        """See Inspector."""
        host = outcome.host
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
        if flight is not None and flight.protocol is Protocol.HTTP:
            return _INSPECT
        if self._services().is_private(host):  # nothing of ours is sent there; the engine does verify
            return _INSPECT
        check = await self._check_origin(outcome)
        if check.status is CertificateStatus.BAD:
            return InspectionDecision(
                refusal=f"{outcome.request.destination} blocked: its certificate is not valid: {check.reason}"
            )
        return DO_NOT_INSPECT if check.status is CertificateStatus.NO_TLS else _INSPECT

    async def intercept(self, client: SocketStream, said: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        """See Inspector."""
        theirs, ours = make_pair(self._poller, client.peer)
        client.notify = None
        inspected = self._inspected_client(outcome(), self._dialer(outcome().request))
        await self._hand_to_engine(inspected, client.detach(), said, UpstreamPath(theirs, outcome), ours)
        return ours

    async def serve(self, outcome: Outcome) -> InspectedOrigin:
        """See Inspector."""
        theirs, ours = make_pair(self._poller, outcome.request.client)
        dialer = self._dialer(outcome.request)
        await self._hand_to_engine(self._inspected_client(outcome, dialer, is_silent=True), theirs, b"", None, ours)
        return InspectedOrigin(ours, lambda: dialer.latest)

    async def _hand_to_engine(
        self,
        inspected: InspectedClient,
        client: socket.socket,
        said: bytes,
        first: UpstreamPath | None,
        ours: SocketStream,
    ) -> None:
        """Has the engine serve a client, and closes our end when it cannot. Raises OSError."""
        assert self._engine is not None  # `look` has seen to that
        try:
            await self._engine.serve(inspected, client, said, first)
        except BaseException:
            ours.close()
            raise

    def on_addons_changed(self) -> None:
        """An edited addon takes part from now on, also in connections that are open."""
        if self._engine is not None:
            self._engine.refresh_addons()

    @property
    def uninspected(self) -> str:
        """Hosts that are let pass though a rule says INSPECT, the latest of them by name."""
        hosts = self._passthrough.hosts(time.monotonic())
        others = f" and {len(hosts) - _NAMED} others" if len(hosts) > _NAMED else ""
        return ", ".join(hosts[-_NAMED:]) + others

    def forget_rejections(self) -> None:
        """The user has changed something: what was refused before may be taken now."""
        self._passthrough = Passthrough()

    async def close(self) -> None:
        """Ends every connection that is looked into."""
        if self._engine is not None:
            await self._engine.close()

    # -- getting ready ---------------------------------------------------------------------------------------------

    async def _start(self) -> Engine:
        """The engine, with an authority that is in force. Raises BywayError when there can be none."""
        async with self._starting:
            if self._engine is None:
                if reason := unavailable():
                    raise BywayError(reason)
                self._engine = await self._make_engine()
            if self._leaves is None or not self._is_in_force(self._leaves):
                self._leaves = await asyncio.to_thread(self._open_leaves)
            return self._engine

    async def _make_engine(self) -> Engine:
        try:
            module = await asyncio.to_thread(importlib.import_module, "proxy.intercept.engine")
        except Exception as error:  # of a stranger's code, which is no reason to fall
            raise BywayError(f"mitmproxy cannot be imported: {error}") from error
        engine: Engine = module.Engine(
            self._folders.engine, self._settings, leaf=self._leaf, user_addons=self._user_addons
        )
        return engine

    def _open_leaves(self) -> Leaves:
        from proxy.ca import authority  # with what it brings, 50 ms that most runs never need
        from proxy.ca.leaf import Leaves

        now = time.time()
        if self._folders.ephemeral and not authority.has_key(self._folders.ca):
            return Leaves(authority.make_authority(now=now))
        return Leaves(authority.open_authority(self._folders.ca, now=now))

    def _is_in_force(self, leaves: Leaves) -> bool:
        """Not when it was rotated or removed meanwhile, nor when its time is over."""
        authority = leaves.authority
        return authority.is_valid_at(time.time()) and (
            self._folders.ephemeral or authority.is_current_in(self._folders.ca)
        )

    def _leaf(self, host: str) -> Leaf:
        assert self._leaves is not None  # so before any client is met
        return self._leaves.leaf(host)

    # -- whom may be signed for ------------------------------------------------------------------------------------

    async def _check_origin(self, outcome: Outcome) -> CertificateCheck:
        services = self._services()
        asked = OriginKey(outcome.request.destination, outcome.host, outcome.plan.routes, services.network())
        return await self._origin_checks.check(
            asked, lambda: self._probe(services, outcome), keep_s=self._settings().inspect.vouched_s
        )

    async def _probe(self, services: Services, outcome: Outcome) -> FetchedChain:
        """What certificate comes by the ways of the plan. One that is not good may be another's: that is looked into as
        when a client has hung up on it."""
        fetched = FetchedChain()

        def ended(tunnel: TunnelEnded) -> None:
            if not fetched.verified:
                services.events.emit(tunnel)

        request = outcome.request
        dialer = InnerDialer(without_log(services, ended), self._poller, request.inbound, request.client)
        timeout_s = self._settings().inspect.vouch_timeout_s
        fetched = await fetch_chain(dialer, request.destination, outcome.host, timeout_s=timeout_s)
        return fetched

    # -- what the engine tells -------------------------------------------------------------------------------------

    def _dialer(self, request: Request) -> InnerDialer:
        return InnerDialer(self._services(), self._poller, request.inbound, request.client)

    def _inspected_client(self, outcome: Outcome, dialer: InnerDialer, *, is_silent: bool = False) -> InspectedClient:
        host, request = outcome.host, outcome.request
        return InspectedClient(
            host=host,
            destination=request.destination,
            client=_address(request.client),
            open=dialer.open,
            on_certificate_accepted=lambda: self._passthrough.client_accepted(host),
            on_certificate_rejected=lambda by_alert: self._on_client_rejected(host, by_alert=by_alert),
            on_origin_distrusted=lambda: self._on_origin_distrusted(request.destination),
            rejection_reason=self._origin_checks.rejection_reason,
            is_silent=is_silent,
            on_response=self._log_request,
        )

    def _on_origin_distrusted(self, destination: Destination) -> None:
        """Its client was hung up on, and cannot be told why."""
        self._origin_checks.forget(destination)
        log.info("%s: connection closed; the site's certificate is not valid", destination)

    def _on_client_rejected(self, host: str, *, by_alert: bool) -> None:
        keep_s = self._settings().inspect.pass_s
        if self._passthrough.client_rejected(host, time.monotonic(), by_alert=by_alert, keep_s=keep_s):
            log.warning(
                "a client rejected Byway's certificate for one site; inspection of it is off for %g hours; "
                "see `byway status`",
                round(keep_s / 3600, 1),
            )
            log.info("not inspecting %s: a client rejected Byway's certificate for it", host)

    def _log_request(self, outcome: Outcome, method: str, target: str, size: int) -> None:
        """Writes down what was asked inside, when the user wants that."""
        if not self._settings().inspect.log_requests:
            return
        services = self._services()
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
    """TLS for the host that was asked for, or HTTP. A client that gives another name may have its reasons (it fronts
    one site with another), and what it does is not what the rule speaks of; without a name it can mean only one."""
    if flight.protocol is Protocol.HTTP:
        return True
    if flight.protocol is not Protocol.TLS:
        return False
    if flight.server_name in (None, host):
        return True
    log.info("not inspecting %s: the client's TLS handshake names %s (SNI)", host, flight.server_name)
    return False


def _address(client: str) -> tuple[str, int]:
    """A client's `address:port` in two."""
    host, _, port = client.rpartition(":")
    return host.strip("[]"), int(port)
