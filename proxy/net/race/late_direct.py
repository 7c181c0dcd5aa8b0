"""Judges a direct attempt that another route overtook: a slow site is not a blocked one.

The attempt stays open until it has answered or failed, at the latest until the deadline of its signal
(docs/detection.md, "Two clocks"). The client does not wait for it. Bytes that came in time count, even when this
process reads them late.
"""

from __future__ import annotations

import asyncio

from proxy.model import Attempt
from proxy.net.deadline import poll_again
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.response_check import ResponseCheck
from proxy.net.race.tries import Tries
from proxy.wire.flight import Flight


class LateDirect:
    """A direct attempt to be judged. It belongs to its race until the race hands it out; the owner judges or closes
    it."""

    __slots__ = ("_candidate", "_check", "_flight", "_loop", "_notify", "_tries")

    def __init__(self, candidate: Candidate, flight: Flight | None, tries: Tries, check: ResponseCheck) -> None:
        """`candidate` is one of `tries`, whose `notify` is set when something happens to it."""
        self._candidate = candidate
        self._flight = flight
        self._tries = tries
        self._check = check
        self._notify = tries.notify
        self._loop = asyncio.get_running_loop()

    async def judge(self) -> Attempt:
        """Waits until the attempt is decided, closes it, and returns it."""
        candidate, terms = self._candidate, self._tries.terms
        hedging, syn_s, silent_s = terms.hedging, terms.detect.syn_s, terms.detect.silent_s
        if candidate.stream is not None:
            terms.tcp_info.silence_retransmits(candidate.stream.lowest_socket)
        try:
            if candidate.phase is Phase.DIALING:
                if not candidate.syn_at:  # the resolver ends its lookup itself, with the reason
                    await self._until(candidate.started_at + silent_s)
                if candidate.syn_at and candidate.phase is Phase.DIALING:
                    await self._until(candidate.syn_at + syn_s)
                if candidate.phase is Phase.DIALING:
                    self._check.time_out(candidate)
            elif candidate.phase is Phase.AWAITING_ANSWER:
                await self._until(hedging.dropped_at(candidate))
                if candidate.phase is Phase.AWAITING_ANSWER and not hedging.unacknowledged(candidate):
                    await self._until(candidate.flight_sent_at + silent_s)
                if candidate.phase is Phase.AWAITING_ANSWER:
                    self._check.time_out(candidate)
            if candidate.phase is Phase.WON:
                self._check.report_answered_flight(candidate, self._flight)
        finally:
            self.close()
        return candidate.attempt(self._tries.began_at, self._tries.pause, self._loop.time())

    def close(self) -> None:
        """Closes the attempt, judged or not."""
        self._candidate.drop(self._loop.time())
        self._notify.close()

    async def _until(self, deadline: float) -> None:
        """Waits until the candidate leaves its phase or its lookup has ended, or until `deadline`."""
        candidate, flight = self._candidate, self._flight
        phase, syn_at, is_over = candidate.phase, candidate.syn_at, False
        while candidate.phase is phase:
            if phase is Phase.AWAITING_ANSWER and flight is not None:
                self._check.read_answer(candidate, flight)
                if candidate.phase is not phase:
                    return
            if candidate.connecting is not None:
                candidate.poll_connect(candidate.connecting, self._notify, self._loop.time())
            if candidate.phase is not phase or candidate.syn_at != syn_at or is_over:
                return
            now = self._loop.time()
            if deadline > now:
                at = deadline if candidate.connecting is None else min(deadline, candidate.connecting.next_check_at)
                await self._notify.wait(at)
            else:
                await poll_again()
                is_over = True
