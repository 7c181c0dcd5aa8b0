"""The steps of a measurement, told as they come: relays, and beside them what goes without one.

Routes through relays are visited at the same time as the direct ones. Those begin with the names, and end with a
control where something failed; a step that may not be taken is "not tested" and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Sequence

from proxy.detect.tls_interception import Finding, Kind, classify_chain
from proxy.model import (
    DIRECT,
    DOH,
    Action,
    Destination,
    Evidence,
    IPAddress,
    MeasurementStep,
    Protocol,
    Route,
    StepKind,
    StepResult,
    Symptom,
)
from proxy.model.errors import BywayError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.tasks import spawn
from proxy.probe.certificate_chain import fetch_chain
from proxy.probe.measure.controls import Controls
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment
from proxy.probe.measure.name_lookups import NameLookups
from proxy.probe.site_probe import SiteProbe
from proxy.wire.fragmentation import idle_strategies

_RELAY_TIMEOUT_S = 15.0
"""A slow circuit opens a path in 11 s. A visit waits for a relay longer, when it has nothing else to wait for."""


def _finding_evidence(found: Finding) -> tuple[str, Evidence]:
    evidence: Evidence = {"certificate": str(found.kind)}
    if found.kind is Kind.KNOWN_ROOT:
        evidence["known_root"] = found.fingerprint
    return found.detail, evidence


async def measure(env: ProbeEnvironment, request: MeasurementRequest) -> AsyncGenerator[MeasurementStep, None]:
    """Yields the steps as they end. Closing the generator early cancels what is under way and closes it."""
    steps: asyncio.Queue[MeasurementStep | None] = asyncio.Queue()
    work = spawn(_Measuring(env, request, steps.put_nowait).run(), name=f"measure {request.page.host}")
    work.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            yield step
        await work  # a fault of ours is the asker's to know
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((work,))


class _Measuring:
    """One measurement under way."""

    def __init__(
        self, env: ProbeEnvironment, request: MeasurementRequest, tell: Callable[[MeasurementStep], None]
    ) -> None:
        self._env = env
        self._request = request
        self._emit = tell
        self._detect = env.settings.detect
        self._probe = self._new_probe(self._emit_step)
        self._controls = Controls(env, request, self._new_probe)
        self._answered_neutral: set[str] = set()  # addresses
        self._opened: set[str] = set()  # addresses that a direct connection came to, with their ports
        self._needs_control = False  # what a control would explain, or bear out, though direct delivered
        self._slots = asyncio.Semaphore(self._detect.measure_routes)

    def _new_probe(self, tell: Callable[[MeasurementStep], None]) -> SiteProbe:
        env = self._env
        return SiteProbe(
            tell,
            detect=self._detect,
            tcp_info=env.tcp_info,
            classifier=env.classifier,
            identify_issuer=self._identify_issuer,
            find_known_interceptor=self._find_known_interceptor,
            trust=env.trust,
        )

    async def _identify_issuer(self, dialer: Dialer, destination: Destination, host: str) -> tuple[str, Evidence]:
        """Who made a certificate that is not trusted: asked for once more, to see the whole chain."""
        seen = await fetch_chain(dialer, destination, host, timeout_s=self._detect.silent_s, trust=self._env.trust)
        found = classify_chain(seen.chain, host, verified=seen.verified, expired=seen.expired, roots=self._env.roots)
        return _finding_evidence(found)

    def _find_known_interceptor(self, chain: Sequence[bytes], host: str) -> tuple[str, Evidence] | None:
        """The same of a chain that is trusted, where a root made it that is known to intercept."""
        found = classify_chain(chain, host, verified=True, expired=False, roots=self._env.roots)
        return _finding_evidence(found) if found.kind is Kind.KNOWN_ROOT else None

    def _emit_step(self, step: MeasurementStep) -> None:
        if step.route.is_direct and step.kind in (StepKind.HELLO, StepKind.ANSWER) and step.address:
            self._opened.add(step.address)
        if step.kind is StepKind.RESOLVE and step.failed:
            self._needs_control = True  # is it this name alone?
        if step.route == DIRECT and step.kind is StepKind.ANSWER and step.ok:
            slow = float(step.evidence.get("bytes_per_s", math.inf)) < self._detect.measure_slow_bytes
            self._needs_control |= slow or self._request.page.protocol is Protocol.HTTP
        self._emit(step)

    async def run(self) -> None:
        routes = self._request.routes
        if refusal := self._refusal():
            for route in routes:
                self._skip(route, refusal)
            return
        # What has been told by then is what there is.
        with contextlib.suppress(TimeoutError), deadline(self._detect.measure_site_s):
            await self._probe_all(routes)

    async def _probe_all(self, routes: Sequence[Route]) -> None:
        async with asyncio.TaskGroup() as group:
            if local := [route for route in routes if route.is_direct]:
                group.create_task(self._probe_direct_routes(local))
            for route in routes:
                if not route.is_direct:
                    group.create_task(self._probe_relay(route))

    def _refusal(self) -> str:
        """Why nothing at all may be sent there; empty when it may."""
        if self._request.plan.action is Action.BLOCK:
            return f"blocked: {self._request.plan.why}"
        if self._env.is_private(self._request.page.host):
            return "`[log] never` excludes it from tests"
        return ""

    # -- through relays --------------------------------------------------------------------------------------------

    async def _probe_relay(self, route: Route) -> None:
        destination = self._request.destination
        planned = any(planned.relays for planned in self._request.plan.routes)
        if route not in self._request.plan.routes:
            if not self._env.carries(route, destination):
                self._skip(route, "this relay takes addresses only; names are not resolved for it")
            else:
                self._skip(route, self._request.plan.why if not planned else f"not allowed by {self._request.plan.why}")
            return
        async with self._slots:
            await self._probe.visit(
                route, self._env.dialer(route), destination, self._request.page, connect_s=_RELAY_TIMEOUT_S
            )

    # -- without a relay -------------------------------------------------------------------------------------------

    async def _probe_direct_routes(self, routes: Sequence[Route]) -> None:
        if not any(route.is_direct for route in self._request.plan.routes):
            for route in routes:
                self._skip(route, f"relays only: {self._request.plan.why}")
            return
        plain, secure = await NameLookups(self._env, self._request, self._emit_step).addresses()
        reached = (
            [address for address in plain if await self._probe_address(DIRECT, address)] if DIRECT in routes else []
        )
        if DOH in routes:
            reached += await self._probe_doh(plain, secure)
        await self._probe_strategies(
            [route for route in routes if route not in (DIRECT, DOH)], (*secure, *plain), reached
        )
        if not reached or self._needs_control:
            await self._controls.check(self._emit_step)

    async def _probe_address(self, route: Route, address: IPAddress) -> bool:
        """One visit at one address; in a thorough measurement a harmless name is said there first, since a censor may
        punish the address for minutes once it has seen the site's."""
        destination = self._request.destination
        if (refusal := self._env.refuses(destination, address)) is not None:
            self._skip(route, refusal)
            return False
        place = self._place(address)
        dialer = self._env.dialer(DIRECT)
        page = self._request.page
        if (
            self._request.thorough
            and page.protocol is Protocol.TLS
            and not await self._neutral_name_ok(route, dialer, place)
        ):
            return False
        return await self._probe.visit(route, dialer, place, page, connect_s=self._detect.syn_s)

    def _place(self, address: IPAddress) -> Destination:
        """What is dialed for one address: itself, or the name where the address is let past for its sake alone."""
        place = Destination(str(address), self._request.page.port)
        return place if self._env.refuses(place, address) is None else self._request.destination

    async def _neutral_name_ok(self, route: Route, dialer: Dialer, place: Destination) -> bool:
        """Probes the address with a harmless name. False: the TCP connection failed, which is a step of its own."""
        if not (name := await self._controls.neutral_name()):
            return True
        answered = await self._probe.neutral(route, dialer, place, name, connect_s=self._detect.syn_s)
        if answered:
            self._answered_neutral.add(place.host)
        return answered is not None

    async def _probe_doh(self, plain: Sequence[IPAddress], secure: Sequence[IPAddress]) -> list[IPAddress]:
        if not secure:
            self._skip(DOH, "encrypted DNS gave no address")
            return []
        others = [address for address in secure if address not in plain]
        if not others:
            self._skip(DOH, "same address as direct")
        return [address for address in others if await self._probe_address(DOH, address)]

    async def _probe_strategies(
        self, routes: Sequence[Route], addresses: Sequence[IPAddress], reached: Sequence[IPAddress]
    ) -> None:
        """The local means, where direct does not do."""
        port = self._request.page.port
        opened = [address for address in addresses if str(Destination(str(address), port)) in self._opened]
        if reached or not opened:
            why = "no address is known" if not addresses else "no address answers; this only hides the name"
            for route in routes:
                self._skip(route, "not needed: direct works" if reached else why)
            return
        addresses = opened
        residual = await self._in_residual_blocking(addresses[0]) if routes else False
        for route in routes:
            if residual:
                self._skip(route, "residual blocking: the address does not answer other names now")
            elif idle_strategies(self._request.page.protocol) & set(route.wrap):
                self._skip(route, "for another protocol")
            elif self._env.refuses(self._request.destination, addresses[0]) is None:
                await self._probe_strategy(route, addresses[0])

    async def _in_residual_blocking(self, address: IPAddress) -> bool:
        """Whether a harmless name that was answered at the address is not any more: what would then fail there says
        nothing of the means by which it is tried."""
        if str(address) not in self._answered_neutral:
            return False
        discarded: list[MeasurementStep] = []
        probe, dialer = self._new_probe(discarded.append), self._env.dialer(DIRECT)
        place, name = self._place(address), await self._controls.neutral_name()
        return not await probe.neutral(DIRECT, dialer, place, name, connect_s=self._detect.syn_s)

    async def _probe_strategy(self, route: Route, address: IPAddress) -> None:
        try:
            dialer = self._env.dialer(route)
        except BywayError as error:
            self._skip(route, str(error))
            return
        place = self._place(address)
        await self._probe.visit(route, dialer, place, self._request.page, connect_s=self._detect.syn_s)

    def _skip(self, route: Route, why: str) -> None:
        part = StepKind.CONNECT if route.is_direct else StepKind.RELAY
        self._emit_step(MeasurementStep(part, route, StepResult.NOT_TESTED, Symptom.SKIPPED, why))
