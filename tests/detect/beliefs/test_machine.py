"""What holds whatever Beliefs is told, in any order, and what does not yet.

The machines are in `machine` and `healthy`. Each line of `told.KNOWN` has a test here that states what the code does
today; whoever mends it turns the test round and takes the line away.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.events import ComputerResumed, ControlAnswered, DirectDelivered, Intercepted, Retested
from proxy.model import TROUBLED, Cause, ConnectivityResult, NetworkState, Protocol, Stage, State, Symptom
from tests.detect.beliefs.healthy import Healthy
from tests.detect.beliefs.inside import held_by, texts
from tests.detect.beliefs.machine import Anything, differences, order_shows, run
from tests.detect.beliefs.told import (
    HOSTS,
    KNOWN,
    PAGES,
    SYMPTOMS,
    UPLINK,
    Beside,
    Call,
    Told,
    Visit,
    learn,
    note,
    of_one_instant,
    reads,
    visits,
)
from tests.detect.world import T0
from tests.support.outcomes import HOME, TOR, delivered, failed, outcome
from tests.support.rows import each_row

ALPHA, BETA, NEWS = "alpha.example.org", "beta.example.org", "www.news.test"
TIMEOUT = (Symptom.TIMEOUT, Stage.CONNECT)


def test_beliefs_that_are_told_anything() -> None:
    """I3, I4, I6, I7, I9; and the histories meet every state, else that shows little."""
    run(Anything, 120, 40)
    assert Anything.met >= {*State, *NetworkState}


@settings(max_examples=200, derandomize=True, database=None, phases=[Phase.generate])
@given(
    before=st.lists(visits(HOSTS, shares=False), max_size=5),
    pairs=st.lists(of_one_instant, min_size=3, max_size=6),
    opens=st.booleans(),
)
def test_two_events_of_one_instant(
    before: list[Visit], pairs: list[tuple[Visit | Beside, Visit | Beside]], opens: bool
) -> None:
    """I4: about hosts of different domains, in any order."""
    made = told(*(visit.call(HOME, T0 + 70 * number) for number, visit in enumerate(before)))
    now = T0 + 400
    if opens:
        made(learn(UPLINK, HOME, now - 0.01))
    for pair in pairs:
        assert list(order_shows(made, pair, HOME, now)) == []


def test_beliefs_on_a_healthy_network() -> None:
    """I1, I2, I6, I9."""
    run(Healthy, 60, 40)


def test_reading_does_not_count_as_use() -> None:
    """I7, with something in each of the tables that are read: they drop the least recently used entries."""
    made = told(learn(UPLINK, HOME, T0))
    for kind in ("works", "rescued", "down", "refused by all"):
        for host in (ALPHA, BETA, NEWS):
            made(Visit(kind, f"{kind.replace(' ', '-')}.{host}").call(HOME, T0))
    read = [f"{kind}.{host}" for kind in ("works", "rescued", "down") for host in (ALPHA, BETA, NEWS)]
    before = held_by(made.beliefs)
    for order in (read, read[::-1]):
        reads(made.beliefs, T0, order)
        assert held_by(made.beliefs) == before


# -- what did not hold once -------------------------------------------------------------------------------------------


def test_forgetting_drops_a_failure_that_waits_for_another_site() -> None:
    """Of a port that no page is on: its host has no visit, and no result once it opened."""
    made = told(
        Visit("alone", ALPHA, TIMEOUT, port=22, protocol=Protocol.NONE).call(HOME, T0),
        Visit("works", ALPHA, port=22, protocol=Protocol.NONE).call(HOME, T0 + 1),
    )
    assert {place for place, text in texts(made.beliefs) if text == ALPHA} >= {"Results.waiting"}
    made(Call("forget", (ALPHA,)))
    assert ALPHA not in {text for _, text in texts(made.beliefs)}


def test_forgetting_a_host_drops_its_domain_from_those_that_share_a_place() -> None:
    moved = (Symptom.REDIRECTED, Stage.FIRST_BYTE)
    made = told(
        *(
            Visit("rescued", host, moved, protocol=Protocol.HTTP, port=80).call(HOME, T0 + number)
            for number, host in enumerate((ALPHA, NEWS))
        )
    )
    assert {text for place, text in texts(made.beliefs) if place == "BeliefState.shared"} >= {
        "example.org",
        "news.test",
    }
    made(Call("forget", (ALPHA,)))
    found = {text for place, text in texts(made.beliefs) if place == "BeliefState.shared"}
    assert ("example.org" in found, "news.test" in found) == (False, True)


def test_what_waits_about_a_host_of_a_domain_names_no_other_host() -> None:
    """The sentence of their domain does."""
    made = Told(DetectTuning())
    for number, host in enumerate((ALPHA, BETA)):
        made(learn(UPLINK, HOME, T0 + 200 * number))
        made(Visit("rescued", host).call(HOME, T0 + 200 * number))
    assert ALPHA in made.stored[HOME, "*.example.org"].why
    made(learn(Retested(BETA, direct_ok=False, other_ok=True), HOME, T0 + 400))
    made(Call("forget", (ALPHA,)))
    assert [place for place, text in texts(made.beliefs) if ALPHA in text] == []
    made(learn(UPLINK, HOME, T0 + 405))
    belief = made.stored[HOME, BETA]
    assert (belief.score, belief.why) == (
        2.0,
        "direct failed in a re-test, and another route delivered (retest, weight 2)",
    )


def test_an_eviction_is_told_after_the_change_that_stored_what_it_evicts() -> None:
    """Where one call makes both, a store forgets what the memory has dropped."""
    made = Told(DetectTuning(hosts_max=10))
    for number in range(20):
        made(Visit("rescued", f"www.many{number}.test").call(HOME, T0))
    made(learn(UPLINK, HOME, T0))  # all that wait are counted
    assert len(made.stored) == 10
    assert made.stored == dict(made.beliefs._state.stored.items())


def test_a_re_test_that_fails_just_after_waking_never_counts() -> None:
    """Nothing is to be learned for `wake_s`, 10 s."""
    made = Told(DetectTuning())
    for at in (T0, T0 + 61):
        made(learn(UPLINK, HOME, at))
        made(Visit("rescued", ALPHA).call(HOME, at))
    woke = T0 + 3000
    made(note(ComputerResumed(), HOME, woke))
    made(learn(Retested(ALPHA, direct_ok=False, other_ok=True), HOME, woke + 1))
    before = made.stored[HOME, ALPHA].score
    made(learn(UPLINK, HOME, woke + 10.5))
    assert made.stored[HOME, ALPHA].score == before
    made(learn(Retested(ALPHA, direct_ok=False, other_ok=True), HOME, woke + 11))
    assert made.stored[HOME, ALPHA].score == pytest.approx(before + 2.0, abs=0.01), "the next one does"


def test_a_host_that_a_relay_opened_is_no_control_whatever_else_happens_at_that_instant() -> None:
    """What waits is about a host of the domain that delivered, which is no control for it."""
    waits = learn(Intercepted(ALPHA, "stranger", known=False), HOME, T0)
    direct = learn(DirectDelivered(BETA), HOME, T0 + 1)
    relayed = Visit("relay", NEWS).call(HOME, T0 + 1)
    assert order_of(waits, one=direct, other=relayed) == {}
    assert told(waits, direct, relayed).beliefs.lookup(ALPHA, network=HOME, now=T0 + 1).score == 0.0


@each_row("up", ["late", "relay"])
@each_row("fault", SYMPTOMS[:9], ids=lambda fault: fault[0])
def test_a_site_that_is_down_on_all_routes_and_then_up_was_not_rescued(fault: tuple[Symptom, Stage], up: str) -> None:
    """It restarts, twice within hours: no route reaches it, and half a minute later a relay has its first answer sooner
    than direct."""
    made = Told(DetectTuning())
    for at in (T0, T0 + 3600):
        made(Visit("down", ALPHA, fault).call(HOME, at))  # a relay was tried as well
        made(learn(UPLINK, HOME, at + 1))
        seen = Visit(up, ALPHA).outcome(at + 20)
        made(learn(seen, HOME, at + 20))
        if up == "late":
            made(learn(seen.with_attempt(delivered()), HOME, at + 22))  # direct itself opens it, too
    belief = made.beliefs.lookup(ALPHA, network=HOME, now=T0 + 3622)
    assert (belief.state in TROUBLED, belief.score, belief.episodes) == (False, 0.0, 0)


def test_a_post_that_a_relay_delivers_after_both_had_failed_was_not_rescued() -> None:
    """The first fails on direct, the second by a relay, and the third is delivered by it."""
    made = Told(DetectTuning())
    for at in (T0, T0 + 3600):
        posts = [Visit("alone", ALPHA, is_post=True, protocol=Protocol.HTTP, port=80).outcome(at)]
        for after, attempt in ((5, failed(Symptom.EOF, route=TOR)), (10, delivered(TOR))):
            made_by_relay = replace(posts[0], attempts=(attempt,), winner=attempt.route if attempt.delivered else None)
            posts.append(replace(made_by_relay, request=replace(posts[0].request, id=posts[0].request.id + after)))
        for number, post in enumerate(posts):
            made(learn(UPLINK, HOME, at + 5 * number))
            made(learn(post, HOME, at + 5 * number))
    belief = made.beliefs.lookup(ALPHA, network=HOME, now=T0 + 3610)
    assert (belief.state in TROUBLED, belief.score, belief.episodes) == (False, 0.0, 0)


def test_a_relay_s_own_fault_says_nothing_of_the_site() -> None:
    """The control: what direct showed beside it counts when a relay delivers."""
    made = Told(DetectTuning())
    broken = outcome(failed(), failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), host=ALPHA, at=T0)
    made(learn(broken, HOME, T0))
    made(learn(UPLINK, HOME, T0 + 1))
    made(Visit("relay", ALPHA).call(HOME, T0 + 20))
    belief = made.beliefs.lookup(ALPHA, network=HOME, now=T0 + 20)
    assert (belief.state, belief.cause, belief.score) == (State.SUSPECT, Cause.SNI_RESET, 2.0)


# -- what does not hold yet --------------------------------------------------------------------------------------------


def told(*calls: Call, tuning: DetectTuning | None = None) -> Told:
    made = Told(tuning or DetectTuning())
    for call in calls:
        made(call)
    return made


def test_each_that_is_left_out_has_its_test() -> None:
    """And nothing is left out that holds."""
    tests = [name.split("_")[1] for name in globals() if name.startswith(("test_L", "test_I"))]
    assert sorted(tests) == sorted(KNOWN)


def test_L4_what_lapses_is_told_with_the_next_event_alone() -> None:
    made = told(learn(UPLINK, HOME, T0), Visit("rescued", ALPHA).call(HOME, T0))
    long_after = T0 + 30 * 86_400.0
    assert made.beliefs.lookup(ALPHA, network=HOME, now=long_after).state is State.UNKNOWN
    assert (HOME, ALPHA) not in made.beliefs._state.stored
    assert (HOME, ALPHA) in made.stored, "nobody was told"
    made(learn(UPLINK, HOME, long_after))
    assert (HOME, ALPHA) not in made.stored


def test_L7_the_date_of_a_re_test_is_corrected_without_a_Change() -> None:
    made = told(learn(UPLINK, HOME, T0), Visit("rescued", ALPHA).call(HOME, T0))
    before = made.beliefs.lookup(ALPHA, network=HOME, now=T0).retest_at
    made(learn(Retested(ALPHA, direct_ok=False, other_ok=False), HOME, T0 + 130))
    key = (HOME, ALPHA)
    assert made.beliefs._state.stored.get(key) != made.stored[key]
    assert made.stored[key].retest_at == before, "a Byway that starts anew re-tests at once"


def order_of(*before: Call, one: Call, other: Call) -> dict[str, tuple[object, object]]:
    here, there = (told(*before, *both).beliefs for both in ((one, other), (other, one)))
    return {name: (first, second) for name, first, second in differences(here, there, T0 + 1)}


def test_L12_what_is_released_in_an_instant_and_what_its_host_shows_in_it_do_not_commute() -> None:
    waits = Visit("rescued", ALPHA).call(HOME, T0)
    itself = Visit("works", ALPHA).call(HOME, T0 + 1)
    another = Visit("works", NEWS).call(HOME, T0 + 1)
    found = order_of(waits, one=itself, other=another)
    assert found[f"{ALPHA}: score"] == (0.0, 2.0), "it opened before its reset could count, or after"


def test_L17_two_hosts_of_a_domain_that_are_each_reset_once_block_the_domain() -> None:
    """However often the second one works in between; within the hours in which the first one is suspect, and is not
    visited. By docs/detection.md, "Scopes"."""
    made = told(learn(UPLINK, HOME, T0), Visit("rescued", ALPHA).call(HOME, T0))
    now = T0
    for _ in range(100):
        now += 30
        made(Visit("works", BETA).call(HOME, now))
    made(learn(UPLINK, HOME, now + 10))
    made(Visit("rescued", BETA).call(HOME, now + 10))
    belief = made.beliefs.lookup("third.example.org", network=HOME, now=now + 10)
    assert (belief.scope, belief.state) == ("*.example.org", State.BLOCKED)


def test_L19_whether_a_domain_is_intercepted_depends_on_when_the_gate_opened() -> None:
    """Where it is open already, nobody considers the domain of a host with a stranger's certificate."""

    def scope_of(*, opens_first: bool) -> str:
        made = told()
        for number, host in enumerate((ALPHA, BETA)):
            at = T0 + 100 * number
            stranger = learn(Intercepted(host, "stranger", known=False), HOME, at)
            for call in (learn(UPLINK, HOME, at), stranger)[:: 1 if opens_first else -1]:
                made(call)
        return made.beliefs.lookup(BETA, network=HOME, now=T0 + 100).scope

    assert (scope_of(opens_first=True), scope_of(opens_first=False)) == (BETA, "*.example.org")


def test_L20_the_delivery_that_was_missing_restricts_no_network_and_the_next_failure_does() -> None:
    made = told(
        *(Visit("rescued", f"www.site{number}.test").call(HOME, T0 + number) for number in range(5)),
        *(learn(ControlAnswered(page, ConnectivityResult.FAILED, T0 + 6), HOME, T0 + 6) for page in PAGES[:2]),
        learn(UPLINK, HOME, T0 + 7),
    )
    assert made.beliefs.network_state(HOME) is NetworkState.OK
    made(Visit("rescued", "www.site5.test").call(HOME, T0 + 8))
    assert made.beliefs.network_state(HOME) is NetworkState.RESTRICTED


def test_I7_reading_drops_what_has_lapsed() -> None:
    made = told(learn(UPLINK, HOME, T0), Visit("rescued", ALPHA).call(HOME, T0))
    later = T0 + 30_000.0
    before = held_by(made.beliefs)
    reads(made.beliefs, later)
    after = held_by(made.beliefs)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"BeliefState.stored", "Generations._of_domains"}
    reads(made.beliefs, later)
    assert held_by(made.beliefs) == after


def test_a_re_test_that_waits_keeps_the_sentence_of_a_domain() -> None:
    """It names the hosts on which the belief rests."""
    made = Told(DetectTuning())
    for number in range(3):
        for host in (ALPHA, BETA):
            made(Visit("rescued", host).call(HOME, T0 + 100 * number))
            made(learn(UPLINK, HOME, T0 + 100 * number + 1))
    before = made.beliefs.lookup(ALPHA, network=HOME, now=T0 + 300)
    assert before.scope == "*.example.org", before
    at = T0 + 3000
    made(learn(Retested(ALPHA, direct_ok=False, other_ok=True), HOME, at))
    made(learn(UPLINK, HOME, at + 1))
    after = made.beliefs.lookup(ALPHA, network=HOME, now=at + 2)
    assert after.episodes > before.episodes
    assert after.why == f"{before.why} (retest, weight 2)"
