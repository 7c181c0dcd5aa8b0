"""How beliefs lapse and how they are found to be meant; their states are told in test_beliefs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import clock, transitions
from proxy.detect.beliefs.tables import on_network
from proxy.detect.beliefs.transitions import forgotten, unknown
from proxy.model import Belief, Signal, SignalId, State
from tests.detect.seen import OTHER, Seen
from tests.detect.world import Over, over
from tests.support.outcomes import AWAY, HOME, HOST
from tests.support.rows import each_row

NOW = 1_000_000.0
KEY = (HOME, HOST)


def table(*known: Belief) -> Over:
    made = over(transitions, clock, known=known, rng=random.Random(0))
    made.advance(NOW)
    return made


@each_row(
    ("scope", "meant"),
    [
        ("a.example.org", ["a.example.org", "x.a.example.org", "*.example.org"]),
        ("example.org", ["a.example.org", "x.a.example.org", "b.example.org", "example.org", "*.example.org"]),
        ("*.example.org", ["*.example.org"]),
        ("203.0.113.0/24", ["203.0.113.0/24"]),
    ],
)
def test_which_scopes_are_meant(scope: str, meant: list[str]) -> None:
    scopes = ["a.example.org", "x.a.example.org", "b.example.org", "example.org", "*.example.org", "notexample.org",
              "203.0.113.0/24"]  # fmt: skip

    found = [other for other in scopes if on_network(HOME, scope)((HOME, other))]
    assert sorted(found) == sorted(meant)
    assert not on_network(HOME, scope)((AWAY, scope))
    assert on_network(None, scope)((AWAY, scope))
    assert on_network(HOME, None)((HOME, "anything"))


def test_local_means_that_failed_are_kept_a_day() -> None:
    made = table(replace(unknown(KEY, NOW), state=State.BLOCKED, until=NOW + 1e6, rungs_failed=("direct|split",),
                        rungs_failed_at=NOW))  # fmt: skip
    held = made.current(KEY, NOW + 86_399)
    assert held is not None
    assert held.rungs_failed == ("direct|split",)
    held = made.current(KEY, NOW + 86_400)

    assert held is not None
    assert (held.rungs_failed, held.rungs_failed_at) == ((), 0.0)


def test_a_suspect_that_lapsed_is_remembered_while_its_episodes_are() -> None:
    suspect = replace(unknown(KEY, NOW), state=State.SUSPECT, until=NOW + 120, episodes=1, episode_at=NOW, score=2.0)
    made = table(suspect)
    for day in (1, 5, 9):
        held = made.current(KEY, NOW + day * 86_400)
        assert held is not None
        assert (held.state, held.episodes) == (State.UNKNOWN, 1)

    assert made.current(KEY, NOW + 10.1 * 86_400) is None


def test_one_that_was_rescued_is_remembered_for_a_day_whatever_counted() -> None:
    """What got through is kept so long, and with it that the name is not asked for in clear."""
    suspect = replace(unknown(KEY, NOW), state=State.SUSPECT, until=NOW + 120, last_good="vps", last_good_at=NOW)
    made = table(suspect)
    held = made.current(KEY, NOW + 86_399)
    assert held is not None
    assert (held.state, held.last_good) == (State.UNKNOWN, "vps")
    assert held.hide_name_from_dns

    assert made.current(KEY, NOW + 86_400) is None


def test_one_that_never_counted_is_not() -> None:
    made = table(replace(unknown(KEY, NOW), state=State.SUSPECT, until=NOW + 120))

    assert made.current(KEY, NOW + 121) is None
    assert len(made.stored) == 0


def test_what_is_dropped_is_told() -> None:
    made = table(replace(unknown(KEY, NOW), state=State.BLOCKED, until=NOW + 1e6))

    assert made.remove(KEY, NOW, "why") == [forgotten(KEY, State.BLOCKED, NOW, "why")]
    assert made.remove(KEY, NOW, "why") == []


def test_what_passes_passes() -> None:
    made = table()
    made.set_transient(KEY, State.DOWN, "down", "why", lasts_s=60, now=NOW)
    assert made.current_transient(KEY, NOW + 59) is not None
    assert made.current_transient(KEY, NOW + 60) is None

    assert not made.transient


# -- imported lists ----------------------------------------------------------------------------------------------------


def test_a_list_by_itself_makes_nobody_suspect() -> None:
    seen = Seen(listed=[HOST])
    assert seen.state() is State.UNKNOWN


@pytest.mark.parametrize(("listed", "score"), [([HOST], 4.0), ([OTHER], 2.0)])
def test_a_list_adds_its_weight_to_the_first_sign_and_is_no_episode(listed: list[str], score: float) -> None:
    seen = Seen(listed=listed)
    seen.rescued()
    seen.works()
    assert (seen.state(), seen.held().score, seen.held().episodes) == (State.SUSPECT, score, 1)
    assert ("it is on an imported list" in seen.held().why) == (listed == [HOST])


def test_a_list_weighs_less_the_longer_ago_a_host_was_first_seen_in_trouble() -> None:
    seen = Seen(listed=[HOST])
    seen.rescued()
    assert seen.held().score == 2.0
    seen.beliefs.forget_home(lambda _: True)  # the belief alone
    seen.after(DetectTuning().half_life_s).rescued()
    assert seen.held().score == pytest.approx(1.0)
    seen.beliefs.forget(HOST)
    seen.rescued()
    assert seen.held().score == pytest.approx(2.0), "with the host it is forgotten when it was first in trouble"


def test_a_host_that_worked_here_is_not_doubted_for_a_list() -> None:
    seen = Seen(listed=[HOST])
    seen.works(HOST)
    seen.after(100).rescued()
    assert (seen.state(), seen.held().score) == (State.SUSPECT, 0.0)
    seen.rescued(network=AWAY)
    assert seen.held(network=AWAY).score == 2.0


def test_a_clock_that_is_set_ages_no_list() -> None:
    seen = Seen(listed=[HOST])
    seen.rescued()
    seen.beliefs.forget(HOST)
    assert seen.after(400 * 86_400).state() is State.UNKNOWN  # and for a moment nothing is learned
    seen.after(20).rescued()
    assert seen.held().score == pytest.approx(2.0, abs=0.01)


SIGNAL = Signal(SignalId.TLS_RESET, 2.0, "sni_reset", NOW)


def suspected(made: Over, now: float) -> Belief:
    before = made.current(KEY, now) or made.begin(KEY, now)
    (change,) = made.raise_suspicion(KEY, before, replace(before, score=1.5, scored_at=now), None, now)
    belief: Belief | None = change.belief
    assert belief is not None
    return belief


def test_trouble_began_with_its_first_sign_whatever_was_found_since() -> None:
    made = table()
    suspect = suspected(made, NOW)
    assert (suspect.began, suspect.since) == (NOW, NOW)
    (change,) = made.set_blocked(KEY, suspect, suspect, NOW + 90)
    assert change.belief is not None
    assert (change.belief.began, change.belief.since) == (NOW, NOW + 90)
    (change,) = made.end_block(KEY, change.belief, NOW + 900, "direct delivered")
    assert change.belief is not None
    assert change.belief.began == 0.0
    assert suspected(made, NOW + 1800).began == NOW + 1800, "after a success it is another one"


def test_a_suspicion_that_time_ended_goes_on_when_it_is_found_again() -> None:
    made = table()
    suspect = replace(suspected(made, NOW), episodes=1, episode_at=NOW)
    made.stored.correct(KEY, suspect)
    later = suspect.until + 1
    lapsed = made.current(KEY, later)
    assert lapsed is not None
    assert (lapsed.state, lapsed.began, lapsed.retest_at) == (State.UNKNOWN, NOW, 0.0)
    assert made.untold == [], "time writes no change"
    assert suspected(made, later).began == NOW


def test_a_block_that_nobody_visited_for_long_ends_in_the_ledger() -> None:
    until = NOW + 10 * 86_400
    blocked = replace(unknown(KEY, NOW), state=State.BLOCKED, cause="ip", since=NOW, began=NOW, until=until)
    made = table(blocked)
    assert made.current(KEY, until + 5) is None
    (ended,) = made.untold
    assert (ended.at, ended.before, ended.after, ended.belief) == (until, State.BLOCKED, State.UNKNOWN, None)


def test_what_is_forgotten_leaves_no_change_behind() -> None:
    made = table(replace(unknown(KEY, NOW), state=State.BLOCKED, since=NOW, began=NOW, until=NOW + 1))
    assert made.current(KEY, NOW + 5) is None
    assert [change.scope for change in made.forget_stored(on_network(None, None))] == [HOST]
    assert made.untold == []
