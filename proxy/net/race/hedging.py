"""When the next route starts beside one that is under way: hedging, as gRPC and Envoy call it.

TCP_INFO shows within a few tenths of a second whether a flight was dropped or the server is only slow. Where it cannot
be read, a timer in units of the round trip decides. When another connection has marked direct as down for the host, the
wait ends at once. The numbers are those of docs/detection.md, "Two clocks" and "What the kernel knows"; this module
decides nothing but time.
"""

from __future__ import annotations

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Symptom
from proxy.net.kernel.tcp_info import Reading, TcpInfo
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.direct_down import DirectDownCache


class HedgePolicy:
    """Decides for the candidates of one race to `host`. All times are the loop's, in seconds."""

    __slots__ = ("_detect", "_down_cache", "_host", "_tcp_info")

    def __init__(self, host: str, tcp_info: TcpInfo, detect: DetectTuning, down_cache: DirectDownCache | None) -> None:
        self._host = host
        self._tcp_info = tcp_info
        self._detect = detect
        self._down_cache = down_cache

    def should_hedge(self, candidate: Candidate, now: float) -> bool:
        """Whether `candidate`, which is under way, looks dropped: TCP_INFO says so, or it took longer than its timeout.
        The next route then starts beside it."""
        if candidate.answered_at:
            return False
        # Another connection to this host has waited already: waiting again would find the same.
        if self._down_cache is not None and candidate.route == DIRECT and self._down_cache.is_down(self._host):
            return True
        if candidate.phase is Phase.DIALING:
            return now >= candidate.connecting_since + self._connect_timeout_s(candidate)
        waited = now - candidate.flight_sent_at
        if candidate.snapshot is None or candidate.stream is None:
            return waited >= self._answer_timeout_s(candidate)
        if waited < self._detect.oracle_first_s:
            return False
        reading = self.read_kernel(candidate)
        if reading.acked:  # the host has the flight, and may only be slow: more patience than for a drop
            return waited >= max(self._detect.hedge_silent_s, self._detect.hedge_silent_rtts * reading.rtt_s)
        lost = reading.retransmits >= self._detect.hedge_retransmits or waited >= self._detect.hedge_unacked_s
        return lost and reading.unacked > 0

    def next_check_at(self, candidate: Candidate, now: float) -> float | None:
        """Loop time at which `should_hedge` may change by itself, or a partial answer is delivered. None: only an event
        can change it, as for a candidate that is hedged and still looks dropped."""
        if candidate.answered_at:
            return self.page_deadline(candidate)
        if candidate.hedged and self.should_hedge(candidate, now):
            return None
        if candidate.phase is Phase.DIALING:
            return candidate.connecting_since + self._connect_timeout_s(candidate)
        if candidate.snapshot is None:
            return candidate.flight_sent_at + self._answer_timeout_s(candidate)
        silent_at = candidate.flight_sent_at + self._detect.hedge_silent_s
        poll_at = max(candidate.flight_sent_at + self._detect.oracle_first_s, now + self._detect.oracle_poll_s)
        return poll_at if silent_at <= now else min(poll_at, silent_at)

    def page_deadline(self, candidate: Candidate) -> float:
        """When an HTTP answer that has begun is delivered even if it is not classified yet."""
        return candidate.answered_at + self._detect.page_hold_s

    def redirect_deadline(self, candidate: Candidate) -> float | None:
        """When a redirect to another site is delivered although no other route has confirmed it; None: `candidate` has
        no such answer."""
        is_redirect = candidate.phase is Phase.FAILED and candidate.symptom is Symptom.REDIRECTED
        return candidate.ended_at + self._detect.elsewhere_hold_s if is_redirect else None

    def dropped_at(self, candidate: Candidate) -> float:
        """When a flight that is still unacknowledged counts as dropped: after some retransmission timeouts of the
        kernel, so that a slow link is not blamed, but not later than the deadline for silence, when the kernel may have
        given up itself."""
        rto_s = self.read_kernel(candidate).rto_s if candidate.snapshot is not None else 0.0
        patience_s = max(self._detect.dropped_s, self._detect.dropped_rtos * rto_s)
        return candidate.flight_sent_at + min(patience_s, max(self._detect.dropped_s, self._detect.silent_s))

    def unacknowledged(self, candidate: Candidate) -> bool:
        """Whether TCP_INFO says that a part of the flight was not acknowledged; False where it cannot be read."""
        if candidate.snapshot is None:
            return False
        reading = self.read_kernel(candidate)
        return not reading.acked and reading.unacked > 0

    def read_kernel(self, candidate: Candidate) -> Reading:
        """What TCP_INFO says since the flight was sent. Writes it into the candidate's evidence."""
        assert candidate.stream is not None
        assert candidate.snapshot is not None
        reading = self._tcp_info.since(candidate.stream.lowest_socket, candidate.snapshot)
        candidate.evidence |= {
            "retransmits": reading.retransmits,
            "unacked": reading.unacked,
            "acknowledged": int(reading.acked),
            "rtt_ms": round(reading.rtt_s * 1000, 1),
        }
        return reading

    def _connect_timeout_s(self, candidate: Candidate) -> float:
        return self._detect.hedge_syn_s if candidate.route.is_direct else self._detect.hedge_relay_s

    def _answer_timeout_s(self, candidate: Candidate) -> float:
        """Without TCP_INFO, in units of the time that connecting took, as that is about one round trip."""
        rtt_s = candidate.connected_at - candidate.connecting_since
        if candidate.route.is_direct:
            return self._detect.hedge_blind_s + self._detect.hedge_blind_rtts * rtt_s
        return max(self._detect.hedge_silent_s, self._detect.hedge_silent_rtts * rtt_s)
