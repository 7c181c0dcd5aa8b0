"""A change of what is believed raises the generation of the hosts that it is about.

That nothing is kept which is no longer true, whatever happens, is in `tests/session/test_kept_plans.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import generations
from proxy.detect.beliefs.beliefs import Beliefs, HostAnswer
from proxy.detect.beliefs.clock import CLOCK_AHEAD_S
from proxy.detect.beliefs.events import ComputerResumed, Intercepted, StrategyBroke
from proxy.detect.beliefs.generations import Generations
from proxy.detect.beliefs.transitions import KEEPS_S
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import NetworkState, Stage, State, Symptom
from tests.detect.beliefs.history import ADDRESSES, SPLIT, T0, TUNINGS, History
from tests.support.outcomes import (
    AWAY,
    HOME,
    HOST,
    TOR,
    delivered,
    failed,
    open_uplink,
    outcome,
    rescued,
    restrict,
    works,
)
from tests.support.rows import each_row

BESIDE, STRANGER = "beside.example.org", "www.stranger.example"
"""Of the same domain as HOST, and of another one."""


def about(beliefs: Beliefs, host: str = HOST, *, now: float = T0) -> HostAnswer:
    return beliefs.about(host, network=HOME, now=now)


def is_current(answer: HostAnswer, beliefs: Beliefs, host: str = HOST) -> bool:
    return beliefs.generation(HOME, host) == answer.generation


# -- the date until which an answer stays the same ---------------------------------------------------------------------


def test_an_answer_that_depends_on_no_date_lasts_until_the_clock_was_set() -> None:
    assert about(Beliefs(DetectTuning())).until == T0 + CLOCK_AHEAD_S


def test_an_answer_lasts_until_the_first_date_that_it_depends_on() -> None:
    beliefs = Beliefs(DetectTuning())
    open_uplink(beliefs, now=T0)
    beliefs.learn(rescued(host=HOST, at=T0), network=HOME, now=T0)
    answer = about(beliefs)
    assert (answer.belief.state, answer.until) == (State.SUSPECT, answer.belief.until)
    assert about(beliefs, STRANGER).until == T0 + CLOCK_AHEAD_S


def test_a_host_that_works_is_known_until_its_last_success_is_old() -> None:
    beliefs = Beliefs(DetectTuning(known_s=500.0))
    beliefs.learn(works(), network=HOME, now=T0)
    beliefs.learn(works(), network=HOME, now=T0 + 5)
    assert about(beliefs, now=T0 + 7).until == T0 + 505


def test_on_a_restricted_network_a_host_is_known_for_a_shorter_time() -> None:
    beliefs = Beliefs(DetectTuning(restricted_known_s=7))
    beliefs.learn(works(), network=HOME, now=T0)
    restrict(beliefs, now=T0)
    answer = about(beliefs, now=T0 + 1)
    assert (answer.network_state, answer.until) == (NetworkState.OK, T0 + 7)
    answer = about(beliefs, now=T0 + 8)
    assert answer.network_state is NetworkState.RESTRICTED
    assert answer.until <= T0 + 8, "its next success ends that, and raises no generation"


def test_no_answer_lasts_while_its_addresses_decide() -> None:
    beliefs = Beliefs(DetectTuning())
    seen = outcome(replace(delivered(), address="198.51.100.1:443"), host=HOST, at=T0)
    beliefs.learn(seen, network=HOME, now=T0)
    block_prefix(beliefs)
    assert about(beliefs, STRANGER).until == T0
    assert about(beliefs, HOST).until > T0, "it works, whatever its addresses are"


def test_no_answer_lasts_until_a_clock_that_went_back_has_caught_up() -> None:
    beliefs = Beliefs(DetectTuning())
    answer = about(beliefs)
    for now in (T0 - 5, T0 - 1):
        assert about(beliefs, now=now).until == now
        assert not is_current(answer, beliefs)
    later = about(beliefs)
    assert later.until > T0
    assert is_current(later, beliefs)


# -- whose generation is raised ----------------------------------------------------------------------------------------


def block(beliefs: Beliefs, host: str) -> None:
    beliefs.learn(Intercepted(host, known=True, fingerprint="f"), network=HOME, now=T0)


def block_domain(beliefs: Beliefs) -> None:
    """Two hosts of one domain fail in the same way, 100 s apart."""
    for number, host in enumerate(("one.example.org", "two.example.org")):
        at = T0 + 100 * number
        open_uplink(beliefs, now=at)
        beliefs.learn(rescued(host=host, at=at), network=HOME, now=at)
    assert beliefs.lookup("three.example.org", network=HOME, now=T0 + 100).scope == "*.example.org"


def block_prefix(beliefs: Beliefs) -> None:
    """Hosts of one prefix do not answer a SYN, and a relay reaches them."""
    for number in range(3):
        direct = replace(failed(Symptom.TIMEOUT, Stage.CONNECT), address=f"{ADDRESSES[0]}:443")
        seen = outcome(direct, delivered(TOR), host=f"www.cdn{number}.example", at=T0)
        open_uplink(beliefs, now=T0)
        beliefs.learn(seen, network=HOME, now=T0)
    assert "/" in beliefs.lookup("new.test", network=HOME, now=T0, addresses=ADDRESSES).scope


def work(beliefs: Beliefs, host: str, *, now: float = T0) -> None:
    beliefs.learn(works(host, at=now), network=HOME, now=now)


ALL, DOMAIN, NONE = frozenset({HOST, BESIDE, STRANGER}), frozenset({HOST, BESIDE}), frozenset[str]()
CHANGES: dict[str, tuple[Callable[[Beliefs], object], frozenset[str]]] = {
    "it answers for the first time": (lambda b: work(b, HOST), DOMAIN),
    "one of its domain does": (lambda b: work(b, "c.example.org"), DOMAIN),
    "another one does": (lambda b: work(b, "new.test"), NONE),
    "it is blocked": (lambda b: block(b, HOST), DOMAIN),
    "no route reaches it": (lambda b: b.learn(outcome(failed(), host=HOST), network=HOME, now=T0), DOMAIN),
    "its domain is blocked": (block_domain, DOMAIN),
    "a prefix is suspect": (block_prefix, ALL),
    "it is blocked on another network": (
        lambda b: b.learn(Intercepted(HOST, known=True, fingerprint="f"), network=AWAY, now=T0), NONE
    ),
    "the network is restricted": (lambda b: restrict(b, now=T0), ALL),
    "this computer is offline": (
        lambda b: b.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host="new.test"), network=HOME, now=T0), ALL
    ),
    "the clock is set": (lambda b: b.all(now=T0 - 3600), ALL),
    "a host is forgotten": (lambda b: b.forget("new.test", HOME), ALL),
    "this computer was suspended": (lambda b: b.note(ComputerResumed(), network=HOME, now=T0), NONE),
    "a transfer of it over a strategy stops": (
        lambda b: b.learn(StrategyBroke(HOST, failed(Symptom.FROZEN, Stage.DONE, SPLIT)), network=HOME, now=T0), DOMAIN
    ),
    "a measurement of it ends": (
        lambda b: b.measured(HOST, LastResult(SiteStatus.SITE_DOWN, T0, Source.MEASUREMENT), network=HOME), DOMAIN
    ),
}  # fmt: skip


@each_row("what", CHANGES)
def test_a_change_raises_the_generation_of_those_it_is_about(what: str) -> None:
    happen, expected = CHANGES[what]
    beliefs = Beliefs(DetectTuning())
    open_uplink(beliefs, now=T0)
    answers = {host: about(beliefs, host) for host in ALL}

    happen(beliefs)

    assert {host for host, answer in answers.items() if not is_current(answer, beliefs, host)} == expected


def test_a_success_of_a_host_that_works_raises_none() -> None:
    beliefs = Beliefs(DetectTuning())
    work(beliefs, HOST)
    answer = about(beliefs)
    for now in range(0, 2000, 50):
        work(beliefs, HOST, now=T0 + now)
    assert is_current(answer, beliefs)
    work(beliefs, HOST, now=T0 + 1950 + KEEPS_S)
    assert not is_current(answer, beliefs), "it may end the block of its domain for this host"


def test_a_thousand_first_visits_leave_the_generation_of_a_host_of_another_domain() -> None:
    beliefs = Beliefs(DetectTuning())
    work(beliefs, HOST)
    answer = about(beliefs)
    for number in range(1000):
        about(beliefs, f"www.fresh{number}.test")
        work(beliefs, f"www.fresh{number}.test")
    assert is_current(answer, beliefs)


def test_numbers_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one domain more, all are raised. None comes twice, so no old one is taken for the present one."""
    monkeypatch.setattr(generations, "DOMAINS_MAX", 3)
    made = Generations()
    known: set[int] = set()
    for number in range(10):
        made.on_scope_changed((HOME, f"www.{number}.test"))
        raised = made.of(HOME, f"{number}.test")
        assert raised not in known
        known |= {raised, made.of(HOME, "never.test")}
        assert len(made._of_domains) <= 3


def test_the_histories_of_the_journal_meet_every_state() -> None:
    found: set[object] = set()
    for seed in range(10):
        found |= History(seed, TUNINGS["eager"]).run(600).found
    assert found >= {*State, *NetworkState, True, False}
