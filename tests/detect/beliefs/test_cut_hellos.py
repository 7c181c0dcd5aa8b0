"""Networks that punish a cut ClientHello, and servers that only reject it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from proxy.detect.beliefs.cut_hellos import PUNISHED_S
from proxy.detect.beliefs.events import (
    BlockMeasured,
    EventBeside,
    Intercepted,
    NetworkLeft,
    Retested,
    StrategyTried,
)
from proxy.detect.beliefs.rungs import Search
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Attempt,
    Cause,
    CutHellos,
    NetworkId,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    State,
    Symptom,
    as_evidence,
)
from tests.detect.world import DAY, World
from tests.support.outcomes import AWAY, HOME, TOR, delivered, failed, outcome
from tests.support.rows import each_row

TLSREC = Route((), ("tlsrec",))
A, B = "www.a.test", "www.b.test"
AT = {A: "192.0.2.1:443", B: "192.0.2.2:443"}
RESIDUAL_S = 180


class Visitor(World):
    """Visits without a relay, whose hellos go unanswered in different ways."""

    def visit(self, host: str, *attempts: Attempt, network: NetworkId = HOME, alone: bool = False) -> None:
        at = [replace(attempt, address=attempt.address and AT[host]) for attempt in attempts]
        seen = outcome(*at, host=host, at=self.now - 0.1)
        if alone:
            self.beliefs.learn(seen, network=network, now=self.now)
        else:
            self.learn(seen, network=network)

    def opens(self, host: str, network: NetworkId = HOME) -> None:
        self.visit(host, delivered(), network=network)

    def fails(self, host: str, *symptoms: Symptom, alone: bool = False) -> None:
        """Direct fails, and a cut hello as well if a second symptom is given."""
        whole = replace(failed(symptoms[0]), address="at")
        cut = [replace(failed(symptom, route=TLSREC), address="at") for symptom in symptoms[1:]]
        self.visit(host, whole, *cut, alone=alone)

    def punished(self, host: str, cut: Symptom = Symptom.DROPPED, *, alone: bool = False) -> None:
        """A cut hello goes unanswered, then a whole one; a minute later direct delivers."""
        self.fails(host, Symptom.RESET, cut)
        self.after(10).fails(host, Symptom.DROPPED, alone=alone)
        self.after(60).opens(host)

    def cuts(self, host: str = "www.c.test", address: str = "192.0.2.3:443", network: NetworkId = HOME) -> CutHellos:
        return self.beliefs.cut_hellos(host, [address], network=network, now=self.now)


@each_row("cut", [Symptom.DROPPED, Symptom.SILENT])
def test_two_unrelated_sites_show_that_cut_hellos_are_punished(cut: Symptom) -> None:
    seen = Visitor()
    seen.punished(A, cut)
    assert seen.cuts() is CutHellos.ALLOWED, "one site may be down by accident"
    seen.punished(B, cut)
    assert seen.cuts() is CutHellos.NEVER
    assert seen.beliefs.cuts_are_punished(HOME, seen.now)
    assert seen.cuts(network=AWAY) is CutHellos.ALLOWED
    assert seen.after(PUNISHED_S).cuts() is CutHellos.ALLOWED


def test_two_hosts_of_one_domain_are_one_site() -> None:
    seen = Visitor()
    AT["img.a.test"] = AT[B]
    seen.punished(A)
    seen.punished("img.a.test")
    assert seen.cuts() is CutHellos.ALLOWED


@each_row("says", [Symptom.EOF, Symptom.ALERT, Symptom.GARBAGE, Symptom.RESET])
def test_a_server_that_rejects_cut_hellos_is_none(says: Symptom) -> None:
    seen = Visitor()
    for host in (A, B):
        seen.punished(host, says)
    assert seen.cuts() is CutHellos.ALLOWED


def test_nor_one_that_answers_the_next_whole_hello() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.fails(host, Symptom.RESET, Symptom.DROPPED)
        seen.after(10).opens(host)
        seen.after(1).fails(host, Symptom.DROPPED)
        seen.after(60).opens(host)
    assert seen.cuts() is CutHellos.ALLOWED


def test_nor_a_site_that_comes_back_much_later() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.fails(host, Symptom.RESET, Symptom.DROPPED)
        seen.after(10).fails(host, Symptom.DROPPED)
        seen.after(600).opens(host)
    assert seen.cuts() is CutHellos.ALLOWED


def test_nor_an_outage() -> None:
    """No other site delivers while whole hellos go unanswered."""
    seen = Visitor()
    for host in (A, B):
        seen.punished(host, alone=True)
    assert seen.cuts() is CutHellos.ALLOWED


@each_row("before", [Symptom.DROPPED, Symptom.SILENT])
def test_nor_an_address_that_was_silent_before(before: Symptom) -> None:
    """The site may be down, or the network counts ClientHellos."""
    seen = Visitor()
    for host in (A, B):
        seen.fails(host, before, Symptom.DROPPED)
        seen.after(10).fails(host, Symptom.DROPPED)
        seen.after(60).opens(host)
    assert seen.cuts() is CutHellos.ALLOWED


def test_nor_a_failure_long_after_the_cut_hello() -> None:
    seen = Visitor()
    for host in (A, B):
        seen.fails(host, Symptom.RESET, Symptom.DROPPED)
        seen.after(RESIDUAL_S).fails(host, Symptom.DROPPED)
        seen.after(60).opens(host)
    assert seen.cuts() is CutHellos.ALLOWED


@each_row("how", ["visit", "beside"])
def test_nor_a_network_on_which_one_is_answered(how: str) -> None:
    seen = Visitor()
    seen.punished(A)
    if how == "visit":
        seen.learn(outcome(failed(), delivered(TLSREC), host="www.c.test", at=seen.now))
    else:
        seen.beliefs.learn(StrategyTried("www.c.test", TLSREC, ok=True), network=HOME, now=seen.now)
    seen.punished(B)
    assert seen.cuts("www.d.test") is CutHellos.ALLOWED


def test_one_that_is_answered_all_the_same_refutes_it() -> None:
    """A rule or a plan of before may still send one."""
    seen = Visitor()
    seen.punished(A)
    seen.punished(B)
    seen.learn(outcome(delivered(TLSREC), host="www.c.test", at=seen.now))
    assert seen.cuts("www.d.test") is CutHellos.ALLOWED


def test_a_re_test_that_direct_passes_shows_it_as_well() -> None:
    seen = Visitor()
    dropped = replace(failed(Symptom.DROPPED), address="at")
    for host in (A, B):
        seen.visit(host, replace(failed(), address="at"), replace(dropped, route=TLSREC), delivered(TOR))
        seen.after(10).visit(host, dropped, delivered(TOR))
        retested = Retested(host, direct_ok=True, other_ok=True)
        seen.beliefs.learn(retested, network=HOME, now=seen.after(110).now)
    assert seen.cuts() is CutHellos.NEVER


def test_one_that_a_relay_overtook_counts_if_the_kernel_had_sent_it_again() -> None:
    def shown(retransmits: int) -> CutHellos:
        seen = Visitor()
        for host in (A, B):
            evidence = as_evidence({"retransmits": retransmits})
            cut = replace(failed(Symptom.ABANDONED, route=TLSREC), address="at", evidence=evidence)
            seen.visit(host, replace(failed(), address="at"), cut, delivered(TOR))
            seen.after(10).fails(host, Symptom.DROPPED)
            seen.after(60).opens(host)
        return seen.cuts()

    assert [shown(0), shown(2)] == [CutHellos.ALLOWED, CutHellos.NEVER]


def test_plain_http_is_not_read() -> None:
    seen = Visitor()

    def plain(made: Outcome) -> Outcome:
        return replace(made, protocol=Protocol.HTTP)

    for host in (A, B):
        whole = replace(failed(Symptom.DROPPED), address=AT[host])
        seen.learn(plain(outcome(whole, replace(whole, route=Route((), ("split",))), host=host, at=seen.now)))
        seen.after(10).learn(plain(outcome(whole, host=host, at=seen.now)))
        seen.after(60).opens(host)
    assert seen.cuts() is CutHellos.ALLOWED


# -- the address -------------------------------------------------------------------------------------------------------


def test_where_a_cut_hello_went_unanswered_none_is_sent_for_three_minutes() -> None:
    """Each would begin the punishment anew."""
    seen = Visitor()
    seen.fails(A, Symptom.RESET, Symptom.DROPPED)
    assert seen.cuts(A, AT[A]) is CutHellos.NEVER
    assert seen.cuts("other.test", AT[A]) is CutHellos.NEVER
    assert seen.cuts(A, AT[B]) is CutHellos.ALLOWED
    assert seen.cuts(A, "") is CutHellos.ALLOWED
    assert seen.after(RESIDUAL_S).cuts(A, AT[A]) is CutHellos.ALLOWED


def test_unless_others_pass_on_this_network() -> None:
    seen = Visitor()
    seen.learn(outcome(failed(), delivered(TLSREC), host="www.c.test", at=seen.now))
    seen.fails(A, Symptom.RESET, Symptom.DROPPED)
    assert seen.cuts(A, AT[A]) is CutHellos.ALLOWED


# -- the host ----------------------------------------------------------------------------------------------------------


def test_for_a_host_that_direct_delivered_within_a_day_they_come_last() -> None:
    seen = Visitor()
    seen.opens(A)
    assert seen.cuts(A) is CutHellos.LAST
    seen.visit(A, failed(), delivered(TOR))
    assert seen.state(A) is State.SUSPECT
    assert seen.cuts(A) is CutHellos.LAST
    assert seen.after(DAY).cuts(A) is CutHellos.ALLOWED


def test_a_whole_hello_that_is_answered_the_second_time_leaves_nothing() -> None:
    seen = Visitor()
    seen.opens(A)
    seen.after(1).visit(A, failed(), delivered(started=1.0))
    assert seen.state(A) is State.WORKS
    assert seen.transitions == []


_PROOF = Signal(SignalId.SNI_SWAP, 4.0, Cause.SNI_DROP, 0.0)

TROUBLES: Mapping[str, EventBeside] = {
    "a measurement": BlockMeasured(A, _PROOF, TOR, Protocol.TLS, AT[A], "no answer"),
    "a certificate of a known root": Intercepted(A, "root", known=True),
    "a certificate of a stranger": Intercepted(A, "stranger", known=False),
}


@each_row("trouble", TROUBLES)
def test_a_site_that_worked_is_sent_none_whatever_shows_its_trouble(trouble: str) -> None:
    seen = Visitor()
    seen.opens(A)
    seen.beliefs.learn(TROUBLES[trouble], network=HOME, now=seen.after(60).now)
    assert seen.state(A) is not State.WORKS
    assert seen.cuts(A) is CutHellos.LAST


def test_nor_is_one_that_refuses_direct() -> None:
    seen = Visitor()
    seen.opens(A)
    forbidden = replace(delivered(), evidence=as_evidence({"status": 403}))
    admitted = replace(delivered(TOR), evidence=as_evidence({"status": 200}))
    seen.after(60).visit(A, forbidden)
    seen.after(1).visit(A, admitted)
    assert seen.state(A) is State.SUSPECT
    assert seen.cuts(A) is CutHellos.LAST


def test_unless_a_cut_one_has_delivered_since() -> None:
    seen = Visitor()
    seen.opens(A)
    seen.after(1).visit(A, failed(), delivered(TLSREC))
    assert seen.cuts(A) is CutHellos.ALLOWED


@each_row(
    ("worked", "blocked", "search"),
    [(False, False, Search.AFTER_PLAIN), (True, False, Search.NOT_DUE), (True, True, Search.DUE)],
)
def test_beside_visits_they_are_tried_once_the_block_is_confirmed(worked: bool, blocked: bool, search: Search) -> None:
    seen = Visitor()
    if worked:
        seen.opens(A)
    for _ in range(2 if blocked else 1):
        seen.after(61).visit(A, failed(), delivered(TOR))
    assert seen.state(A) is (State.BLOCKED if blocked else State.SUSPECT)
    assert _search(seen.after(RESIDUAL_S + 1), A) is search


def test_nor_are_they_where_they_are_punished() -> None:
    seen = Visitor()
    seen.punished(A)
    seen.punished(B)
    for _ in range(2):
        seen.after(61).learn(outcome(failed(), delivered(TOR), host="www.c.test", at=seen.now))
    assert _search(seen.after(RESIDUAL_S + 1), "www.c.test") is Search.NOT_DUE


def _search(seen: World, host: str) -> Search:
    return seen.beliefs.search_due(host, (TLSREC,), (), Protocol.TLS, network=HOME, now=seen.now)


# -- forgetting --------------------------------------------------------------------------------------------------------


@each_row("how", ["network", "clock", "all"])
def test_it_is_forgotten_with_the_network_and_when_the_clock_is_set(how: str) -> None:
    network = UNKNOWN_NETWORK
    seen = Visitor()
    whole, cut = (replace(failed(Symptom.DROPPED, route=route), address="at") for route in (DIRECT, TLSREC))
    for host in (A, B):
        seen.visit(host, replace(whole, symptom=Symptom.RESET), cut, network=network)
        seen.after(10).visit(host, whole, network=network)
        seen.after(60).opens(host, network=network)
    assert seen.cuts(network=network) is CutHellos.NEVER
    if how == "network":
        seen.beliefs.learn(NetworkLeft(), network=HOME, now=seen.now)
    elif how == "clock":
        seen.after(-7200)
    else:
        seen.beliefs.forget()
    assert seen.cuts(network=network) is CutHellos.ALLOWED
