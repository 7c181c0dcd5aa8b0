"""Decides when the next route starts beside one that is under way: hedging, as gRPC and Envoy call it.

TCP_INFO shows within a few tenths of a second whether a flight was dropped or the server is only slow. Where it cannot
be read, a timer in units of the round trip decides. If another connection has marked direct as down for the host, there
is no wait. The numbers are in docs/detection.md, "Two clocks" and "What the kernel knows". This module decides only
times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Evidence, Route
from proxy.net.kernel.tcp_info import Reading, Snapshot, TcpInfo
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.stream import Stream


class UnderWay(Protocol):
    """A connection under way, to a host or to a relay. Times are the loop's."""

    phase: Phase
    started_at: float
    syn_at: float  # the time when it began to connect, after the lookup; 0: not known
    connected_at: float
    flight_sent_at: float
    stream: Stream | None
    snapshot: Snapshot | None  # TCP_INFO just before the flight; None: not readable
    evidence: Evidence


class HedgePolicy:
    """Decides for the candidates of all races. All times are the loop's, in seconds."""

    __slots__ = ("_detect", "_findings", "_tcp_info")

    def __init__(self, tcp_info: TcpInfo, detect: DetectTuning, findings: SharedFindings | None = None) -> None:
        self._tcp_info = tcp_info
        self._detect = detect
        self._findings = findings

    def hedge_at(self, candidate: Candidate, host: str, now: float, routes: Sequence[Route] = ()) -> float:
        """Returns the time at which `candidate`, which is under way to `host`, is hedged: the next route then starts
        beside it. A time up to `now` means that it looks dropped, by TCP_INFO or because it exceeded its timeout. A
        later time means that it does not, and has to be checked again then, or after an earlier event. `routes` are
        those of its race."""
        if candidate.answer_due_at:  # it answers, so it is not hedged; its answer so far is classified at this time
            return candidate.answer_due_at if candidate.answer_due_at > now else math.inf
        # Another connection to this host has waited already: another wait would have the same result.
        findings = self._findings
        is_first = candidate.direct and not candidate.is_retry
        if findings is not None and findings.down_until and is_first and findings.is_down(host):
            return now
        return self.looks_dropped_at(candidate, now, host=host, routes=routes, is_direct=not candidate.route.relays)

    def looks_dropped_at(
        self, attempt: UnderWay, now: float, *, host: str = "", routes: Sequence[Route] = (), is_direct: bool = True
    ) -> float:
        """Returns the same for `attempt`, which has no answer yet, by its times, TCP_INFO and the last answers of its
        address alone. `is_direct`: its route has no relay."""
        detect, since = self._detect, attempt.syn_at or attempt.started_at
        if attempt.phase is Phase.DIALING:
            return since + (detect.hedge_syn_s if is_direct else detect.hedge_relay_s)
        flown_at = attempt.flight_sent_at
        if attempt.snapshot is None or attempt.stream is None:
            # In units of the time for the connect, which is about one round trip.
            rtt_s = attempt.connected_at - since
            if is_direct:
                return flown_at + detect.hedge_blind_s + detect.hedge_blind_rtts * rtt_s
            return flown_at + max(detect.hedge_silent_s, detect.hedge_silent_rtts * rtt_s)
        silent_at, poll_at = flown_at + detect.hedge_silent_s, now + detect.oracle_poll_s
        if now < flown_at + detect.oracle_first_s:
            poll_at = max(poll_at, flown_at + detect.oracle_first_s)
        else:
            reading = self.read_kernel(attempt)
            if reading.acked:  # the host has the flight, and may only be slow: more patience than for a drop
                if self._is_answer_overdue(attempt.stream.peer, host, now - flown_at, now, routes):
                    silent_at = min(silent_at, now)
                looks_dropped = now >= max(silent_at, flown_at + detect.hedge_silent_rtts * reading.rtt_s)
            else:
                is_late = now >= flown_at + detect.hedge_unacked_s
                looks_dropped = reading.unacked > 0 and (is_late or reading.retransmits >= detect.hedge_retransmits)
            if looks_dropped:
                return now
        return min(poll_at, silent_at) if silent_at > now else poll_at

    def _is_answer_overdue(self, address: str, host: str, waited_s: float, now: float, routes: Sequence[Route]) -> bool:
        """Whether the answer of an address that has answered another host is awaited for long enough. A relay must be
        among the `routes`: nothing else helps against silence for sure, and a cut ClientHello may be punished."""
        detect, findings = self._detect, self._findings
        return (
            findings is not None
            and waited_s >= detect.hedge_silent_known_s
            and findings.answered_another(address, host, now - detect.hedge_known_s)
            and any(route.relays for route in routes)
        )

    def reserve_at(self, reserve: Candidate, candidates: Sequence[Candidate]) -> float:
        """Returns the time at which an open path in reserve gets the flight, even if other candidates look promising:
        it does not wait long for strategies that were started after direct had failed or looked dropped. Direct that
        connected late does not stop this: the kernel measured a long round trip, and retransmits only after three of
        them."""
        for candidate in candidates:
            if not candidate.direct:
                continue
            late = candidate.connected_late and candidate.phase is Phase.AWAITING_ANSWER
            if candidate.hedged or late or not candidate.active:
                since = candidate.hedged_at or candidate.ended_at or candidate.flight_sent_at
                return max(since, reserve.connected_at) + self._detect.hedge_reserve_s
        return math.inf

    def is_in_vain(self, candidate: Candidate) -> bool:
        """Whether a candidate looks dropped and has no path, or no acknowledgement of its flight. A race does not wait
        for it after `give_up_s`."""
        return candidate.hedged and (candidate.phase is Phase.DIALING or self.unacknowledged(candidate))

    def dropped_at(self, attempt: UnderWay) -> float:
        """Returns the time at which an unacknowledged flight counts as dropped: after some retransmission timeouts of
        the kernel, so that a slow link is not blamed, and at the latest at the deadline for silence, when the kernel
        may have given up itself."""
        rto_s = self.read_kernel(attempt).rto_s if attempt.snapshot is not None else 0.0
        patience_s = max(self._detect.dropped_s, self._detect.dropped_rtos * rto_s)
        return attempt.flight_sent_at + min(patience_s, max(self._detect.dropped_s, self._detect.silent_s))

    def unacknowledged(self, attempt: UnderWay) -> bool:
        """Whether TCP_INFO says that a part of the flight was not acknowledged; False where it cannot be read."""
        if attempt.snapshot is None:
            return False
        reading = self.read_kernel(attempt)
        return not reading.acked and reading.unacked > 0

    def read_kernel(self, attempt: UnderWay) -> Reading:
        """Reads TCP_INFO about the time since the flight was sent, and writes it into the evidence."""
        assert attempt.stream is not None
        assert attempt.snapshot is not None
        reading = self._tcp_info.since(attempt.stream.lowest_socket, attempt.snapshot)
        attempt.evidence |= {
            "retransmits": reading.retransmits,
            "unacked": reading.unacked,
            "acknowledged": int(reading.acked),
            "rtt_ms": round(reading.rtt_s * 1000, 1),
        }
        if reading.out_of_order:
            attempt.evidence["out_of_order"] = reading.out_of_order
        return reading
