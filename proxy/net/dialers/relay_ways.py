"""Dials a relay by whichever of its ways leads there: every address, every alternative, and fragmented hellos.

A censor may reset, drop or misdirect the connection to a relay as to any site. So the ways are tried as the routes of a
race are: the next one starts when those before it failed or look dropped, and the first that leads to the relay wins.
For TLS that takes the whole handshake, with the same certificate checks on every way. Which way goes first is decided
by beliefs that this dialer reports to; a way on which transfers stall is for when all others have failed. An attempt
that another one overtook is judged in the background, and so is a way whose test is due, beside a dial that went well:
nothing is ever sent on a timer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from proxy.model import Destination, Evidence, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.relay_way import RelayWay
from proxy.net.deadline import poll_again
from proxy.net.dialers.dialer import HANDSHAKE_TIMEOUT_S, Dialer
from proxy.net.dialers.evasion import with_strategies
from proxy.net.dialers.hello_spacing import HelloSpacing
from proxy.net.dialers.relay_handshake import dial_relay
from proxy.net.dialers.road import RoadToRelays
from proxy.net.dialers.tcp import STAGGER_S, AddressLookup, interleaved
from proxy.net.dialers.tls import TlsDialer
from proxy.net.kernel.tcp_info import Snapshot
from proxy.net.notify import Notify
from proxy.net.race.candidate import Phase
from proxy.net.race.hedging import HedgePolicy
from proxy.net.stream import Stream
from proxy.net.tasks import spawn

ADDRESSES_MAX = 4
"""Addresses of one name that are ways of their own."""

AT_ONCE = 6
"""Ways of one dial that are under way at most."""

_FILTERED = frozenset({Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.DROPPED, Symptom.SILENT})
"""Failures after which a fragmented hello is worth a try."""

_NOT_THE_WAYS = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN, Symptom.ABANDONED})


class RelayWaysDialer:
    """Dials one relay by any of its ways. Belongs to one loop."""

    def __init__(
        self,
        via: Dialer,
        endpoints: Sequence[Destination],
        road: RoadToRelays,
        *,
        tls: TlsDialer | None = None,
        relay: str = "",
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
        spacing: HelloSpacing | None = None,
    ) -> None:
        """`via` dials literal addresses, and names where `road` has no lookup. `endpoints` are where the relay listens,
        that of its URL first. `tls` speaks TLS on each way; `relay` is its name in messages. `spacing`: the first
        hello of a dial has waited for it, others do."""
        self.spacing = spacing
        self.endpoints = tuple(endpoints)
        self.relay = relay
        self.road = road
        self.policy = HedgePolicy(road.tcp_info, road.detect)
        self._via: dict[str, Dialer] = {"": via}
        self._tls = tls
        self._timeout_s = timeout_s
        self._judged: set[RelayWay] = set()  # in the background
        if tls is not None:
            for strategy in road.strategies:
                self._via[strategy] = with_strategies(via, strategy.split("|"))

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer; `destination` is the relay. Raises the DialError of the first way when all have failed."""
        race = _WayRace(self, self._timeout_s)
        try:
            return await race.run()
        finally:
            race.close()

    def is_punished(self, symptom: Symptom) -> bool:
        """Whether a way that failed so says nothing of it: the network froze all of them for a burst of hellos."""
        is_silent = symptom in (Symptom.SILENT, Symptom.DROPPED, Symptom.TIMEOUT)
        return is_silent and self.spacing is not None and self.spacing.was_punished(asyncio.get_running_loop().time())

    def broke(self, stream: Stream) -> None:
        """The relay did not complete its handshake on a stream of this dialer."""
        self.road.beliefs.avoid(self.endpoints[0], stream.peer, *self.road.here())

    def ways_to(self, endpoint: Destination, addresses: Sequence[str]) -> list[RelayWay]:
        """Returns the ways by these addresses, each without a strategy first."""
        return [
            RelayWay(endpoint, address, strategy) for address in addresses[:ADDRESSES_MAX] for strategy in self._via
        ]

    def start(self, way: RelayWay, notify: Callable[[], None]) -> _WayAttempt:
        """Starts an attempt. `notify` is called when it ends or has connected."""
        attempt = _WayAttempt(way, asyncio.get_running_loop().time())
        attempt.task = spawn(self._open(attempt, notify), name=f"way to {self.relay}", on_end=notify, eager=True)
        return attempt

    async def _open(self, attempt: _WayAttempt, notify: Callable[[], None]) -> Stream | DialError:
        way = attempt.way
        try:
            stream = await dial_relay(self._via[way.strategy], way.target, self.relay)
            if self._tls is None:
                return stream
            attempt.stream, attempt.phase = stream, Phase.AWAITING_ANSWER
            attempt.connected_at = attempt.flight_sent_at = asyncio.get_running_loop().time()
            if way.address and self.road.tcp_info.usable:
                attempt.snapshot = self.road.tcp_info.snapshot(stream.lowest_socket)
            notify()
            return await self._tls.secure(stream, way.target)
        except DialError as error:
            return error

    # -- in the background -----------------------------------------------------------------------------------------

    def judge_later(self, attempt: _WayAttempt) -> None:
        """Takes over an attempt that was overtaken, and judges it at its signal's deadline."""
        if attempt.way in self._judged:
            attempt.drop()
        else:
            self._judged.add(attempt.way)
            spawn(self._judge(attempt), name=f"judge a way to {self.relay}")

    def retest(self, ways: Sequence[RelayWay]) -> None:
        """Tries a way whose test is due, if there is one. To be called beside a dial that went well."""
        if self.spacing is not None and self.spacing.was_punished(asyncio.get_running_loop().time()):
            return
        way = self.road.retests and self.road.beliefs.due(self.endpoints[0], ways, *self.road.here())
        if way and way not in self._judged:
            self._judged.add(way)
            spawn(self._judge(self.start(way, lambda: None)), name=f"test a way to {self.relay}")

    async def _judge(self, attempt: _WayAttempt) -> None:
        detect, loop, is_late = self.road.detect, asyncio.get_running_loop(), False
        try:
            while not attempt.task.done():
                now = loop.time()
                if attempt.phase is Phase.DIALING:
                    over_at = attempt.started_at + detect.syn_s
                else:
                    over_at = attempt.flight_sent_at + detect.silent_s
                    if now >= self.policy.dropped_at(attempt) and self.policy.unacknowledged(attempt):
                        over_at = now
                if now < over_at:
                    is_late = False
                    await asyncio.wait({attempt.task}, timeout=min(over_at - now, _LOOK_S))
                elif not is_late:  # an answer may have come while this process stood still
                    is_late = True
                    await poll_again()
                else:
                    break
            if not isinstance(attempt.result, Stream):
                symptom = attempt.symptom(self.policy)
                if symptom not in _NOT_THE_WAYS and not self.is_punished(symptom):
                    self.road.beliefs.failed(self.endpoints[0], attempt.way, symptom, *self.road.here())
            else:
                self.road.beliefs.worked(self.endpoints[0], attempt.way, *self.road.here())
        finally:
            self._judged.discard(attempt.way)
            attempt.drop()

    def __repr__(self) -> str:
        return f"<RelayWaysDialer {self.relay} {' '.join(map(str, self.endpoints))}>"


_LOOK_S = 0.25
"""Between two looks at an attempt that is judged."""

_SYMPTOMS = {symptom.value: symptom for symptom in Symptom if symptom is not Symptom.NONE}


class _WayAttempt:
    """An attempt on one way. The hedging policy reads it as UnderWay."""

    __slots__ = (
        "connected_at", "evidence", "flight_sent_at", "hedged", "phase", "snapshot", "started_at", "stream", "syn_at",
        "task", "way",
    )  # fmt: skip

    task: asyncio.Task[Stream | DialError]

    def __init__(self, way: RelayWay, now: float) -> None:
        self.way = way
        self.hedged = False  # it looked dropped, so the next way may start beside it
        self.phase = Phase.DIALING
        self.started_at = now
        self.syn_at = 0.0
        self.connected_at = self.flight_sent_at = 0.0
        self.stream: Stream | None = None
        self.snapshot: Snapshot | None = None
        self.evidence: Evidence = {}

    @property
    def result(self) -> Stream | DialError | None:
        """None while it is under way, or when it was cancelled."""
        return self.task.result() if self.task.done() and not self.task.cancelled() else None

    def symptom(self, policy: HedgePolicy) -> Symptom:
        """How it failed; of one that is still under way, how it would fail now."""
        result = self.result
        if not isinstance(result, DialError):
            if self.phase is Phase.DIALING:
                return Symptom.TIMEOUT
            return Symptom.DROPPED if policy.unacknowledged(self) else Symptom.SILENT
        if result.symptom is Symptom.RELAY_GARBAGE:
            return Symptom.GARBAGE
        found = str(result.evidence.get("relay", ""))
        if found == Symptom.TIMEOUT and result.stage is Stage.RELAY:
            return Symptom.SILENT
        return _SYMPTOMS.get(found, result.symptom)

    def drop(self) -> None:
        """Ends it. Harmless when repeated."""
        self.task.cancel()
        if isinstance(self.result, Stream):
            self.result.abort()


class _WayRace:
    """One dial: its attempts, in the order in which they began."""

    def __init__(self, dialer: RelayWaysDialer, timeout_s: float) -> None:
        self._dialer = dialer
        self._relay = dialer.endpoints[0]
        self._notify = Notify()
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._ends_at = self._began_at + 2 * timeout_s  # only the first way is started later
        self._check_at = math.inf
        self._ways: dict[Destination, list[RelayWay]] = {}
        self._lookups: dict[Destination, asyncio.Task[Sequence[str] | DialError]] = {}
        self._failed_lookups: list[DialError] = []
        self._queue: list[RelayWay] = []
        self._last: list[RelayWay] = []  # see WayOrder
        self._at_last = False  # whether their time has come
        self._attempts: list[_WayAttempt] = []
        self._failed: list[_WayAttempt] = []
        self._filtered: list[RelayWay] = []
        self._is_won = False

    async def run(self) -> Stream:
        self._look_up()
        self._enqueue()
        while True:
            for attempt in tuple(self._attempts):
                result = attempt.result
                if isinstance(result, DialError):
                    self._attempts.remove(attempt)
                    self._failed.append(attempt)
                    if attempt.symptom(self._dialer.policy) in _FILTERED:
                        self._note_filtered(attempt)
                elif result is not None:
                    return self._win(attempt, result)
            self._take_addresses()
            self._start_due()
            if not (self._attempts or self._lookups or self._queue):
                raise self._failure()
            if self._check_at > self._loop.time():
                await self._notify.wait(self._check_at)

    def close(self) -> None:
        """Ends all attempts in progress. Attempts that a winner overtook are judged first."""
        self._notify.close()
        for task in self._lookups.values():
            task.cancel()
        for attempt in self._attempts:
            if self._is_won and attempt.hedged:
                self._dialer.judge_later(attempt)
            else:
                attempt.drop()

    # -- where the relay listens -----------------------------------------------------------------------------------

    def _look_up(self) -> None:
        """Collects the addresses that are known, and starts lookups of the others."""
        lookup = self._dialer.road.lookup
        for endpoint in self._dialer.endpoints:
            if endpoint.address is not None:
                addresses: Sequence[str] = (endpoint.host,)
            elif lookup is None:
                addresses = ("",)
            else:
                cached = lookup.cached(endpoint.host)
                if cached is None:
                    self._lookups[endpoint] = spawn(
                        _resolved(lookup, endpoint.host), name=f"resolve {endpoint.host}", on_end=self._notify.set
                    )
                    continue
                addresses = [*map(str, interleaved(cached))]
            self._ways[endpoint] = self._dialer.ways_to(endpoint, addresses)

    def _take_addresses(self) -> None:
        done = [endpoint for endpoint, task in self._lookups.items() if task.done()]
        for endpoint in done:
            found = self._lookups.pop(endpoint).result()
            if isinstance(found, DialError):
                self._failed_lookups.append(found)
            else:
                self._ways[endpoint] = self._dialer.ways_to(endpoint, found)
        if done:
            self._enqueue()

    @property
    def _all_ways(self) -> list[RelayWay]:
        return [way for endpoint in self._dialer.endpoints for way in self._ways.get(endpoint, ())]

    def _enqueue(self) -> None:
        """Puts the ways that may be tried, and were not yet, in their order."""
        started = {attempt.way for attempt in (*self._attempts, *self._failed)}
        road = self._dialer.road
        order = road.beliefs.order(self._relay, self._all_ways, *road.here(), filtered=self._filtered)
        self._queue = [way for way in order.first if way not in started]
        self._last = [way for way in order.last if way not in started]
        if self._at_last:
            self._queue, self._last = self._queue + self._last, []

    # -- moving on -------------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        """Starts every way that is due, and notes in `_check_at` when time alone may change something."""
        while True:
            now = self._loop.time()
            hedge_at = self._hedge(now)
            self._check_at = hedge_at
            if not (self._queue or self._attempts or self._lookups):
                self._at_last, self._queue, self._last = True, self._last, []
            if not self._queue or len(self._attempts) >= AT_ONCE:
                return
            starts_at, spacing = self._next_starts_at(now, hedge_at), self._dialer.spacing
            is_further = bool(self._attempts or self._failed)
            if spacing is not None and is_further:
                starts_at = max(starts_at, spacing.next_at(now))
            if starts_at > now:
                self._check_at = min(starts_at, hedge_at)
                return
            if now >= self._ends_at and (self._attempts or self._failed):
                self._queue.clear()
                self._last.clear()
                return
            if spacing is not None and is_further:
                spacing.take(now)
            self._attempts.append(self._dialer.start(self._queue.pop(0), self._notify.set))

    def _hedge(self, now: float) -> float:
        """Notes which attempts look dropped; their ways may then have strategies. Returns when to look again at the
        others; infinite when there are none."""
        check_at = math.inf
        for attempt in self._attempts:
            if attempt.hedged:
                continue
            hedge_at = self._dialer.policy.looks_dropped_at(attempt, now)
            if hedge_at > now:
                check_at = min(check_at, hedge_at)
                continue
            attempt.hedged = True
            if attempt.phase is Phase.AWAITING_ANSWER:
                self._note_filtered(attempt)
        return check_at

    def _next_starts_at(self, now: float, hedge_at: float) -> float:
        """Returns the time when the next way in the queue starts. `hedge_at` is the result of `_hedge`."""
        following = self._queue[0].endpoint
        if not self._attempts:
            preferred = self._dialer.endpoints[: self._dialer.endpoints.index(following)]
            waits = any(endpoint in self._lookups for endpoint in preferred)
            return self._began_at + self._dialer.road.detect.hedge_syn_s if waits else now
        if hedge_at == math.inf:
            return now
        last = self._attempts[-1]
        connecting = all(attempt.phase is Phase.DIALING for attempt in self._attempts)
        if connecting and following == last.way.endpoint:  # Happy Eyeballs, as for any name
            return min(hedge_at, last.started_at + STAGGER_S)
        return hedge_at

    def _note_filtered(self, attempt: _WayAttempt) -> None:
        """The hello may have been filtered on this way: its strategies may be tried."""
        if not attempt.way.strategy and attempt.way not in self._filtered:
            self._filtered.append(attempt.way)
            self._enqueue()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _win(self, attempt: _WayAttempt, stream: Stream) -> Stream:
        self._is_won = True
        self._attempts.remove(attempt)  # the others are ended or judged; this one may have looked dropped as well
        beliefs, here = self._dialer.road.beliefs, self._dialer.road.here()
        beliefs.used(self._relay, attempt.way, *here)
        for overtaken in self._attempts:
            if overtaken.hedged:
                beliefs.overtaken(self._relay, overtaken.way, *here)
        for failed in self._failed:
            symptom = failed.symptom(self._dialer.policy)
            if symptom not in _NOT_THE_WAYS and not self._dialer.is_punished(symptom):
                beliefs.failed(self._relay, failed.way, symptom, *here)
        self._dialer.retest(self._all_ways)
        return stream

    def _failure(self) -> DialError:
        """One error for all: that of the first way, or of the lookup where there was none."""
        results = [attempt.result for attempt in self._failed]
        errors = [result for result in results if isinstance(result, DialError)]
        told = [error for error in errors if error.symptom not in _NOT_THE_WAYS] or errors or self._failed_lookups
        first = told[0]
        others = [str(attempt.way) for attempt in self._failed if attempt.result is not first]
        text = f"{first} (also tried: {', '.join(others)})" if others else str(first)
        return DialError(text, stage=first.stage, symptom=first.symptom, evidence=first.evidence)


async def _resolved(lookup: AddressLookup, host: str) -> Sequence[str] | DialError:
    try:
        return [*map(str, interleaved(await lookup.resolve(host)))]
    except DialError as error:
        return error
