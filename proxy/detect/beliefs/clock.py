"""Keeps the clock of the beliefs, and mends their dates when somebody sets this computer's clock.

The dates of beliefs move with the clock, so that no age is negative and no belief lapses at once. All other dates are
void, and their entries are dropped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proxy.detect.beliefs.network_health import on_clock_set
from proxy.detect.beliefs.state import NEVER, BeliefState
from proxy.model import Belief, Change

CLOCK_BACK_S = 60.0
CLOCK_AHEAD_S = 30 * 86_400.0
"""A clock that moves further than this between two calls was set by somebody: ages are kept."""


def advance(state: BeliefState, now: float) -> None:
    """Sets the time of the state, before a call reads or writes it. Callers skip it in the usual case: a time not
    before the latest call, and at most `CLOCK_AHEAD_S` after the last one. A time before that of an earlier call
    raises every generation."""
    jumped = not -CLOCK_BACK_S <= now - state.now <= CLOCK_AHEAD_S and _was_set(state, now)
    state.now, state.latest = now, max(state.latest, now)
    if jumped:
        for table in state.dated_tables:
            table.clear()
        state.results.on_clock_set()
        on_clock_set(state, now)
    if jumped or now < state.latest:
        state.generations.on_all_changed()


def _was_set(state: BeliefState, now: float) -> bool:
    """Moves the dates of beliefs if the clock was set, and returns whether it was. At the first call only a clock
    behind the stored dates was set: a clock far ahead may mean a month without use."""
    latest = state.now
    if latest == NEVER:
        latest = max((_latest(belief) for belief in state.stored.values()), default=now)
        if now >= latest:
            return False
    shift = now - latest
    state.latest += shift
    for key, belief in state.stored.items():
        moved = _shifted(belief, shift)
        state.stored.correct(key, moved)
        state.untold.append(
            Change(now, moved.scope, moved.network, moved.state, moved.state, moved.cause, moved.why, moved)
        )
    for key, at in state.priors.items():
        state.priors.correct(key, at + shift)
    for working in state.works.values():
        working.at += shift
        working.renew_at += shift
        working.belief = _shifted(working.belief, shift)
    return True


def _latest(belief: Belief) -> float:
    return max(belief.since, belief.scored_at, belief.last_good_at, belief.success_at)


_DATES = (
    "since", "began", "until", "last_good_at", "scored_at", "signal_at", "episode_at", "retest_at", "success_at",
    "rungs_failed_at",
)  # fmt: skip
"""The dates of a belief; 0: there is none."""


def _shifted(belief: Belief, shift: float) -> Belief:
    dates: dict[str, Any] = {name: at + shift for name in _DATES if (at := getattr(belief, name))}
    return replace(belief, **dates, exits=tuple(at + shift for at in belief.exits))
