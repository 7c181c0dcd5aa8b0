"""Measures sites, and caches each measurement for some minutes.

A site that is requested twice in a row is measured once; the second answer has the time of the measurement. The cache
is bounded, and a measurement is valid only under the circumstances of its time: the network and its state, the Setup,
the failing relays, and the status of the site, which a visit may have changed. Its verdict is cached, too: a new one,
from old steps and the present circumstances, might never have been true.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace

from proxy.config.relays import enabled_relays
from proxy.control.dependencies import Dependencies
from proxy.control.frame import Frame
from proxy.detect.beliefs.events import ClockMeasured, ControlAnswered, PageDoubted, ResolverMeasured
from proxy.detect.scopes import registrable
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.decision import decide
from proxy.detect.verdict.evidence import block_measured, open_measured
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.measurement_signals import page_difference
from proxy.detect.verdict.site_status import BLOCKS, LastResult, SiteStatus, Source, site_state
from proxy.detect.verdict.verdict import Verdict
from proxy.features.sites.measurement_answers import MeasurementJson, RouteResultJson, StepJson, StepLine, VerdictJson
from proxy.model import (
    Belief,
    Cause,
    ConnectivityResult,
    Destination,
    MeasurementStep,
    NetworkId,
    NetworkState,
    Plan,
    Route,
    State,
    StepKind,
    Symptom,
)
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.measure.controls import SharedControls
from proxy.probe.measure.inputs import MeasurementRequest, is_at_home, measured_routes
from proxy.probe.measure.measurement import measure
from proxy.probe.target import ProbeTarget
from proxy.session.events import Learned
from proxy.session.setup import Setup
from proxy.store.forgetting import Forgotten

CACHED_MAX = 256
"""The most measurements in the cache."""

_SAME_PAGE_MAX = 8
"""The most domains with the same page that are remembered."""

_MOVED = Verdict(
    SiteStatus.NOT_TESTED, State.UNKNOWN, summary="the network changed during the measurement", advice="Try again."
)

Planned = Callable[[Destination], Awaitable[tuple[Belief, Plan]]]
"""Returns the stored status of a destination, and the plan for a request to it, both as they are now."""


@frozen_dataclass
class Circumstances:
    """The conditions of a measurement: it is invalid once one of them has changed."""

    setup: Setup
    network_state: NetworkState
    failing: frozenset[str]  # relays that have failed since they worked last
    status: tuple[SiteStatus, Cause | str]  # of the site, with its cause

    def still_hold(self, now: Circumstances) -> bool:
        same = (self.network_state, self.failing, self.status) == (now.network_state, now.failing, now.status)
        return same and self.setup is now.setup


@frozen_dataclass
class Measured:
    """A completed measurement."""

    at: float  # its start, in seconds since the epoch
    took_s: float
    circumstances: Circumstances  # at its end, with its own results about relays
    network: NetworkId
    page: ProbeTarget
    steps: tuple[MeasurementStep, ...]
    verdict: Verdict
    thorough: bool  # False: it is too brief to answer `why`
    learns: bool  # False: the plan allows nothing to be learned, as while AUTO is paused

    def to_answer(self) -> MeasurementJson:
        return MeasurementJson(
            url=self.page.url,
            verdict=VerdictJson.of(self.verdict),
            routes=RouteResultJson.of(self.steps),
            steps=tuple(map(StepJson.of, self.steps)),
            measured_at=self.at,
            measured_s=round(self.took_s, 3),
            measured_on=self.network,
        )


@frozen_dataclass
class Finished:
    """The end of a measurement. `measured_again`: it was not cached."""

    measured: Measured
    measured_again: bool


def measurements(frame: Frame) -> Measurements:
    """Returns the measurements of one Byway: `frame.one(measurements)`."""
    return Measurements(frame.parts)


def forget(frame: Frame, what: Forgotten) -> None:
    """Removes measurements from the cache."""
    frame.one(measurements).forget(what)


class Measurements:
    """Makes measurements for one control server, and caches them."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts
        self._cache: Bounded[tuple[NetworkId, ProbeTarget], Measured] = Bounded(CACHED_MAX)
        self._controls: tuple[tuple[NetworkId, NetworkState], SharedControls] | None = None
        self._bodies: Bounded[tuple[NetworkId, str], Bounded[str, bool]] = Bounded(CACHED_MAX)
        """The domains for which direct got this page over plain HTTP, by network and the digest of its body."""
        self._under_way: dict[object, tuple[str, NetworkId]] = {}  # the hosts of measurements whose result is kept

    async def brief(self, page: ProbeTarget, plan: Planned, routes: tuple[Route, ...] | None) -> Finished:
        """Measures one site of many, with one visit on each route; None: on all."""
        async with contextlib.aclosing(self._measure(page, plan, routes=routes, thorough=False)) as lines:
            *_, last = [line async for line in lines]
        assert isinstance(last, Finished), "the last line is the end"
        return last

    def forget(self, what: Forgotten) -> None:
        """Removes measurements from the cache. The result of one that is going on is not kept."""
        for key, measured in [*self._cache.items()]:
            if what.covers(measured.page.host, measured.at, measured.network):
                del self._cache[key]
        self._bodies.clear()
        for mark, (host, network) in [*self._under_way.items()]:
            if what.covers(host, math.inf, network):
                del self._under_way[mark]

    def of(self, host: str) -> tuple[Measured, ...]:
        """Returns the cached measurements of a host on this network, for reports."""
        here = self._parts.network()
        return tuple(
            measured for (network, page), measured in self._cache.items() if network == here and page.host == host
        )

    async def lines(
        self, page: ProbeTarget, plan: Planned, *, otherwise: ProbeTarget | None = None, skip_cache: bool = False
    ) -> AsyncGenerator[StepLine | Finished, None]:
        """Measures `page` thoroughly. Yields each step as it is done, then the end. Uses a cached measurement, unless
        `skip_cache`.

        When no route connects to `page`, measures `otherwise` too, and yields its end instead if a route delivers
        it."""
        first: Finished | None = None
        async with contextlib.aclosing(self._measure(page, plan, skip_cache=skip_cache)) as lines:
            async for line in lines:
                if isinstance(line, Finished):
                    first = line
                else:
                    yield line
        assert first is not None, "the last line is the end"
        if otherwise is None or not _is_not_served(first.measured.steps):
            yield first
            return
        async with contextlib.aclosing(self._measure(otherwise, plan, skip_cache=skip_cache)) as lines:
            async for line in lines:
                if not isinstance(line, Finished):
                    yield line
                else:
                    yield line if MeasuredRoutes(tuple(line.measured.steps)).delivered else first

    async def _measure(
        self,
        page: ProbeTarget,
        plan: Planned,
        *,
        routes: tuple[Route, ...] | None = None,
        thorough: bool = True,
        skip_cache: bool = False,
    ) -> AsyncGenerator[StepLine | Finished, None]:
        """Makes one measurement over `routes`; None: over all. Yields as `lines` does. One that is not `thorough` is
        cached, but not used by `lines`."""
        network, mark = self._parts.network(), object()
        stored, made = await plan(page.destination)
        settings = self._parts.settings
        request = MeasurementRequest(page, made, stored, routes or measured_routes(settings, made), thorough=thorough)
        measured = self._cached(network, page) if thorough and not skip_cache else None
        was_cached = measured is not None
        if measured is None:
            began, steps, before = time.time(), list[MeasurementStep](), self._circumstances(network, page)
            where = network, before.network_state
            if self._controls is None or self._controls[0] != where:
                self._controls = where, SharedControls()
            env = self._parts.probe_environment()
            steps_of_site = measure(env, request, self._controls[1])
            self._under_way[mark] = page.host, network
            try:
                async with contextlib.aclosing(steps_of_site) as coming:
                    async for step in coming:
                        steps.append(step)
                        yield StepLine(StepJson.of(step))
                took_s = time.time() - began
                stored = (await plan(page.destination))[0]
                verdict = self._judge(
                    steps,
                    page.host,
                    stored,
                    network,
                    self._sites_with_same_page(steps, page, network),
                    is_home=is_at_home(env, request),
                )
                if not thorough:
                    verdict = _as_found_before(self._last(page, network), verdict, time.time())
            finally:
                is_wanted = self._under_way.pop(mark, None) is not None
            measured = Measured(began, took_s, before, network, page, tuple(steps), verdict, thorough, made.learns)
            if network == self._parts.network() and is_wanted:
                self._learn(measured)
                now = self._circumstances(network, page)
                # Its own results about relays and the site are part of its circumstances; other changes void it.
                if replace(before, failing=now.failing, status=now.status).still_hold(now):
                    self._cache[network, page] = replace(measured, circumstances=now)
        else:
            for step in measured.steps:
                yield StepLine(StepJson.of(step))
        yield Finished(measured, not was_cached)

    def _sites_with_same_page(self, steps: Sequence[MeasurementStep], page: ProbeTarget, network: NetworkId) -> int:
        """Remembers the page that direct got over plain HTTP. Returns the number of unrelated sites with the same
        one."""
        body = MeasuredRoutes(tuple(steps)).replaced_body
        if not body:
            return 0
        domain = registrable(page.host)
        domains = self._bodies.setdefault((network, body), Bounded(_SAME_PAGE_MAX))
        domains[domain] = True
        return len(domains) - 1

    def _judge(
        self,
        steps: Sequence[MeasurementStep],
        host: str,
        stored: Belief,
        network: NetworkId,
        sites_with_same_page: int,
        *,
        is_home: bool,
    ) -> Verdict:
        if network != self._parts.network():
            return _MOVED
        settings = self._parts.settings
        relays = [relay.name for relay in enabled_relays(settings.relay)]
        state = self._parts.beliefs.network_state(network)
        last = self._parts.beliefs.last_result(host, network=network, now=time.time())
        return decide(
            steps,
            as_measured(stored, last),
            detect=settings.detect,
            relays=relays,
            network_state=state,
            working_relays=self._parts.health.working(relays, time.time()),
            sites_with_same_page=sites_with_same_page,
            is_home=is_home,
            portal_page=self._parts.beliefs.portal_page(network),
        )

    def _learn(self, measured: Measured) -> None:
        """Stores the last result of the site, and the results of the measurement about relays."""
        parts, host, verdict = self._parts, measured.page.host, measured.verdict
        now, network = time.time(), measured.network
        if verdict.status not in _OF_NO_ROUTE:
            conditions = parts.beliefs.relay_conditions(host, network=network, now=now)
            parts.health.learn_steps(measured.steps, measured.at, now, conditions)
        protocol, steps = measured.page.protocol, measured.steps
        event = block_measured(host, protocol, steps, verdict, now) or open_measured(host, protocol, steps, verdict)
        if event is not None and measured.learns:
            parts.services.events.emit(Learned(parts.beliefs.learn(event, network=network, now=now)))
        self._learn_network(measured, now)
        before = self._last(measured.page, network)
        concluded = verdict.confidence is not Confidence.NONE or verdict.status is SiteStatus.RELAYS_FAIL
        is_found_before = before is not None and (before.status, before.text) == (verdict.status, verdict.summary)
        if not concluded or (not measured.thorough and is_found_before):
            return
        works_by = next((str(route) for route in verdict.delivered_by), "")
        result = LastResult(
            verdict.status,
            now,
            Source.MEASUREMENT,
            verdict.cause,
            verdict.summary,
            port=measured.page.port,
            works_by=works_by,
        )
        parts.beliefs.measured(host, result, network=network)

    def _learn_network(self, measured: Measured, now: float) -> None:
        """Passes the results of the measurement about the network as a whole, about this computer's clock, and about
        pages that differ, to the beliefs."""
        parts, verdict, routes = self._parts, measured.verdict, MeasuredRoutes(tuple(measured.steps))
        if verdict.cause == Cause.CLOCK:
            parts.beliefs.note(ClockMeasured(routes.clock_ahead), network=measured.network, now=now)
        if routes.is_resolver_up:
            parts.beliefs.note(ResolverMeasured(), network=measured.network, now=now)
        elif routes.is_resolver_down and verdict.status is SiteStatus.WORKS:
            domains = frozenset({registrable(measured.page.host), registrable(routes.control_host)})
            parts.beliefs.note(ResolverMeasured(domains), network=measured.network, now=now)
        if page_difference(routes):
            parts.beliefs.note(PageDoubted(measured.page.host), network=measured.network, now=now)
        if verdict.status is SiteStatus.PORTAL and routes.is_control_replaced:
            event = ControlAnswered("", ConnectivityResult.PORTAL, measured.at, portal=routes.portal_page)
            parts.services.events.emit(Learned(parts.beliefs.learn(event, network=measured.network, now=now)))

    def _last(self, page: ProbeTarget, network: NetworkId) -> LastResult | None:
        """Returns the last result of the page's port."""
        results = self._parts.beliefs.results_by_port(page.host, network=network, now=time.time())
        return next((result for result in results if result.port == page.port), None)

    def _cached(self, network: NetworkId, page: ProbeTarget) -> Measured | None:
        """Returns the cached measurement of a page if it is still valid and was thorough."""
        measured = self._cache.get((network, page))
        if measured is None:
            return None
        now = self._circumstances(network, page)
        is_recent = 0 <= time.time() - measured.at < now.setup.settings.detect.measure_keep_s
        return measured if is_recent and measured.thorough and measured.circumstances.still_hold(now) else None

    def _circumstances(self, network: NetworkId, page: ProbeTarget) -> Circumstances:
        parts, setup, now = self._parts, self._parts.setup(), time.time()
        relays = [relay.name for relay in enabled_relays(setup.settings.relay)]
        failing = frozenset(name for name in relays if parts.health.of(name).failures)
        network_state, working = parts.beliefs.network_state(network), parts.health.delivering(relays)
        addresses, fails = setup.resolver.known(page.host), parts.beliefs.resolver_fails(network)
        stored = parts.beliefs.lookup(page.host, network=network, now=now, addresses=addresses)
        state = site_state(stored, self._last(page, network), network_state, working, page.port, fails)
        return Circumstances(setup, network_state, failing, (state.status, state.cause))


def _is_not_served(steps: Sequence[MeasurementStep]) -> bool:
    """Whether no server listens there: direct was refused, and no route connected."""
    connected = any(step.kind in _CONNECTED and step.ok for step in steps)
    refused = (step.kind is StepKind.CONNECT and step.symptom is Symptom.REFUSED for step in steps)
    return any(refused) and not connected


_CONNECTED = (StepKind.CONNECT, StepKind.RELAY)

_OF_NO_ROUTE = (SiteStatus.NO_NETWORK, SiteStatus.PORTAL)
"""Statuses of a network on which no route can work: a failure is no evidence against a relay."""

_CONFIRMED_S = 300.0
"""Seconds during which a brief measurement does not replace a thorough one that is more certain."""


def as_measured(stored: Belief, last: LastResult | None) -> Belief:
    """Returns the stored status, as BLOCKED if a measurement proved DNS tampering. Such a proof leaves a suspicion, for
    which the system's resolver is not queried again: the next measurement could not prove it once more."""
    is_proven = last is not None and (last.source, last.status) == (Source.MEASUREMENT, SiteStatus.BLOCKED)
    if is_proven and stored.state is State.SUSPECT and stored.cause == Cause.DNS:
        return replace(stored, state=State.BLOCKED)
    return stored


def _as_found_before(before: LastResult | None, verdict: Verdict, now: float) -> Verdict:
    """Returns the verdict of a brief measurement, with the status and cause of a recent thorough one, if that was more
    certain or had a route to compare with."""
    if before is None or before.source is not Source.MEASUREMENT or now - before.at > _CONFIRMED_S:
        return verdict
    is_weaker = (before.status, verdict.status) == (SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED)
    is_uncompared = before.status in BLOCKS and verdict.status is SiteStatus.DOES_NOT_OPEN
    if not (is_weaker or is_uncompared):
        return verdict
    return replace(verdict, status=before.status, cause=before.cause, summary=before.text, anomaly=True)
