"""Tries the routes of one plan in order, until one of them brings a valid server byte.

The next route starts when the ones before it have failed or look dropped. First `connect` waits until a route has
really connected. Then `deliver` sends the client's flight on it, and on the next routes as long as the flight may be
sent twice; the first valid answer wins. After `give_up_s`, a race ends when every attempt left is not connected, or its
flight is not acknowledged. One coroutine does everything: streams, dials and timers set one Notify, and the loop then
checks every candidate. It decides nothing about beliefs, and reads from the client only through `pull`.

`tries` chooses the next route, `hedging` its time; `response_check` classifies an answer; `late_direct` judges a direct
attempt that another route overtook.

While direct is silent to a host that is not known to work, encrypted DNS is asked for a second opinion, since a forged
address may lead to a host that never answers. If it gives other addresses, `direct|doh` starts beside direct. It holds
no other route up: a CDN gives different addresses as well.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from proxy.model import DOH, Attempt, Destination, Route, Stage, Symptom
from proxy.model import Protocol as FlightProtocol
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import poll_again
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.response_check import ResponseCheck
from proxy.net.race.shared_findings import ASK_COUNTED_S, MARKS_MAX
from proxy.net.race.terms import RaceTerms
from proxy.net.race.tries import AS_GOOD_AS_VALID, DENIALS, Tries
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.wire.flight import Flight

if TYPE_CHECKING:
    from proxy.net.race.late_direct import LateDirect
    from proxy.net.race.shared_findings import SharedFindings
    from proxy.net.race.sharing import Sharing

_LATE_S = 0.1
"""Seconds of delay after which a race polls its sockets again before it goes on: this process stood still, and events
of that time may not have been reported yet when something else wakes the race."""

_UNDER_WAY = (Phase.DIALING, Phase.AWAITING_ANSWER)
_MAY_BE_RETRIED = (Phase.DIALING, Phase.FAILED)


class OpenPath(Enum):
    """The state of the open paths before anything was sent on them."""

    QUIET = auto()
    SERVER_FIRST = auto()  # the server speaks first: SSH, SMTP
    CLOSED = auto()


@frozen_dataclass
class Winner:
    """The route that delivered, its stream, which the caller now owns and closes, and the bytes received so far."""

    route: Route
    stream: Stream
    answer: bytes
    unsent: bytes
    """The part of the flight that is not sent yet."""
    valid: bool
    """False when the answer is not valid, but no route had a better one. Also False when the flight may not be sent
    twice and this route has it, but nothing has come back yet."""


class Race:
    """One race, used once: `connect`, then `deliver`. An open path that closed before the flight needs a new Race."""

    def __init__(
        self,
        destination: Destination,
        routes: tuple[Route, ...],
        terms: RaceTerms,
        notify: Notify | None = None,
        *,
        direct_waits: bool = False,
    ) -> None:
        """`notify` wakes the race. No other coroutine may wait for it until the race is closed, as well as the
        LateDirect that `take_overtaken` handed out. `direct_waits`: see Tries. The caller calls `close`."""
        self.notify = notify or Notify()
        self._destination = destination
        self._terms = terms
        self._loop = asyncio.get_running_loop()
        self._flight_at = now = self._loop.time()
        self._tries = Tries(destination, routes, terms, self.notify, now, direct_waits=direct_waits)
        self._candidates = self._tries.candidates
        self._check = ResponseCheck(self._tries)
        self.overtaken: LateDirect | None = None
        """The direct attempt that the winner overtook, if it is still under way. It is to be judged."""
        self._lends_notify = False
        self._flight: Flight | None = None
        self._is_flown = False  # the flight, or a part of it, was sent
        self._is_won = False
        self._keeps_apart = False  # this network counts ClientHellos
        self._is_promising = False  # see `_start_next_if_due`
        self._sharing: Sharing | None = None  # from the second route on
        self._opinion: asyncio.Task[bool] | None = None  # under way: whether the name leads elsewhere
        self._may_ask = True  # a second opinion was not wanted yet
        self._check_at = self._redirect_at = math.inf  # times at which time alone may change the race
        self._gives_up_at = now + terms.detect.give_up_s
        if terms.findings is not None and not self._tries.is_plain:  # another race may find out that direct is down
            terms.findings.waiting[self.notify] = destination.host

    # -- its state ---------------------------------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts so far, in the order they began."""
        now, tries = self._loop.time(), self._tries
        return tuple([candidate.attempt(tries.began_at, tries.pause, now) for candidate in self._candidates])

    @property
    def leads_home(self) -> bool:
        """Whether its lookups have shown that the destination is on the local network, which no relay reaches."""
        return self._tries.is_in_local_zone

    @property
    def flight_age(self) -> float:
        """Seconds since `deliver` got the flight; before that, since the race began."""
        return self._loop.time() - self._flight_at

    # -- the race --------------------------------------------------------------------------------------------------

    async def connect(self, waits: Callable[[], bool] = lambda: True) -> bool:
        """Waits until a route has connected. Returns False when none did within `give_up_s`, or when the client no
        longer `waits`, which is called on every event."""
        if not self._tries.routes:
            return False
        now = self._tries.began_at
        self._start(self._tries.routes[0], now)
        is_open = self._candidates[0].phase is Phase.OPEN
        while not is_open:
            await self.notify.wait(self._check_at)
            if self._loop.time() > self._check_at + _LATE_S:
                await poll_again()
            now = self._loop.time()
            for candidate in self._candidates:
                if candidate.connecting is not None:
                    candidate.poll_connect(candidate.connecting, self.notify, now)
                is_open = is_open or candidate.phase is Phase.OPEN
            if is_open:
                break
            if not waits():
                return False
            is_started = self._start_next_if_due(now)
            is_open = is_started and self._candidates[-1].phase is Phase.OPEN  # connected at once, without an event
            if not (is_started or self._is_promising) and self._is_over():
                return False
        self._tries.pause = (now, math.inf)
        return True

    def poll_open_path(self) -> OpenPath:
        """Returns the state of the open paths; CLOSED when none is left. A path that the server closed is removed from
        the race: a server may close a connection on which the client is silent, and that is no evidence. This includes
        a path that opened after the first one."""
        path = OpenPath.CLOSED
        for candidate in tuple(self._candidates):
            if candidate.connecting is not None:
                candidate.poll_connect(candidate.connecting, self.notify, self._loop.time())
            stream = candidate.stream
            if candidate.phase is not Phase.OPEN or stream is None:
                continue
            if not candidate.answer and not stream.drained:
                try:
                    data = stream.receive_nowait()
                except OSError:
                    data = b""
                if data == b"":
                    stream.abort()
                    self._candidates.remove(candidate)
                    continue
                candidate.answer = data or b""
            if candidate.answer:
                return OpenPath.SERVER_FIRST
            path = OpenPath.QUIET
        return path

    def take_opened(self, flight: Flight | None = None) -> Winner:
        """Hands out an open path, for a server that speaks first or a request that may not be sent twice. Resets the
        others. The winner's `unsent` is the whole `flight`. The caller closes the stream."""
        now = self._loop.time()
        self._flight, self._flight_at = flight, now
        self._tries.pause = (now, now)  # no pause: the race waited for the server
        opened: Candidate | None = None
        for candidate in self._candidates:
            if candidate.phase is Phase.OPEN and (opened is None or candidate.answer):
                opened = candidate
        assert opened is not None
        return self._won(opened, valid=bool(opened.answer))

    def restrict_to(self, routes: Sequence[Route], *, direct_waits: bool = False) -> None:
        """Takes the routes of the plan for the name in the flight; there may be new ones. Resets the candidates of all
        other routes. No byte was sent on them."""
        for candidate in tuple(self._candidates):
            if candidate.route not in routes:
                self._candidates.remove(candidate)
                candidate.drop(self._loop.time())
        self._tries.restrict_to(routes, direct_waits=direct_waits)
        if self._terms.findings is not None and not self._tries.is_plain:
            self._terms.findings.waiting[self.notify] = self._destination.host

    async def deliver(self, flight: Flight, pull: Callable[[], bool], limit_s: float = math.inf) -> Winner | None:
        """Sends `flight` until a route answers it. Returns None when no route did within `limit_s`, or the client left.

        `pull` is called on every event. It moves further bytes of the client into `flight`, and returns False when the
        client has left. A flight that may not be sent twice goes to the first open route only.
        """
        time, candidates = self._loop.time, self._candidates
        now = time()
        self._flight, self._flight_at = flight, now
        self._tries.pause = (self._tries.pause[0], min(self._tries.pause[1], now))
        self._gives_up_at, ends_at = now + self._terms.detect.give_up_s, now + limit_s
        findings = self._terms.findings
        if findings is not None and findings.may_be_counted and flight.protocol is FlightProtocol.TLS:
            if now >= findings.ask_counted_at:
                findings.ask_counted_at = now + ASK_COUNTED_S
                findings.are_counted = self._terms.knowledge.hellos_are_counted()
            self._keeps_apart = findings.are_counted
        while True:
            if self._is_flown and not flight.replayable and len(candidates) > 1:
                self._leave_one_flight()
            has_answer = False
            for candidate in candidates:
                if candidate.connecting is not None:
                    candidate.poll_connect(candidate.connecting, self.notify, time())
                is_due = candidate.phase is Phase.OPEN and not self._is_flown
                if is_due and (not self._keeps_apart or self._hello_at(candidate, flight, now := time()) <= now):
                    self._send_flight(candidate, flight)
                if candidate.phase is Phase.AWAITING_ANSWER:
                    if candidate.sent < len(flight.data) or flight.ended:
                        self._send(candidate, flight)
                    if candidate.answer_due_at or candidate.stream is None or not candidate.stream.drained:
                        self._check.read_answer(candidate, flight)
                        has_answer = True
            if has_answer:
                winner = None
                for candidate in candidates:  # an answer may also let an earlier candidate win, or several at once
                    if candidate.phase is Phase.WON:
                        if candidate.hedged_at:
                            self._check.report_answered_flight(candidate, flight)
                        winner = winner or candidate
                if winner is not None:
                    return self._won(winner, valid=True)
            now = time()
            if now >= ends_at:
                return None
            if self._start_next_if_due(now, flight):
                continue
            if not self._is_promising:
                if flight.replayable or not self._is_flown:
                    if self._is_over():
                        return self._best_invalid_answer()
                elif (flying := next((c for c in candidates if c.phase is Phase.AWAITING_ANSWER), None)) is None:
                    return self._best_invalid_answer()
                elif flying.sent == len(flight.data):
                    return self._won(flying, valid=False)
            if now >= self._redirect_at:
                return self._best_invalid_answer()
            await self.notify.wait(min(self._check_at, ends_at))
            if time() > self._check_at + _LATE_S:
                await poll_again()
            if not pull():
                return None

    def take_overtaken(self) -> LateDirect:
        """Hands out `overtaken`, and `notify` with it. The caller judges or closes it."""
        assert self.overtaken is not None
        late, self.overtaken, self._lends_notify = self.overtaken, None, True
        return late

    def close(self) -> None:
        """Ends the race: `notify` gets no more findings, and every candidate is reset that was not handed out.
        Harmless when repeated."""
        self._terms.schedule.waiting.discard(self.notify)
        if self._terms.findings is not None:
            self._terms.findings.waiting.pop(self.notify, None)
            if self._sharing is not None:
                self._terms.findings.left(self.notify)
        if not self._is_won:
            for candidate in self._candidates:
                candidate.drop(self._loop.time())
        elif self.overtaken is not None:
            self.overtaken.close()
            self.overtaken = None
        if not self._lends_notify:
            self.notify.close()

    # -- moving on -------------------------------------------------------------------------------------------------

    def _start_next_if_due(self, now: float, flight: Flight | None = None) -> bool:
        """Takes the next step when all candidates under way have failed or look dropped. Returns whether it did
        something. Sets `_is_promising` when a candidate under way does not look dropped, so that the race waits for it,
        and `_check_at` to the time at which time alone may change the race."""
        self._is_promising, self._check_at, self._redirect_at = False, math.inf, math.inf
        if flight is not None and self._is_flown and not flight.replayable:
            return False
        reserve: Candidate | None = None
        may_be_retried, is_denied, check_at, relay_answers_until = False, False, math.inf, -math.inf
        is_plain = self._tries.is_plain
        for candidate in self._candidates:
            phase = candidate.phase
            if phase in _UNDER_WAY:
                if candidate.connecting is not None:
                    check_at = min(check_at, candidate.connecting.next_check_at)
                hedge_at = self._terms.hedging.hedge_at(candidate, self._destination.host, now, self._tries.routes)
                if hedge_at <= now:
                    self._mark_hedged(candidate, now)
                else:
                    self._is_promising = self._is_promising or not candidate.is_beside
                    if phase is Phase.AWAITING_ANSWER and candidate.route.relays:
                        relay_answers_until = max(relay_answers_until, hedge_at)
                    if hedge_at < check_at and not is_plain:
                        check_at = hedge_at
                    if self._may_ask and candidate.direct and candidate.syn_at and not (is_plain or candidate.answer):
                        detect, ask_at = self._terms.detect, candidate.syn_at
                        if phase is Phase.DIALING:
                            ask_at += detect.hedge_ask_s
                        else:
                            rtt_s, ask_at = candidate.connected_at - ask_at, candidate.flight_sent_at
                            ask_at += max(detect.hedge_ask_s, detect.hedge_ask_rtts * rtt_s)
                        if ask_at <= now:
                            self._ask_second_opinion()
                        elif ask_at < check_at:
                            check_at = ask_at
            elif phase is Phase.OPEN and flight is not None and reserve is None:
                reserve = candidate
            elif candidate.symptom is Symptom.REDIRECTED:  # delivered at that time, though no other route confirmed it
                self._redirect_at = min(self._redirect_at, candidate.ended_at + self._terms.detect.elsewhere_hold_s)
            elif candidate.symptom in DENIALS:
                is_denied = True
            if candidate.route.relays and phase in _MAY_BE_RETRIED:
                may_be_retried = True
            if candidate.is_shared and self._sharing is not None and (phase is Phase.FAILED or candidate.hedged):
                self._sharing.over(candidate)
        if self._redirect_at < math.inf and not self._tries.knowledge.may_be_portal():  # a slow relay may contradict it
            slow_until = max(relay_answers_until, self._tries.relays_may_open_until)
            self._redirect_at = max(self._redirect_at, min(slow_until, self._gives_up_at))
        if is_denied and self._tries.is_in_vain:
            self._is_promising = False
            return False
        if reserve is not None and flight is not None:
            if self._sharing is not None and not reserve.is_retry and self._sharing.leads_nowhere_new(reserve):
                text = f"the same address as before, {reserve.stream.peer if reserve.stream is not None else ''}"
                reserve.failed(Stage.CONNECT, Symptom.SKIPPED, text, now)
                return True
            reserve_at = self._terms.hedging.reserve_at(reserve, self._candidates)
            hello_at = self._hello_at(reserve, flight, now)
            if hello_at > now:
                self._is_promising = True
            elif not self._is_promising or now >= reserve_at or reserve.is_beside:
                self._send_flight(reserve, flight)
                return True
            check_at = min(check_at, hello_at if hello_at > now else reserve_at)
        if not is_plain:
            if now < self._gives_up_at < check_at:
                check_at = self._gives_up_at
            if now < self._redirect_at < check_at:
                check_at = self._redirect_at
            if may_be_retried:
                check_at = min(check_at, self._tries.next_retry_at(now))
        self._check_at = check_at
        if self._opinion is not None and self._opinion.done() and self._start_second_opinion(now):
            return True
        if self._is_promising:
            return False
        # The first route is not shared with other races, and saves the call.
        route = self._next_route(flight, now) if self._candidates else self._tries.next_route(flight, now)
        if route is None:
            if self._tries.direct_waits:
                self._check_at = min(self._check_at, self._tries.direct_due_at(now))
            return False
        self._start(route, now)
        return True

    def _hello_at(self, candidate: Candidate, flight: Flight, now: float) -> float:
        """The time at which the flight may leave on an open path: `now`, or later."""
        at = now if self._sharing is None else self._sharing.hello_at(candidate, flight, now)
        if self._keeps_apart and not candidate.route.relays:
            assert self._terms.findings is not None
            assert candidate.stream is not None
            name, peer = flight.server_name or self._destination.host, candidate.stream.peer
            at = max(at, self._terms.findings.hellos.apart_at(name, peer, now, self._terms.detect))
        return at

    def _ask_second_opinion(self) -> None:
        """Has encrypted DNS asked about the name, if that is wanted and `direct|doh` is among the routes."""
        self._may_ask = False
        destination, resolver = self._destination, self._tries.resolver
        if resolver is None or destination.address is not None or DOH not in self._tries.routes:
            return
        if self._tries.knowledge.wants_second_opinion(destination.host):
            self._opinion, notify = resolver.second_opinion(destination.host), self.notify
            if self._opinion is not None:
                self._opinion.add_done_callback(lambda _: notify.set())

    def _start_second_opinion(self, now: float) -> bool:
        """Starts `direct|doh` beside direct, when encrypted DNS leads elsewhere. Returns whether it did."""
        assert self._opinion is not None
        opinion, self._opinion = self._opinion, None
        leads_elsewhere = not opinion.cancelled() and opinion.exception() is None and opinion.result()
        if not leads_elsewhere or DOH not in self._tries.routes or any(c.route == DOH for c in self._candidates):
            return False
        self._start(DOH, now, is_beside=True)
        return True

    def _next_route(self, flight: Flight | None, now: float) -> Route | None:
        """Returns the next route, if there is one. Returns None and sets `_is_promising` while another race to the host
        tries it."""
        findings = self._terms.findings
        if findings is None or flight is None:
            return self._tries.next_route(flight, now)
        if self._sharing is None:
            from proxy.net.race.sharing import Sharing  # most races have one route

            self._sharing = Sharing(findings, self._tries)
        route = self._sharing.next_route(flight, now)
        self._is_promising = self._sharing.waits
        return route

    def _is_over(self) -> bool:
        """Whether all candidates have failed, or `give_up_s` is over and all candidates under way look dropped; then
        ends them. A candidate whose flight was acknowledged, or that is not hedged yet, keeps the race going."""
        now = self._loop.time()
        if self._tries.have_failed(now, self._gives_up_at):
            return True
        if self._tries.is_in_vain:
            self._drop_under_way()
            return True
        under_way = [candidate for candidate in self._candidates if candidate.active]
        if now < self._gives_up_at or not all(map(self._terms.hedging.is_in_vain, under_way)):
            return False
        for candidate in under_way:
            self._check.time_out(candidate)
        self._drop_under_way()
        return True

    def _drop_under_way(self) -> None:
        for candidate in self._candidates:
            if candidate.active:
                candidate.drop(self._loop.time())

    def _mark_hedged(self, candidate: Candidate, now: float) -> None:
        """Marks a candidate as hedged, and direct as down for the other races to this host."""
        if candidate.hedged:
            return
        candidate.hedged_at = now
        candidate.note_addresses()
        if candidate.phase is Phase.AWAITING_ANSWER:
            if not candidate.evidence.get("acknowledged"):  # else the host has it: there is no filter to wait out
                self._check.report_broken_flight(candidate, self._flight)
            findings = self._terms.findings
            if candidate.direct and findings is not None:
                if (hellos := self._hellos_at_once(candidate, findings)) > self._terms.detect.hello_burst:
                    findings.burst_failed(self._destination.host)
                    candidate.evidence["hellos"] = hellos
                findings.mark_down(self._destination.host)

    def _hellos_at_once(self, candidate: Candidate, findings: SharedFindings) -> int:
        """The number of ClientHellos of its name that left at once with that of `candidate`; 0: it sent none."""
        flight, stream = self._flight, candidate.stream
        if flight is None or flight.protocol is not FlightProtocol.TLS or stream is None:
            return 0
        name = flight.server_name or self._destination.host
        return findings.hellos.burst(name, stream.peer, candidate.flight_sent_at, self._terms.detect)

    def _start(self, route: Route, now: float, *, is_beside: bool = False) -> None:
        if self._tries.has_many and route.relays:
            self._tries.give_up_oldest(now)
            self._terms.schedule.tried(route.relays, now)
        candidate = Candidate(route, now)
        candidate.is_beside = is_beside
        if self._candidates or route.wrap:
            self._tries.note_start(candidate, now)
        if self._sharing is not None:
            candidate.is_shared = self._sharing.tries_for_all(route)
        self._candidates.append(candidate)
        if candidate.direct:  # it needs no task
            try:
                candidate.connecting = self._terms.direct.begin(self._destination, self.notify)
            except DialError as error:
                candidate.dial_failed(error, now)
                self.notify.set()
                return
        if candidate.connecting is not None:
            candidate.syn_at = candidate.connecting.began_at
            if not candidate.syn_at:
                candidate.stage = Stage.RESOLVE
            if candidate.connecting.is_through:
                candidate.poll_connect(candidate.connecting, self.notify, now)
                return
            self._check_at = min(self._check_at, candidate.connecting.next_check_at)
        else:
            candidate.task = spawn(self._dial(candidate), name=f"dial {self._destination.host}", eager=True)
        if not self._tries.is_plain and candidate.phase is Phase.DIALING:
            self._check_at = min(self._check_at, self._terms.hedging.hedge_at(candidate, self._destination.host, now))
            if self._may_ask and candidate.direct and candidate.syn_at:
                self._check_at = min(self._check_at, candidate.syn_at + self._terms.detect.hedge_ask_s)

    async def _dial(self, candidate: Candidate) -> None:
        route = candidate.route
        try:
            if route.wrap and not route.relays:
                dialer = self._terms.dialer(route, avoid_residual=candidate.avoids_residual)
            else:
                dialer = self._terms.dialer(route)
            stream = await dialer.dial(self._destination)
        except DialError as error:
            candidate.dial_failed(error, self._loop.time())
            if candidate.failed_on_its_way:
                self._tries.retries.failed(route.relays, self._loop.time())
        except Exception as error:
            candidate.failed(Stage.CONNECT, Symptom.LOCAL, f"a fault in Byway: {error!r}", self._loop.time())
            raise
        else:
            candidate.opened(stream, self.notify, self._loop.time())
            if route.relays:
                self._terms.schedule.opened(route.relays, candidate.connected_at - candidate.started_at)
        finally:
            self.notify.set()

    def _send_flight(self, candidate: Candidate, flight: Flight) -> None:
        assert candidate.stream is not None
        self._is_flown = True
        candidate.phase = Phase.AWAITING_ANSWER
        candidate.flight_sent_at = self._loop.time()
        findings, peer = self._terms.findings, candidate.stream.peer
        if findings is not None and flight.protocol is FlightProtocol.TLS and not candidate.route.relays:
            is_extra = self._sharing is not None and self._sharing.is_extra(candidate)
            name = flight.server_name or self._destination.host
            findings.hellos.append((candidate.flight_sent_at, name, peer, is_extra))
        if not candidate.route.relays and self._terms.tcp_info.usable and len(self._tries.routes) > 1:
            snapshot = self._terms.tcp_info.snapshot(candidate.stream.lowest_socket)
            candidate.syn_s = snapshot.rtt_s if snapshot is not None else 0.0
            candidate.snapshot = None if self._terms.tcp_info.split_tcp.detected else snapshot
        self._send(candidate, flight)

    def _leave_one_flight(self) -> None:
        """Keeps one of the routes that have the flight, and resets the others: further bytes of the client may not be
        sent twice. Prefers a route that has begun to answer, then one that does not look dropped."""
        flown = [candidate for candidate in self._candidates if candidate.phase is Phase.AWAITING_ANSWER]
        kept = max(flown, key=lambda c: (bool(c.answer), not c.hedged), default=None)
        for candidate in flown:
            if candidate is not kept:
                candidate.drop(self._loop.time())

    def _send(self, candidate: Candidate, flight: Flight) -> None:
        assert candidate.stream is not None
        try:
            if candidate.sent < len(flight.data):
                candidate.sent += candidate.stream.send_nowait(memoryview(flight.data)[candidate.sent :])
            if flight.ended and candidate.sent == len(flight.data) and not candidate.eof_sent:
                candidate.eof_sent = True
                candidate.stream.send_eof()
        except OSError as error:
            if error.errno == errno.ECONNRESET:
                # The kernel reports a reset once. Reading then returns the bytes before it, and EOF: see `_classify`.
                candidate.reset = True
            elif candidate.phase is Phase.AWAITING_ANSWER and error.errno != errno.EPIPE:
                self._check.on_broken(candidate, error, flight)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _won(self, winner: Candidate, *, valid: bool) -> Winner:
        """Hands out the winner. Resets the other candidates, except a direct one that may still answer."""
        assert winner.stream is not None
        winner.stream.notify = None
        winner.phase, self._is_won = Phase.WON, True
        if valid:
            winner.stage, winner.symptom = Stage.DONE, Symptom.NONE
            winner.ended_at = winner.ended_at or self._loop.time()
            if winner.route.relays:
                self._terms.schedule.delivered(winner.route.relays)
            if winner.syn_s and self._flight is not None and self._flight.protocol is FlightProtocol.TLS:
                self._note_times(winner)
            findings = self._terms.findings
            if winner.direct and findings is not None:
                if findings.down_until:
                    findings.clear(self._destination.host)
                is_of_burst = self._destination.host in findings.failed_bursts
                if is_of_burst and (hellos := self._hellos_at_once(winner, findings)):
                    winner.evidence["hellos"] = hellos
                    if hellos <= self._terms.detect.hello_burst:  # once it was learned, there is no more to learn
                        findings.failed_bursts.discard(self._destination.host)
                        findings.ask_counted_at = 0.0  # it may show that this network counts
            if self._sharing is not None:
                self._sharing.won(winner)
        for candidate in reversed(self._candidates):  # of two whole hellos, the second one is judged
            if candidate is winner:
                continue
            if candidate.direct:
                self._tries.add_evidence(candidate, self._flight)
            if valid and candidate.direct and candidate.active and self.overtaken is None:
                from proxy.net.race.late_direct import LateDirect  # with the first site that is rescued

                self.overtaken = LateDirect(candidate, self._flight, self._tries, self._check)
                continue
            if valid and candidate.hedged and candidate.route.relays and candidate.phase is Phase.DIALING:
                self._note_dropped(candidate)
            candidate.drop(self._loop.time())
        unsent = self._flight.data[winner.sent :] if self._flight is not None else b""
        return Winner(winner.route, winner.stream, winner.answer, unsent, valid)

    def _note_dropped(self, candidate: Candidate) -> None:
        """Notes whether the network drops the handshake with a relay that another route overtook."""
        from proxy.net.dialers.relay_handshake import HandshakeDialer  # with the first such relay

        dialer = self._terms.dialer(candidate.route)
        if isinstance(dialer, HandshakeDialer):
            candidate.evidence.update(dialer.dropped(self._destination))

    def _note_times(self, winner: Candidate) -> None:
        """Notes that the address answered a ClientHello, and in the split-TCP detector how soon it did, and its SYN. A
        long time may be our own delay, so it is then read from the kernel's clock."""
        assert winner.stream is not None
        first_byte_s = winner.ended_at - winner.flight_sent_at
        if first_byte_s >= self._terms.detect.middlebox_least_s:
            by_kernel_s = self._terms.tcp_info.answered_after(winner.stream.lowest_socket)
            first_byte_s = first_byte_s if by_kernel_s is None else by_kernel_s
        host, findings = self._destination.host, self._terms.findings
        self._terms.tcp_info.split_tcp.note(host, winner.syn_s, first_byte_s)
        if findings is None:
            return
        answered, others_at = findings.answered, -math.inf
        if (before := answered.pop(winner.stream.peer, None)) is not None:
            others_at = before[2] if before[0] == host else before[1]
        elif len(answered) >= MARKS_MAX:
            del answered[next(iter(answered))]
        answered[winner.stream.peer] = host, winner.ended_at, others_at

    def _best_invalid_answer(self) -> Winner | None:
        """Returns the answer for the client when no route had a valid one; None when there is no answer. A redirect or
        a TLS alert that no other route contradicts counts as the site's own. Later bytes of a flight that may not be
        sent twice would go to the same route, so only a route that got as many bytes as any other is eligible."""
        once = self._flight is not None and not self._flight.replayable
        sent = max((candidate.sent for candidate in self._candidates), default=0) if once else 0
        answered = [candidate for candidate in self._candidates if candidate.sent >= sent]
        for candidate in answered:
            if candidate.symptom in AS_GOOD_AS_VALID:
                return self._won(candidate, valid=True)
        for candidate in answered:
            if candidate.symptom in (Symptom.GARBAGE, Symptom.BLOCK_PAGE):
                return self._won(candidate, valid=False)
        return None
