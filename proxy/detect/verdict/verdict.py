"""What a measurement comes to: the word for the site, its cause, how sure that is, and why.

A verdict is a value; `decision` makes it. "Not tested" is an answer of its own, and what cannot be told apart (the
network's block or the site's own geo-fence) is stated as such.
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
    """One sentence: what was observed. It goes into reports, so it never names a control site."""
    confidence: Confidence = Confidence.NONE
    reasons: tuple[str, ...] = ()
    """What supports the verdict, and what speaks against it."""
    alternative: str = ""
    """The other explanation, and why it is less likely."""
    advice: str = ""
    """What the user can do."""
    anomaly: bool = False
    """Direct shows what another route does not (OONI's word)."""
    confirmed: bool = False
    """Proved by a block page fingerprint, a known interception root, or two answers to one DNS query."""
    signals: tuple[WeightedSignal, ...] = ()
    control: StepResult = StepResult.NOT_TESTED
    """The control gate: OK when another site was reached direct."""
    delivered_by: tuple[Route, ...] = ()
    """The comparison gate: the routes that delivered."""
    relay_faults: Mapping[str, RelayFault] = field(default_factory=dict)
    """The relays that failed themselves, by name."""
