from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.transitions import aged, counted, enough_to_block, falls_below, score_now
from proxy.model import Belief, Signal, SignalId
from tests.support.outcomes import HOME, HOST

SETTINGS = DetectTuning()
HOUR = 3600.0
NEW = Belief(HOST, HOME)


def signal(weight: float, cause: str = "sni_reset") -> Signal:
    return Signal(SignalId.TLS_RESET, weight, cause, 0.0)


def test_the_score_halves_every_six_hours() -> None:
    belief = replace(NEW, score=4.0, scored_at=1000.0)

    assert score_now(belief, 1000.0 + 6 * HOUR, SETTINGS) == pytest.approx(2.0)
    assert score_now(belief, 1000.0 + 24 * HOUR, SETTINGS) == pytest.approx(0.25)


def test_F87_a_clock_set_back_makes_nothing_heavier() -> None:
    assert score_now(replace(NEW, score=4.0, scored_at=1e9), 1000.0, SETTINGS) == 4.0


def test_falls_below_agrees_with_the_score() -> None:
    belief = replace(NEW, score=5.0, scored_at=1000.0)
    at = falls_below(belief, 1.0, SETTINGS)

    assert score_now(belief, at, SETTINGS) == pytest.approx(1.0)
    assert falls_below(replace(belief, score=0.5), 1.0, SETTINGS) == 1000.0


@pytest.mark.parametrize(
    ("weights_at", "score", "episodes"),
    [
        ([(0, 2.0)], 2.0, 1),
        ([(0, 2.0), (1, 2.0), (59, 2.0)], 2.0, 1),  # a page with many resets is one piece of evidence
        ([(0, 0.5), (10, 2.0), (20, 1.5)], 2.0, 1),  # the heaviest of the minute
        ([(0, 2.0), (60, 2.0)], 4.0, 2),
        ([(0, 2.0), (50, 2.0), (70, 2.0)], 4.0, 2),
        ([(0, 3.0), (60, 3.0), (120, 3.0)], 8.0, 3),  # capped
    ],
)
def test_one_signal_a_minute_counts_the_heaviest(
    weights_at: list[tuple[float, float]], score: float, episodes: int
) -> None:
    belief = NEW
    for at, weight in weights_at:
        belief = counted(belief, signal(weight), 1000.0 + at, SETTINGS)

    assert belief.score == pytest.approx(score, rel=0.01)
    assert belief.episodes == episodes


def test_the_cause_is_the_heaviest_signals() -> None:
    belief = counted(NEW, signal(0.5, "ip"), 1000.0, SETTINGS)
    belief = counted(belief, signal(2.0, "sni_reset"), 1010.0, SETTINGS)
    belief = counted(belief, signal(0.7, "sni_drop"), 1020.0, SETTINGS)

    assert belief.cause == "sni_reset"


def test_an_old_episode_does_not_count_any_more() -> None:
    belief = counted(NEW, signal(2.0), 1000.0, SETTINGS)

    assert counted(belief, signal(3.0), 1000.0 + 239 * HOUR, SETTINGS).episodes == 2
    assert counted(belief, signal(3.0), 1000.0 + 241 * HOUR, SETTINGS).episodes == 1


def test_enough_to_block() -> None:
    belief = replace(NEW, score=3.0, episodes=2)

    assert enough_to_block(belief, signal(2.0), SETTINGS)
    assert not enough_to_block(belief, signal(0.7), SETTINGS)  # weak
    assert not enough_to_block(replace(belief, score=2.9), signal(2.0), SETTINGS)
    assert not enough_to_block(replace(belief, episodes=1), signal(2.0), SETTINGS)
    swap = Signal(SignalId.SNI_SWAP, 4.0, "sni_drop", 0.0)
    assert not enough_to_block(replace(belief, episodes=1), swap, SETTINGS), "as a measurement finds it"
    assert enough_to_block(replace(belief, episodes=1), swap, SETTINGS, is_proof=True)
    assert not enough_to_block(replace(belief, episodes=1, score=2.9), swap, SETTINGS, is_proof=True)


def test_four_episodes_without_a_success_are_enough_whatever_the_score() -> None:
    belief = replace(NEW, score=2.0, episodes=4)

    assert enough_to_block(belief, signal(2.0), SETTINGS)
    assert not enough_to_block(belief, signal(0.7), SETTINGS)
    assert not enough_to_block(replace(belief, episodes=3), signal(2.0), SETTINGS)


def test_weak_signs_make_no_episodes() -> None:
    """A slow server, three days long, that then hangs up once."""
    belief = NEW
    for day, weight in enumerate((0.7, 0.7, 0.7, 1.5)):
        belief = counted(belief, signal(weight), 1000.0 + day * 24 * HOUR, SETTINGS)
    assert not enough_to_block(belief, signal(1.5), SETTINGS)

    for day in (4, 5, 6):
        belief = counted(belief, signal(1.5), 1000.0 + day * 24 * HOUR, SETTINGS)
    assert enough_to_block(belief, signal(1.5), SETTINGS)


def test_a_weak_sign_first_takes_no_episode_from_a_heavier_one_of_its_minute() -> None:
    belief = counted(counted(NEW, signal(0.7), 1000.0, SETTINGS), signal(2.0), 1020.0, SETTINGS)
    assert (belief.episodes, belief.episode_at) == (1, 1020.0)


def test_aged_keeps_the_rest() -> None:
    belief = replace(NEW, score=4.0, scored_at=1000.0, cause="ip")

    assert aged(belief, 1000.0 + 6 * HOUR, SETTINGS) == replace(belief, score=2.0, scored_at=1000.0 + 6 * HOUR)
