"""The beliefs about each scope: their states, the transitions between them, and how they age.

Three tables: `stored` has what lasts (suspect, blocked, and works after one of these), `works` the hosts that simply
work direct, `transient` those that no route reached or that refuse every route. The last two are in memory only.
Whether evidence suffices is decided elsewhere; here a decision becomes a belief with an age and an end, and a Change.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.basis import Bases
from proxy.detect.beliefs.host_lru import HostLru, Key
from proxy.detect.beliefs.retest_schedule import RetestSchedule, recent_exits
from proxy.detect.beliefs.score import NEGLIGIBLE, aged, enough_to_block, falls_below, score_now
from proxy.detect.scopes import registrable
from proxy.model import Belief, Cause, Change, NetworkId, Signal, State

RENEW_S = 60.0
"""Seconds between two updates of the belief about a host that works: between them, a success costs one look-up."""

CLOCK_BACK_S = 60.0
CLOCK_AHEAD_S = 30 * 86_400.0
"""A clock that moves further than this between two calls was set by somebody: ages are kept."""

TROUBLED = (State.SUSPECT, State.BLOCKED)
"""States of a scope in trouble: direct did not deliver what another route did."""


class Working:
    """A host that answered direct."""

    __slots__ = ("at", "belief", "domain", "is_near", "is_undisturbed", "renew_at")

    def __init__(self, belief: Belief, at: float, renew_at: float, *, is_near: bool) -> None:
        self.belief = belief
        self.domain = registrable(belief.scope)
        self.is_near = is_near  # its delivery is no control
        self.at = at
        self.renew_at = renew_at
        self.is_undisturbed = True  # nothing else was learned since: another success only moves `at`


class BeliefTable:
    """All beliefs. Belongs to one thread; a key is a network and a scope on it."""

    def __init__(
        self,
        settings: DetectTuning,
        known: Iterable[Belief],
        rng: random.Random,
        listed: Callable[[str], bool] = lambda host: False,
        near: Callable[[str], bool] = lambda host: False,
        bases: Bases | None = None,
    ) -> None:
        bounds = {"total": settings.hosts_max, "per_domain": settings.hosts_per_domain_max}
        self._settings = settings
        self._bases = bases if bases is not None else Bases()
        self.schedule = RetestSchedule(settings, rng)
        self.stored: HostLru[Belief] = HostLru(self._bases, **bounds)
        self.works: HostLru[Working] = HostLru(self._bases, **bounds)
        self.transient: HostLru[Belief] = HostLru(self._bases, **bounds)
        self._listed = listed
        self.is_near = near
        self._priors: HostLru[float] = HostLru(
            **bounds
        )  # the first trouble of a listed host, from which its prior decays
        self.now = self.latest = -math.inf  # the time of the last call, and the latest of all
        self._pending: list[Change] = []  # by a clock jump or an eviction: the next call returns them
        for belief in sorted(known, key=lambda b: b.last_good_at):
            self.stored.put((belief.network, belief.scope), belief)

    # -- reading ---------------------------------------------------------------------------------------------------

    def current(self, key: Key, now: float) -> Belief | None:
        """The belief as of now, without what has lapsed; None when there is none."""
        belief = self.stored.get(key)
        if belief is None:
            return None
        if belief.last_good and now >= belief.last_good_at + self._settings.last_good_s:
            belief = replace(belief, last_good="", last_good_at=0.0)
            self.stored.correct(key, belief)
        if belief.rungs_failed and now >= belief.rungs_failed_at + self._settings.last_good_s:
            belief = replace(belief, rungs_failed=(), rungs_failed_at=0.0)
            self.stored.correct(key, belief)
        if now < belief.until:
            return belief
        return self._lapse(key, belief, now)

    def troubled(self, key: Key, now: float) -> Belief | None:
        """The belief, when it is suspect or blocked."""
        belief = self.current(key, now)
        return belief if belief is not None and belief.state in TROUBLED else None

    def begin(self, key: Key, now: float) -> Belief:
        """The belief of a host at its first signal."""
        return replace(unknown(key, now), score=self.prior(key, now))

    def prior(self, key: Key, now: float) -> float:
        """The weight of an imported list that names the host: it decays from the host's first trouble on, like all
        evidence, and is 0 on a network where the host has worked."""
        if not self._listed(key[1]):
            return 0.0
        since = self._priors.get(key)
        if since is None:
            since = now
            self._priors.put(key, now)
        halvings = max(0.0, now - since) / self._settings.half_life_s
        return self._settings.weights.listed * math.exp2(-halvings)

    def current_transient(self, key: Key, now: float) -> Belief | None:
        """The transient belief as of now, when there is one."""
        transient = self.transient.get(key)
        if transient is None:
            return None
        if now < transient.until:
            return transient
        self.transient.pop(key)
        return None

    # -- from state to state ---------------------------------------------------------------------------------------

    def raise_suspicion(
        self, key: Key, before: Belief, after: Belief, heaviest: Signal | None, now: float
    ) -> list[Change]:
        """Makes a scope suspect, or blocked when there is enough evidence. `heaviest` is the signal that was just
        counted."""
        settings = self._settings
        if before.state is State.BLOCKED:
            kept = replace(after, until=now + settings.unvisited_s, successes=0 if heaviest else after.successes)
            return self.write(key, before, kept, now)
        if heaviest is not None and enough_to_block(after, heaviest, settings):
            return self.set_blocked(key, before, after, now)
        after = replace(after, state=State.SUSPECT, until=self.suspect_until(after, now))
        if (
            before.state is not State.SUSPECT or not before.retest_at
        ):  # the latter: suspect for a refusal only, which has no re-tests
            after = self.schedule.of_suspect(replace(after, since=now), now)
        return self.write(key, before, replace(after, began=after.began or now), now)

    def set_blocked(self, key: Key, before: Belief, after: Belief, now: float) -> list[Change]:
        """Makes a scope blocked, and schedules its first re-test."""
        until = now + self._settings.unvisited_s
        after = replace(after, state=State.BLOCKED, since=now, began=after.began or now, until=until, successes=0)
        return self.write(key, before, self.schedule.of_blocked(after, now), now)

    def set_works(self, key: Key, before: Belief, belief: Belief, now: float, why: str) -> list[Change]:
        """Makes a scope work, and keeps its score and exits for as long as they matter."""
        after = replace(
            aged(belief, now, self._settings),
            state=State.WORKS,
            since=before.since if before.state is State.WORKS else now,
            began=0.0,
            until=now + self._settings.known_s,
            retest_at=0.0,
            retest_step=0,
            successes=0,
            episodes=0,
            why=why,
        )
        return self.write(key, before, after, now)

    def end_block(self, key: Key, belief: Belief, now: float, why: str) -> list[Change]:
        """Ends a suspicion or a block. Half of the score stays, so that a provider that toggles is found sooner; with
        all of it, a site that resets one connection in fifty would be blocked every other day (simulated in
        `tests/detect/beliefs/test_visitors.py`)."""
        exits = (*recent_exits(belief, now, self._settings), now)
        score = score_now(belief, now, self._settings) / self._settings.retest_divisor
        return self.set_works(key, belief, replace(belief, exits=exits, score=score, scored_at=now), now, why)

    def suspect_until(self, belief: Belief, now: float) -> float:
        """When a suspicion lapses: `rescue_suspect_s` after any rescue, or when the score has decayed."""
        until = now + self._settings.rescue_suspect_s
        return max(until, falls_below(belief, self._settings.suspect_score, self._settings))

    def write(self, key: Key, before: Belief, after: Belief, now: float) -> list[Change]:
        """Stores a belief."""
        for evicted, gone in self.stored.put(key, after):
            self._pending.append(forgotten(evicted, gone.state, now, "removed to limit memory: least recently used"))
        return [Change(now, after.scope, after.network, before.state, after.state, after.cause, after.why, after)]

    def remove(self, key: Key, now: float, why: str) -> list[Change]:
        """Forgets a belief."""
        gone = self.stored.pop(key)
        return [] if gone is None else [forgotten(key, gone.state, now, why)]

    def mark_working(self, key: Key, now: float, *, is_home: bool = False) -> None:
        """Notes that direct answered. A belief that is renewed changes no basis: that of its host is over by then.
        `is_home`: the host is on the home network, also if its name does not say so."""
        network, host = key
        working = self.works.get(key)
        if working is not None and now < working.renew_at:
            belief, renew_at = working.belief, working.renew_at
        else:
            since, until = working.belief.since if working is not None else now, now + self._settings.known_s
            belief = Belief(host, network, State.WORKS, since=since, until=until, why="direct answered")
            renew_at = now + RENEW_S
        marked = Working(belief, now, renew_at, is_near=is_home or self.is_near(host))
        self.works.put(key, marked, is_change=working is None)
        if self._listed(host):
            self._priors.put(key, -math.inf)

    def set_transient(
        self, key: Key, state: State, cause: Cause | str, why: str, *, lasts_s: float, now: float
    ) -> None:
        """Notes for `lasts_s` that no route reaches a host, or that it refuses every route."""
        network, host = key
        self.transient.put(key, Belief(host, network, state, cause, since=now, until=now + lasts_s, why=why))

    def with_pending(self, changes: list[Change]) -> list[Change]:
        """Returns `changes` after those of evictions and of a clock that was set."""
        if self._pending:
            changes = [*self._pending, *changes]
            self._pending = []
        return changes

    def forget(self, meant: Callable[[Key], bool], why: str = "forgotten by the user") -> list[Change]:
        """Forgets every scope for which `meant` is true."""
        at = max(0.0, self.now)
        gone = [change for change in self._pending if meant((change.network, change.scope))]
        self._pending = [change for change in self._pending if change not in gone]
        for key in self.stored:
            if meant(key):
                gone += self.remove(key, at, why)
        tables: tuple[HostLru[Working] | HostLru[Belief] | HostLru[float], ...] = (
            self.works,
            self.transient,
            self._priors,
        )
        for table in tables:
            for key in table:
                if meant(key):
                    table.pop(key)
        return gone

    def _lapse(self, key: Key, belief: Belief, now: float) -> Belief | None:
        """Ends a belief whose time is over. A suspicion becomes unknown, and its score, exits, last good route and the
        beginning of the trouble are kept while they matter: that time passes shows nothing of the site, and the same
        trouble found again has lasted. A block without visits is removed."""
        matters_until = max(
            falls_below(belief, NEGLIGIBLE, self._settings),
            belief.last_good_at + self._settings.last_good_s if belief.last_good else -math.inf,
            belief.episode_at + self._settings.unvisited_s if belief.episodes else -math.inf,
            max(belief.exits, default=-math.inf) + self._settings.retest_exits_window_s,
        )
        if belief.state is State.BLOCKED or now >= matters_until:
            self.stored.pop(key)
            if belief.began:
                self._pending.append(forgotten(key, belief.state, belief.until, "not confirmed for a long time"))
            return None
        lapsed = replace(belief, state=State.UNKNOWN, since=belief.until, until=matters_until, retest_at=0.0)
        self.stored.correct(key, lapsed)
        return lapsed

    # -- the clock -------------------------------------------------------------------------------------------------

    def update_clock(self, now: float) -> bool:
        """Call it before anything else. Returns True when the clock was set, so that all other dates are void. A call
        at a time before that of another one changes every basis."""
        jumped = not -CLOCK_BACK_S <= now - self.now <= CLOCK_AHEAD_S and self._clock_jumped(now)
        self.now = now
        if jumped or now >= self.latest:
            self.latest = now
        if jumped or now < self.latest:
            self._bases.on_all_changed()
        return jumped

    def _clock_jumped(self, now: float) -> bool:
        """Shifts every date with the clock, so that no age is negative and nothing lapses at once. At the first call
        only a clock behind the stored dates was set: one far ahead may be a month without use."""
        latest = self.now
        if latest == -math.inf:
            latest = max((_latest(belief) for belief in self.stored.values()), default=now)
            if now >= latest:
                return False
        shift = now - latest
        for key, belief in self.stored.items():
            moved = _shifted(belief, shift)
            self.stored.correct(key, moved)
            self._pending.append(
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
    """The Change of a belief that was forgotten."""
    network, scope = key
    return Change(at, scope, network, before, State.UNKNOWN, Cause.NONE, why, None)


def unknown(key: Key, now: float) -> Belief:
    """A belief without any evidence."""
    network, scope = key
    return Belief(scope, network, scored_at=now)


def on_network(network: NetworkId | None, scope: str | None) -> Callable[[Key], bool]:
    """A test whether a key is the scope, a subdomain of it, or its domain, on the network; None: any."""
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
        began=moved(belief.began),
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
