"""The word for a site: a table of what is stored, what came last, the network and the relays that work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.detect.relay_health import WORKED_S
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source, port_state, site_state, status_of
from proxy.model import Belief, NetworkState, State
from tests.support.outcomes import HOME
from tests.support.rows import each_row

AT = 1000.0
UNKNOWN = Belief("site.test", HOME)
WORKS = Belief("site.test", HOME, State.WORKS, since=AT)
SUSPECT = Belief("site.test", HOME, State.SUSPECT, "sni_reset", since=AT, signal_at=AT, why="reset")
BLOCKED = Belief("site.test", HOME, State.BLOCKED, "sni_reset", since=AT, signal_at=AT, why="reset")
DOWN = Belief("site.test", HOME, State.DOWN, "down", since=AT)


def last(status: SiteStatus, at: float = AT + 60, **more: object) -> LastResult:
    return LastResult(status, at, Source.CONNECTION, text="what was seen", **more)  # type: ignore[arg-type]


@each_row(
    ("state", "cause", "text"),
    [
        (State.UNKNOWN, "", "not tested"),
        (State.WORKS, "", "works"),
        (State.WORKS, "throttled", "works"),
        (State.SUSPECT, "sni_reset", "likely blocked"),
        (State.BLOCKED, "sni_reset", "blocked"),
        (State.SUSPECT, "throttled", "slow"),
        (State.BLOCKED, "frozen", "slow"),
        (State.SUSPECT, "interception", "intercepted"),
        (State.BLOCKED, "interception", "intercepted"),
        (State.DOWN, "down", "not tested"),
        (State.REFUSED, "refused", "refuses this route"),
        (State.SUSPECT, "refused", "refuses this route"),
    ],
)
def test_the_words_for_what_is_stored(state: State, cause: str, text: str) -> None:
    assert status_of(state, cause) == text


def test_each_word_has_a_glyph_as_the_specification_of_words_has_it() -> None:
    glyphs = {str(status): status.glyph for status in SiteStatus}
    assert glyphs == {
        "works": "✓",
        "blocked": "✗",
        "likely blocked": "~",
        "intercepted": "↯",
        "slow": "◔",
        "no such name": "?",
        "does not resolve": "?",
        "bad certificate": "⚠",
        "site down": "↓",
        "does not open": "∅",
        "refuses this route": "⊘",
        "relays fail": "!",
        "no network": "–",
        "portal": "–",
        "not reachable on this network": "⌂",
        "not tested": "·",
    }


@each_row("held", [UNKNOWN, WORKS, SUSPECT, BLOCKED, DOWN])
@each_row(("network", "word"), [(NetworkState.OFFLINE, "no network"), (NetworkState.PORTAL, "portal")])
def test_offline_or_behind_a_portal_nothing_is_said_of_a_site(held: Belief, network: NetworkState, word: str) -> None:
    assert site_state(held, last(SiteStatus.SITE_DOWN), network).status == word


@pytest.mark.parametrize("network", [NetworkState.OK, NetworkState.RESTRICTED, NetworkState.INSPECTED])
def test_a_site_that_failed_a_minute_ago_is_not_untested(network: NetworkState) -> None:
    shown = site_state(UNKNOWN, last(SiteStatus.RELAYS_FAIL, cause="relays"), network)
    assert (shown.status, shown.cause, shown.text, shown.found_at) == (
        "relays fail",
        "relays",
        "what was seen",
        AT + 60,
    )


@each_row("status", list(SiteStatus))
def test_a_newer_result_decides_over_what_is_stored(status: SiteStatus) -> None:
    without = (SiteStatus.NOT_TESTED, SiteStatus.DOES_NOT_OPEN)  # a conclusion
    is_over = status in (*without, SiteStatus.NO_NETWORK, SiteStatus.PORTAL)
    expected = "blocked" if is_over else status
    assert site_state(BLOCKED, last(status)).status == expected
    assert site_state(BLOCKED, last(status, at=AT - 1)).status == "blocked", "an older one does not"


@each_row("network", NetworkState)
def test_what_is_at_home_does_not_depend_on_what_is_beyond(network: NetworkState) -> None:
    for held in (UNKNOWN, WORKS, BLOCKED, DOWN):
        assert site_state(held, last(SiteStatus.NOT_REACHABLE), network).status == "not reachable on this network"


def test_a_relay_that_delivered_since_makes_the_stored_status_the_newer_one() -> None:
    held = Belief("site.test", HOME, State.SUSPECT, "ip", since=AT, last_good="tor", last_good_at=AT + 120)
    assert site_state(held, last(SiteStatus.RELAYS_FAIL)).status == "likely blocked"


def test_a_site_is_down_only_by_a_relay_that_works_for_others() -> None:
    waiting = last(SiteStatus.SITE_DOWN, relays=("tor", "vps"), otherwise=SiteStatus.RELAYS_FAIL)
    assert site_state(DOWN, waiting).status == "relays fail"
    assert site_state(DOWN, waiting, working_relays={"other": AT}).status == "relays fail"
    assert site_state(DOWN, waiting, working_relays={"vps": AT}).status == "site down"
    refused = last(SiteStatus.SITE_DOWN, cause="down", relays=("tor",))
    assert (site_state(DOWN, refused).status, site_state(DOWN, refused).cause) == ("not tested", "")
    assert site_state(DOWN, refused, working_relays={"tor": AT}).status == "site down"
    assert site_state(DOWN, last(SiteStatus.SITE_DOWN)).status == "site down", "another site works direct"
    long_before = {"tor": AT + 60 - WORKED_S - 1}
    assert site_state(DOWN, refused, working_relays=long_before).status == "not tested"


def test_without_a_result_what_is_stored_decides() -> None:
    shown = site_state(SUSPECT)
    assert (shown.status, shown.cause, shown.text, shown.since, shown.last) == (
        "likely blocked", "sni_reset", "reset", AT, None,
    )  # fmt: skip


# -- since when --------------------------------------------------------------------------------------------------------

LONG = replace(BLOCKED, began=AT - 900, last_good="tor", last_good_at=AT - 5, retest_at=AT + 900)


def test_a_block_is_as_old_as_its_spell_and_was_confirmed_last_by_its_last_signal() -> None:
    shown = site_state(replace(LONG, signal_at=AT + 30))
    assert (shown.since, shown.found_at, shown.works_by, shown.retest_at) == (AT - 900, AT + 30, "tor", AT + 900)


@pytest.mark.parametrize("status", [SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED, SiteStatus.SLOW])
def test_a_measurement_confirms_a_block_and_does_not_begin_it(status: SiteStatus) -> None:
    shown = site_state(LONG, last(status, cause="dns"))
    assert (shown.status, shown.cause, shown.since, shown.found_at) == (status, "dns", AT - 900, AT + 60)
    assert shown.works_by == "tor"


def test_what_a_measurement_finds_otherwise_begins_with_the_first_that_found_it() -> None:
    shown = site_state(LONG, last(SiteStatus.WORKS, since=AT + 20, works_by="direct"))
    assert (shown.since, shown.found_at, shown.works_by) == (AT + 20, AT + 60, "direct")
    shown = site_state(LONG, last(SiteStatus.SITE_DOWN))
    assert (shown.since, shown.works_by) == (AT + 60, ""), "what failed everywhere works by no route"


@pytest.mark.parametrize("status", [SiteStatus.BLOCKED, SiteStatus.INTERCEPTED, SiteStatus.SLOW])
def test_a_block_that_was_measured_stays_certain_while_visits_confirm_it(status: SiteStatus) -> None:
    held = replace(SUSPECT, began=AT - 900, signal_at=AT + 90, last_good="tor", last_good_at=AT + 95)
    measured = replace(last(status, cause="dns"), source=Source.MEASUREMENT)
    shown = site_state(held, measured)
    assert (shown.status, shown.cause, shown.since, shown.found_at) == (status, "dns", AT - 900, AT + 90)
    weak = replace(measured, status=SiteStatus.LIKELY_BLOCKED)
    assert site_state(held, weak).cause == "sni_reset", "a newer signal weighs as much"
    assert site_state(replace(held, state=State.BLOCKED), measured).cause == "sni_reset"
    ended = replace(held, state=State.WORKS, since=AT + 120, began=0.0)
    assert site_state(ended, measured).status == "works", "direct has worked since"
    assert site_state(replace(ended, since=AT), measured).status == status, "it worked before"


def test_a_measurement_does_not_move_since_when_a_site_works() -> None:
    shown = site_state(WORKS, last(SiteStatus.WORKS))
    assert (shown.since, shown.found_at) == (AT, AT + 60)
    assert site_state(WORKS, last(SiteStatus.WORKS, since=AT - 60)).since == AT - 60


def test_a_suspicion_that_time_ended_goes_on_when_a_measurement_finds_it_again() -> None:
    lapsed = Belief("site.test", HOME, since=AT, began=AT - 900)
    assert site_state(lapsed).status == "not tested"
    assert site_state(lapsed, last(SiteStatus.BLOCKED)).since == AT - 900


def test_what_works_has_no_cause() -> None:
    shown = site_state(replace(WORKS, cause="sni_reset", why="direct answered"))
    assert (shown.status, shown.cause, shown.works_by, shown.since) == ("works", "", "direct", AT)


# -- what is over ------------------------------------------------------------------------------------------------------


def test_relays_that_work_again_no_longer_fail() -> None:
    failing = last(SiteStatus.RELAYS_FAIL)
    assert site_state(UNKNOWN, failing, working_relays={"tor": AT + 59}).status == "relays fail"
    assert site_state(UNKNOWN, failing, working_relays={"tor": AT + 61}).status == "not tested"
    assert site_state(BLOCKED, failing, working_relays={"vps": AT + 61}).status == "blocked"


@pytest.mark.parametrize("status", [SiteStatus.NO_NETWORK, SiteStatus.PORTAL])
def test_what_the_network_was_at_fault_for_is_over_with_that(status: SiteStatus) -> None:
    assert site_state(UNKNOWN, last(status)).status == "not tested"


@each_row(
    ("held", "word"),
    [
        (replace(SUSPECT, cause="dns", last_good="direct|doh"), "works"),
        (replace(SUSPECT, cause="dns"), "works"),
        (replace(BLOCKED, cause="dns"), "blocked"),  # proven while it answered others
        (SUSPECT, "likely blocked"),
    ],
)
def test_a_resolver_that_fails_for_all_is_no_block_of_one(held: Belief, word: str) -> None:
    shown = site_state(held, resolver_fails=True)
    assert shown.status == word
    if word == "works":
        assert (shown.cause, shown.works_by, shown.since, shown.retest_at) == ("", "direct|doh", AT, 0.0)
        assert "fails for other sites as well" in shown.text
        assert site_state(held, last(SiteStatus.LIKELY_BLOCKED, cause="dns"), resolver_fails=True).status == "works"
        assert site_state(held, last(SiteStatus.SITE_DOWN), resolver_fails=True).status == "site down"
    assert site_state(held).status != "works"


def test_that_direct_opened_it_holds_until_direct_fails() -> None:
    """Visits by the relay, which go on until re-tests agree, show nothing of direct."""
    opened = LastResult(SiteStatus.WORKS, AT + 60, Source.MEASUREMENT, text="it opens direct", works_by="direct")
    held = replace(BLOCKED, last_good="tor", last_good_at=AT + 4000, retest_at=AT + 5000)
    shown = site_state(held, opened)
    assert (shown.status, shown.since, shown.found_at, shown.works_by) == ("works", AT + 60, AT + 60, "direct")
    assert shown.retest_at == AT + 5000
    assert site_state(replace(held, signal_at=AT + 61), opened).status == "blocked"
    assert site_state(held, replace(opened, works_by="tor")).status == "blocked", "that says nothing of direct"


# -- ports -------------------------------------------------------------------------------------------------------------


@each_row(
    ("held", "port", "status", "word"),
    [
        (WORKS, 8443, SiteStatus.SITE_DOWN, "works"),
        (WORKS, 80, SiteStatus.SITE_DOWN, "works"),
        (WORKS, 443, SiteStatus.SITE_DOWN, "site down"),
        (BLOCKED, 8443, SiteStatus.SITE_DOWN, "blocked"),
        (BLOCKED, 8443, SiteStatus.WORKS, "blocked"),
        (BLOCKED, 80, SiteStatus.WORKS, "blocked"),  # a filter of SNIs lets plain HTTP pass
        (replace(BLOCKED, cause="ip"), 80, SiteStatus.WORKS, "works"),
        (UNKNOWN, 80, SiteStatus.SITE_DOWN, "site down"),
        (UNKNOWN, 8443, SiteStatus.SITE_DOWN, "site down"),
    ],
)
def test_another_port_is_the_site_only_while_nothing_else_is_known(
    held: Belief, port: int, status: SiteStatus, word: str
) -> None:
    shown = site_state(held, last(status, port=port))
    assert shown.status == word
    assert shown.port == (8443 if held is UNKNOWN and port == 8443 else 0)


@pytest.mark.parametrize("status", [SiteStatus.REFUSES_THIS_ROUTE, SiteStatus.BLOCKED, SiteStatus.SITE_DOWN])
def test_the_port_that_people_visit_is_the_site(status: SiteStatus) -> None:
    assert site_state(WORKS, last(status, port=80)).status == "works"
    assert site_state(WORKS, last(status, port=80), own_port=80).status == status


def test_a_port_has_a_state_of_its_own() -> None:
    shown = port_state(last(SiteStatus.SITE_DOWN, port=8443))
    assert (shown.status, shown.port, shown.since) == ("site down", 8443, AT + 60)
    assert port_state(last(SiteStatus.SITE_DOWN), NetworkState.PORTAL).status == "portal"
