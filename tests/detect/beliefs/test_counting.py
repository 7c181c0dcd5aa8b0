"""Which evidence counts, and when: the control gate, echoes, and what is shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.detect.beliefs import counting
from proxy.detect.beliefs.events import (
    CertificateAccepted,
    ComputerResumed,
    DirectDelivered,
    NetworkLeft,
    PortalSuspected,
    Retested,
)
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    ConnectivityResult,
    Evidence,
    NetworkState,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from tests.detect.seen import CONTROL, OTHER, Seen
from tests.detect.world import over
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, failed, outcome, pending
from tests.support.rows import each_row

NOW = 1_700_000_000.0

# -- control gate ------------------------------------------------------------------------------------------------------


def test_G1_nobody_else_heard_is_no_evidence_and_still_a_rescue() -> None:
    seen = Seen()
    for _ in range(20):
        seen.rescued()
        assert (seen.held().state, seen.held().score, seen.held().cause) == (State.SUSPECT, 0.0, "sni_reset")
        assert "until another site works" in seen.held().why
        seen.after(100)

    assert seen.after(25).state() is State.UNKNOWN


def test_G1_another_site_since_the_flight_was_sent_is() -> None:
    seen = Seen()
    seen.works()
    seen.after(0.3).rescued()  # its flight went out later
    assert seen.held().score == 0.0
    seen.after(61).rescued()
    seen.after(2).works()

    assert seen.held().score == 2.0
    assert "tls_reset, weight 2" in seen.held().why


def test_G1_each_signal_of_a_connection_counts_once() -> None:
    """Also if the same one came twice, and once more is known of the connection."""
    beliefs = over(counting)
    seen = outcome(failed(), failed(), delivered(TOR))
    assert len(beliefs.uncounted_signals(seen, (HOME, HOST), NOW)) == 2
    assert beliefs.uncounted_signals(seen, (HOME, HOST), NOW) == []
    more = replace(seen, attempts=(*seen.attempts, failed()))
    assert len(beliefs.uncounted_signals(more, (HOME, HOST), NOW)) == 1


def test_G1_a_flight_that_came_late_was_sent_late() -> None:
    seen = Seen()
    opened_at = seen.now
    seen.after(30).works()
    seen.after(30)
    late = replace(outcome(failed(), delivered(TOR), at=opened_at), flight_at=seen.now - 0.2)
    seen.learn(late)
    assert seen.held().score == 0.0

    seen.works()
    assert seen.held().score == 2.0


@pytest.mark.parametrize(("later_s", "score"), [(0.1, 2.0), (9.9, 2.0), (10.1, 0.0)])
def test_G1_a_signal_waits_ten_seconds(later_s: float, score: float) -> None:
    seen = Seen()
    seen.rescued()
    seen.after(later_s).works()

    assert seen.held().score == score


def test_G1_a_site_says_nothing_of_its_siblings_and_nothing_of_another_network() -> None:
    seen = Seen()
    seen.rescued()
    seen.works("other.example.org")
    seen.works(OTHER, network=AWAY)
    assert seen.held().score == 0.0

    seen.works(OTHER)
    assert seen.held().score == 2.0


def test_G1_a_site_that_waits_is_no_control_page_for_itself() -> None:
    seen = Seen()

    def may_be(*hosts: str) -> list[bool]:
        return [seen.beliefs.may_be_control(host, network=HOME, now=seen.now) for host in hosts]

    assert may_be(HOST, "www.example.org", OTHER) == [True, True, True]
    seen.rescued()
    assert may_be(HOST, "www.example.org", OTHER) == [False, False, True]
    seen.works()
    assert may_be(HOST, "www.example.org", OTHER) == [False, True, True]


def test_G1_relays_say_nothing_and_local_means_do() -> None:
    seen = Seen()
    seen.rescued()
    seen.learn(outcome(delivered(TOR), host=OTHER, at=seen.now))
    assert seen.held().score == 0.0

    seen.learn(outcome(delivered(Route((), ("tlsrec",))), host=OTHER, at=seen.now))
    assert seen.held().score == 2.0


def test_G1_the_first_visit_to_a_host_of_our_own_network_says_nothing() -> None:
    seen = Seen(near=["192.168.1.10"])
    seen.rescued()
    seen.after(1).works("192.168.1.10")
    assert seen.held().score == 0.0

    seen.works()
    assert seen.held().score == 2.0


@pytest.mark.parametrize("late", [False, True])
def test_G1_what_is_on_our_own_network_says_nothing(late: bool) -> None:
    """By a visit, by the next ones on the short way, by a tunnel that goes on, or in a re-test."""
    nas = "192.168.1.10"
    seen = Seen(near=[nas])
    seen.works(nas)
    if late:
        seen.learn(outcome(pending(), delivered(TOR), host=nas, at=seen.now))
        seen.learn(outcome(replace(delivered(), elapsed=2.0), delivered(TOR), winner=TOR, host=nas, at=seen.now))
    for _ in range(3):
        seen.after(1).rescued()
        seen.after(0.5).works(nas)
        seen.after(0.5).works(nas)
        seen.beliefs.learn(DirectDelivered(nas), network=HOME, now=seen.now)
        seen.beliefs.learn(Retested(nas, direct_ok=True, other_ok=True), network=HOME, now=seen.now)
    assert (seen.held(nas).state, seen.held().score) == (State.WORKS, 0.0)

    seen.works(OTHER)
    assert seen.held().score == 2.0


def test_nor_that_the_machine_is_online_again() -> None:
    nas = "192.168.1.10"
    seen = Seen(near=[nas])
    seen.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host=HOST, at=seen.now))
    seen.works(nas)
    assert seen.beliefs.network_state(HOME) is NetworkState.OFFLINE


def test_G1_a_host_that_works_once_more_opens_it_for_others() -> None:
    """On the short way too, where a success costs one look-up."""
    seen = Seen()
    seen.works()
    seen.after(5).works()
    seen.after(5).rescued()
    seen.after(5).works()

    assert seen.held().score == 2.0


def test_G1_a_tunnel_that_brings_bytes_is_enough() -> None:
    seen = Seen()
    seen.rescued()
    (change,) = seen.beliefs.learn(DirectDelivered(OTHER), network=HOME, now=seen.after(1).now)

    assert (change.before, change.after, change.scope) == (State.SUSPECT, State.SUSPECT, HOST)
    assert seen.state(OTHER) is State.UNKNOWN  # it was no visit


def test_G1_what_waited_counts_once() -> None:
    seen = Seen()
    seen.rescued()
    for _ in range(5):
        seen.after(1).works()

    assert (seen.held().score, seen.held().episodes) == (2.0, 1)


def test_G1_the_host_answered_after_all() -> None:
    seen = Seen()
    seen.rescued()
    seen.after(3).works(HOST)
    seen.after(1).works()

    assert seen.held().score == 0.0


# -- controls ----------------------------------------------------------------------------------------------------------


def test_a_control_is_wanted_while_a_signal_waits_once_a_minute() -> None:
    seen = Seen()
    assert not seen.wants_a_control()
    seen.rescued()
    assert seen.after(1).wants_a_control()
    assert not seen.after(1).wants_a_control()
    seen.after(57).rescued()
    assert not seen.after(0.9).wants_a_control()
    assert seen.after(1.2).wants_a_control()


def test_none_is_wanted_when_the_users_own_traffic_has_answered() -> None:
    seen = Seen()
    seen.rescued()
    seen.after(0.5).works()

    assert not seen.after(0.5).wants_a_control()


@pytest.mark.parametrize(
    ("what", "score"),
    [
        (ConnectivityResult.WELL, 2.0),
        (ConnectivityResult.FAILED, 0.0),
        (ConnectivityResult.PORTAL, 0.0),
        (ConnectivityResult.RESIGNED, 2.0),
    ],
)
def test_what_a_control_shows(what: ConnectivityResult, score: float) -> None:
    seen = Seen()
    seen.rescued()
    seen.after(1).on_control_answer(what)

    assert seen.held().score == score


def test_with_the_controls_failing_too_nothing_is_learned() -> None:
    seen = Seen()
    for number in range(30):
        seen.rescued(f"blog{number % 5}.livejournal.test", Symptom.DROPPED)
        if seen.after(1).wants_a_control():
            seen.on_control_answer(ConnectivityResult.FAILED)
        seen.after(30)
    seen.after(130)

    assert seen.beliefs.all(now=seen.now) == []
    assert all(change.after in (State.SUSPECT, State.UNKNOWN) for change in seen.changes)


@pytest.mark.parametrize(
    "void",
    [
        lambda seen: seen.beliefs.learn(NetworkLeft(), network=HOME, now=seen.now),
        lambda seen: seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now),
    ],
    ids=["another network", "a sleep"],
)
def test_what_waits_is_void_on_another_network_and_after_a_sleep(void: Callable[[Seen], object]) -> None:
    seen = Seen()
    seen.rescued()
    void(seen)
    seen.after(1).works()

    assert seen.held().score == 0.0


def test_of_a_network_without_identity_nothing_goes_along_to_the_next() -> None:
    seen = Seen().blocked()
    for _ in range(2):
        seen.after(61).rescued(network=UNKNOWN_NETWORK)
        seen.works(network=UNKNOWN_NETWORK)
    seen.beliefs.note(PortalSuspected(), network=UNKNOWN_NETWORK, now=seen.now)
    assert seen.held(network=UNKNOWN_NETWORK).state is State.BLOCKED

    gone = seen.beliefs.learn(NetworkLeft(), network=HOME, now=seen.now)
    assert [(change.scope, change.network) for change in gone] == [(HOST, UNKNOWN_NETWORK)]
    assert not seen.beliefs.needs_control(UNKNOWN_NETWORK)
    assert (seen.held(network=UNKNOWN_NETWORK).state, seen.state()) == (State.UNKNOWN, State.BLOCKED)
    assert seen.held(OTHER, network=UNKNOWN_NETWORK).state is State.UNKNOWN


def test_F85_nothing_is_learned_in_the_first_seconds_after_waking() -> None:
    seen = Seen()
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    seen.after(2).rescued()
    seen.works()
    assert seen.state() is State.UNKNOWN

    seen.after(9).rescued()
    seen.works()
    assert seen.held().score == 2.0


# -- echoes of a name --------------------------------------------------------------------------------------------------


def test_residual_blocking_condemns_no_other_name() -> None:
    seen = Seen()
    seen.rescued("blocked.example", address="203.0.113.5:443")
    seen.works()
    for _ in range(5):
        seen.after(30).rescued("fine.example.net", address="203.0.113.5:443")
        seen.works()

    assert seen.held("blocked.example").score == 2.0
    assert (seen.state("fine.example.net"), seen.held("fine.example.net").score) == (State.SUSPECT, 0.0)
    assert "residual blocking" in seen.held("fine.example.net").why
    seen.after(121).rescued("fine.example.net", address="203.0.113.5:443")
    seen.works()
    assert seen.held("fine.example.net").score == 2.0


def test_the_name_itself_goes_on_counting() -> None:
    seen = Seen()
    for _ in range(2):
        seen.rescued(address="203.0.113.5:443")
        seen.works()
        seen.after(61)

    assert seen.state() is State.BLOCKED


def test_what_no_name_has_caused_leaves_no_echo() -> None:
    seen = Seen()
    seen.rescued(symptom=Symptom.EOF, address="203.0.113.5:443")

    assert not seen.beliefs.in_residual_window("203.0.113.5", HOME, seen.now)


# -- learning again ----------------------------------------------------------------------------------------------------


def test_what_is_found_out_later_is_new_and_the_rest_is_not() -> None:
    seen = Seen()
    first = seen.rescued()
    seen.works()
    assert (seen.held().cause, seen.held().score) == ("sni_reset", 2.0)

    direct, relay = first.attempts
    more = replace(first, attempts=(replace(direct, evidence={"dns": SignalId.DNS_MISMATCH}), relay))
    seen.after(3).learn(more)
    seen.works()
    assert (seen.held().cause, seen.held().episodes) == ("dns", 1)
    assert seen.held().score == pytest.approx(4.0, abs=0.01)
    seen.after(100).learn(more)
    seen.works()
    assert seen.held().episodes == 1


def test_a_later_judgement_before_a_finding_still_counts() -> None:
    seen = Seen()
    pend = replace(pending(), evidence={"dns": SignalId.DNS_DENIED})
    first = outcome(pend, delivered(TOR), host=HOST, at=seen.now)
    seen.after(1).learn(first)
    seen.works()
    assert (seen.held().cause, seen.held().score) == ("dns", 3.0)

    direct, relay = first.attempts
    judged = replace(first, attempts=(replace(direct, symptom=Symptom.GARBAGE), relay))
    seen.after(70).learn(judged)
    seen.works()
    assert seen.held().episodes == 2


# -- what unrelated sites share ----------------------------------------------------------------------------------------


def _redirected(seen: Seen, host: str, to: str = "warning.provider.example") -> None:
    seen.rescued(host, Symptom.REDIRECTED, evidence={"elsewhere": to}, protocol=Protocol.HTTP)
    seen.works()


def test_three_unrelated_sites_that_lead_to_one_host_are_no_accident() -> None:
    seen = Seen()
    for host in ("a.one.example", "b.one.example", "two.example"):
        _redirected(seen, host)
        assert seen.held(host).score == 1.0
    _redirected(seen, "three.example")

    assert (seen.held("three.example").score, seen.held("three.example").cause) == (5.0, "block_page")


def test_an_hour_later_it_is_one_again() -> None:
    seen = Seen()
    for host in ("one.example", "two.example", "three.example"):
        _redirected(seen, host)
        seen.after(1801)

    assert seen.changes[-1].belief is not None
    assert max(change.belief.score for change in seen.changes if change.belief) == 1.0


def test_a_redirect_that_the_relay_gets_too_is_a_move_and_the_site_works() -> None:
    seen = Seen()
    moved = {"elsewhere": "new.example"}
    direct = replace(failed(Symptom.REDIRECTED), evidence=as_evidence(moved))
    relay = replace(failed(Symptom.REDIRECTED, route=TOR), evidence=as_evidence(moved))
    seen.learn(outcome(direct, relay, winner=DIRECT, host=HOST, at=seen.now, protocol=Protocol.HTTP))

    assert seen.state() is State.WORKS


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_redirect_that_no_relay_got_does_not_end_a_block_by_pages(confirmed: bool) -> None:
    """It was delivered since no relay answered in time: it may be the censor's, as before."""
    seen, led = Seen(), as_evidence({"elsewhere": "warning.provider.example"})
    _redirected(seen, HOST)
    score = seen.after(61).held().score
    relay = replace(failed(Symptom.REDIRECTED, route=TOR), evidence=led) if confirmed else failed(route=TOR)
    direct = replace(delivered(), evidence=led)
    seen.learn(outcome(direct, relay, winner=DIRECT, host=HOST, at=seen.now, protocol=Protocol.HTTP))
    assert seen.state() is (State.WORKS if confirmed else State.SUSPECT)
    assert confirmed or seen.held().score == score


def test_nor_does_it_show_once_the_suspicion_has_lapsed_that_the_site_opens() -> None:
    """Its name stays hidden from the system's resolver."""
    seen = Seen()
    _redirected(seen, HOST)
    assert seen.after(121).state() is State.UNKNOWN
    direct = replace(delivered(), evidence=as_evidence({"elsewhere": "warning.provider.example"}))
    seen.learn(outcome(direct, failed(route=TOR), winner=DIRECT, host=HOST, at=seen.now, protocol=Protocol.HTTP))
    assert (seen.state(), seen.held().hide_name_from_dns) == (State.UNKNOWN, True)


def test_one_address_for_three_unrelated_names_that_resolve_otherwise() -> None:
    seen = Seen()
    for host in ("one.example", "two.example", "three.example"):
        seen.rescued(host, Symptom.GARBAGE, address="198.51.100.1:443", evidence={"dns": SignalId.DNS_MISMATCH})
    seen.works()

    assert "dns_same_ip" in seen.held("three.example").why
    assert "dns_mismatch" in seen.held("two.example").why


# -- the network as a whole --------------------------------------------------------------------------------------------


def state_for(seen: Seen, host: str) -> NetworkState:
    return seen.beliefs.about(host, network=HOME, now=seen.now).network_state


def _allow_list(seen: Seen, *, foreign: int = 2) -> None:
    """Five foreign sites fail, a domestic one answers, and so many foreign controls fail."""
    for number in range(5):
        seen.rescued(f"site{number}.example", Symptom.TIMEOUT, Stage.CONNECT)
        seen.after(2).works("shop.domestic.example")
    for number in range(foreign):
        seen.after(1).on_control_answer(ConnectivityResult.FAILED, f"control{number}.example.com")


def test_a_domestic_only_network_is_restricted_and_no_site_is_blamed() -> None:
    seen = Seen()
    _allow_list(seen)

    assert seen.beliefs.network_state(HOME) is NetworkState.RESTRICTED
    assert seen.beliefs.all(now=seen.now) == []
    assert "restricted" in seen.changes[-1].why
    seen.rescued("site9.example")
    seen.works("shop.domestic.example")
    assert seen.state("site9.example") is State.UNKNOWN
    assert state_for(seen, "shop.domestic.example") is NetworkState.OK
    assert state_for(seen, "site1.example") is NetworkState.RESTRICTED
    seen.after(3601)
    assert state_for(seen, "shop.domestic.example") is NetworkState.RESTRICTED


def test_on_a_restricted_network_a_site_that_failed_direct_is_told_from_one_that_was_not_tried() -> None:
    seen = Seen()
    _allow_list(seen)

    def fails(host: str) -> bool:
        return seen.beliefs.about(host, network=HOME, now=seen.now).fails_direct

    assert fails("www.site1.example"), "any host of a domain that failed"
    assert not fails("bank.example")
    seen.rescued("news.example")
    assert fails("news.example"), "also what fails later"
    seen.works("site1.example")
    assert not fails("site1.example"), "it has delivered since"
    seen.after(3600)
    assert not fails("news.example"), "it is tried again after an hour"


def _in_vain(seen: Seen, times: int) -> None:
    """Direct and the relay both fail, for connections to hosts that nobody knows."""
    for number in range(times):
        relay = failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR)
        seen.after(1).learn(
            outcome(failed(Symptom.TIMEOUT, Stage.CONNECT), relay, host=f"far{number}.example", at=seen.now)
        )


def test_where_no_relay_gets_through_either_the_network_is_shut() -> None:
    seen = Seen()
    _in_vain(seen, 9)  # of no weight once a relay has delivered
    _allow_list(seen)
    _in_vain(seen, 4)
    for _ in range(9):  # a client that leaves says nothing
        seen.learn(outcome(failed(Symptom.ABANDONED, Stage.RELAY, TOR), host="far.example", at=seen.now))
    assert seen.beliefs.network_state(HOME) is NetworkState.RESTRICTED

    _in_vain(seen, 1)
    assert seen.beliefs.network_state(HOME) is NetworkState.SHUT
    assert state_for(seen, "site1.example") is NetworkState.SHUT
    seen.rescued("site9.example")
    assert seen.beliefs.network_state(HOME) is NetworkState.RESTRICTED


def test_where_relays_failed_before_as_well_it_is_shut_at_once() -> None:
    """Else it would be said of five visits more that relays carry other sites."""
    seen = Seen()
    _in_vain(seen, 5)
    seen.works("shop.domestic.example")
    for number in range(2):
        seen.on_control_answer(ConnectivityResult.FAILED, f"control{number}.example.com")
    assert seen.beliefs.network_state(HOME) is NetworkState.SHUT


@each_row("failures", [(5, 0), (4, 1)])
def test_where_relays_failed_long_before_it_is_not_shut(failures: tuple[int, int]) -> None:
    """Others may be in use since."""
    seen = Seen()
    _in_vain(seen, failures[0])
    _in_vain(seen.after(601), failures[1])
    for number in range(5):  # no relay is in the plan of these
        seen.learn(outcome(failed(Symptom.TIMEOUT, Stage.CONNECT), host=f"site{number}.example", at=seen.now))
    seen.works("shop.domestic.example")
    for number in range(2):
        seen.on_control_answer(ConnectivityResult.FAILED, f"control{number}.example.com")
    assert seen.beliefs.network_state(HOME) is NetworkState.RESTRICTED


def test_one_that_is_shut_stays_so_until_a_relay_delivers() -> None:
    seen = Seen()
    _allow_list(seen)
    _in_vain(seen, 5)
    _in_vain(seen.after(3600), 1)
    assert seen.beliefs.network_state(HOME) is NetworkState.SHUT


def test_a_relay_that_direct_overtakes_did_not_get_through() -> None:
    seen = Seen()
    _allow_list(seen)
    overtaken = failed(Symptom.ABANDONED, Stage.RELAY, TOR)
    for number in range(5):
        seen.after(1).learn(outcome(overtaken, delivered(), host=f"shop{number}.domestic.example", at=seen.now))
    assert seen.beliefs.network_state(HOME) is NetworkState.SHUT


def test_a_shut_network_opens_as_a_restricted_one_does() -> None:
    seen = Seen()
    _allow_list(seen)
    _in_vain(seen, 5)
    assert seen.after(61).wants_a_control()
    for _ in range(2):
        seen.on_control_answer(ConnectivityResult.WELL)
    assert seen.beliefs.network_state(HOME) is NetworkState.OK


def test_what_local_means_bring_is_not_kept_back_by_the_network() -> None:
    """A dead resolver of the provider's, say."""
    seen = Seen()
    for number in range(5):
        seen.rescued(f"site{number}.example", Symptom.RESOLVE_FAILED, Stage.RESOLVE, by=Route((), ("doh",)))
    for number in range(2):
        seen.on_control_answer(ConnectivityResult.FAILED, f"control{number}.example.com")

    assert seen.beliefs.network_state(HOME) is NetworkState.OK


def test_the_fifth_domain_may_be_the_last_to_fail() -> None:
    seen = Seen()
    for number in range(2):
        seen.on_control_answer(ConnectivityResult.FAILED, f"control{number}.example.com")
    _allow_list(seen, foreign=0)

    assert seen.beliefs.network_state(HOME) is NetworkState.RESTRICTED
    assert seen.beliefs.all(now=seen.now) == []


def test_one_failing_control_makes_no_restricted_network() -> None:
    seen = Seen()
    _allow_list(seen, foreign=1)
    assert seen.beliefs.network_state(HOME) is NetworkState.OK

    seen.on_control_answer(ConnectivityResult.WELL, "control9.example.com")
    seen.on_control_answer(ConnectivityResult.FAILED, "control1.example.com")
    assert seen.beliefs.network_state(HOME) is NetworkState.OK


def test_a_restricted_network_opens_when_a_foreign_control_passes_twice() -> None:
    seen = Seen()
    _allow_list(seen)
    assert seen.after(61).wants_a_control()
    seen.on_control_answer(ConnectivityResult.WELL, "shop.domestic.example", domestic=True)
    seen.on_control_answer(ConnectivityResult.WELL)
    seen.on_control_answer(ConnectivityResult.FAILED)
    seen.on_control_answer(ConnectivityResult.WELL)
    assert seen.beliefs.network_state(HOME) is NetworkState.RESTRICTED

    seen.on_control_answer(ConnectivityResult.WELL)
    assert seen.beliefs.network_state(HOME) is NetworkState.OK
    seen.rescued()
    seen.works()
    assert seen.held().score == 2.0


def test_behind_a_portal_nothing_is_learned_until_a_client_takes_a_certificate() -> None:
    seen = Seen()
    seen.rescued()
    seen.on_control_answer(ConnectivityResult.PORTAL)
    assert seen.beliefs.network_state(HOME) is NetworkState.PORTAL
    assert seen.state() is State.UNKNOWN
    seen.rescued()
    seen.learn(outcome(delivered(), host="login.example", at=seen.now, protocol=Protocol.HTTP))
    assert (seen.state(), seen.beliefs.network_state(HOME)) == (State.UNKNOWN, NetworkState.PORTAL)

    seen.works()  # a login page answers a ClientHello as well as anybody
    assert seen.beliefs.network_state(HOME) is NetworkState.PORTAL
    seen.beliefs.note(CertificateAccepted(), network=HOME, now=seen.now)
    assert seen.beliefs.network_state(HOME) is NetworkState.OK


@pytest.mark.parametrize("delivers", [False, True])
def test_a_redirect_that_no_relay_gets_asks_for_a_control(delivers: bool) -> None:
    led: Evidence = {"elsewhere": "login.example", "status": 302}
    symptom = Symptom.NONE if delivers else Symptom.REDIRECTED
    direct = replace(delivered() if delivers else failed(Symptom.REDIRECTED), evidence=led, symptom=symptom)
    for relays, wanted in (([], True), ([replace(failed(Symptom.REDIRECTED, route=TOR), evidence=led)], False)):
        seen = Seen()
        seen.works(HOST)
        seen.learn(outcome(direct, *relays, winner=DIRECT, host=HOST, at=seen.now, protocol=Protocol.HTTP))
        assert seen.beliefs.needs_control(HOME) == wanted
        assert seen.wants_a_control() == wanted
        assert not seen.after(61).wants_a_control(), "asked once"


def test_F80_offline_until_anything_delivers() -> None:
    seen = Seen()
    seen.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host=HOST, at=seen.now))
    assert seen.beliefs.network_state(HOME) is NetworkState.OFFLINE
    seen.learn(outcome(delivered(TOR), host=HOST, at=seen.now))

    assert seen.beliefs.network_state(HOME) is NetworkState.OK


def test_F80_it_stays_offline_when_that_was_seen_before_the_network_was_left() -> None:
    """Neither the network that was left is offline then, nor another one that follows."""
    seen, here = Seen(), UNKNOWN_NETWORK
    states = {here: NetworkState.OFFLINE, HOME: NetworkState.OK, AWAY: NetworkState.OK}
    seen.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host=HOST, at=seen.now))
    seen.beliefs.learn(NetworkLeft(HOME), network=here, now=seen.now)
    assert {network: seen.beliefs.network_state(network) for network in states} == states
    seen.beliefs.learn(NetworkLeft(here), network=AWAY, now=seen.now)
    assert all(seen.beliefs.network_state(network) is NetworkState.OK for network in states)


@pytest.mark.parametrize(
    ("symptom", "offline"), [(Symptom.RESOLVE_FAILED, True), (Symptom.NO_NAME, False), (Symptom.FORGED, False)]
)
def test_F80_a_resolver_on_this_machine_does_not_hide_that_it_is_offline(symptom: Symptom, offline: bool) -> None:
    seen = Seen()
    securely = failed(Symptom.OFFLINE, Stage.RESOLVE, Route(wrap=("doh",)))
    seen.learn(outcome(failed(symptom, Stage.RESOLVE), securely, host=HOST, at=seen.now))

    assert (seen.beliefs.network_state(HOME) is NetworkState.OFFLINE) == offline


def test_a_literal_of_a_family_that_the_machine_lacks_is_no_lack_of_network() -> None:
    seen = Seen()
    seen.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), host="2001:db8::1", at=seen.now))

    assert seen.beliefs.network_state(HOME) is NetworkState.OK


def test_the_control_page_is_never_the_suspects_own_proof() -> None:
    seen = Seen()
    seen.rescued(CONTROL)
    seen.after(1).on_control_answer(ConnectivityResult.WELL, CONTROL)

    assert seen.held(CONTROL).score == 0.0


# -- who knows better --------------------------------------------------------------------------------------------------


def refining(weight: float, cause: str = "sni_reset") -> tuple[Seen, list[str]]:
    """What is seen under somebody who gives every signal this weight and cause, and the hosts that were asked about."""
    asked: list[str] = []

    def refine(seen: Outcome, signal: Signal) -> Signal:
        asked.append(f"{seen.host or seen.request.destination.host} {signal.id} {signal.weight:g}")
        return replace(signal, weight=weight, cause=cause)

    return Seen(refine=refine), asked


def test_a_signal_counts_as_it_was_weighed() -> None:
    seen, asked = refining(1.25, "ip")
    seen.rescued()
    seen.works()
    assert (seen.held().score, seen.held().cause) == (1.25, "ip")
    assert asked == [f"{HOST} tls_reset 2"]


def test_one_that_weighs_nothing_does_not_count() -> None:
    seen, asked = refining(0)
    seen.rescued()
    seen.works()
    assert seen.held().score == 0.0
    assert len(asked) == 1


def test_what_has_counted_is_weighed_once() -> None:
    seen, asked = refining(1.0)
    told = outcome(failed(), delivered(TOR), at=seen.now)
    seen.learn(told)
    seen.learn(told)
    assert len(asked) == 1
