"""What outcomes teach: scenarios, each a table or a short story with the time in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.events import ComputerResumed, DirectDelivered, Event, ResolverMeasured
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import (
    DIRECT,
    DOH,
    Action,
    Attempt,
    HttpRequest,
    Inbound,
    Outcome,
    Protocol,
    Route,
    Stage,
    State,
    Symptom,
)
from tests.detect.world import DAY, HOUR, T0, World
from tests.support.outcomes import AWAY, HOME, HOST, TOR, VPS, delivered, down, failed, outcome, pending, rescued, works
from tests.support.rows import each_row

# -- entering ----------------------------------------------------------------------------------------------------------


def test_the_first_rescue_makes_a_suspect_and_teaches_the_route() -> None:
    world = World()

    (change,) = world.learn(rescued(Symptom.RESET, by=TOR))

    held = world.held()
    assert (held.state, held.cause, held.score, held.last_good) == (State.SUSPECT, "sni_reset", 2.0, "tor")
    assert (change.before, change.after, change.belief) == (State.UNKNOWN, State.SUSPECT, held)
    assert "tls_reset" in change.why
    assert "tor" in change.why
    assert HOST not in change.why


@each_row(
    ("symptom", "stage", "lasts_s"),
    [
        (Symptom.REFUSED, Stage.CONNECT, 120),  # 0.5: two minutes whatever the score
        (Symptom.SILENT, Stage.FIRST_BYTE, 120),
        (Symptom.NO_NAME, Stage.RESOLVE, 120),  # just 1
        (Symptom.TIMEOUT, Stage.CONNECT, 6 * HOUR * 0.585),  # 1.5 reaches 1 after log2(1.5) half-lives
        (Symptom.RESET, Stage.FIRST_BYTE, 6 * HOUR),
        (Symptom.GARBAGE, Stage.FIRST_BYTE, 6 * HOUR * 1.585),
        (Symptom.ABANDONED, Stage.FIRST_BYTE, 120),  # no signal, and yet a rescue
    ],
)
def test_how_long_a_suspect_lasts(symptom: Symptom, stage: Stage, lasts_s: float) -> None:
    world = World()
    world.learn(rescued(symptom, stage))

    assert world.after(0.99 * lasts_s).state() is State.SUSPECT
    assert world.after(0.03 * lasts_s).state() is State.UNKNOWN


def test_a_second_episode_a_minute_later_blocks() -> None:
    world = World()
    world.learn(rescued())
    world.after(61).learn(rescued())

    held = world.held()
    assert (held.state, held.episodes) == (State.BLOCKED, 2)
    assert held.score == pytest.approx(4.0, rel=0.01)
    assert world.transitions == [(State.UNKNOWN, State.SUSPECT), (State.SUSPECT, State.BLOCKED)]


def test_a_page_with_many_resets_is_one_piece_of_evidence() -> None:
    world = World()
    for _ in range(30):
        world.learn(rescued())
        world.after(1.9)

    assert world.state() is State.SUSPECT
    assert world.held().score == pytest.approx(2.0, rel=0.01)


def test_weak_signals_alone_never_block() -> None:
    world = World()
    for _ in range(50):
        world.learn(rescued(Symptom.SILENT))
        world.after(61)
        assert world.state() is State.SUSPECT
    assert (world.held().score > 3, world.held().episodes) == (True, 0)

    for state in (State.SUSPECT, State.BLOCKED):
        world.learn(rescued(Symptom.RESET))
        assert world.state() is state
        world.after(61)


def test_several_refusals_make_a_suspect_that_lasts() -> None:
    world = World()
    for _ in range(3):
        world.learn(rescued(Symptom.REFUSED, Stage.CONNECT))
        world.after(130)

    assert world.state() is State.SUSPECT


def test_blocked_holds_without_decay_until_ten_days_unvisited() -> None:
    world = World().block()

    assert world.after(9.9 * DAY).state() is State.BLOCKED
    assert world.after(0.2 * DAY).state() is State.UNKNOWN


def test_a_visit_keeps_a_block_alive() -> None:
    world = World().block()
    for _ in range(4):
        (change,) = world.after(9 * DAY).learn(outcome(delivered(TOR)))
        assert (change.before, change.after) == (State.BLOCKED, State.BLOCKED)
    assert world.after(60).learn(outcome(delivered(TOR))) == []  # said once an hour at most
    assert world.after(3539.5).learn(outcome(delivered(TOR))) == []
    assert len(world.after(61).learn(outcome(delivered(TOR)))) == 1  # one that taught nothing is not read for a minute

    assert world.state() is State.BLOCKED


def test_the_route_that_worked_is_remembered_a_day_and_follows_what_works() -> None:
    world = World().block()
    world.after(30).learn(outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), delivered(VPS)))
    assert world.held().last_good == "vps"

    assert world.after(DAY - 60).held().last_good == "vps"
    assert world.after(120).held().last_good == ""
    assert world.state() is State.BLOCKED


def test_networks_are_apart() -> None:
    world = World().block()

    assert world.state(network=AWAY) is State.UNKNOWN
    world.learn(works(), network=AWAY)
    assert world.state(network=AWAY) is State.WORKS
    assert world.state() is State.BLOCKED


def test_a_literal_is_learned_under_its_name() -> None:
    world = World()
    seen = replace(rescued(host="192.0.2.7"), host="named.example.org")
    world.learn(seen)

    assert world.state("named.example.org") is State.SUSPECT
    assert world.state("192.0.2.7") is State.UNKNOWN


def test_an_outcome_without_a_name_is_kept_under_its_destination() -> None:
    world = World()
    world.learn(replace(rescued(), host=""))

    assert world.state() is State.SUSPECT


def test_a_wrapper_that_got_through_is_a_rescue() -> None:
    world = World()
    world.learn(outcome(failed(), delivered(Route((), ("tlsrec",)))))

    assert world.held().last_good == "direct|tlsrec"
    assert world.state() is State.SUSPECT


def test_a_host_that_worked_is_unknown_again_after_a_passing_rescue() -> None:
    world = World()
    world.learn(works())
    world.after(30).learn(rescued(Symptom.REFUSED, Stage.CONNECT))

    assert world.after(130).state() is State.UNKNOWN


def test_a_second_rescue_does_not_put_off_the_re_test() -> None:
    world = World()
    world.learn(rescued(Symptom.SILENT))
    world.after(61).learn(rescued(Symptom.SILENT))

    assert world.after(59).due()


# -- what teaches nothing lasting --------------------------------------------------------------------------------------


def test_F82_down_everywhere_teaches_nothing_lasting() -> None:
    world = World()
    for _ in range(100):
        assert world.learn(down()) == []
        assert world.state() is State.DOWN
        world.after(45)

    assert world.after(61).state() is State.UNKNOWN
    assert world.changes == []
    assert world.beliefs.all(now=world.now) == []


@pytest.mark.parametrize("others", [(), (failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR),)])
def test_what_fails_without_another_route_is_not_called_down_and_says_so(others: tuple[Attempt, ...]) -> None:
    """A relay that fails itself is none."""
    world = World()
    assert world.learn(outcome(failed(), *others)) == []

    assert world.state() is State.UNKNOWN
    assert ("1 more failed" if others else "no other route") in world.held().why
    assert world.after(61).held().why == ""


def test_a_host_that_works_is_down_for_a_minute_and_then_works_again() -> None:
    world = World()
    world.learn(works())
    world.after(5).learn(down())
    assert world.state() is State.DOWN
    world.after(5).learn(works())

    assert world.state() is State.WORKS


@each_row(
    ("symptom", "stage"),
    [
        (Symptom.OFFLINE, Stage.CONNECT),
        (Symptom.LOCAL, Stage.CONNECT),
        (Symptom.FORBIDDEN, Stage.CONNECT),
        (Symptom.SKIPPED, Stage.CONNECT),
    ],
)
def test_F80_K3_our_own_trouble_teaches_nothing(symptom: Symptom, stage: Stage) -> None:
    world = World()
    world.learn(outcome(failed(symptom, stage)))
    world.learn(outcome(failed(symptom, stage), failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR)))
    world.learn(outcome(failed(symptom, stage), delivered(TOR)))

    assert world.changes == []
    assert world.state() is State.UNKNOWN


def test_a_client_that_left_while_a_relay_was_tried_teaches_nothing() -> None:
    world = World()
    world.learn(outcome(failed(), failed(Symptom.ABANDONED, Stage.RELAY, TOR)))

    assert world.state() is State.UNKNOWN


def test_a_relay_rule_teaches_nothing_of_direct() -> None:
    world = World()
    assert world.learn(outcome(delivered(TOR), action=Action.RELAY)) == []

    assert world.state() is State.UNKNOWN


def test_an_answer_of_no_known_meaning_is_not_working() -> None:
    world = World()
    world.learn(outcome(failed(Symptom.GARBAGE), winner=DIRECT))
    world.learn(outcome(pending(), winner=DIRECT))

    assert world.state() is not State.WORKS


def test_our_own_re_test_is_no_visit() -> None:
    world = World()

    assert world.learn(outcome(failed(), delivered(TOR), inbound=Inbound.RETEST)) == []
    assert world.state() is State.UNKNOWN


def test_troubled_hosts_stay_so_when_nothing_delivers() -> None:
    world = World().block()
    before = world.held()
    world.after(10)

    assert world.learn(down()) == []
    assert world.held() == before


def test_G2_another_route_within_half_a_minute_is_the_control() -> None:
    world = World()
    world.learn(outcome(failed()))  # a request that could not be sent twice
    world.after(29).learn(outcome(delivered(TOR)))

    assert (world.state(), world.held().cause) == (State.SUSPECT, "sni_reset")


def test_G2_what_waited_counts_with_the_next_rescue() -> None:
    world = World()
    world.learn(outcome(failed()))
    world.after(5).learn(rescued(Symptom.REFUSED, Stage.CONNECT))

    assert (world.held().score, world.held().cause) == (2.0, "sni_reset")


def test_G2_later_than_that_is_none() -> None:
    world = World()
    world.learn(outcome(failed()))
    world.after(31).learn(outcome(delivered(TOR)))

    assert world.state() is State.UNKNOWN


def _posted(*attempts: Attempt, method: str = "POST") -> Outcome:
    """A plain HTTP request that is sent once."""
    seen = outcome(*attempts, protocol=Protocol.HTTP, inbound=Inbound.HTTP, port=80)
    return replace(seen, request=replace(seen.request, http=HttpRequest(method, "/")))


def _due(world: World) -> bool:
    return world.beliefs.comparison_due(HOST, network=HOME, now=world.now)


@pytest.mark.parametrize("symptom", [Symptom.RESET, Symptom.EOF])
def test_two_posts_teach_what_one_get_does(symptom: Symptom) -> None:
    """The one that failed direct makes the next one take another route, and that it delivers is the rescue."""
    world = World()
    assert world.learn(_posted(failed(symptom))) == []
    assert _due(world)
    world.after(5).learn(_posted(delivered(TOR)))

    held = world.held()
    assert (held.state, held.cause, held.last_good, _due(world)) == (State.SUSPECT, "http_host", "tor", False)
    by_get = World()
    by_get.learn(rescued(symptom, protocol=Protocol.HTTP))
    assert held.score == by_get.held().score


def test_posts_more_than_half_a_minute_apart_rescue_and_prove_nothing() -> None:
    world = World()
    world.learn(_posted(failed()))
    world.after(119)
    assert _due(world)
    world.learn(_posted(delivered(TOR)))

    assert (world.state(), world.held().score) == (State.SUSPECT, 0)
    assert world.after(121).state() is State.UNKNOWN


def test_nothing_is_believed_of_a_post_that_failed_alone() -> None:
    world = World()
    world.learn(_posted(failed()))
    assert (world.held().state, bool(world.held().why)) == (State.UNKNOWN, True)
    assert world.changes == []
    assert not _due(world.after(121))


@pytest.mark.parametrize(
    "later",
    [works(), _posted(failed(Symptom.EOF, route=TOR)), _posted(failed(), failed(Symptom.EOF, route=TOR))],
    ids=["direct delivered", "the other route failed too", "both failed"],
)
def test_what_ends_the_comparison(later: Outcome) -> None:
    world = World()
    world.learn(_posted(failed()))
    world.after(1).learn(later)
    assert not _due(world)


def test_a_relay_that_is_down_is_no_comparison() -> None:
    world = World()
    world.learn(_posted(failed()))
    world.after(1).learn(_posted(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR)))
    assert _due(world)


@each_row(
    "seen",
    [
        _posted(failed(), method="GET"),  # its race compared as far as it could
        outcome(failed()),  # so did that of a tunnel
        _posted(failed(Symptom.OFFLINE, Stage.CONNECT)),
        _posted(failed(Symptom.LOCAL, Stage.CONNECT)),
    ],
    ids=["GET", "tunnel", "offline", "local"],
)
def test_no_comparison_is_due_after_what_a_race_has_judged_or_says_nothing(seen: Outcome) -> None:
    world = World()
    world.learn(seen)
    assert not _due(world)


def test_a_flaky_site_that_is_posted_to_is_not_called_blocked() -> None:
    """Every third post is lost, whatever way it takes; a re-test finds direct well."""
    world = World()
    for _ in range(20):
        world.after(30).learn(_posted(failed(Symptom.EOF)))
        world.after(5).learn(_posted(delivered(TOR)) if _due(world) else _posted(delivered(DIRECT)))
        world.after(130)
        if world.due():
            world.retested(direct_ok=True)
        world.learn(_posted(delivered(DIRECT)))
        assert world.state() is not State.BLOCKED


def test_a_direct_success_in_between_annuls_what_waited() -> None:
    world = World()
    world.learn(outcome(failed()))
    world.after(5).learn(works())
    world.after(5).learn(outcome(delivered(TOR)))

    assert world.state() is State.WORKS


# -- judged late -------------------------------------------------------------------------------------------------------


def test_a_pending_attempt_is_a_rescue_and_its_judgement_counts_once() -> None:
    world = World()
    first = outcome(pending(), delivered(TOR))
    world.learn(first)
    assert (world.state(), world.held().score) == (State.SUSPECT, 0.0)

    judged = first.with_attempt(failed(Symptom.DROPPED))
    world.after(3).learn(judged)
    assert (world.held().score, world.held().cause) == (2.0, "sni_drop")

    world.after(90)
    assert world.learn(judged) != []  # told once more, by mistake
    assert world.held().score < 2.0
    assert world.held().episodes == 1


def test_a_failed_attempt_does_not_count_again_with_a_later_judgement() -> None:
    """The first call falls at the end of one minute's window and the second after it."""
    world = World()
    world.learn(rescued())
    seen = outcome(failed(Symptom.RESET), pending(), delivered(TOR))
    world.after(58).learn(seen)
    world.after(5).learn(seen.with_attempt(failed(Symptom.ABANDONED)))

    assert world.held().episodes == 1
    assert world.state() is State.SUSPECT
    assert "tls_reset" in world.held().why


def test_an_overtaken_attempt_that_answers_is_slow_not_suspect() -> None:
    world = World()
    seen = outcome(pending(), delivered(TOR))
    world.learn(seen)
    assert world.state() is State.SUSPECT

    world.after(4).learn(seen.with_attempt(delivered()))

    assert world.state() is State.WORKS
    assert world.transitions == [(State.UNKNOWN, State.SUSPECT), (State.SUSPECT, State.WORKS)]


@pytest.mark.parametrize("symptom", [Symptom.RESET, Symptom.SILENT])
def test_a_slow_answer_does_not_excuse_a_real_failure(symptom: Symptom) -> None:
    world = World()
    slow = outcome(pending(), delivered(TOR))
    world.learn(slow)
    world.after(1).learn(rescued(symptom))
    world.after(2).learn(slow.with_attempt(delivered()))

    assert world.state() is State.SUSPECT


def test_a_slow_answer_does_not_clear_a_host_with_evidence() -> None:
    world = World()
    world.learn(rescued(Symptom.GARBAGE))
    slow = replace(delivered(), elapsed=2.0)
    assert world.after(61).learn(outcome(slow, delivered(TOR), winner=TOR)) == []
    assert world.state() is State.SUSPECT


def test_a_slow_answer_of_a_blocked_host_changes_nothing() -> None:
    world = World().block()
    seen = outcome(delivered(), winner=TOR)

    assert world.after(120).learn(seen) == []
    assert world.state() is State.BLOCKED


def test_direct_that_wins_after_a_hedge_works() -> None:
    world = World()
    assert world.learn(outcome(delivered(elapsed=2.0), failed(Symptom.ABANDONED, Stage.RELAY, TOR))) == []

    assert world.state() is State.WORKS


# -- what speaks against blocking --------------------------------------------------------------------------------------


def test_a_direct_success_makes_a_host_known_for_a_day() -> None:
    world = World()
    assert world.learn(works()) == []

    assert world.state() is State.WORKS
    assert world.after(DAY - 1).state() is State.WORKS
    assert world.after(2).state() is State.UNKNOWN


def test_each_success_counts_the_day_anew() -> None:
    world = World()
    for _ in range(100):
        world.learn(works())
        world.after(30)
    world.after(DAY - 40)

    assert world.state() is State.WORKS
    assert world.after(20).state() is State.UNKNOWN


def test_a_reused_connection_counts_as_a_success() -> None:
    world = World()
    world.learn(outcome(winner=DIRECT))

    assert world.state() is State.WORKS


def test_F84_a_host_that_worked_until_now_is_rescued_and_learned() -> None:
    world = World()
    world.learn(works())
    world.after(30).learn(rescued())

    assert world.state() is State.SUSPECT


def test_a_whole_page_divides_the_score_by_four() -> None:
    world = World()
    world.learn(rescued(Symptom.GARBAGE))
    world.after(61).learn(works())  # its relay was down, so direct had its turn

    assert world.state() is State.WORKS
    assert world.held().score == pytest.approx(3 / 4, rel=0.01)
    world.after(61).learn(works())
    assert world.held().score == pytest.approx(3 / 16, rel=0.01)


def test_a_heavy_score_stays_suspect_after_one_page() -> None:
    world = World()
    for _ in range(20):
        world.learn(rescued(Symptom.SILENT))
        world.after(61)
    world.learn(works())

    assert world.state() is State.SUSPECT
    assert world.held().score == pytest.approx(8 / 4, rel=0.05)
    assert world.held().until - world.now == pytest.approx(6 * HOUR, rel=0.05)


def test_not_when_the_minute_saw_a_failure() -> None:
    world = World()
    world.learn(rescued())
    world.after(59).learn(works())

    assert world.state() is State.SUSPECT
    assert world.held().score == 2.0


def test_a_page_of_thirty_parts_divides_once() -> None:
    world = World()
    world.learn(rescued(Symptom.GARBAGE))
    world.after(61)
    for _ in range(30):
        world.learn(works())
        world.after(1)

    assert world.held().score == pytest.approx(3 / 4, rel=0.01)


# -- what is blocked in one protocol -----------------------------------------------------------------------------------

SPLIT = Route(wrap=("split",))


def test_plain_http_that_passes_ends_no_block_of_hellos() -> None:
    world = World().block()
    for _ in range(30):
        world.after(61).learn(outcome(delivered(), protocol=Protocol.HTTP))

    assert (world.state(), world.held().successes) == (State.BLOCKED, 0)
    assert world.after(10 * DAY).state() is State.UNKNOWN, "nobody has visited what is blocked"


def test_a_page_over_http_does_not_clear_a_suspect_of_hellos() -> None:
    world = World()
    world.learn(rescued(Symptom.EOF))
    world.after(61).learn(outcome(delivered(), protocol=Protocol.HTTP))

    assert (world.state(), world.held().score) == (State.SUSPECT, 1.5)
    assert world.after(DAY).held().hide_name_from_dns


def test_what_carries_plain_http_need_not_carry_a_hello() -> None:
    world = World().block()
    world.after(61).learn(outcome(delivered(SPLIT), protocol=Protocol.HTTP))
    assert world.held().last_good == "tor"
    silent = failed(Symptom.SILENT)
    world.after(61).learn(outcome(silent, delivered(SPLIT), at=world.now + 1, protocol=Protocol.HTTP))
    assert (world.held().cause, world.held().last_good) == ("sni_reset", "tor"), "the uplink has not shown to be well"
    world.after(61).learn(outcome(delivered(SPLIT)))
    assert world.held().last_good == "direct|split"


def test_what_fails_plain_http_may_yet_carry_a_hello() -> None:
    world = World().block()
    closed = failed(Symptom.EOF, route=SPLIT)
    world.after(61).learn(outcome(closed, delivered(TOR), protocol=Protocol.HTTP))
    assert world.held().rungs_failed == ()
    world.after(61).learn(outcome(closed, delivered(TOR)))
    assert world.held().rungs_failed == ("direct|split",)


def test_each_exit_of_the_day_asks_one_success_more() -> None:
    world = World()
    needed = []
    for _ in range(6):
        world.learn(rescued(Symptom.GARBAGE))
        if world.state() is not State.BLOCKED:
            world.after(61).learn(rescued(Symptom.GARBAGE))
        successes = 0
        while world.state() is State.BLOCKED:
            world.after(900).retested(direct_ok=True)
            successes += 1
        needed.append(successes)
        world.after(61)

    assert needed == [2, 3, 4, 5, 5, 5]


def test_at_most_six_re_tests_an_hour() -> None:
    world = World()
    hosts = [f"blog.site{number}.example" for number in range(10)]
    for host in hosts:
        world.learn(rescued(host=host))
    world.after(120)

    assert sum(world.due(host) for host in hosts) == 6
    world.after(HOUR)
    assert sum(world.due(host) for host in hosts) == 6


def test_hosts_that_work_are_not_re_tested() -> None:
    world = World()
    world.learn(works())

    assert not world.after(HOUR).due()
    assert world.retested(direct_ok=True) == []


def test_a_re_test_of_what_has_lapsed_meanwhile_changes_nothing() -> None:
    world = World()
    world.learn(rescued(Symptom.REFUSED, Stage.CONNECT))
    world.after(500)

    assert not world.due()
    assert world.retested(direct_ok=False) == []


@each_row(("on_s", "off_s"), [(60, 60), (60, 120), (120, 60), (120, 180), (30, 90)])
def test_F88_a_provider_that_toggles_makes_no_flapping(on_s: float, off_s: float) -> None:
    """A day of visits, two a minute. Each goes as its belief says; a due re-test runs beside it."""
    world = World(DetectTuning(retest_jitter=0.0))
    while world.now < T0 + DAY:
        blocking = (world.now - T0) % (on_s + off_s) < on_s
        if world.state() in (State.SUSPECT, State.BLOCKED):
            world.learn(outcome(delivered(TOR)))
            if world.due():
                world.retested(direct_ok=not blocking)
        elif blocking:
            world.learn(rescued())
        else:
            world.learn(works())
        world.after(29)

    assert len(world.transitions) <= 20  # of 2,979 visits
    assert world.transitions


def test_a_strategy_that_got_no_connection_was_not_tried() -> None:
    world = World().block()
    world.after(300).learn(outcome(failed(Symptom.TIMEOUT, Stage.CONNECT, SPLIT), delivered(TOR)))
    assert world.held().rungs_failed == ()
    world.learn(outcome(failed(Symptom.ALERT, route=SPLIT), delivered(TOR)))
    assert world.held().rungs_failed == (str(SPLIT),)


def test_the_reason_names_the_stage_at_which_direct_failed() -> None:
    world = World()
    world.learn(rescued(Symptom.TIMEOUT, Stage.CONNECT))
    assert "(TCP connect): " in world.held().why
    world.learn(rescued(Symptom.RESET, host="other.example"))
    assert "direct failed after 0.1 s: " in world.held("other.example").why


# -- what it says of the uplink ----------------------------------------------------------------------------------------


def test_an_overtaken_answer_shows_that_the_uplink_is_well() -> None:
    """What waited of another host counts then."""
    world = World()
    world.beliefs.learn(rescued(host="other.example"), network=HOME, now=world.now)
    assert world.held("other.example").score == 0
    seen = outcome(pending(), delivered(TOR))
    world.beliefs.learn(seen, network=HOME, now=world.after(1).now)
    assert world.held("other.example").score == 0
    world.beliefs.learn(seen.with_attempt(delivered()), network=HOME, now=world.after(1).now)
    assert world.held("other.example").score > 0


def test_a_host_that_goes_on_working_is_heard_without_being_told_of() -> None:
    """Its date moves on by itself: what failed before its last visit counts, and what fails after it waits."""
    world = World()
    for _ in range(3):
        world.beliefs.learn(works("busy.example"), network=HOME, now=world.after(5).now)
    world.beliefs.learn(replace(rescued(), at=world.now - 1), network=HOME, now=world.now)
    assert world.held().score > 0, "busy.example delivered since"
    world.beliefs.learn(replace(rescued(host="other.example"), at=world.now + 1), network=HOME, now=world.after(2).now)
    assert world.held("other.example").score == 0, "and nobody after that"


@pytest.mark.parametrize("seen", [works("busy.example"), DirectDelivered("busy.example")])
def test_a_host_that_goes_on_working_shows_that_another_one_failed_alone(seen: Event) -> None:
    world = World()
    beliefs = world.beliefs
    beliefs.learn(works("busy.example"), network=HOME, now=world.now)
    beliefs.note(ComputerResumed(), network=HOME, now=world.after(1).now)  # from here on no site has delivered
    beliefs.learn(outcome(failed()), network=HOME, now=world.after(1).now)
    beliefs.learn(works(f"www.{HOST}"), network=HOME, now=world.now)  # of the same domain

    def status() -> SiteStatus:
        result = beliefs.last_result(HOST, network=HOME, now=world.now)
        assert result is not None
        return result.status

    assert status() is SiteStatus.NOT_TESTED
    beliefs.learn(seen, network=HOME, now=world.after(1).now)
    assert status() is SiteStatus.DOES_NOT_OPEN


@pytest.mark.parametrize(("port", "status"), [(8443, SiteStatus.DOES_NOT_OPEN), (443, SiteStatus.NOT_TESTED)])
def test_a_site_that_works_on_its_own_port_shows_that_another_port_fails_alone(port: int, status: SiteStatus) -> None:
    world = World()
    world.beliefs.learn(works(), network=HOME, now=world.now)
    world.beliefs.learn(outcome(failed(), port=port), network=HOME, now=world.after(1).now)
    (result,) = world.beliefs.results_by_port(HOST, network=HOME, now=world.now)
    assert (result.port, result.status) == (port, status)


def test_the_hosts_that_work_direct_are_those_of_the_network() -> None:
    world = World()
    world.learn(works("here.example"))
    world.learn(works("there.example"), network=AWAY)
    assert [world.beliefs.working_direct(network=network) for network in (HOME, AWAY)] == [
        [("here.example", world.now)],
        [("there.example", world.now)],
    ]


def served_by_a_relay(world: World) -> None:
    for _ in range(3):
        assert world.beliefs.learn(outcome(delivered(TOR)), network=HOME, now=world.after(1).now) == []


def test_what_was_measured_is_over_with_the_next_visit_by_a_relay_too() -> None:
    world = World()
    served_by_a_relay(world)
    world.beliefs.measured(HOST, LastResult(SiteStatus.SITE_DOWN, world.now, Source.MEASUREMENT), network=HOME)
    served_by_a_relay(world)
    assert world.beliefs.last_result(HOST, network=HOME, now=world.now) is None


def test_a_visit_by_a_relay_after_forgetting_is_known_again() -> None:
    world = World()
    served_by_a_relay(world)
    world.beliefs.forget(HOST)
    assert world.beliefs.visited(HOST, network=HOME) is None
    served_by_a_relay(world)
    assert world.beliefs.visited(HOST, network=HOME) is not None


# -- the system's resolver ---------------------------------------------------------------------------------------------

BY_DOH = delivered(DOH)
SILENT_RESOLVER = failed(Symptom.TIMEOUT, Stage.RESOLVE)
ANSWERED = replace(delivered(), address="192.0.2.1:443")


@each_row(
    ("attempts", "host", "fails"),
    [
        ((SILENT_RESOLVER, BY_DOH), "other.example", True),
        ((failed(Symptom.RESOLVE_FAILED, Stage.RESOLVE), BY_DOH), "other.example", True),
        ((SILENT_RESOLVER, BY_DOH), f"www.{HOST}", False),  # of the same domain
        ((failed(Symptom.NO_NAME, Stage.RESOLVE), BY_DOH), "other.example", False),  # it answered
        ((SILENT_RESOLVER, delivered(TOR)), "other.example", False),  # plain direct asked encrypted DNS
        ((failed(Symptom.ABANDONED, Stage.RESOLVE), BY_DOH), "other.example", False),  # not judged yet
    ],
)
def test_a_resolver_that_fails_for_unrelated_sites(attempts: tuple[Attempt, ...], host: str, fails: bool) -> None:
    world = World()
    world.learn(outcome(SILENT_RESOLVER, BY_DOH))
    assert not world.beliefs.resolver_fails(HOME)
    world.learn(outcome(*attempts, host=host))
    assert world.beliefs.resolver_fails(HOME) is fails


@each_row(
    ("attempt", "host", "still_fails"),
    [
        (ANSWERED, "new.example", False),
        (replace(failed(), address="192.0.2.1:443"), "new.example", False),  # reset there, but resolved
        (ANSWERED, HOST, True),  # a name that is asked of encrypted DNS only
        (ANSWERED, "192.0.2.1", True),
    ],
)
def test_a_resolver_works_again_once_it_has_resolved_a_name(attempt: Attempt, host: str, still_fails: bool) -> None:
    world = World()
    for site in (HOST, "other.example"):
        world.learn(outcome(SILENT_RESOLVER, BY_DOH, host=site))
    world.learn(outcome(attempt, host=host))
    assert world.beliefs.resolver_fails(HOME) is still_fails


def test_a_measurement_shows_it_at_once() -> None:
    world = World()
    beliefs, asked = world.beliefs, frozenset({"site.example", "control.example"})
    beliefs.note(ResolverMeasured(asked), network=HOME, now=world.now)
    assert beliefs.resolver_fails(HOME)
    beliefs.note(ResolverMeasured(), network=HOME, now=world.now)
    assert not beliefs.resolver_fails(HOME)
