"""What all races under one configuration share: how routes are dialed, what the kernel tells, and the numbers.

A race is made for every connection, and most of what it needs is the same for all. It is collected once.
"""

from __future__ import annotations

from typing import Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Route
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tcp import DirectDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.race.hedging import HedgePolicy
from proxy.net.race.retries import RetrySchedule
from proxy.net.race.shared_findings import SharedFindings


class DialerFor(Protocol):
    """Gives the dialer of a route."""

    def __call__(self, route: Route, *, avoid_residual: bool = True) -> Dialer:
        """With `avoid_residual`, a local strategy may be skipped towards an address where a name was just blocked: the
        censor may reset every connection there for minutes (residual censorship)."""
        ...


class RaceTerms:
    """See the module's docstring. It is not changed once it is made."""

    __slots__ = ("detect", "dialer", "direct", "findings", "hedging", "knowledge", "resolver", "schedule", "tcp_info")

    def __init__(
        self,
        dialer: DialerFor,
        *,
        direct: DirectDialer,
        tcp_info: TcpInfo,
        detect: DetectTuning,
        knowledge: Knowledge = NOTHING_KNOWN,
        resolver: Resolver | None = None,
        findings: SharedFindings | None = None,
        schedule: RetrySchedule | None = None,
    ) -> None:
        """`direct`, the dialer of the direct route, connects without a task. `resolver`, that of direct routes, knows
        what was found out about names. `schedule` is shared by all races over the same relays."""
        self.dialer = dialer
        self.tcp_info = tcp_info
        self.detect = detect
        self.knowledge = knowledge
        self.resolver = resolver
        self.direct = direct
        self.findings = findings
        self.schedule = schedule or RetrySchedule(detect)
        self.hedging = HedgePolicy(tcp_info, detect, findings)
