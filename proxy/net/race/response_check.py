"""Validates the answers to the candidates of a race: a valid answer, a failure, or too few bytes to tell.

A valid answer wins. A reset, an early EOF and bytes of another protocol are failures. So are a TLS alert, a block page
and a redirect to another site, until a route with other relays gets the same answer. This module starts no route.
"""

from __future__ import annotations

import asyncio

from proxy.model import Protocol, Stage, Symptom, host_and_port
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.tries import Tries
from proxy.net.stream import Stream
from proxy.wire.flight import Flight
from proxy.wire.tls import Verdict

ANSWER_LIMIT = 64 * 1024
"""The most bytes of an answer that are buffered until it is classified."""

_DROPPED = "the request was never acknowledged"


class ResponseCheck:
    """Checks the answers in one race to a host. Changes only candidates."""

    __slots__ = ("_host", "_loop", "_terms", "_tries")

    def __init__(self, tries: Tries) -> None:
        self._host = tries.destination.host
        self._tries = tries
        self._terms = tries.terms
        self._loop = asyncio.get_running_loop()

    def read_answer(self, candidate: Candidate, flight: Flight) -> None:
        """Reads all that `candidate` has received, and classifies it."""
        assert candidate.stream is not None
        while candidate.phase is Phase.AWAITING_ANSWER:
            try:
                data = candidate.stream.receive_nowait()
            except OSError as error:
                self.on_broken(candidate, error, flight)
                return
            if data is None:
                if candidate.answer_due_at and self._loop.time() >= candidate.answer_due_at:
                    self._classify_page(candidate, flight, ended=False)
                return
            candidate.answer += data
            self._classify(candidate, flight, ended=not data)

    def _classify(self, candidate: Candidate, flight: Flight, *, ended: bool) -> None:
        """Classifies the answer so far: it wins, it fails, or more bytes are needed."""
        now, answer = self._loop.time(), candidate.answer
        verdict = flight.judge(answer) if answer else Verdict.MORE
        if verdict is Verdict.VALID and flight.protocol is Protocol.HTTP and flight.replayable:
            self._classify_page(candidate, flight, ended=ended)
        elif verdict is Verdict.VALID:
            candidate.won(now)
        elif verdict is Verdict.ALERT:
            candidate.answer_fingerprint = f"alert {answer[6]}"
            candidate.evidence["alert"] = 1
            candidate.failed(Stage.FIRST_BYTE, Symptom.ALERT, "answered with a TLS alert", now)
            self._accept_if_other_route_agrees(candidate)
        elif verdict is Verdict.GARBAGE or (answer and (ended or len(answer) > ANSWER_LIMIT)):
            candidate.failed(Stage.FIRST_BYTE, Symptom.GARBAGE, f"answered {answer[:16]!r}", now)
        elif candidate.reset and ended:
            self.on_broken(candidate, ConnectionResetError(), flight)
        elif ended:
            candidate.failed(Stage.FIRST_BYTE, Symptom.EOF, "closed without an answer", now)

    def _classify_page(self, candidate: Candidate, flight: Flight, *, ended: bool) -> None:
        """Classifies an HTTP answer. It is held back for `page_hold_s` at most, until there are enough bytes to
        recognise a block page or a redirect to another site."""
        now = self._loop.time()
        if len(self._tries.routes) == 1:
            candidate.won(now)
            return
        candidate.answer_due_at = candidate.answer_due_at or now + self._terms.detect.page_hold_s
        has_page = not flight.data.startswith(b"HEAD ")  # the answer to HEAD has no body, whatever its Content-Length
        patient = has_page and now < candidate.answer_due_at
        host = flight.server_name or self._host
        page = self._tries.knowledge.classify(candidate.answer, host, complete=ended or not patient)
        if page.verdict is Verdict.MORE and patient:
            return
        candidate.evidence.update(page.evidence)
        candidate.answer_fingerprint = page.answer_fingerprint
        accepted_redirect = page.symptom is Symptom.REDIRECTED and (
            not any(route.relays for route in self._tries.routes) or self._tries.knowledge.is_portal()
        )
        if page.symptom is Symptom.NONE or accepted_redirect:  # no other route could confirm or refute the redirect
            if page.page_mark and candidate.direct and candidate.stream is not None:
                doubt = self._tries.knowledge.page_doubt(host, page.page_mark, candidate.stream.peer)
                if doubt is not None:
                    candidate.evidence["doubt"] = doubt
            candidate.won(now)
        else:
            candidate.failed(Stage.FIRST_BYTE, page.symptom, f"answered with {page.symptom.replace('_', ' ')}", now)
            self._accept_if_other_route_agrees(candidate)

    def _accept_if_other_route_agrees(self, candidate: Candidate) -> None:
        """Lets the first route with the same answer win, if its relays are others: the answer is then the site's
        own."""
        fingerprint = candidate.answer_fingerprint
        same = (c for c in self._tries.candidates if fingerprint and c.answer_fingerprint == fingerprint)
        first = next(same, candidate)
        if first.route.relays != candidate.route.relays and first.phase is Phase.FAILED:
            first.won(self._loop.time())

    def on_broken(self, candidate: Candidate, error: OSError, flight: Flight) -> None:
        """The connection broke after the flight was sent."""
        if not isinstance(error, TimeoutError):
            symptom, text = Symptom.RESET, "reset after the request was sent"
        elif candidate.evidence.get("acknowledged") == 0:  # the kernel gave up retransmitting before our deadline
            symptom, text = Symptom.DROPPED, _DROPPED
        else:
            symptom, text = Symptom.TIMEOUT, str(error)
        candidate.failed(Stage.FIRST_BYTE, symptom, text, self._loop.time())
        if symptom is Symptom.RESET:
            self.report_broken_flight(candidate, flight)

    def report_broken_flight(self, candidate: Candidate, flight: Flight | None) -> None:
        """Reports a flight that was reset or looks dropped on a route without a relay: a censor may go on blocking that
        address."""
        if not candidate.route.relays and candidate.stream is not None:
            self._tries.knowledge.report_broken_flight(*self._where(candidate.stream, flight))

    def report_answered_flight(self, candidate: Candidate, flight: Flight | None) -> None:
        """Takes back the report, and the mark of direct as down: a flight that looked dropped was answered."""
        if candidate.direct and self._terms.findings is not None:
            self._terms.findings.clear(self._host)
        if not candidate.route.relays and candidate.stream is not None:
            self._tries.knowledge.report_answered_flight(*self._where(candidate.stream, flight))

    def _where(self, stream: Stream, flight: Flight | None) -> tuple[str, str]:
        """Returns the address of a flight, and the host that its visit is stored under, which is the name in the flight
        only for a literal address: the name that an encrypted ClientHello shows (ECH) is that of a cover."""
        named = flight.server_name if flight is not None and self._tries.destination.address is not None else None
        return host_and_port(stream.peer)[0], named or self._host

    def time_out(self, candidate: Candidate) -> None:
        """Fails a candidate whose deadline has passed."""
        now = self._loop.time()
        if candidate.phase is Phase.AWAITING_ANSWER and self._terms.hedging.unacknowledged(candidate):
            candidate.failed(Stage.FIRST_BYTE, Symptom.DROPPED, _DROPPED, now)
        elif candidate.phase is Phase.AWAITING_ANSWER:
            candidate.failed(Stage.FIRST_BYTE, Symptom.SILENT, "the request was not answered", now)
        elif candidate.route.relays:
            waited_s = now - candidate.started_at
            text = f"relay {'>'.join(candidate.route.relays)} opened no connection within {waited_s:.0f} s"
            candidate.failed(Stage.RELAY, Symptom.TIMEOUT, text, now)
        else:
            candidate.note_addresses()
            resolving = candidate.stage is Stage.RESOLVE
            text = "the resolver gave no answer" if resolving else "the connection attempt was not answered"
            candidate.failed(candidate.stage, Symptom.TIMEOUT, text, now)
