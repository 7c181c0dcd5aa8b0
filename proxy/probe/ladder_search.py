"""Searches for a local strategy that passes, beside the user's own visits and never with the user's request.

One connection at a time tries one strategy with a flight like that of the visit, at least a second after the last
ClientHello of its name, and not at an address in its residual window. A strategy that is answered is credited only if
plain direct, with the same flight, fails within 30 s: else the block may be over, or only affect other programs. Until
a re-test has failed, plain direct is tried first: the site may only have failed once. Against a freeze an answer shows
nothing: a strategy passes, and plain direct fails, by the bytes of the site's first page, as in a re-test. `detect`
says when a search is due and which strategy is next, and remembers the results for all sites of a network.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence

from proxy.detect.beliefs.events import ResidueAsked, RungResult, RungTried
from proxy.detect.beliefs.retests import Claim
from proxy.detect.beliefs.rungs import Search
from proxy.detect.signals import concerns
from proxy.model import DIRECT, Attempt, Cause, Destination, IPAddress, Protocol, Route, Stage, Symptom, host_and_port
from proxy.net.race.hello_ledger import until_quiet
from proxy.net.tasks import spawn
from proxy.probe.beside import BesideVisit, beside
from proxy.probe.neutral_name import neutral_name
from proxy.probe.retest import report_pair
from proxy.probe.same_flight import BROKEN, answered_after, attempt_by
from proxy.probe.throughput import ENOUGH, measure_throughput, outlasts_freeze, shows_freeze
from proxy.routing.strategies import searched_strategies
from proxy.session.events import OpenRecord, Rescued
from proxy.session.services import Services

TRIED_MAX = 3
"""Strategies that one search tries at most."""

QUIET_WITHIN_S = 15.0
"""The longest wait for a second without a ClientHello of the name: plain direct has to fail within 30 s."""

ASKED_WITHIN_S = 10.0
"""Seconds after a flight that was broken in which another name shows whether that left any residue: residual blocking
lasts for a minute at least, by the papers on China's and Iran's."""

_REJECTED = frozenset({Symptom.ALERT, Symptom.EOF})
"""Failures that the server may have caused, since it rejects fragmented ClientHellos."""

_FAILED = frozenset(
    {
        *(Symptom.RESET, Symptom.DROPPED, Symptom.SILENT, Symptom.TIMEOUT, Symptom.GARBAGE, *_REJECTED),
        *(Symptom.BLOCK_PAGE, Symptom.REDIRECTED, Symptom.FROZEN),
    }
)


class LadderSearch:
    """Starts searches after visits over another route than direct."""

    def __init__(self, services: Services, *, rng: random.Random | None = None) -> None:
        self._services = services
        self._rng = rng if rng is not None else random.SystemRandom()

    def on_rescued(self, rescued: Rescued) -> None:
        """Starts a search if one is due."""
        services, setup, outcome, flight = self._services, rescued.setup, rescued.outcome, rescued.flight
        if (
            outcome.winner in (None, DIRECT)
            or DIRECT not in outcome.plan.routes
            or (flight.protocol is Protocol.TLS and flight.server_name != outcome.host)  # an encrypted one
            or not (frame := beside(services, setup, rescued.record.network, outcome))
        ):
            return
        if not concerns(frame.belief(), flight.protocol):
            return
        search = _Search(frame, rescued, self._rng, is_freeze=frame.belief().cause == Cause.FROZEN)
        if (due := search.due()) is not Search.NOT_DUE:
            rescued.record.retain()
            spawn(search.run(due, frame.claim()), name=f"search for a local strategy for {outcome.host}")


class _Search:
    """One search, with what it has seen on its own connections."""

    def __init__(self, frame: BesideVisit, rescued: Rescued, rng: random.Random, *, is_freeze: bool) -> None:
        self._frame = frame
        self._is_freeze = is_freeze
        self._most = 0  # bytes of the first page that a route has brought
        self._record: OpenRecord = rescued.record
        self._outcome = rescued.outcome
        self._flight = rescued.flight
        self._rng = rng
        self._routes = searched_strategies(frame.setup.settings.auto.ladder, rescued.flight.protocol)
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
        )

    async def run(self, due: Search, claim: Claim | None) -> None:
        with self._frame.releasing(claim):
            direct = await self._judged()
            if direct is not None and direct.delivered:
                return
            if due is Search.DUE:
                self._note_visit(direct)
            elif not await self._fails_plain(in_window=due is Search.AFTER_CHECK):
                return
            if due is Search.AFTER_CHECK:
                await self._ask_residue()
            elif due is Search.DUE or await self._may_go_on():
                await self._try_all()
        if due is Search.AFTER_CHECK and self._frame.is_same() and self.due() in (Search.DUE, Search.AFTER_PLAIN):
            with self._frame.releasing(self._frame.claim()):
                await self._try_all()

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
            now = frame.services.now()
            route = beliefs.next_rung(frame.host, self._routes, network=frame.network, now=now)
            if route is None or not await self._try(route):
                return

    async def _try(self, route: Route) -> bool:
        """Tries a strategy, and reports its result if there is one. Returns whether the search goes on."""
        frame = self._frame
        attempt = await self._attempt(route)
        if attempt is None:
            return False
        if attempt.delivered:
            if await self._fails_plain():
                frame.report(RungTried(frame.host, route, RungResult.PASSED))
            return False
        if not _has_failed(attempt):
            return False
        is_rejected = attempt.symptom in _REJECTED
        frame.report(RungTried(frame.host, route, RungResult.REJECTED if is_rejected else RungResult.FAILED))
        return await self._may_go_on()

    async def _may_go_on(self) -> bool:
        """Whether another strategy may be tried after a flight that failed: not where it has left a residue."""
        services = self._frame.services
        if self._struck() and services.beliefs.residue_question_due(
            self._flight.protocol, network=self._frame.network, now=services.now()
        ):
            await self._ask_residue()
        return not self._struck()

    async def _ask_residue(self) -> None:
        """Sends another name to the address at which a flight of this search was just broken. Later its answer would
        show nothing: the residue may be over."""
        frame, services, setup = self._frame, self._frame.services, self._frame.setup
        name = await neutral_name(services, setup, frame.host, frame.network, self._rng)
        if not name or self._broken is None:
            return
        if self._flight.protocol is Protocol.TLS:
            await services.hello_turn(name)
        peer, sent_at = self._broken
        if not frame.is_same() or asyncio.get_running_loop().time() - sent_at > ASKED_WITHIN_S:
            return
        host, port = host_and_port(peer)
        address, within_s = Destination(host, int(port)), setup.settings.detect.silent_s
        answered_s = await answered_after(
            setup, services.tcp_info, self._outcome, self._flight, address, server_name=name, within_s=within_s
        )
        is_answered = answered_s is not None and math.isfinite(answered_s)
        frame.note(ResidueAsked(self._flight.protocol, is_answered))

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
        if not frame.is_same() or (not in_window and self._struck()):
            return None
        sent_at = asyncio.get_running_loop().time()
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

    def _struck(self) -> Sequence[IPAddress]:
        frame, services = self._frame, self._frame.services
        return services.beliefs.struck(
            frame.host, self._addresses, self._flight.protocol, network=frame.network, now=services.now()
        )


def _has_failed(attempt: Attempt) -> bool:
    """Whether a flight was sent and a censor may have stopped it. An attempt of the search that is still pending got no
    answer in time."""
    return attempt.stage is Stage.FIRST_BYTE and (attempt.pending or attempt.symptom in _FAILED)
