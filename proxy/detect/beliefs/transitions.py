"""Makes the next belief from the last one: how evidence counts and ages, how a state begins and how it ends.

See docs/detection.md, "Score and states" and "Re-tests". The score only decides whether a state begins. A block then
holds without decay until re-tests succeed, or until the site is not visited any more. `counting` decides which signals
count; here they become a belief with an age, an end and a Change.

The steps between re-tests grow, each with a random delay, so that many hosts do not fall due together. Every recent end
of a block makes the next re-test later, so that a provider that toggles does not make the state flap.
"""

from __future__ import annotations

import math
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.state import NEVER, BeliefState, Cut, Working
from proxy.detect.beliefs.tables import Key, Meant
from proxy.detect.scopes import domain_scope
from proxy.model import TROUBLED, Belief, Cause, Change, Signal, State

NEGLIGIBLE = 0.05
"""A score below this is not kept."""

KEEPS_S = 600.0
"""A host that worked direct at most this long before its domain was aggregated stays direct."""

RENEW_S = 60.0
"""Seconds between two updates of the belief about a host that works: between them, a success costs one look-up."""


# -- arithmetic of one belief ------------------------------------------------------------------------------------------


def score_now(belief: Belief, now: float, settings: DetectTuning) -> float:
    """Returns the score, decayed until `now`. A clock that was set back does not raise it."""
    age = max(0.0, now - belief.scored_at)
    return float(belief.score * 0.5 ** (age / settings.half_life_s))


def aged(belief: Belief, now: float, settings: DetectTuning) -> Belief:
    """Returns the belief with its score as of `now`."""
    return replace(belief, score=score_now(belief, now, settings), scored_at=now)


def falls_below(belief: Belief, floor: float, settings: DetectTuning) -> float:
    """Returns when the score will have decayed below `floor`."""
    if belief.score <= floor:
        return belief.scored_at
    return belief.scored_at + settings.half_life_s * math.log2(belief.score / floor)


def counted(belief: Belief, signal: Signal, now: float, settings: DetectTuning) -> Belief:
    """Returns the belief with one more signal. Of several signals within a minute only the heaviest counts, since a
    page with six resets is one piece of evidence. A signal too light to make a host suspect begins no episode."""
    score = score_now(belief, now, settings)
    episodes, episode_at = belief.episodes, belief.episode_at
    if signal.weight >= settings.suspect_score:
        since = now - episode_at
        if not episodes or since > settings.unvisited_s:
            episodes, episode_at = 1, now
        elif since >= settings.episode_gap_s:
            episodes, episode_at = episodes + 1, now
    gain, signal_at = signal.weight, now
    if belief.signal_at and now - belief.signal_at < settings.signal_interval_s:
        gain, signal_at = signal.weight - belief.signal_weight, belief.signal_at
        if gain <= 0:
            return replace(belief, score=score, scored_at=now)
    return replace(
        belief,
        score=min(settings.score_cap, score + gain),
        scored_at=now,
        signal_at=signal_at,
        signal_weight=signal.weight,
        cause=signal.cause or belief.cause,
        episodes=episodes,
        episode_at=episode_at,
    )


def enough_to_block(belief: Belief, signal: Signal, settings: DetectTuning, *, is_proof: bool = False) -> bool:
    """Whether `signal`, just counted, makes a suspect blocked. A signal too light to make a host suspect never does, so
    weak signals alone never block. With one visit a day the score decays before it suffices, so `blocked_alone`
    episodes without a direct success between them block as well. A proof is a signal of an experiment that no passing
    fault survives: it needs one episode."""
    if signal.weight < settings.suspect_score:
        return False
    if is_proof and belief.score >= settings.blocked_score:
        return True
    if belief.episodes >= settings.blocked_alone:
        return True
    return belief.score >= settings.blocked_score and belief.episodes >= settings.blocked_episodes


def recent_exits(belief: Belief, now: float, settings: DetectTuning) -> tuple[float, ...]:
    """Returns the ends of suspicions and blocks that still delay the next re-test."""
    return tuple(at for at in belief.exits if now - at < settings.retest_exits_window_s)


def successes_needed(belief: Belief, now: float, settings: DetectTuning) -> int:
    """Returns how many consecutive successes end a block: `retest_successes`, and one for each recent exit, up to a
    limit."""
    return settings.retest_successes + min(settings.retest_exits_max, len(recent_exits(belief, now, settings)))


def unknown(key: Key, now: float) -> Belief:
    """Returns a belief without any evidence."""
    network, scope = key
    return Belief(scope, network, scored_at=now)


def forgotten(key: Key, before: State, at: float, why: str) -> Change:
    """Returns the Change of a belief that was forgotten."""
    network, scope = key
    return Change(at, scope, network, before, State.UNKNOWN, Cause.NONE, why, None)


# -- the date of the next re-test: `retest_step` tells which of `retest_blocked_s` follows a failure -------------------


def dated_suspect(state: BeliefState, belief: Belief, now: float) -> Belief:
    """Dates the first re-test of a new suspect: after 2 min, doubled for each recent exit."""
    settings = state.settings
    delay_s = settings.retest_suspect_s * 2 ** min(20, len(recent_exits(belief, now, settings)))
    return _dated(state, belief, now, min(delay_s, settings.retest_blocked_s[-1]), step=0)


def dated_blocked(state: BeliefState, belief: Belief, now: float) -> Belief:
    """Dates the first re-test of a new block."""
    return _dated(state, belief, now, state.settings.retest_blocked_s[0], step=1)


def dated_after_failure(state: BeliefState, belief: Belief, now: float) -> Belief:
    """Dates the next re-test after one in which direct failed, also if the other route failed as well: that is rarely
    over soon, and would use up the budget of the network. A suspect that failed its early re-test continues with the
    steps of a blocked host."""
    steps = state.settings.retest_blocked_s
    step = min(belief.retest_step, len(steps) - 1)
    return _dated(state, belief, now, steps[step], step=step + 1)


def dated_after_success(state: BeliefState, belief: Belief, now: float) -> Belief:
    """Dates the next re-test after a success that does not end the block yet."""
    return _dated(state, belief, now, state.settings.retest_success_s, step=belief.retest_step)


def _dated(state: BeliefState, belief: Belief, now: float, delay_s: float, *, step: int) -> Belief:
    late = 1 + state.settings.retest_jitter * state.rng.random()
    return replace(belief, retest_at=now + delay_s * late, retest_step=step)


# -- reading -----------------------------------------------------------------------------------------------------------


def current(state: BeliefState, key: Key, now: float) -> Belief | None:
    """Returns the belief as of now, without what has lapsed; None if there is none."""
    belief = state.stored.get(key)
    if belief is None:
        return None
    lasts_s = state.settings.last_good_s
    if belief.last_good and not state.lasts(belief.last_good_at + lasts_s, now):
        belief = replace(belief, last_good="", last_good_at=0.0)
        state.stored.correct(key, belief)
    if belief.rungs_failed and not state.lasts(belief.rungs_failed_at + lasts_s, now):
        belief = replace(belief, rungs_failed=(), rungs_failed_at=0.0)
        state.stored.correct(key, belief)
    return belief if state.lasts(belief.until, now) else _lapse(state, key, belief, now)


def _lapse(state: BeliefState, key: Key, belief: Belief, now: float) -> Belief | None:
    """Ends a belief whose time is over. A suspicion becomes unknown. Its score, exits, last good route, cause and the
    beginning of the trouble are kept while they matter: time alone shows nothing about the site, and the same trouble
    found again has lasted since. A cause is kept as long as a last good route, also without one, as after a freeze that
    no relay has proven: the name stays hidden from the system's resolver. A block without visits is removed."""
    settings = state.settings
    matters_until = max(
        falls_below(belief, NEGLIGIBLE, settings),
        belief.last_good_at + settings.last_good_s if belief.last_good else NEVER,
        belief.scored_at + settings.last_good_s if belief.cause else NEVER,
        belief.episode_at + settings.unvisited_s if belief.episodes else NEVER,
        max(belief.exits, default=NEVER) + settings.retest_exits_window_s,
    )
    state.prefixes.pop(key, None)
    if belief.state is State.BLOCKED or now >= matters_until:
        _drop(state, key)
        if belief.began:
            state.untold.append(forgotten(key, belief.state, belief.until, "not confirmed for a long time"))
        return None
    lapsed = replace(belief, state=State.UNKNOWN, since=belief.until, until=matters_until, retest_at=0.0)
    state.stored.correct(key, lapsed)
    return lapsed


def troubled(state: BeliefState, key: Key, now: float) -> Belief | None:
    """Returns the belief if it is suspect or blocked."""
    belief = current(state, key, now)
    return belief if belief is not None and belief.state in TROUBLED else None


def recent_cut(state: BeliefState, key: Key, now: float) -> Cut | None:
    """Returns the last cut of a host's direct connections, within `cut_known_s`. A shorter connection, such as a
    re-test, does not show that they are no longer cut."""
    cut = state.cuts.get(key)
    return cut if cut is not None and 0 <= now - cut.at < state.settings.cut_known_s else None


def begin(state: BeliefState, key: Key, now: float) -> Belief:
    """Returns the belief of a host at its first signal."""
    return replace(unknown(key, now), score=prior(state, key, now))


def current_transient(state: BeliefState, key: Key, now: float) -> Belief | None:
    """Returns the transient belief as of now, if there is one."""
    transient = state.transient.get(key)
    if transient is None:
        return None
    if state.lasts(transient.until, now):
        return transient
    state.transient.pop(key)
    return None


def prior(state: BeliefState, key: Key, now: float) -> float:
    """Returns the weight of an imported list that names the host. It decays from the host's first trouble on, like all
    evidence, and is 0 on a network where the host has worked."""
    if not state.listed(key[1]):
        return 0.0
    since = state.priors.get(key)
    if since is None:
        since = now
        state.priors.put(key, now)
    halvings = max(0.0, now - since) / state.settings.half_life_s
    return state.settings.weights.listed * math.exp2(-halvings)


# -- which belief applies to a host ------------------------------------------------------------------------------------


def domain_over(state: BeliefState, key: Key, now: float) -> tuple[Key, Belief] | None:
    """Returns the domain of a host and its belief, if the domain is in trouble."""
    above = (key[0], domain_scope(key[1]))
    if above not in state.domains:
        return None
    belief = troubled(state, above, now)
    return (above, belief) if belief is not None else None


def governing(state: BeliefState, key: Key, now: float) -> Key:
    """Returns the scope whose belief applies to a host: the host if it is in trouble, else its troubled domain."""
    above = domain_over(state, key, now)
    if above is None or troubled(state, key, now) is not None or not covers(state, above[1], key):
        return key
    return above[0]


def covers(state: BeliefState, domain: Belief, key: Key) -> bool:
    """Whether the belief of a domain applies to its host. It does not if the host works direct."""
    working = state.works.get(key)
    return working is None or working.at < domain.since - KEEPS_S


def represents(state: BeliefState, scope: Key, host: str) -> bool:
    """Whether a success of `host` ends the trouble of its scope. It does not if only other hosts of the domain failed.
    After a restart it is not known which did, so any host counts."""
    return scope not in state.failed_under or host == scope[1] or state.failed_under.saw(scope, host)


def note_under(state: BeliefState, scope: Key, host: str, now: float) -> None:
    """Notes that direct failed for a host that `scope` covers."""
    if host != scope[1]:
        state.failed_under.note(scope, host, now)


# -- from state to state -----------------------------------------------------------------------------------------------


def raise_suspicion(
    state: BeliefState,
    key: Key,
    before: Belief,
    after: Belief,
    heaviest: Signal | None,
    now: float,
    *,
    is_proof: bool = False,
) -> list[Change]:
    """Makes a scope suspect, or blocked if there is enough evidence. `heaviest` is the signal that was just counted,
    and may be a proof."""
    settings = state.settings
    if before.state is State.BLOCKED:
        kept = replace(after, until=now + settings.unvisited_s, successes=0 if heaviest else after.successes)
        return write(state, key, before, kept, now)
    if heaviest is not None and enough_to_block(after, heaviest, settings, is_proof=is_proof):
        return set_blocked(state, key, before, after, now)
    after = replace(after, state=State.SUSPECT, until=suspect_until(state, after, now))
    # Suspect for a refusal only, it has no re-tests.
    if before.state is not State.SUSPECT or not before.retest_at:
        after = dated_suspect(state, replace(after, since=now), now)
    return write(state, key, before, replace(after, began=after.began or now), now)


def set_blocked(state: BeliefState, key: Key, before: Belief, after: Belief, now: float) -> list[Change]:
    """Makes a scope blocked, and schedules its first re-test."""
    until = now + state.settings.unvisited_s
    after = replace(after, state=State.BLOCKED, since=now, began=after.began or now, until=until, successes=0)
    return write(state, key, before, dated_blocked(state, after, now), now)


def set_works(
    state: BeliefState, key: Key, before: Belief, belief: Belief, now: float, why: str, *, episodes: int = 0
) -> list[Change]:
    """Makes a scope work. Keeps its score and exits for as long as they matter. `episodes`: those that this success
    does not end."""
    after = replace(
        aged(belief, now, state.settings),
        state=State.WORKS,
        since=before.since if before.state is State.WORKS else now,
        began=0.0,
        until=now + state.settings.known_s,
        retest_at=0.0,
        retest_step=0,
        successes=0,
        episodes=episodes,
        why=why,
    )
    return write(state, key, before, after, now)


def end_block(state: BeliefState, key: Key, belief: Belief, now: float, why: str) -> list[Change]:
    """Ends a suspicion or a block. Half of the score stays, so that a provider that toggles is found sooner; with all
    of it, a site that resets one connection in fifty would be blocked every other day (simulated in
    `tests/detect/beliefs/test_visitors.py`)."""
    settings = state.settings
    exits = (*recent_exits(belief, now, settings), now)
    score = score_now(belief, now, settings) / settings.retest_divisor
    return set_works(state, key, belief, replace(belief, exits=exits, score=score, scored_at=now), now, why)


def suspect_until(state: BeliefState, belief: Belief, now: float) -> float:
    """Returns when a suspicion lapses: `rescue_suspect_s` after any rescue, or when the score has decayed."""
    settings = state.settings
    return max(now + settings.rescue_suspect_s, falls_below(belief, settings.suspect_score, settings))


def write(state: BeliefState, key: Key, before: Belief, after: Belief, now: float) -> list[Change]:
    """Stores a belief. Returns its Change, and after it those of the beliefs that were evicted for it: what stored
    these comes before."""
    if key[1].startswith("*."):
        state.domains.add(key)
    changes = [Change(now, after.scope, after.network, before.state, after.state, after.cause, after.why, after)]
    for evicted, gone in state.stored.put(key, after):
        state.domains.discard(evicted)
        state.prefixes.pop(evicted, None)
        changes.append(forgotten(evicted, gone.state, now, "removed to limit memory: least recently used"))
    return changes


def remove(state: BeliefState, key: Key, now: float, why: str) -> list[Change]:
    gone = _drop(state, key)
    return [] if gone is None else [forgotten(key, gone.state, now, why)]


def _drop(state: BeliefState, key: Key) -> Belief | None:
    """Removes a belief from the table and from its indexes."""
    state.domains.discard(key)
    state.prefixes.pop(key, None)
    return state.stored.pop(key)


def forget_stored(state: BeliefState, meant: Meant, why: str = "forgotten by the user") -> list[Change]:
    """Forgets every scope that is meant, and the Changes of it that were not told yet."""
    at = max(0.0, state.now)
    gone = [change for change in state.untold if meant((change.network, change.scope))]
    state.untold = [change for change in state.untold if change not in gone]
    for key in state.stored:
        if meant(key):
            gone += remove(state, key, at, why)
    return gone


def mark_working(state: BeliefState, key: Key, now: float, *, is_home: bool = False) -> None:
    """Notes that direct delivered. Soon after the last time this changes no answer, and raises no generation.
    `is_home`: the host is on the home network, also if its name does not say so."""
    network, host = key
    working = state.works.get(key)
    if working is not None and now < working.renew_at:
        belief, renew_at = working.belief, working.renew_at
    else:
        since, until = working.belief.since if working is not None else now, now + state.settings.known_s
        belief = Belief(host, network, State.WORKS, since=since, until=until, why="direct answered")
        renew_at = now + RENEW_S
    marked = Working(belief, now, renew_at, is_near=is_home or state.is_near(host))
    state.works.put(key, marked, is_change=working is None or now - working.at >= KEEPS_S)
    if state.listed(host):
        state.priors.put(key, NEVER)


def end_working(state: BeliefState, key: Key) -> None:
    """Notes that a host is in trouble, and when direct last delivered it."""
    if (working := state.works.pop(key)) is not None:
        state.worked_at.put(key, working.at)


def set_transient(
    state: BeliefState, key: Key, entered: State, cause: Cause | str, why: str, *, lasts_s: float, now: float
) -> None:
    """Notes for `lasts_s` that no route reaches a host, or that it refuses every route."""
    network, host = key
    state.transient.put(key, Belief(host, network, entered, cause, since=now, until=now + lasts_s, why=why))
