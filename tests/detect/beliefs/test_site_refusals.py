from __future__ import annotations

from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.site_refusals import Preference, SiteRefusals
from proxy.model import DIRECT, Route
from tests.support.outcomes import HOME, TOR, VPS, delivered, outcome

NOW = 1_000_000.0
KEY = (HOME, "a.example.org")


def note(refusals: SiteRefusals, *answers: tuple[Route, int], at: float = NOW) -> Preference | None:
    attempts = [replace(delivered(route), evidence={"status": status}) for route, status in answers]
    return refusals.note(KEY, outcome(*attempts), at)


def test_who_is_let_in_is_preferred_and_direct_before_relays() -> None:
    refusals = SiteRefusals(DetectTuning())
    assert note(refusals, (TOR, 200)) is None
    assert note(refusals, (TOR, 451)) is None  # nothing is known of another
    assert note(refusals, (VPS, 200)) == Preference(VPS, 451)
    assert note(refusals, (DIRECT, 404)) == Preference(DIRECT, 451)
    assert note(refusals, (TOR, 200)) is None


def test_all_refuse_when_direct_and_a_relay_do() -> None:
    refusals = SiteRefusals(DetectTuning())
    assert note(refusals, (TOR, 403)) is None
    assert note(refusals, (VPS, 403)) is None
    found = note(refusals, (DIRECT, 403))

    assert found is not None
    assert found.all_refuse


def test_a_refusal_is_forgotten_after_two_hours() -> None:
    refusals = SiteRefusals(DetectTuning())
    note(refusals, (DIRECT, 403))
    assert note(refusals, (TOR, 200), at=NOW + 7200) is None
    note(refusals, (DIRECT, 403), at=NOW + 7201)
    refusals.clear()

    assert note(refusals, (TOR, 200), at=NOW + 7202) is None


def test_what_has_no_status_says_nothing() -> None:
    refusals = SiteRefusals(DetectTuning())
    note(refusals, (DIRECT, 403))

    assert refusals.note(KEY, outcome(delivered(TOR)), NOW) is None
