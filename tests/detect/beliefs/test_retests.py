"""What success means by cause, re-tests whose gate is shut, and local means that failed in a visit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.events import Intercepted, Retested, StrategyTried
from proxy.detect.beliefs.retests import retest_needs
from proxy.model import Belief, Route, State, Symptom
from tests.detect.seen import OTHER, Seen
from tests.support.outcomes import HOME, HOST, TOR, delivered, failed, outcome
from tests.support.rows import each_row

TLSREC = Route((), ("tlsrec",))
SPLIT = Route((), ("split",))


@each_row(
    ("cause", "needs"),
    [
        ("dns", "verified"), ("ip", "byte"), ("sni_reset", "hello"), ("sni_drop", "hello"), ("ech", "hello"),
        ("http_host", "byte"), ("block_page", "page"), ("interception", "verified"), ("frozen", "64k"),
        ("throttled", "speed"), ("", "byte"), ("refused", "byte"),
    ],
)  # fmt: skip
def test_success_is_what_the_cause_would_have_prevented(cause: str, needs: str) -> None:
    assert retest_needs(Belief(HOST, HOME, cause=cause)) == needs


def _retested(seen: Seen, *, direct_ok: bool) -> None:
    seen.changes += seen.beliefs.learn(Retested(HOST, direct_ok=direct_ok, other_ok=True), network=HOME, now=seen.now)


def test_G1_a_re_test_that_fails_counts_when_somebody_else_is_heard() -> None:
    seen = Seen()
    seen.rescued()
    seen.works(OTHER)
    seen.after(121)
    _retested(seen, direct_ok=False)
    assert seen.state() is State.SUSPECT
    assert seen.after(1).wants_a_control()
    seen.works(OTHER)

    assert seen.state() is State.BLOCKED


@each_row("forged", [False, True])
@each_row("heard_first", [False, True])
def test_the_second_look_at_an_interception_needs_a_certificate_too(forged: bool, heard_first: bool) -> None:
    """A reset, or a line that was down for a moment, is none."""
    seen = Seen()
    seen.beliefs.learn(Intercepted(HOST, known=False, fingerprint="ab" * 32), network=HOME, now=seen.now)
    seen.works(OTHER)
    assert (seen.held().state, seen.held().cause) == (State.SUSPECT, "interception")
    seen.after(121)
    if heard_first:
        seen.works(OTHER)
    retested = Retested(HOST, direct_ok=False, other_ok=True)
    seen.beliefs.learn(replace(retested, forged=True) if forged else retested, network=HOME, now=seen.now)
    seen.after(1).works(OTHER)

    assert seen.state() is (State.BLOCKED if forged else State.SUSPECT)
    assert seen.after(400).state() is seen.state(), "it is looked at again"
    assert seen.held().retest_at > 0


def test_a_re_test_that_succeeds_voids_what_waited() -> None:
    seen = Seen()
    seen.rescued()
    seen.after(5)
    _retested(seen, direct_ok=True)
    seen.works(OTHER)

    assert (seen.state(), seen.held().score) == (State.WORKS, 0.0)


def test_a_suspicion_does_not_lapse_while_it_is_tested() -> None:
    seen = Seen(DetectTuning(retest_suspect_s=100))
    seen.rescued()
    lapses_at = seen.held().until
    seen.after(lapses_at - seen.now - 0.01)
    assert seen.beliefs.retest_due(HOST, network=HOME, now=seen.now)
    seen.after(1)
    _retested(seen, direct_ok=False)
    assert seen.state() is State.SUSPECT
    assert seen.after(100).state() is State.SUSPECT, "what failed again is suspect again"


def test_one_of_which_nothing_comes_lapses_a_little_later() -> None:
    seen = Seen(DetectTuning(retest_suspect_s=100))
    seen.rescued()
    seen.after(119.99)
    assert seen.beliefs.retest_due(HOST, network=HOME, now=seen.now)
    assert seen.after(DetectTuning().retest_pair_s).state() is State.UNKNOWN


def test_a_suspect_that_is_cleared_keeps_half_of_its_score() -> None:
    seen = Seen()
    seen.rescued()
    seen.works(OTHER)
    seen.after(121)
    _retested(seen, direct_ok=True)

    assert seen.state() is State.WORKS
    assert seen.held().score == pytest.approx(1.0, abs=0.01)


# -- local means -------------------------------------------------------------------------------------------------------


def _result(seen: Seen, route: Route, *, ok: bool) -> None:
    seen.changes += seen.beliefs.learn(StrategyTried(HOST, route, ok=ok), network=HOME, now=seen.now)


def _raced(seen: Seen, *rungs: tuple[Route, Symptom], plain: bool = True, address: str = "203.0.113.5:443") -> None:
    attempts = [replace(failed(symptom, route=route), address=address) for route, symptom in rungs]
    if plain:
        attempts.insert(0, replace(failed(), address=address))
    seen.learn(outcome(*attempts, delivered(TOR), host=HOST, at=seen.now))


def test_in_a_race_the_echo_of_the_plain_hello_condemns_none() -> None:
    seen = Seen()
    _raced(seen, (TLSREC, Symptom.RESET), (SPLIT, Symptom.DROPPED))

    assert seen.held().rungs_failed == ()


def test_nor_does_it_after_a_plain_hello_that_left_no_trace() -> None:
    seen = Seen()
    silent = replace(failed(Symptom.SILENT), address="203.0.113.5:443")
    rung = replace(failed(Symptom.RESET, route=TLSREC), address="203.0.113.5:443")
    seen.learn(outcome(silent, rung, delivered(TOR), host=HOST, at=seen.now))

    assert seen.held().rungs_failed == ()


@pytest.mark.parametrize("symptom", [Symptom.ALERT, Symptom.EOF])
def test_a_server_that_takes_no_cut_hello_is_remembered(symptom: Symptom) -> None:
    seen = Seen()
    _raced(seen, (TLSREC, symptom), (SPLIT, Symptom.SKIPPED))

    assert seen.held().rungs_failed == ("direct|tlsrec",)


def test_one_that_failed_alone_is_remembered() -> None:
    seen = Seen().blocked()
    _result(seen, TLSREC, ok=True)
    seen.after(300)
    _raced(seen, (TLSREC, Symptom.RESET), plain=False)

    assert (seen.held().last_good, seen.held().rungs_failed) == ("tor", ("direct|tlsrec",))


def test_one_that_delivers_is_what_got_through() -> None:
    seen = Seen()
    seen.rescued(by=TLSREC)
    seen.works(OTHER)

    assert (seen.state(), seen.held().last_good, seen.held().score) == (State.SUSPECT, "direct|tlsrec", 2.0)


def test_a_re_test_that_counts_later_keeps_the_reason_of_the_host() -> None:
    seen = Seen()
    seen.rescued()
    seen.works()
    why = seen.held().why.partition(" (")[0]
    seen.after(121).beliefs.learn(Retested(HOST, direct_ok=False, other_ok=True), network=HOME, now=seen.now)
    score = seen.held().score
    seen.after(1).works()
    assert seen.held().score > score
    assert seen.held().why.startswith(why)
    assert "re-test, and" not in seen.held().why


def test_a_claim_is_kept_no_longer_than_it_holds() -> None:
    """It has the name of a host."""
    seen = Seen()
    hosts = ["one.example", "two.example"]
    for host in hosts:
        seen.rescued(host)
    seen.works(OTHER)
    seen.after(121)
    for host in hosts:
        assert seen.beliefs.retest_due(host, network=HOME, now=seen.now)
        assert [*seen.beliefs._state.claims] == [(HOME, host)]
        seen.after(61)
