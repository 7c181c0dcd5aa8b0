"""Measures one site over all routes, and yields the steps as they end.

Routes through relays are probed at the same time as the direct ones, once the name lookups have shown that the site is
not on the home network. Direct begins with these lookups. A thorough measurement then investigates the first address:
`detect.verdict.hypotheses` chooses the next probe, until the cause is nearly certain or no probe tells more. The
remaining addresses and local strategies follow, as far as they may open the site, and a control page if something
failed. A step that is not allowed is "not tested", with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial

from proxy.detect.verdict.hypotheses import Hypothesis, Observation, Probe, next_probe, observed_in, remaining
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.model import (
    DIRECT,
    DOH,
    Action,
    Cause,
    IPAddress,
    MeasurementStep,
    Protocol,
    Route,
    StepKind,
    StepResult,
    Symptom,
)
from proxy.model.phrase import _
from proxy.net.deadline import deadline
from proxy.net.tasks import spawn
from proxy.probe.measure.controls import SharedControls
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment, is_at_home
from proxy.probe.measure.name_lookups import NameLookups
from proxy.probe.measure.probes import Probes

_AT_HOME = _("it is on the local network: direct only")

_NEEDED = (Probe.TRANSFER, Probe.OTHER_HELLO)
"""Probes that the verdict or the user wants wherever they are possible."""

_FOR_ANY_HELLO = frozenset(
    {Hypothesis.ADDRESS, Hypothesis.BOTH, Hypothesis.REFUSAL, Hypothesis.DOWN, Hypothesis.NETWORK}
)
"""The hypotheses under which no strategy that changes the flight can open the site."""


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
        self._detect = env.settings.detect
        self._probes = Probes(env, request, shared, emit)
        # The lookups belong to direct. Without direct, their steps would be of a route that was not requested.
        is_direct = any(route.is_direct for route in request.routes)
        self._lookups = NameLookups(env, request, self._probes.emit if is_direct else lambda step: None)
        self._untried: list[tuple[Route, IPAddress]] = []  # the addresses that are still to be probed
        self._untried_strategies: list[Route] = []
        self._investigated: IPAddress | None = None
        self._sent: Counter[Probe] = Counter()  # by the investigation
        self._relays_left = sum(not route.is_direct for route in request.routes)
        self._relay_ended = asyncio.Event()

    async def run(self) -> None:
        """Emits all steps within `measure_site_s`. Probes that have not ended by then are cancelled."""
        routes = self._request.routes
        if refusal := self._refusal():
            for route in routes:
                self._probes.skip(route, refusal)
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

    # -- through relays --------------------------------------------------------------------------------------------

    async def _probe_relay(self, route: Route, slots: asyncio.Semaphore) -> None:
        try:
            if why := await self._why_no_relay(route):
                self._probes.skip(route, why)
                return
            async with slots:
                await self._probes.visit_by_relay(route)
        finally:
            self._relays_left -= 1
            self._relay_ended.set()

    async def _why_no_relay(self, route: Route) -> str:
        """Returns the reason why a relay is not tested; empty: it is."""
        plan = self._request.plan
        if plan.is_home:
            return _AT_HOME
        if route not in plan.routes:
            if not self._env.carries(route, self._request.destination):
                return _("this relay takes addresses only; names are not resolved for it")
            has_relays = any(planned.relays for planned in plan.routes)
            return _("not allowed by {reason}", reason=plan.why) if has_relays else plan.why
        if self._request.must_find_place:
            await self._lookups.place_known.wait()
            if is_at_home(self._env, self._request):
                return _AT_HOME
        return ""

    async def _wait_for_relay(self) -> None:
        self._relay_ended.clear()
        await self._relay_ended.wait()

    # -- without a relay -------------------------------------------------------------------------------------------

    async def _probe_direct_routes(self, routes: Sequence[Route]) -> None:
        probes = self._probes
        if not any(route.is_direct for route in self._request.plan.routes):
            for route in routes:
                probes.skip(route, _("relays only: {reason}", reason=self._request.plan.why))
            return
        plain, secure = await self._lookups.addresses()
        is_home = is_at_home(self._env, self._request)
        if DIRECT in routes:
            self._untried = [(DIRECT, address) for address in plain]
        if DOH in routes and not is_home:
            self._untried += [(DOH, address) for address in secure if address not in plain]
        self._untried_strategies = [route for route in routes if route not in (DIRECT, DOH)]
        if self._request.thorough and not is_home and DIRECT in routes and plain:
            await self._investigate(self._untried.pop(0)[1])
        while self._untried:
            await self._probe_next_address()
        if is_home:
            for route in routes:
                if route != DIRECT:
                    probes.skip(route, _AT_HOME)
            return
        if DOH in routes and not any(address not in plain for address in secure):
            probes.skip(DOH, _("same address as direct") if secure else _("encrypted DNS gave no address"))
        await self._probe_strategies((*secure, *plain))
        if not probes.is_control_checked and (not probes.reached or probes.needs_control):
            await probes.control()

    async def _probe_next_address(self) -> None:
        await self._probes.visit_address(*self._untried.pop(0))

    async def _probe_strategies(self, addresses: Sequence[IPAddress]) -> None:
        """Probes the strategies that change the flight and are left, if direct failed after its connection was
        opened."""
        probes, routes = self._probes, self._untried_strategies
        opened = [address for address in addresses if probes.is_opened(address)]
        if why := self._why_no_strategies(addresses, opened):
            for route in routes:
                probes.skip(route, why)
            return
        address = opened[0]
        for route in [*routes]:
            why_none = self._why_no_strategies(addresses, opened) if probes.reached else ""
            if why := why_none or probes.why_no_strategy(route, address):
                probes.skip(route, why)
            elif probes.refusal(address) is None:
                await self._probe_strategy(route, address)

    def _why_no_strategies(self, addresses: Sequence[IPAddress], opened: Sequence[IPAddress]) -> str:
        """Returns the reason why no strategy can help; empty: one may."""
        if self._probes.reached:
            return _("not needed: direct works")
        if not addresses:
            return _("no address is known")
        if not opened:
            return _("no address answers, whatever name is sent")
        is_explained = {*opened} == {self._investigated} and not self._has_shown_itself
        if is_explained and _FOR_ANY_HELLO.issuperset(remaining(self._observed)):
            return _("the failure does not depend on the ClientHello")
        return ""

    async def _probe_strategy(self, route: Route, address: IPAddress) -> None:
        """Probes a strategy. Where it delivers after direct was silent, the server may have been silent for everybody
        until then, as while it restarts: direct is tried once more."""
        self._untried_strategies.remove(route)
        await self._probes.strategy(route, address)
        routes = MeasuredRoutes(tuple(self._probes.steps))
        if routes.result(route) is StepResult.OK and self._probes.silences(address) == 1:
            await self._probes.visit(DIRECT, address)

    # -- the investigation of one address --------------------------------------------------------------------------

    async def _investigate(self, address: IPAddress) -> None:
        """Probes one address of the site, and what explains a failure there, with the probe that tells most first."""
        probes = self._probes
        if (refusal := probes.refusal(address)) is not None:
            probes.skip(DIRECT, refusal)
            return
        self._investigated = address
        while not self._has_shown_itself:
            possible = self._possible_probes(address)
            needed = (probe for probe in _NEEDED if probe in possible and not self._sent[probe])
            probe = next_probe(self._observed, tuple(possible)) or next(needed, None)
            if probe is None:
                break
            self._sent[probe] += 1
            await possible[probe]()
        failed = any(step.route == DIRECT and step.kind is StepKind.HELLO and step.failed for step in probes.steps)
        if failed and probes.recorded_hello is None:
            text = _("whether it depends on the program is not tested: no ClientHello of a visit is kept")
            probes.emit(MeasurementStep(StepKind.SHAPE, DIRECT, StepResult.NOT_TESTED, Symptom.SKIPPED, text))

    @property
    def _observed(self) -> list[Observation]:
        return observed_in(self._probes.steps, slow_bytes=self._detect.measure_slow_bytes)

    @property
    def _has_shown_itself(self) -> bool:
        """Whether the visit of the address shows the fault by itself, such as a certificate or a block page."""
        return bool(self._sent[Probe.VISIT]) and all(each.probe is not Probe.VISIT for each in self._observed)

    def _possible_probes(self, address: IPAddress) -> dict[Probe, Callable[[], Awaitable[object]]]:
        """Returns the probes that may be made now."""
        request, probes, hello = self._request, self._probes, self._probes.recorded_hello
        is_opened, is_reached = probes.is_opened(address), address in probes.reached
        relay = next((route for route in MeasuredRoutes(tuple(probes.steps)).delivered if route.relays), None)
        possible: dict[Probe, Callable[[], Awaitable[object]]] = {}

        def add(probe: Probe, send: Callable[[], Awaitable[object]], *, when: bool = True, times: int = 1) -> None:
            if when and self._sent[probe] < times:
                possible[probe] = send

        add(Probe.NEUTRAL, partial(self._probe_neutral_name, address), when=request.page.protocol is Protocol.TLS)
        add(Probe.VISIT, partial(probes.visit, DIRECT, address))
        if self._untried:
            possible[Probe.ELSEWHERE] = self._probe_next_address
        if hello is not None:
            add(Probe.OTHER_HELLO, partial(probes.other_hello, hello, address), when=is_opened, times=2)
            if relay is not None:
                add(Probe.RELAY_OTHER_HELLO, partial(probes.other_hello_by, relay, hello))
        strategies = (route for route in self._untried_strategies if not probes.why_no_strategy(route, address))
        if is_opened and not is_reached and (strategy := next(strategies, None)) is not None:
            add(Probe.CUT, partial(self._probe_strategy, strategy, address))
        if request.needs_transfer and is_reached:
            add(Probe.TRANSFER, partial(probes.transfer, DIRECT, address))
            is_comparable = relay is not None or not self._relays_left
            may_be_cut = request.belief.cause == Cause.FROZEN and is_comparable
            add(Probe.PAUSE, partial(probes.lifetimes, address, relay), when=may_be_cut)
        add(Probe.CONTROL, probes.control, when=not (probes.is_control_checked or is_reached))
        if self._relays_left:  # they are tested anyway: the probe is to wait for the next one
            possible[Probe.RELAY] = possible[Probe.RELAY_TRANSFER] = self._wait_for_relay
        return possible

    async def _probe_neutral_name(self, address: IPAddress) -> None:
        if not await self._probes.neutral_name(DIRECT, address):
            self._sent[Probe.VISIT] += 1  # TCP failed, and would again
