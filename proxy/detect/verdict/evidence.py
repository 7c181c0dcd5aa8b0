"""What a measurement teaches: the event by which the beliefs learn that a site is blocked on the direct route.

Only what a visit cannot show by itself, or not while it is alone, is taken: transfers that freeze or are throttled, a
ClientHello that fails where another SNI is answered, and false answers to DNS queries. Both gates must have been open:
another site was reached direct, and another route delivered.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.detect.beliefs.events import BlockMeasured
from proxy.detect.verdict.measurement_signals import WeightedSignal
from proxy.detect.verdict.verdict import Verdict
from proxy.model import DIRECT, Cause, MeasurementStep, Protocol, Signal, SignalId, StepKind, StepResult

_PROVEN = frozenset({SignalId.FROZEN, SignalId.THROTTLED, SignalId.SNI_SWAP})


def block_measured(
    host: str, protocol: Protocol, steps: Sequence[MeasurementStep], verdict: Verdict, at: float
) -> BlockMeasured | None:
    """Returns what a measurement of `host`, which ended `at` (seconds since the epoch), teaches; None: nothing."""
    winner = next((route for route in verdict.delivered_by if route != DIRECT), None)
    if winner is None or verdict.control is not StepResult.OK:
        return None
    proven = [signal for signal in verdict.signals if signal.cause == verdict.cause and _is_proven(signal)]
    if not proven:
        return None
    heaviest = max(proven, key=lambda signal: signal.weight)
    signal = Signal(heaviest.id, heaviest.weight, heaviest.cause, at)
    return BlockMeasured(host, signal, winner, protocol, _address(steps), str(heaviest.text))


def _is_proven(signal: WeightedSignal) -> bool:
    return signal.id in _PROVEN or signal.cause == Cause.DNS


def _address(steps: Sequence[MeasurementStep]) -> str:
    """The address that the direct route reached last."""
    reached = (step.address for step in reversed(steps) if step.route == DIRECT and step.kind is not StepKind.CONTROL)
    return next((address for address in reached if address), "")
