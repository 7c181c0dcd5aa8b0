"""Makes events for beliefs from a measurement: direct to a site is blocked, or open.

A measurement teaches only blocks that a single visit cannot show: transfers that freeze or are throttled, a ClientHello
that fails although another SNI is answered, and false DNS answers. Both gates must have been open: another site was
reached direct, and another route delivered. "Open" needs no comparison, but no doubt that the page is the site's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.detect.beliefs.events import BlockMeasured, OpenMeasured
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.site_status import SiteStatus
from proxy.detect.verdict.verdict import Verdict
from proxy.model import DIRECT, Cause, MeasurementStep, Protocol, Signal, SignalId, StepKind, StepResult

_PROVEN = frozenset({SignalId.FROZEN, SignalId.THROTTLED, SignalId.SNI_SWAP})


def block_measured(
    host: str, protocol: Protocol, steps: Sequence[MeasurementStep], verdict: Verdict, at: float
) -> BlockMeasured | None:
    """Returns the block that a measurement of `host` shows; None: none. It ended `at`, seconds since the epoch."""
    winner = next((route for route in verdict.delivered_by if route != DIRECT), None)
    if winner is None or verdict.control is not StepResult.OK:
        return None
    alike = (signal for signal in verdict.signals if signal.cause == verdict.cause)
    proven = [signal for signal in alike if signal.id in _PROVEN or signal.cause == Cause.DNS]
    if not proven:
        return None
    heaviest = max(proven, key=lambda signal: signal.weight)
    signal = Signal(heaviest.id, heaviest.weight, heaviest.cause, at)
    return BlockMeasured(host, signal, winner, protocol, _address(steps), str(heaviest.text))


def open_measured(
    host: str, protocol: Protocol, steps: Sequence[MeasurementStep], verdict: Verdict
) -> OpenMeasured | None:
    """Returns the event that direct opened `host`; None: it did not, or the page may be a block page, as after a
    redirect that no relay got."""
    is_certain = verdict.status is SiteStatus.WORKS and verdict.confidence is Confidence.HIGH
    if not is_certain or DIRECT not in verdict.delivered_by:
        return None
    routes = MeasuredRoutes(tuple(steps))
    domain = routes.redirect_domain(DIRECT)
    if domain and domain not in (routes.redirect_domain(route) for route in routes.delivered if route.relays):
        return None
    return OpenMeasured(host, protocol, _address(steps))


def _address(steps: Sequence[MeasurementStep]) -> str:
    """Returns the address that direct reached last; empty: none."""
    reached = (step.address for step in reversed(steps) if step.route == DIRECT and step.kind is not StepKind.CONTROL)
    return next((address for address in reached if address), "")
