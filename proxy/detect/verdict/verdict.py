"""The result of a measurement: the status of the site, the cause, the confidence, and the reasons.

A verdict is a value that `decision` makes. "Not tested" is a verdict too. Explanations that cannot be separated (a
block by the network, or the site's own geo-fence) are both stated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from proxy.detect.relay_faults import RelayFault
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.measurement_signals import WeightedSignal
from proxy.detect.verdict.site_status import SiteStatus
from proxy.model import Cause, Route, State, StepResult
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class Verdict:
    """The verdict on a site, with its explanation."""

    status: SiteStatus
    state: State
    cause: Cause | str = Cause.NONE
    summary: str = ""
    """One sentence: the observation. It goes into reports, so it never names a control site."""
    confidence: Confidence = Confidence.NONE
    reasons: tuple[str, ...] = ()
    """The facts for and against the verdict."""
    alternative: str = ""
    """The other explanation, and why it is less likely."""
    advice: str = ""
    """What the user can do."""
    anomaly: bool = False
    """Direct differs from another route (OONI's term)."""
    confirmed: bool = False
    """Proved by a block page fingerprint, a known interception root, or two answers to one DNS query."""
    signals: tuple[WeightedSignal, ...] = ()
    control: StepResult = StepResult.NOT_TESTED
    """The control gate: see `MeasuredRoutes.control`."""
    delivered_by: tuple[Route, ...] = ()
    """The comparison gate: the routes that delivered."""
    relay_faults: Mapping[str, RelayFault] = field(default_factory=dict)
    """The relays that failed themselves, by name."""
