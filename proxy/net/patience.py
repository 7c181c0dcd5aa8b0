"""How long a route is waited for before the next one starts beside it.

Where the kernel tells what became of a flight, one that was dropped is told from one that is slow within a few tenths
of a second; else a timer serves, in units of the round trip. An alarm of another connection to the same host ends the
wait at once. The numbers are those of detection.md, sections 1 and 2; nothing is decided here but time.
"""

from __future__ import annotations

from proxy.config.schema import Detect
from proxy.model import DIRECT, Symptom
from proxy.net.alarms import Alarms
from proxy.net.contender import Contender, Phase
from proxy.net.oracle import Oracle, Reading


class Patience:
    """With the routes of one race to `host`. Times are the loop's, in seconds."""

    __slots__ = ("_alarms", "_detect", "_host", "_oracle")

    def __init__(self, host: str, oracle: Oracle, detect: Detect, alarms: Alarms | None) -> None:
        self._host = host
        self._oracle = oracle
        self._detect = detect
        self._alarms = alarms

    def looks_dropped(self, contender: Contender, now: float) -> bool:
        """Whether the next route shall start beside this one, which is under way."""
        if contender.answered_at:
            return False
        if self._alarms is not None and contender.route == DIRECT and self._alarms.holds(self._host):
            return True
        if contender.phase is Phase.DIALING:
            return now >= contender.connecting_since + self._for_connecting(contender)
        waited = now - contender.flown_at
        if contender.snapshot is None or contender.stream is None:
            return waited >= self._for_an_answer(contender)
        if waited < self._detect.oracle_first_s:
            return False
        reading = self.read_kernel(contender)
        if reading.acked:
            return waited >= max(self._detect.hedge_silent_s, self._detect.hedge_silent_rtts * reading.rtt_s)
        lost = reading.retransmits >= self._detect.hedge_retransmits or waited >= self._detect.hedge_unacked_s
        return lost and reading.unacked > 0

    def look_again_at(self, contender: Contender, now: float) -> float | None:
        """When time alone may change what a contender looks like; None: no more. One that looked dropped and still does
        has nothing more to show until something happens."""
        if contender.answered_at:
            return self.kept_back_until(contender)
        if contender.overdue and self.looks_dropped(contender, now):
            return None
        if contender.phase is Phase.DIALING:
            return contender.connecting_since + self._for_connecting(contender)
        if contender.snapshot is None:
            return contender.flown_at + self._for_an_answer(contender)
        silent_at = contender.flown_at + self._detect.hedge_silent_s
        poll_at = max(contender.flown_at + self._detect.oracle_first_s, now + self._detect.oracle_poll_s)
        return poll_at if silent_at <= now else min(poll_at, silent_at)

    def kept_back_until(self, contender: Contender) -> float:
        """When an answer that has begun is delivered, whatever it may be."""
        return contender.answered_at + self._detect.page_hold_s

    def shown_at(self, contender: Contender) -> float | None:
        """When a redirect that may be somebody else's is shown to the client, whatever other routes get; None: it has
        none."""
        led_away = contender.phase is Phase.FAILED and contender.symptom is Symptom.ELSEWHERE
        return contender.ended_at + self._detect.elsewhere_hold_s if led_away else None

    def judged_dropped_at(self, contender: Contender) -> float:
        """When a flight that is still unacknowledged was dropped. On a slow link that is no later than an
        answer is waited for: by then the kernel may have given up itself."""
        rto_s = self.read_kernel(contender).rto_s if contender.snapshot is not None else 0.0
        patient_s = max(self._detect.dropped_s, self._detect.dropped_rtos * rto_s)
        return contender.flown_at + min(patient_s, max(self._detect.dropped_s, self._detect.silent_s))

    def unacknowledged(self, contender: Contender) -> bool:
        """Whether the kernel knows that the flight has not arrived whole."""
        if contender.snapshot is None:
            return False
        reading = self.read_kernel(contender)
        return not reading.acked and reading.unacked > 0

    def read_kernel(self, contender: Contender) -> Reading:
        """What TCP_INFO says since the flight went out; kept as evidence."""
        assert contender.stream is not None
        assert contender.snapshot is not None
        reading = self._oracle.look(contender.stream.lowest_socket, contender.snapshot)
        contender.evidence.update(
            retransmits=reading.retransmits,
            unacked=reading.unacked,
            acknowledged=int(reading.acked),
            rtt_ms=round(reading.rtt_s * 1000, 1),
        )
        return reading

    def _for_connecting(self, contender: Contender) -> float:
        return self._detect.hedge_syn_s if contender.route.is_direct else self._detect.hedge_relay_s

    def _for_an_answer(self, contender: Contender) -> float:
        """Where the kernel cannot tell: by the time that connecting took."""
        rtt_s = contender.connected_at - contender.connecting_since
        if contender.route.is_direct:
            return self._detect.hedge_blind_s + self._detect.hedge_blind_rtts * rtt_s
        return max(self._detect.hedge_silent_s, self._detect.hedge_silent_rtts * rtt_s)
