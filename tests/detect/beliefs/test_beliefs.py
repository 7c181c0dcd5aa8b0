"""All beliefs together: the way back, bounds, the clock, a restart; what outcomes teach is in test_learning."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import NetworkLeft
from proxy.detect.verdict.results import NoResultStore
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Belief, Cause, Outcome, Protocol, Stage, State, StoredResult, Symptom
from tests.detect.world import DAY, HOUR, T0, World
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, down, failed, outcome, rescued, works


def test_nothing_is_known_of_a_new_host() -> None:
    world = World()

    assert world.held() == Belief(HOST, HOME)


# -- the way back ------------------------------------------------------------------------------------------------------


def test_a_suspect_is_tried_after_two_minutes_and_cleared() -> None:
    world = World()
    world.learn(rescued())
    assert not world.after(119).due()
    assert world.after(1).due()

    (change,) = world.retested(direct_ok=True)

    assert (change.before, change.after) == (State.SUSPECT, State.WORKS)
    assert world.state() is State.WORKS


def test_a_due_re_test_is_claimed_once() -> None:
    world = World()
    world.learn(rescued())
    world.after(120)

    assert [world.due() for _ in range(30)] == [True] + [False] * 29
    assert world.after(61).due()  # nobody reported it


def test_a_claimed_re_test_is_free_at_once_when_its_network_goes() -> None:
    world = World()
    world.learn(rescued())
    assert world.after(120).due()
    world.beliefs.learn(NetworkLeft(), network=HOME, now=world.now)

    assert world.after(1).due()  # back on it
    assert not world.due()


def test_a_claim_without_a_report_can_be_given_back() -> None:
    world = World()
    world.learn(rescued())
    assert world.after(120).due()
    world.beliefs.release(world.beliefs.claim_of(HOST, network=HOME, now=world.now))

    assert world.due()


def test_a_suspect_that_fails_beside_the_other_route_is_blocked() -> None:
    world = World()
    world.learn(rescued())
    world.after(120).due()
    (change,) = world.retested(direct_ok=False)

    assert (change.before, change.after) == (State.SUSPECT, State.BLOCKED)
    assert not world.after(899).due()
    assert world.after(1).due()


def test_a_weak_suspect_that_fails_again_stays_one() -> None:
    world = World()
    world.learn(rescued(Symptom.SILENT))
    world.after(119.9).learn(outcome(delivered(TOR)))
    world.after(0.05)
    for _ in range(3):
        world.retested(direct_ok=False)
        assert world.state() is State.SUSPECT
        world.after(61)


def test_a_rescue_without_a_signal_fails_again_and_lasts_two_minutes_more() -> None:
    world = World()
    world.learn(rescued(Symptom.ABANDONED))
    world.after(119).retested(direct_ok=False)

    assert world.held().score == 0.0
    assert world.after(119).state() is State.SUSPECT
    assert world.after(2).state() is State.UNKNOWN


def test_nothing_changes_when_both_fail() -> None:
    world = World().block()
    before = world.held()
    world.after(900)
    assert world.due()

    assert world.retested(direct_ok=False, other_ok=False) == []
    assert replace(world.held(), retest_at=0, retest_step=0) == replace(before, retest_at=0, retest_step=0)


def test_a_host_whose_pairs_show_nothing_leaves_re_tests_for_others() -> None:
    world = World().block()
    taken = 0
    for _ in range(12 * 60):
        if world.after(60).due():
            taken += 1
            world.retested(direct_ok=False, other_ok=False)

    assert taken == 3, "after 15 minutes, 1 hour and 4 hours, and not every two minutes for 12 hours"


def test_the_schedule_of_a_blocked_host() -> None:
    world = World().block()
    for delay in (900, 3600, 14_400, 57_600, 100_800, 100_800):
        assert not world.after(delay - 1).due(), delay
        assert world.after(1).due(), delay
        world.retested(direct_ok=False)
    assert world.state() is State.BLOCKED


def test_a_block_ends_after_two_successes_ten_minutes_apart() -> None:
    world = World().block()
    world.after(900)
    assert world.due()
    (first,) = world.retested(direct_ok=True)
    assert (first.after, world.held().successes) == (State.BLOCKED, 1)
    assert not world.after(899).due()
    assert world.after(1).due()

    (second,) = world.retested(direct_ok=True)

    assert (second.before, second.after) == (State.BLOCKED, State.WORKS)
    assert world.held().exits == (world.now,)
    assert world.held().score == 0.0


def test_successes_must_be_apart_and_in_a_row() -> None:
    world = World().block()
    world.after(900).retested(direct_ok=True)
    assert world.after(599).retested(direct_ok=True) == []
    world.after(10).retested(direct_ok=False)
    world.after(900).retested(direct_ok=True)
    assert world.state() is State.BLOCKED

    world.after(900).retested(direct_ok=True)
    assert world.state() is State.WORKS


def test_a_failure_of_the_users_own_breaks_the_row() -> None:
    world = World().block()
    world.after(900).retested(direct_ok=True)
    world.after(300).learn(rescued())  # its relay was down for a moment, so direct had its turn
    assert world.held().successes == 0
    world.after(900).retested(direct_ok=True)

    assert world.state() is State.BLOCKED


def test_the_users_own_success_counts_towards_the_way_back() -> None:
    world = World().block()
    for _ in range(30):  # one page; its relay was down
        world.after(61).learn(works())
        if world.state() is State.WORKS:
            break

    assert world.now == pytest.approx(T0 + 61 + 61 + 10 * 61)


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_F89_subdomains_without_end_are_bounded() -> None:
    settings, subdomains = DetectTuning(hosts_per_domain_max=50), 5_000
    world = World(settings)
    world.learn(rescued(host="other.example.net"))
    gone = 0
    for number in range(subdomains):
        changes = world.learn(rescued(host=f"{number:x}.attack.example"))
        gone += sum(change.belief is None for change in changes)
        world.learn(works(f"w{number:x}.attack.example"))
        world.learn(down(host=f"d{number:x}.attack.example"))
    held = world.beliefs.all(now=world.now)
    kinds = [belief.state for belief in held if belief.scope.endswith(".attack.example")]

    assert kinds.count(State.SUSPECT) == settings.hosts_per_domain_max
    assert kinds.count(State.DOWN) <= settings.hosts_per_domain_max
    assert gone == subdomains - settings.hosts_per_domain_max  # the store is told to forget each
    assert world.state("other.example.net") is State.SUSPECT
    assert world.state(f"{subdomains - 1:x}.attack.example") is State.SUSPECT
    assert world.state("0.attack.example") is State.UNKNOWN


def test_F89_many_domains_are_bounded_too() -> None:
    world = World(DetectTuning(hosts_max=100))
    for number in range(1000):
        world.learn(rescued(host=f"site{number}.example"))
        world.learn(works(f"works{number}.example"))

    assert len(world.beliefs.all(now=world.now)) == 100
    assert world.state("site999.example") is State.SUSPECT
    assert world.state("works999.example") is State.WORKS
    assert world.state("works0.example") is State.UNKNOWN


# -- the clock ---------------------------------------------------------------------------------------------------------

YEAR = 365 * DAY


def dates(belief: Belief) -> list[float]:
    names = [f.name for f in fields(Belief) if f.name.endswith("_at") or f.name in ("since", "until")]
    return [value for name in names if (value := getattr(belief, name))] + list(belief.exits)


@pytest.mark.parametrize("jump", [-YEAR, 10 * YEAR, -2 * HOUR], ids=["a year back", "ten years on", "two hours back"])
def test_F87_ages_survive_a_clock_that_is_set(jump: float) -> None:
    world = World().block()
    world.learn(works("works.example"))
    world.learn(rescued(host="suspect.example"))
    before = world.held()

    world.after(jump)

    assert (world.state(), world.state("suspect.example")) == (State.BLOCKED, State.SUSPECT)
    assert world.state("works.example") is State.WORKS
    assert [at - jump for at in dates(world.held())] == pytest.approx(dates(before))
    assert all(at <= world.now for at in (world.held().since, world.held().scored_at, world.held().last_good_at))
    saved = {change.scope: change.belief for change in world.learn(works("else.example"))}
    assert saved == {HOST: world.held(), "suspect.example": world.held("suspect.example")}
    assert world.after(10.1 * DAY).state() is State.UNKNOWN


def test_F87_a_machine_that_starts_in_1970_keeps_what_the_store_knew() -> None:
    known = World().block().held()
    world = World(known=[known])
    world.now = 1000.0

    assert world.state() is State.BLOCKED
    assert world.held().since <= 1000.0
    assert world.after(900).due()


def test_a_long_holiday_is_no_clock_jump() -> None:
    known = World().block().held()
    world = World(known=[known])
    world.after(60 * DAY)

    assert world.state() is State.UNKNOWN


def test_F85_two_hours_of_sleep_forget_nothing() -> None:
    world = World().block()

    assert world.after(2 * HOUR).state() is State.BLOCKED


def test_F87_a_jump_voids_what_waits_for_a_control() -> None:
    world = World()
    world.learn(outcome(failed()))
    world.after(-100).held()
    world.after(110).learn(outcome(delivered(TOR)))  # by the clock ten seconds later

    assert world.state() is State.UNKNOWN


# -- across a restart --------------------------------------------------------------------------------------------------


def test_what_was_kept_is_known_again() -> None:
    first = World().block()
    (kept,) = [change.belief for change in first.changes[-1:]]
    assert kept is not None
    second = World(known=[kept])
    second.now = first.now

    assert second.held() == first.held()
    assert second.after(900).due()


def test_forgetting_a_site_and_all_below_it() -> None:
    world = World()
    for host in ("example.org", "a.example.org", "notexample.org"):
        world.learn(rescued(host=host))
    world.learn(rescued(host="b.example.org"), network=AWAY)
    world.learn(works("c.example.org"))

    gone = world.beliefs.forget("example.org", HOME)

    assert {change.scope for change in gone} == {"example.org", "a.example.org"}
    assert all(change.belief is None and change.after is State.UNKNOWN for change in gone)
    assert world.state("a.example.org") is State.UNKNOWN
    assert world.state("c.example.org") is State.UNKNOWN
    assert world.state("notexample.org") is State.SUSPECT
    assert world.state("b.example.org", network=AWAY) is State.SUSPECT


def test_forgetting_everything() -> None:
    world = World().block()
    world.learn(works("works.example"))
    world.learn(down(host="down.example"))

    assert len(world.beliefs.forget()) == 1
    assert [world.state(host) for host in (HOST, "works.example", "down.example")] == [State.UNKNOWN] * 3


def test_plain_http_is_learned_alike() -> None:
    world = World()
    world.learn(rescued(Symptom.RESET, protocol=Protocol.HTTP))

    assert world.held().cause == "http_host"


def test_whatever_happens_states_and_numbers_stay_sane() -> None:
    """A long random walk through every kind of outcome, time and re-test."""
    rng = random.Random(20081007)
    world = World()
    hosts = [HOST, "a.example.net", "b.example.net"]
    symptoms = list(Symptom)
    stages = [Stage.RESOLVE, Stage.CONNECT, Stage.FIRST_BYTE]
    seen: list[Outcome] = []
    for _ in range(5000):
        host = rng.choice(hosts)
        match rng.randrange(6):
            case 0:
                world.learn(works(host))
            case 1:
                seen.append(rescued(rng.choice(symptoms), rng.choice(stages), host=host))
                world.learn(seen[-1])
            case 2:
                world.learn(down(rng.choice(symptoms), host=host))
            case 3:
                if world.due(host):
                    world.retested(direct_ok=rng.random() < 0.5, other_ok=rng.random() < 0.8, host=host)
            case 4 if seen:
                world.learn(seen[-1].with_attempt(rng.choice([failed(Symptom.DROPPED), delivered()])))
            case _:
                world.learn(outcome(delivered(TOR), host=host))
        world.after(rng.choice([0.1, 5, 61, 700, 5000]))
        for host in hosts:
            held = world.held(host)
            assert 0 <= held.score <= 8
            assert held.state is State.UNKNOWN or held.since <= world.now < held.until
            assert held.last_good_at <= world.now
            assert len(held.exits) < 1000


def test_that_a_blocked_site_opened_direct_is_kept_over_a_restart() -> None:
    """By default it is not stored which sites work; of this one a block is."""
    kept: dict[str, bool] = {}

    class Noted(NoResultStore):
        def keep_result(self, result: StoredResult, *, is_troubled: bool = False) -> None:
            kept[result.host] = is_troubled

    held = Belief(HOST, HOME, State.BLOCKED, Cause.SNI_RESET, since=1000.0, until=9e5)
    beliefs = Beliefs(DetectTuning(), [held], store=Noted())
    opened = LastResult(SiteStatus.WORKS, 2000.0, Source.MEASUREMENT, works_by="direct")
    for host in (HOST, "other.example"):
        beliefs.measured(host, opened, network=HOME)
    assert kept == {HOST: True, "other.example": False}
