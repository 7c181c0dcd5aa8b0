"""Measures sites for who asks, and remembers each answer for some minutes.

Asked twice in a row, a site is measured once: what the second one is told says when that was. The memory is bounded,
and a measurement counts only on the network, and under the setup, where it was made. What it came to stays as it was:
steps of then and a network of now would make a verdict that was never true.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from proxy.config.relays import enabled_relays
from proxy.control import serialize
from proxy.control.dependencies import Dependencies, Setup
from proxy.control.serialize import Document
from proxy.detect.relay_health import Health
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.detect.verdict.verdict import Confidence, Verdict, decide
from proxy.model import Belief, Destination, MeasurementStep, NetworkId, Plan, Route, State, StepKind, Symptom
from proxy.model.bounded import Bounded
from proxy.probe.measure.inputs import MeasurementRequest, SharedControls, measured_routes
from proxy.probe.measure.measurement import measure
from proxy.probe.target import ProbeTarget

KEPT = 256
"""Measurements remembered."""


_MOVED = Verdict(
    SiteStatus.NOT_TESTED,
    State.UNKNOWN,
    seen="the network changed during the measurement",
    do="Try again.",
)

WORKED_S = 3600.0
"""A relay that delivered so lately works for other sites."""

Planned = Callable[[Destination], Awaitable[tuple[Belief, Plan]]]
"""What is stored about a destination now, and what would be done with a request for it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement that came to its end."""

    at: float  # seconds since the epoch, when it began
    took_s: float
    setup: Setup  # that it was made under
    network: NetworkId
    page: ProbeTarget
    steps: tuple[MeasurementStep, ...]
    verdict: Verdict
    thorough: bool  # else it does not answer `why`


class Measurements:
    """Measurements made for one control server."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts
        self._kept: Bounded[tuple[NetworkId, ProbeTarget], Measured] = Bounded(KEPT)
        self._controls: tuple[NetworkId, SharedControls] | None = None

    async def brief(self, page: ProbeTarget, plan: Planned, routes: tuple[Route, ...] | None) -> Document:
        """One site of many: one visit on each route. The answer with the verdict and all steps."""
        async with contextlib.aclosing(self._measure(page, plan, routes=routes, thorough=False)) as coming:
            told = [line async for line in coming]
        return told[-1]

    def of(self, host: str) -> list[Document]:
        """What is remembered of a host on this network, for reports."""
        network = self._parts.network()
        return [
            _told(measured) for (where, page), measured in self._kept.items() if where == network and page.host == host
        ]

    async def lines(
        self, page: ProbeTarget, plan: Planned, *, otherwise: ProbeTarget | None = None, fresh: bool = False
    ) -> AsyncGenerator[Document, None]:
        """Measures `page` thoroughly: a document with `step` for each step as it comes, then one with the `verdict`,
        the routes and all steps. An earlier measurement is told again unless `fresh`.

        Where no route even connects to `page`, `otherwise` is measured, and told when a route delivers that."""
        first: Document = {}
        async with contextlib.aclosing(self._measure(page, plan, fresh=fresh)) as coming:
            async for line in coming:
                if "verdict" in line:
                    first = line
                else:
                    yield line
        if otherwise is None or not _is_not_served(first):
            yield first
            return
        async with contextlib.aclosing(self._measure(otherwise, plan, fresh=fresh)) as coming:
            async for line in coming:
                yield line if "verdict" not in line or line["verdict"]["through"] else first

    async def _measure(
        self,
        page: ProbeTarget,
        plan: Planned,
        *,
        routes: tuple[Route, ...] | None = None,
        thorough: bool = True,
        fresh: bool = False,
    ) -> AsyncGenerator[Document, None]:
        """One measurement; `routes` None: all there are. One that is not `thorough` does not answer `lines`."""
        network = self._parts.network()
        held, made = await plan(page.destination)
        setup = self._parts.setup()
        question = MeasurementRequest(page, made, held, routes or measured_routes(setup.settings), thorough=thorough)
        measured = self._remembered(network, page) if thorough and not fresh else None
        again = measured is not None
        if measured is None:
            began, steps = time.time(), list[MeasurementStep]()
            means = replace(self._parts.probe_environment(), controls=self._controls_on(network))
            async with contextlib.aclosing(measure(means, question)) as coming:
                async for step in coming:
                    steps.append(step)
                    yield {"step": serialize.step(step)}
            took_s = time.time() - began
            verdict = self._judge(steps, (await plan(page.destination))[0], network)
            measured = Measured(began, took_s, setup, network, page, tuple(steps), verdict, thorough)
            if network == self._parts.network():
                self._learn(measured)
                self._kept[network, page] = measured
        else:
            for step in measured.steps:
                yield {"step": serialize.step(step)}
        yield {**_told(measured), "measured_again": not again}

    def _controls_on(self, network: NetworkId) -> SharedControls:
        if self._controls is None or self._controls[0] != network:
            self._controls = (network, SharedControls())
        return self._controls[1]

    def _judge(self, steps: Sequence[MeasurementStep], held: Belief, network: NetworkId) -> Verdict:
        if network != self._parts.network():
            return _MOVED
        settings = self._parts.setup().settings
        relays = [relay.name for relay in enabled_relays(settings.relay)]
        state = self._parts.beliefs.network_state(network)
        return decide(
            steps,
            held,
            detect=settings.detect,
            relays=relays,
            network_state=state,
            working_relays=working_relays(self._parts.health, relays, time.time()),
        )

    def _learn(self, measured: Measured) -> None:
        """Keeps the last result of the site, and what the measurement showed of relays."""
        parts, host, verdict = self._parts, measured.page.host, measured.verdict
        now, network = time.time(), measured.network
        if verdict.status not in _OF_NO_ROUTE:
            conditions = parts.beliefs.relay_conditions(host, network=network, now=now)
            parts.health.learn_steps(measured.steps, measured.at, now, conditions)
        before = parts.beliefs.last_result(host, network=network, now=now)
        concluded = verdict.confidence is not Confidence.NONE or verdict.status is SiteStatus.RELAYS_FAIL
        if not concluded or (not measured.thorough and _says_more(before, verdict, now)):
            return
        result = LastResult(verdict.status, now, Source.MEASUREMENT, verdict.cause, verdict.seen)
        parts.beliefs.measured(host, result, network=network)

    def _remembered(self, network: NetworkId, page: ProbeTarget) -> Measured | None:
        measured = self._kept.get((network, page))
        if measured is None:
            return None
        setup = self._parts.setup()
        young = 0 <= time.time() - measured.at < setup.settings.detect.measure_keep_s
        return measured if young and measured.thorough and measured.setup is setup else None


def _is_not_served(line: Document) -> bool:
    """Whether nothing came of a measurement because no server listens: direct was refused, and no route connected."""
    steps = line.get("steps", ())
    connected = any(step["part"] in _CONNECTED and step["result"] == "ok" for step in steps)
    refused = (step["part"] == StepKind.CONNECT and step["symptom"] == Symptom.REFUSED for step in steps)
    return any(refused) and not connected


_CONNECTED = (StepKind.CONNECT, StepKind.RELAY)

_OF_NO_ROUTE = (SiteStatus.NO_NETWORK, SiteStatus.PORTAL)
"""With these nothing is said of relays either."""

_CONFIRMED_S = 300.0


def _says_more(before: LastResult | None, verdict: Verdict, now: float) -> bool:
    """Whether a thorough measurement of the last minutes has said for certain what a brief one finds likely."""
    return (
        before is not None
        and before.source is Source.MEASUREMENT
        and now - before.at <= _CONFIRMED_S
        and (before.status, verdict.status) == (SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED)
    )


def working_relays(health: Health, names: Sequence[str], now: float) -> frozenset[str]:
    """The relays that delivered of late and have not failed since."""
    known = {name: health.of(name) for name in names}
    return frozenset(
        name for name, relay in known.items() if not relay.failures and 0 <= now - relay.worked_at <= WORKED_S
    )


def _told(measured: Measured) -> Document:
    return {
        "url": measured.page.url,
        "verdict": serialize.verdict(measured.verdict),
        "routes": serialize.measured_routes(measured.steps),
        "steps": [serialize.step(step) for step in measured.steps],
        "measured_at": measured.at,
        "measured_s": round(measured.took_s, 3),
        "measured_on": measured.network,
    }
