"""The arithmetic of one belief: how a signal is counted, how a score ages, when a host is suspect or blocked.

Functions from a Belief to a Belief, by docs/detection.md, "Score and states". The score only decides how a state is
entered; once `blocked` is entered it holds without decay until re-tests succeed, or the site is not visited any more.
"""

from __future__ import annotations

import math
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Belief, Signal

NEGLIGIBLE = 0.05
"""A score below this is not kept."""


def score_now(belief: Belief, now: float, settings: DetectTuning) -> float:
    """The score as it has decayed until `now`. A clock that was set back does not raise it."""
    age = max(0.0, now - belief.scored_at)
    return float(belief.score * 0.5 ** (age / settings.half_life_s))


def aged(belief: Belief, now: float, settings: DetectTuning) -> Belief:
    """The belief with its score as of `now`."""
    return replace(belief, score=score_now(belief, now, settings), scored_at=now)


def falls_below(belief: Belief, floor: float, settings: DetectTuning) -> float:
    """When the score will have decayed below `floor`."""
    if belief.score <= floor:
        return belief.scored_at
    return belief.scored_at + settings.half_life_s * math.log2(belief.score / floor)


def counted(belief: Belief, signal: Signal, now: float, settings: DetectTuning) -> Belief:
    """The belief with one more signal. Of several within a minute only the heaviest counts, since a page with six
    resets is one piece of evidence. A signal too light to make a host suspect begins no episode."""
    score = score_now(belief, now, settings)
    is_weak = signal.weight < settings.suspect_score
    episodes, episode_at = (belief.episodes, belief.episode_at) if is_weak else _episodes(belief, now, settings)
    if belief.signal_at and now - belief.signal_at < settings.signal_interval_s:
        gain = signal.weight - belief.signal_weight
        if gain <= 0:
            return replace(belief, score=score, scored_at=now)
        score = min(settings.score_cap, score + gain)
        return replace(
            belief,
            score=score,
            scored_at=now,
            signal_weight=signal.weight,
            cause=signal.cause or belief.cause,
            episodes=episodes,
            episode_at=episode_at,
        )
    return replace(
        belief,
        score=min(settings.score_cap, score + signal.weight),
        scored_at=now,
        signal_at=now,
        signal_weight=signal.weight,
        cause=signal.cause or belief.cause,
        episodes=episodes,
        episode_at=episode_at,
    )


def _episodes(belief: Belief, now: float, settings: DetectTuning) -> tuple[int, float]:
    since = now - belief.episode_at
    if not belief.episodes or since > settings.unvisited_s:
        return 1, now
    if since < settings.episode_gap_s:
        return belief.episodes, belief.episode_at
    return belief.episodes + 1, now


def enough_to_block(belief: Belief, signal: Signal, settings: DetectTuning) -> bool:
    """Whether `signal`, just counted, makes a suspect blocked. A signal too light to make a host suspect never does, so
    weak signals alone never block. With one visit a day the score decays before it suffices, so `blocked_alone`
    episodes without a direct success between them block as well."""
    if signal.weight < settings.suspect_score:
        return False
    if belief.episodes >= settings.blocked_alone:
        return True
    return belief.score >= settings.blocked_score and belief.episodes >= settings.blocked_episodes
