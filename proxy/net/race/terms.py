"""The parts that all races under one configuration share: dialers, TCP_INFO, knowledge and settings."""

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
    """Returns the dialer of a route."""

    def __call__(self, route: Route, *, avoid_residual: bool = True) -> Dialer:
        """With `avoid_residual`, a local strategy may be skipped towards an address where a name was just blocked: the
        censor may reset every connection there for minutes (residual censorship)."""


class RaceTerms:
    """The shared parts. They never change after the constructor, so one object serves every race."""

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
        """`direct` dials the direct route, without a task. `resolver` resolves for direct routes, and has the findings
        about names. All races over the same relays share `schedule`."""
        self.dialer = dialer
        self.tcp_info = tcp_info
        self.detect = detect
        self.knowledge = knowledge
        self.resolver = resolver
        self.direct = direct
        self.findings = findings
        self.schedule = schedule or RetrySchedule(detect)
        self.hedging = HedgePolicy(tcp_info, detect, findings)
