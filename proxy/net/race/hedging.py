"""How long a route is waited for before the next one starts beside it.

Where the kernel tells what became of a flight, one that was dropped is told from one that is slow within a few tenths
of a second; else a timer serves, in units of the round trip. An alarm of another connection to the same host ends the
wait at once. The numbers are those of docs/detection.md, "Two clocks" and "What the kernel knows"; nothing is decided
here but time.
"""

from __future__ import annotations

from proxy.config.schema import Detect
from proxy.model import DIRECT, Symptom
from proxy.net.kernel.tcp_info import Reading, TcpInfo
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.direct_down import DirectDownCache


class HedgePolicy:
    """With the routes of one race to `host`. Times are the loop's, in seconds."""

    __slots__ = ("_detect", "_down_cache", "_host", "_tcp_info")

    def __init__(self, host: str, tcp_info: TcpInfo, detect: Detect, down_cache: DirectDownCache | None) -> None:
        self._host = host
        self._tcp_info = tcp_info
        self._detect = detect
        self._down_cache = down_cache

    def should_hedge(self, candidate: Candidate, now: float) -> bool:
        """Whether the next route shall start beside this one, which is under way."""
        if candidate.answered_at:
            return False
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
        if reading.acked:
            return waited >= max(self._detect.hedge_silent_s, self._detect.hedge_silent_rtts * reading.rtt_s)
        lost = reading.retransmits >= self._detect.hedge_retransmits or waited >= self._detect.hedge_unacked_s
        return lost and reading.unacked > 0

    def next_check_at(self, candidate: Candidate, now: float) -> float | None:
        """When time alone may change what a candidate looks like; None: no more. One that looked dropped and still does
        has nothing more to show until something happens."""
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
        """When an answer that has begun is delivered, whatever it may be."""
        return candidate.answered_at + self._detect.page_hold_s

    def redirect_deadline(self, candidate: Candidate) -> float | None:
        """When a redirect that may be somebody else's is shown to the client, whatever other routes get; None: it has
        none."""
        led_away = candidate.phase is Phase.FAILED and candidate.symptom is Symptom.REDIRECTED
        return candidate.ended_at + self._detect.elsewhere_hold_s if led_away else None

    def dropped_at(self, candidate: Candidate) -> float:
        """When a flight that is still unacknowledged was dropped. On a slow link that is no later than an
        answer is waited for: by then the kernel may have given up itself."""
        rto_s = self.read_kernel(candidate).rto_s if candidate.snapshot is not None else 0.0
        patient_s = max(self._detect.dropped_s, self._detect.dropped_rtos * rto_s)
        return candidate.flight_sent_at + min(patient_s, max(self._detect.dropped_s, self._detect.silent_s))

    def unacknowledged(self, candidate: Candidate) -> bool:
        """Whether the kernel knows that the flight has not arrived whole."""
        if candidate.snapshot is None:
            return False
        reading = self.read_kernel(candidate)
        return not reading.acked and reading.unacked > 0

    def read_kernel(self, candidate: Candidate) -> Reading:
        """What TCP_INFO says since the flight went out; kept as evidence."""
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
        """Where the kernel cannot tell: by the time that connecting took."""
        rtt_s = candidate.connected_at - candidate.connecting_since
        if candidate.route.is_direct:
            return self._detect.hedge_blind_s + self._detect.hedge_blind_rtts * rtt_s
        return max(self._detect.hedge_silent_s, self._detect.hedge_silent_rtts * rtt_s)
