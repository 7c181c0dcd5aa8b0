"""What came back to the candidates of a race: an answer to deliver, one of no use, or not enough to tell.

A valid answer wins. What a server breaks off, closes or garbles has failed; so has an HTTP page that seems somebody
else's, until another route that shares no relay with it gets the same. A direct attempt that was overtaken is watched
until the deadline of its signal. Which route is tried when is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.config.schema import Detect
from proxy.model import DIRECT, Destination, Protocol, Route, Stage, Symptom
from proxy.net.deadline import poll_again
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.hedging import HedgePolicy
from proxy.net.race.policy import RacePolicy
from proxy.wire.flight import Flight
from proxy.wire.tls import Verdict

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer kept while it is not yet decided whether it is valid."""

_DROPPED = "the request was never acknowledged"


class ResponseCheck:
    """Of one race to `host` over `routes`, which a plan made anew may narrow. Moves candidates, and nothing else."""

    __slots__ = ("_detect", "_hedging", "_host", "_loop", "_notify", "_policy", "routes")

    def __init__(
        self,
        host: str,
        routes: Sequence[Route],
        hedging: HedgePolicy,
        detect: Detect,
        policy: RacePolicy,
        notify: Notify,
    ) -> None:
        """`notify` rings when something may have come."""
        self.routes = tuple(routes)
        self._host = host
        self._hedging = hedging
        self._detect = detect
        self._policy = policy
        self._notify = notify
        self._loop = asyncio.get_running_loop()

    def read_answer(self, candidate: Candidate, flight: Flight, candidates: Sequence[Candidate]) -> None:
        """Reads what has come to one of the candidates, and judges it."""
        assert candidate.stream is not None
        while candidate.phase is Phase.AWAITING_ANSWER:
            try:
                data = candidate.stream.receive_nowait()
            except OSError as error:
                self.on_broken(candidate, error, flight)
                return
            if data is None:
                if candidate.answered_at and self._now() >= self._hedging.page_deadline(candidate):
                    self._classify_page(candidate, flight, candidates, ended=False)
                return
            candidate.answer += data
            self._classify(candidate, flight, candidates, ended=not data)

    def _classify(self, candidate: Candidate, flight: Flight, candidates: Sequence[Candidate], *, ended: bool) -> None:
        """What has come back so far: to be delivered, of no use, or not enough to tell."""
        now, answer = self._now(), candidate.answer
        verdict = flight.judge(answer) if answer else Verdict.MORE
        if verdict is Verdict.VALID and flight.protocol is Protocol.HTTP and flight.replayable:
            self._classify_page(candidate, flight, candidates, ended=ended)
        elif verdict is Verdict.VALID:
            candidate.won(now)
        elif verdict is Verdict.ALERT:
            candidate.answer_fingerprint = f"alert {answer[6]}"
            candidate.failed(Stage.FIRST_BYTE, Symptom.ALERT, "answered with a TLS alert", now)
            self._accept_if_other_route_agrees(candidate, candidates)
        elif verdict is Verdict.GARBAGE or (answer and (ended or len(answer) > ANSWER_LIMIT)):
            candidate.failed(Stage.FIRST_BYTE, Symptom.GARBAGE, f"answered {answer[:16]!r}", now)
        elif candidate.reset and ended:
            self.on_broken(candidate, ConnectionResetError(), flight)
        elif ended:
            candidate.failed(Stage.FIRST_BYTE, Symptom.EOF, "closed without an answer", now)

    def _classify_page(
        self, candidate: Candidate, flight: Flight, candidates: Sequence[Candidate], *, ended: bool
    ) -> None:
        """An HTTP answer has begun. A little of it is kept back while it may be somebody else's: a block page, or a
        redirect that no other route gets."""
        now = self._now()
        if len(self.routes) == 1:
            candidate.won(now)
            return
        candidate.answered_at = candidate.answered_at or now
        has_page = not flight.data.startswith(b"HEAD ")  # its answer ends with the head, whatever length that gives
        patient = has_page and now < self._hedging.page_deadline(candidate)
        page = self._policy.classify(candidate.answer, flight.server_name or self._host, complete=ended or not patient)
        if page.verdict is Verdict.MORE and patient:
            return
        candidate.evidence.update(page.evidence)
        candidate.answer_fingerprint = page.answer_fingerprint
        alone = all(route.is_direct for route in self.routes)
        elsewhere = page.symptom is Symptom.REDIRECTED and (alone or self._policy.is_portal())
        if page.symptom is Symptom.NONE or elsewhere:  # the latter: no other route to ask, or it will not say more
            candidate.won(now)
        else:
            candidate.failed(Stage.FIRST_BYTE, page.symptom, f"answered with {page.symptom.replace('_', ' ')}", now)
            self._accept_if_other_route_agrees(candidate, candidates)

    def _accept_if_other_route_agrees(self, candidate: Candidate, candidates: Sequence[Candidate]) -> None:
        """Two ways that share no relay were answered the same: it was the site, so the first one shall have won."""
        first = next(
            (c for c in candidates if c.answer_fingerprint and c.answer_fingerprint == candidate.answer_fingerprint),
            candidate,
        )
        if first.route.relays != candidate.route.relays and first.phase is Phase.FAILED:
            first.won(self._now())

    def on_broken(self, candidate: Candidate, error: OSError, flight: Flight) -> None:
        """The connection of a flight has failed."""
        if not isinstance(error, TimeoutError):
            symptom, text = Symptom.RESET, "reset after the request was sent"
        elif candidate.evidence.get("acknowledged") == 0:  # the kernel gave up sending it again before we did
            symptom, text = Symptom.DROPPED, _DROPPED
        else:
            symptom, text = Symptom.TIMEOUT, str(error)
        candidate.failed(Stage.FIRST_BYTE, symptom, text, self._now())
        if symptom is Symptom.RESET:
            self.report_broken_flight(candidate, flight)

    def report_broken_flight(self, candidate: Candidate, flight: Flight | None) -> None:
        """A flight over a direct route was dropped or broken off, as a censor does who then stays watchful there."""
        if candidate.route.is_direct and candidate.stream is not None:
            host = (flight.server_name if flight is not None else None) or self._host
            self._policy.report_broken_flight(candidate.stream.peer.rpartition(":")[0].strip("[]"), host)

    def note_syn(self, candidate: Candidate, destination: Destination) -> None:
        """When a direct attempt began to connect, once its name is resolved: its patience counts from then."""
        if candidate.phase is Phase.DIALING and candidate.route == DIRECT and not candidate.syn_at:
            candidate.syn_at = self._policy.connecting_since(destination)

    def note_addresses(self, candidate: Candidate, destination: Destination) -> None:
        """Where a direct attempt that is pending tries to connect."""
        if candidate.stage is Stage.CONNECT and (addresses := self._policy.addresses_being_tried(destination)):
            candidate.evidence["addresses"] = addresses

    def time_out(self, candidate: Candidate, destination: Destination) -> None:
        """Nothing has become of an attempt within its time."""
        now = self._now()
        if candidate.phase is Phase.AWAITING_ANSWER and self._hedging.unacknowledged(candidate):
            candidate.failed(Stage.FIRST_BYTE, Symptom.DROPPED, _DROPPED, now)
        elif candidate.phase is Phase.AWAITING_ANSWER:
            candidate.failed(Stage.FIRST_BYTE, Symptom.SILENT, "the request was not answered", now)
        elif candidate.route.relays:
            waited_s = now - candidate.started_at
            text = f"relay {'>'.join(candidate.route.relays)} did not reach the destination within {waited_s:.0f} s"
            candidate.failed(Stage.RELAY, Symptom.TIMEOUT, text, now)
        else:
            self.note_addresses(candidate, destination)
            resolving = candidate.stage is Stage.RESOLVE
            text = "the resolver gave no answer" if resolving else "the connection attempt was not answered"
            candidate.failed(candidate.stage, Symptom.TIMEOUT, text, now)

    async def await_verdict(
        self, candidate: Candidate, destination: Destination, flight: Flight | None, candidates: Sequence[Candidate]
    ) -> None:
        """Waits for what becomes of a direct attempt, until the deadline of its signal."""
        if candidate.phase is Phase.DIALING:
            for _ in ("the lookup", "the connect"):
                self.note_syn(candidate, destination)
                await self._until(candidate.connecting_since + self._detect.syn_s, candidate, flight, candidates)
            if candidate.phase is Phase.DIALING:
                self.time_out(candidate, destination)
        elif candidate.phase is Phase.AWAITING_ANSWER:
            await self._until(self._hedging.dropped_at(candidate), candidate, flight, candidates)
            if candidate.phase is Phase.AWAITING_ANSWER and self._hedging.unacknowledged(candidate):
                self.time_out(candidate, destination)
                return
            await self._until(candidate.flight_sent_at + self._detect.silent_s, candidate, flight, candidates)
            if candidate.phase is Phase.AWAITING_ANSWER:
                self.time_out(candidate, destination)

    async def _until(
        self, deadline: float, candidate: Candidate, flight: Flight | None, candidates: Sequence[Candidate]
    ) -> None:
        """Until the candidate leaves its phase, or `deadline`. What came by then counts, however late it is read."""
        phase, is_over = candidate.phase, False
        while candidate.phase is phase:
            if phase is Phase.AWAITING_ANSWER and flight is not None:
                self.read_answer(candidate, flight, candidates)
                if candidate.phase is not phase:
                    return
            if is_over:
                return
            if (left := deadline - self._now()) > 0:
                await self._notify.wait(left)
            else:
                await poll_again()
                is_over = True

    def _now(self) -> float:
        return self._loop.time()
