"""The status of a site, with what is stored beside it."""

from __future__ import annotations

from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source, site_state
from proxy.features.sites.answers import LastResultJson, SiteJson
from proxy.model import Belief, State
from tests.support.outcomes import HOME


def test_times_that_are_not_set_are_null() -> None:
    told = SiteJson.of(Belief("example.org", HOME))
    assert told.since is told.until is told.retest_at is told.last_good_at is None
    assert told.words == "not tested"


def test_a_site_is_called_by_its_last_result_with_what_is_stored_beside_it() -> None:
    held = Belief("h", HOME, State.SUSPECT, "sni_reset", since=1.0, why="reset")
    last = LastResult(SiteStatus.SITE_DOWN, 5.0, Source.MEASUREMENT, "down", "direct: timeout")
    told = SiteJson.of(held, site_state(held, last))
    assert (told.words, told.glyph, told.cause, told.found_at) == ("site down", "↓", "down", 5.0)
    assert (told.state, told.stored_words, told.stored_cause) == ("suspect", "likely blocked", "sni_reset")
    assert told.last_result == LastResultJson(
        words=SiteStatus.SITE_DOWN,
        glyph="↓",
        cause="down",
        plain="Opens on no route",
        because="no route reaches it",
        text="direct: timeout",
        at=5.0,
        source=Source.MEASUREMENT,
    )
    assert SiteJson.of(held).last_result is None
