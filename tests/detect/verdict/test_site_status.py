"""The word for a site: a table of what is stored, what came last, the network and the relays that work."""

from __future__ import annotations

import pytest

from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source, site_state, status_of
from proxy.model import Belief, NetworkState, State
from tests.support.outcomes import HOME

AT = 1000.0
UNKNOWN = Belief("site.test", HOME)
WORKS = Belief("site.test", HOME, State.WORKS, since=AT)
SUSPECT = Belief("site.test", HOME, State.SUSPECT, "sni_reset", since=AT, signal_at=AT, why="reset")
BLOCKED = Belief("site.test", HOME, State.BLOCKED, "sni_reset", since=AT, signal_at=AT, why="reset")
DOWN = Belief("site.test", HOME, State.DOWN, "down", since=AT)


def last(status: SiteStatus, at: float = AT + 60, **more: object) -> LastResult:
    return LastResult(status, at, Source.CONNECTION, text="what was seen", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
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
        (State.DOWN, "down", "site down"),
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
        "refuses this route": "⊘",
        "relays fail": "!",
        "no network": "–",
        "portal": "–",
        "not tested": "·",
    }


@pytest.mark.parametrize("held", [UNKNOWN, WORKS, SUSPECT, BLOCKED, DOWN])
@pytest.mark.parametrize(("network", "word"), [(NetworkState.OFFLINE, "no network"), (NetworkState.PORTAL, "portal")])
def test_offline_or_behind_a_portal_nothing_is_said_of_a_site(held: Belief, network: NetworkState, word: str) -> None:
    assert site_state(held, last(SiteStatus.SITE_DOWN), network).status == word


@pytest.mark.parametrize("network", [NetworkState.OK, NetworkState.RESTRICTED, NetworkState.INSPECTED])
def test_a_site_that_failed_a_minute_ago_is_not_untested(network: NetworkState) -> None:
    shown = site_state(UNKNOWN, last(SiteStatus.RELAYS_FAIL, cause="relays"), network)
    assert (shown.status, shown.cause, shown.text, shown.at) == ("relays fail", "relays", "what was seen", AT + 60)


@pytest.mark.parametrize("status", list(SiteStatus))
def test_a_newer_result_decides_over_what_is_stored(status: SiteStatus) -> None:
    expected = "blocked" if status is SiteStatus.NOT_TESTED else status
    assert site_state(BLOCKED, last(status)).status == expected
    assert site_state(BLOCKED, last(status, at=AT - 1)).status == "blocked", "an older one does not"


def test_a_relay_that_delivered_since_makes_the_stored_status_the_newer_one() -> None:
    held = Belief("site.test", HOME, State.SUSPECT, "ip", since=AT, last_good="tor", last_good_at=AT + 120)
    assert site_state(held, last(SiteStatus.RELAYS_FAIL)).status == "likely blocked"


def test_a_site_is_down_only_by_a_relay_that_works_for_others() -> None:
    waiting = last(SiteStatus.SITE_DOWN, relays=("tor", "vps"))
    assert site_state(DOWN, waiting).status == "relays fail"
    assert site_state(DOWN, waiting, working_relays=["other"]).status == "relays fail"
    assert site_state(DOWN, waiting, working_relays=["vps"]).status == "site down"
    assert site_state(DOWN, last(SiteStatus.SITE_DOWN)).status == "site down", "it was compared"


def test_without_a_result_what_is_stored_decides() -> None:
    shown = site_state(SUSPECT)
    assert (shown.status, shown.cause, shown.text, shown.at, shown.last) == (
        "likely blocked", "sni_reset", "reset", AT, None,
    )  # fmt: skip
