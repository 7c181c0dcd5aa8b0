"""Compares the routes of one measurement for the two gates: direct, the other routes, and a control site.

Every verdict is made from a `Comparison`. It has the routes that delivered, the relays that count for the comparison,
the relays that failed themselves, and the signals of direct with their weight.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.signals import NEEDS_BYTES_PROOF
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.measurement_signals import WeightedSignal
from proxy.model import DIRECT, Belief, Cause, NetworkState, Route, State, StepResult
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, pgettext, semicolons


@frozen_dataclass
class Comparison:
    """The compared routes of one measurement, with the stored status of the site and the state of the network."""

    routes: MeasuredRoutes
    belief: Belief
    detect: DetectTuning
    network_state: NetworkState
    relays: tuple[str, ...]
    """The configured relays, by name."""
    signals: tuple[WeightedSignal, ...]
    """The signals of direct."""
    delivered: tuple[Route, ...]
    """The routes other than plain direct that delivered."""
    compared: tuple[Route, ...]
    """The relays that were tested and did not fail themselves, whether they delivered or not."""
    failing: tuple[Route, ...]
    """The relays that failed themselves, which is no evidence about the site."""
    sites_with_same_page: int
    """Unrelated sites for which direct got the same page lately; no relay got that page for this site."""
    portal_page: str
    """The URL of the login page of a known captive portal."""

    @property
    def control(self) -> StepResult:
        """See `MeasuredRoutes.control`."""
        return self.routes.control

    @property
    def is_confirmed(self) -> bool:
        return any(signal.confirms for signal in self.signals)

    @property
    def weight(self) -> float:
        return sum(signal.weight for signal in self.signals)

    @property
    def cause(self) -> Cause:
        """The cause that the signals show; `Cause.NONE` without signals."""
        if self.network_state.is_restricted:
            return Cause.RESTRICTED
        causes = {signal.cause for signal in self.signals}
        return next((cause for cause in _PRECEDENCE if cause in causes), next(iter(sorted(causes)), Cause.NONE))

    @property
    def is_stored_as_blocked(self) -> bool:
        """Whether the stored status of the site is suspect or blocked."""
        return self.belief.state in (State.SUSPECT, State.BLOCKED)

    @property
    def is_too_small(self) -> bool:
        """Whether the stored status is that transfers stall or are slow, and direct delivered too little to disprove
        it."""
        is_slow = self.is_stored_as_blocked and self.belief.cause in NEEDS_BYTES_PROOF
        return is_slow and self.routes.carried(DIRECT) < self.detect.proof_bytes

    def failures(self, routes: Sequence[Route]) -> str:
        """Returns how these relays failed, each with its reason, in words."""
        faults = self.routes.relay_faults
        reasons = []
        for route in routes:
            fault, step = faults.get(">".join(route.relays)), self.routes.failed_step(route)
            failed = step.text if step is not None else pgettext("result", "failed")
            reason = fault.text if fault is not None else failed
            reasons.append(_("relay {route}: {reason}", route=str(route), reason=reason))
        return semicolons(reasons)


def route_names(routes: Sequence[Route]) -> str:
    """Returns the names of routes: `tor, vps>tor`."""
    return ", ".join(map(str, routes))


# A cause stands before those that it explains: at a forged address, any other failure may follow.
_PRECEDENCE = (
    Cause.DNS, Cause.INTERCEPTION, Cause.BLOCK_PAGE, Cause.IP, Cause.ECH, Cause.SNI_RESET, Cause.SNI_DROP,
    Cause.HTTP_HOST, Cause.FROZEN, Cause.THROTTLED,
)  # fmt: skip
