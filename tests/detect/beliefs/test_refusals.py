from __future__ import annotations

from dataclasses import replace
from typing import cast

from proxy.detect.beliefs import after_delivery
from proxy.detect.beliefs.after_delivery import Preference
from proxy.model import DIRECT, Route
from tests.detect.world import Over, over
from tests.support.outcomes import HOME, TOR, VPS, delivered, outcome

NOW = 1_000_000.0
KEY = (HOME, "a.example.org")


def note(refusals: Over, *answers: tuple[Route, int], at: float = NOW) -> Preference | None:
    attempts = [replace(delivered(route), evidence={"status": status}) for route, status in answers]
    return cast(Preference | None, refusals.preference(KEY, outcome(*attempts), at))


def test_who_is_let_in_is_preferred_and_direct_before_relays() -> None:
    refusals = over(after_delivery)
    assert note(refusals, (TOR, 200)) is None
    assert note(refusals, (TOR, 451)) is None  # nothing is known of another
    assert note(refusals, (VPS, 200)) == Preference(VPS, 451)
    assert note(refusals, (DIRECT, 404)) == Preference(DIRECT, 451)
    assert note(refusals, (TOR, 200)) is None


def test_all_refuse_when_direct_and_a_relay_do() -> None:
    refusals = over(after_delivery)
    assert note(refusals, (TOR, 403)) is None
    assert note(refusals, (VPS, 403)) is None
    found = note(refusals, (DIRECT, 403))

    assert found is not None
    assert found.all_refuse


def test_a_refusal_is_forgotten_after_two_hours() -> None:
    refusals = over(after_delivery)
    note(refusals, (DIRECT, 403))
    assert note(refusals, (TOR, 200), at=NOW + 7200) is None
    note(refusals, (DIRECT, 403), at=NOW + 7201)
    refusals.statuses.clear()

    assert note(refusals, (TOR, 200), at=NOW + 7202) is None


def test_what_has_no_status_says_nothing() -> None:
    refusals = over(after_delivery)
    note(refusals, (DIRECT, 403))

    assert refusals.preference(KEY, outcome(delivered(TOR)), NOW) is None
