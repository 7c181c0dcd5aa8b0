"""Each gate of an experiment about a silence, with the innocent site that it lets go: none of these may be called
blocked."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.events import ClockMeasured, ComputerResumed, Retested, SilenceExplained
from proxy.detect.beliefs.learning import is_proof
from proxy.detect.signals import SNI_SWAP_WEIGHT
from proxy.model import Cause, Route, State, Symptom
from tests.detect.seen import Seen
from tests.support.outcomes import AWAY, HOME, HOST, TOR, restrict
from tests.support.rows import each_row

SETTINGS = DetectTuning()
DROPPED = SilenceExplained(HOST, sent=0.0, winner=TOR, delivered_s=3.4, relay_s=0.3, neutral_s=0.1, again_s=math.inf)
"""The answers to this name are dropped."""

INNOCENT = {
    "a slow site: the relay waits as long": replace(DROPPED, relay_s=6.0),
    "a slow site, after 12 s: the relay is hedged and waits too": replace(DROPPED, delivered_s=14.0, relay_s=11.0),
    "a site that wakes up: all answers come at once": replace(DROPPED, delivered_s=8.0, relay_s=5.0),
    "a congested path: the other name is late as well": replace(DROPPED, neutral_s=5.0),
    "a server that is down: the other name is not answered": replace(DROPPED, neutral_s=math.inf),
    "a server that restarts: it answers a second time": replace(DROPPED, again_s=0.1),
    "a slow site that is loaded by chance: it answers a second time, late": replace(DROPPED, again_s=5.0),
    "a router by SNI without a backend: no relay delivers until it is back": replace(DROPPED, delivered_s=31.0),
    "no relay delivered, a cut hello did": replace(DROPPED, winner=Route(wrap=("tlsrec",))),
    "a clock that was set back": replace(DROPPED, delivered_s=-5.0),
}


def test_all_gates_together_are_a_proof() -> None:
    assert is_proof(DROPPED, SETTINGS)
    slow_relay = replace(DROPPED, relay_s=3.5, delivered_s=12.0)
    assert is_proof(slow_relay, SETTINGS), "a relay with round trips of 2 s"


@each_row("event", INNOCENT.values(), ids=INNOCENT)
def test_each_gate_alone_lets_an_innocent_site_go(event: SilenceExplained) -> None:
    assert not is_proof(event, SETTINGS)
    seen = silent()
    before = len(seen.changes)
    explained(seen, event)
    assert len(seen.changes) == before
    assert seen.state() is State.SUSPECT
    seen.after(SETTINGS.rescue_suspect_s)
    assert seen.state() is State.UNKNOWN, "nothing lasting was learned"


def silent() -> Seen:
    """A visit to which direct was silent and that a relay delivered, seconds ago."""
    seen = Seen()
    seen.rescued(symptom=Symptom.SILENT)
    seen.works()
    assert seen.state() is State.SUSPECT
    return seen.after(17)


def explained(seen: Seen, event: SilenceExplained = DROPPED) -> None:
    """An experiment that was due 10 s ago has ended."""
    seen.beliefs._state.proofs[HOME, HOST] = seen.now - 10
    seen.changes += seen.beliefs.learn(replace(event, sent=seen.now - 17), network=HOME, now=seen.now)


def test_one_proof_blocks_at_once_and_for_days() -> None:
    seen = silent()
    explained(seen)
    belief = seen.held()
    assert (belief.state, belief.cause, belief.last_good) == (State.BLOCKED, Cause.SNI_DROP, "tor")
    assert belief.score == pytest.approx(SNI_SWAP_WEIGHT, rel=0.001)
    assert belief.why == (
        "direct did not answer within 7 s, nor once more, while its server answered another name; tor delivered "
        "(sni_swap, weight 4)"
    )
    assert seen.after(9 * 86_400).state() is State.BLOCKED


def test_re_tests_end_it() -> None:
    seen = silent()
    explained(seen)
    for _ in range(2):
        seen.after(1200)
        seen.beliefs.learn(Retested(HOST, direct_ok=True, other_ok=True), network=HOME, now=seen.now)
    assert seen.state() is State.WORKS


def test_a_suspicion_that_has_lapsed_meanwhile_is_proven_as_well() -> None:
    seen = silent().after(SETTINGS.rescue_suspect_s)
    assert seen.state() is State.UNKNOWN
    explained(seen)
    assert seen.state() is State.BLOCKED


def test_a_site_that_direct_delivered_meanwhile_is_not_blocked() -> None:
    seen = silent()
    seen.after(1).works(HOST)
    explained(seen)
    assert seen.state() is State.SUSPECT, "as it was"
    seen = silent()
    seen.beliefs.learn(replace(DROPPED, sent=seen.now - 17), network=AWAY, now=seen.now)
    assert seen.state() is State.SUSPECT, "it was proven on another network"


def test_a_host_that_is_forgotten_meanwhile_does_not_come_back() -> None:
    seen = silent()
    assert due(seen)
    seen.beliefs.forget(HOST)
    seen.beliefs.learn(replace(DROPPED, sent=seen.now - 17), network=HOME, now=seen.now)
    assert seen.state() is State.UNKNOWN


def test_nothing_is_learned_while_the_network_is_at_fault() -> None:
    seen = silent()
    restrict(seen.beliefs, now=seen.now)
    explained(seen)
    assert seen.state() is not State.BLOCKED
    seen = silent()
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    explained(seen)
    assert seen.state() is not State.BLOCKED


# -- the program's ClientHello -----------------------------------------------------------------------------------------

OTHER_HELLO = replace(DROPPED, neutral_s=math.inf, other_s=0.1)
"""No name is answered in the hello of the visit, and this one is in that of another program."""


def silent_again(seen: Seen) -> None:
    """One more visit, behind a middlebox, where silence weighs enough to block a site in four days."""
    seen.rescued(symptom=Symptom.SILENT, evidence={"middlebox": 1})
    seen.works()


def test_what_depends_on_the_program_is_not_believed_of_the_host() -> None:
    seen = Seen()
    silent_again(seen)
    assert seen.held().score == pytest.approx(SETTINGS.weights.tls_silent_blind)
    seen.after(17)
    explained(seen, OTHER_HELLO)
    belief = seen.held()
    assert (belief.state, belief.cause, belief.score, belief.episodes) == (State.SUSPECT, Cause.NONE, 0, 0)
    assert belief.last_good == "tor", "the next visit waits for nothing"
    assert seen.after(SETTINGS.rescue_suspect_s).state() is State.UNKNOWN


def test_its_silences_count_for_nothing_for_a_day() -> None:
    seen = silent()
    explained(seen, OTHER_HELLO)
    for _ in range(5):
        silent_again(seen.after(3600))
        assert (seen.held().state, seen.held().score) == (State.SUSPECT, 0)
    silent_again(seen.after(SETTINGS.proof_apart_s))
    assert seen.held().score > 1


def test_a_reset_counts_all_the_same() -> None:
    seen = silent()
    explained(seen, OTHER_HELLO)
    seen.after(3600).rescued()
    seen.works()
    assert seen.held().score == pytest.approx(SETTINGS.weights.tls_reset)


def test_a_block_stays_whatever_another_program_gets() -> None:
    seen = silent()
    explained(seen)
    explained(seen.after(86_400), OTHER_HELLO)
    assert seen.state() is State.BLOCKED


def test_what_depends_on_the_program_is_forgotten_with_the_host() -> None:
    seen = silent()
    explained(seen, OTHER_HELLO)
    seen.beliefs.forget(HOST)
    explained(seen)
    seen.beliefs.forget(HOST)
    seen.beliefs.learn(OTHER_HELLO, network=HOME, now=seen.now)
    assert seen.state() is State.UNKNOWN
    assert not seen.beliefs._state.other_hellos


def test_of_the_program_too_nothing_is_learned_while_the_network_is_at_fault() -> None:
    seen = silent()
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    explained(seen, OTHER_HELLO)
    assert not seen.beliefs._state.other_hellos


# -- when an experiment is due -----------------------------------------------------------------------------------------


def due(seen: Seen, host: str = HOST) -> bool:
    return seen.beliefs.proof_due(host, network=HOME, now=seen.now)


def test_one_a_host_and_day() -> None:
    seen = silent()
    assert due(seen)
    assert not due(seen)
    assert due(seen, "other.test")
    assert not due(seen.after(86_399))
    assert due(seen.after(1))


def test_experiments_and_re_tests_share_the_budget_of_a_network() -> None:
    seen = silent().after(SETTINGS.retest_suspect_s)
    seen.rescued(symptom=Symptom.SILENT)
    seen.works()
    hosts = [f"site{number}.test" for number in range(SETTINGS.retest_per_hour)]
    assert [due(seen, host) for host in hosts] == [True] * SETTINGS.retest_per_hour
    assert not due(seen)
    assert not seen.beliefs.retest_due(HOST, network=HOME, now=seen.after(200).now)
    assert due(seen.after(3600)), "what was refused did not count as an experiment"


def test_none_of_a_site_that_is_known_to_be_blocked_or_while_nothing_may_be_learned() -> None:
    seen = Seen().blocked()
    assert not due(seen)
    seen = silent()
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    assert not due(seen)
    assert due(seen.after(SETTINGS.wake_s))


def test_the_times_of_experiments_are_forgotten_with_their_hosts_and_when_the_clock_is_set() -> None:
    seen = silent()
    assert due(seen)
    seen.beliefs.forget(HOST)
    assert due(seen)
    seen.after(-10 * 86_400)
    seen.beliefs.note(ClockMeasured(0.0), network=HOME, now=seen.now)
    assert due(seen.after(SETTINGS.wake_s + 1))
