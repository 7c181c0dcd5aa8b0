"""Searches for a local strategy that passes, beside the user's own visits and never with the user's request.

One connection at a time tries one strategy with a flight like that of the visit, at least a second after the last
ClientHello of its name, and not at an address in its residual window. A strategy that is answered is credited only if
plain direct, with the same flight, fails within 30 s: else the block may be over, or only affect other programs. Until
a re-test has failed, plain direct is tried first: the site may only have failed once. Against a freeze an answer shows
nothing: a strategy passes, and plain direct fails, by the bytes of the site's first page, as in a re-test. `detect`
says when a search is due and which strategy is next, and remembers the results for all sites of a network.

Where no route carried the visit, the site may be down for everybody. Then nothing is tried before something has shown
that the way to it is open: a reset while another site works, or its address answers another name. Such a visit has
itself sent plain direct, so the search first waits until the residual window is over.
"""

from __future__ import annotations

import asyncio
import math
import random

from proxy.detect.beliefs.events import ResidueAsked, RungResult, RungTried
from proxy.detect.beliefs.retests import Claim
from proxy.detect.beliefs.rungs import Search
from proxy.detect.signals import concerns, plain_attempt
from proxy.model import DIRECT, Attempt, Cause, Destination, Protocol, Route, Stage, Symptom, host_and_port
from proxy.net.race.hello_ledger import until_quiet
from proxy.net.tasks import spawn
from proxy.probe.beside import BesideVisit, beside
from proxy.probe.neutral_name import neutral_name
from proxy.probe.retest import report_pair
from proxy.probe.same_flight import BROKEN, answered_after, attempt_by
from proxy.probe.throughput import ENOUGH, measure_throughput, outlasts_freeze, shows_freeze
from proxy.routing.strategies import searched_strategies
from proxy.session.events import OpenRecord, Rescued, SignalWaits, Unserved
from proxy.session.services import Services

TRIED_MAX = 3
"""Strategies that one search tries at most."""

ROUNDS_MAX = 6
"""Waits and trials of one search at most: each visit meanwhile may make it wait once more."""

VISIT_S = 10.0
"""The time in which a visit ends of which every flight is reset, with those of the local strategies in it."""

QUIET_WITHIN_S = 15.0
"""The longest wait for a second without a ClientHello of the name: plain direct has to fail within 30 s."""

ASKED_WITHIN_S = 10.0
"""Seconds after a flight that was broken in which another name shows whether that left any residue: residual blocking
lasts for a minute at least, by the papers on China's and Iran's."""

_RESETS = frozenset({Symptom.RESET, Symptom.REFUSED})

_REJECTED = frozenset({Symptom.ALERT, Symptom.EOF})
"""Failures that the server may have caused, since it rejects fragmented ClientHellos."""

_FAILED = frozenset(
    {
        *(Symptom.RESET, Symptom.DROPPED, Symptom.SILENT, Symptom.TIMEOUT, Symptom.GARBAGE, *_REJECTED),
        *(Symptom.BLOCK_PAGE, Symptom.REDIRECTED, Symptom.FROZEN),
    }
)


class LadderSearch:
    """Starts searches after visits that direct did not carry."""

    def __init__(self, services: Services, *, rng: random.Random | None = None) -> None:
        self._services = services
        self._rng = rng if rng is not None else random.SystemRandom()
        self._later = 0  # searches that wait for the end of a residual window

    def on_rescued(self, rescued: Rescued) -> None:
        """Starts a search if one is due, beside a visit over another route than direct."""
        if rescued.outcome.winner not in (None, DIRECT):
            self._start(rescued)

    def on_unserved(self, visit: Unserved) -> None:
        """Starts a search if one is due, beside a visit that no route carried. Where a flight was broken before, a
        censor may not have let this one connect."""
        plain = plain_attempt(visit.outcome)
        if plain is not None and (_has_failed(plain) or plain.stage is Stage.CONNECT):
            self._start(visit, has_sent=plain.stage is not Stage.CONNECT)

    def _start(self, visit: Rescued | Unserved, *, has_sent: bool = True) -> None:
        services, setup, outcome, flight = self._services, visit.setup, visit.outcome, visit.flight
        if (
            DIRECT not in outcome.plan.routes
            or (flight.protocol is Protocol.TLS and flight.server_name != outcome.host)  # an encrypted one
            or not (frame := beside(services, setup, visit.record.network, outcome))
        ):
            return
        if not concerns(frame.belief(), flight.protocol):
            return
        search = _Search(frame, visit, self._rng, is_freeze=frame.belief().cause == Cause.FROZEN)
        if not has_sent and not search.struck_until():
            return
        due, claim = search.due(), frame.claim()
        if due is Search.LATER and self._later >= setup.settings.detect.search_per_hour:
            frame.services.beliefs.release(claim)  # more are not made within the hour
        elif due is not Search.NOT_DUE:
            visit.record.retain()
            self._later += due is Search.LATER
            spawn(self._run(search, due, claim), name=f"search for a local strategy for {outcome.host}")

    async def _run(self, search: _Search, due: Search, claim: Claim | None) -> None:
        try:
            await search.run(due, claim)
        finally:
            self._later -= due is Search.LATER


class _Search:
    """One search, with what it has seen on its own connections."""

    def __init__(self, frame: BesideVisit, visit: Rescued | Unserved, rng: random.Random, *, is_freeze: bool) -> None:
        self._frame = frame
        self._is_freeze = is_freeze
        self._most = 0  # bytes of the first page that a route has brought
        self._record: OpenRecord = visit.record
        self._outcome = visit.outcome
        self._flight = visit.flight
        self._rng = rng
        self._routes = searched_strategies(frame.setup.settings.auto.ladder, visit.flight.protocol)
        self._is_carried = visit.outcome.winner is not None
        self._answers_others = False  # the address of the site has answered another name
        self._has_sent = False  # anything, since the search was claimed
        self._began_at = asyncio.get_running_loop().time()
        self._plain_failed_at = -math.inf  # when plain direct was sent last, and failed
        self._broken: tuple[str, float] | None = None
        """The address at which a flight of this search was broken, and when that was sent."""

    @property
    def _addresses(self) -> list[str]:
        """The addresses of the host, as far as they are known."""
        tried = [a.address for a in self._outcome.attempts if not a.route.relays and a.address]
        return [*tried, *map(str, self._frame.setup.resolver.known(self._outcome.request.destination.host))]

    def due(self) -> Search:
        """Whether a search is due. Claims it."""
        frame, services = self._frame, self._frame.services
        return services.beliefs.search_due(
            *(frame.host, self._routes, self._addresses, self._flight.protocol),
            network=frame.network,
            now=services.now(),
            is_carried=self._is_carried,
        )

    async def run(self, due: Search, claim: Claim | None) -> None:
        frame = self._frame
        for number in range(ROUNDS_MAX):
            with frame.releasing(claim):
                if number == 0:
                    direct = await self._judged()
                    if direct is not None and direct.delivered:
                        return
                    if due is Search.DUE:
                        self._note_visit(direct)
                if not await self._go_on(due, claim) or not frame.is_same():
                    return
            if (due := self.due()) is Search.NOT_DUE:
                return
            claim = frame.claim()
        frame.services.beliefs.release(claim)

    async def _go_on(self, due: Search, claim: Claim | None) -> bool:
        """Makes the search, or what has to come before it. Returns whether it may be due then."""
        if due is Search.LATER:
            return await self._until_calm(0.0 if claim is None else claim[1])
        if due is Search.AFTER_CHECK:
            if await self._fails_plain(in_window=True):
                await self._ask_residue()
                return True
            return not self._is_carried  # it may not have connected in the window
        self._has_sent = False
        if due is Search.DUE:
            may_try = await self._may_be_blocked()
        else:
            may_try = await self._fails_plain() and await self._may_go_on()
        if may_try:
            await self._try_all()
        if self._is_carried or self._has_sent:
            return False
        # A visit came first, and has begun a window. The next search may be one of those of this hour.
        self._frame.services.beliefs.take_back_search(self._frame.host, network=self._frame.network)
        return True

    async def _until_calm(self, until: float) -> bool:
        """Waits for the end of the residual windows, of which the user's next visits may begin others, `until` then at
        most, in seconds since the epoch. Returns whether there is none any more."""
        frame = self._frame
        while frame.is_same() and (calm_at := self.struck_until()):
            if calm_at > until:
                return False
            await asyncio.sleep(max(0.01, calm_at - frame.services.now()))
        return frame.is_same()

    async def _judged(self) -> Attempt | None:
        """Returns the direct attempt of the visit, once it is judged: when a relay won, it may only have been slow."""
        try:
            await self._record.direct_judged()
            return self._record.outcome.direct_attempt
        finally:
            self._record.release()

    def _note_visit(self, direct: Attempt | None) -> None:
        """Notes that plain direct failed in the visit. Its times are by the loop's clock, since the other one may be
        set."""
        won = next((a for a in self._outcome.attempts if a.delivered), None)
        if direct is not None and won is not None and not direct.pending and _has_failed(direct):
            self._plain_failed_at = self._began_at - (won.started + won.elapsed - direct.started)

    async def _try_all(self) -> None:
        frame, beliefs = self._frame, self._frame.services.beliefs
        for _ in range(TRIED_MAX):
            now, is_carried = frame.services.now(), self._is_carried
            route = beliefs.next_rung(frame.host, self._routes, network=frame.network, now=now, is_carried=is_carried)
            if route is None or not await self._try(route):
                return

    async def _may_be_blocked(self) -> bool:
        """Whether a strategy may help at all. A visit that a route carried shows that the site is up. Else another site
        has worked since its flight was reset, or the address answers another name: it is not the network that is
        down, nor all of the server."""
        services, visit = self._frame.services, self._outcome
        plain = plain_attempt(visit)
        if self._is_carried or self._answers_others or plain is None:
            return True
        sent_at = max(visit.at + plain.started, visit.flight_at)
        if plain.symptom in _RESETS and services.beliefs.delivered_at(self._frame.network) >= sent_at:
            return True
        known, port = self._frame.setup.resolver.known(visit.request.destination.host), visit.request.destination.port
        if peer := plain.address or (str(Destination(str(known[0]), port)) if known else ""):
            await self._ask_other_name(peer)
        return self._answers_others

    async def _try(self, route: Route) -> bool:
        """Tries a strategy, and reports its result if there is one. Returns whether the search goes on."""
        began_at = self._frame.services.now()
        attempt = await self._attempt(route)
        if attempt is None:
            return False
        if attempt.delivered:
            if await self._fails_plain() or await self._failed_in_visit(began_at):
                self._report(route, RungResult.PASSED)
            return False
        if not _has_failed(attempt):
            return False
        self._report(route, RungResult.REJECTED if attempt.symptom in _REJECTED else RungResult.FAILED)
        return await self._may_go_on()

    def _report(self, route: Route, result: RungResult) -> None:
        frame = self._frame
        if frame.report(RungTried(frame.host, route, result, self._is_carried)):
            frame.services.events.emit(SignalWaits())  # of a visit that nothing carried it may wait for a control

    async def _may_go_on(self) -> bool:
        """Whether another strategy may be tried after a flight that failed: not where it has left a residue."""
        services = self._frame.services
        if self.struck_until() and services.beliefs.residue_question_due(
            self._flight.protocol, network=self._frame.network, now=services.now()
        ):
            await self._ask_residue()
        return not self.struck_until()

    async def _ask_residue(self) -> None:
        """Sends another name to the address at which a flight of this search was just broken. Later its answer would
        show nothing: the residue may be over."""
        if self._broken is not None and await self._ask_other_name(*self._broken):
            self._frame.note(ResidueAsked(self._flight.protocol, self._answers_others))

    async def _ask_other_name(self, peer: str, sent_at: float = math.inf) -> bool:
        """Sends another name to an address ("address:port"). Returns whether it did: not once ASKED_WITHIN_S have
        passed since `sent_at`."""
        frame, services, setup = self._frame, self._frame.services, self._frame.setup
        name = await neutral_name(services, setup, frame.host, frame.network, self._rng)
        if not name:
            return False
        if self._flight.protocol is Protocol.TLS:
            await services.hello_turn(name)
        if not frame.is_same() or asyncio.get_running_loop().time() - sent_at > ASKED_WITHIN_S:
            return False
        self._has_sent = True
        host, port = host_and_port(peer)
        address, within_s = Destination(host, int(port)), setup.settings.detect.silent_s
        answered_s = await answered_after(
            setup, services.tcp_info, self._outcome, self._flight, address, server_name=name, within_s=within_s
        )
        self._answers_others = answered_s is not None and math.isfinite(answered_s)
        return True

    async def _fails_plain(self, *, in_window: bool = False) -> bool:
        """Whether plain direct has just failed, or fails now. When it works, the block is over."""
        frame, within_s = self._frame, self._frame.setup.settings.detect.rescue_window_s
        now = asyncio.get_running_loop().time()
        if now - self._plain_failed_at < within_s:
            return True
        attempt = await self._attempt(DIRECT, in_window=in_window)
        if attempt is None:
            return False
        if attempt.delivered:
            await report_pair(frame, self._outcome, self._flight, direct_ok=True, other_ok=True)
        elif _has_failed(attempt):
            self._plain_failed_at = now
        return _has_failed(attempt)

    async def _failed_in_visit(self, since: float) -> bool:
        """Whether plain direct failed in a visit `since` then that nothing carried: that has begun a window, in which a
        search sends no other one."""
        frame, services = self._frame, self._frame.services
        if self._is_carried or not self.struck_until():
            return False
        await asyncio.sleep(VISIT_S)
        return frame.is_same() and services.beliefs.unserved_at(frame.host, network=frame.network) >= since

    async def _attempt(self, route: Route, *, in_window: bool = False) -> Attempt | None:
        """Sends the flight over a route in its turn. Returns None when that is not possible, or shows nothing since
        the network or the configuration has changed meanwhile. `in_window`: also at an address in its window."""
        frame, services = self._frame, self._frame.services
        tuning = frame.setup.settings.detect
        if self._flight.protocol is Protocol.TLS:
            if not await until_quiet(services.findings.hellos, frame.host, tuning, within_s=QUIET_WITHIN_S):
                return None
            await services.hello_turn(frame.host)
        else:
            await asyncio.sleep(tuning.hello_apart_s)
        if not frame.is_same() or (not in_window and self.struck_until()):
            return None
        sent_at, self._has_sent = asyncio.get_running_loop().time(), True
        if self._is_freeze:
            attempt = await self._transfer(route)
        else:
            attempt = await attempt_by(frame.setup, services.tcp_info, self._outcome, self._flight, route)
        if attempt is None or not frame.is_same() or (frame.belief().cause == Cause.FROZEN) is not self._is_freeze:
            return None
        if attempt.stage is Stage.FIRST_BYTE and attempt.symptom in BROKEN:
            self._broken = attempt.address, sent_at
        return attempt

    async def _transfer(self, route: Route) -> Attempt | None:
        """Requests the first page over a route: FROZEN if it brought no more than a frozen one. Returns None when that
        does not show, since no other route of this search brought more."""
        count, winner = await self._count(route), self._outcome.winner
        if count >= ENOUGH:
            self._most = count
        elif not self._most and winner is not None:
            if winner.is_direct and self._flight.protocol is Protocol.TLS:
                await self._frame.services.hello_turn(self._frame.host)
            self._most = await self._count(winner)
        if outlasts_freeze(count, self._most):
            return Attempt(route, Stage.DONE)
        return Attempt(route, Stage.FIRST_BYTE, Symptom.FROZEN) if shows_freeze(self._most) else None

    async def _count(self, route: Route) -> int:
        setup, destination = self._frame.setup, self._outcome.request.destination
        dialer, within_s = setup.registry.dialer(route), setup.settings.detect.retest_pair_s
        host, protocol = self._frame.host, self._flight.protocol
        return await measure_throughput(dialer, destination, host, protocol, enough=ENOUGH, within_s=within_s)

    def struck_until(self) -> float:
        frame, services = self._frame, self._frame.services
        return services.beliefs.struck_until(
            frame.host, self._addresses, self._flight.protocol, network=frame.network, now=services.now()
        )


def _has_failed(attempt: Attempt) -> bool:
    """Whether a flight was sent and a censor may have stopped it. An attempt of the search that is still pending got no
    answer in time."""
    return attempt.stage is Stage.FIRST_BYTE and (attempt.pending or attempt.symptom in _FAILED)
