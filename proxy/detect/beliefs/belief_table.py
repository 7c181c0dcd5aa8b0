"""What is held about each scope, how it passes from one state to the next, and how it ages.

Three tables: `held` is what lasts (suspect, blocked, and works after one of these), `works` what simply worked direct,
`transient` what nothing reached or every route was refused. The last two live in memory only. Whether evidence is good
enough is decided elsewhere; here a decision becomes a belief with an age and an end, and a Change for the store.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from proxy.config.schema import Detect
from proxy.detect.beliefs.host_lru import HostLru, Key
from proxy.detect.beliefs.retest_schedule import RetestSchedule, recent_exits
from proxy.detect.beliefs.score import NEGLIGIBLE, aged, enough_to_block, falls_below, score_now
from proxy.detect.scopes import registrable
from proxy.model import Belief, Cause, Change, NetworkId, Signal, State

RENEW_S = 60.0
"""A host that works is written down anew at most so often: between, a success costs one look-up."""

CLOCK_BACK_S = 60.0
CLOCK_AHEAD_S = 30 * 86_400.0
"""A clock that moves further than this between two calls was set, and time did not pass: ages are kept."""

TROUBLED = (State.SUSPECT, State.BLOCKED)
"""States of a scope in trouble: direct did not deliver what another route did."""


class Working:
    """A host that answered direct."""

    __slots__ = ("at", "belief", "domain", "renew_at")

    def __init__(self, belief: Belief, at: float) -> None:
        self.belief = belief
        self.domain = registrable(belief.scope)
        self.at = at
        self.renew_at = at + RENEW_S


class BeliefTable:
    """All beliefs. Belongs to one thread; a key is a network and a scope on it."""

    def __init__(
        self,
        settings: Detect,
        known: Iterable[Belief],
        rng: random.Random,
        listed: Callable[[str], bool] = lambda host: False,
        near: Callable[[str], bool] = lambda host: False,
    ) -> None:
        bounds = {"total": settings.hosts_max, "per_domain": settings.hosts_per_domain_max}
        self._settings = settings
        self.schedule = RetestSchedule(settings, rng)
        self.held: HostLru[Belief] = HostLru(**bounds)
        self.works: HostLru[Working] = HostLru(**bounds)
        self.transient: HostLru[Belief] = HostLru(**bounds)
        self._listed = listed
        self.is_near = near
        self._priors: HostLru[float] = HostLru(**bounds)  # since when what a list says of a host grows old
        self.now = -math.inf
        self._owed: list[Change] = []  # what a clock jump or a bound changed, for the next one who asks
        for belief in sorted(known, key=lambda b: b.last_good_at):
            self.held.put((belief.network, belief.scope), belief)

    # -- reading ---------------------------------------------------------------------------------------------------

    def current(self, key: Key, now: float) -> Belief | None:
        """What is held as of now: what has lapsed is put away."""
        held = self.held.get(key)
        if held is None:
            return None
        if held.last_good and now >= held.last_good_at + self._settings.last_good_s:
            held = replace(held, last_good="", last_good_at=0.0)
            self.held.correct(key, held)
        if held.rungs_failed and now >= held.rungs_failed_at + self._settings.last_good_s:
            held = replace(held, rungs_failed=(), rungs_failed_at=0.0)
            self.held.correct(key, held)
        if now < held.until:
            return held
        return self._lapse(key, held, now)

    def troubled(self, key: Key, now: float) -> Belief | None:
        """What is held, when that is suspect or blocked."""
        held = self.current(key, now)
        return held if held is not None and held.state in TROUBLED else None

    def begin(self, key: Key, now: float) -> Belief:
        """A belief to begin with, when something was seen of a host."""
        return replace(unknown(key, now), score=self.prior(key, now))

    def prior(self, key: Key, now: float) -> float:
        """What an imported list that names a host in trouble weighs: it halves from its first trouble on, like all
        evidence, and is over on a network where the host has worked."""
        if not self._listed(key[1]):
            return 0.0
        since = self._priors.get(key)
        if since is None:
            since = now
            self._priors.put(key, now)
        halvings = max(0.0, now - since) / self._settings.half_life_s
        return self._settings.weights.listed * math.exp2(-halvings)

    def current_transient(self, key: Key, now: float) -> Belief | None:
        """Whether nothing reaches it at the moment."""
        if not self.transient or (passing := self.transient.get(key)) is None:
            return None
        if now < passing.until:
            return passing
        self.transient.pop(key)
        return None

    def working(self, key: Key, now: float) -> Working | None:
        """A direct success that is young enough."""
        working = self.works.get(key)
        return working if working is not None and now < working.at + self._settings.known_s else None

    # -- from state to state ---------------------------------------------------------------------------------------

    def raise_suspicion(
        self, key: Key, before: Belief, after: Belief, heaviest: Signal | None, now: float
    ) -> list[Change]:
        """Suspect at least; blocked when there is enough. `heaviest` is the signal that has just been counted."""
        settings = self._settings
        if before.state is State.BLOCKED:
            kept = replace(after, until=now + settings.unvisited_s, successes=0 if heaviest else after.successes)
            return self.write(key, before, kept, now)
        if heaviest is not None and enough_to_block(after, heaviest, settings):
            return self.set_blocked(key, before, after, now)
        after = replace(after, state=State.SUSPECT, until=self.suspect_until(after, now))
        if before.state is not State.SUSPECT or not before.retest_at:  # the latter: suspect for refusing, until now
            after = self.schedule.of_suspect(replace(after, since=now), now)
        return self.write(key, before, after, now)

    def set_blocked(self, key: Key, before: Belief, after: Belief, now: float) -> list[Change]:
        """To blocked, with the way back before it."""
        until = now + self._settings.unvisited_s
        after = replace(after, state=State.BLOCKED, since=now, until=until, successes=0)
        return self.write(key, before, self.schedule.of_blocked(after, now), now)

    def set_works(self, key: Key, before: Belief, belief: Belief, now: float, why: str) -> list[Change]:
        """To `works`, with its score and exits kept for as long as they matter."""
        after = replace(
            aged(belief, now, self._settings),
            state=State.WORKS,
            since=before.since if before.state is State.WORKS else now,
            until=now + self._settings.known_s,
            retest_at=0.0,
            retest_step=0,
            successes=0,
            episodes=0,
            why=why,
        )
        return self.write(key, before, after, now)

    def end_block(self, key: Key, held: Belief, now: float, why: str) -> list[Change]:
        """Out of suspect or blocked. Half of a suspect's score stays: should this be a provider that toggles, the next
        failures find it; with all of it a site that resets one connection in fifty is called blocked every other day
        (simulated in `tests/detect/beliefs/test_visitors.py`)."""
        exits = (*recent_exits(held, now, self._settings), now)
        score = score_now(held, now, self._settings) / self._settings.retest_divisor
        return self.set_works(key, held, replace(held, exits=exits, score=score, scored_at=now), now, why)

    def suspect_until(self, belief: Belief, now: float) -> float:
        """Two minutes for any rescue, and as long as the score says."""
        until = now + self._settings.rescue_suspect_s
        return max(until, falls_below(belief, self._settings.suspect_score, self._settings))

    def write(self, key: Key, before: Belief, after: Belief, now: float) -> list[Change]:
        """Writes a belief down."""
        for evicted, gone in self.held.put(key, after):
            self._owed.append(forgotten(evicted, gone.state, now, "removed to limit memory: least recently used"))
        return [Change(now, after.scope, after.network, before.state, after.state, after.cause, after.why, after)]

    def remove(self, key: Key, now: float, why: str) -> list[Change]:
        """Forgets a belief."""
        gone = self.held.pop(key)
        return [] if gone is None else [forgotten(key, gone.state, now, why)]

    def mark_working(self, key: Key, now: float) -> Working:
        """Direct answered."""
        network, host = key
        known = self.works.get(key)
        since = known.belief.since if known is not None else now
        until = now + self._settings.known_s
        working = Working(Belief(host, network, State.WORKS, since=since, until=until, why="direct answered"), now)
        if self.is_near(host):
            working.renew_at = now  # on the short way it would be heard
        self.works.put(key, working)
        if self._listed(host):
            self._priors.put(key, -math.inf)
        return working

    def set_transient(
        self, key: Key, state: State, cause: Cause | str, why: str, *, lasts_s: float, now: float
    ) -> None:
        """Nothing reaches it, or nothing is let in, for a while."""
        network, host = key
        self.transient.put(key, Belief(host, network, state, cause, since=now, until=now + lasts_s, why=why))

    def with_pending(self, changes: list[Change]) -> list[Change]:
        """Adds what a bound or the clock changed."""
        if self._owed:
            changes = [*self._owed, *changes]
            self._owed = []
        return changes

    def forget(self, meant: Callable[[Key], bool], why: str = "forgotten by the user") -> list[Change]:
        """Forgets every scope that is meant."""
        at = max(0.0, self.now)
        gone = []
        for key in self.held:
            if meant(key):
                gone += self.remove(key, at, why)
        tables: tuple[HostLru[Working] | HostLru[Belief], ...] = (self.works, self.transient)
        for table in tables:
            for key in table:
                if meant(key):
                    table.pop(key)
        return gone

    def _lapse(self, key: Key, held: Belief, now: float) -> Belief | None:
        """A suspect that was not confirmed is unknown again, but its score, its exits and the way around are remembered
        while they matter. A block without a visit is removed at once."""
        matters_until = max(
            falls_below(held, NEGLIGIBLE, self._settings),
            held.last_good_at + self._settings.last_good_s if held.last_good else -math.inf,
            held.episode_at + self._settings.unvisited_s if held.episodes else -math.inf,
            max(held.exits, default=-math.inf) + self._settings.retest_exits_window_s,
        )
        if held.state is State.BLOCKED or now >= matters_until:
            self.held.pop(key)
            return None
        lapsed = replace(held, state=State.UNKNOWN, since=held.until, until=matters_until, retest_at=0.0)
        self.held.correct(key, lapsed)
        return lapsed

    # -- the clock -------------------------------------------------------------------------------------------------

    def tell_time(self, now: float) -> bool:
        """To be called before anything else; True when the clock was set, so that no other date means anything."""
        jumped = not -CLOCK_BACK_S <= now - self.now <= CLOCK_AHEAD_S and self._clock_jumped(now)
        self.now = now
        return jumped

    def _clock_jumped(self, now: float) -> bool:
        """Every date moves with the clock, so that no age is negative and nothing lapses at once. At the first call
        only a clock behind what the store remembers is a jump: a month's holiday is not."""
        latest = self.now
        if latest == -math.inf:
            latest = max((_latest(belief) for belief in self.held.values()), default=now)
            if now >= latest:
                return False
        shift = now - latest
        for key, belief in self.held.items():
            moved = _shifted(belief, shift)
            self.held.correct(key, moved)
            self._owed.append(
                Change(now, moved.scope, moved.network, moved.state, moved.state, moved.cause, moved.why, moved)
            )
        for key, at in self._priors.items():
            self._priors.correct(key, at + shift)
        for working in self.works.values():
            working.at += shift
            working.renew_at += shift
            working.belief = _shifted(working.belief, shift)
        self.transient.clear()
        return True


def forgotten(key: Key, before: State, at: float, why: str) -> Change:
    """A line of the ledger: nothing is held any more."""
    network, scope = key
    return Change(at, scope, network, before, State.UNKNOWN, Cause.NONE, why, None)


def unknown(key: Key, now: float) -> Belief:
    """A belief to begin with."""
    network, scope = key
    return Belief(scope, network, scored_at=now)


def on_network(network: NetworkId | None, scope: str | None) -> Callable[[Key], bool]:
    """Whether a key is the scope, below it, or holds for it; None: any."""
    if scope is None:
        return lambda key: network is None or key[0] == network
    above = f"*.{registrable(scope)}"
    return lambda key: (
        (network is None or key[0] == network) and (key[1] in (scope, above) or key[1].endswith(f".{scope}"))
    )


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
        rungs_failed_at=moved(belief.rungs_failed_at),
    )
