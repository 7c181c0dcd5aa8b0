"""Networks that punish a burst of ClientHellos, and servers that limit the connections of one client."""

from __future__ import annotations

from dataclasses import replace

from proxy.detect.beliefs.cut_hellos import PUNISHED_S
from proxy.detect.beliefs.events import ComputerResumed, NetworkLeft, Retested
from proxy.detect.beliefs.hello_bursts import ONE_OUTAGE_S
from proxy.model import Attempt, Cause, Change, NetworkId, Protocol, State, Symptom, as_evidence
from tests.detect.world import World
from tests.support.outcomes import AWAY, HOME, TOR, delivered, failed, outcome, pending
from tests.support.rows import each_row

A, B = "www.a.test", "www.b.test"
AT = {A: "192.0.2.1:443", B: "198.51.100.2:443", "img.a.test": "203.0.113.3:443", "www.near.test": "192.0.2.9:443"}


class Visitor(World):
    """Visits of which it is known how many ClientHellos left at once."""

    def visit(
        self, host: str, direct: Attempt, hellos: int, *others: Attempt, network: NetworkId = HOME, alone: bool = False
    ) -> list[Change]:
        evidence = as_evidence({"hellos": hellos} if hellos else {})
        seen = outcome(replace(direct, address=AT[host], evidence=evidence), *others, host=host, at=self.now - 0.1)
        if alone:
            return self.beliefs.learn(seen, network=network, now=self.now)
        return self.learn(seen, network=network)

    def stalls(self, host: str, hellos: int = 6, *, network: NetworkId = HOME, alone: bool = False) -> None:
        """A relay delivers in place of direct."""
        self.visit(host, failed(Symptom.DROPPED), hellos, delivered(TOR), network=network, alone=alone)

    def passes(self, host: str, hellos: int = 1, *, network: NetworkId = HOME) -> None:
        self.visit(host, delivered(), hellos, network=network)

    def punished(self, host: str, hellos: int = 6, *, network: NetworkId = HOME) -> None:
        self.after(1).stalls(host, hellos, network=network)
        self.after(130).passes(host, network=network)

    def counts(self, network: NetworkId = HOME) -> bool:
        return self.beliefs.hellos_are_counted(network, self.now)


def test_two_unrelated_sites_show_that_hellos_are_counted() -> None:
    seen = Visitor()
    seen.punished(A)
    assert not seen.counts(), "the server may limit connections"
    seen.punished(B, hellos=4)
    assert seen.counts()
    assert not seen.counts(AWAY)
    assert not seen.after(PUNISHED_S).counts()


def test_a_re_test_is_a_lone_hello() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.after(1).stalls(host)
        seen.after(121).retested(direct_ok=True, host=host)
    assert seen.counts()


def test_it_is_seen_also_when_direct_is_judged_late() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.after(1).visit(host, pending(), 6, delivered(TOR))
        seen.after(7).stalls(host)
        seen.after(130).passes(host)
    assert seen.counts()


def test_a_burst_that_may_be_answered_yet_shows_nothing() -> None:
    """A busy server takes two seconds for six handshakes, and is hedged after one."""
    seen = Visitor()
    for host in (A, B):
        seen.after(10).visit(host, pending(), 6, delivered(TOR))
        seen.after(1).passes(host)
    assert not seen.counts()


@each_row("symptom", [Symptom.RESET, Symptom.EOF, Symptom.ALERT])
def test_nor_does_one_that_was_answered_badly(symptom: Symptom) -> None:
    seen = Visitor()
    for host in (A, B):
        seen.after(1).visit(host, failed(symptom), 6, delivered(TOR))
        seen.after(130).passes(host)
    assert not seen.counts()


@each_row("late", [A, B])
def test_another_hello_of_the_burst_that_is_answered_late_takes_the_sign_back(late: str) -> None:
    seen = Visitor()
    for host in (A, B):
        seen.after(10).stalls(host)
        seen.after(1).passes(host)
        if host == late:
            seen.after(1).passes(host, hellos=6)
    assert not seen.counts()
    seen.after(10).punished(late)
    assert seen.counts()


@each_row("other", ["img.a.test", "www.near.test"])
def test_one_domain_or_one_prefix_is_not_enough(other: str) -> None:
    """One server may stand behind both."""
    seen = Visitor()
    seen.punished(A)
    seen.punished(other)
    assert not seen.counts()


def test_three_at_once_are_no_burst() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.punished(host, hellos=3)
    assert not seen.counts()


def test_nor_does_a_site_that_comes_back_much_later() -> None:
    """It was down."""
    seen = Visitor()
    for host in (A, B):
        seen.after(1).stalls(host)
        seen.after(600).passes(host)
    assert not seen.counts()


def test_nor_does_an_outage_show_it() -> None:
    """No other site delivers meanwhile."""
    seen = Visitor()
    for host in (A, B):
        seen.after(1).stalls(host, alone=True)
        seen.after(130).passes(host)
    assert not seen.counts()


def test_nor_bursts_of_one_moment() -> None:
    """An outage of some seconds may begin while a page of both is opened."""
    seen = Visitor()
    for host in (A, B):
        seen.stalls(host)
    seen.after(130)
    for host in (A, B):
        seen.passes(host)
    assert not seen.counts()


def test_nor_a_burst_that_is_answered_late() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.after(1).stalls(host)
        seen.after(3).passes(host, hellos=6)
        seen.after(130).passes(host)
    assert not seen.counts()


def test_nor_one_that_is_reported_for_plain_http() -> None:
    seen = Visitor()
    for host in (A, B):
        attempt = replace(failed(Symptom.DROPPED), address=AT[host], evidence=as_evidence({"hellos": 6}))
        seen.after(1).learn(outcome(attempt, delivered(TOR), host=host, at=seen.now, protocol=Protocol.HTTP))
        seen.after(130).passes(host)
    assert not seen.counts()


def test_the_silence_of_a_burst_is_not_looked_into() -> None:
    """It would be proven, where the network punishes the name alone."""
    seen = Visitor()
    seen.after(1).stalls(A)
    seen.stalls(B, hellos=3)
    due = [seen.beliefs.proof_due(host, network=HOME, now=seen.now) for host in (A, B)]
    assert due == [False, True]
    assert seen.after(600).beliefs.proof_due(A, network=HOME, now=seen.now)


# -- what is withdrawn -------------------------------------------------------------------------------------------------


def test_what_the_punished_minutes_taught_is_withdrawn() -> None:
    seen = Visitor()
    seen.after(1).stalls(A)
    seen.after(61).stalls(A)
    seen.after(1).stalls(B)
    assert (seen.held(A).state, seen.held(A).cause) == (State.BLOCKED, Cause.SNI_DROP)
    seen.after(130).passes(A)
    assert seen.state(A) is State.BLOCKED, "one site may only be busy"
    seen.after(1).passes(B)
    assert [seen.state(host) for host in (A, B)] == [State.WORKS, State.WORKS]
    assert seen.held(A).score == 0.0
    withdrawn = [change for change in seen.changes if "punishes more than three ClientHellos" in change.why]
    assert {change.scope for change in withdrawn} == {A, B}


def test_what_was_believed_before_stays() -> None:
    seen = Visitor()
    for _ in range(2):
        seen.after(61).visit(A, failed(), 0, delivered(TOR))
    assert seen.state(A) is State.BLOCKED
    seen.after(1).stalls(A)
    seen.after(ONE_OUTAGE_S).punished(B)
    seen.after(130).passes(A)
    assert seen.counts()
    assert seen.state(A) is State.BLOCKED


def test_what_was_learned_after_the_punishment_stays() -> None:
    seen = Visitor()
    seen.punished(A)
    for _ in range(2):
        seen.after(61).visit(A, failed(), 0, delivered(TOR))
    assert seen.state(A) is State.BLOCKED
    seen.punished(B)
    assert seen.counts()
    assert seen.state(A) is State.BLOCKED


def test_the_second_whole_hello_of_a_race_is_of_no_burst_itself() -> None:
    seen = Visitor()
    for host in (A, B):
        first = replace(failed(Symptom.DROPPED), address=AT[host], evidence=as_evidence({"hellos": 6}))
        second = replace(failed(Symptom.DROPPED, elapsed=1.0), address=AT[host])
        seen.after(1).learn(outcome(first, second, delivered(TOR), host=host, at=seen.now - 2))
        seen.after(130).passes(host)
    assert seen.counts()


def test_where_it_is_known_one_site_is_enough() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.punished(host)
    AT["www.c.test"] = "203.0.113.7:443"
    seen.after(1).stalls("www.c.test")
    assert seen.state("www.c.test") is State.SUSPECT
    seen.after(130).passes("www.c.test")
    assert seen.state("www.c.test") is State.WORKS
    assert seen.held("www.c.test").score == 0.0


# -- forgetting --------------------------------------------------------------------------------------------------------


@each_row(("how", "known"), [("network", False), ("clock", False), ("all", False), ("sleep", True)])
def test_it_is_forgotten_with_the_network_and_when_the_clock_is_set(how: str, known: bool) -> None:
    network = NetworkId("unknown")
    seen = Visitor()
    for host in (A, B):
        seen.punished(host, network=network)
    assert seen.counts(network)
    if how == "network":
        seen.beliefs.learn(NetworkLeft(), network=HOME, now=seen.now)
    elif how == "clock":
        seen.after(-7200)
        seen.held(A)
    elif how == "sleep":
        seen.beliefs.note(ComputerResumed(), network=network, now=seen.now)
    else:
        seen.beliefs.forget()
    assert seen.counts(network) is known


def test_a_re_test_that_fails_shows_nothing() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.after(1).stalls(host)
        seen.beliefs.learn(Retested(host, direct_ok=False, other_ok=True), network=HOME, now=seen.after(121).now)
    assert not seen.counts()
