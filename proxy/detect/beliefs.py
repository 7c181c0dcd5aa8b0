"""What we hold about each host on each network, and what an outcome changes about it.

Evidence before belief, a control before blame: a host becomes suspect or blocked only when another route delivered what
direct did not (gate G2 of detection.md); when nothing delivers it is `down` for a minute and nothing is learned. Every
belief has an age, a cause and a way back. Outcomes go in, changes come out for the store to keep; time and network are
arguments, and nothing is ever done by itself.

Three tables: `held` is what lasts (suspect, blocked, and works after one of these), `works` what simply worked direct,
`down` what nothing reached. The last two live in memory only.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from proxy.config.schema import Detect
from proxy.detect.retests import Budget, Schedule, recent_exits, successes_needed
from proxy.detect.score import NEGLIGIBLE, aged, counted, enough_to_block, falls_below, score_now
from proxy.detect.signals import NEUTRAL, signals
from proxy.detect.table import HostTable, Key
from proxy.model import (
    DIRECT,
    Attempt,
    Belief,
    Change,
    Inbound,
    NetworkId,
    Outcome,
    Route,
    Signal,
    Stage,
    State,
    Symptom,
)

RENEW_S = 60.0
"""A host that works is written down anew at most so often: between, a success costs one look-up."""

VISIT_S = 3600.0
"""A visit to a blocked host extends its belief, and is saved, at most so often."""

CLOCK_BACK_S = 60.0
CLOCK_AHEAD_S = 30 * 86_400.0
"""A clock that moves further than this between two calls was set, and time did not pass: ages are kept."""

COUNTED_MAX = 8192
"""Connections for which we remember which of their signals have counted; a late judgement comes within 7 s."""

CLAIM_S = 60.0
"""How long a re-test that was said to be due is not due again, should nobody report it."""

_TROUBLED = (State.SUSPECT, State.BLOCKED)


class _Working:
    """A host that answered direct."""

    __slots__ = ("at", "belief", "renew_at")

    def __init__(self, belief: Belief, at: float) -> None:
        self.belief = belief
        self.at = at
        self.renew_at = at + RENEW_S


class Beliefs:
    """All beliefs. Belongs to one thread."""

    def __init__(self, settings: Detect, known: Iterable[Belief] = (), *, rng: random.Random | None = None) -> None:
        """`known` is what the store kept. `rng` draws the jitter of re-tests."""
        bounds = {"total": settings.hosts_max, "per_domain": settings.hosts_per_domain_max}
        self._settings = settings
        self._held: HostTable[Belief] = HostTable(**bounds)
        self._works: HostTable[_Working] = HostTable(**bounds)
        self._down: HostTable[Belief] = HostTable(**bounds)
        self._unexplained: HostTable[tuple[float, tuple[Signal, ...]]] = HostTable(**bounds)
        self._counted: OrderedDict[int, int] = OrderedDict()  # request id → how many of its signals have counted
        self._schedule = Schedule(settings, rng if rng is not None else random.SystemRandom())
        self._budget = Budget(settings.retest_per_hour)
        self._claimed: dict[Key, float] = {}  # re-tests under way → when they are given up for lost
        self._owed: list[Change] = []  # what a clock jump or a bound changed, for the next one who asks
        self._now = -math.inf
        for belief in sorted(known, key=lambda b: b.last_good_at):
            self._held.put((belief.network, belief.scope), belief)

    # -- asking ----------------------------------------------------------------------------------------------------

    def lookup(self, host: str, *, network: NetworkId, now: float) -> Belief:
        """What we hold about `host`; state `unknown` when nothing."""
        self._tell_time(now)
        key = (network, host)
        held = self._current(key, now)
        if held is not None and held.state in _TROUBLED:
            return held
        if self._down and (down := self._down.get(key)) is not None:
            if now < down.until:
                return down
            self._down.pop(key)
        if held is not None and held.state is State.WORKS:
            return held
        working = self._works.get(key)
        if working is not None and now < working.at + self._settings.known_s:
            return working.belief
        return held if held is not None else Belief(host, network)

    def all(self, *, now: float) -> list[Belief]:
        """Every belief but those of hosts that simply work."""
        self._tell_time(now)
        current = [belief for key in self._held if (belief := self._current(key, now)) is not None]
        down = [belief for belief in self._down.values() if now < belief.until]
        return [belief for belief in current if belief.state is not State.UNKNOWN] + down

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(self, outcome: Outcome, *, network: NetworkId, now: float) -> list[Change]:
        """Takes what one connection showed. To be called when its race is decided, and once more when an overtaken
        direct attempt has been judged (`Outcome.with_attempt`): what counted the first time does not count again.

        A Change whose `before` equals its `after` carries new numbers for the same state: to be kept, not told.
        """
        self._tell_time(now)
        key = (network, outcome.host or outcome.request.destination.host)
        winner = outcome.winner
        if winner is not None and not winner.relays and not winner.wrap and len(outcome.attempts) < 2:
            # the hot path: a host that works, once more
            working = self._works.get(key)
            if working is not None and now < working.renew_at and outcome.attempts and outcome.attempts[0].delivered:
                working.at = now
                return []
        return self._learn(outcome, key, now)

    def _learn(self, outcome: Outcome, key: Key, now: float) -> list[Change]:
        if outcome.request.inbound is Inbound.RETEST:  # `retested` learns from the pair
            return self._paid([])
        winner = outcome.winner
        direct = next((a for a in reversed(outcome.attempts) if a.route == DIRECT), None)
        if direct.delivered if direct is not None else winner == DIRECT:
            return self._paid(self._direct_delivered(key, late=winner != DIRECT, now=now))
        if winner is None or winner == DIRECT:  # the latter: the least bad answer, or one not waited for
            return self._paid(self._nothing_delivered(key, outcome, now))
        fresh = self._fresh_signals(outcome)
        if direct is not None and direct.symptom not in NEUTRAL:
            return self._paid(self._rescued(key, winner, fresh, _story(direct, winner), now))
        return self._paid(self._other_delivered(key, winner, now))

    def _direct_delivered(self, key: Key, *, late: bool, now: float) -> list[Change]:
        self._down.pop(key)
        self._unexplained.pop(key)
        held = self._current(key, now)
        if late and held is not None:
            return self._slow(key, held, now)
        self._mark_working(key, now)
        if held is None or (held.state is State.WORKS and held.score < NEGLIGIBLE):
            return []
        if now - held.scored_at < self._settings.signal_interval_s:  # the minute saw a failure, or has been rewarded
            return [] if held.state is not State.UNKNOWN else self._settle(key, held, held, now, "direct answered")
        if held.state is State.BLOCKED:
            return self._succeeded(key, held, now, "a visit of the user's went through direct")
        score = score_now(held, now, self._settings) / self._settings.whole_page_divisor
        better = replace(held, score=score, scored_at=now)
        if held.state is State.SUSPECT and score >= self._settings.suspect_score:
            return self._hold(key, held, replace(better, until=self._suspect_until(better, now)), now)
        return self._settle(key, held, better, now, "direct answered")

    def _slow(self, key: Key, held: Belief, now: float) -> list[Change]:
        """An overtaken direct attempt has answered after all: a slow host is not a suspect one."""
        if held.state is State.BLOCKED or (held.signal_at and now - held.signal_at < self._settings.signal_interval_s):
            return []
        if held.state is State.SUSPECT and score_now(held, now, self._settings) >= self._settings.suspect_score:
            return []
        self._mark_working(key, now)
        return self._settle(key, held, held, now, "direct was slow, and answered after another route had")

    def _nothing_delivered(self, key: Key, outcome: Outcome, now: float) -> list[Change]:
        """No control, no blame: what direct showed waits for half a minute, in case another route delivers yet."""
        fresh = self._fresh_signals(outcome)
        if not fresh:
            return []
        self._unexplained.put(key, (now, tuple(fresh)))
        if (working := self._works.get(key)) is not None:
            working.renew_at = now  # its next success shall not take the short way
        held = self._current(key, now)
        undecided = any(a.pending or a.symptom is Symptom.ABANDONED for a in outcome.attempts)
        if undecided or (held is not None and held.state in _TROUBLED):
            return []
        others = sum(not a.route.is_direct for a in outcome.attempts)
        why = f"no route delivered: direct failed ({fresh[-1].id}), and so did {others} more" if others else (
            f"direct failed ({fresh[-1].id}), and there was no other route to compare it with"
        )  # fmt: skip
        network, host = key
        until = now + self._settings.down_s
        self._down.put(key, Belief(host, network, State.DOWN, "down", since=now, until=until, why=why))
        return []

    def _other_delivered(self, key: Key, winner: Route, now: float) -> list[Change]:
        """Another route delivered and direct was not tried, or had no say."""
        self._down.pop(key)
        waiting = self._unexplained.pop(key)
        if waiting is not None and 0 <= now - waiting[0] <= self._settings.rescue_window_s:
            at, found = waiting
            why = f"direct had failed ({found[-1].id}) when {winner} delivered {now - at:.0f} s later"
            return self._rescued(key, winner, list(found), why, now)
        held = self._current(key, now)
        if held is None or held.state not in _TROUBLED:
            return []
        renewed = replace(held, last_good=str(winner), last_good_at=now)
        if held.state is State.BLOCKED:
            renewed = replace(renewed, until=now + self._settings.unvisited_s)
        if renewed.last_good == held.last_good and now - held.last_good_at < VISIT_S:
            return []
        return self._hold(key, held, renewed, now)

    def _rescued(self, key: Key, winner: Route, fresh: list[Signal], story: str, now: float) -> list[Change]:
        """Another route delivered what direct did not."""
        self._down.pop(key)
        waiting = self._unexplained.pop(key)
        if waiting is not None and 0 <= now - waiting[0] <= self._settings.rescue_window_s:
            fresh = [*waiting[1], *fresh]
        self._works.pop(key)
        network, host = key
        before = self._current(key, now) or Belief(host, network, scored_at=now)
        heaviest = max(fresh, key=lambda signal: signal.weight, default=None)
        if heaviest is None:
            after = aged(before, now, self._settings)
            story = before.why if before.state in _TROUBLED else story
        else:
            after = counted(before, heaviest, now, self._settings)
            story = f"{story} ({heaviest.id}, weight {heaviest.weight:g})"
        after = replace(after, last_good=str(winner), last_good_at=now, why=story)
        return self._condemn(key, before, after, heaviest, now)

    def _condemn(self, key: Key, before: Belief, after: Belief, heaviest: Signal | None, now: float) -> list[Change]:
        """Suspect at least; blocked when there is enough."""
        if before.state is State.BLOCKED:
            kept = replace(after, until=now + self._settings.unvisited_s, successes=0 if heaviest else after.successes)
            return self._hold(key, before, kept, now)
        if heaviest is not None and enough_to_block(after, heaviest, self._settings):
            after = replace(after, state=State.BLOCKED, since=now, until=now + self._settings.unvisited_s, successes=0)
            return self._hold(key, before, self._schedule.of_blocked(after, now), now)
        after = replace(after, state=State.SUSPECT, until=self._suspect_until(after, now))
        if before.state is not State.SUSPECT:
            after = self._schedule.of_suspect(replace(after, since=now), now)
        return self._hold(key, before, after, now)

    # -- the way back ----------------------------------------------------------------------------------------------

    def retest_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether direct shall be tried beside this visit. True claims the re-test: the caller runs it and reports
        with `retested`. Whether re-tests are wanted for this host at all is for the caller to know."""
        self._tell_time(now)
        key = (network, host)
        held = self._held.get(key)
        if held is None or not 0 < held.retest_at <= now:
            return False
        held = self._current(key, now)
        if held is None or held.state not in _TROUBLED or self._claimed.get(key, 0.0) > now:
            return False
        if not self._budget.take(network, now):
            return False
        self._claimed = {other: until for other, until in self._claimed.items() if until > now}
        self._claimed[key] = now + CLAIM_S
        return True

    def retested(self, host: str, *, network: NetworkId, now: float, direct_ok: bool, other_ok: bool) -> list[Change]:
        """Takes what a pair of direct and another route showed. When both failed nothing changes."""
        self._tell_time(now)
        key = (network, host)
        self._claimed.pop(key, None)
        held = self._current(key, now)
        if held is None or held.state not in _TROUBLED:
            return self._paid([])
        if direct_ok:
            self._mark_working(key, now)
            return self._paid(self._succeeded(key, held, now, "direct delivered in a re-test"))
        if not other_ok:
            self._held.correct(key, self._schedule.after_nothing(held, now))
            return self._paid([])
        return self._paid(self._failed_again(key, held, now))

    def _failed_again(self, key: Key, held: Belief, now: float) -> list[Change]:
        """Direct failed beside another route that delivered: the same evidence once more, and the next step."""
        signal = Signal("retest", held.signal_weight, held.cause, now)
        after = counted(held, signal, now, self._settings) if signal.weight else aged(held, now, self._settings)
        after = replace(after, successes=0, last_good_at=now)
        if held.state is State.SUSPECT and enough_to_block(after, signal, self._settings):
            return self._condemn(key, held, after, signal, now)
        after = self._schedule.after_failure(after, now)
        if held.state is State.SUSPECT:
            after = replace(after, until=self._suspect_until(after, now))
        return self._hold(key, held, after, now)

    def _succeeded(self, key: Key, held: Belief, now: float, why: str) -> list[Change]:
        """Direct delivered to a troubled host. A suspect is cleared; a block ends after enough successes apart."""
        if held.state is State.SUSPECT:
            return self._leave(key, held, now, why)
        if held.successes and now - held.success_at < self._settings.retest_apart_s:
            self._held.correct(key, self._schedule.after_success(held, now))
            return []
        after = replace(held, successes=held.successes + 1, success_at=now)
        if after.successes < successes_needed(held, now, self._settings):
            return self._hold(key, held, self._schedule.after_success(after, now), now)
        cleared = replace(after, score=0.0, scored_at=now, signal_at=0.0, signal_weight=0.0, episodes=0)
        return self._leave(key, cleared, now, f"{why}, {after.successes} times in a row")

    def _leave(self, key: Key, held: Belief, now: float, why: str) -> list[Change]:
        """Out of suspect or blocked. A suspect's score stays as it is: should this be a provider that toggles, the next
        failure finds it."""
        exits = (*recent_exits(held, now, self._settings), now)
        return self._settle(key, held, replace(held, exits=exits), now, why)

    def _settle(self, key: Key, before: Belief, belief: Belief, now: float, why: str) -> list[Change]:
        """To `works`, with its score and exits kept for as long as they matter."""
        after = replace(
            aged(belief, now, self._settings),
            state=State.WORKS,
            since=before.since if before.state is State.WORKS else now,
            until=now + self._settings.known_s,
            retest_at=0.0,
            retest_step=0,
            successes=0,
            why=why,
        )
        return self._hold(key, before, after, now)

    # -- forgetting ------------------------------------------------------------------------------------------------

    def forget(self, scope: str | None = None, network: NetworkId | None = None) -> list[Change]:
        """Forgets a host and all below it, or all hosts; on one network, or on all."""

        def meant(key: Key) -> bool:
            return (network is None or key[0] == network) and (
                scope is None or key[1] == scope or key[1].endswith(f".{scope}")
            )

        at = max(0.0, self._now)
        gone = []
        for key, belief in self._held.items():
            if meant(key):
                self._held.pop(key)
                gone.append(_forgotten(key, belief.state, at, "forgotten by the user"))
        memories: tuple[HostTable[_Working] | HostTable[Belief] | HostTable[tuple[float, tuple[Signal, ...]]], ...]
        memories = (self._works, self._down, self._unexplained)
        for table in memories:
            for key in table:
                if meant(key):
                    table.pop(key)
        return gone

    # -- keeping ---------------------------------------------------------------------------------------------------

    def _hold(self, key: Key, before: Belief, after: Belief, now: float) -> list[Change]:
        for evicted, gone in self._held.put(key, after):
            self._owed.append(_forgotten(evicted, gone.state, now, "too many hosts: the least recently used goes"))
        return [Change(now, after.scope, after.network, before.state, after.state, after.cause, after.why, after)]

    def _mark_working(self, key: Key, now: float) -> None:
        network, host = key
        known = self._works.get(key)
        since = known.belief.since if known is not None else now
        belief = Belief(
            host,
            network,
            State.WORKS,
            since=since,
            until=now + self._settings.known_s,
            why="direct answered",
        )
        self._works.put(key, _Working(belief, now))

    def _suspect_until(self, belief: Belief, now: float) -> float:
        """Two minutes for any rescue, and as long as the score says."""
        until = now + self._settings.rescue_suspect_s
        return max(until, falls_below(belief, self._settings.suspect_score, self._settings))

    def _current(self, key: Key, now: float) -> Belief | None:
        """What is held as of now: what has lapsed is put away."""
        held = self._held.get(key)
        if held is None:
            return None
        if held.last_good and now >= held.last_good_at + self._settings.last_good_s:
            held = replace(held, last_good="", last_good_at=0.0)
            self._held.correct(key, held)
        if now < held.until:
            return held
        return self._lapse(key, held, now)

    def _lapse(self, key: Key, held: Belief, now: float) -> Belief | None:
        """A suspect that was not confirmed is unknown again, but its score and its exits are remembered while they
        matter. A block that nobody visited is forgotten."""
        matters_until = max(
            falls_below(held, NEGLIGIBLE, self._settings),
            max(held.exits, default=-math.inf) + self._settings.retest_exits_window_s,
        )
        if held.state is State.BLOCKED or now >= matters_until:
            self._held.pop(key)
            return None
        lapsed = replace(held, state=State.UNKNOWN, since=held.until, until=matters_until, retest_at=0.0)
        self._held.correct(key, lapsed)
        return lapsed

    def _fresh_signals(self, outcome: Outcome) -> list[Signal]:
        """The outcome's signals that have not counted yet."""
        found = signals(outcome, self._settings.weights)
        counted_before = self._counted.get(outcome.request.id, 0)
        self._counted[outcome.request.id] = len(found)
        if len(self._counted) > COUNTED_MAX:
            self._counted.popitem(last=False)
        return found[counted_before:]

    def _paid(self, changes: list[Change]) -> list[Change]:
        """Adds what a bound or the clock changed."""
        if self._owed:
            changes = [*self._owed, *changes]
            self._owed = []
        return changes

    # -- the clock -------------------------------------------------------------------------------------------------

    def _tell_time(self, now: float) -> None:
        if not -CLOCK_BACK_S <= now - self._now <= CLOCK_AHEAD_S:
            self._clock_jumped(now)
        self._now = now

    def _clock_jumped(self, now: float) -> None:
        """The clock was set: every date moves with it, so that no age is negative and nothing lapses at once. At the
        first call only a clock behind what the store remembers is a jump: a month's holiday is not."""
        latest = self._now
        if latest == -math.inf:
            latest = max((_latest(belief) for belief in self._held.values()), default=now)
            if now >= latest:
                return
        shift = now - latest
        for key, belief in self._held.items():
            moved = _shifted(belief, shift)
            self._held.correct(key, moved)
            self._owed.append(
                Change(now, moved.scope, moved.network, moved.state, moved.state, moved.cause, moved.why, moved)
            )
        for working in self._works.values():
            working.at += shift
            working.renew_at += shift
            working.belief = _shifted(working.belief, shift)
        self._down.clear()
        self._unexplained.clear()
        self._claimed.clear()


def _forgotten(key: Key, before: State, at: float, why: str) -> Change:
    network, host = key
    return Change(at, host, network, before, State.UNKNOWN, "", why, None)


def _latest(belief: Belief) -> float:
    return max(belief.since, belief.scored_at, belief.last_good_at, belief.success_at)


def _shifted(belief: Belief, shift: float) -> Belief:
    def moved(at: float) -> float:
        return at + shift if at else at

    return replace(
        belief,
        since=moved(belief.since),
        until=moved(belief.until),
        last_good_at=moved(belief.last_good_at),
        scored_at=moved(belief.scored_at),
        signal_at=moved(belief.signal_at),
        episode_at=moved(belief.episode_at),
        retest_at=moved(belief.retest_at),
        success_at=moved(belief.success_at),
        exits=tuple(map(moved, belief.exits)),
    )


def _story(direct: Attempt, winner: Route) -> str:
    """What happened, in half a sentence."""
    if direct.pending or direct.symptom is Symptom.ABANDONED:
        return f"direct had not answered after {direct.elapsed:.1f} s ({direct.stage}) when {winner} delivered"
    said = direct.error or str(direct.symptom)
    where = "" if direct.stage is Stage.FIRST_BYTE else f" ({direct.stage})"
    return f"direct failed after {direct.elapsed:.1f} s{where}: {said}; {winner} delivered"
