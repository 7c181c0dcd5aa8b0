"""Doubted pages: what makes one, what a comparison teaches, and what a doubted page does not show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.events import ComputerResumed, PageCompared, PageDoubted, Retested
from proxy.model import (
    Cause,
    ConnectivityResult,
    Evidence,
    NetworkId,
    NetworkState,
    PageDoubt,
    Protocol,
    Route,
    State,
    Symptom,
)
from tests.detect.seen import OTHER, Seen
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, outcome, restrict
from tests.support.rows import each_row

SETTINGS = DetectTuning()
MARK, ANOTHER = 7, 8
AT = "192.0.2.1:80"
HOSTCASE = Route(wrap=("hostcase",))


def doubt(seen: Seen, host: str, mark: int = MARK, at: str = AT, *, network: NetworkId = HOME) -> PageDoubt | None:
    return seen.beliefs.page_doubt(host, mark, at, network=network, now=seen.now)


def shown(seen: Seen, host: str = HOST, doubt: PageDoubt | None = PageDoubt.SHARED) -> None:
    """Direct delivered a page over plain HTTP just now."""
    evidence: Evidence = {"status": 200}
    if doubt is not None:
        evidence["doubt"] = doubt
    attempt = replace(delivered(), evidence=evidence, address=AT)
    seen.learn(outcome(attempt, host=host, at=seen.now - 0.1, protocol=Protocol.HTTP, port=80))


def compared(
    seen: Seen,
    host: str = HOST,
    doubt: PageDoubt = PageDoubt.SHARED,
    other: Route = TOR,
    *,
    is_unlike: bool = True,
) -> None:
    seen.beliefs._state.compared_pages[HOME, host] = seen.now  # as `page_check_due` claims it
    event = PageCompared(host, MARK, AT, seen.now - 0.1, doubt, other, is_unlike)
    seen.changes += seen.beliefs.learn(event, network=HOME, now=seen.now)


# -- what is doubted ---------------------------------------------------------------------------------------------------


def test_the_page_of_an_unrelated_site_is_doubted() -> None:
    seen = Seen()
    assert doubt(seen, HOST) is None
    assert doubt(seen, HOST) is None, "it comes again"
    assert doubt(seen, "www.blog.example.org") is None, "a host of the same domain"
    assert doubt(seen, OTHER, ANOTHER) is None
    assert doubt(seen, OTHER) is PageDoubt.SHARED
    assert doubt(seen, HOST) is PageDoubt.SHARED, "and so it is for the first one from now on"
    for number in range(5):
        assert doubt(seen, f"site{number}.test") is PageDoubt.SHARED
    assert doubt(seen, HOST) is PageDoubt.SHARED


def test_on_another_network_or_a_day_later_it_is_another_matter() -> None:
    seen = Seen()
    doubt(seen, HOST)
    assert doubt(seen, OTHER, network=AWAY) is None
    seen.after(SETTINGS.known_s + 1)
    assert doubt(seen, OTHER) is None


def test_a_page_from_an_address_to_which_a_lie_has_led_is_doubted() -> None:
    seen = Seen()
    seen.rescued(OTHER, Symptom.EOF, address="192.0.2.66:443", evidence={"dns": "dns_mismatch"})
    assert doubt(seen, HOST, at="192.0.2.66:80") is PageDoubt.ADDRESS
    assert doubt(seen, HOST, at="192.0.2.67:80") is None
    assert doubt(seen, OTHER, at="192.0.2.66:80", mark=ANOTHER) is None, "its own address"


def test_a_site_of_which_a_measurement_found_another_page_is_doubted_until_it_is_compared() -> None:
    seen = Seen()
    seen.beliefs.note(PageDoubted(HOST), network=HOME, now=seen.now)
    assert doubt(seen, HOST) is PageDoubt.UNLIKE
    assert doubt(seen, OTHER, ANOTHER) is None
    seen.after(SETTINGS.known_s + 1)
    assert doubt(seen, HOST) is None
    seen.beliefs.note(PageDoubted(HOST), network=HOME, now=seen.now)
    compared(seen, is_unlike=False)
    assert doubt(seen, HOST) is None


def test_a_page_that_another_route_shows_as_well_is_the_sites_own() -> None:
    seen = Seen()
    doubt(seen, OTHER)
    assert doubt(seen, HOST) is PageDoubt.SHARED
    compared(seen, is_unlike=False)
    assert doubt(seen, HOST) is None
    assert doubt(seen, OTHER) is PageDoubt.SHARED, "nothing is known of the other site"
    doubt(seen, OTHER, ANOTHER)
    assert doubt(seen, HOST, ANOTHER) is PageDoubt.SHARED, "nor of another page"


# -- when it is compared -----------------------------------------------------------------------------------------------


def due(seen: Seen, host: str = HOST) -> bool:
    return seen.beliefs.page_check_due(host, network=HOME, now=seen.now)


def test_once_a_host_and_day() -> None:
    seen = Seen()
    assert due(seen)
    assert not due(seen)
    assert due(seen, OTHER)
    assert not due(seen.after(86_399))
    assert due(seen.after(1))


def test_not_of_a_site_that_is_known_to_be_blocked_or_while_nothing_may_be_learned() -> None:
    assert not due(Seen().blocked())
    seen = Seen()
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    assert not due(seen)
    assert due(seen.after(SETTINGS.wake_s))


@each_row("state", [NetworkState.RESTRICTED, NetworkState.PORTAL, NetworkState.INSPECTED])
def test_not_where_auto_uses_no_relay_by_itself(state: NetworkState) -> None:
    seen = Seen()
    match state:
        case NetworkState.RESTRICTED:
            restrict(seen.beliefs, now=seen.now)
        case NetworkState.PORTAL:
            seen.on_control_answer(ConnectivityResult.PORTAL)
        case NetworkState.INSPECTED:
            for number in range(3):
                seen.on_control_answer(ConnectivityResult.RESIGNED, f"control{number}.test", issuer="office")
    assert seen.beliefs.network_state(HOME) is state
    assert not due(seen)


# -- what a comparison teaches -----------------------------------------------------------------------------------------


def test_a_page_that_unrelated_sites_show_and_a_relay_does_not_is_a_block_page() -> None:
    seen = Seen()
    shown(seen)
    seen.works()
    compared(seen)
    belief = seen.held()
    assert (belief.state, belief.cause, belief.last_good) == (State.SUSPECT, Cause.BLOCK_PAGE, "tor")
    assert belief.score == pytest.approx(SETTINGS.weights.http_same_page)
    assert belief.why == (
        "direct brought a page that unrelated sites show as well, and tor one that has nothing in common with it "
        "(http_same_page, weight 5)"
    )
    seen.after(130)
    seen.works()
    seen.beliefs.learn(Retested(HOST, direct_ok=False, other_ok=True), network=HOME, now=seen.now)
    assert seen.state() is State.BLOCKED


@each_row("sign", [PageDoubt.UNLIKE, PageDoubt.ADDRESS])
def test_by_another_sign_it_weighs_less(sign: PageDoubt) -> None:
    seen = Seen()
    seen.works()
    compared(seen, doubt=sign)
    assert seen.state() is State.SUSPECT
    assert seen.held().score == pytest.approx(SETTINGS.weights.http_differs)
    assert seen.held().why.startswith("direct brought a page, and tor one that has")


def test_the_strategy_that_brought_another_page_goes_first_from_now_on() -> None:
    seen = Seen()
    seen.works()
    compared(seen, other=HOSTCASE)
    assert seen.held().last_good == "direct|hostcase"


def test_it_counts_once_another_site_is_reached_and_the_next_visit_does_not_wait_for_it() -> None:
    seen = Seen()
    compared(seen)
    assert (seen.state(), seen.held().score, seen.held().last_good) == (State.SUSPECT, 0.0, "tor")
    assert seen.after(1).wants_a_control()
    seen.works()
    assert seen.held().score == pytest.approx(SETTINGS.weights.http_same_page)


def test_a_portal_that_shows_its_page_for_all_sites_makes_none_suspect() -> None:
    seen = Seen()
    shown(seen)
    compared(seen)
    shown(seen, OTHER)  # the same page: no control
    assert seen.held().score == 0.0
    seen.after(1).on_control_answer(ConnectivityResult.PORTAL)
    assert seen.state() is not State.SUSPECT
    seen.after(1).works()
    assert seen.state() is not State.SUSPECT


def test_a_comparison_that_finds_the_same_page_teaches_nothing_else() -> None:
    seen = Seen()
    seen.works()
    shown(seen)
    compared(seen, is_unlike=False)
    assert seen.changes == []
    assert seen.state() is State.WORKS


def test_nothing_is_learned_of_the_local_network_or_while_the_network_is_at_fault() -> None:
    seen = Seen(near=[HOST])
    compared(seen)
    assert seen.state() is not State.SUSPECT
    seen = Seen()
    restrict(seen.beliefs, now=seen.now)
    compared(seen)
    assert seen.state() is not State.SUSPECT


# -- what a doubted page does not show ---------------------------------------------------------------------------------


def test_a_doubted_page_does_not_end_a_block_by_pages() -> None:
    seen = Seen()
    seen.works()
    compared(seen)
    score = seen.held().score
    shown(seen.after(70))
    assert seen.state() is State.SUSPECT
    assert seen.held().score == score
    shown(seen.after(70), doubt=None)
    assert seen.state() is not State.BLOCKED
    assert seen.held().score < score / 2, "one that is not doubted does"


def test_a_doubted_page_of_a_site_that_is_known_to_work_is_read_as_a_whole() -> None:
    seen = Seen()
    seen.works(HOST)
    seen.after(1)
    attempt = replace(delivered(), evidence={"status": 200, "doubt": PageDoubt.SHARED})
    assert seen.beliefs.works_again(HOST, attempt, network=HOME, now=seen.now) is None
    plain = replace(delivered(), evidence={"status": 200})
    assert seen.beliefs.works_again(HOST, plain, network=HOME, now=seen.now) == []


@each_row("sign", [PageDoubt.SHARED, None])
def test_a_doubted_page_is_no_control_for_another_site(sign: PageDoubt | None) -> None:
    """Neither for one that failed before, nor for one that was under way."""
    seen = Seen()
    seen.rescued()
    shown(seen.after(1), OTHER, sign)
    assert bool(seen.held().score) is (sign is None)
    seen = Seen()
    shown(seen, OTHER, sign)
    seen.rescued()
    assert bool(seen.held().score) is (sign is None)


def test_what_is_remembered_is_forgotten_with_its_host_and_when_the_network_is_left() -> None:
    seen = Seen()
    doubt(seen, HOST)
    seen.beliefs.forget(HOST)
    assert doubt(seen, OTHER) is None
    assert due(seen)
    seen.beliefs.forget(HOST)
    assert due(seen)


def test_of_a_host_that_is_forgotten_meanwhile_nothing_is_learned() -> None:
    seen = Seen()
    seen.works()
    assert due(seen)
    seen.beliefs.forget(HOST)
    event = PageCompared(HOST, MARK, AT, seen.now, PageDoubt.SHARED, TOR, is_unlike=True)
    assert seen.beliefs.learn(event, network=HOME, now=seen.now) == []
    assert seen.state() is State.UNKNOWN
