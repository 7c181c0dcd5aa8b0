"""One measurement as the two gates see it: direct beside the routes it is compared with, and a control site.

A `Comparison` is what every verdict is made from. It says which routes delivered, which relays count as a comparison
and which failed themselves, and what the signals of direct add up to.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.signals import NEEDS_BYTES_PROOF
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.measurement_signals import WeightedSignal, weighted_signals
from proxy.model import DIRECT, Belief, Cause, MeasurementStep, NetworkState, Route, State, StepResult
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, pgettext, semicolons


@frozen_dataclass
class Comparison:
    """The routes of one measurement compared, with what is stored about the site and the network."""

    routes: MeasuredRoutes
    belief: Belief
    detect: DetectTuning
    network_state: NetworkState
    relays: tuple[str, ...]
    """The configured relays, by name."""
    signals: tuple[WeightedSignal, ...]
    """What direct shows for blocking."""
    delivered: tuple[Route, ...]
    """The routes other than plain direct that delivered."""
    compared: tuple[Route, ...]
    """The relays that were tested and did not fail themselves, whether or not they delivered."""
    failing: tuple[Route, ...]
    """The relays that failed themselves, which says nothing about the site."""
    sites_with_same_page: int = 0
    """Unrelated sites for which direct got the same page lately, and no relay got it for this one."""
    portal_page: str = ""
    """The URL of the login page of a captive portal that is known to be there."""

    @classmethod
    def of(
        cls,
        steps: Sequence[MeasurementStep],
        belief: Belief,
        *,
        detect: DetectTuning,
        relays: Sequence[str],
        network_state: NetworkState,
        working_relays: Collection[str],
        sites_with_same_page: int = 0,
        portal_page: str = "",
    ) -> Comparison:
        routes = MeasuredRoutes.of(steps)
        relayed = [route for route in routes.tested if route.relays]
        failing = tuple(route for route in relayed if routes.is_relays_fault(route, working_relays))
        return cls(
            routes=routes,
            belief=belief,
            detect=detect,
            network_state=network_state,
            relays=tuple(relays),
            signals=weighted_signals(routes, detect),
            delivered=tuple(route for route in routes.delivered if route != DIRECT),
            compared=tuple(route for route in relayed if route not in failing),
            failing=failing,
            sites_with_same_page=sites_with_same_page,
            portal_page=portal_page,
        )

    @property
    def control(self) -> StepResult:
        """Whether another site was reached direct."""
        return self.routes.control

    @property
    def is_confirmed(self) -> bool:
        return any(signal.confirms for signal in self.signals)

    @property
    def weight(self) -> float:
        """The sum of all signals."""
        return sum(signal.weight for signal in self.signals)

    @property
    def cause(self) -> Cause:
        """The cause of the block that the signals show; `Cause.NONE` without signals."""
        if self.network_state.is_restricted:
            return Cause.RESTRICTED
        causes = {signal.cause for signal in self.signals}
        return next((cause for cause in _PRECEDENCE if cause in causes), next(iter(sorted(causes)), Cause.NONE))

    @property
    def is_stored_as_blocked(self) -> bool:
        """Whether the site is suspect or blocked by what is stored about it."""
        return self.belief.state in (State.SUSPECT, State.BLOCKED)

    @property
    def is_too_small(self) -> bool:
        """Whether what direct delivered is less than the transfers that are known to stall, or to be slow."""
        is_slow = self.is_stored_as_blocked and self.belief.cause in NEEDS_BYTES_PROOF
        return is_slow and self.routes.carried(DIRECT) < self.detect.proof_bytes

    def failures(self, routes: Sequence[Route]) -> str:
        """How these relays failed, each with its reason, in words."""
        faults = self.routes.relay_faults
        reasons = []
        for route in routes:
            fault, step = faults.get(">".join(route.relays)), self.routes.failed_step(route)
            failed = step.text if step is not None else pgettext("result", "failed")
            reason = fault.text if fault is not None else failed
            reasons.append(_("relay {route}: {reason}", route=str(route), reason=reason))
        return semicolons(reasons)


def route_names(routes: Sequence[Route]) -> str:
    """The routes by name: `tor, vps>tor`."""
    return ", ".join(map(str, routes))


# A cause stands before those that it explains: at a forged address all else may be strange.
_PRECEDENCE = (
    Cause.DNS, Cause.INTERCEPTION, Cause.BLOCK_PAGE, Cause.IP, Cause.ECH, Cause.SNI_RESET, Cause.SNI_DROP,
    Cause.HTTP_HOST, Cause.FROZEN, Cause.THROTTLED,
)  # fmt: skip
