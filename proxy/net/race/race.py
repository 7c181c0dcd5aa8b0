"""The routes of one plan, tried in order, until one of them brings a valid server byte.

The next route starts when the ones before it have failed or look dropped, never at once. First `connect` waits until a
route has really connected. Then `deliver` sends the client's flight on it, and on the next ones as long as it may be
sent twice; the first valid answer wins. A direct attempt that another route overtook is left to `late_direct`. The race
decides nothing about beliefs, and reads from the client only through `pull`.

When all routes were started, a relay that failed before it opened a path is retried on a schedule that all races share.
A local strategy that was skipped in favour of a relay is tried once no relay may deliver. A race ends after `give_up_s`
when all that is left are attempts that are not connected, or whose flight is not acknowledged.

One coroutine does everything: streams, dials and timers set one Notify, and the loop then checks every candidate.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import cached_property

from proxy.model import DIRECT, Attempt, Destination, Route, Stage, Symptom
from proxy.model import Protocol as FlightProtocol
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate, Pause, Phase
from proxy.net.race.late_direct import LateDirect
from proxy.net.race.policy import NO_POLICY
from proxy.net.race.response_check import ResponseCheck
from proxy.net.race.retries import Retries
from proxy.net.race.terms import RaceTerms
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.wire.flight import Flight

_AS_GOOD_AS_VALID = (Symptom.REDIRECTED, Symptom.ALERT)
"""Answers that are delivered when no route has another one: the site itself may have sent them."""

_UNDER_WAY = (Phase.DIALING, Phase.AWAITING_ANSWER)
_MAY_BE_RETRIED = (Phase.DIALING, Phase.FAILED)


class OpenPath(Enum):
    """What an open path did before anything was sent on it."""

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
    """The rest of the flight, which has not been sent yet."""
    valid: bool
    """False: the answer is not a valid one, but no route had a better one. Also False when the flight may not be sent
    twice and this route has it, but nothing has come back yet."""


class Race:
    """One race, used once: `connect`, then `deliver`. An open path that closed before the flight needs a new Race."""

    def __init__(
        self, destination: Destination, routes: tuple[Route, ...], terms: RaceTerms, notify: Notify | None = None
    ) -> None:
        """What wakes the race sets `notify`; no other coroutine may wait for that until the race is closed, and what it
        handed out by `take_overtaken` as well. The caller calls `close`."""
        self.notify = notify or Notify()
        self._destination = destination
        self._routes = routes
        self._is_plain = routes == (DIRECT,)  # nothing is started beside direct or after it
        self._terms = terms
        self._policy = terms.policy if len(routes) > 1 else NO_POLICY
        self._candidates: list[Candidate] = []
        self._check = ResponseCheck(destination.host, routes, self._candidates, terms, self._policy)
        self.overtaken: LateDirect | None = None
        """A direct attempt under way that another route overtook, to be judged."""
        self._lends_notify = False
        self._flight: Flight | None = None
        self._is_flown = False  # the flight, or a part of it, was sent
        self._is_won = False
        self._is_promising = False  # see `_start_next_if_due`
        self._check_at = self._redirect_at = math.inf  # when time alone may change the race
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self._pause: Pause = (self.started_at, self.started_at)
        self._flight_at = self.started_at
        self._gives_up_at = self.started_at + terms.detect.give_up_s
        if not self._is_plain and terms.down_cache is not None:  # another race may find direct down: ends our wait
            terms.down_cache.waiting[self.notify] = destination.host

    # -- its state ---------------------------------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts so far, in the order they began."""
        now = self._loop.time()
        return tuple([candidate.attempt(self.started_at, self._pause, now) for candidate in self._candidates])

    @cached_property
    def _retries(self) -> Retries:
        """Made when a relay was tried: most races need none."""
        return Retries(self._terms.schedule, self._terms.detect, self.notify)

    @property
    def flight_age(self) -> float:
        """Seconds since the flight was complete; since the race began, when there is none yet."""
        return self._loop.time() - self._flight_at

    # -- the race --------------------------------------------------------------------------------------------------

    async def connect(self, waits: Callable[[], bool] = lambda: True) -> bool:
        """Waits until a route has connected. False when none did within `give_up_s`, or when the client no longer
        `waits`, which is called on every event."""
        if not self._routes:
            return False
        now = self.started_at
        self._start(self._routes[0], now)
        is_open = self._candidates[0].phase is Phase.OPEN
        while not is_open:
            await self.notify.wait(self._check_at)
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
            is_open = is_started and self._candidates[-1].phase is Phase.OPEN  # through at once: no event will tell
            if not (is_started or self._is_promising) and (self._has_failed() or self._gives_up()):
                return False
        self._pause = (now, math.inf)
        return True

    def poll_open_path(self) -> OpenPath:
        """What the open paths did by themselves; CLOSED when none is left. One that was closed is removed from the
        race: a server may close a connection on which the client says nothing, and that is no evidence. That goes
        also for one that was under way when the first opened, and has connected since."""
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
        others. The winner's `unsent` is all of `flight`. The caller closes its stream."""
        self._flight = flight
        self._pause = (self.started_at, self.started_at)  # the wait was for the server, so it counts
        self._flight_at = self._loop.time()
        opened: Candidate | None = None
        for candidate in self._candidates:
            if candidate.phase is Phase.OPEN and (opened is None or candidate.answer):
                opened = candidate
        assert opened is not None
        return self._won(opened, valid=bool(opened.answer))

    def restrict_to(self, routes: Sequence[Route]) -> None:
        """Takes the routes of the plan that was made on the flight's name, which may also be more. Resets candidates
        whose route is not among them. No byte was sent on them."""
        self._routes = self._check.routes = tuple(routes)
        self._policy = self._check.policy = self._terms.policy if len(routes) > 1 else NO_POLICY
        self._is_plain = self._routes == (DIRECT,)
        if self._terms.down_cache is not None and not self._is_plain:
            self._terms.down_cache.waiting[self.notify] = self._destination.host
        for candidate in tuple(self._candidates):
            if candidate.route not in self._routes:
                self._candidates.remove(candidate)
                candidate.drop(self._loop.time())
        order = {route: place for place, route in enumerate(self._routes)}
        self._candidates.sort(key=lambda c: order[c.route])

    async def deliver(self, flight: Flight, pull: Callable[[], bool], limit_s: float = math.inf) -> Winner | None:
        """Sends `flight` until a route answers it; None when no route did within `limit_s`, or the client left.

        `pull` is called on every event from then on. It moves further bytes of the client into `flight`, and returns
        False when the client has left. A flight that may not be sent twice goes to the first open route only.
        """
        time, candidates = self._loop.time, self._candidates
        now = time()
        self._flight, self._flight_at, self._pause = flight, now, (self._pause[0], min(self._pause[1], now))
        self._gives_up_at, ends_at = now + self._terms.detect.give_up_s, now + limit_s
        while True:
            if self._is_flown and not flight.replayable and len(candidates) > 1:
                self._leave_one_flight()
            has_answer = False
            for candidate in candidates:
                if candidate.connecting is not None:
                    candidate.poll_connect(candidate.connecting, self.notify, time())
                if candidate.phase is Phase.OPEN and not self._is_flown:
                    self._send_flight(candidate, flight)
                if candidate.phase is Phase.AWAITING_ANSWER:
                    if candidate.sent < len(flight.data) or flight.ended:
                        self._send(candidate, flight)
                    if candidate.answer_due_at or candidate.stream is None or not candidate.stream.drained:
                        self._check.read_answer(candidate, flight)
                        has_answer = True
            if has_answer:
                winner = None
                for candidate in candidates:  # it may also let an earlier candidate win, or several at once
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
                flying = self._first(Phase.AWAITING_ANSWER)
                if flight.replayable or not self._is_flown:
                    if self._has_failed() or self._gives_up():
                        return self._best_invalid_answer()
                elif flying is None:
                    return self._best_invalid_answer()
                elif flying.sent == len(flight.data):
                    return self._won(flying, valid=False)
            if now >= self._redirect_at:
                return self._best_invalid_answer()
            await self.notify.wait(min(self._check_at, ends_at))
            if not pull():
                return None

    def take_overtaken(self) -> LateDirect:
        """Hands out what `overtaken` is, and `notify` with it: the caller judges or closes it."""
        assert self.overtaken is not None
        late, self.overtaken, self._lends_notify = self.overtaken, None, True
        return late

    def close(self) -> None:
        """Ends the race: unsubscribes from everything, and resets every candidate that it did not hand out. Harmless
        when repeated."""
        self._terms.schedule.waiting.discard(self.notify)
        if self._terms.down_cache is not None:
            self._terms.down_cache.waiting.pop(self.notify, None)
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
        """Takes the next step when everything under way has failed or looks dropped. True: it did something. Notes in
        `_is_promising` whether something under way does not look dropped, so that it is waited for, and in `_check_at`
        when time alone may change the race."""
        self._is_promising, self._check_at, self._redirect_at = False, math.inf, math.inf
        if flight is not None and self._is_flown and not flight.replayable:
            return False
        reserve: Candidate | None = None
        may_be_retried, check_at = False, math.inf
        for candidate in self._candidates:
            phase = candidate.phase
            if phase in _UNDER_WAY:
                if candidate.connecting is not None:
                    check_at = min(check_at, candidate.connecting.next_check_at)
                if (hedge_at := self._terms.hedging.hedge_at(candidate, self._destination.host, now)) <= now:
                    self._mark_hedged(candidate, now)
                else:
                    self._is_promising = True
                    if hedge_at < check_at and not self._is_plain:
                        check_at = hedge_at
            elif phase is Phase.OPEN and flight is not None and reserve is None:
                reserve = candidate
            elif candidate.symptom is Symptom.REDIRECTED:
                at = self._terms.hedging.redirect_deadline(candidate)
                self._redirect_at = min(self._redirect_at, math.inf if at is None else at)
            if candidate.route.relays and phase in _MAY_BE_RETRIED:
                may_be_retried = True
        if reserve is not None and flight is not None:
            reserve_at = self._reserve_at(reserve)
            if not self._is_promising or now >= reserve_at:
                self._send_flight(reserve, flight)
                return True
            check_at = min(check_at, reserve_at)
        if not self._is_plain:
            if now < self._gives_up_at < check_at:
                check_at = self._gives_up_at
            if now < self._redirect_at < check_at:
                check_at = self._redirect_at
            if may_be_retried:
                check_at = min([check_at, *(at for at, _ in self._retriable(self._latest()) if now < at)])
        self._check_at = check_at
        route = None if self._is_promising else self._next_route(flight, now)
        if route is None:
            return False
        self._start(route, now)
        return True

    def _reserve_at(self, reserve: Candidate) -> float:
        """When an open path in reserve gets the flight, even if other candidates look promising: it does not wait long
        for strategies that were started after direct had failed or looked dropped. A late SYN-ACK clears direct only
        for a moment: it gave the kernel a long round trip, after three of which it retransmits the flight."""
        for candidate in self._candidates:
            if not candidate.direct:
                continue
            late = candidate.connected_late and candidate.phase is Phase.AWAITING_ANSWER
            if candidate.hedged or late or not candidate.active:
                since = candidate.hedged_at or candidate.ended_at or candidate.flight_sent_at
                return max(since, reserve.connected_at) + self._terms.detect.hedge_reserve_s
        return math.inf

    def _next_route(self, flight: Flight | None, now: float) -> Route | None:
        """The first route that was not started and may help after the failures so far. At the start that is the first
        of the plan, while there is no flight, or when it changes nothing of the flight, or no route fits its protocol.
        Otherwise a route to be retried."""
        if not self._candidates and (flight is None or not self._routes or not self._routes[0].wrap):
            return self._routes[0] if self._routes else None
        latest = self._latest()
        served = self._relay_may_serve(latest)
        route = self._untried(flight, [route for route in self._routes if route not in latest], now, served=served)
        if route is not None:
            return route
        if not served:
            for route, candidate in latest.items():
                if candidate.avoids_residual and candidate.symptom is Symptom.SKIPPED:
                    return route
        due = [candidate for at, candidate in self._retriable(latest) if at <= now]
        return min(due, key=lambda c: c.started_at).route if due else None

    def _untried(self, flight: Flight | None, left: list[Route], now: float, *, served: bool) -> Route | None:
        if not left:
            return None
        # Browsers always send an extension that looks like ECH (GREASE): it is real when the SNI names another host.
        named = self._destination.address is None
        ech = flight is not None and flight.ech and named and flight.server_name != self._destination.host
        for candidate in self._candidates:
            if candidate.direct:
                self._annotate(candidate, ech=ech)
        attempts = tuple(c.presumed_attempt(self.started_at, self._pause, now) for c in self._candidates)
        protocol = flight.protocol if flight is not None else FlightProtocol.NONE
        may_help = self._policy.may_help
        fitting = (
            route
            for last_resort in ((False,) if served else (False, True))
            for route in left
            if may_help(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)
        )
        return next(fitting, None if self._candidates else left[0])

    def _relay_may_serve(self, latest: Mapping[Route, Candidate]) -> bool:
        """Whether a relay of this race may deliver: it has an open path, may have one soon, or was not tried yet and is
        not known to fail."""
        for route in self._routes:
            if route.relays:
                candidate = latest.get(route)
                if candidate is None:
                    if not self._policy.is_failing(route):
                        return True
                elif candidate.active and (candidate.phase is not Phase.DIALING or not candidate.hedged):
                    return True
        return False

    def _retriable(self, latest: Mapping[Route, Candidate]) -> list[tuple[float, Candidate]]:
        """The relays that may be retried: when, and their latest try."""
        relayed = [candidate for route, candidate in latest.items() if route.relays]
        return [(at, candidate) for candidate in relayed if (at := self._retries.due_at(candidate)) is not None]

    def _has_failed(self) -> bool:
        """Whether nothing is under way and no retry is worth waiting for."""
        if any(c.active for c in self._candidates):
            return False
        if any(c.symptom in _AS_GOOD_AS_VALID for c in self._candidates):
            return True
        now = self._loop.time()
        retriable = self._retriable(self._latest())
        return now >= self._gives_up_at or not any(self._retries.is_worth_the_wait(c, now) for _, c in retriable)

    def _gives_up(self) -> bool:
        """Whether `give_up_s` is over and everything under way looks dropped: then ends it all. A candidate whose
        flight was acknowledged, or that is not hedged yet, keeps the race going."""
        under_way = [c for c in self._candidates if c.active]
        if self._loop.time() < self._gives_up_at or not all(map(self._is_in_vain, under_way)):
            return False
        for candidate in under_way:
            self._check.time_out(candidate)
            candidate.drop(self._loop.time())
        return True

    def _is_in_vain(self, candidate: Candidate) -> bool:
        connecting = candidate.phase is Phase.DIALING
        return candidate.hedged and (connecting or self._terms.hedging.unacknowledged(candidate))

    def _annotate(self, candidate: Candidate, *, ech: bool) -> None:
        """Adds evidence about the resolver and the network to a direct attempt."""
        candidate.evidence.update(self._policy.dns_evidence(self._destination.host))
        if ech:
            candidate.evidence["ech"] = 1
        if self._terms.tcp_info.split_tcp.detected:
            candidate.evidence["middlebox"] = 1

    def _mark_hedged(self, candidate: Candidate, now: float) -> None:
        """Marks a candidate as hedged, and direct as down for the other races to this host."""
        if candidate.hedged:
            return
        candidate.hedged_at = now
        if candidate.phase is Phase.DIALING and candidate.direct:
            self._check.note_addresses(candidate)
        if candidate.phase is Phase.AWAITING_ANSWER:
            self._check.report_broken_flight(candidate, self._flight)
            if candidate.direct and self._terms.down_cache is not None:
                self._terms.down_cache.mark_down(self._destination.host)

    def _start(self, route: Route, now: float) -> None:
        candidate = Candidate(route, now)
        if route.relays and self._candidates and route in self._latest():
            self._retries.started(route.relays, now)
        candidate.avoids_residual = bool(route.wrap) and not route.relays and self._relay_may_serve(self._latest())
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
        if not self._is_plain and candidate.phase is Phase.DIALING:
            self._check_at = min(self._check_at, self._terms.hedging.hedge_at(candidate, self._destination.host, now))

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
                self._retries.failed(route.relays, self._loop.time())
        except Exception as error:
            candidate.failed(Stage.CONNECT, Symptom.LOCAL, f"a fault in Byway: {error!r}", self._loop.time())
            raise
        else:
            candidate.opened(stream, self.notify, self._loop.time())
            if route.relays:
                self._terms.schedule.opened(route.relays)
        finally:
            self.notify.set()

    def _send_flight(self, candidate: Candidate, flight: Flight) -> None:
        assert candidate.stream is not None
        self._is_flown = True
        candidate.phase = Phase.AWAITING_ANSWER
        candidate.flight_sent_at = self._loop.time()
        if not candidate.route.relays and self._terms.tcp_info.usable and len(self._routes) > 1:
            snapshot = self._terms.tcp_info.snapshot(candidate.stream.lowest_socket)
            candidate.syn_s = snapshot.rtt_s if snapshot is not None else 0.0
            candidate.snapshot = None if self._terms.tcp_info.split_tcp.detected else snapshot
        self._send(candidate, flight)

    def _leave_one_flight(self) -> None:
        """What came behind a flight that several routes have may not be sent twice: one route gets it, the first that
        answers, or else that does not look dropped. Resets the others."""
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
                # The kernel reports a reset once. Reading then returns what came before it, and EOF: see `_classify`.
                candidate.reset = True
            elif candidate.phase is Phase.AWAITING_ANSWER and error.errno != errno.EPIPE:
                self._check.on_broken(candidate, error, flight)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _won(self, winner: Candidate, *, valid: bool) -> Winner:
        """Hands out the winner and resets the others, except a direct one that may still answer."""
        assert winner.stream is not None
        winner.stream.notify = None
        winner.phase, self._is_won = Phase.WON, True
        if valid:
            winner.stage, winner.symptom = Stage.DONE, Symptom.NONE
            winner.ended_at = winner.ended_at or self._loop.time()
            if winner.syn_s and self._flight is not None and self._flight.protocol is FlightProtocol.TLS:
                self._note_times(winner)
            down_cache = self._terms.down_cache
            if winner.direct and down_cache is not None and down_cache.down_until:
                down_cache.clear(self._destination.host)
        for candidate in self._candidates:
            if candidate is winner:
                continue
            if valid and candidate.direct and candidate.active:
                self.overtaken = LateDirect(
                    candidate, self._flight, self._check, self._terms, self.notify, self.started_at, self._pause
                )
            else:
                candidate.drop(self._loop.time())
        unsent = self._flight.data[winner.sent :] if self._flight is not None else b""
        return Winner(winner.route, winner.stream, winner.answer, unsent, valid)

    def _note_times(self, winner: Candidate) -> None:
        """Tells the split-TCP detector how soon a SYN and a ClientHello were answered. A long time may be our own
        delay, so the kernel's clock is read then."""
        assert winner.stream is not None
        first_byte_s = winner.ended_at - winner.flight_sent_at
        if first_byte_s >= self._terms.detect.middlebox_least_s:
            by_kernel_s = self._terms.tcp_info.answered_after(winner.stream.lowest_socket)
            first_byte_s = first_byte_s if by_kernel_s is None else by_kernel_s
        self._terms.tcp_info.split_tcp.note(self._destination.host, winner.syn_s, first_byte_s)

    def _best_invalid_answer(self) -> Winner | None:
        """The answer for the client when no route had a valid one; None: there is no answer. A redirect or a TLS alert
        that no other route contradicts counts as the site's own."""
        for candidate in self._candidates:
            if candidate.symptom in _AS_GOOD_AS_VALID:
                return self._won(candidate, valid=True)
        for candidate in self._candidates:
            if candidate.symptom in (Symptom.GARBAGE, Symptom.BLOCK_PAGE):
                return self._won(candidate, valid=False)
        return None

    def _latest(self) -> dict[Route, Candidate]:
        """The latest candidate of each route that was started."""
        return {candidate.route: candidate for candidate in self._candidates}

    def _first(self, phase: Phase) -> Candidate | None:
        for candidate in self._candidates:
            if candidate.phase is phase:
                return candidate
        return None
