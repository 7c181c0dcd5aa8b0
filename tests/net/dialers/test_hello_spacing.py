"""When hellos to a relay are kept apart; all times are arguments."""

from __future__ import annotations

from itertools import pairwise

import pytest

from proxy.net.dialers.hello_spacing import APART_S, BURST, LASTS_S, SILENT_IN_A_ROW, HelloSpacing

NOW = 100.0


def begun(*at: float) -> HelloSpacing:
    spacing = HelloSpacing()
    for one in at:
        assert spacing.take(one) == one, "nothing is kept apart"
    return spacing


def punished() -> HelloSpacing:
    spacing = begun(*[NOW] * 8)
    for _ in range(SILENT_IN_A_ROW):
        spacing.unanswered(NOW, NOW + 10)
    return spacing


def test_hellos_leave_at_once_until_a_burst_was_punished() -> None:
    spacing = begun(*[NOW] * 30)
    assert not spacing.is_active(NOW)
    assert punished().is_active(NOW + 10)


def test_then_each_waits_for_the_one_before_it() -> None:
    spacing = punished()
    taken = [spacing.take(NOW + 11) for _ in range(12)]
    assert [round(after - before, 6) for before, after in pairwise(taken)] == [APART_S] * 11
    assert spacing.take(NOW + 60) == NOW + 60, "the queue is over"


def test_that_lasts_for_a_while_after_the_last_one_without_an_answer() -> None:
    spacing = punished()
    assert spacing.is_active(NOW + 10 + LASTS_S - 1)
    assert not spacing.is_active(NOW + 10 + LASTS_S)
    spacing.take(NOW + 60)
    spacing.unanswered(NOW + 60, NOW + 70)
    assert spacing.is_active(NOW + 70 + LASTS_S - 1)
    spacing.answered()
    assert spacing.is_active(NOW + 70), "that the relay is there again is what spacing was for"


def test_where_the_network_counts_hellos_they_are_apart_from_the_first_one_on() -> None:
    spacing = HelloSpacing(lambda: True)
    taken = [spacing.take(NOW) for _ in range(3)]
    assert [round(after - before, 6) for before, after in pairwise(taken)] == [APART_S] * 2
    spacing.unanswered(NOW, NOW + 10)
    assert not spacing.was_punished(NOW + 10), "it is the relay's or the way's own silence"
    assert punished().was_punished(NOW + 10)


@pytest.mark.parametrize(
    "at",
    [
        [NOW],
        [NOW] * (BURST - 1),
        [NOW + number * APART_S for number in range(12)],  # none is close to the one before it
        [NOW, NOW, NOW + 1, NOW + 1],  # two bursts of two
    ],
)
def test_a_relay_that_does_not_answer_without_a_burst_is_only_silent(at: list[float]) -> None:
    spacing = begun(*at)
    for one in at * SILENT_IN_A_ROW:
        spacing.unanswered(one, NOW + 20)
    assert not spacing.is_active(NOW + 20)


def test_an_answer_between_them_shows_that_nobody_punished() -> None:
    """A relay that is overloaded answers some."""
    spacing = begun(*[NOW] * 8)
    for _ in range(3 * SILENT_IN_A_ROW):
        spacing.unanswered(NOW, NOW + 10)
        spacing.answered()
    assert not spacing.is_active(NOW + 10)


def test_what_it_remembers_is_bounded() -> None:
    spacing = begun(*[float(number) for number in range(10_000)])
    assert len(spacing._begun) < 100
