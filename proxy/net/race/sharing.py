"""Lets a race share its tries of local strategies with the other races to its host, and times their ClientHellos.

One race tries a strategy, the others wait for the result (`shared_findings`). That wait is bounded: the race that tries
is won, fails, is hedged or ends. Each connection of a client sends one ClientHello of its own to an address. A further
one within `hello_apart_s` is extra, and only the race that tries a strategy for all may send it. So in a second there
is one more hello than the client sends, however many connections it has.
"""

from __future__ import annotations

from proxy.model import Protocol, Route, Symptom
from proxy.model.strategy import Strategy, strategies
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.race.tries import Tries
from proxy.wire.flight import Flight

_NO_RESULT = frozenset({Symptom.ABANDONED, Symptom.LOCAL, Symptom.OFFLINE, Symptom.SKIPPED})
"""Failures that say nothing about the strategy."""


class Sharing:
    """The part of one race. It is made when the race comes to its second route: most races need none."""

    def __init__(self, findings: SharedFindings, tries: Tries) -> None:
        self._findings = findings
        self._tries = tries
        self._destination = tries.destination
        self._notify = tries.notify  # identifies the race in `findings`
        self.waits = False
        """Another race tries the next route of this one, which waits for the result."""

    def next_route(self, flight: Flight | None, now: float) -> Route | None:
        """Returns as `Tries.next_route`, without strategies that failed in another race since this one began."""
        self.waits = False
        while (route := self._tries.next_route(flight, now)) is not None and _is_strategy(route):
            failure = self._findings.failed_since(self._destination, route, self._tries.began_at)
            if failure is None:
                self.waits = not self._findings.may_try(self._destination, route, self._notify)
                return None if self.waits else route
            copy = Candidate(route, now)
            self._tries.note_start(copy, now)
            copy.failed(failure.stage, failure.symptom, "another connection to the site has tried it", now)
            self._tries.candidates.append(copy)
        return route

    def tries_for_all(self, route: Route) -> bool:
        """Whether the other races wait for the result of this route in this race."""
        return _is_strategy(route) and self._findings.tries(self._destination, route, self._notify)

    def over(self, candidate: Candidate) -> None:
        """The strategy that this race tried for all has failed or looks dropped: the others need not wait for it."""
        candidate.is_shared = False
        symptom = candidate.symptom
        if candidate.active:
            symptom = Symptom.TIMEOUT if candidate.phase is Phase.DIALING else Symptom.SILENT
        if symptom in _NO_RESULT:
            self._findings.left(self._notify)
        else:
            self._findings.failed(self._destination, candidate.route, self._notify, candidate.stage, symptom)

    def won(self, winner: Candidate) -> None:
        """The race is won. If a strategy won, the races that wait may use it. Strategies without a result may be tried
        by another race."""
        if _is_strategy(winner.route):
            self._findings.passed(self._destination, winner.route)
        self._findings.left(self._notify)

    def leads_nowhere_new(self, candidate: Candidate) -> bool:
        """Whether the same bytes were sent to the same address in this race, so that the result would be the same."""
        return any(_shape(sent.route) == _shape(candidate.route) for sent in self._sent_to_its_address(candidate))

    def hello_at(self, candidate: Candidate, flight: Flight, now: float) -> float:
        """The time at which the flight may leave on an open path: `now`, or later."""
        sent = self._sent_to_its_address(candidate)
        if flight.protocol is not Protocol.TLS or not sent or candidate.stream is None:
            return now
        tuning = self._tries.terms.detect
        own_at = max(one.flight_sent_at for one in sent) + tuning.hello_apart_s
        if own_at <= now or not candidate.is_shared:
            return max(own_at, now)
        name = flight.server_name or self._destination.host
        return min(own_at, self._findings.hellos.extra_at(name, now, tuning, address=candidate.stream.peer))

    def is_extra(self, candidate: Candidate) -> bool:
        """Whether the hello of `candidate` is extra, beside the client's own."""
        sent = self._sent_to_its_address(candidate)
        return bool(sent) and candidate.flight_sent_at < (
            max(one.flight_sent_at for one in sent) + self._tries.terms.detect.hello_apart_s
        )

    def _sent_to_its_address(self, candidate: Candidate) -> list[Candidate]:
        """The other candidates without a relay whose flight was sent to the same address."""
        if candidate.stream is None or candidate.route.relays:
            return []
        peer = candidate.stream.peer
        return [
            other
            for other in self._tries.candidates
            if other is not candidate
            and other.flight_sent_at
            and not other.route.relays
            and other.stream is not None
            and other.stream.peer == peer
        ]


def _is_strategy(route: Route) -> bool:
    """Whether the route is a local strategy that changes how the flight is sent."""
    return not route.relays and bool(_shape(route))


def _shape(route: Route) -> tuple[Strategy, ...]:
    return strategies(route.wrap)
