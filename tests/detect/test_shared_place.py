from __future__ import annotations

from proxy.detect.shared_place import DOMAINS_MAX, PLACES_MAX, SharedPlaces
from tests.support.outcomes import AWAY, HOME

NOW = 1_000_000.0


def test_it_counts_domains_within_the_hour_by_place_and_network() -> None:
    shared = SharedPlaces(3600.0)

    assert [shared.note(HOME, "warning", domain, NOW) for domain in ("a", "a", "b")] == [1, 1, 2]
    assert shared.note(HOME, "elsewhere", "c", NOW) == 1
    assert shared.note(AWAY, "warning", "c", NOW) == 1
    assert shared.note(HOME, "warning", "b", NOW + 3600) == 2
    assert shared.note(HOME, "warning", "c", NOW + 3601) == 2
    shared.clear()
    assert shared.note(HOME, "warning", "d", NOW + 3601) == 1


def test_it_is_bounded() -> None:
    shared = SharedPlaces(3600.0)
    counts = [shared.note(HOME, "warning", f"d{number}", NOW) for number in range(DOMAINS_MAX + 9)]
    assert counts[-1] == DOMAINS_MAX
    for number in range(PLACES_MAX):
        shared.note(HOME, f"place{number}", "d", NOW)

    assert shared.note(HOME, "warning", "d", NOW) == 1
