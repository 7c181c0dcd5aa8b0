"""The probes of one measurement, each on a connection of its own. They emit their steps, and note what the choice of
later probes depends on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace

from proxy.model import (
    DIRECT,
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
from proxy.model.errors import BywayError, DialError
from proxy.model.phrase import _
from proxy.net.dialers.dialer import Dialer
from proxy.net.race.hello_ledger import no_turn
from proxy.probe.measure.controls import Controls, SharedControls
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment, is_at_home
from proxy.probe.site_probe import SiteProbe
from proxy.probe.throughput import measure_lifetime, measure_throughput
from proxy.wire.fragmentation import is_cut, is_idle

_RELAY_TIMEOUT_S = 17.0
"""Seconds for a relay to open a path, longer than its handshake may take, which tells how it failed: a slow Tor circuit
takes 11 s. A client's connection waits longer when there is no other route."""

_FIRST_ANSWERS = (StepKind.HELLO, StepKind.ANSWER)


class Probes:
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
            self.emit,
            detect=self._detect,
            tcp_info=env.tcp_info,
            knowledge=env.knowledge,
            roots=env.roots,
            trust=env.trust,
            hello_turn=env.hello_turn,
        )
        self._controls = Controls(env, request, self._probe, shared)
        self.steps: list[MeasurementStep] = []
        self.reached: list[IPAddress] = []
        """The addresses at which direct works."""
        # A control is needed after a failure, and also where it explains the result of direct. The system's resolver,
        # which gets no query for a suspect name, may fail for all names.
        self.needs_control = request.belief.cause == Cause.DNS
        self.is_control_checked = False
        self.recorded_hello = env.hello_of(request.page.host) if request.page.protocol is Protocol.TLS else None
        """The ClientHello of the last visit that direct did not deliver; None: none is kept."""
        self._opened: set[str] = set()  # `address:port` of direct connections that were opened
        self._answered_neutral: set[str] = set()  # addresses
        self._residual: dict[IPAddress, bool] = {}  # the addresses that were tested for residual blocking
        self._is_out_of_date = False  # direct got a certificate that is not valid today, or the clock is wrong

    def emit(self, step: MeasurementStep) -> None:
        if step.route.is_direct and step.kind in (StepKind.HELLO, StepKind.ANSWER) and step.address:
            self._opened.add(step.address)
        if step.route.is_direct and step.kind is StepKind.CERTIFICATE and step.evidence.get("clock"):
            self._is_out_of_date = True
        if step.kind is StepKind.RESOLVE and step.failed:
            self.needs_control = True  # the resolver may fail for every name
        if step.route == DIRECT and step.kind is StepKind.ANSWER and step.ok:
            is_slow = float(step.evidence.get("bytes_per_s", math.inf)) < self._detect.measure_slow_bytes
            self.needs_control |= is_slow or self._request.page.protocol is Protocol.HTTP
        self.steps.append(step)
        self._emit(step)

    def skip(self, route: Route, why: str) -> None:
        """Emits that a route is not tested."""
        kind = StepKind.CONNECT if route.is_direct else StepKind.RELAY
        self.emit(MeasurementStep(kind, route, StepResult.NOT_TESTED, Symptom.SKIPPED, why))

    def is_opened(self, address: IPAddress) -> bool:
        """Whether a request or a ClientHello was sent to an address on a direct route."""
        return self._place(address) in self._opened

    def silences(self, address: IPAddress) -> int:
        """Returns how many visits of an address by plain direct were not answered."""
        visits = [step for step in self.steps if step.route == DIRECT and step.address == self._place(address)]
        return sum(step.symptom is Symptom.SILENT and step.kind in _FIRST_ANSWERS for step in visits)

    def _place(self, address: IPAddress) -> str:
        return str(Destination(str(address), self._request.page.port))

    # -- the site --------------------------------------------------------------------------------------------------

    async def visit_by_relay(self, route: Route) -> None:
        destination, dialer = self._request.destination, self._env.dialer(route)
        if await self._probe.visit(route, dialer, destination, self._request.page, connect_s=_RELAY_TIMEOUT_S):
            await self._transfer(route, destination)

    async def visit_address(self, route: Route, address: IPAddress) -> None:
        """Probes the site at one address as a whole. `route` says which resolver gave it."""
        if (refusal := self.refusal(address)) is not None:
            self.skip(route, refusal)
            return
        # Another SNI goes first: a censor that has seen the site's may block the address for minutes.
        neutral_first = self._request.thorough and self._request.page.protocol is Protocol.TLS
        neutral_first = neutral_first and not is_at_home(self._env, self._request)
        if neutral_first and not await self.neutral_name(route, address):
            return
        if await self.visit(route, address):
            await self.transfer(route, address)

    def refusal(self, address: IPAddress) -> str | None:
        """Returns the reason why this address may not be dialed; None when it may."""
        return self._env.refuses(self._request.destination, address)

    async def neutral_name(self, route: Route, address: IPAddress) -> bool:
        """Sends the SNI of a control page to an address. Returns False when the TCP connection failed."""
        if not (name := await self._controls.neutral_name()):
            return True
        dialed = self._dialed(address)
        is_answered = await self._probe.neutral(route, self._direct, dialed, name)
        if is_answered:
            self._answered_neutral.add(dialed.host)
        return is_answered is not None

    async def visit(self, route: Route, address: IPAddress) -> bool:
        """Requests the page from an address. Returns whether an answer came."""
        dialed, page = self._dialed(address), self._request.page
        is_reached = await self._probe.visit(route, self._direct, dialed, page, connect_s=self._detect.syn_s)
        if is_reached:
            self.reached.append(address)
        return is_reached

    async def transfer(self, route: Route, address: IPAddress) -> None:
        """Requests more of an address at which direct works, and finds out whether it still does."""
        if not await self._transfer(route, self._dialed(address)):
            self.reached.remove(address)

    async def _transfer(self, route: Route, dialed: Destination) -> bool:
        """Requests the page until `measure_bytes` have come, if one page would show nothing. Returns False when the
        transfer stopped, or took too long."""
        if not self._request.needs_transfer:
            return True
        page, within_s, loop = self._request.page, self._detect.measure_answer_s, asyncio.get_running_loop()
        await self._hello_turn(route)
        began = loop.time()
        received = await measure_throughput(
            self._dialer_of(route),
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
        self.emit(replace(step, elapsed=round(took_s, 4)))
        return bool(received)

    async def lifetimes(self, address: IPAddress, relay: Route | None) -> None:
        """Uses a connection direct and one through a relay at the same time, since that takes long."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lifetime(DIRECT, self._dialed(address)))
            if relay is not None:
                group.create_task(self._lifetime(relay, self._request.destination))

    async def _lifetime(self, route: Route, dialed: Destination) -> None:
        page, detect = self._request.page, self._detect
        await self._hello_turn(route)
        try:
            lasted_s, symptom = await measure_lifetime(
                self._dialer_of(route),
                dialed,
                page.host,
                page.protocol,
                lasts_s=detect.measure_lasts_s,
                answer_s=detect.silent_s,
                request=page.request(is_last=False, method="HEAD"),
                trust=self._env.trust,
            )
        except (DialError, OSError):
            return
        if symptom is Symptom.NONE:
            text = _("the connection lasted {time:.0f} s", time=lasted_s)
            step = MeasurementStep(StepKind.PAUSE, route, StepResult.OK, text=text)
        else:
            text = _("the connection was cut {time:.0f} s after the handshake", time=lasted_s)
            evidence: Evidence = {"cut_s": round(lasted_s, 1)}
            step = MeasurementStep(StepKind.PAUSE, route, StepResult.FAILED, symptom, text, evidence=evidence)
        self.emit(replace(step, elapsed=round(lasted_s, 4)))

    # -- its ClientHello -------------------------------------------------------------------------------------------

    async def other_hello(self, hello: bytes, address: IPAddress) -> None:
        """Sends the ClientHello of a visit to an address."""
        dialed, name = self._dialed(address), self._request.page.host
        await self._probe.other_hello(DIRECT, self._direct, dialed, name, hello, connect_s=self._detect.syn_s)

    async def other_hello_by(self, relay: Route, hello: bytes) -> None:
        destination, name, dialer = self._request.destination, self._request.page.host, self._env.dialer(relay)
        await self._probe.other_hello(relay, dialer, destination, name, hello, connect_s=_RELAY_TIMEOUT_S)

    async def strategy(self, route: Route, address: IPAddress) -> None:
        """Probes a strategy, unless the address is found to be in a residual window before the first one."""
        if address not in self._residual:
            self._residual[address] = await self._in_residual_window(address)
        if why := self.why_no_strategy(route, address):
            self.skip(route, why)
            return
        try:
            dialer = self._env.dialer(route)
        except BywayError as error:
            self.skip(route, str(error))
            return
        dialed, page = self._dialed(address), self._request.page
        await self._probe.visit(route, dialer, dialed, page, connect_s=self._detect.syn_s)

    def why_no_strategy(self, route: Route, address: IPAddress) -> str:
        """Returns the reason why a strategy is not probed at an address; empty: it may be."""
        protocol = self._request.page.protocol
        if self._is_out_of_date:  # each strategy would get the same, after two waits for its turn
            return _("its certificate would be the same")
        if self._residual.get(address):
            return _("residual blocking: the address does not answer other names now")
        if is_idle(route.wrap, protocol):
            return _("for another protocol")
        if protocol is Protocol.TLS and is_cut(route.wrap) and self._env.knowledge.cuts_are_punished():
            return _("this network punishes a fragmented ClientHello")
        return ""

    async def _in_residual_window(self, address: IPAddress) -> bool:
        """Whether the address does not answer another SNI any more, which it answered before. A strategy would then
        fail there through no fault of its own."""
        if str(address) not in self._answered_neutral:
            return False
        discarded: list[MeasurementStep] = []
        probe, name = replace(self._probe, emit=discarded.append), await self._controls.neutral_name()
        return not await probe.neutral(DIRECT, self._direct, self._dialed(address), name)

    # -- another site ----------------------------------------------------------------------------------------------

    async def control(self) -> None:
        self.is_control_checked = True
        await self._controls.check(self.emit)

    # -- all of them -----------------------------------------------------------------------------------------------

    @property
    def _direct(self) -> Dialer:
        return self._env.dialer(DIRECT)

    def _dialer_of(self, route: Route) -> Dialer:
        return self._env.dialer(route) if route.relays else self._direct

    def _dialed(self, address: IPAddress) -> Destination:
        """Returns the destination to dial for one address: the address itself, or the site's name if the guard allows
        the address only for that name."""
        literal = Destination(str(address), self._request.page.port)
        return literal if self._env.refuses(literal, address) is None else self._request.destination

    async def _hello_turn(self, route: Route) -> None:
        """Waits for the turn of a ClientHello with the site's name, if a network may count it."""
        is_counted = route.is_direct and self._request.page.protocol is Protocol.TLS
        await (self._env.hello_turn if is_counted else no_turn)(self._request.page.host)
