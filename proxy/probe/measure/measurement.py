"""Measures one site over all routes, and yields the steps as they end.

Routes through relays are probed at the same time as the direct ones, once the name lookups have shown that the site is
not on the home network. Direct begins with these lookups, and ends with a control page if something failed. A step that
is not allowed is "not tested", with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from proxy.model import (
    DIRECT,
    DOH,
    Action,
    Cause,
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
from proxy.model.phrase import _
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.tasks import spawn
from proxy.probe.measure.controls import Controls, SharedControls
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment, is_at_home
from proxy.probe.measure.name_lookups import NameLookups
from proxy.probe.site_probe import SiteProbe
from proxy.probe.throughput import measure_throughput
from proxy.wire.fragmentation import idle_strategies

_RELAY_TIMEOUT_S = 15.0
"""Seconds for a relay to open a path; a slow Tor circuit takes 11 s. A client's connection waits longer when there is
no other route."""

_AT_HOME = _("it is on the local network: direct only")


async def measure(
    env: ProbeEnvironment, request: MeasurementRequest, controls: SharedControls | None = None
) -> AsyncGenerator[MeasurementStep, None]:
    """Yields the steps as they end. Measurements with the same `controls` share the results of control pages. Closing
    the generator early cancels the probes and closes their connections."""
    steps: asyncio.Queue[MeasurementStep | None] = asyncio.Queue()
    measurement = _Measurement(env, request, controls or SharedControls(), steps.put_nowait)
    work = spawn(measurement.run(), name=f"measure {request.page.host}")
    work.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            yield step
        await work  # raises a fault of Byway itself
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((work,))


class _Measurement:
    def __init__(
        self,
        env: ProbeEnvironment,
        request: MeasurementRequest,
        shared: SharedControls,
        emit: Callable[[MeasurementStep], None],
    ) -> None:
        self._env = env
        self._request = request
        self._emit = emit
        self._detect = env.settings.detect
        self._probe = SiteProbe(
            self._emit_step,
            detect=self._detect,
            tcp_info=env.tcp_info,
            knowledge=env.knowledge,
            roots=env.roots,
            trust=env.trust,
            hello_turn=env.hello_turn,
        )
        self._controls = Controls(env, request, self._probe, shared)
        # The lookups belong to direct. Without direct, their steps would be of a route that was not requested.
        is_direct = any(route.is_direct for route in request.routes)
        self._lookups = NameLookups(env, request, self._emit_step if is_direct else lambda step: None)
        self._answered_neutral: set[str] = set()  # addresses
        self._opened: set[str] = set()  # `address:port` of direct connections that were opened
        # A control is needed after a failure, and also where it explains the result of direct. The system's resolver,
        # which gets no query for a suspect name, may fail for all names.
        self._needs_control = request.belief.cause == Cause.DNS
        self._is_out_of_date = False  # direct got a certificate that is not valid today, or the clock is wrong

    async def run(self) -> None:
        """Emits all steps within `measure_site_s`. Probes that have not ended by then are cancelled."""
        routes = self._request.routes
        if refusal := self._refusal():
            for route in routes:
                self._skip(route, refusal)
            return
        with contextlib.suppress(TimeoutError), deadline(self._detect.measure_site_s):
            async with asyncio.TaskGroup() as group:
                if local := [route for route in routes if route.is_direct]:
                    group.create_task(self._probe_direct_routes(local))
                elif self._request.must_find_place:
                    group.create_task(self._lookups.addresses())
                slots = asyncio.Semaphore(self._detect.measure_routes)
                for route in routes:
                    if not route.is_direct:
                        group.create_task(self._probe_relay(route, slots))

    def _refusal(self) -> str:
        """Returns the reason why nothing may be sent to the site; empty when something may."""
        if self._request.plan.action is Action.BLOCK:
            return _("blocked: {reason}", reason=self._request.plan.why)
        if self._env.is_private(self._request.page.host):
            return _("`[log] never` excludes it from tests")
        return ""

    def _emit_step(self, step: MeasurementStep) -> None:
        if step.route.is_direct and step.kind in (StepKind.HELLO, StepKind.ANSWER) and step.address:
            self._opened.add(step.address)
        if step.route.is_direct and step.kind is StepKind.CERTIFICATE and step.evidence.get("clock"):
            self._is_out_of_date = True
        if step.kind is StepKind.RESOLVE and step.failed:
            self._needs_control = True  # the resolver may fail for every name
        if step.route == DIRECT and step.kind is StepKind.ANSWER and step.ok:
            is_slow = float(step.evidence.get("bytes_per_s", math.inf)) < self._detect.measure_slow_bytes
            self._needs_control |= is_slow or self._request.page.protocol is Protocol.HTTP
        self._emit(step)

    def _skip(self, route: Route, why: str) -> None:
        kind = StepKind.CONNECT if route.is_direct else StepKind.RELAY
        self._emit_step(MeasurementStep(kind, route, StepResult.NOT_TESTED, Symptom.SKIPPED, why))

    # -- through relays --------------------------------------------------------------------------------------------

    async def _probe_relay(self, route: Route, slots: asyncio.Semaphore) -> None:
        destination, plan = self._request.destination, self._request.plan
        if plan.is_home:
            self._skip(route, _AT_HOME)
            return
        if route not in plan.routes:
            has_relays = any(planned.relays for planned in plan.routes)
            if not self._env.carries(route, destination):
                self._skip(route, _("this relay takes addresses only; names are not resolved for it"))
            else:
                self._skip(route, _("not allowed by {reason}", reason=plan.why) if has_relays else plan.why)
            return
        if self._request.must_find_place:
            await self._lookups.place_known.wait()
            if is_at_home(self._env, self._request):
                self._skip(route, _AT_HOME)
                return
        async with slots:
            dialer = self._env.dialer(route)
            if await self._probe.visit(route, dialer, destination, self._request.page, connect_s=_RELAY_TIMEOUT_S):
                await self._probe_transfer(route, dialer, destination)

    async def _probe_transfer(self, route: Route, dialer: Dialer, dialed: Destination) -> bool:
        """Requests the page until `measure_bytes` have come, if one page would show nothing. Returns False when the
        transfer stopped, or took too long."""
        if not self._request.needs_transfer:
            return True
        page, within_s, loop = self._request.page, self._detect.measure_answer_s, asyncio.get_running_loop()
        began = loop.time()
        received = await measure_throughput(
            dialer,
            dialed,
            page.host,
            page.protocol,
            enough=self._detect.measure_bytes,
            within_s=within_s,
            request=page.request(is_last=False),
            trust=self._env.trust,
        )
        took_s = loop.time() - began
        if received:
            text = _("{count} bytes on one connection", count=received)
            evidence: Evidence = {"bytes": received, "bytes_per_s": round(received / max(took_s, 0.001))}
            step = MeasurementStep(StepKind.TRANSFER, route, StepResult.OK, text=text, evidence=evidence)
        else:
            is_frozen = self._request.belief.cause == Cause.FROZEN
            symptom = Symptom.FROZEN if is_frozen else Symptom.THROTTLED
            text = _("less than {count} bytes within {limit:g} s", count=self._detect.measure_bytes, limit=within_s)
            step = MeasurementStep(StepKind.TRANSFER, route, StepResult.FAILED, symptom, text)
        self._emit_step(replace(step, elapsed=round(took_s, 4)))
        return bool(received)

    # -- without a relay -------------------------------------------------------------------------------------------

    async def _probe_direct_routes(self, routes: Sequence[Route]) -> None:
        if not any(route.is_direct for route in self._request.plan.routes):
            for route in routes:
                self._skip(route, _("relays only: {reason}", reason=self._request.plan.why))
            return
        plain, secure = await self._lookups.addresses()
        reached: list[IPAddress] = []
        if DIRECT in routes:
            reached += [address for address in plain if await self._probe_address(DIRECT, address)]
        if is_at_home(self._env, self._request):
            for route in routes:
                if route != DIRECT:
                    self._skip(route, _AT_HOME)
            return
        if DOH in routes:
            reached += await self._probe_doh(plain, secure)
        strategies = [route for route in routes if route not in (DIRECT, DOH)]
        await self._probe_strategies(strategies, (*secure, *plain), reached)
        if not reached or self._needs_control:
            await self._controls.check(self._emit_step)

    async def _probe_address(self, route: Route, address: IPAddress) -> bool:
        """Probes the site at one address. Returns whether an answer came."""
        destination = self._request.destination
        if (refusal := self._env.refuses(destination, address)) is not None:
            self._skip(route, refusal)
            return False
        dialed, dialer, page = self._dialed(address), self._env.dialer(DIRECT), self._request.page
        # Another SNI goes first: a censor that has seen the site's may block the address for minutes.
        neutral_first = self._request.thorough and page.protocol is Protocol.TLS
        neutral_first = neutral_first and not is_at_home(self._env, self._request)
        if neutral_first and not await self._probe_neutral_name(route, dialer, dialed):
            return False
        if not await self._probe.visit(route, dialer, dialed, page, connect_s=self._detect.syn_s):
            return False
        return await self._probe_transfer(route, dialer, dialed)

    def _dialed(self, address: IPAddress) -> Destination:
        """Returns the destination to dial for one address: the address itself, or the site's name if the guard allows
        the address only for that name."""
        literal = Destination(str(address), self._request.page.port)
        return literal if self._env.refuses(literal, address) is None else self._request.destination

    async def _probe_neutral_name(self, route: Route, dialer: Dialer, dialed: Destination) -> bool:
        """Probes an address with the SNI of a control page. Returns False when the TCP connection failed."""
        if not (name := await self._controls.neutral_name()):
            return True
        is_answered = await self._probe.neutral(route, dialer, dialed, name)
        if is_answered:
            self._answered_neutral.add(dialed.host)
        return is_answered is not None

    async def _probe_doh(self, plain: Sequence[IPAddress], secure: Sequence[IPAddress]) -> list[IPAddress]:
        """Probes the addresses that only encrypted DNS gave. Returns those that answered."""
        if not secure:
            self._skip(DOH, _("encrypted DNS gave no address"))
            return []
        others = [address for address in secure if address not in plain]
        if not others:
            self._skip(DOH, _("same address as direct"))
        return [address for address in others if await self._probe_address(DOH, address)]

    async def _probe_strategies(
        self, routes: Sequence[Route], addresses: Sequence[IPAddress], reached: Sequence[IPAddress]
    ) -> None:
        """Probes the strategies that change the flight, if direct failed after its connection was opened."""
        port = self._request.page.port
        opened = [address for address in addresses if str(Destination(str(address), port)) in self._opened]
        if reached or not opened:
            why = _("no address answers, whatever name is sent") if addresses else _("no address is known")
            for route in routes:
                self._skip(route, _("not needed: direct works") if reached else why)
            return
        if self._is_out_of_date:  # each strategy would get the same, after two waits for its turn
            for route in routes:
                self._skip(route, _("its certificate would be the same"))
            return
        address = opened[0]
        in_residual_window = await self._in_residual_window(address) if routes else False
        for route in routes:
            if in_residual_window:
                self._skip(route, _("residual blocking: the address does not answer other names now"))
            elif idle_strategies(self._request.page.protocol) & set(route.wrap):
                self._skip(route, _("for another protocol"))
            elif self._env.refuses(self._request.destination, address) is None:
                await self._probe_strategy(route, address)

    async def _in_residual_window(self, address: IPAddress) -> bool:
        """Whether the address does not answer another SNI any more, which it answered before. A strategy would then
        fail there through no fault of its own."""
        if str(address) not in self._answered_neutral:
            return False
        discarded: list[MeasurementStep] = []
        probe, dialer = replace(self._probe, emit=discarded.append), self._env.dialer(DIRECT)
        dialed, name = self._dialed(address), await self._controls.neutral_name()
        return not await probe.neutral(DIRECT, dialer, dialed, name)

    async def _probe_strategy(self, route: Route, address: IPAddress) -> None:
        try:
            dialer = self._env.dialer(route)
        except BywayError as error:
            self._skip(route, str(error))
            return
        dialed = self._dialed(address)
        await self._probe.visit(route, dialer, dialed, self._request.page, connect_s=self._detect.syn_s)
