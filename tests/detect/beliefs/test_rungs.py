"""When a local strategy is searched for, which one is next, what is shared among hosts, and what is dropped."""

from __future__ import annotations

from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.cut_hellos import RECOVERS_S
from proxy.detect.beliefs.events import (
    Carried,
    ComputerResumed,
    DirectDelivered,
    FlightBroken,
    OpenMeasured,
    ResidueAsked,
    Retested,
    RungResult,
    RungTried,
    StrategyBroke,
    StrategyTried,
)
from proxy.detect.beliefs.rungs import SIMPLER_S, Search
from proxy.detect.beliefs.state import UNSERVED_MAX
from proxy.model import DIRECT, Attempt, Cause, NetworkId, Protocol, Route, Stage, State, Symptom
from tests.detect.seen import OTHER, Seen
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, failed, outcome
from tests.support.rows import each_row

TLSREC, BOTH, SPLIT, SMALL = ROUTES = tuple(
    Route((), wrap) for wrap in (("tlsrec",), ("tlsrec", "split"), ("split",), ("tlsrec-by-4",))
)
B, C = "www.second.test", "www.third.test"
AT = {HOST: "203.0.113.5:443", B: "203.0.113.6:443", C: "203.0.113.7:443"}
RESIDUAL_S, HOUR_S, DAY_S = 180.0, 3600.0, 86_400.0


class Visitor(Seen):
    """Visits to hosts that a relay delivers after direct was reset, each at an address of its own."""

    def blocked(self, host: str = HOST, symptom: Symptom = Symptom.RESET) -> Visitor:
        for _ in range(2):
            self.after(61).rescued(host, symptom, address=AT[host])
            self.works()
        assert self.state(host) is State.BLOCKED
        return self

    def froze(self, host: str = HOST, *, times: int = 2) -> Visitor:
        """Transfers of a host froze, and a relay carried more."""
        for _ in range(times):
            spoiled = replace(delivered(), symptom=Symptom.FROZEN, address=AT[host])
            self.after(61).learn(outcome(spoiled, host=host, at=self.now))
            self.beliefs.learn(Carried(host, TOR, 70_000), network=HOME, now=self.now)
        assert self.held(host).cause == Cause.FROZEN
        return self

    def carried(
        self,
        address: str = AT[HOST],
        host: str = OTHER,
        *,
        count: int = 65_536,
        route: Route = DIRECT,
        network: NetworkId = HOME,
    ) -> None:
        """A route has carried so much of another host."""
        self.beliefs.learn(Carried(host, route, count, address=address), network=network, now=self.now)

    def unserved(self, *hosts: str, symptom: Symptom = Symptom.RESET, times: int = 1, apart_s: float = 61.0) -> Visitor:
        """No route delivers these hosts, and there is no relay. Then another one works."""
        for _ in range(times):
            self.after(apart_s)
            for host in hosts or (HOST,):
                attempt = replace(failed(symptom), address=AT[host])
                self.beliefs.note(FlightBroken(AT[host], host), network=HOME, now=self.now)
                self.learn(outcome(attempt, host=host, at=self.now - 0.2))
            self.works()
        return self

    def due(self, host: str = HOST, *, is_carried: bool = True) -> Search:
        return self.beliefs.search_due(
            host, ROUTES, [AT[host]], Protocol.TLS, network=HOME, now=self.now, is_carried=is_carried
        )

    def due_alone(self, host: str = HOST) -> Search:
        return self.due(host, is_carried=False)

    def next_alone(self, host: str = HOST) -> Route | None:
        return self.beliefs.next_rung(host, ROUTES, network=HOME, now=self.now, is_carried=False)

    def tried_alone(self, route: Route, result: RungResult, host: str = HOST) -> None:
        event = RungTried(host, route, result, is_carried=False)
        self.changes += self.beliefs.learn(event, network=HOME, now=self.now)
        self.over(host)

    def struck(self, *addresses: str, protocol: Protocol = Protocol.TLS) -> bool:
        return bool(self.beliefs.struck_until(HOST, addresses, protocol, network=HOME, now=self.now))

    def next(self, host: str = HOST) -> Route | None:
        return self.beliefs.next_rung(host, ROUTES, network=HOME, now=self.now)

    def tried(self, route: Route, result: RungResult, host: str = HOST) -> None:
        self.changes += self.beliefs.learn(RungTried(host, route, result), network=HOME, now=self.now)
        self.over(host)

    def over(self, host: str = HOST) -> None:
        self.beliefs.release(self.beliefs.claim_of(host, network=HOME, now=self.now))

    def rungs(self, host: str = HOST) -> tuple[Route, ...]:
        return self.beliefs.about(host, network=HOME, now=self.now).rungs

    def planned(self, host: str) -> tuple[str, ...]:
        """The strategies that a plan leaves out."""
        return self.beliefs.about(host, network=HOME, now=self.now).belief.rungs_failed

    def later(self, seconds: float = RESIDUAL_S + 1) -> Visitor:
        self.now += seconds
        return self

    def by(self, route: Route, elapsed: float, host: str = HOST) -> None:
        self.learn(outcome(delivered(route, elapsed=elapsed), host=host, at=self.now))


# -- when --------------------------------------------------------------------------------------------------------------


def test_it_is_due_beside_a_visit_once_the_censor_has_calmed_down() -> None:
    seen = Visitor().blocked()
    seen.beliefs.note(ResidueAsked(Protocol.TLS, is_answered=False), network=HOME, now=seen.now)
    assert seen.later(RESIDUAL_S - 1).due() is Search.NOT_DUE
    assert seen.later(2).due() is Search.DUE
    assert seen.due() is Search.NOT_DUE, "it is claimed"
    seen.over()
    assert seen.due() is Search.DUE


def test_an_address_in_its_window_is_first_sent_another_name_once_an_hour() -> None:
    seen = Visitor()
    seen.rescued(address=AT[HOST])
    seen.works()
    assert seen.due() is Search.NOT_DUE, "one reset may be an accident"
    assert seen.later(5).due() is Search.AFTER_CHECK
    assert not seen.beliefs.residue_question_due(Protocol.TLS, network=HOME, now=seen.now)
    assert seen.beliefs.residue_question_due(Protocol.TLS, network=AWAY, now=seen.now)
    assert seen.struck(), "its addresses are known by what was broken there"
    seen.over()
    assert seen.due() is Search.NOT_DUE
    seen.beliefs.note(ResidueAsked(Protocol.TLS, is_answered=True), network=HOME, now=seen.now)
    assert seen.due() is Search.AFTER_PLAIN
    assert not seen.struck(AT[HOST])
    seen.over()
    seen.later(DAY_S).rescued(address=AT[HOST])
    assert seen.later(5).due() is Search.AFTER_CHECK, "it is known for a day"


def test_an_answer_in_one_protocol_says_nothing_of_another() -> None:
    seen = Visitor()
    seen.rescued(address=AT[HOST])
    seen.beliefs.note(ResidueAsked(Protocol.TLS, is_answered=True), network=HOME, now=seen.now)
    assert not seen.struck()
    assert seen.struck(protocol=Protocol.HTTP)
    assert seen.beliefs.residue_question_due(Protocol.HTTP, network=HOME, now=seen.now)
    assert not seen.beliefs.residue_question_due(Protocol.TLS, network=HOME, now=seen.now)


def test_where_no_residue_is_left_failures_of_neighbours_still_count_nothing() -> None:
    """The answer may have come by another path, or be a day old: it permits a search, and nothing else."""
    seen = Visitor()
    seen.rescued(B, address=AT[HOST])
    seen.beliefs.note(ResidueAsked(Protocol.TLS, is_answered=True), network=HOME, now=seen.now)
    seen.works()
    seen.after(61).rescued(address=AT[HOST])
    seen.works()
    assert (seen.state(), seen.held().score) == (State.SUSPECT, 0.0), "suspect by the rescue alone"
    assert "residual blocking" in seen.held().why


@each_row("how", ["in a re-test", "in that search"])
def test_until_it_has_failed_again_plain_direct_comes_first(how: str) -> None:
    seen = Visitor()
    seen.rescued(symptom=Symptom.SILENT, address=AT[HOST])
    seen.works()
    assert seen.due() is Search.AFTER_PLAIN, "it may have failed once"
    seen.over()
    if how == "in a re-test":
        seen.beliefs._state.searches.clear()
        seen.beliefs.learn(Retested(HOST, direct_ok=False, other_ok=True), network=HOME, now=seen.now)
    assert seen.later(100).due() is Search.DUE


def test_a_claim_that_has_ended_releases_no_other_one() -> None:
    seen = Visitor(DetectTuning(search_per_hour_host=5)).blocked()
    assert seen.later().due() is Search.DUE
    old = seen.beliefs.claim_of(HOST, network=HOME, now=seen.now)
    seen.over()
    assert seen.later(1).due() is Search.DUE
    seen.beliefs.release(old)
    assert seen.due() is Search.NOT_DUE, "that of the second one holds"


def test_not_more_than_two_an_hour_for_a_host_and_six_on_a_network() -> None:
    seen = Visitor(DetectTuning(search_per_hour=3))
    for host in AT:
        seen.blocked(host)
    seen.later()

    def search(host: str) -> bool:
        is_due = seen.due(host) is Search.DUE
        seen.over(host)
        return is_due

    assert [search(HOST) for _ in range(3)] == [True, True, False]
    assert [search(host) for host in (B, C)] == [True, False]
    seen.later(HOUR_S)
    assert [search(host) for host in (C, HOST, B, C)] == [True, True, True, False]
    settings = DetectTuning()
    assert (settings.search_per_hour_host, settings.search_per_hour) == (2, 6)


@each_row(("symptom", "stage"), [(Symptom.TIMEOUT, Stage.CONNECT), (Symptom.NO_NAME, Stage.RESOLVE)])
def test_none_where_the_name_is_not_the_cause(symptom: Symptom, stage: Stage) -> None:
    seen = Visitor()
    for _ in range(3):
        seen.after(61).rescued(symptom=symptom, stage=stage)
        seen.works(OTHER)
    assert seen.held().state in (State.SUSPECT, State.BLOCKED)
    assert seen.later(300).due() is Search.NOT_DUE


def test_none_for_a_host_that_is_not_troubled() -> None:
    seen = Visitor()
    seen.works(HOST)
    assert seen.due() is Search.NOT_DUE
    assert seen.next() is None
    seen.tried(TLSREC, RungResult.PASSED)
    assert (seen.held().last_good, seen.rungs()) == ("", ())


def test_none_while_a_failure_may_be_the_punishment_of_a_burst() -> None:
    seen = Visitor()
    for _ in range(2):
        seen.after(61).rescued(symptom=Symptom.DROPPED, address=AT[HOST], evidence={"hellos": 6})
        seen.works()
    assert seen.state() is State.BLOCKED
    assert seen.later(RECOVERS_S - 100).due() is Search.NOT_DUE
    assert seen.later(100).due() is Search.DUE


def test_none_while_nothing_may_be_learned() -> None:
    seen = Visitor().blocked()
    seen.later()
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    assert seen.due() is Search.NOT_DUE


# -- against a freeze --------------------------------------------------------------------------------------------------


def test_a_freeze_is_searched_around_once_its_address_brings_enough_of_another_name() -> None:
    seen = Visitor().froze()
    assert seen.state() is State.BLOCKED
    assert seen.due() is Search.NOT_DUE, "it may be by address"
    seen.carried()
    assert seen.due() is Search.DUE


def test_a_freeze_of_a_site_that_worked_has_to_be_confirmed_before_a_hello_is_cut() -> None:
    seen = Visitor()
    seen.works(HOST)
    seen.froze(times=1).carried()
    assert seen.due() is Search.NOT_DUE
    seen.froze(times=1).carried()
    assert seen.due() is Search.DUE


@each_row("what", ["too little", "another address", "by a relay", "another network", "before it froze", "a day ago"])
def test_what_shows_no_freeze_by_name(what: str) -> None:
    seen = Visitor()
    if what == "before it froze":
        seen.froze().carried()
    seen.froze()
    match what:
        case "too little":
            seen.carried(count=65_535)
        case "another address":
            seen.carried(AT[B])
        case "by a relay":
            seen.carried(route=TOR)
        case "another network":
            seen.carried(network=AWAY)
        case "a day ago":
            seen.carried()
            seen.later(DAY_S)
    assert seen.due() is Search.NOT_DUE
    seen.carried()
    assert seen.due() is Search.DUE


def test_where_connections_are_cut_by_time_no_bytes_show_that_a_strategy_passes() -> None:
    seen = Visitor()
    for _ in range(2):
        first = outcome(replace(delivered(), address=AT[HOST]), host=HOST, at=seen.after(61).now)
        seen.learn(first)
        cut = replace(first.attempts[0], symptom=Symptom.FROZEN, elapsed=5.0, evidence={"cut_s": 5.0})
        seen.after(5).learn(first.with_attempt(cut))
        seen.beliefs.learn(Carried(HOST, TOR, 70_000, lasted_s=10.0), network=HOME, now=seen.now)
    seen.carried()
    assert (seen.state(), seen.held().cause) == (State.BLOCKED, "frozen")
    assert seen.due() is Search.NOT_DUE


def test_after_a_restart_its_address_is_the_one_that_it_has_now() -> None:
    first = Visitor().froze()
    seen = Visitor(known=first.beliefs.all(now=first.now))
    seen.now = first.now
    seen.carried()
    assert seen.due() is Search.NOT_DUE, "nobody knew that it froze there"
    seen.carried()
    assert seen.due() is Search.DUE


def test_what_passes_is_shared_among_hosts_that_freeze_by_name_alone() -> None:
    seen = Visitor().froze().froze(B)
    seen.carried()
    seen.tried(BOTH, RungResult.FAILED)
    assert seen.next(B) == TLSREC
    seen.tried(TLSREC, RungResult.PASSED)
    assert (seen.rungs(), seen.held().last_good) == ((TLSREC,), "direct|tlsrec")
    assert seen.rungs(B) == (), "it may freeze by address"
    before = seen.beliefs.generation(HOME, B)
    seen.carried(AT[B])
    assert seen.beliefs.generation(HOME, B) != before, "a kept plan is made anew"
    assert seen.rungs(B) == (TLSREC,)
    assert seen.rungs(C) == (), "it has not frozen"
    seen.blocked(C)
    assert seen.rungs(C) == (), "of another cause"


def test_an_answer_over_a_strategy_does_not_show_that_it_still_passes_a_freeze() -> None:
    seen = Visitor().froze()
    seen.carried()
    seen.tried(TLSREC, RungResult.PASSED)
    seen.later(DAY_S - 1).by(TLSREC, 0.1)
    seen.later(2).carried()
    assert seen.rungs() == ()


def test_one_that_freezes_is_left_at_once_and_the_next_is_searched() -> None:
    seen = Visitor().froze()
    seen.carried()
    seen.tried(TLSREC, RungResult.PASSED)
    _breaks(seen, HOST, TLSREC)
    assert seen.planned(HOST) == ("direct|tlsrec",), "so that a relay is tried"
    seen.beliefs.learn(Carried(HOST, TOR, 70_000), network=HOME, now=seen.now)
    assert seen.held().rungs_failed == ("direct|tlsrec",)
    assert seen.due() is Search.DUE
    assert seen.next() == BOTH


def test_a_freeze_that_is_over_and_comes_again_may_be_another_one() -> None:
    seen = Visitor().froze(times=1)
    seen.carried()
    seen.later().carried(host=HOST)
    assert seen.state() is State.WORKS
    assert not len(seen.beliefs._state.froze_at)


def test_who_forgets_a_host_forgets_where_it_froze() -> None:
    seen = Visitor().froze().froze(B)
    seen.beliefs.forget(HOST)
    assert [host for _, host in seen.beliefs._state.froze_at] == [B]


# -- which -------------------------------------------------------------------------------------------------------------


def test_the_simplest_is_first_and_what_failed_for_one_is_not_tried_for_another() -> None:
    seen = Visitor().blocked().blocked(B)
    seen.later()
    assert seen.next() == seen.next(B) == TLSREC
    seen.tried(TLSREC, RungResult.FAILED)
    assert seen.next() == seen.next(B) == BOTH
    seen.tried(BOTH, RungResult.FAILED, B)
    assert seen.next() == seen.next(B) == SPLIT
    assert seen.held().rungs_failed == ("direct|tlsrec",)
    seen.later(DAY_S)
    assert seen.next() == TLSREC, "after a day it is tried again"


def test_what_a_server_rejects_may_pass_for_others() -> None:
    seen = Visitor().blocked().blocked(B)
    seen.later()
    seen.tried(TLSREC, RungResult.REJECTED)
    assert (seen.next(), seen.next(B)) == (BOTH, TLSREC)


def test_nothing_is_left_when_all_failed() -> None:
    seen = Visitor().blocked()
    seen.later()
    for route in ROUTES:
        seen.tried(route, RungResult.FAILED)
    assert seen.next() is None
    assert seen.due() is Search.NOT_DUE


# -- what passes is shared ---------------------------------------------------------------------------------------------


def test_what_passes_is_used_for_the_hosts_of_the_same_cause() -> None:
    seen = Visitor().blocked().blocked(B)
    seen.later()
    before = seen.beliefs.generation(HOME, C)
    seen.tried(TLSREC, RungResult.FAILED)
    assert seen.beliefs.generation(HOME, C) == before, "nothing to plan with"
    seen.tried(SMALL, RungResult.PASSED)
    assert seen.held().last_good == "direct|tlsrec-by-4"
    assert seen.rungs() == seen.rungs(B) == (SMALL,)
    assert seen.rungs(C) == (SMALL,), "a host without a belief, after direct"
    assert seen.beliefs.generation(HOME, C) != before, "a kept plan is made anew"
    assert seen.beliefs.about(C, network=AWAY, now=seen.now).rungs == ()
    assert seen.due(B) is Search.NOT_DUE, "it goes by what passes"
    seen.rescued(C, Symptom.TIMEOUT, Stage.CONNECT, address=AT[C])
    assert seen.rungs(C) == (), "of another cause"
    seen.later(DAY_S)
    assert seen.rungs(B) == ()


def test_a_simpler_one_is_tried_again_once_a_day() -> None:
    seen = Visitor().blocked()
    seen.later()
    for route in (TLSREC, BOTH):
        seen.tried(route, RungResult.FAILED)
    seen.tried(SPLIT, RungResult.PASSED)
    for _ in range(24):
        assert seen.later(HOUR_S - 1).due() is Search.NOT_DUE
        seen.by(SPLIT, 0.1)
    assert seen.later(SIMPLER_S / 24).next() == TLSREC
    assert seen.due() is Search.DUE
    assert seen.next() == TLSREC
    seen.tried(TLSREC, RungResult.FAILED)
    assert seen.later().due() is Search.NOT_DUE
    assert seen.rungs() == (SPLIT,), "it still passes"
    seen.later(SIMPLER_S)
    assert seen.due() is Search.DUE
    seen.tried(TLSREC, RungResult.PASSED)
    assert (seen.rungs(), seen.held().last_good) == ((TLSREC,), "direct|tlsrec")


# -- without another route ---------------------------------------------------------------------------------------------


def test_alone_it_is_due_once_a_second_visit_has_failed_and_the_window_is_over() -> None:
    seen = Visitor().unserved()
    assert seen.state() is State.UNKNOWN
    assert seen.due_alone() is Search.NOT_DUE
    assert seen.due() is Search.NOT_DUE, "another route carried it"
    seen.unserved(apart_s=2)
    assert seen.due_alone() is Search.NOT_DUE, "both may be one accident"
    seen.unserved(apart_s=2)
    assert seen.due_alone() is Search.AFTER_CHECK
    seen.over()
    assert seen.due_alone() is Search.LATER, "the question is asked once an hour"
    assert seen.due_alone() is Search.NOT_DUE, "it is claimed"
    seen.over()
    assert seen.later(RESIDUAL_S - 1).due_alone() is Search.LATER
    seen.over()
    assert seen.later(2).due_alone() is Search.DUE
    assert seen.next_alone() == TLSREC


def test_alone_the_end_of_the_window_is_that_of_the_last_flight_that_was_broken() -> None:
    seen = Visitor().unserved()
    began_at = seen.now
    seen.beliefs.note(FlightBroken(AT[HOST], HOST), network=HOME, now=began_at)
    for addresses in ([], [AT[HOST]]):
        until = seen.beliefs.struck_until(HOST, addresses, Protocol.TLS, network=HOME, now=began_at + 1)
        assert until == began_at + RESIDUAL_S
    seen.beliefs.note(FlightBroken(AT[B], HOST), network=HOME, now=began_at + 9)
    assert (
        seen.beliefs.struck_until(HOST, [], Protocol.TLS, network=HOME, now=began_at + 10) == began_at + 9 + RESIDUAL_S
    )


@each_row(("symptom", "stage"), [(Symptom.TIMEOUT, Stage.CONNECT), (Symptom.NO_NAME, Stage.RESOLVE)])
def test_alone_none_where_the_name_is_not_the_cause(symptom: Symptom, stage: Stage) -> None:
    seen = Visitor()
    for _ in range(3):
        seen.after(61).learn(outcome(failed(symptom, stage), host=HOST, at=seen.now - 0.2))
        seen.works()
    assert seen.later().due_alone() is Search.NOT_DUE


@each_row("how", ["direct delivers", "a relay does not reach it either", "offline", "by name, in plain HTTP"])
def test_alone_what_shows_that_it_is_no_block_ends_it(how: str) -> None:
    seen = Visitor().unserved(times=4).later()
    if how == "direct delivers":
        seen.works(HOST)
    elif how == "offline":
        seen.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host=B, at=seen.now))
        seen.works()
    elif how == "by name, in plain HTTP":
        seen.learn(replace(outcome(delivered(), host=HOST, at=seen.now), protocol=Protocol.HTTP))
        assert seen.due_alone() is Search.DUE, "that ends no block by SNI"
        seen.over()
        seen.beliefs.learn(OpenMeasured(HOST, Protocol.TLS, AT[HOST]), network=HOME, now=seen.now)
    else:
        relay = failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR)
        seen.learn(outcome(failed(), relay, host=HOST, at=seen.now))
        seen.later()
    assert seen.due_alone() is Search.NOT_DUE


def test_alone_a_site_that_worked_lately_is_searched_for_once_it_has_failed_as_often_as_a_blocked_one() -> None:
    seen = Visitor()
    seen.works(HOST)
    seen.unserved(times=3).later()
    assert seen.due_alone() is Search.NOT_DUE
    seen.unserved().later()
    assert seen.due_alone() is Search.DUE


def test_alone_what_fails_only_changes_the_order_for_others() -> None:
    seen = Visitor().unserved(HOST, B, times=2).later()
    assert seen.due_alone() is Search.DUE
    for route in (TLSREC, BOTH):
        assert seen.next_alone() == route
        seen.tried_alone(route, RungResult.FAILED)
    assert seen.next_alone() == SPLIT
    assert seen.next_alone(B) == SPLIT, "what was not tried in vain"
    for route in (SPLIT, SMALL):
        seen.tried_alone(route, RungResult.FAILED)
    assert seen.next_alone() is None
    assert seen.due_alone() is Search.NOT_DUE, "all were tried"
    assert seen.next_alone(B) == TLSREC, "the first one may only be down"
    assert (seen.state(), seen.changes) == (State.UNKNOWN, [])
    seen.blocked(C).later()
    assert seen.next(C) == TLSREC
    seen.later(DAY_S)
    assert seen.next_alone() is None, "nothing is known of it after a day without a visit"
    seen.unserved(times=2).later()
    assert seen.next_alone() == TLSREC


def test_alone_each_is_tried_once_a_day() -> None:
    seen = Visitor().unserved(times=2).later()
    seen.tried_alone(TLSREC, RungResult.FAILED)
    for _ in range(3):
        seen.later(DAY_S / 3 - 62).unserved()
        assert seen.next_alone() == BOTH
    seen.later()
    assert seen.next_alone() == TLSREC


def test_alone_what_passes_is_the_other_route_that_was_missing() -> None:
    seen = Visitor().unserved(HOST, B, times=2).later()
    seen.tried_alone(SMALL, RungResult.PASSED)
    held = seen.held()
    assert (held.state, held.cause, held.last_good) == (State.SUSPECT, Cause.SNI_RESET, "direct|tlsrec-by-4")
    assert held.score > 1, "it counts as any rescue, since another site has worked meanwhile"
    assert seen.rungs() == seen.rungs(B) == (SMALL,)
    assert seen.state(B) is State.UNKNOWN
    planned = seen.beliefs.about(B, network=HOME, now=seen.now).belief
    assert (planned.state, planned.cause) == (State.SUSPECT, Cause.SNI_RESET), "so that it is tried before direct"
    assert planned.why == "direct failed (tls_reset); direct|tlsrec-by-4 passes for other sites on this network"
    assert seen.next_alone(B) == SMALL, "first of all"
    seen.tried_alone(SMALL, RungResult.FAILED, B)
    assert seen.beliefs.about(B, network=HOME, now=seen.now).belief.state is State.UNKNOWN
    assert seen.next_alone(B) == TLSREC
    seen.later(DAY_S)
    assert seen.rungs(B) == ()


def test_alone_a_plan_is_made_anew_when_a_strategy_is_found() -> None:
    seen = Visitor().unserved(HOST, B, times=2).later()
    before = seen.beliefs.generation(HOME, B)
    seen.tried_alone(SMALL, RungResult.PASSED)
    assert seen.beliefs.generation(HOME, B) != before


def test_alone_a_signal_that_no_other_site_controls_waits() -> None:
    seen = Visitor()
    for _ in range(2):
        seen.after(61).learn(outcome(replace(failed(), address=AT[HOST]), host=HOST, at=seen.now - 0.2))
    seen.later()
    seen.tried_alone(SMALL, RungResult.PASSED)
    assert (seen.state(), seen.held().score) == (State.SUSPECT, 0.0), "for two minutes, by the rescue alone"
    assert seen.wants_a_control()


def test_alone_a_known_block_is_searched_anew_and_nothing_is_condemned() -> None:
    """The relay is gone, and what passed fails: the site may be down now."""
    seen = Visitor().blocked()
    seen.later()
    seen.tried(SPLIT, RungResult.PASSED)
    assert seen.due() is Search.NOT_DUE, "it passes"
    seen.later().unserved(times=2).later()
    assert seen.due_alone() is Search.DUE
    for route in (SPLIT, TLSREC, BOTH):
        assert seen.next_alone() == route
        seen.tried_alone(route, RungResult.REJECTED if route == BOTH else RungResult.FAILED)
    assert seen.held().rungs_failed == ()
    assert seen.rungs() == (SPLIT,)
    assert seen.next_alone() == SMALL
    seen.tried_alone(SMALL, RungResult.PASSED)
    assert (seen.held().last_good, seen.rungs()) == ("direct|tlsrec-by-4", (SMALL,))


def test_alone_none_against_a_freeze() -> None:
    seen = Visitor().froze()
    seen.later().carried()
    assert seen.due() is Search.DUE
    seen.over()
    seen.unserved(times=2).later()
    assert seen.due_alone() is Search.NOT_DUE


def test_alone_the_hosts_are_few_and_are_forgotten() -> None:
    seen = Visitor().unserved(times=2).later()
    seen.beliefs.forget(HOST)
    assert seen.due_alone() is Search.NOT_DUE
    seen.tried_alone(SMALL, RungResult.PASSED)
    assert seen.state() is State.UNKNOWN
    for number in range(UNSERVED_MAX + 5):
        seen.learn(outcome(failed(), host=f"www.site{number}.test", at=seen.now - 0.2))
    assert len(seen.beliefs._state.unserved) <= UNSERVED_MAX


# -- and dropped -------------------------------------------------------------------------------------------------------


def passing() -> Visitor:
    """Three blocked hosts; one strategy passes for the first."""
    seen = Visitor()
    for host in AT:
        seen.blocked(host)
    seen.later()
    seen.tried(SPLIT, RungResult.PASSED)
    return seen


def _fails(seen: Visitor, host: str, how: str) -> None:
    if how == "in a visit":
        rung = replace(failed(route=SPLIT), address=AT[host])
        seen.learn(outcome(rung, delivered(TOR), host=host, at=seen.now))
    else:
        _breaks(seen, host)
        seen.beliefs.learn(Carried(host, TOR, 70_000), network=HOME, now=seen.now)


def _breaks(seen: Visitor, host: str, route: Route = SPLIT, *others: Route, symptom: Symptom = Symptom.FROZEN) -> None:
    attempt = failed(symptom, Stage.DONE, route=route)
    seen.beliefs.learn(StrategyBroke(host, attempt, others), network=HOME, now=seen.now)


@each_row("how", ["in a visit", "in a transfer"])
def test_one_that_fails_for_two_hosts_is_left_for_all(how: str) -> None:
    seen = passing()
    seen.later()
    _fails(seen, B, how)
    assert seen.held(B).rungs_failed == ("direct|split",)
    assert seen.rungs() == seen.rungs(C) == (SPLIT,)
    _fails(seen, C, how)
    assert seen.rungs() == ()
    assert seen.held().last_good == "direct|split", "where it passes it is used on"


def test_a_transfer_that_stopped_says_nothing_until_a_relay_has_carried_more() -> None:
    seen = passing()
    for host in (B, C):
        _breaks(seen, host)
        assert seen.planned(host) == ("direct|split",), "so that a relay is tried"
        assert seen.held(host).rungs_failed == ()
    seen.later(119)
    assert seen.planned(B) == ("direct|split",)
    seen.later(1)
    assert seen.planned(B) == ()
    seen.beliefs.learn(Carried(B, TOR, 70_000), network=HOME, now=seen.now + 1)
    assert seen.held(B).rungs_failed == ()
    assert seen.rungs(C) == (SPLIT,)


def test_too_little_by_a_relay_says_nothing_yet() -> None:
    seen = passing()
    _breaks(seen, B)
    for count, fails in ((1000, ()), (70_000, ("direct|split",))):
        seen.beliefs.learn(Carried(B, TOR, count), network=HOME, now=seen.now)
        assert seen.held(B).rungs_failed == fails


def test_strategies_that_were_not_in_use_are_left_for_the_host_alone() -> None:
    seen = passing()
    for host in (B, C):
        _breaks(seen, host, TLSREC, SPLIT)
        seen.beliefs.learn(Carried(host, TOR, 70_000), network=HOME, now=seen.now)
        assert seen.held(host).rungs_failed == ("direct|tlsrec", "direct|split")
    assert seen.rungs() == (SPLIT,), "nobody saw it fail"


def test_without_a_relay_to_compare_with_a_broken_transfer_is_no_evidence_for_other_hosts() -> None:
    seen = passing()
    for host in (B, C):
        seen.beliefs.learn(StrategyTried(host, SPLIT, ok=False), network=HOME, now=seen.now)
        assert seen.held(host).rungs_failed == ("direct|split",)
    assert seen.rungs() == (SPLIT,)


def test_a_failure_in_the_residual_window_drops_nothing() -> None:
    seen = passing()
    seen.later()
    for host in (B, C):
        seen.beliefs.note(FlightBroken(AT[host], host), network=HOME, now=seen.now)
        _fails(seen, host, "in a visit")
    assert seen.rungs() == (SPLIT,)


def test_the_echo_of_the_plain_hello_drops_nothing() -> None:
    seen = passing()
    seen.later()
    plain: Attempt = replace(failed(), address=AT[B])
    seen.learn(outcome(plain, replace(failed(route=SPLIT), address=AT[B]), delivered(TOR), host=B, at=seen.now))
    assert seen.rungs() == (SPLIT,)


@each_row(
    ("relay_s", "rung_s", "is_dropped"),
    [
        (0.3, (0.9, 0.9, 0.9), True),
        (0.3, (0.9, 0.9), False),  # too few
        (0.3, (0.9, 0.5, 0.9), False),  # one is fast
        (0.3, (0.7, 0.7, 0.7), False),  # twice as slow, but not by half a second
        (1.0, (1.7, 1.7, 1.7), False),  # slower by half a second, but not twice
        (0.0, (5.0, 5.0, 5.0), False),  # no relay to compare with
    ],
)
def test_one_that_makes_visits_slower_than_a_relay_is_dropped(
    relay_s: float, rung_s: tuple[float, ...], is_dropped: bool
) -> None:
    seen = passing()
    for host in (HOST, B):
        seen.beliefs._state.fares.clear()
        if relay_s:
            seen.by(TOR, relay_s, host)
        for elapsed in rung_s:
            seen.by(SPLIT, elapsed, host)
        assert (seen.held(host).rungs_failed == ("direct|split",)) is is_dropped
    assert seen.rungs(C) == (() if is_dropped else (SPLIT,))


def test_times_of_different_strategies_are_not_joined() -> None:
    seen = passing()
    seen.by(TOR, 0.3)
    for route in (SPLIT, TLSREC, SPLIT, TLSREC):
        seen.by(route, 5.0)
    assert seen.held().rungs_failed == ()


# -- forgetting --------------------------------------------------------------------------------------------------------


@each_row("how", ["clock", "network", "all"])
def test_it_is_forgotten_with_the_network_and_when_the_clock_is_set(how: str) -> None:
    seen = passing()
    assert seen.rungs(C)
    if how == "clock":
        seen.later(-7200)
        seen.beliefs.learn(DirectDelivered(OTHER), network=HOME, now=seen.now)
    else:
        seen.beliefs.forget(None, HOME if how == "network" else None)
    assert seen.rungs(C) == ()
