from __future__ import annotations

import random
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import retests, transitions
from proxy.detect.beliefs.state import NETWORKS_MAX
from proxy.detect.beliefs.transitions import recent_exits, successes_needed
from proxy.model import Belief, NetworkId
from tests.detect.world import over
from tests.support.outcomes import AWAY, HOME, HOST

SETTINGS = DetectTuning()
NOW = 1_000_000.0
NEW = Belief(HOST, HOME)


class _Latest(random.Random):
    """Always the most that can be drawn."""

    def random(self) -> float:
        return 1.0


class _Soonest(random.Random):
    def random(self) -> float:
        return 0.0


def test_a_blocked_host_is_tried_at_growing_distances() -> None:
    schedule = over(transitions, rng=_Soonest())
    belief = schedule.dated_blocked(NEW, NOW)
    delays = [belief.retest_at - NOW]
    for _ in range(6):
        belief = schedule.dated_after_failure(belief, NOW)
        delays.append(belief.retest_at - NOW)

    assert delays == [900, 3600, 14_400, 57_600, 100_800, 100_800, 100_800]


def test_a_suspect_goes_on_with_the_steps_of_a_blocked_host() -> None:
    schedule = over(transitions, rng=_Soonest())
    belief = schedule.dated_suspect(NEW, NOW)
    assert belief.retest_at == NOW + 120
    belief = schedule.dated_after_failure(belief, NOW)
    assert belief.retest_at == NOW + 900
    belief = schedule.dated_after_failure(belief, NOW)
    assert belief.retest_at == NOW + 3600


def test_jitter_makes_later_never_sooner() -> None:
    assert over(transitions, rng=_Latest()).dated_blocked(NEW, NOW).retest_at == pytest.approx(NOW + 900 * 1.3)
    drawn = over(transitions, rng=random.Random(7))
    assert all(900 <= drawn.dated_blocked(NEW, NOW).retest_at - NOW <= 1170 for _ in range(100))


def test_F88_each_recent_exit_makes_the_next_re_test_slower() -> None:
    schedule = over(transitions, rng=_Soonest())
    delays = [
        schedule.dated_suspect(replace(NEW, exits=(NOW - 10.0,) * exits), NOW).retest_at - NOW for exits in range(5)
    ]

    assert delays == [120, 240, 480, 960, 1920]
    assert schedule.dated_suspect(replace(NEW, exits=(NOW,) * 50), NOW).retest_at == NOW + 100_800


def test_successes_needed() -> None:
    needed = [successes_needed(replace(NEW, exits=(NOW - 10.0,) * exits), NOW, SETTINGS) for exits in range(6)]

    assert needed == [2, 3, 4, 5, 5, 5]
    assert recent_exits(replace(NEW, exits=(NOW - 90_000, NOW - 80_000)), NOW, SETTINGS) == (NOW - 80_000,)


def test_the_budget_is_for_an_hour_and_a_network() -> None:
    budget = over(retests)

    assert [budget.take_budget(HOME, NOW + i) for i in range(8)] == [True] * 6 + [False] * 2
    assert budget.take_budget(AWAY, NOW)
    assert not budget.take_budget(HOME, NOW + 3599)
    assert budget.take_budget(HOME, NOW + 3600)
    assert not budget.take_budget(HOME, NOW + 3600.5)


def test_F87_a_clock_set_back_does_not_close_the_budget() -> None:
    budget = over(retests, settings=DetectTuning(retest_per_hour=1))
    assert budget.take_budget(HOME, NOW)

    assert budget.take_budget(HOME, NOW - 86_400)


def test_the_budget_remembers_few_networks() -> None:
    budget = over(retests, settings=DetectTuning(retest_per_hour=1))
    assert budget.take_budget(HOME, NOW)
    for number in range(NETWORKS_MAX):
        assert budget.take_budget(NetworkId(f"network-{number}"), NOW)

    assert budget.take_budget(HOME, NOW)
